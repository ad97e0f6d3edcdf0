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

// Chain is the policies of one route in the order of the configuration. It is immutable and serves many exchanges at once. A nil Chain
// is one without policies.
type Chain struct {
	steps []step
}

// step is one policy; at least one of its sides is there.
type step struct {
	name     string
	request  Request
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
func (c *Chain) Request(x *message.Exchange) (ran int, done bool, failure *message.Failure) {
	if c == nil {
		return 0, false, nil
	}
	for i := range c.steps {
		s := &c.steps[i]
		if s.request == nil {
			continue
		}
		done, err := s.request.OnRequest(x)
		if done || err != nil {
			x.Outcome.Policy = s.name
			return i + 1, done && err == nil, failureOf(err)
		}
	}
	return len(c.steps), false, nil
}

// Response runs the policies on the response, the last of the first ran ones first. When one of them fails it stops: left is how many
// have not had their turn. The caller then makes the response that tells of the failure and calls Response with left, so that what those
// policies add to every response stands on that one, too. It ends: left is less than ran.
func (c *Chain) Response(x *message.Exchange, ran int) (left int, failure *message.Failure) {
	if c == nil {
		return 0, nil
	}
	for i := min(ran, len(c.steps)) - 1; i >= 0; i-- {
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
