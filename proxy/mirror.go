package proxy

import (
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
	"github.com/sluice-gateway/sluice/upstream"
)

const (
	// maxCopies is how many copies of one route may be under way at once.
	maxCopies = 100
	// copyTime bounds a copy, whose answer nobody waits for.
	copyTime = 10 * time.Second
	// copyAnswer is how much of an answer is read so that its connection can be used again.
	copyAnswer = 256 << 10
	// maxKept is how much memory for bodies stays for the next request.
	maxKept = 64 << 10
)

// Mirror sends copies of a route's requests to another backend and drops the answers. The copy is what the action got, so with all that
// policies have changed. It is made when the request itself has been sent, and nothing of it is waited for.
type Mirror struct {
	Backend  *upstream.Backend
	Share    float64 // of the requests, 0 to 1
	MaxBody  int64   // a request with a larger body is not copied
	Metrics  MirrorMetrics
	Branches *Branches

	underWay atomic.Int64
}

// MirrorMetrics are the handles of a route's mirror.
type MirrorMetrics struct {
	Answered, Failed, Busy, TooLarge, Broken *metric.Counter
}

// NewMirrorMetrics resolves the handles of a route.
func NewMirrorMetrics(scope *metric.Scope, route string) MirrorMetrics {
	count := func(outcome string) *metric.Counter { return scope.Counter(metric.Mirrored, route, outcome) }
	return MirrorMetrics{Answered: count("answered"), Failed: count("failed"), Busy: count("busy"), TooLarge: count("too_large"), Broken: count("broken")}
}

// duplicate is one copy. It is pooled.
type duplicate struct {
	branch
	x      message.Exchange
	flight upstream.Flight
	body   message.Bytes
	kept   []byte // what body is made of
	held   int    // bytes counted for it
}

// duplicates is a pool (read-only: what it holds has no meaning).
var duplicates = sync.Pool{New: func() any {
	d := new(duplicate)
	d.x.Reset()
	return d
}}

// tee is a request body that is kept on its way, for the copy.
type tee struct {
	source message.Body
	copies *Branches
	held   int // bytes counted for kept
	kept   []byte
	limit  int64
	over   bool // it is longer than the limit
	ended  bool // all of it was read
}

// Next implements message.Body.
func (t *tee) Next() ([]byte, error) {
	piece, err := t.source.Next()
	switch {
	case err == io.EOF:
		t.ended = true
	case err != nil, t.over:
	case int64(len(t.kept))+int64(len(piece)) > t.limit, !t.copies.hold(len(piece)):
		t.over, t.kept = true, t.kept[:0]
		t.release()
	default:
		t.held += len(piece)
		t.kept = append(t.kept, piece...)
	}
	return piece, err
}

// Ready reports whether the next piece is there already.
func (t *tee) Ready() bool {
	r, ok := t.source.(interface{ Ready() bool })
	return ok && r.Ready()
}

// Interrupt makes a Next that waits for the client return, if the client's body can do that.
func (t *tee) Interrupt() {
	if s, ok := t.source.(interface{ Interrupt() }); ok {
		s.Interrupt()
	}
}

// Close implements message.Body.
func (t *tee) Close() error { return t.source.Close() }

// release gives back what was counted for the body.
func (t *tee) release() {
	if t.held > 0 {
		t.copies.held.Add(int64(-t.held))
		t.held = 0
	}
}

// complete reports whether the whole body was kept. length is what the request says.
func (t *tee) complete(length int64) bool {
	return !t.over && (t.ended || length >= 0 && int64(len(t.kept)) == length)
}

// mirroring is what the proxy remembers of a request that is to be copied.
type mirroring struct {
	mirror *Mirror        // nil: it is not, or it has been
	method message.Method // that the backend was asked by
	body   tee
}

// begin decides whether the request is copied, and begins to keep its body.
func (m *mirroring) begin(x *message.Exchange, mirror *Mirror, shard metric.Shard) {
	if mirror.Share < 1 && float64(rand.Uint64()) >= mirror.Share*math.MaxUint64 {
		return
	}
	if x.Request.Length > mirror.MaxBody {
		mirror.Metrics.TooLarge.Inc(shard)
		return
	}
	if x.Request.Upgrade != nil {
		return // what follows is no request
	}
	m.mirror, m.method = mirror, x.Request.Method
	if x.Request.Length != 0 {
		m.body = tee{source: x.Request.Body, kept: m.body.kept[:0], limit: mirror.MaxBody, copies: mirror.Branches}
		x.Request.Body = &m.body
	}
}

// sent is called when the backend has answered, or has not, and again when the exchange has ended, which is last then. The copy goes out as soon as
// the body is whole, which is the case at the first call unless the client or the endpoint is still at it; at the last it is whole or never will be.
func (m *mirroring) sent(x *message.Exchange, shard metric.Shard, last bool) {
	if mirror := m.mirror; mirror != nil {
		whole := x.Request.Length == 0 || (last || !x.Request.Pumping) && m.body.complete(x.Request.Length)
		if whole || last {
			m.mirror = nil
		}
		switch {
		case whole:
			method := x.Request.Method
			x.Request.Method = m.method
			mirror.copy(x, m, shard)
			x.Request.Method = method
		case !last:
		case m.body.over:
			mirror.Metrics.TooLarge.Inc(shard)
		default:
			mirror.Metrics.Broken.Inc(shard)
		}
	}
	if last && m.body.source != nil {
		x.Request.Body, m.body.source = m.body.source, nil // the codec's own
		m.body.release()
		if cap(m.body.kept) > maxKept {
			m.body.kept = nil
		}
	}
}

// copy sends a copy of the request, whose body was kept by from.
func (m *Mirror) copy(x *message.Exchange, from *mirroring, shard metric.Shard) {
	if m.underWay.Add(1) > maxCopies {
		m.underWay.Add(-1)
		m.Metrics.Busy.Inc(shard)
		return
	}
	d := duplicates.Get().(*duplicate)
	message.CopyRequest(&d.x, x)
	if x.Request.Length != 0 {
		d.kept, from.body.kept = from.body.kept, d.kept[:0]
		d.held, from.body.held = from.body.held, 0
		d.body.Reset(d.kept)
		d.x.Request.Body, d.x.Request.Length = &d.body, int64(len(d.kept))
	}
	d.x.Times.Routed = message.Now() // the copy's own times count from here: the answer to the request itself may have taken long
	d.x.Deadline = d.x.Times.Routed + int64(copyTime)
	d.cancel.Reset()
	d.ended = false
	d.flight.Shard, d.flight.Cancel = shard, &d.cancel
	if !m.Branches.enter(&d.branch) {
		m.underWay.Add(-1)
		m.Branches.held.Add(int64(-d.held))
		return // the program ends
	}
	go d.run(m, shard)
}

// run is the goroutine of a copy; Branches joins it.
func (d *duplicate) run(m *Mirror, shard metric.Shard) {
	defer func() {
		if p := recover(); p != nil {
			// A mistake of this program: the copy is lost, and what it has is left to the collector.
			m.Metrics.Failed.Inc(shard)
			m.Branches.settle(&d.branch)
			m.underWay.Add(-1)
			m.Branches.held.Add(int64(-d.held))
			m.Branches.leave()
			m.Branches.report("a copy of a request", p)
		}
	}()
	x := &d.x
	failure := m.Backend.Do(x, &d.flight)
	if failure == nil && m.Branches.reading(&d.branch, x.Response.Body) {
		failure = swallow(x.Response.Body)
	}
	m.Branches.settle(&d.branch)
	drop(&x.Response)
	if failure == nil {
		m.Metrics.Answered.Inc(shard)
	} else {
		x.Fail(failure)
		m.Metrics.Failed.Inc(shard)
	}
	d.flight.Finish(x)
	x.Reset()
	m.underWay.Add(-1)
	m.Branches.held.Add(int64(-d.held))
	d.held = 0
	if cap(d.kept) <= maxKept {
		duplicates.Put(d)
	}
	m.Branches.leave()
}

// swallow reads an answer that nobody wants, as far as that is worth its connection. A failure says that it was broken off.
func swallow(b message.Body) *message.Failure {
	for n := 0; n <= copyAnswer; {
		piece, err := b.Next()
		if err != nil {
			var failure *message.Failure
			errors.As(err, &failure)
			return failure
		}
		n += len(piece)
	}
	return nil
}
