package upstream

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-gateway/sluice/discovery"
	"github.com/sluice-gateway/sluice/message"
)

// scriptedSource finds what a test says.
type scriptedSource struct {
	mu    sync.Mutex
	found []discovery.Found
	known bool
	subs  map[int]func([]discovery.Found)
	next  int
	first chan struct{}
}

func newSource() *scriptedSource {
	return &scriptedSource{subs: map[int]func([]discovery.Found){}, first: make(chan struct{})}
}

func (s *scriptedSource) Current() ([]discovery.Found, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.found, s.known
}

func (s *scriptedSource) Subscribe(f func([]discovery.Found)) func() {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.next
	s.next++
	s.subs[n] = f
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.subs, n)
	}
}

func (s *scriptedSource) First() <-chan struct{} { return s.first }

// find makes the source find ports of the loopback address, with weights where a port has one.
func (s *scriptedSource) find(all ...discovery.Found) {
	s.mu.Lock()
	if !s.known {
		close(s.first)
	}
	s.found, s.known = all, true
	var subs []func([]discovery.Found)
	for _, f := range s.subs {
		subs = append(subs, f)
	}
	s.mu.Unlock()
	for _, f := range subs {
		f(all)
	}
}

func at(port uint16, weight, priority uint16) discovery.Found {
	return discovery.Found{Address: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port), Weight: weight, Priority: priority, Host: "shop.test"}
}

// addresses returns the endpoints of a backend with their weights and priorities.
func addresses(b *Backend) []string {
	var out []string
	for _, e := range b.Snapshot().Endpoints {
		out = append(out, fmt.Sprintf("%s/%d/%d", e.Address[len("127.0.0.1:"):], e.Weight, e.Priority))
	}
	slices.Sort(out)
	return out
}

// sourced makes a backend of one fixed endpoint, 1, and of what a source finds. Every endpoint answers with its address.
func sourced(t *testing.T, s *scriptedSource, change func(*Options)) (*Backend, *keeper) {
	o := Default()
	o.Name, o.Algorithm = "shop", "round_robin"
	o.Endpoints = []EndpointOptions{{Address: "127.0.0.1:1", Weight: 1}, {Source: s, Weight: 2}}
	if change != nil {
		change(&o)
	}
	k := newKeeper()
	k.open = func(o TransportOptions) *Endpoint {
		return newEndpoint("shop", o, &fakeTransport{answer: answers(200)}, nil)
	}
	b, err := New(o, k, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b, k
}

func TestRosterFollowsSource(t *testing.T) {
	s := newSource()
	b, k := sourced(t, s, nil)
	b.Start()
	if got := addresses(b); !slices.Equal(got, []string{"1/1/0"}) {
		t.Errorf("before anything was found: %v", got)
	}
	if isReady(b) {
		t.Error("ready before the source has answered")
	}
	for _, step := range []struct {
		found []discovery.Found
		want  []string
	}{
		{[]discovery.Found{at(2, 0, 0), at(3, 0, 0)}, []string{"1/1/0", "2/2/0", "3/2/0"}},
		{[]discovery.Found{at(2, 5, 10), at(3, 7, 20)}, []string{"1/1/0", "2/10/0", "3/14/10"}},
		{[]discovery.Found{at(3, 1, 20)}, []string{"1/1/0", "3/2/0"}},
		{[]discovery.Found{at(1, 0, 0), at(3, 0, 0)}, []string{"1/2/0", "3/2/0"}},
		{[]discovery.Found{at(4, 40000, 0)}, []string{"1/2/0", "4/65535/0"}},
		{[]discovery.Found{at(5, 0, 0), at(5, 0, 0)}, []string{"1/2/0", "5/2/0"}},
		{nil, []string{"1/2/0"}},
	} {
		s.find(step.found...)
		if got := addresses(b); !slices.Equal(got, step.want) {
			t.Errorf("found %v: %v, want %v", step.found, got, step.want)
		}
	}
	<-b.Ready()
	b.Close()
	k.mu.Lock()
	defer k.mu.Unlock()
	for address, n := range k.users {
		if n != 0 {
			t.Errorf("endpoint %s was given back all but %d times", address, n)
		}
	}
	if len(s.subs) != 0 {
		t.Error("a closed backend is still subscribed")
	}
}

// TestVanishedEndpointEndsItsWork: what an endpoint is doing when it vanishes it ends as it would have, and it gets nothing new.
func TestVanishedEndpointEndsItsWork(t *testing.T) {
	s := newSource()
	s.find(at(2, 0, 0))
	b, k := sourced(t, s, func(o *Options) { o.Endpoints = o.Endpoints[1:] })
	b.Start()
	var f Flight
	x := newExchange("GET")
	if failure := b.Do(x, &f); failure != nil || x.Outcome.Endpoint != "127.0.0.1:2" {
		t.Fatal(failure, x.Outcome.Endpoint)
	}
	s.find(at(3, 0, 0))
	for range 10 {
		var g Flight
		y := newExchange("GET")
		if failure := b.Do(y, &g); failure != nil || y.Outcome.Endpoint != "127.0.0.1:3" {
			t.Fatal(failure, y.Outcome.Endpoint)
		}
		g.Finish(y)
	}
	if n := k.kept["127.0.0.1:2"].load.InFlight(); n != 1 {
		t.Errorf("%d requests in flight at the vanished endpoint, want 1", n)
	}
	f.Finish(x)
	if n := k.kept["127.0.0.1:2"].load.InFlight(); n != 0 {
		t.Errorf("%d requests in flight at the vanished endpoint in the end", n)
	}
}

// TestReadyWhenSourceFails: a source that has failed once holds nothing up.
func TestReadyWhenSourceFails(t *testing.T) {
	s := newSource()
	b, _ := sourced(t, s, nil)
	b.Start()
	close(s.first)
	<-b.Ready()
}

// TestSlowStart: an endpoint that comes to a running backend grows into its part, one that was there from the start does not.
func TestSlowStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSource()
		b, k := sourced(t, s, func(o *Options) { o.SlowStart = 10 * time.Second; o.Endpoints[1].Weight = 1 })
		b.Start()
		share := func() float64 {
			counts := map[string]int{}
			for range 1000 {
				var f Flight
				x := newExchange("GET")
				if failure := b.Do(x, &f); failure != nil {
					t.Fatal(failure)
				}
				f.Finish(x)
				counts[x.Outcome.Endpoint]++
			}
			return float64(counts["127.0.0.1:2"]) / 1000
		}
		s.find(at(2, 0, 0))
		last := 0.0
		for i, want := range []float64{0.1 / 1.1, 0.55 / 1.55, 0.5} {
			got := share()
			if got < want-0.03 || got > want+0.03 || got < last {
				t.Errorf("after %d s the new endpoint has %.3f of the requests, want %.3f", 5*i, got, want)
			}
			last = got
			pass(5 * time.Second)
		}
		// A reload of a running backend does not begin anew with endpoints that it knows.
		if since := k.kept["127.0.0.1:1"].since.Load(); since != 0 {
			t.Errorf("the first endpoint has a slow start from %d on", since)
		}
		b.Close()
	})
}

func TestPriorities(t *testing.T) {
	check := &CheckOptions{Kind: "tcp", Interval: time.Hour, Timeout: time.Second, Rise: 1, Fall: 1}
	for _, test := range []struct {
		down string // by endpoint, the first three of priority 0, the others of priority 1
		want string // endpoints that get requests
	}{
		{".....", "0 1 2"}, {"x....", "1 2 3 4"}, {"xx...", "2 3 4"}, {"xxx..", "3 4"}, {"xxxx.", "4"}, {"xxxxx", "0 1 2 3 4"}, {"...xx", "0 1 2"},
	} {
		all := make([]func(*message.Exchange, *Call) *message.Failure, 5)
		for i := range all {
			all[i] = answers(200)
		}
		g := newGroup(t, func(o *Options) {
			o.Check = check
			for i := 3; i < 5; i++ {
				o.Endpoints[i].Priority = 1
			}
		}, all...)
		for i, ep := range g.endpoints {
			if test.down[i] == 'x' {
				ep.checked(fmt.Errorf("down"), 1, 1, 1)
			}
		}
		g.refresh(message.Now())
		for range 300 {
			if failure, _ := g.send("GET"); failure != nil {
				t.Fatal(failure)
			}
		}
		got := ""
		for i, tr := range g.transports {
			if tr.calls.Load() > 0 {
				if got != "" {
					got += " "
				}
				got += fmt.Sprint(i)
			}
		}
		if got != test.want {
			t.Errorf("down %s: requests to %s, want %s", test.down, got, test.want)
		}
	}
}

func TestOverride(t *testing.T) {
	g := newGroup(t, nil, answers(200), answers(200), answers(200))
	g.Start()
	for _, step := range []struct {
		o    *Override
		want string // calls of 12 requests
	}{
		{&Override{State: StateDrain, Weight: -1}, "0 6 6"},
		{&Override{State: StateMaint, Weight: 5}, "0 6 6"},
		{&Override{State: StateReady, Weight: 2}, "6 3 3"},
		{&Override{State: StateReady, Weight: 0}, "0 6 6"},
		{nil, "4 4 4"},
	} {
		g.endpoints[0].SetOverride(step.o)
		for _, tr := range g.transports {
			tr.calls.Store(0)
		}
		for range 12 {
			g.send("GET")
		}
		if got := g.calls(); got != step.want {
			t.Errorf("%+v: calls %s, want %s", step.o, got, step.want)
		}
		if got := g.Snapshot().Endpoints[0].Override; got != step.o {
			t.Errorf("shown as %+v, want %+v", got, step.o)
		}
	}
	// What is set outlives the generation.
	g.endpoints[0].SetOverride(&Override{State: StateMaint, Weight: -1})
	b := g.next(t, func(*Options) {})
	g.Close()
	b.Start()
	if s := b.Snapshot(); s.Endpoints[0].Override == nil || s.Endpoints[0].Override.State != StateMaint {
		t.Errorf("after a reload: %+v", s.Endpoints[0])
	}
}
