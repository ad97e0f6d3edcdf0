package compose

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/sluice-gateway/sluice/message"
)

// outcome is how a step has ended.
type outcome uint8

const (
	outcomeNone outcome = iota // it has not
	outcomeOK
	outcomeFailed
	outcomeTimeout
	outcomeSkipped
	outcomeCancelled
	outcomeCount
)

// String returns the word that problems and metrics use.
func (o outcome) String() string {
	return [...]string{"", "ok", "failed", "timeout", "skipped", "cancelled"}[o]
}

// reason says why a step has no answer: a word, or a status.
type reason struct {
	word   string
	status int // where word is ""
}

// The words of a composition's own. Others are those of message.Reason.
const (
	reasonTimeout     = "timeout"    // out of time, wherever
	reasonDependency  = "dependency" // its path or query needs a step that has no answer
	reasonWhen        = "when"       // its condition does not hold
	reasonBodyInvalid = "body_invalid"
	reasonTooMany     = "too_many_items" // the list is longer than it may be
	reasonNoList      = "list_invalid"   // for_each gives no list
	reasonMemory      = "memory"         // as much is kept as may be
)

// Words that other parts of the program use too. Read-only.
var (
	reasonTooLarge   = message.ResponseTooLarge.String()
	reasonEncoding   = message.ResponseEncodingUnsupported.String()
	reasonExpression = message.ExpressionFailed.String()
)

// appendTo appends the reason as a token (RFC 9110 section 5.6.2), nothing where there is none.
func (r reason) appendTo(dst []byte) []byte {
	if r.status != 0 {
		return strconv.AppendInt(append(dst, "status_"...), int64(r.status), 10)
	}
	return append(dst, r.word...)
}

// clientLeft is the failure of a composition whose client did not wait for it. Read-only.
var clientLeft = message.Failure{Reason: message.ClientClosed, Side: message.SideClient, Stage: message.StageWait}

// failure says why there is no answer: a problem that lists all steps (RFC 9457 section 3.2).
func (r *run) failure(why message.Reason, status int, err error) *message.Failure {
	return &message.Failure{Reason: why, Side: message.SideUpstream, Stage: message.StageReceive, Status: status, Err: err,
		Members: r.x.KeepScratch(r.appendParts(r.x.Scratch())), Fields: notStored}
}

// notStored keeps caches on the way from keeping a failure: the next one may have the part. Read-only.
var notStored = []message.FieldValue{{Name: cacheControl, Value: []byte("no-store")}}

// stepFailure is the failure of a composition without a part that it needs.
func (r *run) stepFailure() *message.Failure {
	status := 502
	if r.expired {
		status = 504
	}
	var causes []error
	for i := range r.steps {
		s, p := &r.steps[i], &r.plan.steps[i]
		if s.outcome == outcomeNone {
			s.outcome = outcomeSkipped // it was not begun when the whole had failed
			p.metrics.count(r.shard, outcomeSkipped)
			continue
		}
		if p.optional || s.outcome == outcomeOK || s.outcome == outcomeCancelled || s.reason.word == reasonWhen {
			continue
		}
		cause := s.err
		if cause == nil {
			cause = errors.New(string(s.reason.appendTo(nil)))
		}
		causes = append(causes, fmt.Errorf("step %q: %w", p.name, cause))
	}
	return r.failure(message.StepFailed, status, errors.Join(causes...))
}

// appendParts appends the member of a problem that lists the steps in their order. It names no endpoint and no cause: those are for the log.
func (r *run) appendParts(b []byte) []byte {
	b = append(b, `,"parts":[`...)
	for i := range r.steps {
		s := &r.steps[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"step":"`...)
		b = append(b, r.plan.steps[i].name...) // an identifier, see compiler.names
		b = append(b, `","outcome":"`...)
		b = append(b, s.outcome.String()...)
		b = append(b, '"')
		if s.status != 0 {
			b = strconv.AppendInt(append(b, `,"status":`...), int64(s.status), 10)
		}
		if s.reason != (reason{}) {
			b = append(b, `,"reason":"`...)
			b = append(s.reason.appendTo(b), '"')
		}
		b = append(b, '}')
	}
	return append(b, ']')
}

// appendPartial appends the list of the steps that the answer has to do without (RFC 9651 section 3.1), nothing if it has all.
func (r *run) appendPartial(b []byte) []byte {
	for i := range r.steps {
		s := &r.steps[i]
		if s.outcome == outcomeOK || s.reason.word == reasonWhen {
			continue
		}
		if len(b) > 0 {
			b = append(b, ", "...)
		}
		name := r.plan.steps[i].name
		if name[0] == '_' { // a token of RFC 9651 begins with a letter
			b = append(append(append(b, '"'), name...), '"')
		} else {
			b = append(b, name...)
		}
		b = s.reason.appendTo(append(b, ";reason="...))
	}
	return b
}
