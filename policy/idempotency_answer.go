package policy

import (
	"bytes"
	"crypto/sha256"
	"io"
	"sync"
	"time"

	"github.com/sluice-gateway/sluice/message"
)

// answer is what a request was answered, or is being. What stands behind done is written before done is closed, and not changed afterwards.
type answer struct {
	sum  [sha256.Size]byte
	done chan struct{}

	keep    bool // later requests get it
	status  int
	fields  []message.FieldValue
	body    []byte
	spill   *spill           // the rest of a body that is too large to be kept
	failure *message.Failure // in place of an answer
	outcome message.Outcome  // of the task, for the log of the first request

	expires int64 // moment of message.Now
	size    int64 // bytes, as they are counted
	other   bool  // another program works on it
}

// take takes the answer of a task.
func (r *answer) take(x *message.Exchange) {
	o := x.Outcome
	r.outcome = o
	r.outcome.Members, r.outcome.Fields, r.outcome.Policy = nil, nil, o.Policy
	if x.Response.Tunnel != nil {
		r.failure = &message.Failure{Reason: message.UpstreamResponseInvalid, Side: message.SideUpstream, Stage: message.StageReceive}
		return
	}
	body, whole, err := drain(x.Response.Body)
	if err != nil {
		r.failure = &message.Failure{Reason: message.UpstreamBodyBroken, Side: message.SideUpstream, Stage: message.StageReceive, Err: err}
		return
	}
	if !whole {
		r.spill = newSpill(x.Response.Length, int64(len(body)))
	}
	r.status, r.body = x.Response.Status, body
	h := &x.Response.Header
	for i := range h.Len() {
		f := h.At(i)
		if replayed(f.ID) {
			name := message.NameOf(string(f.Name))
			r.fields = append(r.fields, message.FieldValue{Name: name, Value: bytes.Clone(f.Value)})
		}
	}
	r.keep = whole && o.Reason == message.ReasonNone && r.status < 500 && r.status != 408 && r.status != 425 && r.status != 429
}

// drain reads a body to its end, or until it has more than is kept: then it is not whole.
func drain(b message.Body) (out []byte, whole bool, err error) {
	for {
		piece, err := b.Next()
		switch {
		case err == io.EOF:
			return out, true, nil
		case err != nil:
			return nil, false, err
		}
		if out = append(out, piece...); len(out) > maxReplay {
			return out, false, nil
		}
	}
}

// replayed reports whether a field of the first answer belongs to later ones: not what is said of the moment, the connection or the exchange.
func replayed(id message.ID) bool {
	switch id {
	case message.Date, message.RateLimit, message.RateLimitPolicy, message.RetryAfter, message.XRequestId:
		return false
	}
	return id.Flags()&(message.FlagHop|message.FlagFraming) == 0
}

// tell notes for the log how the first request went.
func (r *answer) tell(x *message.Exchange) {
	o := &x.Outcome
	o.Backend, o.Endpoint, o.Attempts, o.Reused = r.outcome.Backend, r.outcome.Endpoint, r.outcome.Attempts, r.outcome.Reused
	if r.outcome.Reason != message.ReasonNone {
		o.Reason, o.Side, o.Stage, o.Err = r.outcome.Reason, r.outcome.Side, r.outcome.Stage, r.outcome.Err
	}
}

// give answers an exchange.
func (r *answer) give(x *message.Exchange, again bool) error {
	if r.failure != nil {
		return r.failure
	}
	to := &x.Response
	to.Status = r.status
	for i := range r.fields {
		to.Header.Add(r.fields[i].Name, r.fields[i].Value)
	}
	if again {
		to.Header.Set(idempotentReplayed, []byte("true"))
	}
	x.Fixed.Reset(r.body)
	to.Body, to.Length = &x.Fixed, int64(len(r.body))
	if r.spill != nil {
		r.spill.first = r.body
		to.Body, to.Length = r.spill, r.spill.length
	}
	return nil
}

// spill is the body of an answer that is too large to be kept, on its way from the task that reads it to the first exchange, the only one that gets it. Pieces
// are handed over one by one: the task reads on when the exchange wants the next.
type spill struct {
	first  []byte
	length int64
	pieces chan []byte
	taken  chan struct{} // the exchange is done with a piece
	left   chan struct{} // closed when the exchange wants no more
	once   sync.Once
	held   bool  // the exchange has a piece
	err    error // what the body ended with, written before pieces is closed
}

func newSpill(length, read int64) *spill {
	if length < read {
		length = message.LengthUnknown
	}
	return &spill{length: length, pieces: make(chan []byte), taken: make(chan struct{}), left: make(chan struct{})}
}

// run hands the rest of a body over. It is the task's side.
func (s *spill) run(b message.Body) {
	defer close(s.pieces)
	for {
		piece, err := b.Next()
		if err != nil {
			s.err = err
			return
		}
		select {
		case s.pieces <- piece:
		case <-s.left:
			s.err = io.ErrUnexpectedEOF
			return
		}
		select {
		case <-s.taken:
		case <-s.left:
			s.err = io.ErrUnexpectedEOF
			return
		}
	}
}

// Next implements message.Body.
func (s *spill) Next() ([]byte, error) {
	if len(s.first) > 0 {
		piece := s.first
		s.first = nil
		return piece, nil
	}
	if s.held {
		s.held = false
		s.taken <- struct{}{}
	}
	piece, ok := <-s.pieces
	if !ok {
		return nil, s.err
	}
	s.held = true
	return piece, nil
}

// Close implements message.Body.
func (s *spill) Close() error {
	s.once.Do(func() { close(s.left) })
	return nil
}

// idempotentReplayed marks answers that were kept; read-only.
var idempotentReplayed = message.NameOf("Idempotent-Replayed")

// replayKey is what the answers of a policy are kept under.
type replayKey struct {
	policy string
	keep   time.Duration
	memory int64
}

// replays keeps answers in memory, bounded by bytes and by time. It is kept over configurations.
type replays struct {
	keep  time.Duration
	limit int64

	mu    sync.Mutex
	all   map[[sha256.Size]byte]*answer
	order []replayPlace // those that have ended, the oldest first
	held  int64
}

// replayPlace is an answer that has ended. It may have been dropped since.
type replayPlace struct {
	key [sha256.Size]byte
	r   *answer
}

// replayOverhead is about what is kept of an answer beside its bytes: key, record, places in the map and the list.
const replayOverhead = 512

func newReplays(keep time.Duration, limit int64) *replays {
	return &replays{keep: keep, limit: limit, all: make(map[[sha256.Size]byte]*answer)}
}

// Close implements io.Closer: requests that began before may go on.
func (m *replays) Close() error { return nil }

// begin implements answers.
func (m *replays) begin(key, sum [sha256.Size]byte) (r *answer, first bool) {
	now := message.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire(now)
	if r = m.all[key]; r != nil {
		return r, false
	}
	if !m.room(replayOverhead) {
		return nil, false
	}
	r = &answer{sum: sum, done: make(chan struct{}), size: replayOverhead}
	m.held += r.size
	m.all[key] = r
	return r, true
}

// end implements answers.
func (m *replays) end(key [sha256.Size]byte, r *answer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer close(r.done)
	more := int64(len(r.body))
	for i := range r.fields {
		more += int64(len(r.fields[i].Value)) + 64
	}
	if !r.keep || !m.room(more) {
		r.keep = false
		m.drop(key, r)
		return
	}
	r.size += more
	m.held += more
	r.expires = message.Now() + int64(m.keep)
	m.order = append(m.order, replayPlace{key, r})
}

// refresh implements answers: nobody else works on what is in memory.
func (m *replays) refresh([sha256.Size]byte, *answer) {}

// expire drops answers whose time is over. The lock is held.
func (m *replays) expire(now int64) {
	for len(m.order) > 0 && m.order[0].r.expires <= now {
		m.oldest()
	}
}

// room makes room for n bytes, if it can be made of answers that have ended. The lock is held.
func (m *replays) room(n int64) bool {
	for m.held+n > m.limit {
		if len(m.order) == 0 {
			return false
		}
		m.oldest()
	}
	return true
}

// oldest drops the oldest answer. The lock is held.
func (m *replays) oldest() {
	p := m.order[0]
	m.order[0] = replayPlace{}
	m.order = m.order[1:]
	m.drop(p.key, p.r)
}

// drop forgets an answer. The lock is held.
func (m *replays) drop(key [sha256.Size]byte, r *answer) {
	if m.all[key] == r {
		delete(m.all, key)
		m.held -= r.size
	}
}
