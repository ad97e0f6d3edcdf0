package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
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
	Lookups       []lookup   `json:"lookups,omitempty"`
}

// lookup is the JSON of a name under which endpoints are looked up.
type lookup struct {
	Name       string     `json:"name"`
	Known      bool       `json:"known"`
	Stale      bool       `json:"stale"`
	Endpoints  int        `json:"endpoints"`
	LastAnswer *time.Time `json:"last_answer"`
	NextLookup time.Time  `json:"next_lookup"`
	TTL        float64    `json:"ttl_ms"`
	Failures   int        `json:"failures"`
	LastError  string     `json:"last_error,omitempty"`
}

func lookupOf(s *upstream.SourceStatus) lookup {
	out := lookup{
		Name: s.Name, Known: s.Known, Stale: s.Stale, Endpoints: s.Endpoints, NextLookup: s.NextLookup.UTC(),
		TTL: milliseconds(s.TTL), Failures: s.Failures, LastError: s.LastError,
	}
	if !s.LastAnswer.IsZero() {
		at := s.LastAnswer.UTC()
		out.LastAnswer = &at
	}
	return out
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
		Name: b.Name, Algorithm: b.Algorithm, Usable: b.Usable, Panic: b.Panic, LevelShares: append([]float64{}, b.Shares...), InFlight: b.InFlight, Waiting: b.Waiting,
		Retries: b.Retries, RetriesSaved: b.RetriesSaved, RetriesDenied: b.RetriesDenied, Replays: b.Replays,
		BodyBytes: b.BodyBytes, BodiesDropped: b.BodiesDropped, Endpoints: []endpoint{},
	}
	for i := range b.Endpoints {
		out.Endpoints = append(out.Endpoints, endpointOf(&b.Endpoints[i]))
	}
	for i := range b.Sources {
		out.Lookups = append(out.Lookups, lookupOf(&b.Sources[i]))
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

// acceptPatch is what a PATCH may be written in (RFC 5789 section 3.1).
const acceptPatch = "application/json, application/merge-patch+json"

// expected tells what a PATCH may say.
const expected = `send {"state": "ready", "drain" or "maint"} or {"weight": 0 to 65535}, or both; null takes back what was set`

// patch sets the state or the weight of an endpoint against the configuration.
func (s Source) patch(w http.ResponseWriter, r *http.Request) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" && kind != "application/merge-patch+json" {
		// A simple cross-site request cannot have this type, so no web page can send one by accident of the browser.
		w.Header().Set("Accept-Patch", acceptPatch)
		refuse(w, http.StatusUnsupportedMediaType, "send Content-Type: application/json")
		return
	}
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxChange))
	if err != nil {
		if _, large := errors.AsType[*http.MaxBytesError](err); large {
			refuse(w, http.StatusRequestEntityTooLarge, "the change is larger than 4 KiB; "+expected)
			return
		}
		refuse(w, http.StatusBadRequest, "the change is cut short")
		return
	}
	c, fault := parseChange(text)
	if fault != "" {
		refuse(w, http.StatusBadRequest, fault)
		return
	}
	name, address := r.PathValue("name"), r.PathValue("address")
	if err := s.Override(name, address, c.apply); err != nil {
		refuse(w, http.StatusNotFound, "there is no such endpoint; GET /backends lists them")
		return
	}
	s.answerEndpoint(w, name, address)
}

// change is the body of a PATCH of an endpoint: a merge patch (RFC 7396) of what is set against the configuration. What is left out stays, null takes
// back what was set.
type change struct {
	state  *upstream.State // nil: as it is
	weight *int            // nil: as it is; -1: that of the configuration
}

// parseChange reads a change, or tells what is wrong with it. It is stricter than encoding/json: a name in another case, or twice, is a mistake, and
// a mistake about an endpoint that serves clients is better refused than guessed at.
func parseChange(text []byte) (c change, fault string) {
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return c, expected
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return c, expected
		}
		var value json.RawMessage
		if d.Decode(&value) != nil {
			return c, expected
		}
		switch {
		case name == "state" && c.state == nil:
			c.state, fault = parseState(value)
		case name == "weight" && c.weight == nil:
			c.weight, fault = parseWeight(value)
		default:
			fault = expected
		}
		if fault != "" {
			return c, fault
		}
	}
	if _, err := d.Token(); err != nil {
		return c, expected // it does not end
	}
	if _, err := d.Token(); err != io.EOF {
		return c, expected // it goes on
	}
	if c.state == nil && c.weight == nil {
		return c, expected
	}
	return c, ""
}

func parseState(value []byte) (*upstream.State, string) {
	const wrong = `state: expected "ready", "drain" or "maint"`
	var word *string
	if json.Unmarshal(value, &word) != nil {
		return nil, wrong
	}
	state := upstream.StateReady
	if word != nil {
		var ok bool
		if state, ok = upstream.ParseState(*word); !ok {
			return nil, wrong
		}
	}
	return &state, ""
}

func parseWeight(value []byte) (*int, string) {
	var weight *int
	if json.Unmarshal(value, &weight) != nil || weight != nil && (*weight < 0 || *weight > upstream.MaxWeight) {
		return nil, fmt.Sprintf("weight: expected a number from 0 to %d", upstream.MaxWeight)
	}
	if weight == nil {
		weight = new(-1)
	}
	return weight, ""
}

// apply returns what is set after the change, nil for nothing.
func (c *change) apply(o upstream.Override) *upstream.Override {
	if c.state != nil {
		o.State = *c.state
	}
	if c.weight != nil {
		o.Weight = *c.weight
	}
	if o.State == upstream.StateReady && o.Weight < 0 {
		return nil
	}
	return &o
}

func (s Source) answerEndpoint(w http.ResponseWriter, name, address string) {
	for _, b := range s.Backends() {
		for i := range b.Endpoints {
			if b.Name == name && b.Endpoints[i].Address == address {
				answerJSON(w, http.StatusOK, endpointOf(&b.Endpoints[i]))
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
