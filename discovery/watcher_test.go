package discovery

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/metric"
)

// shop is the target of most tests. They run on a clock of their own (synctest), with a resolver in memory, so that times are exact.
var shop = Target{Name: "shop.example", Port: 8443, Resolver: "192.0.2.53:53"} // read-only

// start watches shop with a resolver in memory, and waits for the first lookup.
func start(t *testing.T, target Target, r *resolver) (*Watcher, *lines) {
	report := new(lines)
	w := watch(t, target, Options{Report: report.add, ask: r.ask})
	<-w.First()
	synctest.Wait()
	return w, report
}

func TestTimeToLive(t *testing.T) {
	for _, test := range []struct {
		name           string
		ttl            int
		lowest         time.Duration
		highest        time.Duration
		earliest, wait time.Duration // between two lookups
	}{
		{"of the answer", 60, 0, 0, 54 * time.Second, 60 * time.Second},
		{"none", 0, 0, 0, time.Second, time.Second},
		{"below the default", 1, 0, 0, time.Second, time.Second},
		{"below the lowest", 3, 10 * time.Second, 0, 10 * time.Second, 10 * time.Second},
		{"above the default", 86400, 0, 0, 270 * time.Second, 300 * time.Second},
		{"above the highest", 86400, 0, 20 * time.Second, 18 * time.Second, 20 * time.Second},
		{"lowest wins over highest", 5, 20 * time.Second, 10 * time.Second, 20 * time.Second, 20 * time.Second},
		{"highest bit", 1 << 31, 0, 0, time.Second, time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newResolver(t)
				r.addresses("shop.example", test.ttl, "10.0.0.1", "fd00::1")
				target := shop
				target.MinTTL, target.MaxTTL = test.lowest, test.highest
				w, _ := start(t, target, r)
				wantSet(t, w, "10.0.0.1 fd00::1")
				for n := 1; n < 20; n++ {
					last := time.Now()
					next := w.Status().NextLookup
					if wait := next.Sub(last); wait < test.earliest || wait > test.wait {
						t.Fatalf("the next lookup is %v later, and should be %v to %v", wait, test.earliest, test.wait)
					}
					pass(time.Until(next) - time.Nanosecond)
					if got := len(r.asked()); got != 2*n {
						t.Fatalf("%d questions before the %d. lookup", got, n+1)
					}
					pass(time.Nanosecond)
					if got := len(r.asked()); got != 2*n+2 {
						t.Fatalf("%d questions after %d lookups", got, n+1)
					}
				}
			})
		})
	}
}

// The smallest time to live of an answer counts, that of an alias too.
func TestSmallestTimeToLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newResolver(t)
		r.set("A shop.example", reply{answer: []string{
			"shop.example. 300 IN CNAME cdn.example.", "cdn.example. 20 IN CNAME edge.example.", "edge.example. 200 IN A 10.0.0.1", "edge.example. 200 IN A 10.0.0.2"}})
		r.set("AAAA shop.example", reply{})
		w, _ := start(t, shop, r)
		wantSet(t, w, "10.0.0.1 10.0.0.2")
		if ttl := w.Status().TTL; ttl != 20*time.Second {
			t.Errorf("the time to live is %v", ttl)
		}
		found, _ := w.Current()
		if got := write(found[:1]); got != "0/1 10.0.0.1:8443 shop.example" {
			t.Errorf("found %s", got)
		}
	})
}

// Many watchers must not fall into step.
func TestJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newResolver(t)
		r.addresses("shop.example", 100, "10.0.0.1")
		seen := make(map[time.Time]bool)
		for range 20 {
			w, _ := start(t, shop, r)
			seen[w.Status().NextLookup] = true
		}
		if len(seen) < 15 {
			t.Errorf("20 watchers have %d different times for the next lookup", len(seen))
		}
	})
}

func TestChangeIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newResolver(t)
		r.addresses("shop.example", 10, "10.0.0.1")
		w, report := start(t, shop, r)
		var told []string
		cancel := w.Subscribe(func(found []Found) { told = append(told, addressesOf(found)) })
		before, _ := w.Current()
		for i, list := range [][]string{{"10.0.0.2", "10.0.0.1"}, {"10.0.0.1", "10.0.0.2"}, {"fd00::1"}, {"10.0.0.9"}} {
			r.addresses("shop.example", 10, list...)
			pass(10 * time.Second)
			if i == 2 {
				cancel()
			}
		}
		if got := strings.Join(told, ", "); got != "10.0.0.1 10.0.0.2, fd00::1" {
			t.Errorf("told: %s", got)
		}
		wantSet(t, w, "10.0.0.9")
		if got := addressesOf(before); got != "10.0.0.1" {
			t.Errorf("a set changed after it was returned: %s", got)
		}
		if got := report.all(); len(got) > 0 {
			t.Errorf("reported: %q", got)
		}
	})
}

// When cancel or Close has returned, the subscriber is not running and does not run again. On the real clock: one of synctest stands while a lock is
// waited for.
func TestEndOfSubscriptionWaits(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(w *Watcher, cancel func())
	}{
		{"cancel", func(_ *Watcher, cancel func()) { cancel() }},
		{"Close", func(w *Watcher, _ func()) { w.Close() }},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newResolver(t)
			r.addresses("shop.example", 10, "10.0.0.1")
			target := shop
			target.MinTTL, target.MaxTTL = time.Millisecond, time.Millisecond
			w := watch(t, target, Options{ask: r.ask})
			testnet.Receive(t, "the first lookup", w.First())
			entered, leave, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
			running := false // not guarded: that the end waits is what makes it safe, and the race detector sees it
			cancel := w.Subscribe(func([]Found) {
				running = true
				close(entered) // a second call would panic
				<-leave
				running = false
			})
			r.addresses("shop.example", 10, "10.0.0.2")
			testnet.Receive(t, "the change", entered)
			go func() {
				defer close(ended)
				test.end(w, cancel)
				if running {
					t.Error("it returned while the subscriber was running")
				}
			}()
			timer := time.NewTimer(20 * time.Millisecond)
			defer timer.Stop()
			select {
			case <-ended:
				t.Error("it did not wait")
			case <-timer.C:
			}
			close(leave)
			testnet.Receive(t, "the end of the subscription", ended)
			if test.name == "cancel" {
				r.addresses("shop.example", 10, "10.0.0.3")
				eventually(t, w, "10.0.0.3")
			}
		})
	}
}

// A subscription that ends while a change is being told is not told of it any more.
func TestCancelDuringChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newResolver(t)
		r.addresses("shop.example", 10, "10.0.0.1")
		w, _ := start(t, shop, r)
		var cancelSecond func()
		told := 0
		w.Subscribe(func([]Found) { told++; cancelSecond() })
		cancelSecond = w.Subscribe(func([]Found) { t.Error("told after its end") })
		r.addresses("shop.example", 10, "10.0.0.2")
		pass(10 * time.Second)
		if told != 1 {
			t.Errorf("the first was told %d times", told)
		}
	})
}

// Nothing that a resolver does or does not answer empties a set. The wait doubles to 30 seconds, one line a minute is reported, and one when
// it works again.
func TestLastGoodSetStays(t *testing.T) {
	for _, test := range []struct {
		name   string
		reply  reply
		says   string
		result string // as the metric has it
	}{
		{"server failure", reply{rcode: dns.RcodeServerFailure}, "A of shop.example at 192.0.2.53:53: answered SERVFAIL", "failed"},
		{"refused", reply{rcode: dns.RcodeRefused}, "answered REFUSED", "failed"},
		{"silence", reply{silent: true}, "no answer by udp in time", "failed"},
		{"no such name", reply{rcode: dns.RcodeNameError}, "shop.example does not exist or has no addresses", "empty"},
		{"no data", reply{}, "shop.example does not exist or has no addresses", "empty"},
		{"unusable addresses", reply{answer: []string{"shop.example. 5 IN A 0.0.0.0", "shop.example. 5 IN AAAA ff02::1"}}, "nonsense: the address 0.0.0.0", "failed"},
		{"a circle", reply{answer: []string{"shop.example. 5 IN CNAME b.example.", "b.example. 5 IN CNAME shop.example."}}, "circle", "failed"},
		{"another question", reply{broken: func(m []byte) []byte { m[13] ^= 1; return m }}, "another question", "failed"},
		{"another id", reply{broken: func(m []byte) []byte { m[0] ^= 1; return m }}, "another id", "failed"},
		{"garbage", reply{broken: func([]byte) []byte { return []byte("HTTP/1.1 400 Bad Request\r\n\r\n") }}, "not an answer to the question", "failed"},
		{"a few bytes", reply{broken: func([]byte) []byte { return []byte{1, 2, 3} }}, "3 bytes are no DNS message", "failed"},
		{"a broken answer", reply{answer: []string{"shop.example. 5 IN TXT x"}, broken: func(m []byte) []byte { return m[:len(m)-3] }}, "broken", "failed"},
		{"an answer without its records", reply{answer: []string{"shop.example. 5 IN A 10.9.9.9"}, broken: func(m []byte) []byte { return m[:30] }}, "broken", "failed"},
		{"truncated, and silence by TCP", reply{truncated: true, tcp: &reply{silent: true}}, "no answer by tcp in time", "failed"},
		{"truncated by TCP too", reply{truncated: true, tcp: &reply{broken: func(m []byte) []byte { m[2] |= 2; return m }}}, "by TCP is cut off", "failed"},
		{"a query for an answer", reply{broken: func(m []byte) []byte { m[2] &= 0x7f; return m }}, "a query", "failed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newResolver(t)
				r.addresses("shop.example", 5, "10.0.0.1", "10.0.0.2", "fd00::1")
				registry := metric.NewRegistry(metric.Options{})
				scope, report := registry.Scope(), new(lines)
				defer scope.Release()
				w := watch(t, shop, Options{Report: report.add, ask: r.ask, Metrics: scope})
				<-w.First()
				synctest.Wait()
				w.Subscribe(func(found []Found) { t.Errorf("told of %q", addressesOf(found)) })
				r.both("shop.example", test.reply)
				wait := time.Until(w.Status().NextLookup)
				last := w.Status().LastAnswer
				for n := 1; n <= 12; n++ {
					pass(wait)
					for w.Status().Failures < n { // silence takes its time
						pass(100 * time.Millisecond)
					}
					s := w.Status()
					if !s.Stale || !s.Known || s.Failures != n || s.Endpoints != 3 || !s.LastAnswer.Equal(last) || !strings.Contains(s.LastError, test.says) {
						t.Fatalf("after %d failures: %+v", n, s)
					}
					wantSet(t, w, "10.0.0.1 10.0.0.2 fd00::1")
					wait = time.Until(s.NextLookup)
					longest := min(time.Second<<(n-1), 30*time.Second)
					// Half a second for the pace of the loop above.
					if wait > longest || wait < max(time.Second, longest*9/10)-time.Second/2 {
						t.Fatalf("after %d failures the next lookup is %v later", n, wait)
					}
				}
				outage := time.Since(last)
				said := report.all()
				if len(said) < 1 || len(said) > 1+int(outage/time.Minute) {
					t.Errorf("reported %d times in %v: %q", len(said), outage, said)
				}
				for _, line := range said {
					if !strings.HasPrefix(line, "discovery of shop.example:8443@192.0.2.53:53: ") || !strings.Contains(line, test.says) ||
						!strings.HasSuffix(line, "; the set found before stays in use (endpoints: 3)") {
						t.Errorf("reported %q", line)
					}
				}
				name := shop.String()
				if got := scope.Counter(metric.DiscoveryLookups, name, test.result).Value(); got != 12 {
					t.Errorf("%d lookups with the result %s", got, test.result)
				}
				if s := w.Status(); s.TTL != 0 {
					t.Errorf("time to live %v after %v", s.TTL, outage)
				}

				r.addresses("shop.example", 5, "10.0.0.1", "10.0.0.2", "fd00::1")
				pass(time.Minute)
				if s := w.Status(); s.Stale || s.Failures != 0 || s.LastError != "" || !s.LastAnswer.After(last) {
					t.Errorf("it works again: %+v", s)
				}
				if got := report.all(); len(got) != len(said)+1 || got[len(said)] != "discovery of shop.example:8443@192.0.2.53:53: works again (endpoints: 3)" {
					t.Errorf("reported at the end: %q", got[len(said):])
				}
			})
		})
	}
}

// With the resolver away at the start nothing is known, First says so after a while, and the set is there as soon as the resolver is.
func TestResolverAwayAtTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newResolver(t)
		r.both("shop.example", reply{silent: true})
		began := time.Now()
		w, report := start(t, shop, r)
		if waited := time.Since(began); waited > 5*time.Second {
			t.Errorf("First took %v", waited)
		}
		if s := w.Status(); s.Known || s.Stale || s.Failures != 1 || s.TTL != 0 {
			t.Errorf("%+v", s)
		}
		wantSet(t, w, "")
		if got := report.all(); len(got) != 1 || !strings.HasSuffix(got[0], "no answer by udp in time; no endpoints are known yet") {
			t.Errorf("reported %q", got)
		}
		told := make(chan string, 10)
		w.Subscribe(func(found []Found) { told <- addressesOf(found) })
		r.addresses("shop.example", 5, "10.0.0.1")
		if got := <-told; got != "10.0.0.1" {
			t.Errorf("told of %q", got)
		}
		wantSet(t, w, "10.0.0.1")
	})
}

// Servers that fail at one family are common. What is known of that family stays; where nothing is known, nothing is amiss.
func TestOneFamilyFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newResolver(t)
		r.addresses("shop.example", 100, "10.0.0.1")
		r.set("AAAA shop.example", reply{rcode: dns.RcodeServerFailure})
		w, report := start(t, shop, r)
		wantSet(t, w, "10.0.0.1")
		if s := w.Status(); s.Failures != 0 || s.Stale || !strings.Contains(s.LastError, "AAAA of shop.example") || time.Until(s.NextLookup) < 90*time.Second {
			t.Errorf("%+v", s)
		}
		if got := report.all(); len(got) > 0 {
			t.Errorf("reported %q", got)
		}
		r.addresses("shop.example", 100, "10.0.0.1", "fd00::1")
		pass(100 * time.Second)
		wantSet(t, w, "10.0.0.1 fd00::1")

		r.addresses("shop.example", 100, "10.0.0.2")
		r.set("AAAA shop.example", reply{rcode: dns.RcodeServerFailure})
		pass(100 * time.Second)
		wantSet(t, w, "10.0.0.2 fd00::1")
		if s := w.Status(); s.Failures == 0 || !s.Stale {
			t.Errorf("%+v", s)
		}
		if got := report.all(); len(got) != 1 || !strings.HasSuffix(got[0], "; what is known of it stays in use (endpoints in all: 2)") {
			t.Errorf("reported %q", got)
		}

		// An answer that there are none is believed as long as the other family has some.
		r.addresses("shop.example", 100, "10.0.0.2")
		pass(40 * time.Second)
		wantSet(t, w, "10.0.0.2")
		if got := report.all(); len(got) != 2 || !strings.HasSuffix(got[1], "works again (endpoints: 1)") {
			t.Errorf("reported %q", got)
		}
	})
}

// A server that answers one family and does not know the name for the other is believed about the name.
func TestNameIsGoneForBothFamilies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newResolver(t)
		r.addresses("shop.example", 10, "10.0.0.1", "fd00::1")
		w, _ := start(t, shop, r)
		r.set("A shop.example", reply{rcode: dns.RcodeNameError})
		r.set("AAAA shop.example", reply{silent: true})
		pass(30 * time.Second)
		wantSet(t, w, "10.0.0.1 fd00::1")
		if s := w.Status(); !s.Stale || !strings.Contains(s.LastError, "does not exist") {
			t.Errorf("%+v", s)
		}
	})
}

func TestBoundOfAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newResolver(t)
		var list []string
		for i := range MaxAddresses + 200 {
			list = append(list, fmt.Sprintf("10.0.%d.%d", i/250, i%250))
		}
		r.addresses("shop.example", 100, list...)
		w, report := start(t, shop, r)
		found, _ := w.Current()
		if len(found) != MaxAddresses || found[0].Address.Addr() != mustAddress(t, "10.0.0.0") || found[MaxAddresses-1].Address.Addr() != mustAddress(t, "10.0.4.23") {
			t.Errorf("%d addresses from %v to %v", len(found), found[0], found[len(found)-1])
		}
		pass(10 * time.Minute)
		if got := report.all(); len(got) != 1 || !strings.HasSuffix(got[0], "1224 addresses were found, and the first 1024 by priority and address are used") {
			t.Errorf("reported %q", got)
		}
	})
}

// A usable address beside an unusable one is used, and the other is told of once.
func TestUnusableIsLeftOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newResolver(t)
		r.addresses("shop.example", 10, "0.0.0.0", "127.0.0.1", "10.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "::ffff:10.0.0.1", "::ffff:224.0.0.1")
		w, report := start(t, shop, r)
		wantSet(t, w, "10.0.0.1 127.0.0.1 ::1")
		pass(10 * time.Minute)
		if got := report.all(); len(got) != 1 || !strings.HasSuffix(got[0], "the address 0.0.0.0 cannot be an endpoint's") {
			t.Errorf("reported %q", got)
		}
	})
}

func TestTargetThatCannotBeFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newResolver(t)
		w, report := start(t, Target{Name: "shop.example", Resolver: "192.0.2.53:53"}, r)
		wantSet(t, w, "")
		if got := report.all(); len(got) != 1 || !strings.Contains(got[0], "the port is missing") {
			t.Errorf("reported %q", got)
		}
		if n := len(r.asked()); n != 0 {
			t.Errorf("%d questions", n)
		}
	})
}

// Close ends a question that is not answered, and whoever waits for the first lookup goes on.
func TestCloseDuringLookup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newResolver(t)
		r.both("shop.example", reply{silent: true})
		w := Watch(shop, Options{ask: r.ask, Timeout: time.Hour})
		synctest.Wait()
		if n := len(r.asked()); n != 2 {
			t.Fatalf("%d questions", n)
		}
		began := time.Now()
		w.Close()
		<-w.First()
		w.Close()
		if time.Since(began) != 0 {
			t.Error("Close waited for the resolver")
		}
	})
}

// The metrics of a watcher, as they are scraped.
func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newResolver(t)
		registry := metric.NewRegistry(metric.Options{})
		scope := registry.Scope()
		r.both("shop.example", reply{rcode: dns.RcodeServerFailure})
		w := watch(t, shop, Options{ask: r.ask, Metrics: scope})
		want := func(lines ...string) {
			t.Helper()
			var text strings.Builder
			if _, err := registry.WriteTo(&text); err != nil {
				t.Fatal(err)
			}
			for _, line := range lines {
				if !strings.Contains(text.String(), "\n"+line+"\n") {
					t.Errorf("no line %s", line)
				}
			}
		}
		pass(500 * time.Millisecond)
		want(`sluice_discovery_endpoints{name="shop.example:8443@192.0.2.53:53"} 0`,
			`sluice_discovery_lookups_total{name="shop.example:8443@192.0.2.53:53",result="failed"} 1`)
		r.addresses("shop.example", 10, "10.0.0.1", "10.0.0.2")
		r.set("AAAA shop.example", reply{rcode: dns.RcodeServerFailure})
		pass(time.Second)
		want(`sluice_discovery_endpoints{name="shop.example:8443@192.0.2.53:53"} 2`,
			`sluice_discovery_lookups_total{name="shop.example:8443@192.0.2.53:53",result="partial"} 1`)
		r.addresses("shop.example", 10, "10.0.0.1", "10.0.0.2")
		pass(10 * time.Second)
		want(`sluice_discovery_lookups_total{name="shop.example:8443@192.0.2.53:53",result="ok"} 1`)
		r.both("shop.example", reply{rcode: dns.RcodeNameError})
		last := w.Status().LastAnswer
		pass(time.Until(last.Add(10*time.Minute + time.Millisecond)))
		want(`sluice_discovery_endpoints{name="shop.example:8443@192.0.2.53:53"} 2`, `sluice_discovery_age_seconds{name="shop.example:8443@192.0.2.53:53"} 600`)
		w.Close()
		scope.Release()
		var text strings.Builder
		if _, err := registry.WriteTo(&text); err != nil || strings.Contains(text.String(), "shop.example") {
			t.Errorf("after the release (%v): %s", err, text.String())
		}
	})
}

// Failures do not make lookups more frequent than the lowest time to live allows.
func TestRetryNotBelowLowest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newResolver(t)
		r.both("shop.example", reply{rcode: dns.RcodeServerFailure})
		target := shop
		target.MinTTL = 10 * time.Second
		start(t, target, r)
		pass(time.Minute - time.Millisecond)
		// Waits of 10, 10, 10, 10 and up to 16 seconds.
		if n := r.times(dns.TypeA); n < 5 || n > 6 {
			t.Errorf("%d lookups in a minute", n)
		}
	})
}
