package policy

import (
	"fmt"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/expr"
	"github.com/sluice-gateway/sluice/limit"
	"github.com/sluice-gateway/sluice/message"
)

// RateLimitOptions limits how often each caller, or whatever the key tells apart, may come; evened out over time (GCRA). What is refused gets 429
// `rate_limited` with Retry-After; every answer says how much is left (RateLimit, RateLimit-Policy).
type RateLimitOptions struct {
	// Key is an expression: requests with the same value are counted together. One without a value is refused with 403 `expression_failed`.
	Key string `yaml:"key" default:"client.ip"`
	// Rate is how often they may come, such as 10/s.
	Rate config.Rate `yaml:"rate"`
	// Burst is how many pass at once from rest. The default is the number of the rate.
	Burst int64 `yaml:"burst" min:"1" max:"1000000000"`
	// Windows are several rates, all of which must allow a request, in place of `rate` and `burst`.
	Windows []RateWindow `yaml:"windows" min:"1" max:"8"`
	// Cost is an expression: what a request counts for. The default is 1.
	Cost string `yaml:"cost"`

	// Store is where requests are counted together with other gateways. Without it that is the top-level `store`, and without that one the memory of
	// each gateway.
	Store *config.Store `yaml:"store"`
	// OnStoreFailure says what to do while the store is away: let pass (`open`), refuse with 503 (`closed`), or count in each gateway against its part of
	// the limit (`share`).
	OnStoreFailure string `yaml:"on_store_failure" default:"share" enum:"open closed share"`
}

// RateWindow is one rate of several.
type RateWindow struct {
	// Rate is how often requests may come.
	Rate config.Rate `yaml:"rate,required,short"`
	// Burst is how many pass at once from rest. The default is the number of the rate.
	Burst int64 `yaml:"burst" min:"1" max:"1000000000"`
}

// anyEnv is what expressions are first checked with, when the route is not known.
var anyEnv = expr.Env{Any: true, AnyCapture: true} // read-only

// checkExpression reports an expression that compiles on no route.
func checkExpression(r *config.Reporter, src *string, name string, compile func(string, expr.Env) (*expr.Program, *expr.Error)) {
	if *src == "" || !r.Set(src) {
		return
	}
	if _, err := compile(*src, anyEnv); err != nil {
		r.AddSuggest(r.At(src), err.Suggestion, "%s: %s", name, err.Message)
	}
}

// Check reports rates that are missing or said twice.
func (o *RateLimitOptions) Check(r *config.Reporter) {
	switch single := o.Rate.Count > 0 || r.Set(&o.Rate); {
	case !single && len(o.Windows) == 0 && !r.Set(&o.Windows):
		r.AddSuggest(r.At(o), "add rate: 10/s", "rate_limit: there is no rate")
	case single && len(o.Windows) > 0:
		r.AddSuggest(r.At(&o.Windows), "leave one of them", "rate_limit: there are a rate and windows")
	case !single && r.Set(&o.Burst):
		r.AddSuggest(r.At(&o.Burst), "write it beside the rate that it belongs to", "burst: belongs to rate, which is missing")
	}
	checkExpression(r, &o.Key, "key", expr.Compile)
	checkExpression(r, &o.Cost, "cost", expr.CompileNumber)
	for _, w := range o.windows() {
		if err := w.Check(); err != nil {
			r.Add(r.At(o), "rate_limit: %v", err)
		}
	}
}

// windows returns the rates as the limiter knows them.
func (o *RateLimitOptions) windows() []limit.Window {
	var out []limit.Window
	add := func(rate config.Rate, burst int64) {
		if rate.Count > 0 {
			out = append(out, limit.Window{Count: rate.Count, Per: rate.Per(), Burst: burst})
		}
	}
	add(o.Rate, o.Burst)
	for i := range o.Windows {
		add(o.Windows[i].Rate, o.Windows[i].Burst)
	}
	return out
}

// rateLimitPolicy limits how often requests come.
type rateLimitPolicy struct {
	key      *expr.Program
	cost     *expr.Program // nil for 1
	limiter  limit.Limiter
	names    []string // of the windows
	policy   []byte   // the field RateLimit-Policy
	counts   limitCounts
	failures limitFailures
}

func newRateLimit(o *RateLimitOptions, c *BuildContext) any {
	p := &rateLimitPolicy{key: c.expression(&o.Key), counts: newLimitCounts(c), failures: newLimitFailures(c.Name)}
	if o.Cost != "" {
		program, err := expr.CompileNumber(o.Cost, c.env(false))
		p.cost = c.program(&o.Cost, program, err)
	}
	windows := o.windows()
	p.names = windowNames(c.Name, len(windows))
	for i, w := range windows {
		if i > 0 {
			p.policy = append(p.policy, ", "...)
		}
		p.policy = limit.AppendPolicy(p.policy, p.names[i], w.Quota(), w.Seconds())
	}
	var ok bool
	p.limiter, ok = c.limiterOf(limiterOptions{name: c.limitScope("rate_limit"), windows: windows, use: storeUse{o.Store, o.OnStoreFailure}})
	if !ok || p.key == nil || o.Cost != "" && p.cost == nil {
		return nil
	}
	return p
}

// windowNames returns the names that windows of a policy have in fields.
func windowNames(policy string, n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = policy
		if i > 0 {
			names[i] = fmt.Sprintf("%s#%d", policy, i+1)
		}
	}
	return names
}

// OnRequest implements Request.
func (p *rateLimitPolicy) OnRequest(x *message.Exchange) (done bool, err error) {
	cost := int64(1)
	if p.cost != nil {
		var ok bool
		if cost, ok = p.cost.Int(x); !ok {
			p.counts.refused.Inc(0)
			return false, p.failures.costless
		}
	}
	key, ok := p.key.Append(x.Scratch(), x)
	if !ok {
		p.counts.refused.Inc(0)
		return false, p.failures.keyless
	}
	n := limitNotes.Get().(*limitNote)
	n.take(x, p.limiter, key, cost)
	x.SetNote(p, n)
	if f := n.failure(&p.counts, &p.failures); f != nil {
		return false, f
	}
	return false, nil
}

// OnResponse implements Response: it tells how much is left.
func (p *rateLimitPolicy) OnResponse(x *message.Exchange) error {
	n, ok := x.Note(p).(*limitNote)
	if !ok {
		return nil // refused before it was asked
	}
	x.SetNote(p, nil)
	beginFields(x)
	h := &x.Response.Header
	h.Add(ratePolicyField, p.policy)
	if r := &n.result; n.known() {
		s := r.Rate.State()
		h.Add(rateLimitField, x.KeepScratch(limit.AppendState(x.Scratch(), p.names[r.Rate.Window], s.Remaining, s.Seconds())))
		if r.Verdict == limit.RateRefused {
			setRetryAfter(x, r.RetryAfter())
		}
	}
	n.free()
	return nil
}
