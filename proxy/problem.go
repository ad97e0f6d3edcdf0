package proxy

import (
	"strconv"
	"strings"

	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
)

// describe returns the document for a reason (RFC 9457) up to the request id. It names no endpoint,
// no file and no cause: those are for the log.
func (s *Site) describe(r message.Reason) string {
	b := append([]byte(nil), `{"type":`...)
	b = metric.AppendString(b, strings.ReplaceAll(s.ProblemType, "{reason}", r.String()))
	b = append(b, `,"title":`...)
	b = metric.AppendString(b, r.Title())
	b = append(b, `,"status":`...)
	b = strconv.AppendInt(b, int64(r.Status()), 10)
	b = append(b, `,"detail":`...)
	b = metric.AppendString(b, r.Detail())
	b = append(b, `,"reason":"`...)
	b = append(b, r.String()...)
	b = append(b, `","request_id":"`...)
	return string(b)
}

// problem makes the response that describes x.Outcome.Reason. Of what the response held before,
// only Allow stays.
func (s *Site) problem(x *message.Exchange) {
	r := &x.Response
	reason := x.Outcome.Reason
	r.Status = reason.Status()
	allowed := r.Header.Get(message.Allow)
	if allowed != nil {
		allowed = x.Keep(allowed)
	}
	r.Header.Reset()
	r.Trailer.Reset()
	if allowed != nil && reason == message.MethodNotAllowed {
		r.Header.Add(allow, allowed)
	}
	r.Header.Add(contentType, problemType)
	r.Header.Add(sluiceReason, []byte(reason.String()))
	if r.Status == 503 {
		r.Header.Add(retryAfter, oneSecond)
	}
	r.Header.Set(requestID, x.ID)
	b := append(x.Scratch(), s.problems[reason]...)
	b = append(b, x.ID...) // validID and identify leave nothing in it that JSON would escape
	b = append(b, "\"}\n"...)
	fixed(x, x.KeepScratch(b))
}

// Values that do not change; read-only.
var (
	problemType = []byte("application/problem+json")
	oneSecond   = []byte("1")
)
