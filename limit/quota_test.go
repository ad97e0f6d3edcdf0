package limit

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestQuota(t *testing.T) {
	q, err := NewQuota(QuotaOptions{Limit: 3, Period: Day, Zone: zone(t, "Europe/Berlin")})
	if err != nil {
		t.Fatal(err)
	}
	type step struct {
		key       string
		at        string
		cost      int64
		allowed   bool
		remaining int64
		seconds   int64
		length    int64
	}
	const hours = 3600
	for i, want := range []step{
		{"a", "2026-03-28T21:00:00Z", 1, true, 2, 2 * hours, 24 * hours},
		{"a", "2026-03-28T22:00:00Z", 3, false, 2, 1 * hours, 24 * hours}, // more than is left takes nothing
		{"a", "2026-03-28T22:30:00Z", 2, true, 0, hours / 2, 24 * hours},
		{"a", "2026-03-28T22:59:59Z", 1, false, 0, 1, 24 * hours},
		{"b", "2026-03-28T22:59:59Z", 4, false, 3, 1, 24 * hours},
		{"b", "2026-03-28T22:59:59Z", math.MaxInt64, false, 3, 1, 24 * hours},
		{"b", "2026-03-28T22:59:59Z", 0, true, 2, 1, 24 * hours},
		{"a", "2026-03-28T23:00:00Z", 1, true, 2, 23 * hours, 23 * hours}, // the day on which the clocks go forward
		{"b", "2026-03-29T22:00:00Z", 3, true, 0, 24 * hours, 24 * hours},
	} {
		var u Usage
		q.Take([]byte(want.key), want.cost, unix(t, want.at)*s1, &u)
		if got := (step{want.key, want.at, want.cost, u.Allowed, u.Remaining, u.Seconds(), u.Length}); got != want || u.Limit != 3 {
			t.Errorf("step %d: %+v\ninstead of %+v", i, got, want)
		}
	}
	var u Usage
	wall := unix(t, "2026-03-29T22:00:00Z")*s1 + 250*ms
	q.Peek([]byte("b"), wall, &u)
	if u.Allowed || u.Remaining != 0 || u.Reset != 24*3600*s1-250*ms || u.RetryAfter() != 24*3600 {
		t.Errorf("%+v", u)
	}
	q.Return([]byte("b"), 2, wall)
	q.Return([]byte("never seen"), 2, wall)
	if q.Peek([]byte("b"), wall, &u); !u.Allowed || u.Remaining != 2 {
		t.Errorf("after two were given back: %+v", u)
	}
	q.Return([]byte("b"), 5, wall)
	if q.Peek([]byte("b"), wall, &u); u.Remaining != 3 {
		t.Errorf("after too much was given back: %+v", u)
	}
	if err := q.Close(); err != nil {
		t.Error(err)
	}
}

func TestQuotaErrors(t *testing.T) {
	for _, c := range []struct {
		o    QuotaOptions
		want string
	}{
		{QuotaOptions{Period: Day}, "at least 1"},
		{QuotaOptions{Limit: 1}, "needs a period"},
		{QuotaOptions{Limit: 1, Period: 7}, "needs a period"},
	} {
		if _, err := NewQuota(c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.o, err)
		}
	}
}

// TestQuotaForgetsTheLeastUsed: with too many keys, those go that have used least, and those of earlier periods before them.
func TestQuotaForgetsTheLeastUsed(t *testing.T) {
	q, err := NewQuota(QuotaOptions{Limit: 100, Period: Minute, Keys: 1000})
	if err != nil {
		t.Fatal(err)
	}
	var u Usage
	for i := range 1000 {
		q.Take(fmt.Append(nil, "old", i), 100, 0, &u)
	}
	for i := range 900 {
		q.Take(fmt.Append(nil, "heavy", i), 100, 60*s1, &u)
	}
	if st := q.Stats(); st.Evicted != 0 || st.Keys > 1000 {
		t.Errorf("%+v", st)
	}
	for i := range 5000 {
		q.Take(fmt.Append(nil, "light", i), 1, 60*s1, &u)
	}
	left := 0
	for i := range 900 {
		if q.Take(fmt.Append(nil, "heavy", i), 1, 60*s1, &u); u.Allowed {
			left++
		}
	}
	// Nine in ten are heavy, so that now and then a sample has no other.
	if left > 400 {
		t.Errorf("%d of 900 that have used everything were forgotten for others", left)
	}
	if st := q.Stats(); st.Evicted < 4000 || st.Keys > 1000 {
		t.Errorf("%+v", st)
	}
}

// TestQuotaParallel: many goroutines get exactly what there is, over the beginning of a period too.
func TestQuotaParallel(t *testing.T) {
	q, err := NewQuota(QuotaOptions{Limit: 500, Period: Second})
	if err != nil {
		t.Fatal(err)
	}
	var passed [2]atomic.Int64
	for second := range 2 {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 200 {
					var u Usage
					if q.Take([]byte("k"), 1, int64(second)*s1, &u); u.Allowed {
						passed[second].Add(1)
					}
				}
			})
		}
		wg.Wait()
	}
	if a, b := passed[0].Load(), passed[1].Load(); a != 500 || b != 500 {
		t.Errorf("%d and %d passed", a, b)
	}
}

// TestLocal: the rate decides first, and what is refused by either takes nothing of both.
func TestLocal(t *testing.T) {
	q, err := NewQuota(QuotaOptions{Limit: 5, Period: Minute})
	if err != nil {
		t.Fatal(err)
	}
	l := &Local{Rate: newRate(t, Window{Count: 1, Per: time.Second, Burst: 3}), Quota: q}
	var _ Limiter = l
	for i, want := range []struct {
		at, cost        int64
		verdict         Verdict
		rate, quota     int64
		retry, fullRate int64
	}{
		{1, 3, Passed, 0, 2, 1, 3 * s1},
		{1, 1, RateRefused, 0, 2, 1, 3 * s1},
		{1 + 3*s1, 3, QuotaRefused, 3, 2, 57, 0},
		{1 + 3*s1, 2, Passed, 1, 0, 1, 2 * s1},
		{1 + 3*s1, 2, RateRefused, 1, 0, 1, 2 * s1}, // both would refuse
		{1 + 3*s1, 1, QuotaRefused, 1, 0, 57, 2 * s1},
		{60 * s1, 1, Passed, 2, 4, 1, s1},
	} {
		var r Result
		l.Take([]byte("k"), want.cost, want.at, want.at, &r)
		if r.Verdict != want.verdict || r.Rate.State().Remaining != want.rate || r.Quota.Remaining != want.quota || r.Rate.State().Full != want.fullRate ||
			want.verdict != Passed && r.RetryAfter() != want.retry || r.Source != FromMemory || !r.HasRate || !r.HasQuota {
			t.Errorf("step %d: %+v", i, r)
		}
	}
	if l.Waits() {
		t.Error("memory waits")
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	var r Result
	(&Local{Rate: l.Rate}).Take([]byte("x"), 1, 1, 1, &r)
	if r.Verdict != Passed || !r.HasRate || r.HasQuota {
		t.Errorf("%+v", r)
	}
	(&Local{Quota: q}).Take([]byte("x"), 9, 1, 1, &r)
	if r.Verdict != QuotaRefused || r.HasRate || !r.HasQuota {
		t.Errorf("%+v", r)
	}
}
