package compose

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"github.com/sluice-gateway/sluice/document"
	"github.com/sluice-gateway/sluice/http1"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/upstream"
)

// call is one request to a backend, for a step or for an element of its list. It is pooled. Between launch and finished it belongs to the goroutine
// that makes it, but for what mu of its run guards; the rest of the time to whoever holds mu.
type call struct {
	x      message.Exchange // its request borrows from the client's, which lives longer
	flight upstream.Flight
	cancel http1.Cancel
	bytes  message.Bytes
	main   func() // what a goroutine of its own runs; bound once

	run     *run
	step    int
	element int // of the step's list; -1 for none

	target []byte // path and query
	sent   []byte // body of the request
	read   []byte // body of the answer as it came
	plain  []byte // body of the answer, decompressed
	text   []byte // body of the answer as a JSON string
	heard  bool   // answer was set

	left   atomic.Bool // nobody waits for the answer any more
	active bool        // it was prepared and is not finished; guarded by mu
	answer interrupter // the body that is being waited for, if that can be ended; guarded by mu

	// What has come of it.
	outcome outcome
	reason  reason
	err     error
	status  int    // 0: no answer came
	value   []byte // JSON text, within one of the buffers
	fresh   freshness
	vary    uint64
}

// interrupter is a body that can be ended while somebody reads it.
type interrupter interface{ Interrupt() }

// calls is a pool (read-only: what it holds has no meaning).
var calls sync.Pool

func newCall() *call {
	c, ok := calls.Get().(*call)
	if !ok {
		c = new(call)
		c.x.Reset()
		c.main = c.alone
		c.flight.Cancel = &c.cancel
	}
	return c
}

// take returns a call for a step of the run. The caller holds mu.
func (r *run) take(step, element int) *call {
	var c *call
	if n := len(r.spare); n > 0 {
		c = r.spare[n-1]
		r.spare = r.spare[:n-1]
	} else {
		c = newCall()
		c.run = r
		r.calls = append(r.calls, c)
	}
	c.step, c.element = step, element
	c.outcome, c.reason, c.err, c.status, c.value = outcomeNone, reason{}, nil, 0, nil
	c.fresh, c.vary = freshness{}, 0
	c.left.Store(false)
	c.cancel.Reset()
	c.flight.Shard = r.shard
	return c
}

// put makes a call ready for another element. The caller holds mu.
func (r *run) put(c *call) {
	c.x.Reset()
	r.spare = append(r.spare, c)
}

// free gives a call back when its run has ended. Of its buffers it keeps what is not counted.
func (c *call) free() {
	c.x.Reset()
	c.run, c.err, c.value = nil, nil, nil
	c.bytes.Reset(nil)
	for _, b := range []*[]byte{&c.target, &c.sent, &c.read, &c.plain, &c.text} {
		if cap(*b) > freely {
			*b = nil
		}
	}
	calls.Put(c)
}

// alone is the goroutine of a call that the exchange's own thread does not make.
func (c *call) alone() {
	r := c.run
	r.drive(c)
	r.leave()
}

// WriteInterim implements message.Interim: what a backend says before its answer is not for the client.
func (*call) WriteInterim(int, *message.Header) error { return nil }

// Gone reports whether nobody waits for the answer any more. A backend asks before it gives a place to a call that has waited for one.
func (c *call) Gone() bool { return c.left.Load() }

// abort ends the call from elsewhere, wherever it stands. The caller holds mu.
func (c *call) abort() {
	c.left.Store(true)
	c.cancel.Fire()
	if c.answer != nil {
		c.answer.Interrupt()
	}
}

// canceled stands for what becomes of a call that was aborted: no endpoint is to blame. Read-only.
var canceled = message.Failure{Reason: message.Internal, Side: message.SideInternal, Stage: message.StageReceive, Err: http1.ErrCanceled}

// do makes the call.
func (c *call) do() {
	x := &c.x
	s := &c.run.plan.steps[c.step]
	if c.left.Load() {
		c.fail(&canceled)
		return // before it has cost a connection
	}
	failure := s.backend.Do(x, &c.flight)
	if failure == nil {
		failure = c.receive(s)
	}
	if c.heard {
		c.deafen()
	}
	_ = x.Response.Body.Close()
	x.Response.Body = message.NoBody{}
	if failure != nil {
		c.fail(failure)
	}
	c.flight.Finish(x)
}

// fail takes a failure of the transport for what has come of the call.
func (c *call) fail(f *message.Failure) {
	c.err = f.Err
	switch {
	case c.left.Load():
		c.outcome = outcomeCancelled
		f = &canceled
	case f.Reason.Status() == 504:
		c.outcome, c.reason.word = outcomeTimeout, reasonTimeout
	default:
		c.outcome, c.reason.word = outcomeFailed, f.Reason.String()
	}
	c.x.Fail(f)
}

// refuse says that an answer is none for the step.
func (c *call) refuse(word string, err error) {
	c.outcome, c.reason.word, c.err = outcomeFailed, word, err
}

// receive reads the answer. A failure says that it was broken off.
func (c *call) receive(s *step) *message.Failure {
	r := &c.x.Response
	c.status = r.Status
	if !s.succeeds(r.Status) {
		c.outcome, c.reason = outcomeFailed, reason{status: r.Status}
		skim(r.Body)
		return nil
	}
	c.fresh = freshnessOf(&r.Header, s.safe)
	c.vary = c.run.plan.varies(&r.Header, &c.fresh)
	if s.method.Known == message.HEAD || r.Status == 204 || r.Status == 205 || r.Status == 304 {
		skim(r.Body)
		c.outcome, c.value = outcomeOK, null
		return nil
	}
	if failure := c.pull(s); failure != nil || c.outcome != outcomeNone {
		return failure
	}
	body := c.read
	if r.Header.Has(message.ContentEncoding) {
		if body = c.decompress(&r.Header, s.maxBody); c.outcome != outcomeNone {
			return nil
		}
	}
	c.decode(body, isJSON(r.Header.Get(message.ContentType)))
	return nil
}

// skim reads of a body that nobody wants what is there already, so that its connection can be used again.
func skim(b message.Body) {
	ready, ok := b.(interface{ Ready() bool })
	if !ok {
		return
	}
	for n := 0; n < freely && ready.Ready(); {
		piece, err := b.Next()
		if err != nil {
			return
		}
		n += len(piece)
	}
}

// pull reads the body into memory.
func (c *call) pull(s *step) *message.Failure {
	r := &c.x.Response
	c.read = c.read[:0]
	if r.Length > int64(s.maxBody) {
		c.refuse(reasonTooLarge, nil)
		return nil
	}
	if r.Length > 0 && !c.grow(&c.read, int(r.Length)) {
		return nil
	}
	ready, _ := r.Body.(interface{ Ready() bool })
	for {
		if !c.heard && (ready == nil || !ready.Ready()) && !c.listen(r.Body) {
			return &canceled
		}
		piece, err := r.Body.Next()
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			var failure *message.Failure
			if !errors.As(err, &failure) {
				failure = &message.Failure{Reason: message.UpstreamBodyBroken, Side: message.SideUpstream, Stage: message.StageReceive, Err: err}
			}
			return failure
		case len(c.read)+len(piece) > s.maxBody:
			c.refuse(reasonTooLarge, nil)
			return nil
		case !c.grow(&c.read, len(piece)):
			return nil
		}
		c.read = append(c.read, piece...)
	}
}

// listen says that a body is being waited for, so that it can be ended. It reports false if nobody wants it any more.
func (c *call) listen(b message.Body) bool {
	c.run.mu.Lock()
	defer c.run.mu.Unlock()
	if c.left.Load() {
		return false
	}
	c.answer, _ = b.(interrupter)
	c.heard = true
	return true
}

// deafen says that nothing is waited for any more: the body may be closed.
func (c *call) deafen() {
	c.run.mu.Lock()
	c.answer = nil
	c.run.mu.Unlock()
	c.heard = false
}

// grow makes room for n more bytes in a buffer of the call. If they may not be kept, that is what has come of the call.
func (c *call) grow(b *[]byte, n int) bool {
	need := len(*b) + n
	if need <= cap(*b) {
		return true
	}
	size := max(need, 2*cap(*b))
	if !c.run.hold(counted(size) - counted(cap(*b))) {
		c.refuse(reasonMemory, errCrowded)
		return false
	}
	*b = append(make([]byte, 0, size), *b...)
	return true
}

// counted returns how many bytes of a buffer are counted: none of one that would be kept in any case.
func counted(size int) int64 {
	if size <= freely {
		return 0
	}
	return int64(size)
}

// errCrowded tells the log what the reason memory means.
var errCrowded = errors.New("the answers that are kept for compositions have reached their bound")

// limits are those of an answer, whose size is bounded already. Read-only.
var limits = document.Limits{Depth: 64, Keys: 1 << 20}

// decode makes the value of a body.
func (c *call) decode(body []byte, json bool) {
	if json {
		v, err := document.Parse(body, limits)
		if err != nil {
			c.refuse(reasonBodyInvalid, err)
			return
		}
		c.outcome, c.value = outcomeOK, v.Raw()
		return
	}
	if !utf8.Valid(body) {
		c.refuse(reasonBodyInvalid, errNotText)
		return
	}
	// A control character becomes six bytes, so the room cannot be known before without making it too large.
	if c.text = c.text[:0]; !c.grow(&c.text, len(body)+2) {
		return
	}
	room := cap(c.text)
	c.text = document.AppendString(c.text, body)
	if more := counted(cap(c.text)) - counted(room); more > 0 && !c.run.hold(more) {
		c.refuse(reasonMemory, errCrowded)
		return
	}
	c.outcome, c.value = outcomeOK, c.text
}

var errNotText = errors.New("the body is neither JSON nor UTF-8")

// isJSON reports whether a content type is that of JSON.
func isJSON(v []byte) bool {
	for i, c := range v {
		if c == ';' {
			v = v[:i]
			break
		}
	}
	v = message.TrimSpace(v)
	const suffix = "+json"
	return message.EqualFold(v, "application/json") || len(v) > len(suffix) && message.EqualFold(v[len(v)-len(suffix):], suffix)
}
