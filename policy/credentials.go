package policy

import (
	"fmt"

	"github.com/sluice-gateway/sluice/message"
)

// identifier is a policy that finds out who calls. any_of asks several of them.
type identifier interface {
	Request
	// challenge is what WWW-Authenticate tells a caller without credentials, "" for nothing.
	challenge() string
}

// refusals are the failures of one identity policy, one for each reason that it may refuse for, made before the first request.
type refusals struct {
	byReason map[message.Reason]*message.Failure
	other    *message.Failure
}

// wwwAuthenticate is read-only.
var wwwAuthenticate = message.WWWAuthenticate.Name()

// newRefusals makes the failures for reasons. challenge stands on those that are answered 401; "" for none.
func newRefusals(name, challenge string, reasons ...message.Reason) refusals {
	r := refusals{byReason: make(map[message.Reason]*message.Failure, len(reasons))}
	for _, reason := range reasons {
		r.byReason[reason] = newRefusal(name, challenge, reason)
	}
	r.other = newRefusal(name, challenge, message.TokenInvalid)
	return r
}

func newRefusal(name, challenge string, reason message.Reason) *message.Failure {
	f := &message.Failure{Reason: reason, Side: message.SideClient, Stage: message.StageRoute, Err: fmt.Errorf("policy %s refused the caller", name)}
	if reason.Status() == 503 {
		f.Side = message.SideInternal
	}
	if reason.Status() == 401 && challenge != "" {
		f.Fields = []message.FieldValue{{Name: wwwAuthenticate, Value: []byte(challenge)}}
	}
	return f
}

// repeated is the failure of a request with two copies of what would tell who calls: 401, because nobody was recognised.
func repeatedCredentials(name, challenge string) *message.Failure {
	f := newRefusal(name, challenge, message.HeaderRepeated)
	f.Status = 401
	if challenge != "" {
		f.Fields = []message.FieldValue{{Name: wwwAuthenticate, Value: []byte(challenge)}}
	}
	return f
}

// of returns the failure for a reason, with the cause for the log.
func (r *refusals) of(reason message.Reason, detail string) *message.Failure {
	f := r.byReason[reason]
	if f == nil {
		f = r.other
	}
	if detail == "" {
		return f
	}
	with := *f
	with.Err = fmt.Errorf("%w: %s", f.Err, detail)
	return &with
}

// credentialOf returns what stands behind a scheme in a field of the request: credentials, or nil. more says that there are two copies of the field. A
// field with another scheme holds none.
func credentialOf(h *message.Header, field message.Name, scheme string) (credential []byte, more bool) {
	i := h.Index(field, 0)
	if i < 0 {
		return nil, false
	}
	if h.Index(field, i+1) >= 0 {
		return nil, true
	}
	value := h.At(i).Value
	if scheme == "" {
		return value, false
	}
	if len(value) <= len(scheme) || value[len(scheme)] != ' ' || !message.EqualFold(value[:len(scheme)], scheme) {
		return nil, false
	}
	return message.TrimSpace(value[len(scheme):]), false
}
