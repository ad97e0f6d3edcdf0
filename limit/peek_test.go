package limit

import (
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// TestPeek: a look counts nothing, in memory, in a store and without the store, and tells the same as the request before it.
func TestPeek(t *testing.T) {
	t.Parallel()
	server := testnet.StartRedis(t)
	s, _ := openStore(t, StoreOptions{URL: server.URL()})
	available(t, s)
	windows, quota := []Window{{Count: 2, Per: time.Hour}}, QuotaOptions{Limit: 3, Period: Day}
	rate, err := NewRate(RateOptions{Windows: windows})
	if err != nil {
		t.Fatal(err)
	}
	q, err := NewQuota(quota)
	if err != nil {
		t.Fatal(err)
	}
	sh := newShared(t, SharedOptions{Store: s, Name: "n", Windows: windows, Quota: quota})
	closed := newShared(t, SharedOptions{Store: s, Name: "c", Windows: windows, OnFailure: Closed})
	check := func(name string, l Limiter) {
		t.Helper()
		var r Result
		look := func() Result {
			for range 5 {
				l.Peek([]byte("k"), mono(), time.Now().UnixNano(), &r)
			}
			return r
		}
		for want := int64(2); want >= 0; want-- {
			if r := look(); r.Verdict != Passed || r.Rate.State().Remaining != want || r.Quota.Remaining != want+1 || !r.HasRate || !r.HasQuota {
				t.Errorf("%s: with %d left: %+v", name, want, r)
			}
			if r := ask(l, "k", 1); (r.Verdict == Passed) != (want > 0) {
				t.Errorf("%s: with %d left: %+v", name, want, r)
			}
		}
	}
	check("memory", &Local{Rate: rate, Quota: q})
	check("store", sh)
	server.Kill()
	testnet.Eventually(t, "the outage", func() bool { ask(sh, "other", 1); return !s.Available() })
	alone := newShared(t, SharedOptions{Store: s, Name: "alone", Windows: windows, Quota: quota})
	check("share", alone)
	var r Result
	if closed.Peek([]byte("k"), mono(), 0, &r); r.Verdict != StoreAway {
		t.Errorf("closed: %+v", r)
	}
}

// TestQuotaOf: the limit is that of the question, and what was counted is the same for all.
func TestQuotaOf(t *testing.T) {
	q, err := NewQuota(QuotaOptions{Limit: 10, Period: Day})
	if err != nil {
		t.Fatal(err)
	}
	small, large, own := &Local{Quota: q, Limit: 2}, &Local{Quota: q, Limit: 5}, &Local{Quota: q}
	for i, c := range []struct {
		l         *Local
		passes    bool
		remaining int64
		limit     int64
	}{
		{small, true, 1, 2}, {small, true, 0, 2}, {small, false, 0, 2}, {large, true, 2, 5}, {small, false, 0, 2}, {large, true, 1, 5}, {own, true, 5, 10},
		{large, false, 0, 5},
	} {
		r := ask(c.l, "k", 1)
		if (r.Verdict == Passed) != c.passes || r.Quota.Remaining != c.remaining || r.Quota.Limit != c.limit {
			t.Errorf("%d: %+v, want %+v", i, r, c)
		}
	}
}

// TestInstances: stores of one instance count as one.
func TestStoreInstance(t *testing.T) {
	t.Parallel()
	server := testnet.StartRedis(t)
	name := NewInstance()
	a, _ := openStore(t, StoreOptions{URL: server.URL(), Instance: name})
	b, _ := openStore(t, StoreOptions{URL: server.URL(), Instance: name})
	c, _ := openStore(t, StoreOptions{URL: server.URL()})
	available(t, a, b, c)
	if got := server.Run("ZCARD", DefaultStorePrefix+"{instances}"); got != "2" {
		t.Errorf("%s instances", got)
	}
	if name == NewInstance() {
		t.Error("two instances have the same name")
	}
}

// TestConcurrencyLook: who waits can look in between, and leave.
func TestConcurrencyLook(t *testing.T) {
	c, err := NewConcurrency(ConcurrencyOptions{Max: 1, Queue: 2, Timeout: time.Minute, Look: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	var first, second, third Ticket
	if c.Acquire(&first, nil, 0) != Admitted || c.Acquire(&second, nil, 0) != Queued || c.Acquire(&third, nil, 50*time.Millisecond) != Queued {
		t.Fatal("the limiter is not as it should be")
	}
	looks := 0
	for second.Wait(); second.Again(); second.Wait() {
		if looks++; looks == 3 {
			second.Cancel()
			break
		}
	}
	if a := second.Settle(); a != Cancelled || looks != 3 {
		t.Errorf("settled as %v after %d looks", a, looks)
	}
	for third.Wait(); third.Again(); third.Wait() {
	}
	if a := third.Settle(); a != TimedOut {
		t.Errorf("settled as %v, want timed out", a)
	}
	if c.Acquire(&second, nil, 0) != Queued {
		t.Fatal("no place in the queue")
	}
	second.Wait()
	again := second.Again()
	first.Release()
	if again {
		for second.Wait(); second.Again(); second.Wait() {
		}
	}
	if a := second.Settle(); a != Admitted {
		t.Errorf("settled as %v, want admitted", a)
	}
	second.Release()
	if st := c.Stats(); st.InFlight != 0 || st.Queued != 0 || st.Keys != 0 {
		t.Errorf("%+v is left", st)
	}
}
