package balance

import (
	"math/rand/v2"
	"testing"
)

// endpoint is a scripted endpoint of these tests: what a request that begins at a moment meets.
type endpoint func(now int64) (latency int64, failed bool)

func steady(latency int64) endpoint { return func(int64) (int64, bool) { return latency, false } }

// serve sends requests at a steady pace to endpoints without a queue, and returns how many each got, from the moment from on.
func serve(t *testing.T, members []Member, endpoints []endpoint, pause, from, until int64) []int {
	t.Helper()
	type answer struct {
		at, latency int64
		member      int
		failed      bool
	}
	p := mustNew(t, "least_latency", members)
	rnd := rand.New(rand.NewPCG(1, 2))
	counts := make([]int, len(members))
	var open []answer
	for now := int64(0); now < until; now += pause {
		kept := open[:0]
		for _, a := range open {
			if a.at > now {
				kept = append(kept, a)
				continue
			}
			l := members[a.member].Load
			l.End()
			if a.failed {
				l.Penalize(a.at, a.latency)
			} else {
				l.Observe(a.at, a.latency)
			}
		}
		open = kept
		i := p.Pick(&Query{Random: rnd.Uint64(), Now: now}) / 10
		members[i].Load.Begin()
		latency, failed := endpoints[i](now)
		open = append(open, answer{now + latency, latency, i, failed})
		if now >= from {
			counts[i]++
		}
	}
	return counts
}

// latencySizes are of a set: one that is looked at as a whole, and one of which two are drawn. Read-only.
var latencySizes = []int{3, 20}

func TestSlowEndpointIsLeft(t *testing.T) {
	for _, n := range latencySizes {
		endpoints := make([]endpoint, n)
		for i := range endpoints {
			endpoints[i] = steady(5 * millisecond)
		}
		endpoints[1] = steady(100 * millisecond)
		counts := serve(t, set(equal(n)...), endpoints, 2*millisecond, 0, 60*second)
		if share := float64(counts[1]) / 30_000; counts[1] < 2 || share > 0.03 {
			t.Errorf("of %d, one 20 times slower got %d of 30,000 requests: want some, and at most 3 %%", n, counts[1])
		}
	}
}

// TestFailingFastAttractsNothing: it answers in a tenth of the time, and has nothing in flight.
func TestFailingFastAttractsNothing(t *testing.T) {
	for _, n := range latencySizes {
		for _, sick := range []int64{0, 10 * second} { // from the beginning, or later
			endpoints := make([]endpoint, n)
			for i := range endpoints {
				endpoints[i] = steady(20 * millisecond)
			}
			endpoints[0] = func(now int64) (int64, bool) {
				if now >= sick {
					return 2 * millisecond, true
				}
				return 20 * millisecond, false
			}
			// Many at once, so that the others have work all the time.
			counts := serve(t, set(equal(n)...), endpoints, 4*millisecond/int64(n), sick+second, sick+21*second)
			total := 0
			for _, c := range counts {
				total += c
			}
			if share := float64(counts[0]) / float64(total); share > 0.002 || counts[0] == 0 {
				t.Errorf("of %d, one that fails fast from %d on got %d of %d requests: want some, and at most 0.2 %%", n, sick, counts[0], total)
			}
		}
	}
}

// TestRecoveredEndpointComesBack, whatever it was: slow, failing, or silent.
func TestRecoveredEndpointComesBack(t *testing.T) {
	const sick, well = 5 * second, 20 * second
	for name, fault := range map[string]endpoint{
		"slow":    steady(second),
		"failing": func(int64) (int64, bool) { return millisecond, true },
		"timeout": func(int64) (int64, bool) { return 3 * second, true },
	} {
		for _, n := range latencySizes {
			endpoints := make([]endpoint, n)
			for i := range endpoints {
				endpoints[i] = steady(10 * millisecond)
			}
			endpoints[2] = func(now int64) (int64, bool) {
				if now >= sick && now < well {
					return fault(now)
				}
				return 10 * millisecond, false
			}
			const pause = 4 * millisecond
			counts := serve(t, set(equal(n)...), endpoints, pause, well+60*second, well+120*second)
			if want := int(60*second/pause) / n / 2; counts[2] < want {
				t.Errorf("%s, of %d: a minute after it was well it got %d requests in a minute, want at least %d", name, n, counts[2], want)
			}
		}
	}
}

// TestNewEndpointIsTriedOnce: until it has answered, an endpoint of which nothing is known gets a request and not a flood.
func TestNewEndpointIsTriedOnce(t *testing.T) {
	members := set(equal(4)...)
	for _, m := range members[:3] {
		m.Load.Observe(second, 10*millisecond)
		busy(m, 2)
	}
	p := mustNew(t, "least_latency", members)
	rnd := rand.New(rand.NewPCG(1, 2))
	counts := make([]int, 4)
	for range 60 { // up to 22 in flight each
		i := p.Pick(&Query{Random: rnd.Uint64(), Now: second}) / 10
		members[i].Load.Begin()
		counts[i]++
	}
	if counts[3] != 1 {
		t.Errorf("of 60 requests, an endpoint that has not answered yet got %d, want 1", counts[3])
	}
}

// TestTrialIsOneRequest: a slow endpoint that has been silent for long gets one request, not all, until that one is answered.
func TestTrialIsOneRequest(t *testing.T) {
	members := set(1, 1)
	members[0].Load.Observe(0, second)
	p := mustNew(t, "least_latency", members)
	rnd := rand.New(rand.NewPCG(1, 2))
	trials := 0
	for i := range 200 {
		now := 100*second + int64(i)*millisecond
		members[1].Load.Observe(now, 10*millisecond)
		if j := p.Pick(&Query{Random: rnd.Uint64(), Now: now}) / 10; j == 0 {
			members[0].Load.Begin()
			trials++
		}
	}
	if trials != 1 {
		t.Errorf("%d requests went to an endpoint that was slow 100 s ago and is silent, want 1", trials)
	}
}

// TestLatencyCountsWorkAndWeight: latency × (in flight + 1) / weight.
func TestLatencyCountsWorkAndWeight(t *testing.T) {
	for _, test := range []struct {
		weights, inFlight []uint32
		milliseconds      []int64
		want              int
	}{
		{[]uint32{1, 1}, []uint32{1, 0}, []int64{10, 30}, 0}, // 20 < 30
		{[]uint32{1, 1}, []uint32{3, 0}, []int64{10, 30}, 1}, // 40 > 30
		{[]uint32{2, 1}, []uint32{3, 0}, []int64{10, 30}, 0}, // 20 < 30
		{[]uint32{1, 4}, []uint32{0, 1}, []int64{10, 10}, 1}, // 10 > 5
		{[]uint32{1, 1}, []uint32{0, 0}, []int64{10, 11}, 0}, // idle: the faster
		{[]uint32{1, 9}, []uint32{0, 0}, []int64{10, 11}, 0}, // idle: whatever the weights
	} {
		members := set(test.weights...)
		for i := range members {
			busy(members[i], int(test.inFlight[i]))
			members[i].Load.Observe(second, test.milliseconds[i]*millisecond)
		}
		p := mustNew(t, "least_latency", members)
		for r := range uint64(50) {
			if got := p.Pick(&Query{Random: next(r), Now: second}); got != 10*test.want {
				t.Errorf("%+v: picked slot %d", test, got)
				break
			}
		}
	}
}

// TestHangingEndpoint: one that never answers, and is never timed out either, must not collect the requests.
func TestHangingEndpoint(t *testing.T) {
	for _, n := range latencySizes {
		endpoints := make([]endpoint, n)
		for i := range endpoints {
			endpoints[i] = steady(10 * millisecond)
		}
		endpoints[0] = func(now int64) (int64, bool) {
			if now >= 5*second {
				return 3600 * second, false
			}
			return 10 * millisecond, false
		}
		counts := serve(t, set(equal(n)...), endpoints, millisecond, 5*second, 65*second)
		if counts[0] > 60 {
			t.Errorf("of %d, one that hangs got %d of 60,000 requests, want a few dozen at most", n, counts[0])
		}
	}
}
