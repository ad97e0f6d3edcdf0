package policy

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/sluice-gateway/sluice/document"
	"github.com/sluice-gateway/sluice/message"
)

// editLimits are the bounds of a document that is changed. Its size is bounded, so they keep away what is small and costs much.
var editLimits = document.Limits{Depth: 256, Keys: 100_000, Digits: 1000} // read-only

// errs are the failures of one policy, made before the first request.
type bodyErrors struct {
	notJSON, invalid, deep, wide, duplicate, path, failed, expression, size, memory, encoding *message.Failure
}

// newBodyErrors makes the failures of the policy called name.
func newBodyErrors(name string, d direction) bodyErrors {
	failure := func(reason message.Reason, status int, what string) *message.Failure {
		f := &message.Failure{Reason: reason, Side: message.SideClient, Stage: message.StageRoute, Status: status, Err: fmt.Errorf("policy %s: %s", name, what)}
		if d == ofResponse {
			f.Side, f.Stage = message.SideUpstream, message.StageReceive
		}
		return f
	}
	const path = "a parent of a path is neither object nor array"
	full := failure(message.ConcurrencyExceeded, 0, errBodyMemory.Error())
	full.Side = message.SideInternal
	if d == ofResponse {
		invalid := failure(message.ResponseNotJSON, 0, "the answer is not well-formed JSON")
		bounds := failure(message.TransformFailed, 0, "the answer goes beyond the bounds of what is changed")
		return bodyErrors{
			invalid: invalid, duplicate: invalid, deep: bounds, wide: bounds, memory: full,
			path:       failure(message.TransformFailed, 0, path),
			failed:     failure(message.TransformFailed, 0, "the program has no output"),
			expression: failure(message.TransformFailed, 0, "an expression has failed"),
			size:       failure(message.ResponseTooLarge, 0, errBodyLarge.Error()),
			encoding:   failure(message.ResponseEncodingUnsupported, 0, "the answer has an encoding other than gzip"),
		}
	}
	identity := []message.FieldValue{{Name: acceptEncoding, Value: identityCoding}} // RFC 7694 section 3
	encoding := failure(message.BodyNotJSON, 0, "the body is encoded")
	encoding.Fields = identity
	return bodyErrors{
		notJSON:    failure(message.BodyNotJSON, 0, "the body is not JSON"),
		invalid:    failure(message.JSONInvalid, 0, "the body is not well-formed JSON"),
		deep:       failure(message.JSONTooDeep, 0, "the body is nested too deeply"),
		wide:       failure(message.JSONTooLarge, 0, "the body has too many members, or too long a number"),
		duplicate:  failure(message.JSONDuplicateKey, 0, "an object has a member twice"),
		path:       failure(message.BodyPathInvalid, 0, path),
		failed:     failure(message.TransformFailed, 422, "the program has no output"),
		expression: failure(message.ExpressionFailed, 0, "an expression has failed"),
		size:       failure(message.BodyTooLarge, 0, errBodyLarge.Error()),
		encoding:   encoding, memory: full,
	}
}

// of returns the failure for an error of reading or parsing. One that a body ended with is a failure already.
func (e *bodyErrors) of(err error) *message.Failure {
	var invalid *document.Error
	var f *message.Failure
	switch {
	case err == errBodyLarge:
		return e.size
	case err == errBodyMemory:
		return e.memory
	case err == errEncoding:
		return e.encoding
	case errors.As(err, &invalid):
		switch invalid.Kind {
		case document.TooDeep:
			return e.deep
		case document.TooManyKeys, document.NumberTooLong:
			return e.wide
		case document.DuplicateKey:
			return e.duplicate
		}
		return e.invalid
	case errors.As(err, &f):
		return f
	}
	return failureOf(err)
}

// because returns f with a cause of this exchange.
func because(f *message.Failure, err error) *message.Failure {
	g := *f
	g.Err = err
	return &g
}

// request changes the body of a request. It is read to its end before anything is forwarded.
func (e *bodyEdit) request(x *message.Exchange) *message.Failure {
	r := &x.Request
	if r.Length == 0 && !e.creates {
		return nil
	}
	var c *content
	if r.Length != 0 {
		if !e.replaces {
			if isEncoded(&r.Header) {
				return e.errs.encoding
			}
			if !jsonType(&r.Header) {
				return e.errs.notJSON
			}
		}
		var f *message.Failure
		if c, f = e.memory.ofRequest(x, e, e.max, &e.errs); f != nil {
			return f
		}
	}
	if r.Length == 0 { // it may have been found only now
		if !e.creates || !hasContent(r.Method.Known) {
			return nil
		}
		if c == nil {
			c = e.memory.content()
			e.memory.install(x, c, e)
		}
	}
	limits := editLimits
	limits.Duplicates = true // what a backend would take from an object with two of them nobody knows
	changed, f := e.change(x, c, limits)
	if f != nil || !changed {
		return f
	}
	r.Length = int64(len(c.text))
	removeDigests(&r.Header)
	r.Header.Remove(contentEncoding)
	if !jsonType(&r.Header) {
		r.Header.Set(contentType, jsonContent)
	}
	return nil
}

// hasContent reports whether a request of the method is given a body when it has none.
func hasContent(m message.MethodID) bool {
	return m == message.POST || m == message.PUT || m == message.PATCH
}

// ofRequest returns the body of the request, held in memory. Where no other policy has read it, owner does, and will release it.
func (m *bodyMemory) ofRequest(x *message.Exchange, owner any, most int64, errs *bodyErrors) (*content, *message.Failure) {
	r := &x.Request
	if c, ok := r.Body.(*content); ok {
		if int64(len(c.text)) > most {
			return nil, errs.size
		}
		return c, nil
	}
	c := m.content()
	if err := m.read(c, r.Body, r.Length, most); err != nil {
		return nil, errs.of(err)
	}
	m.install(x, c, owner)
	return c, nil
}

// install makes c, which is new, the body of the request.
func (m *bodyMemory) install(x *message.Exchange, c *content, owner any) {
	r := &x.Request
	c.owner = owner
	x.SetNote(m, c)
	r.Body = c
	if r.Length != message.LengthUnknown || len(r.Trailers) == 0 || r.Trailer.Len() == 0 {
		r.Length = int64(len(c.text)) // else the trailers need a body that tells its own end
	}
}

// settle releases the body that owner has read of the request. It is called when there is a response.
func (m *bodyMemory) settle(x *message.Exchange, owner any) {
	c, ok := x.Note(m).(*content)
	if !ok || c.owner != owner {
		return
	}
	x.SetNote(m, nil)
	if !x.Request.Pumping { // all of it was sent, or will never be
		if x.Request.Body == message.Body(c) {
			x.Request.Body = message.NoBody{}
		}
		c.release()
		return
	}
	// The backend answers before it has heard the request out. The transport stops reading it when the answer is closed.
	x.Response.Body = &pumped{Body: x.Response.Body, request: c}
}

// pumped is the body of an answer that came before the request was sent.
type pumped struct {
	message.Body
	request *content
}

// Close implements message.Body.
func (p *pumped) Close() error {
	err := p.Body.Close()
	if p.request != nil {
		p.request.release()
		p.request = nil
	}
	return err
}

// Ready reports whether Next returns without waiting.
func (p *pumped) Ready() bool { return ready(p.Body) }

// Interrupt makes a Next that waits return, if the body can do that.
func (p *pumped) Interrupt() {
	if b, ok := p.Body.(interface{ Interrupt() }); ok {
		b.Interrupt()
	}
}

// ready reports whether the next piece of a body is there.
func ready(b message.Body) bool {
	switch b := b.(type) {
	case *message.Bytes:
		return true
	case interface{ Ready() bool }:
		return b.Ready()
	}
	return false
}

// prepare asks the backend for an answer that can be changed: not encoded, and whole. What the client has asked for is remembered.
func (e *bodyEdit) prepare(x *message.Exchange) {
	h := &x.Request.Header
	h.Remove(rangeField)
	h.Remove(ifRange)
	if asked := h.Get(message.AcceptEncoding); asked != nil {
		if h.Count(message.AcceptEncoding) > 1 {
			asked = joined(x, h, message.AcceptEncoding)
		}
		n, ok := e.memory.asked.Get().(*askedNote)
		if !ok {
			n = new(askedNote)
		}
		n.text = x.Keep(asked)
		x.SetNote(&e.memory.asked, n)
	}
	h.Set(acceptEncoding, identityCoding)
}

// joined returns all values of a field as one list, in memory of the exchange.
func joined(x *message.Exchange, h *message.Header, id message.ID) []byte {
	b := x.Scratch()
	for i := range h.Len() {
		if f := h.At(i); f.ID == id {
			if len(b) > 0 {
				b = append(b, ", "...)
			}
			b = append(b, f.Value...)
		}
	}
	return x.KeepScratch(b)
}

// restore undoes prepare, for policies before this one that look at what the client accepts.
func (e *bodyEdit) restore(x *message.Exchange) {
	h := &x.Request.Header
	if n, ok := x.Note(&e.memory.asked).(*askedNote); ok {
		x.SetNote(&e.memory.asked, nil)
		h.Set(acceptEncoding, n.text)
		e.memory.asked.Put(n)
	} else if string(h.Get(message.AcceptEncoding)) == string(identityCoding) {
		h.Remove(acceptEncoding)
	}
}

// response changes the body of a response.
func (e *bodyEdit) response(x *message.Exchange) *message.Failure {
	r := &x.Response
	if x.Outcome.Reason != message.ReasonNone || r.Tunnel != nil || !e.replaces && !jsonType(&r.Header) {
		return nil
	}
	switch {
	case r.Status < 200, r.Status == 204, r.Status == 205:
		return nil
	case r.Status == 304:
		weaken(&r.Header) // as the answer has it that the client keeps
		return nil
	case x.Request.Method.Known == message.HEAD:
		changedHeader(&r.Header)
		r.Length = message.LengthUnknown // of another body than a GET would have
		return nil
	case r.Length == 0 && !e.creates:
		return nil
	}
	c := &content{memory: e.memory, answer: true}
	decoded, err := e.read(c, r)
	if err != nil {
		return e.errs.of(err)
	}
	if err := r.Body.Close(); err != nil {
		c.release()
		return e.errs.of(err)
	}
	r.Body = c // the proxy closes it if this fails
	if len(c.text) == 0 && !e.creates {
		r.Length = 0
		return nil
	}
	changed, f := e.change(x, c, editLimits)
	if f != nil {
		return f
	}
	r.Length = int64(len(c.text))
	if changed || decoded {
		changedHeader(&r.Header)
		if !jsonType(&r.Header) {
			r.Header.Set(contentType, jsonContent)
		}
	}
	if changed || !x.Request.WantsTrailers {
		r.Trailer.Reset()
	} else if r.Trailer.Len() > 0 {
		r.Length = message.LengthUnknown
	}
	return nil
}

// read reads the body of a response, decoded if it has to be.
func (e *bodyEdit) read(c *content, r *message.Response) (decoded bool, err error) {
	switch {
	case e.replaces:
		// What is left of a large one ends with its connection.
		return true, skip(r.Body, r.Length)
	case !isEncoded(&r.Header):
		return false, e.memory.read(c, r.Body, r.Length, e.max)
	case isGzip(&r.Header):
		return true, e.memory.gunzip(c, r.Body, e.max)
	}
	return false, errEncoding
}

// change makes the changes in c. It reports whether there were any.
func (e *bodyEdit) change(x *message.Exchange, c *content, l document.Limits) (changed bool, f *message.Failure) {
	if e.edit != nil {
		if changed, f = e.rewrite(x, c, l); f != nil {
			return false, f
		}
	}
	if e.jq != nil && len(c.text) > 0 {
		v, err := c.parse(l)
		if err != nil {
			return false, e.errs.of(err)
		}
		k, out, err := e.jq.run(e.memory, v, int(max(e.max, minOutput)))
		if err != nil {
			return false, e.jqFailure(err)
		}
		changed = e.replace(c, k, out) || changed
	}
	if e.template != nil {
		k := e.memory.take(blockSizes[0])
		if k == nil {
			return false, e.errs.memory
		}
		out, ok := e.template.Append(k.b[:0], x)
		if !ok {
			e.memory.give(k)
			return false, e.errs.expression
		}
		if k = e.memory.adopt(k, out); k == nil {
			return false, e.errs.memory
		}
		changed = e.replace(c, k, out) || changed
	}
	return changed, nil
}

// minOutput is what a program may always write.
const minOutput = 1 << 20

// jqFailure returns the failure for an error of a program.
func (e *bodyEdit) jqFailure(err error) *message.Failure {
	switch err {
	case errNoOutput:
		return e.errs.failed
	case errBodyMemory:
		return e.errs.memory
	}
	return because(e.errs.failed, err)
}

// replace makes out, which lies in k, the text of c, unless it is the same.
func (e *bodyEdit) replace(c *content, k *block, out []byte) bool {
	if bytes.Equal(c.text, out) {
		e.memory.give(k)
		return false
	}
	c.set(k, out)
	return true
}

// rewrite makes the changes by path.
func (e *bodyEdit) rewrite(x *message.Exchange, c *content, l document.Limits) (changed bool, f *message.Failure) {
	v := document.Of(emptyObject)
	if len(c.text) > 0 {
		var err error
		if v, err = c.parse(l); err != nil {
			return false, e.errs.of(err)
		}
	} else if len(e.set) == 0 {
		return false, nil
	}
	w := e.memory.values()
	defer w.release()
	if f := w.evaluate(e, x); f != nil {
		return false, f
	}
	k := e.memory.take(len(c.text) + w.size)
	if k == nil {
		return false, e.errs.memory
	}
	out, err := e.edit.Append(k.b[:0], v, w.list)
	if err != nil {
		e.memory.give(k)
		return false, e.errs.path
	}
	if k = e.memory.adopt(k, out); k == nil {
		return false, e.errs.memory
	}
	return e.replace(c, k, out), nil
}

// emptyObject is what a value is put into where there is no body; read-only.
var emptyObject = []byte("{}")

// setValues are the values of one exchange that are put into its body.
type setValues struct {
	memory *bodyMemory
	block  *block
	ends   []int
	list   [][]byte
	size   int // room that they need in the document, with their names and parents
}

// pathRoom is the room that a value's path may need in a document that does not have it.
const pathRoom = 128

// values returns an empty list of values.
func (m *bodyMemory) values() *setValues {
	if w, ok := m.work.Get().(*setValues); ok {
		return w
	}
	return &setValues{memory: m}
}

// release gives the values back.
func (w *setValues) release() {
	w.memory.give(w.block)
	clear(w.list)
	w.block, w.list, w.ends = nil, w.list[:0], w.ends[:0]
	w.memory.work.Put(w)
}

// evaluate works the values out.
func (w *setValues) evaluate(e *bodyEdit, x *message.Exchange) *message.Failure {
	w.size = pathRoom
	if len(e.set) == 0 {
		return nil
	}
	if w.block = e.memory.take(blockSizes[0]); w.block == nil {
		return e.errs.memory
	}
	b := w.block.b[:0]
	for _, d := range e.set {
		var ok bool
		if b, ok = d.Append(b, x); !ok {
			return e.errs.expression
		}
		w.ends = append(w.ends, len(b))
	}
	if w.block = e.memory.adopt(w.block, b); w.block == nil {
		return e.errs.memory
	}
	w.list = slices.Grow(w.list, len(w.ends))
	from := 0
	for _, end := range w.ends {
		w.list = append(w.list, b[from:end:end])
		from = end
	}
	w.size += len(b) + pathRoom*len(w.ends)
	return nil
}
