package limit

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	ms = int64(time.Millisecond)
	s1 = int64(time.Second)
)

func newRate(t testing.TB, windows ...Window) *Rate {
	t.Helper()
	r, err := NewRate(RateOptions{Windows: windows})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestRate: single decisions, to the nanosecond.
func TestRate(t *testing.T) {
	tenth := Window{Count: 10, Per: time.Second, Burst: 3}
	third := Window{Count: 3, Per: time.Second}
	type step struct {
		at, cost  int64
		allowed   bool
		remaining int64
		wait      int64
		full      int64
		seconds   int64
	}
	for _, c := range []struct {
		name    string
		windows []Window
		steps   []step
	}{
		{"the burst passes at once, and not one more", []Window{tenth}, []step{
			{1, 1, true, 2, 0, 100 * ms, 1}, {1, 1, true, 1, 0, 200 * ms, 1}, {1, 1, true, 0, 0, 300 * ms, 1},
			{1, 1, false, 0, 100 * ms, 300 * ms, 1},
			{100 * ms, 1, false, 0, 1, 200*ms + 1, 1},
			{100*ms + 1, 1, true, 0, 0, 300 * ms, 1},
			{100*ms + 1, 1, false, 0, 100 * ms, 300 * ms, 1},
		}},
		{"the burst comes back one by one", []Window{tenth}, []step{
			{1, 3, true, 0, 0, 300 * ms, 1},
			{200*ms + 1, 1, true, 1, 0, 200 * ms, 1},
			{200*ms + 1, 2, false, 1, 100 * ms, 200 * ms, 1},
			{300*ms + 1, 2, true, 0, 0, 300 * ms, 1},
		}},
		{"rest does not add up", []Window{tenth}, []step{
			{1, 3, true, 0, 0, 300 * ms, 1}, {1000 * s1, 3, true, 0, 0, 300 * ms, 1}, {1000 * s1, 1, false, 0, 100 * ms, 300 * ms, 1},
		}},
		{"more than the burst never passes, and takes nothing", []Window{tenth}, []step{
			{1, 4, false, 3, 1, 0, 0}, {1, 1, true, 2, 0, 100 * ms, 1}, {1, 4, false, 2, 100 * ms, 100 * ms, 1}, {1, 2, true, 0, 0, 300 * ms, 1},
		}},
		{"thirds of a second are not rounded", []Window{third}, []step{
			{1, 1, true, 2, 0, 333_333_334, 1}, {1, 1, true, 1, 0, 666_666_667, 1}, {1, 1, true, 0, 0, s1, 1}, {1, 1, false, 0, 333_333_334, s1, 1},
			{333_333_334, 1, false, 0, 1, 666_666_667, 1}, {333_333_335, 1, true, 0, 0, s1, 1},
			{666_666_667, 1, false, 0, 1, 666_666_668, 1}, {666_666_668, 1, true, 0, 0, s1, 1},
			{s1, 1, false, 0, 1, 666_666_668, 1}, {s1 + 1, 1, true, 0, 0, s1, 1}, // exactly one second after the first
		}},
		{"one at a time", []Window{{Count: 1, Per: time.Minute}}, []step{
			{1, 1, true, 0, 0, 60 * s1, 60}, {1, 1, false, 0, 60 * s1, 60 * s1, 60}, {30*s1 + 1, 1, false, 0, 30 * s1, 30 * s1, 30}, {60*s1 + 1, 1, true, 0, 0, 60 * s1, 60},
		}},
		{"all windows have to allow it; the one that refuses longest is told", []Window{tenth, {Count: 4, Per: time.Hour}}, []step{
			{1, 3, true, 0, 0, 300 * ms, 1},
			{1, 1, false, 0, 100 * ms, 300 * ms, 1}, // refused by the first, and the second is not charged
			{100*ms + 1, 1, true, 0, 0, 3600*s1 - 100*ms, 900},
			{300*ms + 1, 1, false, 0, 900*s1 - 300*ms, 3600*s1 - 300*ms, 900},
			{400*ms + 1, 1, false, 0, 900*s1 - 400*ms, 3600*s1 - 400*ms, 900},
			{900*s1 + 1, 1, true, 0, 0, 3600 * s1, 900},
		}},
		{"a time that goes back is more to wait", []Window{{Count: 1, Per: time.Second}}, []step{
			{10 * s1, 1, true, 0, 0, s1, 1}, {9 * s1, 1, false, 0, 2 * s1, 2 * s1, 2}, {11 * s1, 1, true, 0, 0, s1, 1},
		}},
		{"a thousand thousand millions a second", []Window{{Count: 1_000_000_000_000, Per: time.Second, Burst: 5000}}, []step{
			{1, 5000, true, 0, 0, 5, 1}, {2, 1000, true, 0, 0, 5, 1}, {2, 1, false, 0, 1, 5, 1},
		}},
		{"no cost is one", []Window{tenth}, []step{{1, 0, true, 2, 0, 100 * ms, 1}, {1, -7, true, 1, 0, 200 * ms, 1}, {1, math.MaxInt64, false, 1, 200 * ms, 200 * ms, 1}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRate(t, c.windows...)
			for i, st := range c.steps {
				var d Decision
				r.Take([]byte("k"), st.cost, st.at, &d)
				got := step{st.at, st.cost, d.Allowed, d.State().Remaining, d.Wait, d.State().Full, d.State().Seconds()}
				if got != st {
					t.Fatalf("step %d: %+v\ninstead of %+v", i, got, st)
				}
			}
		})
	}
}

// naive is a GCRA in fractions of any size, written down as the algorithm is explained: a bucket that leaks, see ITU-T I.371.
type naive struct {
	windows []Window
	level   []*big.Rat // requests in the bucket
	last    int64
}

func (n *naive) take(cost, now int64) (allowed bool, remaining []int64, wait int64) {
	allowed, never := true, false
	if n.level == nil {
		for range n.windows {
			n.level = append(n.level, new(big.Rat))
		}
		n.last = now
	}
	after := make([]*big.Rat, len(n.windows))
	for i, w := range n.windows {
		leak := new(big.Rat).Mul(big.NewRat(now-n.last, 1), big.NewRat(w.Count, int64(w.Per)))
		if n.level[i].Sub(n.level[i], leak); n.level[i].Sign() < 0 {
			n.level[i].SetInt64(0)
		}
		after[i] = new(big.Rat).Add(n.level[i], big.NewRat(cost, 1))
		over := new(big.Rat).Sub(after[i], big.NewRat(w.size(), 1))
		if over.Sign() > 0 {
			allowed = false
			if cost <= w.size() {
				ns := over.Mul(over, big.NewRat(int64(w.Per), w.Count))
				q, r := new(big.Int).QuoRem(ns.Num(), ns.Denom(), new(big.Int))
				if r.Sign() > 0 {
					q.Add(q, big.NewInt(1))
				}
				wait = max(wait, q.Int64())
			} else {
				never = true
			}
		}
	}
	n.last = now
	if never {
		wait = 0
	}
	for i, w := range n.windows {
		if allowed {
			n.level[i] = after[i]
		}
		left := new(big.Rat).Sub(big.NewRat(w.size(), 1), n.level[i])
		remaining = append(remaining, new(big.Int).Quo(left.Num(), left.Denom()).Int64())
	}
	return allowed, remaining, wait
}

// TestRateIsExact compares random requests with the naive algorithm: every answer is the same, and the promised wait is neither too short nor too long.
func TestRateIsExact(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	pers := []time.Duration{1, 7, time.Millisecond, time.Second, time.Minute, time.Hour, 30 * 24 * time.Hour}
	for round := range 300 {
		var windows []Window
		for range 1 + random.IntN(3) {
			windows = append(windows, Window{Count: 1 + random.Int64N(1000), Per: pers[random.IntN(len(pers))], Burst: random.Int64N(20)})
		}
		r := newRate(t, windows...)
		model := naive{windows: windows}
		now := random.Int64N(1 << 50)
		scale := int64(windows[0].Per)/windows[0].Count + 1
		for step := range 200 {
			now += random.Int64N(2 * scale)
			cost := int64(1)
			if random.IntN(4) == 0 {
				cost += random.Int64N(5)
			}
			var d Decision
			r.Take([]byte("k"), cost, now, &d)
			allowed, remaining, wait := model.take(cost, now)
			if d.Allowed != allowed {
				t.Fatalf("round %d step %d: %v, allowed is %v instead of %v", round, step, windows, d.Allowed, allowed)
			}
			for i, want := range remaining {
				if d.States[i].Remaining != want {
					t.Fatalf("round %d step %d: %v, window %d has %d remaining instead of %d", round, step, windows, i, d.States[i].Remaining, want)
				}
			}
			if !allowed && wait > 0 && d.Wait != wait {
				t.Fatalf("round %d step %d: %v, cost %d: wait %d instead of %d", round, step, windows, cost, d.Wait, wait)
			}
		}
	}
}

// TestRateOverTime: however requests come, in no stretch of time do more pass than its length allows beside one burst.
func TestRateOverTime(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 9))
	w := Window{Count: 7, Per: time.Second, Burst: 4}
	r := newRate(t, w)
	var passed []int64
	now := int64(1)
	for len(passed) < 400 {
		now += random.Int64N(60 * ms)
		var d Decision
		if r.Take([]byte("k"), 1, now, &d); d.Allowed {
			passed = append(passed, now)
		}
	}
	for i := range passed {
		for j := i; j < len(passed); j++ {
			if n, most := int64(j-i+1), w.Burst+(passed[j]-passed[i])*w.Count/int64(w.Per); n > most {
				t.Fatalf("%d passed in %v, and %d may", n, time.Duration(passed[j]-passed[i]), most)
			}
		}
	}
}

// TestRateReturn: what is given back is as if it had not been taken.
func TestRateReturn(t *testing.T) {
	for _, w := range []Window{{Count: 10, Per: time.Second, Burst: 3}, {Count: 3, Per: time.Second}} {
		r := newRate(t, w)
		var d, before Decision
		r.Return([]byte("k"), 1, 1)
		r.Take([]byte("k"), 1, 1, &d)
		r.Peek([]byte("k"), 5*ms, &before)
		r.Take([]byte("k"), 2, 5*ms, &d)
		if !d.Allowed {
			t.Fatalf("%v: %+v", w, d)
		}
		r.Return([]byte("k"), 2, 5*ms)
		r.Peek([]byte("k"), 5*ms, &d)
		if d != before {
			t.Errorf("%v: %+v instead of %+v", w, d, before)
		}
		r.Return([]byte("k"), 100, 5*ms)
		if r.Peek([]byte("k"), 5*ms, &d); d.State().Remaining != w.size() || d.State().Full != 0 {
			t.Errorf("%v: after too much was given back %+v", w, d.State())
		}
	}
}

// TestRateShare: an instance of several has its part of rate and burst, and is never shut out.
func TestRateShare(t *testing.T) {
	passes := func(w Window, instances, cost, now int64, r *Rate) (n int) {
		for {
			var d Decision
			if r.ask([]byte("k"), cost, instances, now, true, &d); !d.Allowed {
				return n
			}
			n++
		}
	}
	for _, c := range []struct {
		w                     Window
		instances, cost       int64
		fromRest, inOneSecond int
	}{
		{Window{Count: 30, Per: time.Second, Burst: 30}, 3, 1, 10, 10},
		{Window{Count: 30, Per: time.Second, Burst: 31}, 3, 1, 10, 10},
		{Window{Count: 30, Per: time.Second, Burst: 2}, 3, 1, 1, 1},  // a share of the burst is less than one: then one
		{Window{Count: 30, Per: time.Second, Burst: 10}, 3, 5, 1, 1}, // dear requests pass from rest
		{Window{Count: 30, Per: time.Second, Burst: 4}, 3, 5, 0, 0},  // but never more than the whole burst
		{Window{Count: 30, Per: time.Second}, 0, 1, 30, 30},
	} {
		r := newRate(t, c.w)
		if n := passes(c.w, c.instances, c.cost, 1, r); n != c.fromRest {
			t.Errorf("%+v: %d pass from rest", c, n)
		}
		if n := passes(c.w, c.instances, c.cost, 1+s1, r); n != c.inOneSecond {
			t.Errorf("%+v: %d pass after a second", c, n)
		}
		var d Decision
		r.ask([]byte("other"), 1, c.instances, 1, false, &d)
		if want := max(1, c.w.size()/max(1, c.instances)); d.State().Remaining != want {
			t.Errorf("%+v: %d remain from rest instead of %d", c, d.State().Remaining, want)
		}
	}
}

// TestRateKeys: keys do not share counters, whatever their length.
func TestRateKeys(t *testing.T) {
	r := newRate(t, Window{Count: 1, Per: time.Hour})
	for i := range 200 {
		for _, key := range []string{strings.Repeat("a", i), fmt.Sprint("key", i), fmt.Sprint(i, "\x00")} {
			var d Decision
			if r.Take([]byte(key), 1, 1, &d); !d.Allowed {
				t.Errorf("%q has used another's", key)
			}
			if r.Take([]byte(key), 1, 1, &d); d.Allowed {
				t.Errorf("%q was not found again", key)
			}
		}
	}
}

// TestRateParallel: many goroutines at few keys get exactly what there is.
func TestRateParallel(t *testing.T) {
	r := newRate(t, Window{Count: 1, Per: time.Hour, Burst: 1000}, Window{Count: 3, Per: 7 * time.Hour, Burst: 800})
	var passed [3]int64
	var mu sync.Mutex
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			var mine [3]int64
			for i := range 2000 {
				var d Decision
				k := (i + g) % 3
				if r.Take([]byte{byte(k)}, 1, 1, &d); d.Allowed {
					mine[k]++
				}
			}
			mu.Lock()
			defer mu.Unlock()
			for k := range mine {
				passed[k] += mine[k]
			}
		})
	}
	wg.Wait()
	if passed != [3]int64{800, 800, 800} {
		t.Errorf("%v passed", passed)
	}
}

func TestWindowErrors(t *testing.T) {
	for _, c := range []struct {
		windows []Window
		want    string
	}{
		{nil, "at least one window"},
		{make([]Window, 9), "at most 8"},
		{[]Window{{Per: time.Second}}, "from 1 to"},
		{[]Window{{Count: 1}}, "longer than nothing"},
		{[]Window{{Count: 1, Per: time.Second, Burst: -1}}, "at least 1"},
		{[]Window{{Count: 1, Per: time.Second}, {Count: 1, Per: 30 * 24 * time.Hour, Burst: 1e9}}, "window 2: a burst"},
	} {
		if _, err := NewRate(RateOptions{Windows: c.windows}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v", c.windows, err)
		}
	}
}

// TestFields: the fields of draft-ietf-httpapi-ratelimit-headers-10.
func TestFields(t *testing.T) {
	for _, c := range []struct {
		w    Window
		want string
	}{
		{Window{Count: 10, Per: time.Second, Burst: 20}, `"fair-use";q=20;w=2`},
		{Window{Count: 10, Per: time.Second}, `"fair-use";q=10;w=1`},
		{Window{Count: 3, Per: time.Second, Burst: 4}, `"fair-use";q=4;w=2`},
		{Window{Count: 600, Per: time.Hour}, `"fair-use";q=600;w=3600`},
		{Window{Count: 1_000_000_000_000, Per: time.Second, Burst: 1}, `"fair-use";q=1;w=1`},
	} {
		if got := string(AppendPolicy(nil, "fair-use", c.w.Quota(), c.w.Seconds())); got != c.want {
			t.Errorf("%v: %s instead of %s", c.w, got, c.want)
		}
	}
	r := newRate(t, Window{Count: 10, Per: time.Minute, Burst: 2})
	for i, want := range []string{`x, "a\"b\\c?";r=1;t=6`, `x, "a\"b\\c?";r=0;t=6`, `x, "a\"b\\c?";r=0;t=5`} {
		var d Decision
		r.Take([]byte("k"), 1, 1+int64(i/2)*1500*ms, &d)
		st := d.State()
		if got := string(AppendState([]byte("x, "), "a\"b\\c\n", st.Remaining, st.Seconds())); got != want {
			t.Errorf("request %d: %s instead of %s", i, got, want)
		}
		if want := []int64{1, 1, 5}[i]; d.RetryAfter() != want {
			t.Errorf("request %d: Retry-After %d instead of %d", i, d.RetryAfter(), want)
		}
	}
	if got := string(AppendState(nil, "n", math.MaxInt64, -1)); got != `"n";r=999999999999999;t=0` {
		t.Error(got)
	}
}
