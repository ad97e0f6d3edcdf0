package policy

import (
	"bytes"
	"slices"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/expr"
	"github.com/sluice-gateway/sluice/identity"
	"github.com/sluice-gateway/sluice/message"
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
	tally
}

// apiKeyChallenge is what WWW-Authenticate says of API keys, for which no scheme is registered.
const apiKeyChallenge = "ApiKey"

func newAPIKey(o *APIKeyOptions, c *BuildContext) any {
	p := &apiKeyPolicy{keys: c.Consumers.keySet(), query: o.Query, cookies: o.Cookie, forward: o.Forward, tally: newTally(c)}
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
	return p
}

// SecretParameters returns the names of the query parameters that hold API keys in a configuration: what shows an address has to leave them out.
func SecretParameters(all *config.Config) []string {
	var names []string
	add := func(p *config.Policy) {
		if o, ok := p.Options.(*APIKeyOptions); ok {
			names = append(names, o.Query...)
		}
	}
	for _, p := range all.Policies {
		add(p)
	}
	for _, r := range all.Routes {
		for _, p := range r.Policies {
			add(p)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// challenge implements identifier.
func (p *apiKeyPolicy) challenge() string { return apiKeyChallenge }

// OnRequest implements Request.
func (p *apiKeyPolicy) OnRequest(x *message.Exchange) (done bool, err error) {
	id, failure := p.identify(x)
	return p.settle(x, id, failure)
}

// identify implements identifier.
func (p *apiKeyPolicy) identify(x *message.Exchange) (*message.Identity, *message.Failure) {
	key, more := p.find(x)
	switch {
	case more:
		return nil, p.twice
	case key == nil:
		return nil, p.missing
	}
	id := p.keys.Find(key)
	if id == nil {
		return nil, p.unknown
	}
	p.conceal(x)
	return id, nil
}

// find returns the key of a request: the first place that has one counts. Two copies in one place, which more reports, are refused, because somebody else
// may read the other one.
func (p *apiKeyPolicy) find(x *message.Exchange) (key []byte, more bool) {
	h := &x.Request.Header
	for _, n := range p.headers {
		if value, more := credentialOf(h, n, ""); more || len(value) > 0 {
			return value, more
		}
	}
	for _, name := range p.query {
		if value, more := onlyParameter(x.Request.Query, name); more || len(value) > 0 {
			return x.KeepScratch(expr.AppendDecoded(x.Scratch(), value)), more
		}
	}
	for _, name := range p.cookies {
		if value, more := onlyCookie(h, name); more || len(value) > 0 {
			return value, more
		}
	}
	return nil, false
}

// onlyParameter returns the value of a parameter, encoded, and whether there is another one of the name.
func onlyParameter(query []byte, name string) (value []byte, more bool) {
	found := false
	for rest, next := query, len(query) > 0; next; {
		var one expr.Parameter
		one, rest, next = expr.CutParameter(rest)
		if !expr.EqualDecoded(one.Name, name) {
			continue
		}
		if found {
			return nil, true
		}
		value, found = one.Value, true
	}
	return value, false
}

// conceal implements identifier: it takes the key, wherever it may stand, out of what is sent on.
func (p *apiKeyPolicy) conceal(x *message.Exchange) {
	if p.forward {
		return
	}
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

// cutCookie cuts the first cookie off a value of the field Cookie and returns its name and its value. Both are as expressions read them.
func cutCookie(field []byte) (name, value, rest []byte) {
	pair, rest, _ := bytes.Cut(field, []byte{';'})
	name, value, _ = bytes.Cut(message.TrimSpace(pair), []byte{'='})
	return name, message.TrimSpace(value), rest
}

// onlyCookie returns the value of a cookie, as it was sent, and whether there is another one of the name.
func onlyCookie(h *message.Header, name string) (value []byte, more bool) {
	found := false
	for i := h.Index(message.Cookie.Name(), 0); i >= 0; i = h.Index(message.Cookie.Name(), i+1) {
		for rest := h.At(i).Value; len(rest) > 0; {
			var n, v []byte
			n, v, rest = cutCookie(rest)
			if string(n) != name {
				continue
			}
			if found {
				return nil, true
			}
			value, found = v, true
		}
	}
	return value, false
}

// removeCookie takes the cookies of a name out of the request. The others stay as they are, in one field.
func removeCookie(x *message.Exchange, name string) {
	h := &x.Request.Header
	if value, more := onlyCookie(h, name); value == nil && !more {
		return
	}
	out := x.Scratch()
	for i := h.Index(message.Cookie.Name(), 0); i >= 0; i = h.Index(message.Cookie.Name(), i+1) {
		for rest := h.At(i).Value; len(rest) > 0; {
			var pair []byte
			pair, rest, _ = bytes.Cut(rest, []byte{';'})
			pair = message.TrimSpace(pair)
			if n, _, _ := cutCookie(pair); string(n) == name || len(pair) == 0 {
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
