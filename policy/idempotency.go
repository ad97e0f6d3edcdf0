package policy

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"time"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/limit"
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
	// Memory bounds what is kept in this program; the oldest answers make room. With a store it is what is kept here as well.
	Memory config.Size `yaml:"memory" default:"64MiB" min:"1MiB" max:"64GiB"`
	// Store is where answers are kept for several programs. Without it that is the top-level `store`, and without that one the memory of each. While it is
	// away each program goes by its own memory.
	Store *config.Store `yaml:"store"`
}

// maxReplay bounds the request that is compared, and the answer that is kept.
const maxReplay = 1 << 20

// replayWait bounds how long a duplicate waits for the first request on a route without a timeout.
const replayWait = 30 * time.Second

// idempotencyPolicy gives first answers again.
type idempotencyPolicy struct {
	header   message.Name
	required bool
	route    string
	keep     time.Duration
	replays  replays // nil where nothing is served
	memory   *bodyMemory
	errs     bodyErrors

	missing, invalid, repeated, reused, progress, full, left *message.Failure
}

// replays keeps answers for later requests. It is kept over configurations, and used by many goroutines at once.
type replays interface {
	// begin returns the record of a request, and what the caller is to do about it. It may wait for a store. sum is what two requests of the same key are
	// compared by. The record is nil where there is no room for another.
	begin(key limit.Key, sum sumOfRequest) (*answer, duty)
	// end tells that the first request has its answer, which is kept for a time if r.keep is set. It may wait for a store.
	end(key limit.Key, r *answer, keep time.Duration)
	// watch waits until another program has an answer, or the moment deadline, and reports whether it has.
	watch(x *message.Exchange, key limit.Key, r *answer, deadline int64) bool
}

// duty is what the caller of begin has to do.
type duty uint8

const (
	dutyWait    duty = iota // wait until r.done is closed
	dutyExecute             // do the work, and call end
	dutyWatch               // call watch, on behalf of all of this program that wait
)

func newIdempotency(o *IdempotencyOptions, c *BuildContext) any {
	p := &idempotencyPolicy{header: message.NameOf(o.Header), required: o.Required, route: c.Route, keep: o.Keep, memory: c.bodyMemory(),
		errs: newBodyErrors(c.Name, ofRequest)}
	refuse := func(reason message.Reason, text string) *message.Failure {
		return &message.Failure{Reason: reason, Side: message.SideClient, Stage: message.StageRoute, Err: fmt.Errorf("policy %s: %s", c.Name, text)}
	}
	p.missing = refuse(message.IdempotencyKeyMissing, "there is no "+o.Header)
	p.invalid = refuse(message.IdempotencyKeyInvalid, o.Header+" is not 1 to 255 visible characters")
	p.repeated = refuse(message.HeaderRepeated, o.Header+" stands more than once")
	p.reused = refuse(message.IdempotencyKeyReused, "the key was used for another request")
	p.progress = refuse(message.IdempotencyInProgress, "the first request has not ended")
	p.left = refuse(message.ClientClosed, "the client left while it waited for the first request")
	p.full = refuse(message.LimitStoreUnavailable, "there is no room for another key")
	p.full.Side = message.SideInternal
	c.warnOfChanges()
	var ok bool
	if p.replays, ok = c.replaysOf(o); !ok {
		return nil
	}
	return p
}

// warnOfChanges warns where requests are changed before they are compared: the same request may then be another the second time.
func (c *BuildContext) warnOfChanges() {
	var list config.PolicyList
	for _, r := range c.Config.Routes {
		if r.Name == c.Route {
			list = r.Policies
		}
	}
	for _, p := range list {
		if p.Pos == c.Pos {
			return
		}
		if o, ok := p.Options.(*RequestOptions); ok && !(o.Query.empty() && o.Body.empty()) {
			c.Report.WarnSuggest(c.Pos, "put "+c.Name+" before "+p.Name,
				"policy %q compares requests as the policy %q has changed them, and not as the client sent them", c.Name, p.Name)
		}
	}
}

// Around implements Around.
func (p *idempotencyPolicy) Around(x *message.Exchange, rest Rest) (done bool, err error) {
	if x.Request.Upgrade != nil {
		return false, nil // what follows is no answer that could be kept
	}
	text, f := p.keyText(&x.Request.Header)
	if text == nil {
		if f != nil {
			return false, f
		}
		return false, nil
	}
	var body []byte
	if x.Request.Length != 0 {
		c, f := p.memory.ofRequest(x, p, maxReplay, &p.errs)
		if f != nil {
			return false, f
		}
		body = c.text
	}
	deadline := x.Deadline
	if deadline == 0 {
		deadline = message.Now() + int64(replayWait)
	}
	if f := p.answer(x, rest, body, p.keyOf(x, text), deadline); f != nil {
		return false, f
	}
	return true, nil
}

// answer answers a request that has a key.
func (p *idempotencyPolicy) answer(x *message.Exchange, rest Rest, body []byte, key limit.Key, deadline int64) *message.Failure {
	sum := sumOf(x, body)
	for {
		var r *answer
		var assigned duty
		x.Await(func() { r, assigned = p.replays.begin(key, sum) })
		ended := true
		switch {
		case r == nil:
			return p.full
		case r.sum != sum:
			return p.reused
		case assigned == dutyExecute:
			return p.execute(x, rest, body, key, r)
		case assigned == dutyWatch:
			ended = p.replays.watch(x, key, r, deadline)
		default:
			ended = r.wait(x, deadline)
		}
		switch {
		case !ended && gone(x):
			return p.left
		case !ended || r.state == answerSpilled: // in the second case it went well, and nobody can have it again
			return p.progress
		case r.state == answerThere:
			return r.give(x, true)
		}
		// Nobody knows what became of it: the work is done anew, by whoever is first now.
	}
}

// execute does the work of the first request. The client may leave meanwhile.
func (p *idempotencyPolicy) execute(x *message.Exchange, rest Rest, body []byte, key limit.Key, r *answer) *message.Failure {
	held := len(body)
	if !p.memory.reserve(held) {
		r.state = answerLost
		p.replays.end(key, r, p.keep)
		return p.errs.memory
	}
	if x.Request.Length != 0 {
		body = append(make([]byte, 0, held), body...) // a backend may answer before it has read the request, and x may end then
	}
	rest.Start(x, Task{Body: body, Answer: func(t *message.Exchange) {
		held += r.take(t, p.memory)
		p.replays.end(key, r, p.keep)
		if r.spill != nil {
			r.spill.run(t.Response.Body)
		}
		p.memory.free(held)
	}})
	x.Await(func() { <-r.done })
	r.tell(x)
	return r.give(x, false)
}

// keyText returns the key that a request has; nil if it has none, with the failure if it needs another one.
func (p *idempotencyPolicy) keyText(h *message.Header) ([]byte, *message.Failure) {
	i := h.Index(p.header, 0)
	switch {
	case i < 0 && p.required:
		return nil, p.missing
	case i < 0:
		return nil, nil
	case h.Index(p.header, i+1) >= 0:
		return nil, p.repeated
	}
	text := h.At(i).Value
	if !validKey(text) {
		return nil, p.invalid
	}
	return text, nil
}

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
func (p *idempotencyPolicy) keyOf(x *message.Exchange, text []byte) (key limit.Key) {
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

// sumOfRequest is what two requests with one key must have in common.
type sumOfRequest [sha256.Size]byte

func sumOf(x *message.Exchange, body []byte) (sum sumOfRequest) {
	r := &x.Request
	h := sha256.New()
	part(h, r.Method.AppendTo(nil))
	part(h, []byte(x.Version)) // was perhaps the first segment of the path
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
