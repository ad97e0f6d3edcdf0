package policy

import (
	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/message"
)

// ResponseOptions changes a response before it is sent to the client: that of the backend, one of the route's own, or a problem that the
// gateway describes. Values may use the response and the request.
type ResponseOptions struct {
	// Headers are changes of the header. Fields that the gateway writes itself cannot be changed: those of the connection
	// (Content-Length, Transfer-Encoding, Connection …), X-Request-Id and Sluice-….
	Headers HeaderChanges `yaml:"headers"`
	// Body are changes of the body where it is JSON; other types pass as they are, and so do problems that the gateway describes. It is read to its end
	// before the answer begins. The backend is asked for one that is not compressed; one that is compressed with gzip all the same is decoded. An answer
	// that cannot be changed is replaced by a problem with status 502, and never cut short.
	Body BodyChanges `yaml:"body"`
}

// Check reports names that cannot be changed, values that cannot be worked out, and a policy that does nothing.
func (o *ResponseOptions) Check(r *config.Reporter) {
	o.Headers.check(r, ofResponse)
	o.Body.check(r, ofResponse)
	if o.Headers.empty() && o.Body.empty() {
		r.Warn(r.At(o), "response: the policy changes nothing")
	}
}

// responsePolicy changes responses.
type responsePolicy struct {
	values  values
	headers headerEdit
	body    *bodyEdit // nil for none
}

// checkedResponsePolicy is a responsePolicy that has something to do before the request is forwarded: it looks for values of the request that no header
// may hold, because afterwards it would be too late to refuse what the backend has done, and asks for a body that can be changed.
type checkedResponsePolicy struct {
	responsePolicy
	early []dynamic
}

func newResponse(o *ResponseOptions, c *BuildContext) any {
	p := new(checkedResponsePolicy)
	p.headers = compileHeaders(&o.Headers, ofResponse, &p.values, c)
	for _, d := range p.values.list {
		if d.template.MayRefuse() {
			p.early = append(p.early, d)
		}
	}
	p.body = compileBody(&o.Body, ofResponse, c)
	if len(p.early) == 0 && p.body == nil {
		return &p.responsePolicy
	}
	return p
}

// OnRequest implements Request: it refuses the request whose values the response could not hold, and asks for a body that can be changed.
func (p *checkedResponsePolicy) OnRequest(x *message.Exchange) (done bool, err error) {
	for i := range p.early {
		if d := &p.early[i]; d.template.Refuses(x) {
			return false, &message.Failure{Reason: message.HeaderValueInvalid, Side: message.SideClient, Stage: message.StageRoute, Err: d.err}
		}
	}
	if p.body != nil {
		p.body.prepare(x)
	}
	return false, nil
}

// OnResponse implements Response. A response that is refused has not been changed, but its body may have been read.
func (p *responsePolicy) OnResponse(x *message.Exchange) error {
	if p.body != nil {
		p.body.restore(x)
	}
	if f := p.headers.refuse(&x.Response.Header, ofResponse); f != nil {
		return f
	}
	worked, f := p.values.evaluate(x, message.StageReceive)
	if f != nil {
		return f
	}
	if p.body != nil {
		if f := p.body.response(x); f != nil {
			return f
		}
	}
	p.headers.apply(&x.Response.Header, x, worked)
	return nil
}
