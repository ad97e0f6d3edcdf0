package policy

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"github.com/sluice-gateway/sluice/document"
	"github.com/sluice-gateway/sluice/message"
)

const (
	// maxReply bounds the body of an auth service's answer that is given to the client. A longer one is dropped, and the problem document takes its place.
	maxReply = 64 << 10
	// maxReplies bounds those bodies of one policy that are in memory at a time; those beyond are dropped likewise.
	maxReplies = 16 << 20
)

// ask is one question to an auth service. It is pooled.
type ask struct {
	x    message.Exchange
	body *reply // of the answer; nil if there is none that can be given to the client
}

// reply is the body of an answer on its way to the client. It counts what it keeps in memory until it is closed.
type reply struct {
	message.Bytes
	text []byte
	held *atomic.Int64 // of the policy
}

// take appends a piece, and reports false if there is no room for it.
func (r *reply) take(piece []byte) bool {
	if r.held.Add(int64(len(piece))) > maxReplies || len(r.text)+len(piece) > maxReply {
		r.held.Add(-int64(len(piece)))
		return false
	}
	r.text = append(r.text, piece...)
	return true
}

// Close implements message.Body.
func (r *reply) Close() error {
	r.held.Add(-int64(len(r.text)))
	r.text = nil
	return r.Bytes.Close()
}

// asks is a pool (read-only: what it holds has no meaning).
var asks = sync.Pool{New: func() any {
	a := new(ask)
	a.x.Reset()
	return a
}}

func (a *ask) free() {
	a.x.Reset()
	a.drop() // unless the client gets it
	asks.Put(a)
}

// Names that questions and answers have; read-only.
var (
	forwardedMethod = message.NameOf("X-Forwarded-Method")
	forwardedURI    = message.NameOf("X-Forwarded-Uri")
	consumerName    = message.XConsumer.Name()
	consumerPlan    = message.XConsumerPlan.Name()
	sluiceReason    = message.SluiceReason.Name()

	// toldOf are the fields of any request that an auth service is told: the way that it has come, which the gateway has written itself, and what ties the
	// requests together.
	toldOf = []message.ID{message.XForwardedFor, message.XForwardedHost, message.XForwardedProto, message.Forwarded, message.XRequestId,
		message.Traceparent, message.Tracestate}

	// replied are the fields of a refusal that the client gets.
	replied = []message.ID{message.WWWAuthenticate, message.Location, message.SetCookie, message.CacheControl, message.ContentType,
		message.ContentLanguage, message.ContentEncoding}
)

// write makes the question about the request of x.
func (a *ask) write(x *message.Exchange, p *forwardAuthPolicy) {
	from, to := &x.Request, &a.x.Request
	to.Protocol, to.Scheme, to.Method = message.HTTP11, from.Scheme, p.method
	if p.same {
		to.Method = from.Method
	}
	to.Host, to.Port, to.Path, to.Query = p.host, p.port, p.path, p.query
	a.x.Client, a.x.ID = x.Client, x.ID
	a.x.Interim = a
	h := &to.Header
	for _, id := range toldOf {
		copyField(h, &from.Header, id.Name())
	}
	for _, n := range p.send {
		copyField(h, &from.Header, n)
	}
	h.Set(forwardedMethod, a.x.KeepScratch(from.Method.AppendTo(a.x.Scratch())))
	target := append(a.x.Scratch(), from.Path...)
	if from.Query != nil {
		target = append(append(target, '?'), from.Query...)
	}
	h.Set(forwardedURI, a.x.KeepScratch(target))
	if id := x.Identity; id != nil && id.Consumer != "" {
		h.Set(consumerName, []byte(id.Consumer))
		if id.Plan != "" {
			h.Set(consumerPlan, []byte(id.Plan))
		}
	}
	now := message.Now()
	t := &a.x.Times
	t.Start, t.Read, t.Routed = now, now, now
	a.x.Deadline = now + int64(p.timeout)
	if x.Deadline != 0 {
		a.x.Deadline = min(a.x.Deadline, x.Deadline)
	}
}

// copyField copies all fields of a name.
func copyField(to, from *message.Header, n message.Name) {
	for i := from.Index(n, 0); i >= 0; i = from.Index(n, i+1) {
		to.Add(n, from.At(i).Value)
	}
}

// WriteInterim implements message.Interim: what the service says before its answer is not for the client.
func (*ask) WriteInterim(int, *message.Header) error { return nil }

// send asks the service and reads its answer as far as it is of use.
func (a *ask) send(p *forwardAuthPolicy) *message.Failure {
	done, failure := p.service.Do(&a.x)
	if failure != nil {
		return failure
	}
	defer done()
	r := &a.x.Response
	if isVerdict(r.Status) && r.Length <= maxReply {
		a.body = &reply{held: &p.held}
	}
	for n := 0; ; {
		piece, err := r.Body.Next()
		if err == io.EOF {
			return nil
		}
		n += len(piece)
		switch {
		case err != nil || a.body != nil && !a.body.take(piece):
			a.drop()
			return nil // what matters is the status
		case n > maxReply:
			return nil
		}
	}
}

// drop gives up the body of the answer.
func (a *ask) drop() {
	if a.body != nil {
		_ = a.body.Close()
		a.body = nil
	}
}

// isVerdict reports whether a status refuses the caller.
func isVerdict(status int) bool {
	switch status {
	case 401, 403, 301, 302, 303, 307, 308:
		return true
	}
	return false
}

// judge tells what the answer of the service means for the request.
func (p *forwardAuthPolicy) judge(x *message.Exchange, a *ask) (*message.Identity, *message.Failure) {
	switch status := a.x.Response.Status; {
	case isVerdict(status):
		return nil, p.refuse(x, a, status)
	case status < 200 || status > 299:
		return nil, p.refusals.of(message.AuthUnavailable, fmt.Sprintf("the service answered with status %d", status))
	}
	id, ok := p.identity(x, &a.x.Response.Header)
	if !ok {
		return nil, p.refusals.of(message.AuthUnavailable, "the service named the caller twice, or in no UTF-8")
	}
	for _, n := range p.take {
		copyField(&x.Request.Header, &a.x.Response.Header, n)
	}
	return id, nil
}

// refuse gives the client what the service has answered. Without a body that can be given on, the failure tells the client.
func (p *forwardAuthPolicy) refuse(x *message.Exchange, a *ask, status int) *message.Failure {
	from := &a.x.Response.Header
	f := &message.Failure{Reason: message.AuthRefused, Status: status, Side: message.SideClient, Stage: message.StageRoute,
		Err: fmt.Errorf("policy %s: the service answered with status %d", p.name, status)}
	for _, id := range []message.ID{message.WWWAuthenticate, message.Location} {
		if value := joined(x, from, id); len(value) > 0 {
			f.Fields = append(f.Fields, message.FieldValue{Name: id.Name(), Value: value})
		}
	}
	if a.body == nil {
		return f
	}
	r := &x.Response
	r.Header.Reset()
	r.Status = status
	for _, id := range replied {
		copyField(&r.Header, from, id.Name())
	}
	r.Header.Add(sluiceReason, []byte(message.AuthRefused.String()))
	a.body.Reset(a.body.text)
	r.Body, r.Length = a.body, int64(len(a.body.text))
	a.body = nil
	return f
}

// hasAnswer reports whether a policy has filled the response.
func hasAnswer(x *message.Exchange) bool { return x.Response.Status != 0 }

// forget takes back what a policy has filled the response with.
func forget(x *message.Exchange) {
	if r := &x.Response; r.Status != 0 {
		_ = r.Body.Close()
		r.Header.Reset()
		r.Status, r.Body, r.Length = 0, message.NoBody{}, 0
	}
}

// stranger is who was let pass without being named. Read-only.
var stranger = message.Identity{}

// identity makes an identity of what the service says of the caller. ok is false if it cannot be told whom it means.
func (p *forwardAuthPolicy) identity(x *message.Exchange, h *message.Header) (id *message.Identity, ok bool) {
	if h.Count(message.XAuthenticatedSubject) > 1 {
		return nil, false
	}
	subject := h.Get(message.XAuthenticatedSubject)
	switch {
	case len(subject) > 0:
	case x.Identity != nil:
		return x.Identity, true // as another policy has found out
	default:
		return &stranger, true
	}
	if !utf8.Valid(subject) {
		return nil, false
	}
	const before = `{"sub":`
	raw := document.AppendString([]byte(before), subject)
	value := raw[len(before):len(raw):len(raw)]
	raw = append(raw, '}')
	id = &message.Identity{Raw: raw, Claims: []message.Claim{{Name: "sub", Text: append([]byte(nil), subject...), Raw: value}}}
	p.consumers.ByClaims(id)
	if id.Consumer == "" {
		p.consumers.ByName(id)
	}
	return id, true
}
