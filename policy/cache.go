package policy

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sluice-gateway/sluice/cache"
	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/expr"
	"github.com/sluice-gateway/sluice/message"
)

// CacheOptions keeps answers and gives them to later requests, as a shared cache does (RFC 9111): as long as the origin says that they are fresh, and after
// that when the origin says that they are still good. Of many requests for an answer that is not there, one fetches it, and all read it while it comes.
// Without options it keeps only what the origin gives a lifetime.
//
// Behind a policy that finds out who calls, callers share only what the origin marks as `public` (or with `s-maxage` or `must-revalidate`). Answers with
// `no-store`, `private` or Set-Cookie are never given to another caller.
type CacheOptions struct {
	// TTL is the lifetime of all answers that may be kept, in place of what the origin says. It never overrides `no-store`, `private` or Set-Cookie.
	TTL time.Duration `yaml:"ttl" min:"1ms" max:"8760h"`
	// DefaultTTL is the lifetime of answers for which the origin gives none.
	DefaultTTL time.Duration `yaml:"default_ttl" min:"1ms" max:"8760h"`
	// Heuristic is the lifetime of answers for which the origin gives none, as a share of the time since they were modified; a day at most.
	Heuristic config.Share `yaml:"heuristic,none" default:"none"`
	// StaleWhileRevalidate is for how long an answer that is not fresh any more is given while a new one is fetched, where the origin does not say.
	StaleWhileRevalidate time.Duration `yaml:"stale_while_revalidate" min:"1ms" max:"8760h"`
	// StaleIfError is for how long such an answer is given when the origin fails, does not answer, or answers 500, 502, 503 or 504, where it does not say.
	StaleIfError time.Duration `yaml:"stale_if_error" min:"1ms" max:"8760h"`
	// VaryOn are expressions: requests for which one has another value get answers of their own. With one that names `claims` or `consumer` the answers are
	// each caller's own, so that those with `private` are kept, too. A request for which one has no value is refused with 403 `expression_failed`.
	VaryOn []string `yaml:"vary_on,single" min:"1" max:"16"`
	// Shared lets callers who are known share all answers, but for those with `no-store`, `private` or Set-Cookie.
	Shared bool `yaml:"shared" default:"false"`
	// MaxObject is the size of the largest answer that is kept; larger ones pass through.
	MaxObject config.Size `yaml:"max_object" default:"8MiB" min:"1" max:"64GiB"`
	// IgnoreClientDirectives leaves the Cache-Control of requests out of account: nobody can ask for an answer that is not kept.
	IgnoreClientDirectives bool `yaml:"ignore_client_directives" default:"false"`
	// Name is what the cache is called in Cache-Status.
	Name string `yaml:"name" default:"sluice" check:"token"`
	// Targeted are response fields that hold in place of Cache-Control and Expires, the first one that is there (RFC 9213), such as CDN-Cache-Control.
	Targeted []string `yaml:"targeted,single" check:"header" min:"1" max:"8"`
}

// Check reports options that exclude each other, and expressions that compile on no route.
func (o *CacheOptions) Check(r *config.Reporter) {
	for i := range o.VaryOn {
		checkExpression(r, &o.VaryOn[i], "vary_on", expr.Compile)
	}
	without := func(field any, key, other string) {
		if r.Set(field) {
			r.WarnSuggest(r.At(field), "leave one of them", "%s: %s holds in its place, so it has no effect", key, other)
		}
	}
	switch {
	case o.TTL > 0:
		without(&o.DefaultTTL, "default_ttl", "ttl")
		without(&o.Heuristic, "heuristic", "ttl")
	case o.DefaultTTL > 0:
		without(&o.Heuristic, "heuristic", "default_ttl")
	}
	if c := o.Name[:min(1, len(o.Name))]; c != "*" && (strings.ToLower(c) < "a" || strings.ToLower(c) > "z") {
		r.Add(r.At(&o.Name), "name: %q does not begin with a letter", o.Name)
	}
	once := repeats{r: r, key: "targeted", fold: true}
	for i, name := range o.Targeted {
		at := r.At(&o.Targeted[i])
		if message.Lookup([]byte(name)) == message.CacheControl {
			r.Add(at, "targeted: Cache-Control is what the others hold in place of")
		}
		once.see(at, name)
	}
}

// cachePolicy answers from a store, and fetches for it.
type cachePolicy struct {
	store   *cache.Store
	rules   *cache.Rules
	vary    []*expr.Program
	keyless *message.Failure
}

// uses is a pool (read-only: what it holds has no meaning). What is in use belongs to the thread of control of one exchange.
var uses = sync.Pool{New: func() any { return new(cache.Use) }}

func newCache(o *CacheOptions, c *BuildContext) any {
	p := &cachePolicy{}
	perCaller := false
	for i := range o.VaryOn {
		program := c.expression(&o.VaryOn[i])
		if program == nil {
			return nil
		}
		p.vary = append(p.vary, program)
		for _, name := range program.Variables() {
			perCaller = perCaller || name == "claims" || name == "consumer"
		}
	}
	c.warnOfCache(o)
	p.keyless = &message.Failure{Reason: message.ExpressionFailed, Side: message.SideClient, Stage: message.StageRoute,
		Err: fmt.Errorf("policy %s: a value of vary_on is missing", c.Name)}
	rules := cache.Rules{
		TTL: o.TTL, DefaultTTL: o.DefaultTTL, Heuristic: float64(o.Heuristic),
		StaleWhileRevalidate: o.StaleWhileRevalidate, StaleIfError: o.StaleIfError,
		MaxObject:      int64(o.MaxObject),
		BehindIdentity: c.Known.Identity || c.Behind.Identity,
		Shared:         o.Shared, PerCaller: perCaller,
		IgnoreClient: o.IgnoreClientDirectives,
	}
	for _, name := range o.Targeted {
		rules.Targeted = append(rules.Targeted, message.NameOf(name))
	}
	store, space := c.cacheSpace(o, &rules)
	if store == nil {
		return p // it is only checked
	}
	rules.Namespace = space
	p.store, p.rules = store, cache.NewRules(rules, o.Name)
	return p
}

// warnOfCache warns of places on a route and of sizes that are almost surely wrong.
func (c *BuildContext) warnOfCache(o *CacheOptions) {
	if len(c.Guards) > 0 {
		c.Report.WarnSuggest(c.Pos, "write "+strings.Join(c.Guards, ", ")+" before it",
			"on the route %q: the cache %q stands before %s, which is not asked when an answer is in the cache: whoever comes gets it", c.Route, c.Name, strings.Join(c.Guards, ", "))
	}
	if all := c.Config.Cache.Memory; o.MaxObject > all {
		at := c.Report.At(&o.MaxObject)
		if at.IsZero() {
			at = c.Pos
		}
		c.Report.Warn(at, "max_object: %s is more than all caches have together (cache: {memory: %s})", o.MaxObject, all)
	}
}

// Around implements Around.
func (p *cachePolicy) Around(x *message.Exchange, rest Rest) (done bool, err error) {
	extra, ok := p.extra(x)
	if !ok {
		return false, p.keyless
	}
	u := uses.Get().(*cache.Use)
	done, failure := p.ask(x, u, extra, rest)
	x.Outcome.Cache = u.Result().String()
	if done || failure != nil {
		u.Reset()
		uses.Put(u)
		if failure != nil {
			return false, failure
		}
		return true, nil
	}
	x.SetNote(p, u)
	return false, nil
}

// ask asks the store until it is clear what becomes of the request.
func (p *cachePolicy) ask(x *message.Exchange, u *cache.Use, extra []byte, rest Rest) (done bool, failure *message.Failure) {
	for {
		switch p.store.Lookup(u, x, p.rules, extra, message.Now()) {
		case cache.Hit:
			return true, nil
		case cache.Pass:
			return false, nil
		case cache.Refuse:
			return false, &cache.NotStored
		case cache.Refresh:
			p.fetch(x, u, rest)
			return true, nil
		case cache.Lead:
			f := p.fetch(x, u, rest)
			verdict, failure := u.Wait(x)
			f.tell(x)
			return verdict == cache.Served, failure
		case cache.Follow:
			switch verdict, failure := u.Wait(x); verdict {
			case cache.Again:
			default:
				return verdict == cache.Served, failure
			}
		}
	}
}

// extra returns what the key of the request holds besides the URI, in memory of the exchange; nil for nothing. ok is false if a value is missing.
func (p *cachePolicy) extra(x *message.Exchange) (extra []byte, ok bool) {
	if len(p.vary) == 0 {
		return nil, true
	}
	b := x.Scratch()
	for _, program := range p.vary {
		var at int
		b, at = cache.BeginValue(b)
		if b, ok = program.Append(b, x); !ok {
			return nil, false
		}
		cache.EndValue(b, at)
	}
	return x.KeepScratch(b), true
}

// OnResponse implements Response: it completes the answer to a request that went on without the store.
func (p *cachePolicy) OnResponse(x *message.Exchange) error {
	u, ok := x.Note(p).(*cache.Use)
	if !ok {
		return nil
	}
	x.SetNote(p, nil)
	u.Passed(x, message.Now())
	u.Reset()
	uses.Put(u)
	return nil
}

// fetch is what brings an answer for a flight.
type fetch struct {
	flight *cache.Flight

	mu      sync.Mutex // guards what follows
	ended   bool       // there is a response, or a failure
	outcome message.Outcome
	times   message.Times
}

// fetch begins a flight: the rest of the route runs beside the exchange, for however long somebody wants its answer.
func (p *cachePolicy) fetch(x *message.Exchange, u *cache.Use, rest Rest) *fetch {
	f := &fetch{flight: u.Flight()}
	cancel := rest.Start(x, Task{Prepare: f.prepare, Answer: f.answer})
	if !f.flight.Start(cancel) {
		cancel()
	}
	return f
}

func (f *fetch) prepare(x *message.Exchange) { f.flight.Prepare(&x.Request.Header) }

// answer gives the flight what the rest of the route has come to. x is the task's.
func (f *fetch) answer(x *message.Exchange) {
	o := &x.Outcome
	f.mu.Lock()
	f.ended, f.outcome, f.times = true, *o, x.Times
	f.outcome.Members, f.outcome.Fields = slices.Clone(o.Members), nil
	for _, field := range o.Fields {
		f.outcome.Fields = append(f.outcome.Fields, message.FieldValue{Name: field.Name, Value: slices.Clone(field.Value)})
	}
	failure := f.failure()
	f.mu.Unlock()
	switch {
	case failure == nil:
		f.flight.Fill(x, message.Now())
	case failure.Side == message.SideClient:
		// The request was refused by its own fault: that is its client's answer, with all that policies have written into it, and nobody else's.
		x.Response.Header.Set(cacheControl, noStore)
		f.flight.Fill(x, message.Now())
	default:
		f.flight.Fail(failure, message.Now())
	}
}

// failure returns why there is no answer, nil if there is one. It shares no memory with the task. The caller holds mu.
func (f *fetch) failure() *message.Failure {
	o := &f.outcome
	if o.Reason == message.ReasonNone {
		return nil
	}
	return &message.Failure{Reason: o.Reason, Side: o.Side, Stage: o.Stage, Err: o.Err, Status: o.Status, Members: o.Members, Fields: o.Fields}
}

// tell notes for the log and the metrics of the request that leads how its fetch went.
func (f *fetch) tell(x *message.Exchange) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.ended {
		return
	}
	o, from := &x.Outcome, &f.outcome
	o.Backend, o.Endpoint, o.Attempts, o.Reused = from.Backend, from.Endpoint, from.Attempts, from.Reused
	x.Times.Connected, x.Times.FirstByte = f.times.Connected, f.times.FirstByte
	if failure := f.failure(); failure != nil {
		x.Fail(failure)
	}
}

// Read-only.
var (
	cacheControl = message.CacheControl.Name()
	noStore      = []byte("no-store")
)
