package main

import (
	"math"
	"math/rand/v2"

	"github.com/sluice-gateway/sluice/balance"
)

const (
	millisecond = int64(1_000_000)
	second      = 1000 * millisecond
)

// model is what is simulated: endpoints, each with one worker that serves its queue in the order of arrival, and requests that come by a Poisson
// process. The work of a request is exponential, or of two kinds.
type model struct {
	policy    policy
	endpoints []machine
	work      int64                   // mean time that a request takes at an endpoint of speed 1, without waiting
	rate      func(now int64) float64 // requests in the mean time of one's work, for all endpoints together
	mixed     bool                    // one request in a hundred makes a hundred times the work of the others; the mean stays
	proxies   int                     // each has a picker and sees its own requests only; 0 is 1
	deadline  int64                   // after this the client has gone; 0: never. Nobody begins to work for one who has gone
	keys      *zipf                   // nil: requests have no keys
	from      int64                   // measuring begins
	until     int64                   // and ends
	slices    int                     // into how many slices the measured time is cut for series; 0: none
	seed      uint64
}

// machine is one endpoint.
type machine struct {
	weight uint32
	speed  func(now int64) float64 // how fast it works; nil: 1. now never falls
	fails  func(now int64) bool    // whether a request that it begins now fails, in a tenth of the time; nil: never
}

// equalMachines returns n alike.
func equalMachines(n int) []machine {
	all := make([]machine, n)
	for i := range all {
		all[i].weight = 1
	}
	return all
}

// policy is a way to pick.
type policy struct {
	name    string // as tables show it
	options balance.Options
	make    func(members []balance.Member) balance.Picker // in place of options
}

func (p *policy) picker(members []balance.Member) balance.Picker {
	if p.make != nil {
		return p.make(members)
	}
	picker, err := balance.New(p.options, members)
	if err != nil {
		panic(err) // the policies are in the source
	}
	return picker
}

// job is one request.
type job struct {
	arrived int64
	work    float64 // in units of the mean
	proxy   int32
	at      int32 // endpoint
	key     uint64
	over    bool // its client has gone
	done    bool // nobody works on it any more, or will
}

// server is an endpoint at work.
type server struct {
	queue []*job // the first is being worked on
	head  int
	fails bool // the one that is being worked on will fail
	begun int64
}

// run is one simulation under way.
type run struct {
	m       *model
	now     int64
	servers []server
	loads   [][]balance.Load // by proxy and endpoint
	pickers []balance.Picker
	home    balance.Picker // tells where a key belongs while nothing is bounded; nil without keys
	ends    heap           // when each working endpoint will have finished its request
	waiting []*job         // by arrival, so by deadline; those that are done are passed over
	passed  int
	spare   []*job
	out     *result

	arrivals, works, picks, keys *rand.Rand // drawn apart, so that all policies meet the same requests
}

// simulate runs m to its end.
func simulate(m *model) *result {
	r := &run{m: m, servers: make([]server, len(m.endpoints)), out: newResult(m)}
	for range max(1, m.proxies) {
		members, loads := m.members()
		r.loads = append(r.loads, loads)
		p := m.policy
		p.options.Start = uint64(len(r.pickers)) * 7 // proxies do not take their turns together
		r.pickers = append(r.pickers, p.picker(members))
	}
	if m.keys != nil && m.policy.make == nil {
		unbounded := policy{options: m.policy.options}
		unbounded.options.BoundedLoad = 0
		members, _ := m.members()
		r.home = unbounded.picker(members)
	}
	for i, stream := range []**rand.Rand{&r.arrivals, &r.works, &r.picks, &r.keys} {
		*stream = rand.New(rand.NewPCG(m.seed, uint64(i)))
	}
	next := r.pause()
	for next < m.until {
		at := next
		if len(r.ends) > 0 && r.ends[0].at <= at {
			at = r.ends[0].at
		}
		if j := r.oldest(); j != nil && j.arrived+m.deadline <= at {
			r.now = j.arrived + m.deadline
			r.expire(j)
			continue
		}
		r.now = at
		if at < next {
			r.finish()
			continue
		}
		r.arrive()
		next = at + r.pause()
	}
	return r.out
}

// members returns the endpoints as a picker sees them, idle.
func (m *model) members() ([]balance.Member, []balance.Load) {
	loads := make([]balance.Load, len(m.endpoints))
	members := make([]balance.Member, len(m.endpoints))
	for i := range members {
		members[i] = balance.Member{Slot: i, Weight: m.endpoints[i].weight, Load: &loads[i], ID: identity(i)}
	}
	return members, loads
}

// pause draws the time to the next arrival.
func (r *run) pause() int64 {
	return int64(r.arrivals.ExpFloat64() * float64(r.m.work) / r.m.rate(r.now))
}

// arrive lets a request come.
func (r *run) arrive() {
	var j *job
	if n := len(r.spare); n > 0 {
		j = r.spare[n-1]
		r.spare = r.spare[:n-1]
	} else {
		j = new(job)
	}
	*j = job{arrived: r.now, work: r.works.ExpFloat64()}
	if r.m.mixed {
		const most, few = 0.99, 0.01
		if r.works.Float64() < few {
			j.work *= 100
		}
		j.work /= most + 100*few
	}
	q := balance.Query{Random: r.picks.Uint64(), Now: r.now}
	if r.m.keys != nil {
		j.key = r.m.keys.draw(r.keys)
		q.Hash, q.Keyed = j.key, true
	}
	if n := len(r.pickers); n > 1 {
		j.proxy = int32(r.arrivals.IntN(n))
	}
	j.at = int32(r.pickers[j.proxy].Pick(&q))
	r.loads[j.proxy][j.at].Begin()
	r.out.picked(r.now, j)
	if r.home != nil && r.now >= r.m.from && r.home.Pick(&q) == int(j.at) {
		r.out.home++
	}
	if r.m.deadline > 0 {
		r.waiting = append(r.waiting, j)
	}
	s := &r.servers[j.at]
	s.queue = append(s.queue, j)
	if len(s.queue)-s.head == 1 {
		r.begin(int(j.at))
	}
}

// begin lets an endpoint work on the first of its queue.
func (r *run) begin(at int) {
	s, e := &r.servers[at], &r.m.endpoints[at]
	j := s.queue[s.head]
	took := j.work * float64(r.m.work)
	if e.speed != nil {
		took /= e.speed(r.now)
	}
	if s.fails = e.fails != nil && e.fails(r.now); s.fails {
		took /= 10
	}
	s.begun = r.now
	r.ends.push(event{r.now + int64(took), at})
}

// finish ends the request that is first to be finished, and begins the next of its endpoint.
func (r *run) finish() {
	at := r.ends.pop().server
	s := &r.servers[at]
	j := s.queue[s.head]
	if !j.over {
		l := &r.loads[j.proxy][at]
		l.End()
		if took := r.now - j.arrived; s.fails {
			l.Penalize(r.now, took)
			r.out.failed(j)
		} else {
			l.Observe(r.now, took)
			r.out.answered(j, took)
		}
	}
	r.leave(s, j)
	for s.head < len(s.queue) {
		if j = s.queue[s.head]; !j.over {
			r.begin(at)
			return
		}
		r.leave(s, j)
	}
	s.queue, s.head = s.queue[:0], 0
}

// leave takes the first of a queue out of it.
func (r *run) leave(s *server, j *job) {
	s.head++
	j.done = true
	if r.m.deadline == 0 {
		r.spare = append(r.spare, j)
	}
	if s.head > 1024 && s.head*2 > len(s.queue) {
		s.queue = append(s.queue[:0], s.queue[s.head:]...)
		s.head = 0
	}
}

// oldest returns the request whose deadline is next, or nil.
func (r *run) oldest() *job {
	for ; r.passed < len(r.waiting); r.passed++ {
		j := r.waiting[r.passed]
		if !j.done && !j.over {
			return j
		}
		if j.done {
			r.spare = append(r.spare, j)
		}
	}
	r.waiting, r.passed = r.waiting[:0], 0
	return nil
}

// expire lets the client of j go.
func (r *run) expire(j *job) {
	j.over = true
	l := &r.loads[j.proxy][j.at]
	l.End()
	l.Penalize(r.now, r.m.deadline)
	r.out.expired(j)
}

// event is the end of the work on a request.
type event struct {
	at     int64
	server int
}

// heap has the next event first.
type heap []event

func (h *heap) push(e event) {
	*h = append(*h, e)
	q := *h
	i := len(q) - 1
	for i > 0 && q[(i-1)/2].at > e.at {
		q[i] = q[(i-1)/2]
		i = (i - 1) / 2
	}
	q[i] = e
}

func (h *heap) pop() event {
	q := *h
	first, last := q[0], q[len(q)-1]
	q = q[:len(q)-1]
	*h = q
	i := 0
	for {
		c := 2*i + 1
		if c >= len(q) {
			break
		}
		if c+1 < len(q) && q[c+1].at < q[c].at {
			c++
		}
		if q[c].at >= last.at {
			break
		}
		q[i] = q[c]
		i = c
	}
	if len(q) > 0 {
		q[i] = last
	}
	return first
}

// zipf draws keys of which the k-th is asked for in proportion to k^-s. The keys are hashes.
type zipf struct{ upTo []float64 }

func newZipf(n int, s float64) *zipf {
	z := &zipf{make([]float64, n)}
	sum := 0.0
	for k := range n {
		sum += math.Pow(float64(k+1), -s)
		z.upTo[k] = sum
	}
	return z
}

func (z *zipf) draw(rnd *rand.Rand) uint64 {
	x := rnd.Float64() * z.upTo[len(z.upTo)-1]
	low, high := 0, len(z.upTo)-1
	for low < high {
		if mid := (low + high) / 2; z.upTo[mid] < x {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return keyHash(low)
}
