package policy

import (
	"fmt"
	"strconv"
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

// concurrencyPolicy limits how many requests are served at once. The place of a request is free again when the body of its response has ended.
type concurrencyPolicy struct {
	key     *expr.Program // nil: all together
	limiter *limit.Concurrency
	counts  limitCounts
	full    *message.Failure
	keyless *message.Failure
}

// concurrencyKey is what a limiter is kept under.
type concurrencyKey struct{ policy, options string }

// keptConcurrency is a limiter as a keep-pool wants it.
type keptConcurrency struct{ *limit.Concurrency }

// Close implements io.Closer: there is nothing to end.
func (keptConcurrency) Close() error { return nil }

// tickets is a pool (read-only: what it holds has no meaning).
var tickets = sync.Pool{New: func() any { return new(limit.Ticket) }}

func newConcurrency(o *ConcurrencyOptions, c *BuildContext) any {
	p := &concurrencyPolicy{counts: newLimitCounts(c)}
	if o.Key != "" {
		if p.key = c.expression(&o.Key); p.key == nil {
			return nil
		}
	}
	p.full = &message.Failure{Reason: message.ConcurrencyExceeded, Side: message.SideClient, Stage: message.StageRoute,
		Err: fmt.Errorf("policy %s: %d requests are being served", c.Name, o.Max)}
	p.keyless = &message.Failure{Reason: message.ExpressionFailed, Side: message.SideClient, Stage: message.StageRoute,
		Err: fmt.Errorf("policy %s: the key has no value", c.Name)}
	options := limit.ConcurrencyOptions{Max: o.Max, Queue: o.Queue, Timeout: o.QueueTimeout}
	key := concurrencyKey{c.scopeOf(), strconv.Itoa(o.Max) + " " + strconv.Itoa(o.Queue) + " " + o.QueueTimeout.String()}
	k, ok := kept(c, key, func() (keptConcurrency, error) {
		made, err := limit.NewConcurrency(options)
		return keptConcurrency{made}, err
	})
	if !ok && c.Program != nil {
		return nil
	}
	p.limiter = k.Concurrency
	return p
}

// OnRequest implements Request.
func (p *concurrencyPolicy) OnRequest(x *message.Exchange) (done bool, err error) {
	var key []byte
	if p.key != nil {
		var ok bool
		if key, ok = p.key.Append(x.Scratch(), x); !ok {
			return false, p.keyless
		}
	}
	patience := time.Duration(0)
	if x.Deadline != 0 {
		if patience = time.Duration(x.Deadline - message.Now()); patience == 0 {
			patience = -1
		}
	}
	t := tickets.Get().(*limit.Ticket)
	a := p.limiter.Acquire(t, key, patience)
	if a == limit.Queued {
		x.Await(t.Wait)
		a = t.Settle()
	}
	if a != limit.Admitted {
		tickets.Put(t)
		p.counts.refused.Inc(0)
		return false, p.full
	}
	p.counts.passed.Inc(0)
	x.SetNote(p, t)
	return false, nil
}

// OnResponse implements Response: the place is free when the body of the response has ended.
func (p *concurrencyPolicy) OnResponse(x *message.Exchange) error {
	t, ok := x.Note(p).(*limit.Ticket)
	if !ok {
		return nil
	}
	x.SetNote(p, nil)
	switch x.Response.Body.(type) {
	case message.NoBody, *message.Bytes:
		t.Release()
		tickets.Put(t)
	default:
		x.Response.Body = &ticketBody{pumped: pumped{Body: x.Response.Body}, ticket: t}
	}
	return nil
}

// ticketBody is a body whose end makes a place free.
type ticketBody struct {
	pumped
	ticket *limit.Ticket // nil when it was given back
}

// Close implements message.Body.
func (b *ticketBody) Close() error {
	err := b.pumped.Close()
	if b.ticket != nil {
		b.ticket.Release()
		tickets.Put(b.ticket)
		b.ticket = nil
	}
	return err
}
