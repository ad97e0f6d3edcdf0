package compose

import (
	"errors"
	"io"

	"github.com/sluice-gateway/sluice/message"
)

// finish makes the response of what the steps have brought, or says why there is none. All calls have ended.
func (r *run) finish() *message.Failure {
	switch {
	case r.gone:
		return &clientLeft
	case r.failed:
		return r.stepFailure()
	}
	x := r.x
	status := r.plan.fixed
	if r.plan.status != nil {
		n, ok := r.plan.status.Int(x)
		if !ok || !final(int(n)) {
			return r.failure(message.TransformFailed, 0, errStatus)
		}
		status = int(n)
	}
	out, ok := r.plan.body.Append(r.out[:0], x)
	if r.out = out; !ok {
		return r.failure(message.TransformFailed, 0, errBody)
	}
	r.mu.Lock()
	ok = r.admit(counted(cap(out)))
	r.mu.Unlock()
	if !ok {
		return r.failure(message.ConcurrencyExceeded, 0, errCrowded)
	}
	x.Times.FirstByte = message.Now()
	to := &x.Response
	to.Status = status
	h := &to.Header
	h.Set(contentType, applicationJSON)
	r.text = r.fresh.appendTo(r.text[:0])
	h.Set(cacheControl, r.text)
	if r.text = r.appendPartial(r.text[:0]); len(r.text) > 0 {
		h.Set(sluicePartial, r.text)
	}
	if r.text = r.plan.appendVary(r.text[:0], r.vary); len(r.text) > 0 {
		h.Add(varyField, r.text)
	}
	if status == 204 || status == 205 || status == 304 {
		r.out = r.out[:0]
	}
	r.body.run, r.body.piece = r, r.out
	to.Body, to.Length = &r.body, int64(len(r.out))
	return nil
}

var (
	errStatus = errors.New("the status of the composition is no number from 200 to 599")
	errBody   = errors.New("the body of the composition could not be made")
)

// composed is the body of a composed answer. What the composition holds is given back when it is closed.
type composed struct {
	run   *run // nil when it was closed
	piece []byte
}

// Next implements message.Body.
func (b *composed) Next() ([]byte, error) {
	if len(b.piece) == 0 {
		return nil, io.EOF
	}
	p := b.piece
	b.piece = nil
	return p, nil
}

// Ready reports whether Next returns without waiting.
func (*composed) Ready() bool { return true }

// Close implements message.Body.
func (b *composed) Close() error {
	if r := b.run; r != nil {
		if to := &r.x.Response; to.Body == message.Body(b) {
			to.Body = message.NoBody{} // b is another exchange's from now on, and who closes a body twice must not close that one
		}
		r.release()
	}
	return nil
}
