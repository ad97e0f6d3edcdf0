package cache

import (
	"time"

	"github.com/sluice-gateway/sluice/message"
)

// Rules are what one policy says of keeping answers. They are immutable and serve many requests at once; make them with [NewRules].
type Rules struct {
	// Namespace holds the policy's answers.
	Namespace *Namespace

	// TTL replaces the lifetime that the origin gives, if it is not 0, but for no-store, private and Set-Cookie. DefaultTTL is the lifetime of answers
	// for which the origin gives none. Both are for statuses that may be kept without the origin saying so (RFC 9110 section 15.1), or where it does.
	TTL        time.Duration
	DefaultTTL time.Duration
	// Heuristic is the share, 0 to 1, of the time since Last-Modified for which an answer without a lifetime is taken to be fresh, a day at most.
	Heuristic float64

	// StaleWhileRevalidate is for how long a stale answer may be given while a new one is fetched, StaleIfError for how long when none can be had, where
	// the origin does not say (RFC 5861). Neither holds for answers that the origin wants validated.
	StaleWhileRevalidate time.Duration
	StaleIfError         time.Duration

	// MaxObject is the size of the largest body that is kept, in bytes; larger ones pass through. 0 is 8 MiB.
	MaxObject int64

	// BehindIdentity says that the policy stands behind one that finds out who calls: answers are then shared only where the origin allows it as for a
	// request with Authorization (RFC 9111 section 3.5), or where Shared says so, or PerCaller.
	BehindIdentity bool
	// Shared lets callers share what the origin does not mark as private.
	Shared bool
	// PerCaller says that the further part of the key (the extra of Lookup) names the caller, so that private answers may be kept.
	PerCaller bool

	// IgnoreClient leaves the Cache-Control of requests out of account.
	IgnoreClient bool

	// Targeted are the fields that hold in place of Cache-Control and Expires when they are there, the first one first (RFC 9213), for instance
	// CDN-Cache-Control.
	Targeted []message.Name

	name string // in Cache-Status
}

// defaultMaxObject is the bound of Rules.MaxObject.
const defaultMaxObject = 8 << 20

// NewRules completes r. name is what the cache is called in Cache-Status, a token of RFC 9651; "" is "sluice".
func NewRules(r Rules, name string) *Rules {
	if r.MaxObject <= 0 {
		r.MaxObject = defaultMaxObject
	}
	if r.name = name; name == "" {
		r.name = "sluice"
	}
	return &r
}
