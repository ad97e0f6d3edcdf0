package policy

import (
	"bytes"
	"io"
	"strings"
	"time"

	"github.com/sluice-gateway/sluice/message"
)

// answer is what a request was answered, or is being. What stands behind done is written before done is closed, and not changed afterwards.
type answer struct {
	sum  sumOfRequest
	done chan struct{}

	state   answerState
	keep    bool // later requests get it, too
	status  int
	fields  []message.FieldValue
	body    []byte
	length  int64
	spill   *spill           // the rest of a body that is too large to be kept
	failure *message.Failure // what those who wait get in place of an answer: it was none of the backend's
	broken  bool             // the first gets the failure, too
	limited bool             // limits behind this policy have written fields
	outcome message.Outcome  // of the task, for the log of the first request

	claim   string // of another program, that works on it; used by who watches it
	expires int64  // moment of message.Now; guarded by the lock of memoryReplays, as is size
	size    int64  // bytes, as they are counted
}

// answerState is what became of the first request, for those who wait for it.
type answerState uint8

const (
	answerLost    answerState = iota // it is not known: the work is done anew
	answerThere                      // it has an answer, which they get
	answerSpilled                    // it has an answer that is too large for being given twice
)

func newAnswer(sum sumOfRequest) *answer { return &answer{sum: sum, done: make(chan struct{})} }

// take takes the answer of a task. held is how many bytes it has taken of the memory for bodies.
func (r *answer) take(x *message.Exchange, m *bodyMemory) (held int) {
	o := &x.Outcome
	r.state = answerThere
	r.outcome = message.Outcome{Backend: o.Backend, Endpoint: o.Endpoint, Attempts: o.Attempts, Reused: o.Reused,
		Reason: o.Reason, Side: o.Side, Stage: o.Stage, Err: o.Err}
	r.limited = x.Note(limitMark) != nil
	if x.Response.Tunnel != nil {
		return r.breakOff(0, &message.Failure{Reason: message.UpstreamResponseInvalid, Side: message.SideUpstream, Stage: message.StageReceive})
	}
	body, held, whole, err := drain(x.Response.Body, x.Response.Length, m)
	if err != nil {
		return r.breakOff(held, &message.Failure{Reason: message.UpstreamBodyBroken, Side: message.SideUpstream, Stage: message.StageReceive, Err: err})
	}
	r.status, r.body, r.length = x.Response.Status, body, int64(len(body))
	if len(body) == 0 && x.Response.Length > 0 {
		r.length = x.Response.Length // of an answer to HEAD
	}
	if !whole {
		r.state = answerSpilled
		r.spill = newSpill(x.Response.Length, int64(len(body)))
	}
	h := &x.Response.Header
	for i := range h.Len() {
		f := h.At(i)
		if name := message.NameOf(string(f.Name)); carried(name) {
			r.fields = append(r.fields, message.FieldValue{Name: name, Value: bytes.Clone(f.Value)})
		}
	}
	if o.Reason != message.ReasonNone {
		r.failure = failureFor(o, h)
		return held
	}
	r.keep = whole && r.status < 500 && r.status != 408 && r.status != 425 && r.status != 429
	return held
}

// breakOff makes a failure the answer for everybody. It returns held.
func (r *answer) breakOff(held int, f *message.Failure) int {
	r.failure, r.broken = f, true
	return held
}

// failureFor returns what those who wait are told of a failure of the gateway itself, so that their problem has their own request id.
func failureFor(o *message.Outcome, h *message.Header) *message.Failure {
	f := &message.Failure{Reason: o.Reason, Side: o.Side, Stage: o.Stage, Err: o.Err, Status: o.Status, Members: bytes.Clone(o.Members)}
	for _, field := range o.Fields {
		f.Fields = append(f.Fields, message.FieldValue{Name: field.Name, Value: bytes.Clone(field.Value)})
	}
	if after := h.Get(message.RetryAfter); after != nil {
		f.Fields = append(f.Fields, message.FieldValue{Name: retryAfterField, Value: bytes.Clone(after)})
	}
	return f
}

// drain reads a body to its end, or until it has more than is kept or there is no memory for it: then it is not whole.
func drain(b message.Body, length int64, m *bodyMemory) (out []byte, held int, whole bool, err error) {
	for {
		piece, err := b.Next()
		switch {
		case err == io.EOF:
			if cap(out) > len(out)+len(out)/4+512 {
				out = bytes.Clone(out) // it may be kept for long
			}
			return out, held, true, nil
		case err != nil:
			return nil, held, false, err
		}
		if need := len(out) + len(piece); need > cap(out) {
			room := max(need, 2*cap(out))
			if length >= int64(need) && length <= maxReplay {
				room = int(length)
			}
			whole = need <= maxReplay && m.reserve(room-cap(out))
			if whole {
				held += room - cap(out)
			} else {
				room = need // it is given on, and nothing more of it is held
			}
			out = append(make([]byte, 0, room), out...)
			if !whole {
				return append(out, piece...), held, false, nil
			}
		}
		if out = append(out, piece...); len(out) > maxReplay {
			return out, held, false, nil
		}
	}
}

// carried reports whether a field of the first answer is one that the client is given: not what belongs to the connection, and what is set anew.
func carried(f message.Name) bool {
	id := f.ID()
	return id != message.XRequestId && id.Flags()&(message.FlagHop|message.FlagFraming) == 0 && !strings.EqualFold(f.String(), idempotentReplayed.String())
}

// momentary reports whether a field tells of the moment of the first answer.
func momentary(id message.ID) bool {
	return id == message.Date || id == message.RateLimit || id == message.RateLimitPolicy
}

// wait waits for the answer to the first request, until the moment deadline, and reports whether it came.
func (r *answer) wait(x *message.Exchange, deadline int64) (ended bool) {
	x.Await(func() {
		timer := time.NewTimer(time.Duration(deadline - message.Now()))
		defer timer.Stop()
		select {
		case <-r.done:
			ended = true
		case <-timer.C:
		}
	})
	return ended
}

// tell notes for the log how the first request went.
func (r *answer) tell(x *message.Exchange) {
	o := &x.Outcome
	o.Backend, o.Endpoint, o.Attempts, o.Reused = r.outcome.Backend, r.outcome.Endpoint, r.outcome.Attempts, r.outcome.Reused
	if r.outcome.Reason != message.ReasonNone {
		o.Reason, o.Side, o.Stage, o.Err = r.outcome.Reason, r.outcome.Side, r.outcome.Stage, r.outcome.Err
	}
}

// give answers an exchange; again says that it is not that of the first request.
func (r *answer) give(x *message.Exchange, again bool) *message.Failure {
	if r.broken || again && r.failure != nil {
		return r.failure
	}
	to := &x.Response
	to.Status = r.status
	for i := range r.fields {
		if f := &r.fields[i]; !again || !momentary(f.Name.ID()) {
			to.Header.Add(f.Name, f.Value)
		}
	}
	if again {
		to.Header.Set(idempotentReplayed, []byte("true"))
	} else if r.limited {
		x.SetNote(limitMark, limitMark)
	}
	x.Fixed.Reset(r.body)
	to.Body, to.Length = &x.Fixed, r.length
	if r.spill != nil {
		r.spill.first = r.body
		to.Body, to.Length = r.spill, r.spill.length
	}
	return nil
}

// idempotentReplayed marks answers that were kept; read-only.
var idempotentReplayed = message.NameOf("Idempotent-Replayed")
