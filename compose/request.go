package compose

import (
	"github.com/sluice-gateway/sluice/expr"
	"github.com/sluice-gateway/sluice/message"
)

// prepare makes the request of a step, or of an element of its list; nil if that has ended the step. The caller holds mu: expressions read the
// client's exchange, and use its memory.
func (r *run) prepare(i, element int) *call {
	s := &r.plan.steps[i]
	if element >= 0 {
		r.x.Item = r.steps[i].items[element]
	}
	c := r.take(i, element)
	word := c.address(r.x, s)
	if word == "" {
		word = c.write(r.x, s)
	}
	r.x.Item = nil
	if word != "" {
		r.put(c)
		r.lose(i, reason{word: word}, nil)
		return nil
	}
	now := message.Now()
	t := &c.x.Times
	t.Start, t.Read, t.Routed = now, now, now
	c.x.Deadline = r.deadline
	if s.timeout > 0 {
		c.x.Deadline = min(c.x.Deadline, now+int64(s.timeout))
	}
	c.active = true
	return c
}

// address makes path and query. It returns why it could not, or nothing.
func (c *call) address(x *message.Exchange, s *step) (word string) {
	b, ok, why := s.path.Append(c.target[:0], x, expr.Path)
	if !ok || len(b) == 0 || b[0] != '/' {
		return refusal(why, message.PathValueInvalid)
	}
	path := len(b)
	for i := range s.query {
		q := &s.query[i]
		if i > 0 {
			b = append(b, '&')
		}
		b = append(append(b, q.name...), '=')
		if b, ok, why = q.value.Append(b, x, expr.Query); !ok {
			c.target = b
			return refusal(why, message.PathValueInvalid)
		}
	}
	c.target = b
	to := &c.x.Request
	to.Path, to.Query = b[:path:path], nil
	if len(s.query) > 0 {
		to.Query = b[path:]
	}
	return ""
}

// refusal returns the word for a value that is missing or cannot stand where it would.
func refusal(why, missing message.Reason) string {
	if why == message.ReasonNone {
		why = missing
	}
	return why.String()
}

// write makes the rest of the request. It borrows from the client's, which lives longer. It returns why it could not, or nothing.
func (c *call) write(x *message.Exchange, s *step) (word string) {
	from, to := &x.Request, &c.x.Request
	to.Protocol, to.Scheme, to.Method = message.HTTP11, from.Scheme, s.method
	to.Host, to.Port = from.Host, from.Port
	c.x.Client, c.x.ID, c.x.Identity, c.x.Version = x.Client, x.ID, x.Identity, x.Version
	c.x.Interim = c
	c.passOn(from, s)
	h := &to.Header
	if s.accept && !h.Has(message.Accept) {
		h.Add(accept, applicationJSON)
	}
	for i := range s.headers {
		f := &s.headers[i]
		b, ok, why := f.value.Append(c.x.Scratch(), x, expr.HeaderValue)
		if ok {
			h.Set(f.name, c.x.KeepScratch(b)) // kept, so that the memory grows to what a call needs
		} else if why != message.ReasonNone {
			return why.String()
		}
	}
	if s.body == nil {
		return ""
	}
	var ok bool
	had := counted(cap(c.sent))
	if c.sent, ok = s.body.Append(c.sent[:0], x); !ok {
		return reasonExpression
	}
	if !c.run.admit(counted(cap(c.sent)) - had) {
		return reasonMemory
	}
	if !s.typed {
		h.Set(contentType, applicationJSON)
	}
	c.bytes.Reset(c.sent)
	to.Body, to.Length = &c.bytes, int64(len(c.sent))
	return ""
}

// passOn copies the fields of the client's request that every step gets, and those that this one asks for.
func (c *call) passOn(from *message.Request, s *step) {
	h := &c.x.Request.Header
	for i := range from.Header.Len() {
		f := from.Header.At(i)
		if f.ID != 0 && always(f.ID) {
			h.Add(f.ID.Name(), f.Value)
			continue
		}
		for _, n := range s.pass {
			if n.ID() == f.ID && (f.ID != 0 || message.EqualFold(f.Name, n.String())) {
				h.Add(n, f.Value)
				break
			}
		}
	}
}

// always reports whether a field of the client's request goes to every step: the language that it wants, what ties the calls of a request together, and
// the way that it has come and who sends it, which the gateway has written itself.
func always(id message.ID) bool {
	switch id {
	case message.AcceptLanguage, message.Traceparent, message.Tracestate:
		return true
	}
	return id.Flags()&(message.FlagManaged|message.FlagIdentity) != 0
}

// Names and values that calls and answers have; read-only.
var (
	accept          = message.Accept.Name()
	contentType     = message.ContentType.Name()
	cacheControl    = message.CacheControl.Name()
	sluicePartial   = message.SluicePartial.Name()
	varyField       = message.Vary.Name()
	applicationJSON = []byte("application/json")
)
