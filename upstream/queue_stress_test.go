package upstream

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
)

// TestQueueHandsOver runs many exchanges at once through few places, over several generations. Nobody may be forgotten, no bound exceeded.
func TestQueueHandsOver(t *testing.T) {
	const inFlight, workers, each = 3, 48, 300
	var present [4]atomic.Int64
	var most atomic.Int64
	var all []func(*message.Exchange, *Call) *message.Failure
	for i := range present {
		all = append(all, func(x *message.Exchange, c *Call) *message.Failure {
			n := present[i].Add(1)
			for {
				m := most.Load()
				if n <= m || most.CompareAndSwap(m, n) {
					break
				}
			}
			for range int(x.Request.Path[0]) % 7 {
				runtime.Gosched() // so that others come meanwhile
			}
			if x.Request.Path[0]%5 == 0 { // some fail before they were sent, and go elsewhere
				x.Request.Path[0]++
				present[i].Add(-1)
				return fails(refusedFailure)(x, c)
			}
			return answers(200)(x, c)
		})
	}
	g := newGroup(t, func(o *Options) {
		bounded(inFlight, workers, time.Minute)(o)
		o.Outlier.Consecutive = 0
	}, all...)
	reg := metric.NewRegistry(metric.Options{})
	g.metrics.open(reg, "shop") // the first generation's stand for all
	g.metrics.openQueue("shop")
	index := map[string]int{}
	for i, ep := range g.endpoints {
		index[ep.address] = i
	}
	var live atomic.Pointer[Backend]
	live.Store(g.Backend)
	stop := make(chan struct{})
	var reloads sync.WaitGroup
	reloads.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			next, err := New(g.options, g.keeper, reg)
			if err != nil {
				t.Error(err)
				return
			}
			old := live.Swap(next)
			if old != g.Backend {
				old.Close()
			}
		}
	})
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			var f Flight
			x := newExchange("GET")
			for n := range each {
				x.Reset()
				x.Request.Method = message.MethodOf([]byte("GET"))
				x.Request.Path = []byte{byte((w + n) % 200)}
				failure := live.Load().Do(x, &f)
				if failure != nil {
					t.Errorf("worker %d: %v", w, failure)
					x.Fail(failure)
				} else {
					present[index[x.Outcome.Endpoint]].Add(-1)
				}
				f.Finish(x)
			}
		})
	}
	wg.Wait()
	close(stop)
	reloads.Wait()
	if last := live.Load(); last != g.Backend {
		last.Close()
	}
	waited := uint64(0)
	reg.EachHistogram(metric.QueueWait, func(_ []string, s *metric.Snapshot) { waited = s.Count() })
	if waited < workers {
		t.Errorf("only %d have waited: the test shows little", waited)
	}
	reg.Each(metric.BackendQueue, func(_ []string, n int64) {
		if n != 0 {
			t.Errorf("%d are still said to wait", n)
		}
	})
	if got := most.Load(); got > inFlight {
		t.Errorf("%d in flight at one endpoint, the bound is %d", got, inFlight)
	}
	for _, ep := range g.endpoints {
		if n := ep.load.InFlight(); n != 0 {
			t.Errorf("%s has %d in flight at the end", ep.address, n)
		}
		if p := ep.seats.Load(); p == nil || len(*p) != 1 {
			t.Errorf("%s knows queues %v at the end", ep.address, p)
		}
	}
}

// TestQueueForgetsNobody lets the only place become free at the very moment at which somebody begins to wait for it, with nobody to come later.
func TestQueueForgetsNobody(t *testing.T) {
	g := newGroup(t, bounded(1, 1, 10*time.Second), answers(200))
	const rounds = 20_000
	var fa, fb Flight
	xa, xb := newExchange("GET"), newExchange("GET")
	var turn, over atomic.Int64 // spun on, so that both go on at the same time
	until := func(n *atomic.Int64, round int64) {
		for spins := 0; n.Load() < round; spins++ {
			if spins > 1000 {
				runtime.Gosched()
			}
		}
	}
	var other sync.WaitGroup
	other.Go(func() {
		for round := int64(1); round <= rounds; round++ {
			until(&turn, round)
			if failure := g.Do(xb, &fb); failure != nil && !t.Failed() {
				t.Errorf("round %d: %v", round, failure)
			}
			fb.Finish(xb)
			over.Store(round)
		}
	})
	for round := int64(1); round <= rounds && !t.Failed(); round++ {
		if failure := g.Do(xa, &fa); failure != nil {
			t.Fatal(failure)
		}
		turn.Store(round)
		for range round % 128 {
			_ = turn.Load()
		}
		fa.Finish(xa)
		until(&over, round)
	}
	turn.Store(rounds)
	other.Wait()
}
