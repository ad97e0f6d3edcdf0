package upstream

import (
	"fmt"
	"io"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-gateway/sluice/message"
)

// TestDecide goes through every retry class, cause, kind of method and state of the body, and compares with the rules of SEMANTICS 11.2 said
// in another way.
func TestDecide(t *testing.T) {
	failures := []*message.Failure{
		nil, &refusedFailure, &resetFailure, &raceFailure, &brokenFailure, &slowFailure, &clientFailure,
		{Reason: message.UpstreamReset, Side: message.SideUpstream, Stage: message.StageSend, Retry: message.RetryUnsent},
		{Reason: message.UpstreamConnectTimeout, Side: message.SideUpstream, Stage: message.StageConnect, Retry: message.RetryUnsent},
		{Reason: message.RouteTimeout, Side: message.SideUpstream, Stage: message.StageWait, Retry: message.RetryNever},
		{Reason: message.Internal, Side: message.SideInternal, Stage: message.StageSend},
	}
	onSets := []RetryOptions{
		{},
		{Connect: true},
		{Reset: true},
		{Timeout: true},
		{Statuses: []StatusRange{{502, 504}}},
		{Connect: true, Reset: true, Timeout: true, Statuses: []StatusRange{{500, 599}}},
	}
	cases := 0
	for _, f := range failures {
		for _, on := range onSets {
			for bits := range 32 {
				r := newRetryRules(&on)
				a := try{
					failure: f, status: 503, reused: bits&1 != 0, replayed: bits&2 != 0, repeats: bits&4 != 0, kept: bits&8 != 0,
					left: bits >> 4,
				}
				got, want := r.decide(&a), expected(&on, &a)
				if got != want {
					t.Errorf("on %+v, try %+v (failure %v): verdict %d, want %d", on, a, f, got, want)
				}
				cases++
			}
		}
	}
	if cases != len(failures)*len(onSets)*32 {
		t.Errorf("%d cases", cases)
	}
}

func expected(on *RetryOptions, a *try) verdict {
	wanted, mayRepeat := false, a.kept && a.repeats
	if f := a.failure; f == nil {
		for _, s := range on.Statuses {
			wanted = wanted || s.Low <= a.status && a.status <= s.High
		}
	} else {
		switch f.Retry {
		case message.RetryUnsent:
			mayRepeat = a.kept
			wanted = on.Connect
		case message.RetryReused, message.RetryUnknown:
			if wanted = on.Reset; f.Reason == message.UpstreamTimeoutFirstByte {
				wanted = on.Timeout
			}
		default:
			return giveUp
		}
		if race := a.reused && f.Reason == message.UpstreamReset && f.Retry != message.RetryUnknown; race && !a.replayed && mayRepeat {
			return replay
		}
	}
	if wanted && mayRepeat && a.left > 0 {
		return again
	}
	return giveUp
}

func TestRepeatable(t *testing.T) {
	r := newRetryRules(&RetryOptions{Methods: []string{"POST", "REPORT"}})
	plain := newRetryRules(&RetryOptions{})
	for method, want := range map[string][2]bool{
		"GET": {true, true}, "HEAD": {true, true}, "OPTIONS": {true, true}, "PUT": {true, true}, "DELETE": {true, true},
		"POST": {false, true}, "REPORT": {false, true}, "PATCH": {false, false}, "TRACE": {false, false}, "CONNECT": {false, false},
		"get": {false, false}, "PROPFIND": {false, false},
	} {
		m := message.MethodOf([]byte(method))
		if got := [2]bool{plain.repeatable(m), r.repeatable(m)}; got != want {
			t.Errorf("%s: repeatable %v by default and %v with POST and REPORT, want %v", method, got[0], got[1], want)
		}
	}
}

func TestOnStatus(t *testing.T) {
	r := newRetryRules(&RetryOptions{Statuses: []StatusRange{{429, 429}, {502, 504}, {600, 10_000}}})
	for status, want := range map[int]bool{429: true, 428: false, 430: false, 501: false, 502: true, 504: true, 505: false, 0: false, -1: false, 639: true, 640: false} {
		if got := r.onStatus(status); got != want {
			t.Errorf("status %d: %v, want %v", status, got, want)
		}
	}
}

func TestBudget(t *testing.T) {
	for _, test := range []struct {
		share    float64
		floor    int64
		inFlight int64
		want     int // how many fit at once
	}{
		{0.2, 3, 1, 3}, {0.2, 3, 15, 3}, {0.2, 3, 19, 3}, {0.2, 3, 20, 4}, {0.2, 3, 100, 20}, {0.2, 0, 4, 0}, {0.2, 0, 5, 1}, {0, 3, 1000, 3}, {1, 0, 7, 7}, {0, 0, 99, 0},
	} {
		b := budget{share: test.share, floor: test.floor}
		got := 0
		for b.take(test.inFlight) {
			got++
		}
		if got != test.want {
			t.Errorf("share %v, floor %d, %d in flight: %d retries fit, want %d", test.share, test.floor, test.inFlight, got, test.want)
		}
		if got > 0 {
			if b.give(); !b.take(test.inFlight) {
				t.Error("what was given back cannot be taken")
			}
		}
	}
}

// TestDo runs whole flights against two endpoints, the first of which misbehaves.
func TestDo(t *testing.T) {
	post := func(o *Options) { o.Retry.Methods = []string{"POST"} }
	on5xx := func(o *Options) { o.Retry.Statuses = []StatusRange{{500, 599}} }
	for _, test := range []struct {
		name   string
		method string
		change func(*Options)
		first  func(*message.Exchange, *Call) *message.Failure
		second func(*message.Exchange, *Call) *message.Failure
		calls  string
		reason message.Reason
		status int
	}{
		{"well", "GET", nil, answers(200), answers(200), "1 0", 0, 200},
		{"refused", "GET", nil, fails(refusedFailure), answers(200), "1 1", 0, 200},
		{"refused, POST", "POST", nil, fails(refusedFailure), answers(200), "1 1", 0, 200},
		{"both refused", "GET", nil, fails(refusedFailure), fails(refusedFailure), "1 1", message.UpstreamConnectRefused, 0},
		{"reset", "GET", nil, fails(resetFailure), answers(200), "1 1", 0, 200},
		{"reset, POST", "POST", nil, fails(resetFailure), answers(200), "1 0", message.UpstreamReset, 0},
		{"reset, POST allowed", "POST", post, fails(resetFailure), answers(200), "1 1", 0, 200},
		{"timeout is not retried by default", "GET", nil, fails(slowFailure), answers(200), "1 0", message.UpstreamTimeoutFirstByte, 0},
		{"timeout", "GET", func(o *Options) { o.Retry.Timeout = true }, fails(slowFailure), answers(200), "1 1", 0, 200},
		{"broken answer", "GET", nil, fails(brokenFailure), answers(200), "1 0", message.UpstreamResponseInvalid, 0},
		{"client gone", "PUT", nil, fails(clientFailure), answers(200), "1 0", message.ClientClosed, 0},
		{"no attempts", "GET", func(o *Options) { o.Retry.Attempts = 0 }, fails(refusedFailure), answers(200), "1 0", message.UpstreamConnectRefused, 0},
		{"no budget", "GET", func(o *Options) { o.Retry.Floor, o.Retry.Budget = 0, 0 }, fails(resetFailure), answers(200), "1 0", message.UpstreamReset, 0},
		{"nothing sent costs no budget", "GET", func(o *Options) { o.Retry.Floor, o.Retry.Budget = 0, 0 }, fails(refusedFailure), answers(200), "1 1", 0, 200},
		{"status passes", "GET", nil, answers(503), answers(200), "1 0", 0, 503},
		{"status", "GET", on5xx, answers(503), answers(200), "1 1", 0, 200},
		{"status, POST", "POST", on5xx, answers(503), answers(200), "1 0", 0, 503},
		{"status twice", "GET", on5xx, answers(503), answers(502), "1 1", 0, 502},
		{"status, no budget", "GET", func(o *Options) { on5xx(o); o.Retry.Floor = 0 }, answers(503), answers(200), "1 0", 0, 503},
		{"status, then refused", "GET", on5xx, answers(500), fails(refusedFailure), "1 1", message.UpstreamConnectRefused, 0},
		{"two retries come back to the first", "GET", func(o *Options) { o.Retry.Attempts = 2 }, fails(resetFailure), fails(refusedFailure), "2 1", message.UpstreamReset, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := newGroup(t, test.change, test.first, test.second)
			failure, x := g.send(test.method)
			var reason message.Reason
			if failure != nil {
				reason = failure.Reason
			}
			if reason != test.reason || x.Response.Status != test.status {
				t.Errorf("reason %q and status %d, want %q and %d", reason, x.Response.Status, test.reason, test.status)
			}
			if got := g.calls(); got != test.calls {
				t.Errorf("calls %s, want %s", got, test.calls)
			}
			attempts := 0
			for _, tr := range g.transports {
				attempts += int(tr.calls.Load())
			}
			if x.Outcome.Attempts != attempts || x.Outcome.Backend != "shop" || x.Outcome.Endpoint == "" {
				t.Errorf("outcome %+v after %d attempts", x.Outcome, attempts)
			}
			if g.inFlight() != 0 || g.budget.retrying.Load() != 0 {
				t.Errorf("%d in flight and %d retries at the end", g.inFlight(), g.budget.retrying.Load())
			}
		})
	}
}

// TestIdleRace: a request that met the end of an idle connection is repeated once on a new connection to the same endpoint, without cost and
// without blame.
func TestIdleRace(t *testing.T) {
	sentNothing := raceFailure
	sentNothing.Retry, sentNothing.Stage = message.RetryUnsent, message.StageSend
	for _, test := range []struct {
		method  string
		failure message.Failure
		again   bool
	}{
		{"GET", raceFailure, true},
		{"PUT", raceFailure, true},
		{"POST", raceFailure, false}, // it may have been received
		{"POST", sentNothing, true},
		{"PATCH", sentNothing, true},
	} {
		t.Run(fmt.Sprint(test.method, test.failure.Retry), func(t *testing.T) {
			noRetries := func(o *Options) { o.Retry.Attempts, o.Retry.Floor, o.Outlier.Consecutive = 0, 0, 1 }
			g := newGroup(t, noRetries, func(x *message.Exchange, c *Call) *message.Failure {
				if c.Fresh {
					return answers(200)(x, c)
				}
				c.Reused = true
				return fails(test.failure)(x, c)
			}, answers(200))
			failure, x := g.send(test.method)
			if (failure == nil) != test.again {
				t.Errorf("failure %v, want a replay: %v", failure, test.again)
			}
			if s := g.Snapshot(); s.Endpoints[0].Failures != 0 || s.Usable != 2 {
				t.Errorf("the endpoint was blamed: %+v", s)
			} else if test.again != (s.Replays == 1) || s.Retries != 0 {
				t.Errorf("%d replays and %d retries counted", s.Replays, s.Retries)
			}
			if test.again && (x.Outcome.Attempts != 2 || x.Outcome.Reused || g.calls() != "2 0") {
				t.Errorf("outcome %+v, calls %s", x.Outcome, g.calls())
			}
		})
	}
}

// TestIdleRaceOnlyOnce: what fails again on a new connection is a failure like any other.
func TestIdleRaceOnlyOnce(t *testing.T) {
	g := newGroup(t, nil, func(x *message.Exchange, c *Call) *message.Failure {
		c.Reused = !c.Fresh
		return fails(raceFailure)(x, c)
	}, answers(200))
	if failure, _ := g.send("GET"); failure != nil || g.calls() != "2 1" {
		t.Errorf("failure %v, calls %s: want a replay, then a retry at the other endpoint", failure, g.calls())
	}
	if s := g.Snapshot(); s.Replays != 1 || s.RetriesSaved != 1 || s.Endpoints[0].Failures != 1 {
		t.Errorf("status %+v: want one replay, one retry and one failure", s)
	}
}

// TestStatusRetryClosesTheAnswer: the dropped answer gives its connection back and leaves nothing behind.
func TestStatusRetryClosesTheAnswer(t *testing.T) {
	dropped := &closeCounter{}
	g := newGroup(t, func(o *Options) { o.Retry.Statuses = []StatusRange{{503, 503}} }, func(x *message.Exchange, _ *Call) *message.Failure {
		x.Response.Status, x.Response.Body, x.Response.Length, x.Response.Close = 503, dropped, 7, true
		x.Response.Header.Add(message.NameOf("X-From"), []byte("first"))
		return nil
	}, func(x *message.Exchange, c *Call) *message.Failure {
		if x.Response.Header.Len() != 0 || x.Response.Status != 0 || x.Response.Length != 0 || x.Response.Close {
			t.Errorf("the second try began with the response %+v", x.Response)
		}
		return answers(200)(x, c)
	})
	if failure, x := g.send("GET"); failure != nil || x.Response.Status != 200 || dropped.closes != 1 {
		t.Errorf("failure %v, status %d, dropped answer closed %d times", failure, x.Response.Status, dropped.closes)
	}
}

// TestStatusRetryWhileSending: an answer that comes while a second goroutine still sends the body is dropped only if all of the body has been
// pulled, so that it is known to be kept.
func TestStatusRetryWhileSending(t *testing.T) {
	for _, test := range []struct {
		pulls int
		want  string
	}{{1, "1 0"}, {3, "1 1"}} {
		g := newGroup(t, func(o *Options) { o.Retry.Statuses = []StatusRange{{503, 503}} }, func(x *message.Exchange, c *Call) *message.Failure {
			for range test.pulls {
				if _, err := x.Request.Body.Next(); err != nil {
					t.Error(err)
				}
			}
			pumping, done := x.Request.Body, make(chan struct{})
			x.Request.Pumping = true
			begun := make(chan struct{})
			go func() {
				close(begun)
				_, _ = pumping.Next()
				close(done)
			}()
			<-begun
			x.Response.Status, x.Response.Body = 503, joiner{done, x}
			return nil
		}, answers(200))
		x := newExchange("PUT")
		x.Request.Body, x.Request.Length = &lender{pieces: cut(pattern(30), func() int { return 10 })}, 30
		var f Flight
		if failure := g.Do(x, &f); failure != nil || g.calls() != test.want {
			t.Errorf("%d of 3 pieces pulled: failure %v, calls %s, want %s", test.pulls, failure, g.calls(), test.want)
		}
		_ = x.Response.Body.Close()
		f.Finish(x)
	}
}

// joiner is the body of an answer whose Close waits for the goroutine that sends the request, as codecs do.
type joiner struct {
	done chan struct{}
	x    *message.Exchange
}

func (joiner) Next() ([]byte, error) { return nil, io.EOF }
func (j joiner) Close() error {
	<-j.done
	j.x.Request.Pumping = false
	return nil
}

func TestDeadline(t *testing.T) {
	second := int64(1e9)
	t.Run("none left at the start", func(t *testing.T) {
		g := newGroup(t, nil, answers(200))
		var f Flight
		x := newExchange("GET")
		x.Deadline = message.Now()
		failure := g.Do(x, &f)
		if failure == nil || failure.Reason != message.RouteTimeout || g.calls() != "0" {
			t.Errorf("failure %v, calls %s: want route_timeout and nothing sent", failure, g.calls())
		}
		f.Finish(x)
	})
	t.Run("no retry after it", func(t *testing.T) {
		g := newGroup(t, func(o *Options) { o.Retry.Timeout = true }, func(x *message.Exchange, c *Call) *message.Failure {
			x.Deadline = message.Now() // the time is up now
			return fails(slowFailure)(x, c)
		}, answers(200))
		var f Flight
		x := newExchange("GET")
		x.Deadline = message.Now() + 60*second
		failure := g.Do(x, &f)
		if failure == nil || failure.Reason != message.RouteTimeout || g.calls() != "1 0" {
			t.Errorf("failure %v, calls %s: want route_timeout and no retry", failure, g.calls())
		}
		f.Finish(x)
		if n := g.Snapshot().Endpoints[0].Failures; n != 1 {
			t.Errorf("%d failures of an endpoint that used up all the time, want 1", n)
		}
	})
	t.Run("no retry just before it", func(t *testing.T) {
		g := newGroup(t, nil, func(x *message.Exchange, c *Call) *message.Failure {
			x.Deadline = message.Now() + minTryTime/2
			return fails(refusedFailure)(x, c)
		}, answers(200))
		if failure, _ := g.send("GET"); failure == nil || failure.Reason != message.UpstreamConnectRefused || g.calls() != "1 0" {
			t.Errorf("failure %v, calls %s: want no retry", failure, g.calls())
		}
	})
	t.Run("bounds the call", func(t *testing.T) {
		for _, test := range []struct{ deadline, perTry, want int64 }{
			{0, 0, 0}, {60 * second, 0, 60 * second}, {60 * second, second, second}, {2 * second, 5 * second, 2 * second}, {0, second, second},
		} {
			var got, from int64
			g := newGroup(t, func(o *Options) { o.Retry.PerTry = time.Duration(test.perTry) }, func(x *message.Exchange, c *Call) *message.Failure {
				got = c.Deadline
				return answers(200)(x, c)
			})
			var f Flight
			x := newExchange("GET")
			from = message.Now()
			x.Times.Routed = from
			if test.deadline != 0 {
				x.Deadline = from + test.deadline
			}
			if failure := g.Do(x, &f); failure != nil {
				t.Fatal(failure)
			}
			f.Finish(x)
			if want := test.want; want != 0 && got != from+want || want == 0 && got != 0 {
				t.Errorf("deadline %d, per try %d: the call's deadline is %d after the start, want %d", test.deadline, test.perTry, got-from, want)
			}
		}
	})
	t.Run("per try", func(t *testing.T) {
		g := newGroup(t, func(o *Options) { o.Retry.PerTry, o.Retry.Timeout = 1, true }, fails(slowFailure), answers(200))
		if failure, _ := g.send("GET"); failure != nil || g.calls() != "1 1" {
			t.Errorf("failure %v, calls %s: want a retry", failure, g.calls())
		}
		g = newGroup(t, func(o *Options) { o.Retry.PerTry = 1 }, fails(slowFailure), answers(200))
		if failure, _ := g.send("GET"); failure == nil || failure.Reason != message.UpstreamTimeoutPerTry {
			t.Errorf("failure %v, want upstream_timeout_per_try", failure)
		}
	})
}

// TestRetriesGoElsewhere: with as many attempts as endpoints every endpoint is tried once, whatever the algorithm.
func TestRetriesGoElsewhere(t *testing.T) {
	for _, algorithm := range []string{"round_robin", "random", "least_request"} {
		synctest.Test(t, func(t *testing.T) { // so that the backoff takes no time
			for range 50 {
				g := newGroup(t, func(o *Options) { o.Algorithm, o.Retry.Attempts, o.Panic = algorithm, 3, 0 },
					fails(resetFailure), fails(refusedFailure), fails(resetFailure), fails(refusedFailure))
				if failure, _ := g.send("GET"); failure == nil || g.calls() != "1 1 1 1" {
					t.Fatalf("%s: failure %v, calls %s: want every endpoint once", algorithm, failure, g.calls())
				}
			}
		})
	}
}

// TestBudgetHoldsUnderLoad: with many requests waiting at once, no more than the share of them is retried at once.
func TestBudgetHoldsUnderLoad(t *testing.T) {
	g := newGroup(t, nil, answers(200), answers(200))
	flights, exchanges := make([]Flight, 50), make([]*message.Exchange, 50)
	for i := range flights { // 50 requests in flight
		exchanges[i] = newExchange("GET")
		if failure := g.Do(exchanges[i], &flights[i]); failure != nil {
			t.Fatal(failure)
		}
	}
	for range 10 { // (50+1) × 20 %
		if !g.budget.take(g.inFlight() + 1) {
			t.Fatal("the budget is smaller than its share")
		}
	}
	for _, tr := range g.transports {
		tr.answer = fails(resetFailure)
	}
	if failure, x := g.send("GET"); failure == nil || x.Outcome.Attempts != 1 {
		t.Errorf("failure %v after %d attempts: want none beyond the budget", failure, x.Outcome.Attempts)
	}
	if n := g.Snapshot().RetriesDenied; n != 1 {
		t.Errorf("%d denied retries counted, want 1", n)
	}
	for i := range flights {
		flights[i].Finish(exchanges[i])
	}
}

// TestEndpointStoppedUnderLoad: forty requests lose their endpoint in the same moment. None fails, though they are many more than the budget of
// retries: they were under way on connections that had been used before, and on new ones nothing can be sent.
func TestEndpointStoppedUnderLoad(t *testing.T) {
	const clients = 40
	var refused sync.WaitGroup
	refused.Add(clients)
	g := newGroup(t, func(o *Options) {
		o.Algorithm, o.Outlier.Consecutive = "least_request", 0
		o.Retry.Budget = 0 // and the floor of 3
	}, func(x *message.Exchange, c *Call) *message.Failure {
		if c.Reused = !c.Fresh; c.Reused {
			return fails(raceFailure)(x, c)
		}
		refused.Done()
		refused.Wait() // all are refused at once
		return fails(refusedFailure)(x, c)
	}, answers(200))
	for range 2 * clients { // so that all begin at the first
		g.endpoints[1].load.Begin()
	}
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			if failure, x := g.send("GET"); failure != nil || x.Outcome.Attempts != 3 {
				t.Errorf("%v after %d attempts, want success after 3", failure, x.Outcome.Attempts)
			}
		})
	}
	wg.Wait()
	if s := g.Snapshot(); s.Replays != clients || s.RetriesSaved != clients || s.RetriesDenied != 0 {
		t.Errorf("status %+v", s)
	}
}

func TestPause(t *testing.T) {
	const ms = int64(time.Millisecond)
	r := newRetryRules(&RetryOptions{Backoff: 20 * time.Millisecond})
	for _, test := range []struct {
		made     int
		random   uint64
		deadline int64 // 0 for none; now is 1000 ms
		want     int64
	}{
		{0, math.MaxUint64, 0, 0}, // the first retry goes at once
		{1, 0, 0, 0},
		{1, math.MaxUint64, 0, 20 * ms},
		{1, 1 << 63, 0, 10 * ms},
		{2, math.MaxUint64, 0, 40 * ms},
		{3, math.MaxUint64, 0, 80 * ms},
		{4, math.MaxUint64, 0, 160 * ms},
		{5, math.MaxUint64, 0, 200 * ms}, // ten times the first
		{60, math.MaxUint64, 0, 200 * ms},
		{5, math.MaxUint64, 1100 * ms, 50 * ms}, // half of what is left
		{5, math.MaxUint64, 900 * ms, 0},
	} {
		if got := r.pause(test.made, test.random, 1000*ms, test.deadline); got != time.Duration(test.want) {
			t.Errorf("after %d retries, random %x, deadline %d: %v, want %v", test.made, test.random, test.deadline, got, time.Duration(test.want))
		}
	}
	if none := newRetryRules(&RetryOptions{}); none.pause(3, math.MaxUint64, 0, 0) != 0 {
		t.Error("a pause without a backoff")
	}
}

// TestBackoff: the first retry goes at once, later ones after a random time that grows.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const backoff = 100 * time.Millisecond
		var at []time.Duration
		var longest [5]time.Duration
		begin := time.Now()
		note := func(x *message.Exchange, c *Call) *message.Failure {
			at = append(at, time.Since(begin))
			return fails(refusedFailure)(x, c)
		}
		g := newGroup(t, func(o *Options) {
			o.Retry.Attempts, o.Retry.Backoff, o.Outlier.Consecutive = 4, backoff, 0
		}, note, note)
		for range 200 {
			at, begin = at[:0], time.Now()
			if failure, x := g.send("GET"); failure == nil || x.Outcome.Attempts != 5 {
				t.Fatalf("%v after %d attempts", failure, x.Outcome.Attempts)
			}
			for i := 1; i < len(at); i++ {
				longest[i] = max(longest[i], at[i]-at[i-1])
			}
		}
		for i, bound := range []time.Duration{0, 0, backoff, 2 * backoff, 4 * backoff} {
			if longest[i] > bound || longest[i] < bound*9/10 {
				t.Errorf("before try %d the longest wait of 200 was %v, want nearly %v", i+1, longest[i], bound)
			}
		}
	})
}

// TestOnceIsSaidOfRequestsThatCannotBeRepeated: transports keep them from connections that may be about to end.
func TestOnceIsSaidOfRequestsThatCannotBeRepeated(t *testing.T) {
	for _, test := range []struct {
		method string
		length int64
		want   bool
	}{
		{"GET", 0, false}, {"POST", 0, true}, {"POST", 10, true}, {"PUT", 10, false}, {"PUT", 64 << 10, false}, {"PUT", 64<<10 + 1, true}, {"REPORT", 0, false}, {"PATCH", 1, true},
	} {
		var got bool
		g := newGroup(t, func(o *Options) { o.Retry.Methods = []string{"REPORT"} }, func(x *message.Exchange, c *Call) *message.Failure {
			got = c.Once
			return answers(200)(x, c)
		})
		var f Flight
		x := newExchange(test.method)
		x.Request.Length = test.length
		if failure := g.Do(x, &f); failure != nil {
			t.Fatal(failure)
		}
		f.Finish(x)
		if got != test.want {
			t.Errorf("%s with a body of %d bytes: once %v, want %v", test.method, test.length, got, test.want)
		}
	}
}
