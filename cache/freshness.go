package cache

import (
	"time"

	"github.com/sluice-gateway/sluice/message"
)

// terms are what an answer may be used for, and until when. Moments are those of message.Now.
type terms struct {
	kept bool // it may answer later requests; nothing else counts without it

	born     int64 // the moment at which its age was 0 (RFC 9111 section 4.2.3)
	fresh    int64 // until then it is given away as it is
	swr      int64 // until then it is given away while a new one is fetched
	fallback int64 // until then it is given away when no new one can be had

	// validate says that it is never given away without asking the origin. bound says that it must not be given away stale, whatever the client allows.
	validate, bound bool
	// stillborn says that it was not fresh when it came: nobody but the request that it was fetched for can use it without asking.
	stillborn bool

	fields []byte // fields that belong to the request that it was fetched for; valid as long as the response
}

// age returns how old the answer is at now.
func (t *terms) age(now int64) int64 { return max(0, now-t.born) }

// isFresh reports whether it may be given away as it is.
func (t *terms) isFresh(now int64) bool { return !t.validate && now < t.fresh }

// fetched is what terms depend on besides the response: the request, and when it was sent.
type fetched struct {
	began      int64 // the request was sent, at the earliest
	now        int64 // the response has come
	authorised bool  // the caller is known, so that the answer may be meant for it alone
}

const second = int64(time.Second)

// maxHeuristic bounds what is guessed of a lifetime.
const maxHeuristic = 24 * 3600

// after returns t seconds after from. No delta leads beyond the numbers: 2^31 seconds are a quarter of them.
func after(from, t int64) int64 { return from + t*second }

// judge reads from a response what may be done with it (RFC 9111 section 3 and 4.2). q is that of its request, a GET without no-store.
func judge(status int, h *message.Header, r *Rules, q fetched) terms {
	c, targeted := responseControl(h, r.Targeted)
	t := terms{fields: c.fields}
	if !storable(status, h, r, &c, q.authorised) {
		return t
	}
	wall := message.WallTime(q.now).Unix()
	date, dated := dateOf(h, message.Date, wall)
	if !dated {
		date = wall
	}
	age, known := ageOf(h)
	// Section 4.2.3: apparent_age, and age_value corrected by how long the answer took.
	t.born = min(q.now-max(0, wall-date)*second, q.began-age*second)

	plain := heuristic(status) || c.public
	life, explicit := lifetime(h, &c, targeted, date, wall)
	modified, hasModified := dateOf(h, message.LastModified, wall)
	switch {
	case r.TTL > 0 && (plain || explicit):
		t.fresh = q.now + int64(r.TTL)
	case c.noCache:
		t.validate = true
		t.fresh = t.born
	case explicit:
		t.fresh = after(t.born, life)
		if !known {
			t.fresh = t.born // an age that cannot be read may be any
		}
	case r.DefaultTTL > 0 && plain:
		t.fresh = q.now + int64(r.DefaultTTL)
	case hasModified && r.Heuristic > 0 && plain && known:
		t.fresh = after(t.born, min(maxHeuristic, int64(r.Heuristic*float64(max(0, date-modified)))))
	default:
		t.fresh = t.born
	}
	t.stillborn = t.fresh <= q.now
	t.stale(&c, r)
	useful := t.fresh > q.now || t.swr > q.now || t.fallback > q.now || h.Has(message.ETag) || hasModified
	t.kept = useful && (plain || explicit)
	return t
}

// stale sets for how long the answer may be used when it is not fresh. s-maxage forbids it as proxy-revalidate does (RFC 9111 section 5.2.2.10), unless
// the same response says otherwise in the terms of RFC 5861, which is the narrower statement of the two.
func (t *terms) stale(c *control, r *Rules) {
	t.swr, t.fallback = t.fresh, t.fresh
	t.bound = c.mustRevalidate || c.proxyRevalidate || c.sMaxAge >= 0 || t.validate
	if c.mustRevalidate || c.proxyRevalidate || t.validate {
		return
	}
	switch {
	case c.whileRevalidate >= 0:
		t.swr = after(t.fresh, c.whileRevalidate)
	case !t.bound:
		t.swr = t.fresh + int64(r.StaleWhileRevalidate)
	}
	switch {
	case c.ifError >= 0:
		t.fallback = after(t.fresh, c.ifError)
	case !t.bound:
		t.fallback = t.fresh + int64(r.StaleIfError)
	}
}

// storable reports whether the answer may be kept at all.
func storable(status int, h *message.Header, r *Rules, c *control, authorised bool) bool {
	switch {
	case status < 200 || status == 206 || status == 304 || status > 599:
		// Parts are not put together (206), and 304 is no answer of its own.
		return false
	case h.Has(message.SetCookie):
		return false // it was meant for one caller, whatever the origin says of the rest
	case c.mustUnderstand && !understood(status):
		return false
	case c.noStore && !c.mustUnderstand: // section 5.2.2.3: who understands the status passes over no-store
		return false
	case c.private && !r.PerCaller:
		return false
	case authorised && !r.Shared && !r.PerCaller && !c.public && c.sMaxAge < 0 && !c.mustRevalidate:
		return false // section 3.5
	}
	return true
}

// heuristic reports whether answers of the status may be kept without the origin saying so (RFC 9110 section 15.1).
func heuristic(status int) bool {
	switch status {
	case 200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501:
		return true
	}
	return false
}

// understood reports whether the status means to a cache what the specification gives it to do: those of RFC 9110.
func understood(status int) bool {
	switch {
	case status >= 200 && status <= 205, status >= 300 && status <= 305, status == 307, status == 308:
	case status >= 400 && status <= 417 && status != 402, status == 421, status == 422, status == 426:
	case status >= 500 && status <= 505:
	default:
		return false
	}
	return true
}

// lifetime returns the freshness lifetime in seconds that the origin gives (section 4.2.1).
func lifetime(h *message.Header, c *control, targeted bool, date, now int64) (life int64, explicit bool) {
	switch {
	case c.sMaxAge >= 0:
		return c.sMaxAge, true
	case c.maxAge >= 0:
		return c.maxAge, true
	case targeted || !h.Has(message.Expires):
		return 0, false
	}
	expires, ok := dateOf(h, message.Expires, now)
	if !ok {
		return 0, true // section 5.3: an invalid date is in the past
	}
	return min(maxDelta, max(0, expires-date)), true
}

// ageOf reads the Age of a response in seconds. One that is not a single number is not known; section 5.1 would have the first of a list taken, but
// who has written several has not known either, and what is taken to be too old is only asked for once more.
func ageOf(h *message.Header) (age int64, known bool) {
	v := h.Get(message.Age)
	if v == nil {
		return 0, true
	}
	n, ok := seconds(v)
	return n, ok && h.Count(message.Age) == 1
}
