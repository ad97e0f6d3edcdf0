package reload

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-gateway/sluice/test/rig"
)

// plan says what each generation of the configuration is, and what each of its routes must answer.
type plan struct {
	web, extra string // addresses
	alpha      []*endpoint
	beta       []*endpoint
}

// pools returns the endpoints of the two backends in a generation: they come and go, at least three and two at a time.
func (p *plan) pools(generation int64) (alpha, beta []*endpoint) {
	without := func(all []*endpoint) []*endpoint {
		i := int(generation) % len(all)
		return slices.Concat(all[:i], all[i+1:])
	}
	return without(p.alpha), without(p.beta)
}

// hasExtra reports whether a generation has the second listener.
func (p *plan) hasExtra(generation int64) bool { return generation%3 != 0 }

// text is the configuration of a generation.
func (p *plan) text(generation int64) string {
	alpha, beta := p.pools(generation)
	list := func(all []*endpoint) string {
		var out []string
		for _, e := range all {
			out = append(out, fmt.Sprintf("%q", e.Addr()))
		}
		return strings.Join(out, ", ")
	}
	one, two := "alpha", "beta"
	if generation%2 == 1 {
		one, two = two, one
	}
	var b strings.Builder
	fmt.Fprintf(&b, "version: 1\nlisteners:\n  web: {address: %q, protocol: http, timeouts: {idle: %ds}, forwarded: %s}\n",
		p.web, 60+generation%2, []string{"x", "rfc7239"}[generation%2])
	if p.hasExtra(generation) {
		fmt.Fprintf(&b, "  extra: {address: %q, protocol: http}\n", p.extra)
	}
	fmt.Fprintf(&b, `policies:
  mark: {request: {headers: {set: {X-Generation: "%[1]d"}}}}
  tell: {response: {headers: {set: {X-Generation: "%[1]d"}}}}
routes:
  - {name: one, match: {path: "/one/{id}"}, policies: [mark, tell], backend: %[2]s}
  - {name: two, match: {path: "/two/{id}"}, policies: [mark, tell], backend: %[3]s}
  - {name: slow, match: {path: "/slow/{id}"}, policies: [mark, tell], backend: %[2]s}
  - {name: fixed, match: {path: "/fixed/{id}"}, policies: [tell], respond: {text: "fixed %[1]d"}}
  - {name: moved, match: {path: "/moved/{id}"}, policies: [tell], redirect: {to: "/g%[1]d/${path.id}"}}
`, generation, one, two)
	if generation%2 == 1 { // a route that comes and goes; without it the request falls to the next
		b.WriteString("  - {name: now, match: {path: \"/now/and/then\"}, policies: [tell], respond: {text: now}}\n")
	}
	b.WriteString("  - {name: then, match: {path: \"/now/*\"}, policies: [tell], respond: {text: then}}\n")
	fmt.Fprintf(&b, `backends:
  alpha: {endpoints: [%s]}
  beta: {endpoints: [%s], balance: round_robin, health: {active: {http: /healthz, interval: 200ms}}}
`, list(alpha), list(beta))
	return b.String()
}

// wrong returns what is wrong with an answer, or nothing.
func (p *plan) wrong(r *reply) string {
	a := r.response
	var generation int64
	if _, err := fmt.Sscan(a.Header.Get("X-Generation"), &generation); err != nil {
		return fmt.Sprintf("status %d with X-Generation %q: %q", a.Status, a.Header.Get("X-Generation"), a.Body)
	}
	// A listener that vanishes serves who is still there by the last configuration that had it, and says that this was all.
	leaving := r.listener == "extra" && generation >= r.born && p.hasExtra(generation) && !p.hasExtra(generation+1) && a.Header.Get("Connection") == "close"
	if (generation < r.first || generation > r.last) && !leaving {
		return fmt.Sprintf("of generation %d, live were %d to %d", generation, r.first, r.last)
	}
	alpha, beta := p.pools(generation)
	if generation%2 == 1 {
		alpha, beta = beta, alpha
	}
	text := func(status int, want string) string {
		if a.Status != status || string(a.Body) != want {
			return fmt.Sprintf("status %d, %q; want %d, %q", a.Status, a.Body, status, want)
		}
		return ""
	}
	var from []*endpoint
	switch route, _, _ := strings.Cut(r.path[1:], "/"); route {
	case "one", "slow":
		from = alpha
	case "two":
		from = beta
	case "fixed":
		return text(200, fmt.Sprint("fixed ", generation))
	case "moved":
		if want := fmt.Sprintf("/g%d/%d", generation, r.id); a.Header.Get("Location") != want {
			return fmt.Sprintf("Location %q, want %q", a.Header.Get("Location"), want)
		}
		return text(308, "")
	case "now":
		return text(200, []string{"then", "now"}[generation%2])
	}
	name := a.Header.Get("X-Endpoint")
	if !slices.ContainsFunc(from, func(e *endpoint) bool { return e.Name == name }) {
		return fmt.Sprintf("of endpoint %q, which the route does not lead to in generation %d", name, generation)
	}
	body := ""
	if r.method == "POST" || r.method == "PUT" {
		body = fmt.Sprintf("body-%d", r.id)
	}
	if want := fmt.Sprintf("%s %s %d %s", r.method, r.path, generation, body); strings.TrimSpace(a.Header.Get("X-Saw")) != strings.TrimSpace(want) {
		return fmt.Sprintf("the endpoint saw %q, want %q", a.Header.Get("X-Saw"), want)
	}
	return text(200, strings.Repeat(name, 100))
}

// TestUnderLoad changes the configuration 20 times and restarts backends 20 times, in turn, while requests come at a constant rate: none may fail, and none may
// get an answer that the configuration of its time does not give.
//
// One thing HTTP cannot promise: a POST that is sent at the very moment when the backend ends the idle connection under it was perhaps received,
// and must not be sent again (RFC 9110 section 9.2.2). With abrupt restarts the client holds POSTs back for that moment. With graceful ones, where a
// backend announces its end and then waits, it does not; should one meet the last instant nevertheless, it must be one that the backend really
// got too late and did not answer.
func TestUnderLoad(t *testing.T) {
	p := &plan{web: freeAddress(t), extra: freeAddress(t)}
	for i := range 4 {
		p.alpha = append(p.alpha, newEndpoint(t, fmt.Sprint("a", i)))
	}
	for i := range 3 {
		p.beta = append(p.beta, newEndpoint(t, fmt.Sprint("b", i)))
	}
	every := slices.Concat(p.alpha, p.beta)
	g := rig.Start(t, p.text(1))
	kinds := []job{
		{method: "GET", path: "/one"}, {method: "GET", path: "/two", extra: true}, {method: "POST", path: "/one"}, {method: "GET", path: "/slow", extra: true},
		{method: "GET", path: "/fixed"}, {method: "PUT", path: "/two"}, {method: "GET", path: "/moved", extra: true}, {method: "POST", path: "/two", extra: true},
		{method: "GET", path: "/now/and/then"}, {method: "GET", path: "/one", extra: true}, {method: "GET", path: "/two"}, {method: "PUT", path: "/one", extra: true},
	}
	var mu sync.Mutex
	failed, statuses := 0, map[string]int{}
	l := &load{t: t, web: p.web, make: func(i int) job {
		j := kinds[i%len(kinds)]
		if j.id = i; !strings.HasPrefix(j.path, "/now") {
			j.path += fmt.Sprint("/", i)
		}
		return j
	}}
	l.check = func(r *reply) {
		fault := ""
		switch {
		case r.err != nil:
			fault = r.err.Error()
		case r.method == "POST" && r.response.Header.Get("Sluice-Reason") == "upstream_reset" &&
			slices.ContainsFunc(every, func(e *endpoint) bool { return e.hasRaced(fmt.Sprint(r.id)) }):
		case r.response.Status >= 400:
			fault = fmt.Sprintf("%d %s", r.response.Status, r.response.Header.Get("Sluice-Reason"))
		default:
			fault = p.wrong(r)
		}
		mu.Lock()
		defer mu.Unlock()
		if r.err == nil {
			statuses[fmt.Sprint(r.listener, " ", r.response.Status)]++
		}
		if fault != "" {
			if failed++; failed <= 20 {
				t.Errorf("%s %s over %s (generations %d to %d): %s", r.method, r.path, r.listener, r.first, r.last, fault)
			}
		}
	}
	l.done.Store(1)
	l.begun.Store(1)
	l.setExtra(&p.extra)
	l.start(250)
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	for round := range int64(20) {
		generation := round + 2
		reloadTo(t, g, l, p, generation)
		l.pass(70)
		refuseBad(t, g, p, generation, busy.Addr().String())
		e := every[int(round)%len(every)]
		if round%2 == 0 {
			e.restartGracefully(t)
		} else {
			e.restartAbruptly(t, &l.posts)
		}
		l.pass(50)
	}
	l.finish()
	if got := g.Metric("sluice_config_generation"); got != "21" {
		t.Errorf("generation %s is served in the end, want 21", got)
	}
	total, raced, executed := int(l.sent.Load()), 0, map[string]int{}
	for _, e := range every {
		raced += len(e.raced)
		for id, n := range e.served {
			executed[id] += n
		}
	}
	for id, n := range executed {
		if i, err := strconv.Atoi(id); err == nil && l.make(i).method == "POST" && n > 1 {
			t.Errorf("POST %s was executed %d times", id, n)
		}
	}
	if total < 1000 || l.late.Load() > 0 || statuses["extra 200"] == 0 || statuses["web 200"] == 0 || statuses["web 308"]+statuses["extra 308"] == 0 {
		t.Errorf("the load was not what it should be: %d requests, %d left out, %v", total, l.late.Load(), statuses)
	}
	t.Logf("%d requests, %d failed, %v; %d met the end of a connection to a backend; %d clients were told to close", total, failed, statuses, raced, l.closes.Load())
}

// reloadTo makes a generation live. The client is told of the second listener when it is there, and before it goes.
func reloadTo(t *testing.T, g *rig.Gateway, l *load, p *plan, generation int64) {
	t.Helper()
	if !p.hasExtra(generation) {
		l.setExtra(nil)
	}
	l.begun.Store(generation)
	if err := g.Reload(p.text(generation)); err != nil {
		t.Errorf("generation %d: %v", generation, err)
	}
	l.done.Store(generation)
	if p.hasExtra(generation) {
		l.setExtra(&p.extra)
	}
}

// refuseBad tries configurations that cannot be taken over.
func refuseBad(t *testing.T, g *rig.Gateway, p *plan, generation int64, taken string) {
	t.Helper()
	text := p.text(generation)
	for _, bad := range []struct{ text, want string }{
		{strings.Replace(text, "backend: beta", "backend: gamma", 1), "gamma"},
		{strings.Replace(text, "listeners:\n", fmt.Sprintf("listeners:\n  more: {address: %q, protocol: http}\n", taken), 1), taken},
		{strings.Replace(text, "version: 1", "version: 1\nadmin: "+taken, 1), taken},
		{text[:len(text)/2], "test.yaml:"},
	} {
		if err := g.Reload(bad.text); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("a bad configuration: error %v, want one about %s", err, bad.want)
		}
	}
}
