package policy

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"hash"
	"time"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/message"
)

// IdempotencyOptions makes repeated requests harmless: the first answer to a key is kept, and given again to later requests with the same key instead of
// doing the work again (draft-ietf-httpapi-idempotency-key-header). What was asked is carried through although the client leaves.
type IdempotencyOptions struct {
	// Header holds the key: 1 to 255 visible characters, chosen by the client.
	Header string `yaml:"header" default:"Idempotency-Key" check:"header"`
	// Required refuses requests without a key; else they pass like any other.
	Required bool `yaml:"required" default:"false"`
	// Keep is how long an answer is kept.
	Keep time.Duration `yaml:"keep" default:"24h" min:"1s" max:"720h"`
	// Memory bounds what is kept in this program; the oldest answers make room.
	Memory config.Size `yaml:"memory" default:"64MiB" min:"1MiB" max:"64GiB"`
	// Store is where answers are kept for several programs. Without it that is the top-level `store`, and without that one the memory of each.
	Store *config.Store `yaml:"store"`
}

// maxReplay bounds the request that is compared, and the answer that is kept.
const maxReplay = 1 << 20

// replayWait bounds how long a duplicate waits for the first request on a route without a timeout.
const replayWait = 30 * time.Second

// idempotencyPolicy gives first answers again.
type idempotencyPolicy struct {
	name     string
	header   message.Name
	required bool
	route    string
	answers  answers
	memory   *bodyMemory
	errs     bodyErrors

	missing, invalid, repeated, reused, progress, full *message.Failure
}

// answers keeps what requests were answered.
type answers interface {
	// begin returns what is kept of a request: its record, and whether the caller is the one to answer it. sum is what the request is compared by. It is nil
	// where there is no room, or where it cannot be told.
	begin(key, sum [sha256.Size]byte) (r *answer, first bool)
	// end tells that the first has its answer, which is kept if r.keep is set.
	end(key [sha256.Size]byte, r *answer)
	// refresh looks at an answer that another program is working on.
	refresh(key [sha256.Size]byte, r *answer)
}

func newIdempotency(o *IdempotencyOptions, c *BuildContext) any {
	p := &idempotencyPolicy{name: c.Name, header: message.NameOf(o.Header), required: o.Required, route: c.Route, memory: c.bodyMemory(),
		errs: newBodyErrors(c.Name, ofRequest)}
	refuse := func(reason message.Reason, text string) *message.Failure {
		return &message.Failure{Reason: reason, Side: message.SideClient, Stage: message.StageRoute, Err: fmt.Errorf("policy %s: %s", c.Name, text)}
	}
	p.missing = refuse(message.IdempotencyKeyMissing, "there is no "+o.Header)
	p.invalid = refuse(message.IdempotencyKeyInvalid, o.Header+" is not 1 to 255 visible characters")
	p.repeated = refuse(message.HeaderRepeated, o.Header+" stands more than once")
	p.reused = refuse(message.IdempotencyKeyReused, "the key was used for another request")
	p.progress = refuse(message.IdempotencyInProgress, "the first request has not ended")
	p.full = &message.Failure{Reason: message.LimitStoreUnavailable, Side: message.SideInternal, Stage: message.StageRoute,
		Err: fmt.Errorf("policy %s: no room for another key", c.Name)}
	p.answers = newAnswers(o, c)
	if p.answers == nil {
		return nil
	}
	return p
}

// newAnswers returns where the policy keeps its answers; nil where that cannot be had, which is then reported.
func newAnswers(o *IdempotencyOptions, c *BuildContext) answers {
	key := replayKey{c.scopeOf(), o.Keep, int64(o.Memory)}
	m, ok := kept(c, key, func() (*replays, error) { return newReplays(o.Keep, int64(o.Memory)), nil })
	if !ok {
		return newReplays(o.Keep, int64(o.Memory))
	}
	return m
}

// Around implements Around.
func (p *idempotencyPolicy) Around(x *message.Exchange, rest Rest) (done bool, err error) {
	h := &x.Request.Header
	i := h.Index(p.header, 0)
	if i < 0 {
		if p.required {
			return false, p.missing
		}
		return false, nil
	}
	if h.Index(p.header, i+1) >= 0 {
		return false, p.repeated
	}
	text := h.At(i).Value
	if !validKey(text) {
		return false, p.invalid
	}
	var body []byte
	if x.Request.Length != 0 {
		c, f := p.memory.ofRequest(x, p, maxReplay, &p.errs)
		if f != nil {
			return false, f
		}
		body = c.text
	}
	key, sum := p.keyOf(x, text), sumOf(x, body)
	deadline := x.Deadline
	if deadline == 0 {
		deadline = message.Now() + int64(replayWait)
	}
	for {
		r, first := p.answers.begin(key, sum)
		switch {
		case r == nil:
			return false, p.full
		case r.sum != sum:
			return false, p.reused
		case first:
			rest.Start(x, Task{Body: bytes.Clone(body), Answer: func(t *message.Exchange) {
				r.take(t)
				p.answers.end(key, r)
				if r.spill != nil {
					r.spill.run(t.Response.Body)
				}
			}})
			x.Await(func() { <-r.done })
			r.tell(x)
			return true, r.give(x, false)
		}
		if !p.wait(x, key, r, deadline) {
			return false, p.progress
		}
		switch {
		case r.keep:
			return true, r.give(x, true)
		case r.spill != nil:
			return false, p.progress // it went well, and nobody can have it again
		}
		// It was not kept: the work is done anew, by whoever is first now.
	}
}

// wait waits for the answer to the first request, and reports whether it came.
func (p *idempotencyPolicy) wait(x *message.Exchange, key [sha256.Size]byte, r *answer, deadline int64) (ended bool) {
	x.Await(func() {
		left := time.Duration(deadline - message.Now())
		timer := time.NewTimer(min(left, refreshEvery))
		defer timer.Stop()
		for {
			select {
			case <-r.done:
				ended = true
				return
			case <-timer.C:
			}
			p.answers.refresh(key, r)
			if left = time.Duration(deadline - message.Now()); left <= 0 {
				return
			}
			timer.Reset(min(left, refreshEvery))
		}
	})
	return ended
}

// refreshEvery is how often an answer is asked for that another program works on.
const refreshEvery = 50 * time.Millisecond

// OnResponse implements Response: it gives back the memory of the request.
func (p *idempotencyPolicy) OnResponse(x *message.Exchange) error {
	p.memory.settle(x, p)
	return nil
}

// validKey reports whether a key is 1 to 255 visible characters of ASCII.
func validKey(text []byte) bool {
	if len(text) == 0 || len(text) > 255 {
		return false
	}
	for _, c := range text {
		if c <= ' ' || c >= 0x7F {
			return false
		}
	}
	return true
}

// keyOf returns what an answer is kept under: the route, the caller and the key, told apart by their lengths.
func (p *idempotencyPolicy) keyOf(x *message.Exchange, text []byte) (key [sha256.Size]byte) {
	h := sha256.New()
	part(h, []byte(p.route))
	id := x.Identity
	switch {
	case id != nil && id.Consumer != "":
		part(h, []byte("consumer"))
		part(h, []byte(id.Consumer))
	case id.Claim("sub") != nil:
		part(h, []byte("claims"))
		if iss := id.Claim("iss"); iss != nil {
			part(h, iss.Raw)
		}
		part(h, id.Claim("sub").Raw)
	default:
		part(h, []byte("client"))
		part(h, x.Client.Addr.AppendTo(nil))
	}
	part(h, text)
	h.Sum(key[:0])
	return key
}

// sumOf returns what two requests with one key must have in common.
func sumOf(x *message.Exchange, body []byte) (sum [sha256.Size]byte) {
	r := &x.Request
	h := sha256.New()
	part(h, r.Method.AppendTo(nil))
	part(h, r.Path)
	part(h, r.Query)
	part(h, body)
	h.Sum(sum[:0])
	return sum
}

// part writes a piece behind its length, so that no two lists of pieces are the same bytes.
func part(h hash.Hash, b []byte) {
	n := uint64(len(b))
	h.Write([]byte{byte(n >> 56), byte(n >> 48), byte(n >> 40), byte(n >> 32), byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
	h.Write(b)
}
