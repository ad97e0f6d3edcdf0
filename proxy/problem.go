package proxy

import (
	"strconv"
	"strings"

	"github.com/sluice-gateway/sluice/http1"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
)

// describe returns the document for a reason (RFC 9457) up to the request id. It names no endpoint,
// no file and no cause: those are for the log.
func (s *Site) describe(r message.Reason) string {
	return string(s.appendProblem(nil, r, r.Status(), r.Title()))
}

// appendProblem is describe with a status that need not be the reason's.
func (s *Site) appendProblem(b []byte, r message.Reason, status int, title string) []byte {
	b = append(b, `{"type":`...)
	b = metric.AppendString(b, strings.ReplaceAll(s.ProblemType, "{reason}", r.String()))
	b = append(b, `,"title":`...)
	b = metric.AppendString(b, title)
	b = append(b, `,"status":`...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, `,"detail":`...)
	b = metric.AppendString(b, r.Detail())
	b = append(b, `,"reason":"`...)
	b = append(b, r.String()...)
	return append(b, `","request_id":"`...)
}

// problem makes the response that describes x.Outcome.Reason. Of what the response held before,
// only Allow stays.
func (s *Site) problem(x *message.Exchange) {
	r := &x.Response
	reason := x.Outcome.Reason
	r.Status = reason.Status()
	if x.Outcome.Status != 0 {
		r.Status = x.Outcome.Status
	}
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
	for i := range x.Outcome.Fields {
		r.Header.Set(x.Outcome.Fields[i].Name, x.Outcome.Fields[i].Value)
	}
	b := x.Scratch()
	if r.Status == reason.Status() {
		b = append(b, s.problems[reason]...)
	} else {
		b = s.appendProblem(b, reason, r.Status, http1.StatusText(r.Status))
	}
	b = append(b, x.ID...) // validID and identify leave nothing in it that JSON would escape
	b = append(b, '"')
	b = append(b, x.Outcome.Members...)
	b = append(b, "}\n"...)
	fixed(x, x.KeepScratch(b))
}

// Values that do not change; read-only.
var (
	problemType = []byte("application/problem+json")
	oneSecond   = []byte("1")
)
