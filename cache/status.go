package cache

import (
	"strconv"

	"github.com/sluice-gateway/sluice/message"
)

// This file writes Cache-Status (RFC 9211). A member is added behind those of services: the cache that is nearest to the client stands last.

// sayHit says that the answer comes from the store.
func (u *Use) sayHit(x *message.Exchange, t *terms, now int64) {
	b := append(x.Scratch(), u.rules.name...)
	b = append(b, "; hit; ttl="...)
	b = appendTTL(b, t, now)
	x.Response.Header.Add(message.CacheStatus.Name(), b)
}

// appendTTL appends for how many seconds the answer is fresh still, negative if it is not.
func appendTTL(b []byte, t *terms, now int64) []byte {
	left := t.fresh - now
	if left < 0 {
		left -= second - 1 // a second that has begun counts
	}
	return strconv.AppendInt(b, left/second, 10)
}

// said is what Cache-Status says of a request that went forward.
type said struct {
	status    int // of the answer to the cache, where the client gets another; 0 otherwise
	stored    bool
	collapsed bool
	stale     *terms // of a stale answer that is given in place of a failure
	now       int64
}

// sayForward says that the request went forward, and why.
func (u *Use) sayForward(x *message.Exchange, w why, s said) {
	b := append(x.Scratch(), u.rules.name...)
	b = append(b, "; fwd="...)
	b = append(b, whyNames[w]...)
	if s.status != 0 {
		b = append(b, "; fwd-status="...)
		b = strconv.AppendInt(b, int64(s.status), 10)
	}
	if s.stale != nil {
		b = append(b, "; ttl="...)
		b = appendTTL(b, s.stale, s.now)
	}
	if s.stored {
		b = append(b, "; stored"...)
	}
	if s.collapsed {
		b = append(b, "; collapsed"...)
	}
	x.Response.Header.Add(message.CacheStatus.Name(), b)
}
