package upstream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-gateway/sluice/message"
)

// scriptedCheck gives results by address and notes when it was asked.
type scriptedCheck struct {
	mu     sync.Mutex
	faults map[string]error
	runs   map[string][]time.Time
	hang   bool // wait for the end of the context
}

func (c *scriptedCheck) Run(ctx context.Context, t *Target) error {
	address := t.Address
	c.mu.Lock()
	c.runs[address] = append(c.runs[address], time.Now())
	err, hang := c.faults[address], c.hang
	c.mu.Unlock()
	if hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

func (c *scriptedCheck) set(address string, err error) {
	c.mu.Lock()
	c.faults[address] = err
	c.mu.Unlock()
}

func (c *scriptedCheck) count(address string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.runs[address])
}

// checkedGroup is a backend of n endpoints with scripted checks, not started.
func checkedGroup(t testing.TB, n int, change func(*Options)) (*group, *scriptedCheck) {
	var all []func(*message.Exchange, *Call) *message.Failure
	for range n {
		all = append(all, answers(200))
	}
	g := newGroup(t, func(o *Options) {
		o.Check = &CheckOptions{Kind: "tcp", Interval: 5 * time.Second, Timeout: time.Second, Rise: 2, Fall: 3, Jitter: 0.1}
		if change != nil {
			change(o)
		}
	}, all...)
	c := &scriptedCheck{faults: map[string]error{}, runs: map[string][]time.Time{}}
	g.check = c
	return g, c
}

func isReady(b *Backend) bool {
	select {
	case <-b.Ready():
		return true
	default:
		return false
	}
}

// TestRiseAndFall follows one endpoint through results of checks (+ and -) and requests that could not connect (r), with rise 2 and fall 3.
func TestRiseAndFall(t *testing.T) {
	for _, test := range []struct{ events, up string }{
		{"+", "1"},
		{"-", "0"}, // the first result decides alone
		{"+--", "111"},
		{"+---", "1110"},
		{"+--+--", "111111"}, // only in a row
		{"+---+", "11100"},
		{"+---++", "111001"},
		{"+---+-++", "11100001"},
		{"-+", "00"},
		{"-++", "001"},
		{"+rrr", "1110"}, // refused connections count as well
		{"+-rr", "1110"},
		{"+r-r", "1110"},
		{"+rr+rr", "111111"}, // a check that passes forgives them
		{"rr", "11"},
		{"rrr", "110"},
		{"rrr+", "1101"}, // the first result of all
		{"+rrr+r+", "1110000"},
	} {
		ep := newEndpoint("shop", TransportOptions{}, &fakeTransport{}, nil)
		got := ""
		for _, e := range test.events {
			before := ep.down.Load()
			var changed bool
			switch e {
			case '+':
				changed = ep.checked(nil, 2, 3, 1)
			case '-':
				changed = ep.checked(errors.New("down"), 2, 3, 1)
			case 'r':
				changed = ep.couldNotConnect(3)
			}
			if changed != (before != ep.down.Load()) {
				t.Errorf("%s: at %q changed is %v", test.events, got, changed)
			}
			if ep.down.Load() {
				got += "0"
			} else {
				got += "1"
			}
		}
		if got != test.up {
			t.Errorf("%s: up %s, want %s", test.events, got, test.up)
		}
	}
}

// TestRequestsFeedFall: refused requests take an endpoint out before the next check, and a request that goes well forgives.
func TestRequestsFeedFall(t *testing.T) {
	g, _ := checkedGroup(t, 2, func(o *Options) { noRetry(o); o.Outlier.Consecutive = 0 })
	for _, ep := range g.endpoints {
		ep.watch(g.Backend)
		ep.checked(nil, 2, 3, 1)
	}
	g.transports[0].answer = fails(refusedFailure)
	for range 4 { // twice at the first
		g.send("GET")
	}
	g.transports[0].answer = answers(200)
	for range 2 {
		g.send("GET")
	}
	g.transports[0].answer = fails(refusedFailure)
	for range 4 {
		g.send("GET")
	}
	if s := g.Snapshot(); s.Usable != 2 {
		t.Fatalf("%d usable: a success between the failures must forgive", s.Usable)
	}
	for range 4 {
		g.send("GET")
	}
	if s := g.Snapshot(); s.Usable != 1 || s.Endpoints[0].Healthy {
		t.Errorf("after three refused connections in a row: %+v", s)
	}
}

// TestFirstRound: the backend is ready when every endpoint was checked, soon after the start, and dead endpoints are out by then.
func TestFirstRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, c := checkedGroup(t, 3, nil)
		c.set("127.0.0.1:9001", errors.New("refused"))
		begin := time.Now()
		g.Start()
		if isReady(g.Backend) {
			t.Error("ready before the first round")
		}
		<-g.Ready()
		if took := time.Since(begin); took > maxFirstWait {
			t.Errorf("the first round took %s", took)
		}
		s := g.Snapshot()
		if s.Usable != 2 || s.Endpoints[1].Healthy || s.Endpoints[1].CheckFault != "refused" || !s.Endpoints[0].Checked || s.Endpoints[0].CheckFault != "" {
			t.Errorf("after the first round: %+v", s)
		}
		for range 10 {
			g.send("GET")
		}
		if n := g.transports[1].calls.Load(); n != 0 {
			t.Errorf("%d requests went to the dead endpoint", n)
		}
		g.Close()
	})
}

// TestChecksAreSpread: one check per endpoint and interval, with jitter, and recovery after two good ones.
func TestChecksAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, c := checkedGroup(t, 2, nil)
		g.Start()
		pass(100 * time.Second)
		synctest.Wait()
		varied := false
		for _, runs := range c.runs {
			if len(runs) < 18 || len(runs) > 24 {
				t.Errorf("%d checks in 100s at an interval of 5s", len(runs))
			}
			for i := range runs[1:] {
				gap := runs[i+1].Sub(runs[i])
				if gap < 4500*time.Millisecond || gap > 5500*time.Millisecond {
					t.Errorf("%s between two checks, want 5s ± 10 %%", gap)
				}
				varied = varied || gap != 5*time.Second
			}
		}
		if !varied {
			t.Error("no jitter")
		}
		c.set("127.0.0.1:9000", errors.New("down"))
		pass(17 * time.Second) // at least three checks
		synctest.Wait()
		if s := g.Snapshot(); s.Usable != 1 {
			t.Errorf("%d usable after three failed checks", s.Usable)
		}
		c.set("127.0.0.1:9000", nil)
		pass(11 * time.Second) // at least two
		synctest.Wait()
		if s := g.Snapshot(); s.Usable != 2 {
			t.Errorf("%d usable after two passed checks", s.Usable)
		}
		g.Close()
		n := c.count("127.0.0.1:9000")
		pass(time.Minute)
		if got := c.count("127.0.0.1:9000"); got != n {
			t.Errorf("%d checks after Close", got-n)
		}
	})
}

// TestCloseCutsChecks: Close does not wait for checks that hang, and takes nothing from them.
func TestCloseCutsChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, c := checkedGroup(t, 1, func(o *Options) { o.Check.Timeout = time.Hour })
		c.hang = true
		g.Start()
		pass(time.Second)
		synctest.Wait()
		if c.count("127.0.0.1:9000") != 1 {
			t.Fatal("the check is not under way")
		}
		begin := time.Now()
		g.Close()
		if took := time.Since(begin); took != 0 {
			t.Errorf("Close took %s", took)
		}
		if !g.endpoints[0].usable(message.Now()) || g.endpoints[0].lastCheck().known {
			t.Error("the cut check was held against the endpoint")
		}
	})
}

// TestCheckTimeout: a check that hangs is a failed one, and the first round does not wait longer than that.
func TestCheckTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, c := checkedGroup(t, 1, nil)
		c.hang = true
		begin := time.Now()
		g.Start()
		<-g.Ready()
		if took := time.Since(begin); took < time.Second || took > time.Second+maxFirstWait {
			t.Errorf("the first round took %s", took)
		}
		if s := g.Snapshot(); s.Endpoints[0].Healthy || s.Endpoints[0].CheckFault != context.DeadlineExceeded.Error() {
			t.Errorf("after a check that hung: %+v", s.Endpoints[0])
		}
		g.Close()
	})
}

func TestReadyWithoutChecks(t *testing.T) {
	g := newGroup(t, nil, answers(200))
	if g.Start(); !isReady(g.Backend) {
		t.Error("a backend without active checks is not ready at once")
	}
}

// next makes another generation over the endpoints of g.
func (g *group) next(t testing.TB, change func(*Options)) *Backend {
	t.Helper()
	o := g.options
	o.Endpoints = append([]EndpointOptions(nil), o.Endpoints...)
	change(&o)
	b, err := New(o, g.keeper, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// TestReloadKeepsWhatWasLearned: ejections, health, connections and counters survive a new generation; weights are the new one's.
func TestReloadKeepsWhatWasLearned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, c := checkedGroup(t, 4, func(o *Options) { noRetry(o); o.Outlier.Consecutive = 1 })
		c.set("127.0.0.1:9001", errors.New("down"))
		g.Start()
		<-g.Ready()
		g.transports[0].answer = answers(500)
		for g.Snapshot().Endpoints[0].EjectedFor == 0 {
			g.send("GET")
		}
		before := g.Snapshot()

		b := g.next(t, func(o *Options) { o.Endpoints[2].Weight = 9 })
		b.check = c
		g.Close()
		if b.Start(); !isReady(b) {
			t.Error("endpoints that were checked before are checked again before the backend is ready")
		}
		after := b.Snapshot()
		if after.Usable != 2 || after.Endpoints[0].EjectedFor != before.Endpoints[0].EjectedFor || after.Endpoints[1].Healthy {
			t.Errorf("before %+v\nafter %+v", before, after)
		}
		if after.Endpoints[0].Requests != before.Endpoints[0].Requests || after.Endpoints[2].Weight != 9 {
			t.Errorf("before %+v\nafter %+v", before.Endpoints, after.Endpoints)
		}
		for _, tr := range g.transports {
			if tr.closed.Load() != 0 {
				t.Error("a transport with unchanged settings was closed")
			}
		}
		// The new generation learns of what its own checks find, and the old one no longer.
		c.set("127.0.0.1:9001", nil)
		pass(15 * time.Second)
		synctest.Wait()
		if s := b.Snapshot(); !s.Endpoints[1].Healthy || s.Usable != 4 {
			t.Errorf("after recovery: %+v", s)
		}
		if len(g.endpoints[0].watchers) != 1 {
			t.Errorf("%d generations watch an endpoint", len(g.endpoints[0].watchers))
		}
		b.Close()
	})
}

// TestReloadInTheMiddle: an exchange that began in the old generation goes on, may retry there, and what it finds reaches the new one.
func TestReloadInTheMiddle(t *testing.T) {
	var b *Backend
	g := newGroup(t, func(o *Options) { o.Outlier.Consecutive = 1 }, nil, answers(200))
	g.transports[0].answer = func(x *message.Exchange, c *Call) *message.Failure {
		b = g.next(t, func(o *Options) {})
		g.Close()
		b.Start()
		return fails(resetFailure)(x, c)
	}
	g.Start()
	if failure, _ := g.send("GET"); failure != nil {
		t.Fatalf("the exchange of the old generation failed: %v", failure)
	}
	if s := b.Snapshot(); s.Usable != 1 || s.Endpoints[0].EjectedFor == 0 {
		t.Errorf("the new generation did not learn of the ejection: %+v", s)
	}
	if c := b.choice.Load(); c.usable != 1 {
		t.Errorf("the new generation's choice still has %d endpoints", c.usable)
	}
}

// TestReloadWithoutChecks: without checks nothing would bring a downed endpoint up again, so it is up.
func TestReloadWithoutChecks(t *testing.T) {
	g, _ := checkedGroup(t, 2, nil)
	g.endpoints[0].checked(fmt.Errorf("down"), 2, 3, 1)
	b := g.next(t, func(o *Options) { o.Check = nil })
	g.Close()
	b.Start()
	if s := b.Snapshot(); s.Usable != 2 || !s.Endpoints[0].Healthy || s.Endpoints[0].Checked {
		t.Errorf("after checks were taken out: %+v", s)
	}
}

// TestReloadOfTimeouts: settings of connections that change make new pools, and only then.
func TestReloadOfTimeouts(t *testing.T) {
	g := newGroup(t, nil, answers(200))
	g.Start()
	b := g.next(t, func(o *Options) { o.FirstByte = time.Minute })
	if b.Start(); g.transports[0].closed.Load() != 0 {
		t.Error("the pool was closed for a setting that is not its own")
	}
	c := g.next(t, func(o *Options) { o.Connect = 7 * time.Second })
	if g.transports[0].closed.Load() != 0 {
		t.Error("the pool was closed by a generation that is not live")
	}
	c.Start()
	if got := g.endpoints[0].transport.Load(); g.transports[0].closed.Load() != 1 || got.options.Connect != 7*time.Second {
		t.Errorf("closed %d times; the settings are %+v", g.transports[0].closed.Load(), got.options)
	}
}

func TestEndpointCloseAndSweep(t *testing.T) {
	tr := &fakeTransport{}
	ep := newEndpoint("shop", TransportOptions{Address: "127.0.0.1:9000"}, tr, nil)
	ep.Sweep()
	ep.Close()
	if tr.swept.Load() != 1 || tr.closed.Load() != 1 || ep.Address() != "127.0.0.1:9000" {
		t.Errorf("swept %d and closed %d times, address %s", tr.swept.Load(), tr.closed.Load(), ep.Address())
	}
}

// breaking is a check with a bug.
type breaking struct{}

func (breaking) Run(context.Context, *Target) error { panic("index out of range") }

// TestCheckThatPanics: a bug in a check is a failed check, and the program goes on.
func TestCheckThatPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := checkedGroup(t, 2, nil)
		g.check = breaking{}
		g.Start()
		<-g.Ready()
		if s := g.Snapshot().Endpoints[0]; s.Healthy || !strings.Contains(s.CheckFault, "panicked") {
			t.Errorf("%+v", s)
		}
		g.Close()
	})
}
