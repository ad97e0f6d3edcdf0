package policy

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/message"
)

// recorder is a policy that writes down when it runs.
type recorder struct {
	name   string
	log    *[]string
	done   bool
	err    error
	errors int // how often OnResponse fails
}

func (r *recorder) OnRequest(*message.Exchange) (bool, error) {
	*r.log = append(*r.log, "request "+r.name)
	return r.done, r.err
}

func (r *recorder) OnResponse(*message.Exchange) error {
	*r.log = append(*r.log, "response "+r.name)
	if r.errors > 0 {
		r.errors--
		return &message.Failure{Reason: message.UpstreamResponseInvalid}
	}
	return nil
}

// on makes a step of the sides of r that are named.
func (r *recorder) on(sides string) step {
	s := step{name: r.name}
	if strings.Contains(sides, "q") {
		s.request = r
	}
	if strings.Contains(sides, "s") {
		s.response = r
	}
	return s
}

func TestChainOrder(t *testing.T) {
	refused := &message.Failure{Reason: message.HeaderValueInvalid}
	for _, c := range []struct {
		name  string
		sides string // of each policy, separated by spaces
		done  int    // the policy that answers, -1 for none
		err   int    // the policy that refuses, -1 for none
		want  string
		ran   int
	}{
		{"all", "qs qs qs", -1, -1, "request 0, request 1, request 2, response 2, response 1, response 0", 3},
		{"sides", "q s qs", -1, -1, "request 0, request 2, response 2, response 1", 3},
		{"none", "", -1, -1, "", 0},
		{"answered", "qs qs qs", 1, -1, "request 0, request 1, response 1, response 0", 2},
		{"answered behind one for responses", "s qs s", 1, -1, "request 1, response 1, response 0", 2},
		{"refused", "qs qs qs", -1, 1, "request 0, request 1, response 1, response 0", 2},
		{"refused by the first", "qs qs", -1, 0, "request 0, response 0", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log []string
			chain := &Chain{}
			for i, sides := range strings.Fields(c.sides) {
				r := &recorder{name: fmt.Sprint(i), log: &log, done: i == c.done}
				if i == c.err {
					r.err = refused
				}
				chain.steps = append(chain.steps, r.on(sides))
			}
			x := exchange("-")
			ran, done, failure := chain.Request(x, 0, nil)
			if ran != c.ran || done != (c.done >= 0) || (failure == refused) != (c.err >= 0) {
				t.Errorf("Request = %d, %v, %v", ran, done, failure)
			}
			if want := max(c.done, c.err); want >= 0 && x.Outcome.Policy != fmt.Sprint(want) || want < 0 && x.Outcome.Policy != "" {
				t.Errorf("Outcome.Policy = %q", x.Outcome.Policy)
			}
			if left, failure := chain.Response(x, ran, 0); left != 0 || failure != nil {
				t.Errorf("Response = %d, %v", left, failure)
			}
			if got := strings.Join(log, ", "); got != c.want {
				t.Errorf("ran %s\nwant %s", got, c.want)
			}
		})
	}
}

// Whatever sides the policies have and whoever answers: requests in order, responses backwards, and only of those that ran.
func TestChainOrderProperty(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 500 {
		var log, want []string
		chain := &Chain{}
		n := random.IntN(8)
		stop := random.IntN(n + 3) // the policy that answers, if there is one of that number with a side for requests
		reached := n
		for i := range n {
			sides := []string{"q", "s", "qs"}[random.IntN(3)]
			r := &recorder{name: fmt.Sprint(i), log: &log, done: i == stop}
			chain.steps = append(chain.steps, r.on(sides))
			if i < reached && sides != "s" {
				want = append(want, "request "+r.name)
				if r.done {
					reached = i + 1
				}
			}
		}
		for i := reached - 1; i >= 0; i-- {
			if chain.steps[i].response != nil {
				want = append(want, fmt.Sprintf("response %d", i))
			}
		}
		x := exchange("-")
		ran, _, _ := chain.Request(x, 0, nil)
		chain.Response(x, ran, 0)
		if ran != reached || strings.Join(log, ", ") != strings.Join(want, ", ") {
			t.Fatalf("round %d: %d of %d ran %v, want %d %v", round, ran, n, log, reached, want)
		}
	}
}

// A failure among the responses ends the round; those that have not run yet get the response that tells of it.
func TestChainResponseFails(t *testing.T) {
	var log []string
	chain := &Chain{}
	for i := range 4 {
		r := &recorder{name: fmt.Sprint(i), log: &log}
		if i == 2 {
			r.errors = 1
		}
		chain.steps = append(chain.steps, r.on("qs"))
	}
	x := exchange("-")
	ran, _, _ := chain.Request(x, 0, nil)
	left, failure := chain.Response(x, ran, 0)
	if left != 2 || failure == nil || failure.Reason != message.UpstreamResponseInvalid || x.Outcome.Policy != "2" {
		t.Fatalf("Response = %d, %v, policy %q", left, failure, x.Outcome.Policy)
	}
	if left, failure = chain.Response(x, left, 0); left != 0 || failure != nil {
		t.Fatalf("Response of the rest = %d, %v", left, failure)
	}
	if got := strings.Join(log[4:], ", "); got != "response 3, response 2, response 1, response 0" {
		t.Errorf("ran %s", got)
	}
}

// An error that is no failure is a fault of the policy: the request does not pass.
func TestChainForeignError(t *testing.T) {
	cause := errors.New("cause")
	var none *message.Failure
	for i, err := range []error{cause, fmt.Errorf("wrapped: %w", cause), none} {
		chain := &Chain{steps: []step{(&recorder{name: "odd", log: new([]string), err: err}).on("q")}}
		if _, done, f := chain.Request(exchange("-"), 0, nil); done || f == nil || f.Reason != message.Internal || f.Side != message.SideInternal {
			t.Errorf("%d: %v, %+v; want an internal failure", i, done, f)
		} else if f.Error() == "" {
			t.Errorf("%d: the failure says nothing", i)
		}
	}
	wrapped := fmt.Errorf("wrapped: %w", &message.Failure{Reason: message.HeaderRepeated})
	chain := &Chain{steps: []step{(&recorder{name: "odd", log: new([]string), err: wrapped, done: true}).on("q")}}
	if _, done, f := chain.Request(exchange("-"), 0, nil); done || f == nil || f.Reason != message.HeaderRepeated {
		t.Errorf("a wrapped failure: %v, %+v", done, f)
	}
}

func TestChainNil(t *testing.T) {
	var chain *Chain
	x := exchange("-")
	ran, done, failure := chain.Request(x, 0, nil)
	left, late := chain.Response(x, 3, 0)
	if chain.Len() != 0 || ran != 0 || done || failure != nil || left != 0 || late != nil {
		t.Errorf("a nil chain: %d, %v, %v, %d, %v", ran, done, failure, left, late)
	}
	if left, late := (&Chain{}).Response(x, 3, 0); left != 0 || late != nil {
		t.Errorf("more than there are: %d, %v", left, late)
	}
}
