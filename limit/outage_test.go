package limit

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// load sends requests from several goroutines until it is stopped, and remembers what became of them and how long the slowest has taken.
type load struct {
	slowest                           atomic.Int64
	all, late, shared, stored, nobody atomic.Int64
	idle                              atomic.Int64 // how long the slowest wait for a timer of the same length has taken
	stop                              chan struct{}
	wg                                sync.WaitGroup
}

func startLoad(l Limiter, timeout time.Duration) *load {
	ld := &load{stop: make(chan struct{})}
	ld.wg.Go(func() {
		for {
			begin := mono()
			timer := time.NewTimer(timeout)
			select {
			case <-ld.stop:
				timer.Stop()
				return
			case <-timer.C:
				ld.idle.Store(max(ld.idle.Load(), mono()-begin))
			}
		}
	})
	for g := range 4 {
		ld.wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-ld.stop:
					return
				default:
				}
				begin := mono()
				got := ask(l, fmt.Sprint("key", (g*7+i)%50), 1)
				took := mono() - begin
				for {
					old := ld.slowest.Load()
					if took <= old || ld.slowest.CompareAndSwap(old, took) {
						break
					}
				}
				ld.all.Add(1)
				if took > int64(timeout)+50*ms {
					ld.late.Add(1)
				}
				switch got.Source {
				case FromStore:
					ld.stored.Add(1)
					continue
				case FromShare:
					ld.shared.Add(1)
				case FromNobody:
					ld.nobody.Add(1)
				}
				time.Sleep(20 * time.Microsecond) // without the store a decision takes no time, and others need the processor
			}
		})
	}
	return ld
}

func (ld *load) end() {
	close(ld.stop)
	ld.wg.Wait()
}

// more waits until a counter has gone up by n.
func more(t *testing.T, what string, c *atomic.Int64, n int64) {
	t.Helper()
	from := c.Load()
	testnet.Eventually(t, what, func() bool { return c.Load() >= from+n })
}

// TestStoreOutages: under load the server is killed, started, frozen and thawed, several times. No decision waits for anything but the timeout, which is far
// shorter than any of the client's own; while the server is away decisions go on without it, and when it is back it is used again without anybody's help.
func TestStoreOutages(t *testing.T) {
	const timeout = 30 * time.Millisecond
	for name, mode := range map[string]FailureMode{"share": Share, "open": Open, "closed": Closed} {
		t.Run(name, func(t *testing.T) {
			r := testnet.StartRedis(t)
			s, lines := openStore(t, StoreOptions{URL: r.URL(), Timeout: timeout})
			sh := newShared(t, SharedOptions{Store: s, Name: "n", Windows: []Window{{Count: 1000, Per: time.Second}}, Quota: QuotaOptions{Limit: 1 << 40, Period: Day}, OnFailure: mode})
			ld := startLoad(sh, timeout)
			alone := &ld.nobody
			if mode == Share {
				alone = &ld.shared
			}
			outages := uint64(0)
			for round, c := range []struct {
				name      string
				end, mend func()
			}{
				{"killed", r.Kill, r.Start},
				{"frozen", r.Freeze, r.Thaw},
				{"killed again", r.Kill, r.Start},
			} {
				available(t, s)
				more(t, "answers of the store before it is "+c.name, &ld.stored, 200)
				outages = max(outages, s.Stats().Outages)
				c.end()
				testnet.Eventually(t, "that it is seen to be "+c.name, func() bool { return !s.Available() })
				more(t, "decisions while it is "+c.name, alone, 1000)
				c.mend()
				if round == 2 {
					break
				}
			}
			available(t, s)
			more(t, "answers of the store at the end", &ld.stored, 200)
			ld.end()
			slowest, idle := time.Duration(ld.slowest.Load()), time.Duration(ld.idle.Load())
			t.Logf("%d decisions, %d by the store, the slowest took %v, %d took more than %v; a mere timer took up to %v", ld.all.Load(), ld.stored.Load(), slowest,
				ld.late.Load(), timeout+50*time.Millisecond, idle)
			// The client's own timeouts begin at a second. What takes longer than the timeout and a little did not get the processor in time, as the timer did
			// not that was started beside it.
			if slowest > dialTimeout/2+3*idle {
				t.Errorf("a decision took %v, a timer %v", slowest, idle)
			}
			if late := ld.late.Load(); late*100 > ld.all.Load() && idle < timeout+50*time.Millisecond {
				t.Errorf("%d of %d decisions took longer than they may", late, ld.all.Load())
			}
			away, back := 0, 0
			for i, line := range lines.all() {
				switch {
				case strings.Contains(line, "is away") && away == back:
					away++
				case strings.Contains(line, "is back") && away == back+1:
					back++
				default:
					t.Errorf("line %d is out of turn: %q", i, lines.all())
				}
			}
			if away < 3 || away != back {
				t.Errorf("%q", lines.all())
			}
			if st := s.Stats(); st.Outages < 3 || st.Failed == 0 || st.Asked == 0 {
				t.Errorf("%+v", st)
			}
		})
	}
}

// TestStoreFrozenCrowd: when the server stops answering, as many requests as may wait for it do, and the others do not wait at all.
func TestStoreFrozenCrowd(t *testing.T) {
	const timeout = 2 * time.Second
	r := testnet.StartRedis(t)
	s, _ := openStore(t, StoreOptions{URL: r.URL(), Timeout: timeout})
	available(t, s)
	sh := newShared(t, SharedOptions{Store: s, Name: "n", Windows: []Window{{Count: 1_000_000, Per: time.Second}}})
	r.Freeze()
	var wg sync.WaitGroup
	var slowest atomic.Int64
	begin := make(chan struct{})
	for range 4 * maxCalls {
		wg.Go(func() {
			<-begin
			from := mono()
			if got := ask(sh, "k", 1); got.Verdict != Passed || got.Source != FromShare {
				t.Errorf("%+v", got)
			}
			for took := mono() - from; ; {
				old := slowest.Load()
				if took <= old || slowest.CompareAndSwap(old, took) {
					return
				}
			}
		})
	}
	close(begin)
	wg.Wait()
	if st := s.Stats(); st.Busy == 0 || st.Asked > maxCalls+4 || st.Available {
		t.Errorf("%+v", st)
	}
	if got := time.Duration(slowest.Load()); got > testnet.Patience/4 {
		t.Errorf("one took %v", got)
	}
	r.Thaw()
	available(t, s)
	testnet.Eventually(t, "an answer of the store", func() bool { return ask(sh, "k", 1).Source == FromStore })
}

// TestStoreShare: in an outage the instances together let as many pass as the limit says.
func TestStoreShare(t *testing.T) {
	r := testnet.StartRedis(t)
	var stores []*Store
	var limiters []*Shared
	for range 3 {
		s, _ := openStore(t, StoreOptions{URL: r.URL()})
		stores = append(stores, s)
		limiters = append(limiters, newShared(t, SharedOptions{Store: s, Name: "n", Windows: []Window{{Count: 1, Per: time.Hour, Burst: 30}}}))
	}
	available(t, stores...)
	testnet.Eventually(t, "that all see all", func() bool {
		return stores[0].Instances() == 3 && stores[1].Instances() == 3 && stores[2].Instances() == 3
	})
	r.Kill()
	for _, l := range limiters {
		testnet.Eventually(t, "the outage", func() bool { return ask(l, "other", 1).Source == FromShare })
		passed := 0
		for range 50 {
			if ask(l, "k", 1).Verdict == Passed {
				passed++
			}
		}
		if passed != 10 {
			t.Errorf("%d of an instance's 10 have passed", passed)
		}
	}
	// One instance comes back before the others: it still counts with three.
	r.Start()
	available(t, stores[0])
	if n := stores[0].Instances(); n != 3 {
		t.Errorf("%d instances after the outage", n)
	}
	// An instance that leaves is gone at once.
	available(t, stores...)
	stores[2].Close()
	if got := r.Run("ZCARD", DefaultStorePrefix+"{instances}"); got != "2" {
		t.Errorf("%s instances are left", got)
	}
	if stores[2].Available() {
		t.Error("a store that is closed is available")
	}
}

// TestBreaker: what makes the store away.
func TestBreaker(t *testing.T) {
	late, gone, ok := context.DeadlineExceeded, error(&net.OpError{Op: "read", Err: errors.New("reset")}), error(nil)
	repeat := func(n int, es ...error) (all []error) {
		for range n {
			all = append(all, es...)
		}
		return all
	}
	for _, c := range []struct {
		name    string
		results []error
		away    bool
	}{
		{"two are late", []error{late, late}, false},
		{"three are late", []error{late, late, late}, true},
		{"one in six is late", repeat(50, late, ok, ok, ok, ok, ok), false},
		{"one in three is late", repeat(50, late, ok, ok), true},
		{"the connection is gone", []error{ok, ok, gone}, true},
	} {
		s := &Store{trip: make(chan struct{}, 1), o: StoreOptions{Timeout: time.Second}}
		l := &link{}
		s.link.Store(l)
		for _, err := range c.results {
			s.judge(l, err)
		}
		if s.Available() == c.away {
			t.Errorf("%s: available is %v", c.name, s.Available())
		}
	}
}

// TestStoreCluster: a server that is a cluster is recognised, and what belongs together is kept in one place.
func TestStoreCluster(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, bus, _ := net.SplitHostPort(ln.Addr().String())
	_ = ln.Close()
	r := testnet.StartRedis(t, "--cluster-enabled", "yes", "--cluster-port", bus)
	s, _ := openStore(t, StoreOptions{URL: r.URL()})
	r.Run("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
	testnet.Eventually(t, "the cluster", func() bool { return strings.Contains(r.Run("CLUSTER", "INFO"), "cluster_state:ok") })
	available(t, s)
	sh := newShared(t, SharedOptions{Store: s, Name: "n", Windows: []Window{{Count: 1, Per: time.Hour, Burst: 3}}, Quota: QuotaOptions{Limit: 2, Period: Day}})
	for i, want := range []Verdict{Passed, Passed, QuotaRefused} {
		if got := ask(sh, "k", 1); got.Verdict != want || got.Source != FromStore {
			t.Errorf("%d: %+v", i, got)
		}
	}
}

// BenchmarkShared is a decision of the store, with many requests at once.
func BenchmarkShared(b *testing.B) {
	r := testnet.StartRedis(b)
	s, _ := openStore(b, StoreOptions{URL: r.URL()})
	available(b, s)
	sh := newShared(b, SharedOptions{Store: s, Name: "n", Windows: []Window{{Count: 10, Per: time.Second}}, Quota: QuotaOptions{Limit: 1 << 40, Period: Month}})
	b.Run("one", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			ask(sh, "k", 1)
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				ask(sh, "k", 1)
			}
		})
	})
	r.Kill()
	testnet.Eventually(b, "the outage", func() bool { ask(sh, "k", 1); return !s.Available() })
	b.Run("away", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			ask(sh, "k", 1)
		}
	})
}
