package policy

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/expr"
	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/limit"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
)

// counting is a Program that keeps things as the gateway does: by the generations that hold them, and not two at once.
type counting struct {
	*served
	t     testing.TB
	state string

	opening bool
	users   map[any]int
	order   []any // of the present generation

	mu    sync.Mutex
	lines []string
}

func newCounting(t testing.TB) *counting {
	return &counting{served: newServed(t), t: t, users: map[any]int{}}
}

func (p *counting) Keep(name string, key any, open func() (io.Closer, error)) (io.Closer, error) {
	if p.opening {
		return nil, errors.New("something is kept while something else is being opened: the gateway's lock is held then")
	}
	p.opening = true
	defer func() { p.opening = false }()
	c, err := p.served.Keep(name, key, open)
	if err == nil {
		p.users[key]++
		p.order = append(p.order, key)
	}
	return c, err
}

// release lets go of what a generation holds.
func (p *counting) release(keys []any) {
	for i := len(keys) - 1; i >= 0; i-- {
		if p.users[keys[i]]--; p.users[keys[i]] == 0 {
			if err := p.things[keys[i]].Close(); err != nil {
				p.t.Error(err)
			}
			delete(p.things, keys[i])
		}
	}
}

func (p *counting) State() string { return p.state }

func (p *counting) Reporter() func(string) {
	return func(line string) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.lines = append(p.lines, line)
	}
}

func (p *counting) reported() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}

// generation is a configuration as a program serves it.
type limitGeneration struct {
	chains map[string]*Chain
	config *config.Config
	report *config.Reporter
	keys   []any
}

// generation makes the policies of all routes of a configuration.
func (p *counting) generation(text string) *limitGeneration {
	p.t.Helper()
	cfg, err := config.Load("test.yaml", []byte(text), config.Options{Kinds: Kinds()})
	if err != nil {
		p.t.Fatalf("%v\nin\n%s", err, text)
	}
	g := &limitGeneration{chains: map[string]*Chain{}, config: cfg, report: cfg.Reporter()}
	p.order = nil
	consumers := NewConsumers(cfg)
	for _, r := range cfg.Routes {
		c := BuildContext{Route: r.Name, Env: expr.Env{}, Report: g.report, Config: cfg, Consumers: consumers, Program: p}
		g.chains[r.Name], _ = Compile(r.Policies, c)
	}
	if err := g.report.Err(); err != nil {
		p.t.Fatalf("%v\nin\n%s", err, text)
	}
	g.keys = p.order
	return g
}

// limits is a configuration with two routes, a and b, that have the same policies, and what else there is.
func limits(list, rest string) string {
	return fmt.Sprintf(`version: 1
listeners: {web: {address: "127.0.0.1:8080", protocol: http}}
routes:
  - {name: a, match: {path: /a}, policies: %[1]s, respond: {status: 204}}
  - {name: b, match: {path: /b}, policies: %[1]s, respond: {status: 204}}
%[2]s
`, list, rest)
}

// asked is what came of a request.
type asked struct {
	reason message.Reason
	header string
	x      *message.Exchange
}

// ask sends an exchange through a chain; the backend answers with lines.
func (g *limitGeneration) ask(t testing.TB, route string, x *message.Exchange, lines ...string) asked {
	t.Helper()
	c := g.chains[route]
	ran, done, f := c.Request(x, 0, nil)
	if done {
		t.Fatalf("%s: a limit has answered", route)
	}
	for _, l := range lines {
		addLine(&x.Response.Header, l)
	}
	if left, f := c.Response(x, ran, 0); left != 0 || f != nil {
		t.Fatal(left, f)
	}
	a := asked{header: dump(&x.Response.Header), x: x}
	if f != nil {
		a.reason = f.Reason
	}
	return a
}

// consumer is an exchange of a consumer.
func consumer(name, plan string) *message.Exchange {
	x := exchange("-")
	x.Identity = &message.Identity{Consumer: name, Plan: plan}
	return x
}

const passed = message.ReasonNone

func TestRateLimitFields(t *testing.T) {
	long := strings.Repeat("n", 40)
	for _, c := range []struct {
		name, policies, rest string
		asks                 int
		query                string
		backend              []string
		reason               message.Reason
		want                 string
	}{
		{"in place, first", `[{rate_limit: {rate: 10/h}}]`, "", 1, "-", nil, passed, `RateLimit-Policy: "rate_limit";q=10;w=3600|RateLimit: "rate_limit";r=9;t=360`},
		{"burst", `[{rate_limit: {rate: 10/h, burst: 3}}]`, "", 1, "-", nil, passed, `RateLimit-Policy: "rate_limit";q=3;w=1080|RateLimit: "rate_limit";r=2;t=360`},
		{"w is rounded up", `[{rate_limit: {rate: 7/s, burst: 10}}]`, "", 1, "-", nil, passed, `RateLimit-Policy: "rate_limit";q=10;w=2|RateLimit: "rate_limit";r=9;t=1`},
		{"the last one tells when the next may come", `[{rate_limit: {rate: 2/h}}]`, "", 2, "-", nil, passed,
			`RateLimit-Policy: "rate_limit";q=2;w=3600|RateLimit: "rate_limit";r=0;t=1800`},
		{"refused", `[{rate_limit: {rate: 2/h}}]`, "", 3, "-", nil, message.RateLimited,
			`RateLimit-Policy: "rate_limit";q=2;w=3600|RateLimit: "rate_limit";r=0;t=1800|Retry-After: 1800`},
		{"named", `[fair-use]`, "policies: {fair-use: {rate_limit: {rate: 1/h}}}", 1, "-", nil, passed,
			`RateLimit-Policy: "fair-use";q=1;w=3600|RateLimit: "fair-use";r=0;t=3600`},
		{"several in place", `[{rate_limit: {rate: 9/h}}, {rate_limit: {rate: 5/m}}]`, "", 1, "-", nil, passed,
			`RateLimit-Policy: "rate_limit#2";q=5;w=60|RateLimit: "rate_limit#2";r=4;t=12|RateLimit-Policy: "rate_limit#1";q=9;w=3600|RateLimit: "rate_limit#1";r=8;t=400`},
		{"windows", `[{rate_limit: {windows: [{rate: 1/m, burst: 5}, 3/h]}}]`, "", 1, "-", nil, passed,
			`RateLimit-Policy: "rate_limit";q=5;w=300, "rate_limit#2";q=3;w=3600|RateLimit: "rate_limit#2";r=2;t=1200`},
		{"the window that refuses", `[{rate_limit: {windows: [{rate: 1/m, burst: 5}, 3/h]}}]`, "", 4, "-", nil, message.RateLimited,
			`RateLimit-Policy: "rate_limit";q=5;w=300, "rate_limit#2";q=3;w=3600|RateLimit: "rate_limit#2";r=0;t=1200|Retry-After: 1200`},
		{"a service's own fields are replaced", `[{rate_limit: {rate: 10/h}}]`, "", 1, "-",
			[]string{`RateLimit: "theirs";r=1`, "ratelimit-policy: x", "RateLimit-Limit: 5", "Retry-After: 9", "Server: s"}, passed,
			`RateLimit-Limit: 5|Retry-After: 9|Server: s|RateLimit-Policy: "rate_limit";q=10;w=3600|RateLimit: "rate_limit";r=9;t=360`},
		{"cost", `[{rate_limit: {rate: 10/h, cost: "size(request.query.c) * 3"}}]`, "", 1, "c=11", nil, passed,
			`RateLimit-Policy: "rate_limit";q=10;w=3600|RateLimit: "rate_limit";r=4;t=2160`},
		{"a cost of nothing", `[{rate_limit: {rate: 10/h, cost: "size(request.query.c)"}}]`, "", 20, "c=", nil, passed,
			`RateLimit-Policy: "rate_limit";q=10;w=3600|RateLimit: "rate_limit";r=10;t=0`},
		{"a cost below nothing", `[{rate_limit: {rate: 10/h, cost: "-3"}}]`, "", 2, "-", nil, passed, `RateLimit-Policy: "rate_limit";q=10;w=3600|RateLimit: "rate_limit";r=10;t=0`},
		{"a cost over the burst", `[{rate_limit: {rate: 10/h, cost: "11"}}]`, "", 1, "-", nil, message.RateLimited,
			`RateLimit-Policy: "rate_limit";q=10;w=3600|RateLimit: "rate_limit";r=10;t=0|Retry-After: 1`},
		{"no cost", `[{rate_limit: {rate: 10/h, cost: "int(request.query.c)"}}]`, "", 1, "-", nil, message.ExpressionFailed, ""},
		{"no key", `[{rate_limit: {rate: 10/h, key: request.query.k}}]`, "", 1, "-", nil, message.ExpressionFailed, ""},
		{"a long name", "[" + long + "]", "policies: {" + long + ": {rate_limit: {rate: 1000000/s}}}", 1, "-", nil, passed,
			`RateLimit-Policy: "` + long + `";q=1000000;w=1|RateLimit: "` + long + `";r=999999;t=1`},
		{"a month has 30 days", `[{rate_limit: {rate: 30/month, burst: 1}}]`, "", 1, "-", nil, passed, `RateLimit-Policy: "rate_limit";q=1;w=86400|RateLimit: "rate_limit";r=0;t=86400`},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newCounting(t)
			g := p.generation(limits(c.policies, c.rest))
			var a asked
			for range c.asks {
				a = g.ask(t, "a", exchange(c.query), c.backend...)
			}
			if got := strings.ReplaceAll(a.header, "\n", "|"); got != c.want || a.reason != c.reason {
				t.Errorf("%v\ngot  %s\nwant %s", a.reason, got, c.want)
			}
		})
	}
}

// TestRateLimitKeys: what has the same key is counted together, and what has another is not.
func TestRateLimitKeys(t *testing.T) {
	p := newCounting(t)
	g := p.generation(limits(`[{rate_limit: {rate: 1/h, key: 'request.headers["x-tenant"]'}}]`, ""))
	for _, c := range []struct {
		lines []string
		want  message.Reason
	}{
		{[]string{"X-Tenant: a"}, passed}, {[]string{"X-Tenant: a"}, message.RateLimited}, {[]string{"X-Tenant: b"}, passed},
		{[]string{"X-Tenant: "}, passed}, {[]string{"X-Tenant: "}, message.RateLimited},
		{[]string{"X-Tenant: b", "X-Tenant: c"}, passed}, {[]string{"X-Tenant: b, c"}, message.RateLimited}, // the values joined
		{nil, message.ExpressionFailed}, {[]string{"X-Tenant: " + strings.Repeat("k", 9000)}, passed}, {[]string{"X-Tenant: " + strings.Repeat("k", 9000)}, message.RateLimited},
	} {
		if a := g.ask(t, "a", exchange("-", c.lines...)); a.reason != c.want {
			t.Errorf("%.40q: %v, want %v", c.lines, a.reason, c.want)
		}
	}
	if got := p.series("rate_limit"); got != "passed 5, refused 5" {
		t.Errorf("counted: %s", got)
	}
}

// series returns what a limit has counted.
func (p *counting) series(policy string) string {
	var out []string
	for _, result := range []string{"passed", "refused", "store_away"} {
		p.registry.Each(metric.LimitDecisions, func(values []string, n int64) {
			if values[0] == policy && values[1] == result && n > 0 {
				out = append(out, fmt.Sprint(result, " ", n))
			}
		})
	}
	return strings.Join(out, ", ")
}

// TestLimitScope: a named policy has one counter for all routes, which outlives a change of the configuration as long as rate and burst stay; one in place
// is its route's own.
func TestLimitScope(t *testing.T) {
	p := newCounting(t)
	named := func(rate string) string { return limits("[fair]", "policies: {fair: {rate_limit: {"+rate+"}}}") }
	one := p.generation(named("rate: 2/h"))
	want := func(g *limitGeneration, route string, reason message.Reason) {
		t.Helper()
		if a := g.ask(t, route, exchange("-")); a.reason != reason {
			t.Errorf("%s: %v, want %v", route, a.reason, reason)
		}
	}
	want(one, "a", passed)
	want(one, "b", passed)
	want(one, "a", message.RateLimited)
	two := p.generation(named("rate: 2/h, burst: 2, cost: '1'")) // the burst is what it was
	p.release(one.keys)
	want(two, "b", message.RateLimited)
	three := p.generation(named("rate: 2/h, burst: 3"))
	p.release(two.keys)
	want(three, "b", passed)
	want(one, "b", message.RateLimited) // a request that began before goes by what it began with
	p.release(three.keys)

	own := p.generation(limits(`[{rate_limit: {rate: 1/h}}, {rate_limit: {rate: 2/h}}]`, ""))
	want(own, "a", passed)
	want(own, "b", passed)
	want(own, "a", message.RateLimited)
	again := p.generation(limits(`[{rate_limit: {rate: 1/h}}, {rate_limit: {rate: 2/h}}]`, ""))
	p.release(own.keys)
	want(again, "b", message.RateLimited)
	p.release(again.keys)
	if len(p.things) != 0 {
		t.Errorf("%d things are still kept", len(p.things))
	}
}

const plans = `
plans:
  standard: {rate: 2/h, quota: 3/day}
  quick: {rate: 10/s, burst: 20}
  counted: {quota: 2/month, timezone: Europe/Berlin}
consumers:
  - {name: app, plan: standard, api_keys: "sha256:5f7b2ed74a9736a538a6fb5a5a1a76afdcdd0d177d7fc6e79c6b6843527d848d"}
  - {name: fast, plan: quick}
  - {name: batch, plan: counted}
  - {name: free}
policies: {by-plan: {plan_limit: {}}}
`

func TestPlanLimit(t *testing.T) {
	p := newCounting(t)
	g := p.generation(limits("[{api_key: {}}, by-plan]", plans))
	ask := func(name, plan string, backend ...string) asked {
		t.Helper()
		x := consumer(name, plan)
		chain := &Chain{steps: g.chains["a"].steps[1:]} // who it is was found out
		ran, _, f := chain.Request(x, 0, nil)
		for _, l := range backend {
			addLine(&x.Response.Header, l)
		}
		chain.Response(x, ran, 0)
		a := asked{header: strings.ReplaceAll(dump(&x.Response.Header), "\n", "|"), x: x}
		if f != nil {
			a.reason = f.Reason
		}
		return a
	}
	day := 86400 - time.Now().UTC().Unix()%86400
	// left replaces what depends on the time of day.
	left := func(text string) string {
		for d := day + 1; d > day-30; d-- {
			text = strings.ReplaceAll(text, fmt.Sprint("=", d), "=REST")
			text = strings.ReplaceAll(text, fmt.Sprint(": ", d), ": REST")
		}
		return text
	}
	const policy = `RateLimit-Policy: "rate";q=2;w=3600, "quota";q=3;w=86400|`
	for i, want := range []struct {
		name, plan string
		reason     message.Reason
		header     string
	}{
		{"app", "standard", passed, policy + `RateLimit: "rate";r=1;t=1800, "quota";r=2;t=REST`},
		{"app", "standard", passed, policy + `RateLimit: "rate";r=0;t=1800, "quota";r=1;t=REST`},
		{"app", "standard", message.RateLimited, policy + `RateLimit: "rate";r=0;t=1800, "quota";r=1;t=REST|Retry-After: 1800`}, // nothing of the quota
		{"app", "standard", message.RateLimited, policy + `RateLimit: "rate";r=0;t=1800, "quota";r=1;t=REST|Retry-After: 1800`},
		{"fast", "quick", passed, `RateLimit-Policy: "rate";q=20;w=2|RateLimit: "rate";r=19;t=1`},
		{"free", "", passed, ""},
		{"batch", "counted", passed, ""},
		{"batch", "counted", passed, ""},
		{"batch", "counted", message.QuotaExceeded, ""},
		{"app", "counted", message.QuotaExceeded, ""},
		{"fast", "standard", passed, policy + `RateLimit: "rate";r=1;t=1800, "quota";r=2;t=REST`},
	} {
		if want.name == "app" && want.plan == "counted" {
			continue // below: another period is another count
		}
		a := ask(want.name, want.plan, `RateLimit: "theirs"`)
		if want.plan == "counted" {
			if !strings.Contains(a.header, `"quota";q=2;w=`) || (a.reason != passed) != strings.Contains(a.header, "Retry-After: ") || strings.Contains(a.header, `"rate"`) {
				t.Errorf("%d: header %s", i, a.header)
			}
			want.header = left(a.header)
		}
		if want.plan == "" {
			want.header = `RateLimit: "theirs"`
		}
		if a.reason != want.reason || left(a.header) != want.header {
			t.Errorf("%d: %v\ngot  %s\nwant %s", i, a.reason, left(a.header), want.header)
		}
	}
	for _, x := range []*message.Exchange{exchange("-"), consumer("", "")} {
		if _, _, f := (&Chain{steps: g.chains["a"].steps[1:]}).Request(x, 0, nil); f == nil || f.Reason != message.ConsumerUnknown {
			t.Errorf("a caller who is nobody: %v", f)
		}
	}
	if got := p.series("by-plan"); got != "passed 7, refused 5" {
		t.Errorf("counted: %s", got)
	}
}

// TestPlanLimitQuotaLimit: what was counted of a quota stays counted when its limit is changed, also in the file, and when a consumer gets another plan of the
// same period; what it is counted in ends when nobody uses it any more.
func TestPlanLimitQuotaLimit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	for _, state := range []string{"", dir} {
		p := newCounting(t)
		p.state = state
		text := func(standard, other string) string {
			return limits("[{api_key: {}}, by-plan]", fmt.Sprintf("plans: {standard: {quota: %s}, other: {quota: %s}}\nconsumers: [{name: app, plan: standard}, {name: b, plan: other}]\n"+
				"policies: {by-plan: {plan_limit: {}}}\n", standard, other))
		}
		take := func(g *limitGeneration, plan string, reason message.Reason, want string) {
			t.Helper()
			chain := &Chain{steps: g.chains["a"].steps[1:]}
			x := consumer("app", plan)
			ran, _, f := chain.Request(x, 0, nil)
			chain.Response(x, ran, 0)
			if got := failureOrNone(f); got != reason || !strings.Contains(dump(&x.Response.Header), `"quota";r=`+want+";") {
				t.Errorf("state %q: %v, header %s; want %v, %s", state, got, dump(&x.Response.Header), reason, want)
			}
		}
		one := p.generation(text("2/month", "5/month"))
		take(one, "standard", passed, "1")
		take(one, "standard", passed, "0")
		take(one, "standard", message.QuotaExceeded, "0")
		take(one, "other", passed, "2")
		two := p.generation(text("6/month", "5/month"))
		take(two, "standard", passed, "2")
		p.release(one.keys)
		take(two, "standard", passed, "1")
		take(two, "other", message.QuotaExceeded, "0")
		p.release(two.keys)
		if len(p.things) != 0 {
			t.Errorf("state %q: %d things are still kept", state, len(p.things))
		}
		three := p.generation(text("6/month", "5/month"))
		if state == "" {
			take(three, "standard", passed, "5")
		} else {
			take(three, "standard", passed, "0")
			take(three, "standard", message.QuotaExceeded, "0")
		}
		p.release(three.keys)
	}
}

func failureOrNone(f *message.Failure) message.Reason {
	if f == nil {
		return passed
	}
	return f.Reason
}

func TestLimitChecks(t *testing.T) {
	for _, c := range []struct{ name, list, rest, want string }{
		{"nothing to count", `[{rate_limit: {}}]`, "", "there is no rate"},
		{"rate and windows", `[{rate_limit: {rate: 1/s, windows: [1/s]}}]`, "", "there are a rate and windows"},
		{"burst alone", `[{rate_limit: {burst: 1, windows: [1/s]}}]`, "", "burst: belongs to rate"},
		{"a rate of nothing", `[{rate_limit: {rate: 0/s}}]`, "", "less than 1"},
		{"no windows", `[{rate_limit: {windows: []}}]`, "", "windows"},
		{"nine windows", `[{rate_limit: {windows: [1/s, 1/s, 1/s, 1/s, 1/s, 1/s, 1/s, 1/s, 1/s]}}]`, "", "at most 8"},
		{"a burst for lifetimes", `[{rate_limit: {rate: 1/month, burst: 1000000000}}]`, "", "lifetimes"},
		{"key", `[{rate_limit: {rate: 1/s, key: client.up}}]`, "", "client.up"},
		{"claims are not known", `[{rate_limit: {rate: 1/s, key: claims.sub}}]`, "", "claims"},
		{"cost is a text", `[{rate_limit: {rate: 1/s, cost: request.path}}]`, "", "cost"},
		{"failure word", `[{rate_limit: {rate: 1/s, on_store_failure: shared}}]`, "", "share"},
		{"store", `[{rate_limit: {rate: 1/s, store: {redis: "http://host"}}}]`, "", "redis"},
		{"plan burst", `[]`, "plans: {p: {rate: 1/month, burst: 1000000000}}\npolicies: {by: {plan_limit: {}}}\n", ""},
		{"concurrency without max", `[{concurrency: {}}]`, "", "max"},
		{"concurrency key", `[{concurrency: {max: 1, key: client.up}}]`, "", "client.up"},
		{"idempotency header", `[{idempotency: {header: "a b"}}]`, "", "header"},
		{"idempotency keep", `[{idempotency: {keep: 1ms}}]`, "", "keep"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg, err := config.Load("test.yaml", []byte(limits(c.list, c.rest)), config.Options{Kinds: Kinds()})
			if err == nil {
				report := cfg.Reporter()
				for _, r := range cfg.Routes {
					Compile(r.Policies, BuildContext{Route: r.Name, Report: report, Config: cfg, Consumers: NewConsumers(cfg)})
				}
				err = report.Err()
			}
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestLimitWarnings(t *testing.T) {
	quota := "plans: {p: {quota: 5/day}}\nconsumers: [{name: c, plan: p, api_keys: \"" + testHash + "\"}]\n"
	for _, c := range []struct{ name, list, rest, want string }{
		{"a quota that nobody keeps", "[{api_key: {}}, {plan_limit: {}}]", quota, "begins anew with each start"},
		{"a quota with state", "[{api_key: {}}, {plan_limit: {}}]", quota + "state: /var/lib/sluice\n", ""},
		{"a quota in Redis", "[{api_key: {}}, {plan_limit: {}}]", quota + `store: {redis: "127.0.0.1:6379"}`, ""},
		{"a quota in its own Redis", `[{api_key: {}}, {plan_limit: {store: {redis: "127.0.0.1:6379"}}}]`, quota, ""},
		{"nobody is known", "[{plan_limit: {}}]", "plans: {p: {rate: 5/s}}\nconsumers: [{name: c, plan: p, api_keys: \"" + testHash + "\"}]\n", "refuses every request"},
		{"known too late", "[{plan_limit: {}}, {api_key: {}}]", "plans: {p: {rate: 5/s}}\nconsumers: [{name: c, plan: p, api_keys: \"" + testHash + "\"}]\n", "refuses every request"},
		{"idempotency behind a change", `[{request: {query: {set: {a: "1"}}}}, {idempotency: {}}]`, "", "as the policy"},
		{"idempotency behind another change", `[{request: {body: {set: {a: "1"}}}}, {idempotency: {}}]`, "", "as the policy"},
		{"idempotency behind a change of headers", `[{request: {headers: {set: {A: "1"}}}}, {idempotency: {}}, {request: {query: {set: {a: "1"}}}}]`, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg, err := config.Load("test.yaml", []byte(limits(c.list, c.rest)), config.Options{Kinds: Kinds()})
			if err != nil {
				t.Fatal(err)
			}
			report := cfg.Reporter()
			for _, r := range cfg.Routes {
				if chain, _ := Compile(r.Policies, BuildContext{Route: r.Name, Report: report, Config: cfg, Consumers: NewConsumers(cfg)}); chain == nil {
					t.Fatal("no chain")
				}
			}
			if err := report.Err(); err != nil {
				t.Fatal(err)
			}
			got := report.Warnings()
			if c.want == "" && len(got) > 0 || c.want != "" && (len(got) == 0 || !strings.Contains(got.Error(), c.want)) {
				t.Errorf("warnings %v, want %q", got, c.want)
			}
		})
	}
}

// TestLimitStores: policies with the same store share a connection; one that has another password gets another, and with it the limiter; no password is told.
func TestLimitStores(t *testing.T) {
	server := testnet.StartRedis(t, "--requirepass", "sesame")
	p := newCounting(t)
	text := func(password string) string {
		return limits("[one, two]", fmt.Sprintf("store: {redis: 'redis://:%s@%s', timeout: 1s}\npolicies: {one: {rate_limit: {rate: 2/h}}, two: {rate_limit: {rate: 5/h, on_store_failure: closed}}}",
			password, server.Address()))
	}
	stores := func() (all []*limit.Store) {
		for _, thing := range p.things {
			if s, ok := thing.(keptStore); ok {
				all = append(all, s.Store)
			}
		}
		return all
	}
	wrong := p.generation(text("wrong"))
	if len(stores()) != 1 {
		t.Fatalf("%d stores", len(stores()))
	}
	store := stores()[0]
	testnet.Receive(t, "the first attempt", store.First())
	a := wrong.ask(t, "a", exchange("-"))
	if a.reason != message.LimitStoreUnavailable || strings.ReplaceAll(a.header, "\n", "|") != `RateLimit-Policy: "two";q=5;w=3600|RateLimit-Policy: "one";q=2;w=3600|RateLimit: "one";r=1;t=1800` {
		t.Errorf("without the store: %v %s", a.reason, a.header)
	}
	if (keptStore{store}).Degraded() == "" {
		t.Error("the store is not shown to be away")
	}
	right := p.generation(text("sesame"))
	p.release(wrong.keys)
	if len(stores()) != 1 || stores()[0] == store {
		t.Fatalf("%d stores", len(stores()))
	}
	store = stores()[0]
	testnet.Eventually(t, "the store", store.Available)
	for i, want := range []message.Reason{passed, passed, message.RateLimited} {
		if a := right.ask(t, "b", exchange("-")); a.reason != want {
			t.Errorf("%d: %v, want %v", i, a.reason, want)
		}
	}
	if got := server.Run("-a", "sesame", "--no-auth-warning", "DBSIZE"); got != "3" { // the instances and two counts
		t.Errorf("%s keys are in the store", got)
	}
	if strings.Contains(p.reported(), "sesame") || strings.Contains(p.reported(), "wrong@") || !strings.Contains(p.reported(), server.Address()) {
		t.Errorf("reported: %s", p.reported())
	}
	if got := p.series("two"); got != "passed 2, refused 1, store_away 1" {
		t.Errorf("counted: %s", got)
	}
	p.release(right.keys)
}

// TestLimitNotePooled: nothing of one exchange shows in the next that gets its note.
func TestLimitNotePooled(t *testing.T) {
	p := newCounting(t)
	server := testnet.StartRedis(t)
	many := p.generation(limits(`[{rate_limit: {windows: [9/s, 8/m, 7/h]}}]`, ""))
	away := p.generation(limits(`[{rate_limit: {rate: 5/h, on_store_failure: closed, store: {redis: "`+server.Address()+`"}}}]`, ""))
	server.Kill()
	for range 50 {
		many.ask(t, "a", exchange("-"))
		if a := away.ask(t, "a", exchange("-")); a.reason == message.LimitStoreUnavailable && a.header != `RateLimit-Policy: "rate_limit";q=5;w=3600` {
			t.Fatalf("%v %s", a.reason, a.header)
		}
	}
}
