package policy

import (
	"bytes"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/expr"
	"github.com/sluice-gateway/sluice/identity"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
)

// APIKeyOptions lets pass who has the API key of a consumer. Keys are not sent on to backends.
type APIKeyOptions struct {
	// Header that may hold the key. The default is X-API-Key, unless there is a query or a cookie.
	Header []string `yaml:"header,single" check:"header" max:"8"`
	// Query parameter that may hold the key. It stands in logs of whoever sees the address: a header is better.
	Query []string `yaml:"query,single" max:"8"`
	// Cookie that may hold the key.
	Cookie []string `yaml:"cookie,single" check:"token" max:"8"`
	// Forward sends the key on to the backend.
	Forward bool `yaml:"forward" default:"false"`
}

// Check reports names that are empty.
func (o *APIKeyOptions) Check(r *config.Reporter) {
	for i := range o.Query {
		if o.Query[i] == "" {
			r.Add(r.At(&o.Query[i]), "query: the name of the parameter is empty")
		}
	}
}

// apiKeyPolicy recognises consumers by their keys.
type apiKeyPolicy struct {
	keys    *identity.KeySet
	headers []message.Name
	query   []string
	cookies []string
	forward bool

	missing, unknown, twice *message.Failure
	counts                  [2]*metric.Counter // passed, refused
}

// apiKeyChallenge is what WWW-Authenticate says of API keys, for which no scheme is registered.
const apiKeyChallenge = "ApiKey"

func newAPIKey(o *APIKeyOptions, c *BuildContext) any {
	p := &apiKeyPolicy{keys: c.Consumers.keySet(), query: o.Query, cookies: o.Cookie, forward: o.Forward}
	names := o.Header
	if len(o.Header)+len(o.Query)+len(o.Cookie) == 0 {
		names = []string{"X-API-Key"}
	}
	for _, n := range names {
		p.headers = append(p.headers, message.NameOf(n))
	}
	p.missing = newRefusal(c.Name, apiKeyChallenge, message.APIKeyMissing)
	p.unknown = newRefusal(c.Name, apiKeyChallenge, message.APIKeyUnknown)
	p.twice = repeatedCredentials(c.Name, apiKeyChallenge)
	if p.keys.Len() == 0 {
		c.Report.Warn(c.Pos, "policy %q: no consumer has api_keys, so nobody can pass", c.Name)
	}
	p.counts = authentications(c)
	return p
}

// challenge implements identifier.
func (p *apiKeyPolicy) challenge() string { return apiKeyChallenge }

// OnRequest implements Request.
func (p *apiKeyPolicy) OnRequest(x *message.Exchange) (done bool, err error) {
	key, failure := p.find(x)
	if failure == nil && key == nil {
		failure = p.missing
	}
	if failure == nil {
		if id := p.keys.Find(key); id != nil {
			p.counts[0].Inc(0)
			x.Identity = id
			if !p.forward {
				p.remove(x)
			}
			return false, nil
		}
		failure = p.unknown
	}
	p.counts[1].Inc(0)
	return false, failure
}

// find returns the key of a request: the first place that has one counts. Two copies in one place are refused, because somebody else may read the other
// one.
func (p *apiKeyPolicy) find(x *message.Exchange) ([]byte, *message.Failure) {
	h := &x.Request.Header
	for _, n := range p.headers {
		value, more := credentialOf(h, n, "")
		if more {
			return nil, p.twice
		}
		if len(value) > 0 {
			return value, nil
		}
	}
	for _, name := range p.query {
		if value, ok := expr.FindParameter(x.Request.Query, name); ok && len(value) > 0 {
			return x.KeepScratch(expr.AppendDecoded(x.Scratch(), value)), nil
		}
	}
	for _, name := range p.cookies {
		if value := cookie(h, name); len(value) > 0 {
			return value, nil
		}
	}
	return nil, nil
}

// remove takes the key, wherever it may stand, out of what is sent on.
func (p *apiKeyPolicy) remove(x *message.Exchange) {
	h := &x.Request.Header
	for _, n := range p.headers {
		h.Remove(n)
	}
	for _, name := range p.query {
		if _, ok := expr.FindParameter(x.Request.Query, name); ok {
			x.Request.Query = withoutParameter(x, name)
		}
	}
	for _, name := range p.cookies {
		removeCookie(x, name)
	}
}

// withoutParameter returns the query without the parameters of a name.
func withoutParameter(x *message.Exchange, name string) []byte {
	out := x.Scratch()
	for rest, more := x.Request.Query, true; more; {
		var one expr.Parameter
		one, rest, more = expr.CutParameter(rest)
		if expr.EqualDecoded(one.Name, name) {
			continue
		}
		if len(out) > 0 {
			out = append(out, '&')
		}
		out = append(out, one.Raw...)
	}
	if out = x.KeepScratch(out); len(out) == 0 {
		return nil
	}
	return out
}

// cookie returns the value of the first cookie of a name, as it was sent.
func cookie(h *message.Header, name string) []byte {
	for i := range h.Len() {
		f := h.At(i)
		if f.ID != message.Cookie {
			continue
		}
		for pair := range bytes.SplitSeq(f.Value, []byte{';'}) {
			if n, value, ok := bytes.Cut(message.TrimSpace(pair), []byte{'='}); ok && string(n) == name {
				return value
			}
		}
	}
	return nil
}

// removeCookie takes the cookies of a name out of the request.
func removeCookie(x *message.Exchange, name string) {
	h := &x.Request.Header
	if cookie(h, name) == nil {
		return
	}
	out := x.Scratch()
	for i := range h.Len() {
		f := h.At(i)
		if f.ID != message.Cookie {
			continue
		}
		for pair := range bytes.SplitSeq(f.Value, []byte{';'}) {
			pair = message.TrimSpace(pair)
			if n, _, _ := bytes.Cut(pair, []byte{'='}); string(n) == name || len(pair) == 0 {
				continue
			}
			if len(out) > 0 {
				out = append(out, "; "...)
			}
			out = append(out, pair...)
		}
	}
	if out = x.KeepScratch(out); len(out) > 0 {
		h.Set(message.Cookie.Name(), out)
	} else {
		h.Remove(message.Cookie.Name())
	}
}
