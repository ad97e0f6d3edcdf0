package admin

import (
	"encoding/json"
	"errors"
	"io"
	"math"
	"mime"
	"net/http"
	"time"

	"github.com/sluice-gateway/sluice/upstream"
)

// ErrUnknown is what Source.Override returns if there is no such endpoint.
var ErrUnknown = errors.New("no such endpoint")

// backend is the JSON of a backend.
type backend struct {
	Name          string     `json:"name"`
	Algorithm     string     `json:"algorithm"`
	Usable        int        `json:"usable"`
	Panic         bool       `json:"panic"`
	LevelShares   []float64  `json:"level_shares"`
	InFlight      int64      `json:"in_flight"`
	Waiting       int        `json:"waiting"`
	Retries       uint64     `json:"retries"`
	RetriesSaved  uint64     `json:"retries_saved"`
	RetriesDenied uint64     `json:"retries_denied"`
	Replays       uint64     `json:"replays"`
	BodyBytes     int64      `json:"body_bytes"`
	BodiesDropped uint64     `json:"bodies_dropped"`
	Endpoints     []endpoint `json:"endpoints"`
}

// endpoint is the JSON of an endpoint. Times are in milliseconds.
type endpoint struct {
	Address    string    `json:"address"`
	Host       string    `json:"host,omitempty"`
	State      string    `json:"state"`
	Weight     int       `json:"weight"`
	Priority   int       `json:"priority"`
	Override   *override `json:"override"`
	Usable     bool      `json:"usable"`
	Healthy    bool      `json:"healthy"`
	EjectedFor float64   `json:"ejected_for_ms"`
	Ejections  int       `json:"ejections"`
	InFlight   int64     `json:"in_flight"`
	Requests   uint64    `json:"requests"`
	Failures   uint64    `json:"failures"`
	Latency    float64   `json:"latency_ms,omitempty"`
	KeepAlive  float64   `json:"keep_alive_ms,omitempty"`
	Check      *check    `json:"check"`
}

// check is the JSON of the last active check.
type check struct {
	At     time.Time `json:"at"`
	Passed bool      `json:"passed"`
	Fault  string    `json:"fault,omitempty"`
}

// override is what was set against the configuration.
type override struct {
	State  string `json:"state"`
	Weight *int   `json:"weight,omitempty"`
}

func (s Source) backends(w http.ResponseWriter, _ *http.Request) {
	list := []backend{}
	for _, b := range s.Backends() {
		list = append(list, backendOf(&b))
	}
	answer(w, http.StatusOK, map[string]any{"backends": list})
}

func (s Source) backend(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	for _, b := range s.Backends() {
		if b.Name == name {
			answerJSON(w, http.StatusOK, backendOf(&b))
			return
		}
	}
	refuse(w, http.StatusNotFound, "there is no backend of the name; GET /backends lists them")
}

func backendOf(b *upstream.Status) backend {
	out := backend{
		Name: b.Name, Algorithm: b.Algorithm, Usable: b.Usable, Panic: b.Panic, LevelShares: b.Shares, InFlight: b.InFlight, Waiting: b.Waiting,
		Retries: b.Retries, RetriesSaved: b.RetriesSaved, RetriesDenied: b.RetriesDenied, Replays: b.Replays,
		BodyBytes: b.BodyBytes, BodiesDropped: b.BodiesDropped, Endpoints: []endpoint{},
	}
	for i := range b.Endpoints {
		out.Endpoints = append(out.Endpoints, endpointOf(&b.Endpoints[i]))
	}
	return out
}

func endpointOf(e *upstream.EndpointStatus) endpoint {
	out := endpoint{
		Address: e.Address, Host: e.Host, State: upstream.StateReady.String(), Weight: e.Weight, Priority: e.Priority,
		Healthy: e.Healthy, EjectedFor: milliseconds(e.EjectedFor), Ejections: e.Ejections, InFlight: e.InFlight,
		Requests: e.Requests, Failures: e.Failures, Latency: milliseconds(e.Latency), KeepAlive: milliseconds(e.KeepAlive),
	}
	if o := e.Override; o != nil {
		out.State = o.State.String()
		out.Override = &override{State: out.State}
		if o.Weight >= 0 {
			out.Weight = o.Weight
			out.Override.Weight = &o.Weight
		}
	}
	out.Usable = e.Healthy && e.EjectedFor == 0 && out.State == upstream.StateReady.String() && out.Weight > 0
	if e.Checked {
		out.Check = &check{At: e.CheckedAt.UTC(), Passed: e.CheckFault == "", Fault: e.CheckFault}
	}
	return out
}

// milliseconds returns d with three digits behind the point.
func milliseconds(d time.Duration) float64 {
	return math.Round(float64(d)/float64(time.Microsecond)) / 1000
}

// maxChange bounds the body of a PATCH.
const maxChange = 4 << 10

// change is the body of a PATCH of an endpoint. What is left out stays; null takes back what was set.
type change struct {
	State  json.RawMessage `json:"state"`
	Weight json.RawMessage `json:"weight"`
}

// patch sets the state or the weight of an endpoint against the configuration.
func (s Source) patch(w http.ResponseWriter, r *http.Request) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" && kind != "application/merge-patch+json" {
		// A simple cross-site request cannot have this type, so no web page can send one by accident of the browser.
		refuse(w, http.StatusUnsupportedMediaType, "send Content-Type: application/json")
		return
	}
	var c change
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxChange))
	d.DisallowUnknownFields()
	err := d.Decode(&c)
	if err == nil {
		if _, more := d.Token(); more != io.EOF {
			err = errors.New("there is more than one value")
		}
	}
	if err != nil || c.State == nil && c.Weight == nil {
		refuse(w, http.StatusBadRequest, `send {"state": "ready", "drain" or "maint"} or {"weight": 0 to 65535}, or both; null takes back what was set`)
		return
	}
	status, fault := http.StatusOK, ""
	err = s.Override(r.PathValue("name"), r.PathValue("address"), func(o upstream.Override) *upstream.Override {
		o, fault = c.apply(o)
		if fault != "" || o.State == upstream.StateReady && o.Weight < 0 {
			return nil
		}
		return &o
	}, func() bool { return fault == "" })
	switch {
	case errors.Is(err, ErrUnknown):
		refuse(w, http.StatusNotFound, "there is no such endpoint; GET /backends lists them")
	case fault != "":
		refuse(w, http.StatusBadRequest, fault)
	default:
		s.answerEndpoint(w, status, r.PathValue("name"), r.PathValue("address"))
	}
}

// apply returns what is set after the change, or what is wrong with it.
func (c *change) apply(o upstream.Override) (upstream.Override, string) {
	if c.State != nil {
		var word *string
		if json.Unmarshal(c.State, &word) != nil {
			return o, `state: expected "ready", "drain" or "maint"`
		}
		o.State = upstream.StateReady
		if word != nil {
			state, ok := upstream.ParseState(*word)
			if !ok {
				return o, `state: expected "ready", "drain" or "maint"`
			}
			o.State = state
		}
	}
	if c.Weight != nil {
		var weight *int
		if json.Unmarshal(c.Weight, &weight) != nil || weight != nil && (*weight < 0 || *weight > upstream.MaxWeight) {
			return o, "weight: expected a number from 0 to 65535"
		}
		o.Weight = -1
		if weight != nil {
			o.Weight = *weight
		}
	}
	return o, ""
}

func (s Source) answerEndpoint(w http.ResponseWriter, status int, name, address string) {
	for _, b := range s.Backends() {
		for i := range b.Endpoints {
			if b.Name == name && b.Endpoints[i].Address == address {
				answerJSON(w, status, endpointOf(&b.Endpoints[i]))
				return
			}
		}
	}
	refuse(w, http.StatusNotFound, "the endpoint has gone meanwhile")
}

// Route is the JSON of a route.
type Route struct {
	Name      string   `json:"name"`
	Listeners []string `json:"listeners"`
	Hosts     []string `json:"hosts,omitempty"`
	Path      string   `json:"path"`
	Methods   []string `json:"methods,omitempty"`
	Headers   []string `json:"headers,omitempty"`
	Query     []string `json:"query,omitempty"`
	Policies  []string `json:"policies"`
	Action    string   `json:"action"`
	Backends  []string `json:"backends,omitempty"`
	Mirror    string   `json:"mirror,omitempty"`
}

func (s Source) routes(w http.ResponseWriter, _ *http.Request) {
	list := s.Routes()
	if list == nil {
		list = []Route{}
	}
	answer(w, http.StatusOK, map[string]any{"routes": list})
}

// refuse answers with a problem document (RFC 9457).
func refuse(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"type": "about:blank", "title": http.StatusText(status), "status": status, "detail": detail})
}
