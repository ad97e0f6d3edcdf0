package policy

import (
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/message"
)

// CORSOptions lets web pages of other origins call (the CORS protocol of the Fetch standard). Preflight requests are answered before all other
// policies, for browsers send them without credentials; what a page may read of an answer stands on every answer, refusals included. Wherever it
// is written, the policy runs first.
type CORSOptions struct {
	// Origins that may call, such as `https://app.example` or `https://*.app.example`; `*` for every origin.
	Origins []string `yaml:"origins,required,single" min:"1" max:"1000"`
	// Methods that pages may use. Without it each that the route accepts.
	Methods []string `yaml:"methods,single" check:"method"`
	// Headers that pages may send. Without it each that they ask for.
	Headers []string `yaml:"headers,single" check:"header"`
	// Expose lists fields of answers that pages may read, beside those that they always may.
	Expose []string `yaml:"expose,single" check:"header"`
	// Credentials lets pages send cookies and other credentials.
	Credentials bool `yaml:"credentials" default:"false"`
	// MaxAge is how long browsers may remember the answer to a preflight.
	MaxAge time.Duration `yaml:"max_age" default:"10m" max:"24h"`
}

// Check reports origins that no browser sends, and credentials for everybody.
func (o *CORSOptions) Check(r *config.Reporter) {
	for i := range o.Origins {
		at := r.At(&o.Origins[i])
		text := o.Origins[i]
		if text == "*" {
			if o.Credentials {
				r.AddSuggest(at, "list the origins", "origins: every origin and credentials together would let any page act for its visitor")
			}
			continue
		}
		if text == "null" {
			r.AddSuggest(at, "list the origins", "origins: the origin null is that of any sandboxed page")
			continue
		}
		plain := strings.Replace(text, "://*.", "://x.", 1)
		u, err := url.Parse(plain)
		switch {
		case err != nil || u.Scheme == "" || u.Host == "" || strings.Contains(plain, "*"):
			r.AddSuggest(at, "write one such as https://app.example", "origins: %q is no origin", text)
		case u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
			r.AddSuggest(at, "write "+u.Scheme+"://"+u.Host, "origins: %q has more than a scheme, a host and a port", text)
		case plain != strings.ToLower(plain):
			o.Origins[i] = strings.ToLower(text)
		}
	}
}

// corsPolicy answers preflights and marks answers.
type corsPolicy struct {
	any      bool
	exact    map[string]bool
	suffixes []corsSuffix
	methods  []string
	headers  []string

	methodsText, headersText, exposeText, maxAge []byte
	credentials                                  bool
}

// corsSuffix is an origin with any subdomain.
type corsSuffix struct{ scheme, host string }

func newCORS(o *CORSOptions, _ *BuildContext) any {
	p := &corsPolicy{exact: make(map[string]bool), methods: o.Methods, credentials: o.Credentials}
	for _, origin := range o.Origins {
		scheme, host, wild := strings.Cut(origin, "://*.")
		switch {
		case origin == "*":
			p.any = true
		case wild:
			p.suffixes = append(p.suffixes, corsSuffix{scheme + "://", "." + host})
		default:
			p.exact[origin] = true
		}
	}
	for _, h := range o.Headers {
		p.headers = append(p.headers, strings.ToLower(h))
	}
	p.methodsText = []byte(strings.Join(o.Methods, ", "))
	p.headersText = []byte(strings.Join(o.Headers, ", "))
	p.exposeText = []byte(strings.Join(o.Expose, ", "))
	p.maxAge = strconv.AppendInt(nil, int64(o.MaxAge/time.Second), 10)
	return p
}

// allows reports whether pages of an origin may call.
func (p *corsPolicy) allows(origin []byte) bool {
	if p.any || p.exact[string(origin)] {
		return true
	}
	for _, s := range p.suffixes {
		if rest, ok := strings.CutPrefix(string(origin), s.scheme); ok && len(rest) > len(s.host) && strings.HasSuffix(rest, s.host) {
			return true
		}
	}
	return false
}

// Names of the CORS protocol; read-only.
var (
	allowOrigin      = message.AccessControlAllowOrigin.Name()
	allowCredentials = message.AccessControlAllowCredentials.Name()
	allowMethods     = message.AccessControlAllowMethods.Name()
	allowHeaders     = message.AccessControlAllowHeaders.Name()
	exposeHeaders    = message.AccessControlExposeHeaders.Name()
	maxAge           = message.AccessControlMaxAge.Name()
	vary             = message.Vary.Name()
)

// Preflight implements Preflighter: it answers a preflight (Fetch, section CORS-preflight fetch). A page that may not call gets no leave, and the
// browser tells it so.
func (p *corsPolicy) Preflight(x *message.Exchange) {
	r := &x.Response
	r.Status, r.Body, r.Length = 204, message.NoBody{}, 0
	h := &x.Request.Header
	origin, method := h.Get(message.Origin), h.Get(message.AccessControlRequestMethod)
	asked := h.Get(message.AccessControlRequestHeaders)
	r.Header.Set(vary, []byte("Origin, Access-Control-Request-Method, Access-Control-Request-Headers"))
	if !p.allows(origin) || !p.allowsMethod(method) || !p.allowsHeaders(asked) {
		return
	}
	p.mark(x, origin)
	if len(p.methods) > 0 {
		r.Header.Set(allowMethods, p.methodsText)
	} else {
		r.Header.Set(allowMethods, method)
	}
	switch {
	case len(p.headers) > 0:
		r.Header.Set(allowHeaders, p.headersText)
	case len(asked) > 0:
		r.Header.Set(allowHeaders, asked)
	}
	r.Header.Set(maxAge, p.maxAge)
}

func (p *corsPolicy) allowsMethod(method []byte) bool {
	if len(p.methods) == 0 {
		return true
	}
	for _, m := range p.methods {
		if string(method) == m {
			return true
		}
	}
	return false
}

// allowsHeaders reports whether all names of a list may be sent.
func (p *corsPolicy) allowsHeaders(list []byte) bool {
	if len(p.headers) == 0 {
		return true
	}
	for name := range strings.SplitSeq(string(list), ",") {
		name = strings.TrimSpace(name)
		if name == "" {
			continue
		}
		found := false
		for _, h := range p.headers {
			found = found || strings.EqualFold(h, name)
		}
		if !found {
			return false
		}
	}
	return true
}

// mark says who may read the answer.
func (p *corsPolicy) mark(x *message.Exchange, origin []byte) {
	h := &x.Response.Header
	if p.any {
		h.Set(allowOrigin, []byte("*"))
	} else {
		h.Set(allowOrigin, origin)
	}
	if p.credentials {
		h.Set(allowCredentials, []byte("true"))
	}
}

// OnResponse implements Response. What the backend says of other origins is replaced: two opinions would be none to a browser.
func (p *corsPolicy) OnResponse(x *message.Exchange) error {
	h := &x.Response.Header
	for _, n := range [...]message.Name{allowOrigin, allowCredentials, exposeHeaders} {
		h.Remove(n)
	}
	if !p.any {
		addVary(x, "Origin") // also without an origin: a cache must not give this answer to a page
	}
	origin := x.Request.Header.Get(message.Origin)
	if origin == nil || !p.allows(origin) {
		return nil
	}
	p.mark(x, origin)
	if len(p.exposeText) > 0 {
		h.Set(exposeHeaders, p.exposeText)
	}
	return nil
}

// addVary adds a name to Vary unless it is there, or all are.
func addVary(x *message.Exchange, name string) {
	h := &x.Response.Header
	for i := range h.Len() {
		f := h.At(i)
		if f.ID != message.Vary {
			continue
		}
		for have := range strings.SplitSeq(string(f.Value), ",") {
			if have = strings.TrimSpace(have); have == "*" || strings.EqualFold(have, name) {
				return
			}
		}
	}
	h.Add(vary, []byte(name))
}
