package identity

import "github.com/sluice-gateway/sluice/message"

// Refusal says why somebody was not recognised. Refusals are shared and must not be changed.
type Refusal struct {
	// Reason is what the caller is told.
	Reason message.Reason
	// Detail is for the log: what exactly was wrong. It never holds anything that the caller sent.
	Detail string
}

// Error implements error.
func (r *Refusal) Error() string { return r.Reason.String() + ": " + r.Detail }

func invalid(detail string) *Refusal { return &Refusal{message.TokenInvalid, detail} }
