package policy

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/message"
)

// FaultOptions makes requests slow or fail, to test what callers do then.
type FaultOptions struct {
	// Delay holds the request back for this long. A route's timeout counts on.
	Delay time.Duration `yaml:"delay" default:"0s" min:"0" max:"1m"`
	// Abort answers with this status in place of the backend, after the delay; the problem has the reason `fault_injected`. Without it the request goes on.
	Abort int `yaml:"abort" default:"0" min:"0" max:"599"`
	// Share of the requests that this happens to, drawn by chance.
	Share config.Share `yaml:"share" default:"100%"`
}

// Check reports a status that no answer has, and a policy that does nothing.
func (o *FaultOptions) Check(r *config.Reporter) {
	if o.Abort != 0 && o.Abort < 400 {
		r.AddSuggest(r.At(&o.Abort), "write 503", "abort: %d is no status of a failure: those are 400 to 599", o.Abort)
	}
	if o.Delay == 0 && o.Abort == 0 || o.Share == 0 {
		r.WarnSuggest(r.At(o), "add delay: 100ms or abort: 503", "fault: the policy does nothing")
	}
}

// faultPolicy makes requests slow or fail.
type faultPolicy struct {
	delay time.Duration
	share float64
	abort *message.Failure // nil for none
}

func newFault(o *FaultOptions, c *BuildContext) any {
	p := &faultPolicy{delay: o.Delay, share: float64(o.Share)}
	if o.Abort != 0 {
		p.abort = &message.Failure{Reason: message.FaultInjected, Side: message.SideInternal, Stage: message.StageRoute, Status: o.Abort,
			Err: fmt.Errorf("policy %s: the failure was asked for", c.Name)}
	}
	return p
}

// tooLate refuses a request whose time has passed while it was held back.
var tooLate = message.Failure{Reason: message.RouteTimeout, Side: message.SideInternal, Stage: message.StageRoute} // read-only

// OnRequest implements Request.
func (p *faultPolicy) OnRequest(x *message.Exchange) (done bool, err error) {
	if p.share < 1 && rand.Float64() >= p.share {
		return false, nil
	}
	if p.delay > 0 {
		wait, late := p.delay, false
		if x.Deadline != 0 {
			left := time.Duration(x.Deadline - message.Now())
			wait, late = min(wait, max(0, left)), left < wait
		}
		x.Await(func() {
			timer := time.NewTimer(wait)
			<-timer.C
		})
		if late {
			f := tooLate
			return false, &f
		}
	}
	if p.abort != nil {
		return false, p.abort
	}
	return false, nil
}
