package policy

import (
	"fmt"
	"time"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/limit"
	"github.com/sluice-gateway/sluice/message"
)

// PlanLimitOptions limits consumers as their plans say: by rate, and by a quota for each calendar period. A caller who is no known consumer is refused with
// 403 `consumer_unknown`; a consumer without a plan is not limited.
type PlanLimitOptions struct {
	// Store is where requests are counted together with other gateways. Without it that is the top-level `store`, and without that one the memory of
	// each gateway.
	Store *config.Store `yaml:"store"`
	// OnStoreFailure says what to do while the store is away: let pass (`open`), refuse with 503 (`closed`), or count in each gateway against its part of
	// the limit (`share`).
	OnStoreFailure string `yaml:"on_store_failure" default:"share" enum:"open closed share"`
}

// planLimitPolicy limits consumers by their plans.
type planLimitPolicy struct {
	plans    map[string]*planLimiter
	counts   limitCounts
	failures limitFailures
	unknown  *message.Failure
}

// planLimiter is the limiter of one plan.
type planLimiter struct {
	limiter  limit.Limiter
	rate     []byte // what RateLimit-Policy says of the rate; nil for none
	calendar bool   // there is a quota
}

// Names that plans have in fields.
const (
	planRate  = "rate"
	planQuota = "quota"
)

func newPlanLimit(o *PlanLimitOptions, c *BuildContext) any {
	p := &planLimitPolicy{plans: make(map[string]*planLimiter), counts: newLimitCounts(c), failures: newLimitFailures(c.Name)}
	p.unknown = &message.Failure{Reason: message.ConsumerUnknown, Side: message.SideClient, Stage: message.StageRoute,
		Err: fmt.Errorf("policy %s: the caller is no known consumer", c.Name)}
	if !c.Known.Consumer {
		c.Report.WarnSuggest(c.Pos, "put an identity policy such as api_key before it",
			"policy %q refuses every request of the route %q: the consumer is not known before it", c.Name, c.Route)
	}
	for _, plan := range c.Config.Plans {
		if plan.Quota.Count > 0 && c.Config.State == "" && c.storeOf(o.Store) == nil {
			c.Report.WarnSuggest(c.Report.At(&plan.Quota), "set state, or a store", "the quota of the plan %q begins anew with each start of the program", plan.Name)
		}
		l, ok := c.planLimiter(plan, o)
		if !ok {
			return nil
		}
		p.plans[plan.Name] = l
	}
	return p
}

// planLimiter makes the limiter of one plan. What is counted of a consumer does not go by the plan: its quota stays used when it gets another plan of the same
// period.
func (c *BuildContext) planLimiter(plan *config.Plan, o *PlanLimitOptions) (*planLimiter, bool) {
	l := new(planLimiter)
	to := limiterOptions{name: c.limitScope("plan_limit"), use: storeUse{o.Store, o.OnStoreFailure}}
	if plan.Rate.Count > 0 {
		w := limit.Window{Count: plan.Rate.Count, Per: plan.Rate.Per(), Burst: plan.Burst}
		if err := w.Check(); err != nil {
			c.Report.Add(c.Report.At(&plan.Rate), "rate: %v", err)
			return nil, false
		}
		to.windows = []limit.Window{w}
		l.rate = limit.AppendPolicy(nil, planRate, w.Quota(), w.Seconds())
	}
	if plan.Quota.Count > 0 {
		period, err := limit.ParsePeriod(plan.Quota.Unit)
		if err != nil {
			c.Report.Add(c.Report.At(&plan.Quota), "quota: %v", err)
			return nil, false
		}
		zone, err := time.LoadLocation(plan.Timezone)
		if err != nil {
			return nil, false // reported by the plan itself
		}
		to.quota = limit.QuotaOptions{Limit: plan.Quota.Count, Period: period, Zone: zone}
		l.calendar = true
	}
	var ok bool
	l.limiter, ok = c.limiterOf(to)
	return l, ok
}

// OnRequest implements Request.
func (p *planLimitPolicy) OnRequest(x *message.Exchange) (done bool, err error) {
	id := x.Identity
	if id == nil || id.Consumer == "" {
		p.counts.refused.Inc(0)
		return false, p.unknown
	}
	plan := p.plans[id.Plan]
	if plan == nil {
		p.counts.passed.Inc(0)
		return false, nil // a consumer without a plan
	}
	n := limitNotes.Get().(*limitNote)
	n.plan = plan
	key := append(x.Scratch(), id.Consumer...)
	if plan.calendar {
		n.takeByCalendar(x, plan.limiter, key, 1)
	} else {
		n.take(x, plan.limiter, key, 1)
	}
	x.SetNote(p, n)
	if f := n.failure(&p.counts, &p.failures); f != nil {
		return false, f
	}
	return false, nil
}

// OnResponse implements Response: it tells how much is left of rate and quota.
func (p *planLimitPolicy) OnResponse(x *message.Exchange) error {
	n, ok := x.Note(p).(*limitNote)
	if !ok {
		return nil
	}
	x.SetNote(p, nil)
	if n.known() {
		n.tellPlan(x)
	} else if n.plan.rate != nil {
		beginFields(x)
		x.Response.Header.Add(ratePolicyField, n.plan.rate)
	}
	n.free()
	return nil
}

// tellPlan writes the fields of a plan.
func (n *limitNote) tellPlan(x *message.Exchange) {
	beginFields(x)
	h, r := &x.Response.Header, &n.result
	text := x.Scratch()
	if r.HasRate {
		text = append(text, n.plan.rate...)
	}
	if r.HasQuota {
		text = limit.AppendPolicy(separate(text), planQuota, r.Quota.Limit, r.Quota.Length)
	}
	h.Add(ratePolicyField, x.KeepScratch(text))
	text = x.Scratch()
	if r.HasRate {
		s := r.Rate.State()
		text = limit.AppendState(text, planRate, s.Remaining, s.Seconds())
	}
	if r.HasQuota {
		text = limit.AppendState(separate(text), planQuota, r.Quota.Remaining, r.Quota.Seconds())
	}
	h.Add(rateLimitField, x.KeepScratch(text))
	if r.Verdict == limit.RateRefused || r.Verdict == limit.QuotaRefused {
		setRetryAfter(x, r.RetryAfter())
	}
}

// separate prepares a list for another item.
func separate(text []byte) []byte {
	if len(text) == 0 {
		return text
	}
	return append(text, ", "...)
}
