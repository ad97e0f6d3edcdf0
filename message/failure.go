package message

// Side says whose fault a failure is.
type Side uint8

// The sides.
const (
	SideNone     Side = iota
	SideClient        // what the client sent, or its connection
	SideUpstream      // the endpoint, or the connection to it
	SideInternal      // the proxy
)

// String returns the word that log and metrics use.
func (s Side) String() string { return [...]string{"", "client", "upstream", "internal"}[s] }

// Stage says how far an exchange had come.
type Stage uint8

// The stages, in the order in which an exchange passes them.
const (
	StageNone    Stage = iota
	StageRead          // reading the request head
	StageRoute         // choosing the route, running request policies
	StageConnect       // reaching an endpoint
	StageSend          // sending the request to the endpoint
	StageWait          // waiting for the first byte of the answer
	StageReceive       // receiving the answer
	StageWrite         // writing the answer to the client
)

// String returns the word that log and metrics use.
func (s Stage) String() string {
	return [...]string{"", "read", "route", "connect", "send", "wait", "receive", "write"}[s]
}

// Retry says whether the request may be sent again after a failure.
type Retry uint8

// The retry classes.
const (
	RetryNever   Retry = iota // a byte of the answer was seen, or the fault would be the same again
	RetryUnsent               // nothing of the request left the proxy: always safe
	RetryReused               // a reused connection was closed before any byte of the answer: safe for idempotent requests, and the usual idle race
	RetryUnknown              // the request may have been received: safe for idempotent requests only
)

// Failure is an error with what the rest of the proxy needs to know of it: whose side, which
// stage, which reason, and whether a retry is safe.
type Failure struct {
	Reason Reason
	Side   Side
	Stage  Stage
	Retry  Retry
	Err    error // the cause, for the log; may be nil

	// Status answers the client in place of the status of Reason, unless it is 0.
	Status int
	// Members are further members of the problem, as JSON text that follows others: `,"errors":[…]`. Fields are further fields of its header.
	// Both stay as they are until the exchange has ended.
	Members []byte
	Fields  []FieldValue
}

// FieldValue is a field to set.
type FieldValue struct {
	Name  Name
	Value []byte
}

// Error implements error.
func (f *Failure) Error() string {
	if f.Err == nil {
		return f.Reason.String()
	}
	return f.Reason.String() + ": " + f.Err.Error()
}

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }
