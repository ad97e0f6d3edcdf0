package policy

import (
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/message"
)

// ForwardAuthOptions asks an HTTP service whether a request may pass. With status 2xx it passes; 401, 403 and redirects (301, 302, 303, 307, 308) are
// given to the client as the service answers them; everything else, and no answer in time, is 503 `auth_unavailable`. The service is told of the request by
// X-Forwarded-Method, X-Forwarded-Uri (path and query as they are matched), X-Forwarded-Host, X-Forwarded-Proto and X-Forwarded-For, and gets no body.
// Names the caller in X-Authenticated-Subject of its answer, that is known as `claims.sub`, and the consumer with such a claim or of that name is the caller.
type ForwardAuthOptions struct {
	// URL that is asked, http or https. Its path and query are sent as they stand here.
	URL string `yaml:"url,required,short"`
	// Method of the question; `forward` asks with the method of the request.
	Method string `yaml:"method" default:"GET" enum:"GET HEAD POST forward"`
	// Headers of the service's answer that the request gets. What the client itself has sent under these names is removed, in every spelling that a
	// backend may take for them and even if the service sends none.
	Headers []string `yaml:"headers,single" check:"header" max:"64"`
	// RequestHeaders are the headers of the request that the service gets besides.
	RequestHeaders []string `yaml:"request_headers,single" check:"header" max:"64" default:"Authorization,Cookie,X-API-Key,Accept,Accept-Language,User-Agent"`
	// Timeout of the question as a whole.
	Timeout time.Duration `yaml:"timeout" default:"2s" min:"1ms" max:"1m"`
}

// Check reports an address that cannot be asked, and headers that are not the service's to set or to see.
func (o *ForwardAuthOptions) Check(r *config.Reporter) {
	if u, err := url.Parse(o.URL); o.URL != "" {
		switch {
		case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Opaque != "":
			r.AddSuggest(r.At(&o.URL), "write http://HOST:PORT/PATH", "url: it is no address of HTTP")
		case u.User != nil:
			r.AddSuggest(r.At(&o.URL), "let the service listen where only the gateway can reach it", "url: it cannot have a name and a password")
		case u.Fragment != "":
			r.Add(r.At(&o.URL), "url: it cannot have a fragment (#)")
		}
	}
	for i := range o.Headers {
		at := r.At(&o.Headers[i])
		checkName(r, at, o.Headers[i], "headers", ofRequest)
		if name := []byte(o.Headers[i]); readsAs(name, message.XConsumer.String()) || readsAs(name, message.XConsumerPlan.String()) {
			r.AddSuggest(at, "let it answer X-Authenticated-Subject: NAME, and name a consumer so",
				"headers: %s tells of the consumers of the configuration and is always written by the gateway itself", o.Headers[i])
		}
	}
	for i := range o.RequestHeaders {
		if id := message.Lookup([]byte(canonical(o.RequestHeaders[i]))); id != 0 && id.Flags()&(message.FlagHop|message.FlagFraming|message.FlagManaged|message.FlagIdentity) != 0 {
			r.Add(r.At(&o.RequestHeaders[i]), "request_headers: %s is written by the gateway itself or not sent on at all", o.RequestHeaders[i])
		}
	}
}

// forwardAuthPolicy asks a service.
type forwardAuthPolicy struct {
	service     Service
	method      message.Method
	same        bool // ask with the method of the request
	host, port  []byte
	path, query []byte
	take        []message.Name // of the answer
	send        []message.Name // of the request
	timeout     time.Duration
	consumers   *Consumers
	name        string
	held        atomic.Int64 // bytes of answers that are in memory
	alternative bool         // it stands in any_of, and is asked only about requests with credentials

	missing, twice *message.Failure
	refusals       refusals
	tally
}

func newForwardAuth(o *ForwardAuthOptions, c *BuildContext) any {
	u, err := url.Parse(o.URL)
	if err != nil || u.Host == "" {
		return nil // reported by Check
	}
	p := &forwardAuthPolicy{timeout: o.Timeout, consumers: c.Consumers, name: c.Name, alternative: c.alternative, tally: newTally(c)}
	if p.same = o.Method == "forward"; !p.same {
		p.method = message.MethodOf([]byte(o.Method))
	}
	p.host, p.port = []byte(strings.ToLower(strings.TrimSuffix(u.Host, ":"+u.Port()))), []byte(u.Port())
	if p.path = []byte(u.EscapedPath()); len(p.path) == 0 {
		p.path = []byte("/")
	}
	if u.RawQuery != "" {
		p.query = []byte(u.RawQuery)
	}
	for _, n := range o.Headers {
		p.take = append(p.take, message.NameOf(n))
	}
	for _, n := range o.RequestHeaders {
		p.send = append(p.send, message.NameOf(n))
	}
	p.missing = newRefusal(c.Name, "", message.CredentialsMissing)
	p.twice = repeatedCredentials(c.Name, "")
	p.refusals = newRefusals(c.Name, "", message.AuthUnavailable)
	if c.Program == nil {
		return p
	}
	if p.service, err = c.Program.Service(u.Scheme + "://" + u.Host); err != nil {
		c.Report.Add(c.Pos, "policy %q: %v", c.Name, err)
		return nil
	}
	return p
}

// challenge implements identifier: which one it is only the service knows.
func (p *forwardAuthPolicy) challenge() string { return "" }

// OnRequest implements Request.
func (p *forwardAuthPolicy) OnRequest(x *message.Exchange) (done bool, err error) {
	id, failure := p.identify(x)
	if failure != nil && hasAnswer(x) {
		p.refused.Inc(0)
		x.Fail(failure)
		return true, nil
	}
	return p.settle(x, id, failure)
}

// identify implements identifier.
func (p *forwardAuthPolicy) identify(x *message.Exchange) (*message.Identity, *message.Failure) {
	p.conceal(x) // before the service sees anything of it
	some, more := p.credentials(&x.Request.Header)
	switch {
	case more:
		return nil, p.twice
	case !some && p.alternative:
		return nil, p.missing
	}
	a := asks.Get().(*ask)
	defer a.free()
	a.write(x, p)
	if x.Deadline != 0 && a.x.Deadline <= a.x.Times.Read {
		return nil, &tooLate
	}
	var failure *message.Failure
	x.Await(func() { failure = a.send(p) })
	if failure != nil {
		return nil, p.refusals.of(message.AuthUnavailable, "the service failed: "+failure.Reason.String())
	}
	return p.judge(x, a)
}

// conceal implements identifier: what the service is to say of the caller nobody else may.
func (p *forwardAuthPolicy) conceal(x *message.Exchange) {
	h := &x.Request.Header
	for i := h.Len() - 1; i >= 0; i-- {
		if f := h.At(i); p.takes(f.Name) {
			h.RemoveAt(i)
		}
	}
	for _, n := range x.Request.Trailers { // they belong to the route
		if p.takes([]byte(n.String())) {
			x.Request.Trailers = p.without(x.Request.Trailers)
			return
		}
	}
}

// takes reports whether a name is one that the service sets, or one that backends may read as such.
func (p *forwardAuthPolicy) takes(name []byte) bool {
	for _, n := range p.take {
		if readsAs(name, n.String()) {
			return true
		}
	}
	return false
}

func (p *forwardAuthPolicy) without(trailers []message.Name) []message.Name {
	kept := make([]message.Name, 0, len(trailers))
	for _, n := range trailers {
		if !p.takes([]byte(n.String())) {
			kept = append(kept, n)
		}
	}
	return kept
}

// readsAs reports whether servers may read one name as the other: many turn "-", "_" and "." into one of them.
func readsAs(name []byte, other string) bool {
	if len(name) != len(other) {
		return false
	}
	for i := range len(other) {
		a, b := name[i], other[i]
		if a == b || separates(a) && separates(b) {
			continue
		}
		if a|0x20 != b|0x20 || a|0x20 < 'a' || a|0x20 > 'z' {
			return false
		}
	}
	return true
}

// canonical writes a name as a server may read it.
func canonical(name string) string { return strings.NewReplacer("_", "-", ".", "-").Replace(name) }

func separates(c byte) bool { return c == '-' || c == '_' || c == '.' }

// credentials reports whether the request has something by which the service may know the caller, and whether more than one copy of a field that can stand
// there once only.
func (p *forwardAuthPolicy) credentials(h *message.Header) (some, more bool) {
	for _, n := range p.send {
		flags := n.ID().Flags()
		if n.ID() != 0 && flags&message.FlagSensitive == 0 {
			continue // such as Accept
		}
		i := h.Index(n, 0)
		if i < 0 {
			continue
		}
		some = true
		more = more || flags&message.FlagSingle != 0 && h.Index(n, i+1) >= 0
	}
	return some, more
}
