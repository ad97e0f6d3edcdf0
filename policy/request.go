package policy

import (
	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/message"
)

// RequestOptions changes a request before it is forwarded: its header, then its query. Values in which a line break or another control
// character would reach a header are refused with 400 `header_value_invalid`, and nothing is forwarded.
type RequestOptions struct {
	// Headers are changes of the header. `set: {Host: NAME}` sets the host that the backend sees, and not what the route was chosen by.
	// Fields that the gateway writes itself cannot be changed: those of the connection (Content-Length, Transfer-Encoding, Connection …)
	// and X-Forwarded-For, -Host, -Proto, Forwarded and X-Request-Id.
	Headers HeaderChanges `yaml:"headers"`
	// Query are changes of the query.
	Query QueryChanges `yaml:"query"`
}

// Check reports names that cannot be changed, values that cannot be worked out, and a policy that does nothing.
func (o *RequestOptions) Check(r *config.Reporter) {
	o.Headers.check(r, ofRequest)
	o.Query.check(r)
	if o.Headers.empty() && o.Query.empty() {
		r.Warn(r.At(o), "request: the policy changes nothing")
	}
}

// requestPolicy changes requests.
type requestPolicy struct {
	values  values
	headers headerEdit
	query   queryEdit
}

func newRequest(o *RequestOptions, c *BuildContext) any {
	p := new(requestPolicy)
	p.headers = compileHeaders(&o.Headers, ofRequest, &p.values, c)
	p.query = compileQuery(&o.Query, &p.values, c)
	return p
}

// OnRequest implements Request. A request that is refused has not been changed.
func (p *requestPolicy) OnRequest(x *message.Exchange) (done bool, err error) {
	if f := p.headers.refuse(&x.Request.Header, ofRequest); f != nil {
		return false, f
	}
	worked, f := p.values.evaluate(x, message.StageRoute)
	if f != nil {
		return false, f
	}
	p.headers.apply(&x.Request.Header, x, worked)
	p.query.apply(x, worked)
	return false, nil
}
