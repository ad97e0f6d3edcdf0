package policy

import (
	"errors"

	"github.com/sluice-gateway/sluice/message"
)

// Request is a policy that looks at requests. One instance serves all requests of a route, many at once.
//
// With done the policy has filled x.Response, and neither later policies nor the action of the route run. An error refuses the request;
// it is a *message.Failure, and says what the client is told. Nothing of the request has been forwarded when it returns.
type Request interface {
	OnRequest(x *message.Exchange) (done bool, err error)
}

// Response is a policy that looks at responses, whoever made them: the backend, another policy, or the proxy for a failure. An error, a
// *message.Failure, replaces the response.
type Response interface {
	OnResponse(x *message.Exchange) error
}

// Around is a policy that decides itself whether, when and for whom what stands behind it runs: a cache, for example, asks once for many.
type Around interface {
	// Around is OnRequest of Request with the rest of the route at hand. With done the policy has filled x.Response, and the rest does not run
	// for this exchange; else it runs as always.
	Around(x *message.Exchange, rest Rest) (done bool, err error)
}

// Runner runs routes.
type Runner interface {
	// Detach runs what stands behind the first from policies of the route that serves x; see Rest.Start.
	Detach(x *message.Exchange, from int, t Task) (cancel func())
}

// Rest is what stands behind a policy on its route: later policies, the action, and their responses.
type Rest struct {
	runner Runner
	from   int
}

// Task says how the rest of a route is run beside an exchange.
type Task struct {
	// Body is the request's; nil for none. It must stay as it is until Answer has returned.
	Body []byte
	// Prepare changes the copy of the request before it is used; nil for nothing. It runs on the caller's goroutine.
	Prepare func(x *message.Exchange)
	// Answer gets the exchange when it has a response, which is a problem where the rest failed: x.Outcome.Reason tells then. It runs on the task's
	// goroutine, reads of the body what it wants, leaves closing it to the runner, and keeps nothing of x.
	Answer func(x *message.Exchange)
}

// Start runs the rest on a copy of the request of x, on a goroutine of its own, however long x lasts. The route's timeout counts anew. cancel
// ends it early, and may be called at any time and more than once. The program's end cancels it and waits for it.
func (r Rest) Start(x *message.Exchange, t Task) (cancel func()) {
	return r.runner.Detach(x, r.from, t)
}

// Chain is the policies of one route in the order of the configuration. It is immutable and serves many exchanges at once. A nil Chain
// is one without policies.
type Chain struct {
	steps     []step
	preflight Preflighter // nil for none
}

// Preflighter is a policy that answers preflight requests of its route, before all policies. It stands first in its chain, so that its response
// side runs for whatever is answered.
type Preflighter interface {
	Preflight(x *message.Exchange)
}

// Preflight returns the policy that answers preflight requests, or nil.
func (c *Chain) Preflight() Preflighter {
	if c == nil {
		return nil
	}
	return c.preflight
}

// step is one policy; at least one of its sides is there.
type step struct {
	name     string
	request  Request
	around   Around
	response Response
}

// Len returns how many policies there are.
func (c *Chain) Len() int {
	if c == nil {
		return 0
	}
	return len(c.steps)
}

// Request runs the policies on the request until one answers, which done reports, or refuses it. ran is how many were reached, the last
// one included, and is given to Response when there is a response. x.Outcome.Policy names the policy that answered or refused.
//
// It begins behind the first from policies; the others have run on the exchange that x was copied from. runner runs the rest of the route for
// policies that ask for it.
func (c *Chain) Request(x *message.Exchange, from int, runner Runner) (ran int, done bool, failure *message.Failure) {
	if c == nil {
		return 0, false, nil
	}
	for i := from; i < len(c.steps); i++ {
		s := &c.steps[i]
		var done bool
		var err error
		switch {
		case s.request != nil:
			done, err = s.request.OnRequest(x)
		case s.around != nil:
			done, err = s.around.Around(x, Rest{runner, i + 1})
		}
		if done || err != nil {
			x.Outcome.Policy = s.name
			return i + 1, done && err == nil, failureOf(err)
		}
	}
	return len(c.steps), false, nil
}

// Response runs the policies on the response, the last of the first ran ones first, down to but without the first from. When one of them fails
// it stops: left is how many have not had their turn. The caller then makes the response that tells of the failure and calls Response with left,
// so that what those policies add to every response stands on that one, too. It ends: left is less than ran.
func (c *Chain) Response(x *message.Exchange, ran, from int) (left int, failure *message.Failure) {
	if c == nil {
		return 0, nil
	}
	for i := min(ran, len(c.steps)) - 1; i >= from; i-- {
		s := &c.steps[i]
		if s.response == nil {
			continue
		}
		if err := s.response.OnResponse(x); err != nil {
			x.Outcome.Policy = s.name
			return i, failureOf(err)
		}
	}
	return 0, nil
}

// failureOf returns the failure in err. A policy that returns another error has a fault of its own, which must not let a request pass.
func failureOf(err error) *message.Failure {
	if err == nil {
		return nil
	}
	if direct, ok := err.(*message.Failure); ok && direct != nil {
		return direct // nearly always; looking deeper allocates, which a flood of refused requests should not make us do
	}
	var f *message.Failure
	if errors.As(err, &f) {
		if f != nil {
			return f
		}
		err = errNoFailure
	}
	return &message.Failure{Reason: message.Internal, Side: message.SideInternal, Stage: message.StageRoute, Err: err}
}

// errNoFailure stands for a nil *message.Failure in an error that is not nil.
var errNoFailure = errors.New("the policy failed without saying why")
