package policy

import (
	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/message"
)

// RequestOptions changes a request before it is forwarded: its header, its query and its body. All values are worked out before the first change. Values
// in which a line break or another control character would reach a header are refused with 400 `header_value_invalid`, and nothing is forwarded.
type RequestOptions struct {
	// Headers are changes of the header. `set: {Host: NAME}` sets the host that the backend sees, and not what the route was chosen by.
	// Fields that the gateway writes itself cannot be changed: those of the connection (Content-Length, Transfer-Encoding, Connection …)
	// and X-Forwarded-For, -Host, -Proto, Forwarded and X-Request-Id.
	Headers HeaderChanges `yaml:"headers"`
	// Query are changes of the query.
	Query QueryChanges `yaml:"query"`
	// Body are changes of the body, which is read to its end first. A body that is not JSON is refused with 415 `body_not_json`, one that is broken with
	// 400 `json_invalid`. A request without a body is left as it is; but POST, PUT and PATCH get the one that `set` or `template` make.
	Body BodyChanges `yaml:"body"`
}

// Check reports names that cannot be changed, values that cannot be worked out, and a policy that does nothing.
func (o *RequestOptions) Check(r *config.Reporter) {
	o.Headers.check(r, ofRequest)
	o.Query.check(r)
	o.Body.check(r, ofRequest)
	if o.Headers.empty() && o.Query.empty() && o.Body.empty() {
		r.Warn(r.At(o), "request: the policy changes nothing")
	}
}

// requestPolicy changes requests.
type requestPolicy struct {
	values  values
	headers headerEdit
	query   queryEdit
}

// bodyRequestPolicy is a requestPolicy that changes the body, too. It gives the memory of the body back when there is a response.
type bodyRequestPolicy struct {
	requestPolicy
	body *bodyEdit
}

func newRequest(o *RequestOptions, c *BuildContext) any {
	var p requestPolicy
	p.headers = compileHeaders(&o.Headers, ofRequest, &p.values, c)
	p.query = compileQuery(&o.Query, &p.values, c)
	if body := compileBody(&o.Body, ofRequest, c); body != nil {
		return &bodyRequestPolicy{p, body}
	}
	return &p
}

// OnRequest implements Request. A request that is refused has not been changed.
func (p *requestPolicy) OnRequest(x *message.Exchange) (done bool, err error) {
	return p.change(x, nil)
}

// OnRequest implements Request. Of a request that is refused the body may have been read.
func (p *bodyRequestPolicy) OnRequest(x *message.Exchange) (done bool, err error) {
	return p.change(x, p.body)
}

// OnResponse implements Response.
func (p *bodyRequestPolicy) OnResponse(x *message.Exchange) error {
	p.body.memory.settle(x, p.body)
	return nil
}

// change makes the changes. Those of the body come first, because their values are those before the others, and because the header of a body that has
// changed is then open to what the operator wants of it.
func (p *requestPolicy) change(x *message.Exchange, body *bodyEdit) (done bool, err error) {
	if f := p.headers.refuse(&x.Request.Header, ofRequest); f != nil {
		return false, f
	}
	worked, f := p.values.evaluate(x, message.StageRoute)
	if f != nil {
		return false, f
	}
	if body != nil {
		if f := body.request(x); f != nil {
			return false, f
		}
	}
	p.headers.apply(&x.Request.Header, x, worked)
	p.query.apply(x, worked)
	return false, nil
}
