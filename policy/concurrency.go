package policy

import (
	"fmt"
	"sync"
	"time"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/expr"
	"github.com/sluice-gateway/sluice/limit"
	"github.com/sluice-gateway/sluice/message"
)

// ConcurrencyOptions limits how many requests of each caller, or whatever the key tells apart, are served at the same time. What is too much waits, or
// gets 503 `concurrency_exceeded`.
type ConcurrencyOptions struct {
	// Key is an expression: requests with the same value are counted together. The default is all requests together.
	Key string `yaml:"key"`
	// Max is how many may be served at once.
	Max int `yaml:"max,required" min:"1" max:"1000000"`
	// Queue is how many more may wait.
	Queue int `yaml:"queue" default:"0" min:"0" max:"1000000"`
	// QueueTimeout is how long one may wait.
	QueueTimeout time.Duration `yaml:"queue_timeout" default:"1s" min:"1ms" max:"5m"`
}

// Check reports a key that compiles on no route.
func (o *ConcurrencyOptions) Check(r *config.Reporter) {
	checkExpression(r, &o.Key, "key", expr.Compile)
}

// concurrencyPolicy limits how many requests are served at once. The place of a request is free again when the body of its response, or its tunnel, has ended.
type concurrencyPolicy struct {
	key     *expr.Program // nil: all together
	limiter *limit.Concurrency
	counts  limitCounts
	full    *message.Failure
	left    *message.Failure
	keyless *message.Failure
}

// concurrencyKey is what a limiter is kept under.
type concurrencyKey struct {
	scope   string
	options limit.ConcurrencyOptions
}

// keptConcurrency is a limiter as a keep-pool wants it.
type keptConcurrency struct{ *limit.Concurrency }

// Close implements io.Closer: there is nothing to end.
func (keptConcurrency) Close() error { return nil }

// lookEvery is how often a request that waits looks whether its client is still there.
const lookEvery = 100 * time.Millisecond

func newConcurrency(o *ConcurrencyOptions, c *BuildContext) any {
	failures := newLimitFailures(c.Name)
	p := &concurrencyPolicy{counts: newLimitCounts(c), keyless: failures.keyless}
	if o.Key != "" {
		if p.key = c.expression(&o.Key); p.key == nil {
			return nil
		}
	}
	p.full = &message.Failure{Reason: message.ConcurrencyExceeded, Side: message.SideClient, Stage: message.StageRoute,
		Err: fmt.Errorf("policy %s: %d requests are being served", c.Name, o.Max)}
	p.left = &message.Failure{Reason: message.ClientClosed, Side: message.SideClient, Stage: message.StageRoute}
	if c.Program == nil {
		return p
	}
	options := limit.ConcurrencyOptions{Max: o.Max, Queue: o.Queue, Timeout: o.QueueTimeout, Look: lookEvery}
	k, ok := kept(c, concurrencyKey{c.scopeOf(), options}, func() (keptConcurrency, error) {
		made, err := limit.NewConcurrency(options)
		return keptConcurrency{made}, err
	})
	if !ok {
		return nil
	}
	p.limiter = k.Concurrency
	return p
}

// ticket is the place of one request. It is pooled, and belongs to the exchange until its place is free again.
type ticket struct{ limit.Ticket }

// tickets is a pool (read-only: what it holds has no meaning).
var tickets = sync.Pool{New: func() any { return new(ticket) }}

// free makes the place free.
func (t *ticket) free() {
	t.Release()
	tickets.Put(t)
}

// OnRequest implements Request.
func (p *concurrencyPolicy) OnRequest(x *message.Exchange) (done bool, err error) {
	var key []byte
	if p.key != nil {
		var ok bool
		if key, ok = p.key.Append(x.Scratch(), x); !ok {
			p.counts.refused.Inc(0)
			return false, p.keyless
		}
	}
	patience := time.Duration(0)
	if x.Deadline != 0 {
		if patience = time.Duration(x.Deadline - message.Now()); patience == 0 {
			patience = -1
		}
	}
	t := tickets.Get().(*ticket)
	a := p.limiter.Acquire(&t.Ticket, key, patience)
	if a == limit.Queued {
		a = t.queue(x)
	}
	if a != limit.Admitted {
		tickets.Put(t)
		p.counts.refused.Inc(0)
		if a == limit.Cancelled {
			return false, p.left
		}
		return false, p.full
	}
	p.counts.passed.Inc(0)
	x.SetNote(p, t)
	return false, nil
}

// queue waits for a place.
func (t *ticket) queue(x *message.Exchange) limit.Admission {
	for x.Await(t.Wait); t.Again(); x.Await(t.Wait) {
		if gone(x) {
			t.Cancel()
			break
		}
	}
	return t.Settle()
}

// gone reports whether the client of an exchange has left, where that can be told. Asking costs a system call, which is worth it only after a wait.
func gone(x *message.Exchange) bool {
	c, ok := x.Interim.(interface{ Gone() bool })
	return ok && c.Gone()
}

// OnResponse implements Response: the place is free when the body of the response, or the tunnel, has ended.
func (p *concurrencyPolicy) OnResponse(x *message.Exchange) error {
	t, ok := x.Note(p).(*ticket)
	if !ok {
		return nil
	}
	x.SetNote(p, nil)
	r := &x.Response
	if r.Tunnel != nil {
		r.Tunnel = &ticketTunnel{Tunnel: r.Tunnel, ticket: t}
		return nil
	}
	switch r.Body.(type) {
	case message.NoBody, *message.Bytes:
		t.free() // what is left to do is to write what lies there
	default:
		r.Body = &ticketBody{pumped: pumped{Body: r.Body}, ticket: t}
	}
	return nil
}

// ticketBody is a body whose end makes a place free. It is not pooled: who has read a body may close it late, and twice.
type ticketBody struct {
	pumped
	ticket *ticket // nil when its place is free
}

// Next implements message.Body. Who reads a body to its end need not close it.
func (b *ticketBody) Next() ([]byte, error) {
	piece, err := b.pumped.Next()
	if err != nil {
		b.free()
	}
	return piece, err
}

// Close implements message.Body.
func (b *ticketBody) Close() error {
	err := b.pumped.Close()
	b.free()
	return err
}

func (b *ticketBody) free() {
	if b.ticket != nil {
		b.ticket.free()
		b.ticket = nil
	}
}

// ticketTunnel is a tunnel whose end makes a place free. Close may come while Run moves bytes, from another goroutine: the place is given back once.
type ticketTunnel struct {
	message.Tunnel
	once   sync.Once
	ticket *ticket
}

// Run implements message.Tunnel.
func (t *ticketTunnel) Run(client message.Stream, early []byte) (received, sent int64, err error) {
	defer t.once.Do(t.ticket.free)
	return t.Tunnel.Run(client, early)
}

// Close implements message.Tunnel.
func (t *ticketTunnel) Close() error {
	err := t.Tunnel.Close()
	t.once.Do(t.ticket.free)
	return err
}
