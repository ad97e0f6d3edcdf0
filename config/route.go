package config

import (
	"strings"
	"time"
)

// Route is a match, policies, and one action.
type Route struct {
	// Name of the route in logs and metrics. The default is `route-N`, N being its place in the list.
	Name string `yaml:"name" check:"name"`
	// Pos is the place of the route.
	Pos Pos `yaml:"-"`

	// Match says which requests are meant. Without it every request is.
	Match Match `yaml:"match"`
	// Listeners that the route belongs to. Without it all of them.
	Listeners []string `yaml:"listeners,single" min:"1"`
	// Timeout bounds the whole exchange, from the end of the request's header to the end of the answer.
	Timeout time.Duration `yaml:"timeout,none" default:"none" min:"1ms"`
	// Paths overrides the listener's `paths`.
	Paths *RoutePaths `yaml:"paths"`
	// Upgrade overrides the listener's `upgrade`; an empty list allows none.
	Upgrade []string `yaml:"upgrade,single" check:"token"`
	// Trailers overrides the listener's `trailers`; an empty list forwards none.
	Trailers []string `yaml:"trailers,single" check:"trailer"`
	// API that the route belongs to, one of those under `versions`. The version that a request means is then part of the match.
	API string `yaml:"api"`
	// Versions of the API that the route is for. Without it all of them.
	Versions []string `yaml:"versions,single" min:"1"`
	// Policies run in the order written. Each is the name of one under `policies`, or written in place.
	Policies PolicyList `yaml:"policies"`

	// Rewrite changes what is sent to the backend, after all policies.
	Rewrite *Rewrite `yaml:"rewrite"`
	// Backend forwards the request to one of the backend's endpoints. A route has exactly one of `backend`, `split`, `compose`, `redirect` and
	// `respond`.
	Backend string `yaml:"backend"`
	// Split forwards each request to one of several backends, by weight.
	Split *Split `yaml:"split"`
	// Compose makes one answer of the answers of several backends.
	Compose *Compose `yaml:"compose"`
	// Mirror sends a copy of the request to another backend, whose answer is dropped.
	Mirror *Mirror `yaml:"mirror"`
	// Redirect answers with the address of another place.
	Redirect *Redirect `yaml:"redirect"`
	// Respond answers with what is written here.
	Respond *Respond `yaml:"respond"`
}

// Check reports a route that has no action or several.
func (t *Route) Check(r *Reporter) {
	actions := []struct {
		set  bool
		at   any
		name string
	}{
		{t.Backend != "", &t.Backend, "backend"},
		{t.Split != nil, &t.Split, "split"},
		{t.Compose != nil, &t.Compose, "compose"},
		{t.Redirect != nil, &t.Redirect, "redirect"},
		{t.Respond != nil, &t.Respond, "respond"},
	}
	var names []string
	for _, a := range actions {
		if a.set {
			names = append(names, a.name)
		}
	}
	if len(names) == 0 { // an action that could not be decoded is one nevertheless
		for _, a := range actions {
			if r.Set(a.at) {
				names = append(names, a.name)
			}
		}
	}
	switch len(names) {
	case 1:
	case 0:
		r.AddSuggest(t.Pos, "add one of backend, split, compose, redirect, respond", "the route has no action")
	default:
		r.AddSuggest(t.Pos, "leave one of them", "the route has %d actions: %s", len(names), strings.Join(names, ", "))
	}
	if t.Mirror != nil && (t.Redirect != nil || t.Respond != nil || t.Compose != nil) {
		r.Add(r.At(&t.Mirror), "mirror: only what is forwarded is mirrored, and this route answers by itself")
	}
	if t.Rewrite != nil && t.Backend == "" && t.Split == nil && !r.Set(&t.Backend) {
		r.Add(r.At(&t.Rewrite), "rewrite: only what is forwarded is rewritten, and this route answers by itself")
	}
}

// Rewrite changes what is sent to the backend.
type Rewrite struct {
	// Path that the backend gets. Values in it are percent-encoded, those of several segments keep their slashes.
	Path string `yaml:"path,short"`
	// Host that the backend sees, with or without a port. `${…}` in it is replaced.
	Host string `yaml:"host"`
	// Method that the backend gets.
	Method string `yaml:"method" check:"method"`
}

// Check reports a rewriting that changes nothing, and a path that is none.
func (w *Rewrite) Check(r *Reporter) {
	if w.Path == "" && w.Host == "" && w.Method == "" && !r.Set(&w.Path) && !r.Set(&w.Host) && !r.Set(&w.Method) {
		r.AddSuggest(r.At(w), "add a path, a host or a method", "the rewriting changes nothing")
	}
	if w.Path != "" && w.Path[0] != '/' && !strings.HasPrefix(w.Path, "${") {
		r.AddSuggest(r.At(&w.Path), meantText("/"+w.Path), "path: it does not begin with /")
	}
	switch text := templateText(w.Path); {
	case strings.ContainsAny(text, "?#"):
		r.AddSuggest(r.At(&w.Path), "change the query by the policy request", "path: a query or a fragment does not belong to it")
	case strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c >= 0x7F || c == '\\' }):
		r.AddSuggest(r.At(&w.Path), "write it percent-encoded", "path: it holds a character that no path may hold")
	}
}

// templateText returns a template without what stands in its `${…}`.
func templateText(src string) string {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(src, "${")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		if _, src, ok = strings.Cut(rest, "}"); !ok {
			return b.String()
		}
	}
}

// Split forwards each request to one of several backends.
type Split struct {
	// To lists the backends with their weights.
	To []SplitPart `yaml:"to,required,short" min:"1" max:"100"`
	// Key is an expression: requests with the same value go to the same backend. Without it each request is drawn by weight.
	Key string `yaml:"key"`
}

// Check reports backends that occur twice, and weights of 0 only.
func (s *Split) Check(r *Reporter) {
	total := 0
	seen := map[string]bool{}
	for i := range s.To {
		total += s.To[i].Weight
		if name := s.To[i].Backend; name != "" && seen[name] {
			r.Add(r.At(&s.To[i].Backend), "the backend %q is written twice", name)
		}
		seen[s.To[i].Backend] = true
	}
	if total == 0 && len(s.To) > 0 {
		r.Add(r.At(&s.To), "all backends of the split have weight 0")
	}
}

// SplitPart is one backend of a split.
type SplitPart struct {
	// Backend that gets the part.
	Backend string `yaml:"backend,required"`
	// Weight is the backend's part against the others'.
	Weight int `yaml:"weight" default:"1" min:"0" max:"65535"`
}

// Mirror sends a copy of a request to another backend. It is sent after the request itself and never waited for; at most 100 of a route are under
// way at once, and more are left out and counted.
type Mirror struct {
	// Backend that gets the copies.
	Backend string `yaml:"backend,required,short"`
	// Share of the requests that is copied.
	Share Share `yaml:"share" default:"100%"`
	// MaxBody is the largest request body that is copied. A request with a larger one is not mirrored.
	MaxBody Size `yaml:"max_body" default:"64KiB" min:"0" max:"16MiB"`
}

// Redirect answers with the address of another place.
type Redirect struct {
	// To is the address, absolute or a path. `${…}` in it is replaced.
	To string `yaml:"to,required,short"`
	// Status of the answer.
	Status int `yaml:"status" default:"308" enum:"301 302 303 307 308"`
}

// Check reports an address that is empty or could not stand in a header.
func (d *Redirect) Check(r *Reporter) {
	if !r.Set(&d.To) {
		return
	}
	if d.To == "" {
		r.Add(r.At(&d.To), "to: the address of a redirect is empty")
	} else if hasControl(d.To) {
		r.Add(r.At(&d.To), "to: the address of a redirect holds a control character")
	}
}

// Respond answers with what is written here.
type Respond struct {
	// Status of the answer.
	Status int `yaml:"status" default:"200" min:"200" max:"599"`
	// JSON is any value; it is sent as compact `application/json`, numbers with the digits written here.
	JSON JSON `yaml:"json"`
	// Text is sent as `text/plain; charset=utf-8`.
	Text *string `yaml:"text"`
	// Body is sent as it is, with the type in `content_type`.
	Body *string `yaml:"body"`
	// ContentType is the type of `body`.
	ContentType string `yaml:"content_type" check:"value"`
	// Headers are further fields of the answer.
	Headers []Pair `yaml:"headers"`
}

// Check reports several bodies, a body where the status allows none, and fields that the gateway writes itself.
func (p *Respond) Check(r *Reporter) {
	n := 0
	for _, set := range []bool{p.JSON != nil, p.Text != nil, p.Body != nil} {
		if set {
			n++
		}
	}
	if n > 1 {
		r.AddSuggest(r.At(p), "leave one of json, text, body", "the answer has %d bodies", n)
	}
	if n > 0 && (p.Status == 204 || p.Status == 304) {
		r.Add(r.At(&p.Status), "status: an answer with status %d has no body", p.Status)
	}
	switch {
	case p.Body != nil && p.ContentType == "" && !r.Set(&p.ContentType):
		r.AddSuggest(r.At(&p.Body), "add content_type: text/html", "body: its content_type is missing")
	case p.Body == nil && p.ContentType != "" && !r.Set(&p.Body):
		r.Add(r.At(&p.ContentType), "content_type: belongs to body, which is missing")
	}
	checkFields(r, p.Headers, "respond")
}

// Pair is a name with a text value, an entry of a map that keeps the order of the file.
type Pair struct {
	// Name of the entry.
	Name string `yaml:",key"`
	// Pos is the place of the name.
	Pos Pos `yaml:"-"`
	// Value of the entry.
	Value string `yaml:",value"`
}
