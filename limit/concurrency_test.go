package limit

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func newConcurrency(t testing.TB, o ConcurrencyOptions) *Concurrency {
	t.Helper()
	c, err := NewConcurrency(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestConcurrency: so many of a key and no more, independent of other keys.
func TestConcurrency(t *testing.T) {
	c := newConcurrency(t, ConcurrencyOptions{Max: 2})
	var a, b, d, other Ticket
	for i, want := range []struct {
		ticket *Ticket
		key    string
		got    Admission
	}{{&a, "k", Admitted}, {&b, "k", Admitted}, {&d, "k", Full}, {&other, "other", Admitted}} {
		if got := c.Acquire(want.ticket, []byte(want.key), 0); got != want.got {
			t.Errorf("%d: %v", i, got)
		}
	}
	if st := c.Stats(); st != (ConcurrencyStats{Keys: 2, InFlight: 3, Full: 1}) {
		t.Errorf("%+v", st)
	}
	d.Release() // was not admitted: nothing happens
	a.Release()
	a.Release() // a second time: nothing happens
	if got := c.Acquire(&d, []byte("k"), 0); got != Admitted {
		t.Errorf("after a release: %v", got)
	}
	if got := c.Acquire(&a, []byte("k"), 0); got != Full {
		t.Errorf("after two releases of one: %v", got)
	}
	b.Release()
	d.Release()
	other.Release()
	if st := c.Stats(); st.Keys != 0 || st.InFlight != 0 {
		t.Errorf("at the end: %+v", st)
	}
}

// TestConcurrencyQueue: those who wait are served in their order, late ones are refused, and cancelled ones make room.
func TestConcurrencyQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConcurrency(t, ConcurrencyOptions{Max: 1, Queue: 3, Timeout: time.Second})
		key := []byte("k")
		tickets := make([]Ticket, 6)
		want := []Admission{Admitted, Queued, Queued, Queued, Full}
		for i, w := range want {
			patience := time.Duration(0)
			if i == 2 {
				patience = 300 * time.Millisecond
			}
			if got := c.Acquire(&tickets[i], key, patience); got != w {
				t.Fatalf("%d: %v", i, got)
			}
		}
		if st := c.Stats(); st.InFlight != 1 || st.Queued != 3 || st.Full != 1 {
			t.Errorf("%+v", st)
		}
		begin := time.Now()
		results := make(chan string, 10)
		for i := 1; i <= 3; i++ {
			go func() {
				tickets[i].Wait()
				results <- fmt.Sprint(i, " ", tickets[i].Settle(), " after ", time.Since(begin))
			}()
		}
		expect := func(want string) {
			t.Helper()
			if got := <-results; got != want {
				t.Errorf("%q instead of %q", got, want)
			}
		}
		expect("2 timed out after 300ms")
		if got := c.Acquire(&tickets[4], key, -1); got != Full {
			t.Errorf("one that must not wait: %v", got)
		}
		if got := c.Acquire(&tickets[4], key, 0); got != Queued {
			t.Errorf("into the free place of the queue: %v", got)
		}
		tickets[3].Cancel()
		expect("3 cancelled after 300ms")
		tickets[0].Release()
		expect("1 admitted after 300ms")
		if got := c.Acquire(&tickets[5], key, 0); got != Queued {
			t.Errorf("nobody overtakes: %v", got)
		}
		// 4 and 5 both time out; by then the place is still taken.
		tickets[4].Wait()
		if got := tickets[4].Settle(); got != TimedOut {
			t.Errorf("the fourth: %v", got)
		}
		tickets[5].Wait()
		if got := tickets[5].Settle(); got != TimedOut {
			t.Errorf("the fifth: %v", got)
		}
		tickets[1].Release()
		tickets[3].Release() // was cancelled: nothing happens
		if st := c.Stats(); st.Keys != 0 || st.InFlight != 0 || st.Queued != 0 || st.TimedOut != 3 {
			t.Errorf("at the end: %+v", st)
		}
	})
}

// TestConcurrencyRaces: whoever ends a wait, at the same moment as another, a place is neither lost nor given twice.
func TestConcurrencyRaces(t *testing.T) {
	const most = 3
	c := newConcurrency(t, ConcurrencyOptions{Max: most, Queue: 8, Timeout: 200 * time.Microsecond})
	var inside [4]atomic.Int64
	var counts [6]atomic.Int64
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			var ticket Ticket
			for i := range 1500 {
				k := (g + i) % len(inside)
				a := c.Acquire(&ticket, []byte{byte(k)}, 0)
				if a == Queued {
					if i%5 == 0 {
						wg.Go(func() {}) // lets another goroutine in
						ticket.Cancel()
					}
					ticket.Wait()
					a = ticket.Settle()
				}
				counts[a].Add(1)
				if a != Admitted {
					continue
				}
				if n := inside[k].Add(1); n > most {
					t.Errorf("%d inside", n)
				}
				inside[k].Add(-1)
				ticket.Release()
			}
		})
	}
	wg.Wait()
	if st := c.Stats(); st.Keys != 0 || st.InFlight != 0 || st.Queued != 0 {
		t.Errorf("at the end: %+v", st)
	}
	if counts[Admitted].Load() == 0 {
		t.Error("nobody was admitted")
	}
}

// TestConcurrencyKeys: more keys than there is room for are refused and counted.
func TestConcurrencyKeys(t *testing.T) {
	c := newConcurrency(t, ConcurrencyOptions{Max: 1, Keys: 10})
	tickets := make([]Ticket, 12)
	for i := range tickets {
		want := Admitted
		if i >= 10 {
			want = Full
		}
		if got := c.Acquire(&tickets[i], []byte{byte(i)}, 0); got != want {
			t.Errorf("key %d: %v", i, got)
		}
	}
	if st := c.Stats(); st.Crowded != 2 || st.Full != 2 || st.Keys != 10 {
		t.Errorf("%+v", st)
	}
}

func TestConcurrencyErrors(t *testing.T) {
	for _, c := range []struct {
		o    ConcurrencyOptions
		want string
	}{
		{ConcurrencyOptions{}, "at least 1"},
		{ConcurrencyOptions{Max: 1, Queue: -1}, "0 or more"},
		{ConcurrencyOptions{Max: 1, Queue: 1}, "timeout"},
	} {
		if _, err := NewConcurrency(c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.o, err)
		}
	}
	if Admission(0).String() != "" || Full.String() != "full" || Queued.String() != "queued" {
		t.Error("the words of admissions")
	}
}
