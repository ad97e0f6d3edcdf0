package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// example is the outcome of a steady scenario in which all went well: each endpoint takes a third, and while the bad one fails it has nothing.
func example(t *testing.T, s *scenario) *outcome {
	t.Helper()
	o := &outcome{scenario: s, proxy: "sluice", timing: timingOf(s, 8*time.Second), ledger: newLedger()}
	table, err := steady(400, o.timing.length)
	if err != nil {
		t.Fatal(err)
	}
	for id, due := range table {
		endpoint := endpointNames[id%len(endpointNames)]
		if o.timing.fault.holds(due) && endpoint == badEndpoint {
			endpoint = endpointNames[0]
		}
		o.results = append(o.results, result{due: due, latency: 6 * time.Millisecond, post: isPost(id), from: endpoint})
		o.ledger.got[id] = []receipt{{endpoint, isPost(id)}}
	}
	return o
}

// at changes the results that are due within a span.
func (o *outcome) at(s span, change func(id int, r *result)) {
	for id := range o.results {
		if s.holds(o.results[id].due) {
			change(id, &o.results[id])
		}
	}
}

// Each assertion must hold where all is well, and must not where it is not.
func TestAssertions(t *testing.T) {
	s := &scenario{posts: true}
	timing := timingOf(s, 8*time.Second)
	fail := func(_ int, r *result) { r.verdict = failed }
	toBad := func(o *outcome) func(id int, r *result) {
		return func(id int, r *result) { o.ledger.got[id] = []receipt{{badEndpoint, r.post}} }
	}
	for name, c := range map[string]struct {
		holds  assertion
		change func(o *outcome)
		want   string
	}{
		"wrong answer":  {nothingWrong, func(o *outcome) { o.results[5].verdict = wrong }, "1 answers"},
		"wrong request": {nothingWrong, func(o *outcome) { o.ledger.bad = []string{"x"} }, "1 answers"},
		"POST twice":    {nothingRepeated, func(o *outcome) { o.ledger.got[2] = append(o.ledger.got[2], receipt{"b", true}) }, "1 POSTs were received twice"},
		"failed before": {wellBefore, func(o *outcome) { o.at(span{time.Second, time.Second + 5*time.Millisecond}, fail) }, "2 requests failed before"},
		"unused before": {hadItsPart, func(o *outcome) {
			o.at(timing.before, func(id int, _ *result) { o.ledger.got[id] = []receipt{{"a", false}} })
		}, "0.0 %"},
		"GET failed":     {noFailed(false), func(o *outcome) { o.results[4].verdict = failed }, "1 GETs failed"},
		"POST failed":    {noFailed(true), func(o *outcome) { o.results[6].verdict = failed }, "1 POSTs failed"},
		"p99 stays high": {p99Back, func(o *outcome) { o.at(timing.late, slowEvery(50)) }, "p99 is 300ms"},
		"share":          {shareAtMost(0.03), func(o *outcome) { o.at(span{3 * time.Second, 3200 * time.Millisecond}, toBad(o)) }, "5.0 %"},
		"even share":     {shareBelow(1.0 / 3), func(o *outcome) { o.at(span{3 * time.Second, 5 * time.Second}, toBad(o)) }, "50.0 %"},
		"never ejected":  {ejected, func(o *outcome) { o.at(timing.fault, toBad(o)) }, "never left out"},
		"stays away": {comesBack, func(o *outcome) {
			o.at(timing.last, func(id int, _ *result) { o.ledger.got[id] = []receipt{{"b", false}} })
		}, "endpoint a is not used"},
	} {
		o := example(t, s)
		if problem := c.holds(o); problem != "" {
			t.Errorf("%s: does not hold where all is well: %s", name, problem)
		}
		c.change(o)
		if problem := c.holds(o); !strings.Contains(problem, c.want) {
			t.Errorf("%s: %q, want %q", name, problem, c.want)
		}
	}
}

// slowEvery makes one request of n slow.
func slowEvery(n int) func(id int, r *result) {
	return func(id int, r *result) {
		if id%n == 0 {
			r.latency = 300 * time.Millisecond
		}
	}
}

func TestP99Forgives(t *testing.T) {
	o := example(t, &scenario{})
	o.at(o.timing.late, slowEvery(200)) // half of what a p99 leaves out
	if problem := p99Back(o); problem != "" {
		t.Error(problem)
	}
	o.at(span{0, o.timing.fault.from + settled}, slowEvery(2)) // whatever was before the two seconds were over
	if problem := p99Back(o); problem != "" {
		t.Error(problem)
	}
}

func TestCutsAreSeen(t *testing.T) {
	o := example(t, &scenario{})
	if problem := cutsAreSeen(o); !strings.Contains(problem, "0 of the 4 kinds") {
		t.Errorf("without a cut: %q", problem)
	}
	for id := 1000; id < 1008; id++ {
		o.ledger.cut[id] = true
		o.results[id].verdict, o.results[id].from = failed, badEndpoint
	}
	if problem := cutsAreSeen(o); problem != "" {
		t.Error(problem)
	}
	o.results[1000].verdict = right
	if problem := cutsAreSeen(o); !strings.Contains(problem, "only sent half") {
		t.Errorf("a cut answer that was taken for a whole one: %q", problem)
	}
	o.results[1000].from = "a" // a GET that another endpoint has answered
	if problem := cutsAreSeen(o); problem != "" && !isPost(1000) {
		t.Error(problem)
	}
}

func TestScenarios(t *testing.T) {
	names := scenarioNames()
	for i, s := range scenarios() {
		if slices.Index(names, s.name) != i || s.title == "" || s.note == "" || s.table == nil || len(s.asserted) == 0 {
			t.Errorf("scenario %q is not complete", s.name)
		}
		if (s.mode == "") != s.inTurn {
			t.Errorf("scenario %s: mode %q", s.name, s.mode)
		}
		table, err := s.table(8 * time.Second)
		if err != nil || !slices.IsSorted(table) || len(table) < 300 {
			t.Errorf("scenario %s: %d requests, %v", s.name, len(table), err)
		}
		for _, seconds := range []int{shortest, 8, longest} {
			timing := timingOf(s, time.Duration(seconds)*time.Second)
			if !s.always && (timing.late.to-timing.late.from < time.Second/2 || timing.fault.to >= timing.last.from || timing.before.to <= timing.before.from) ||
				s.inTurn && timing.turn(2).to >= timing.last.from {
				t.Errorf("scenario %s in %d s: %+v", s.name, seconds, timing)
			}
			if s.inTurn && timing.turn(0).to >= timing.turn(1).from {
				t.Errorf("two restarts of %d s overlap", seconds)
			}
		}
	}
	if got := pick([]string{"restart", "hang"}); len(got) != 2 || got[0].name != "hang" {
		t.Errorf("picked %v", got)
	}
	if len(pick(nil)) != len(names) {
		t.Error("not all are picked when none is named")
	}
}

func TestJudgeAppliesWhatAllShare(t *testing.T) {
	s := &scenario{asserted: []assertion{func(*outcome) string { return "own" }}}
	o := example(t, s)
	if got := s.judge(o); !slices.Equal(got, []string{"own"}) {
		t.Errorf("problems %q", got)
	}
	o.results[0].verdict = wrong
	if got := s.judge(o); len(got) != 2 {
		t.Errorf("problems %q", got)
	}
}

func TestQuantile(t *testing.T) {
	o := &outcome{}
	for ms := range 200 {
		o.results = append(o.results, result{due: time.Duration(ms) * time.Millisecond, latency: time.Duration(ms+1) * time.Millisecond})
	}
	for q, want := range map[float64]int{0: 1, 0.5: 50, 0.99: 99, 0.985: 99, 1: 100} {
		if got, ok := o.quantile(q, span{0, 100 * time.Millisecond}); !ok || got != time.Duration(want)*time.Millisecond {
			t.Errorf("%v: %v, want %d ms", q, got, want)
		}
	}
	if _, ok := o.quantile(0.5, span{time.Second, time.Minute}); ok {
		t.Error("a quantile of nothing")
	}
}

func TestShareAndDetails(t *testing.T) {
	o := &outcome{ledger: newLedger(), results: make([]result, 4)}
	for i, line := range []string{"got 0 GET", "got 1 GET", "got 2 POST", "got 9 GET", "cut 1", "bad day", "late 70ms"} {
		if !o.ledger.take(endpointNames[i%3], line) {
			t.Errorf("line %q is not understood", line)
		}
	}
	for _, line := range []string{"up", "mode well", "got x", "cut", "late x", ""} {
		if o.ledger.take("a", line) {
			t.Errorf("line %q was entered", line)
		}
	}
	o.ledger.take("c", "got 2 POST")
	if share, ok := o.share("c", span{0, 1}); !ok || fmt.Sprintf("%.2f", share) != "0.50" {
		t.Errorf("share %v", share) // two of four: request 9 was never sent
	}
	if _, ok := o.share("c", span{1, 2}); ok {
		t.Error("a share of nothing")
	}
	if o.repeated() != 1 || o.wrongs() != 1 || !o.ledger.cut[1] {
		t.Errorf("repeated %d, wrong %d, cut %v", o.repeated(), o.wrongs(), o.ledger.cut)
	}
	if o.disturbance() != 70*time.Millisecond {
		t.Errorf("disturbance %v", o.disturbance())
	}
	o.results[3].late = 80 * time.Millisecond
	if o.disturbance() != 80*time.Millisecond {
		t.Errorf("disturbance %v", o.disturbance())
	}
	o.results[0] = result{verdict: failed, detail: "x"}
	o.results[1] = result{verdict: failed, detail: "x"}
	o.results[2] = result{verdict: wrong, detail: "y", post: true}
	if got, want := strings.Join(o.details(), "; "), "2 × GET: x; 1 × POST: y; 1 × endpoint c received day"; got != want {
		t.Errorf("details %q, want %q", got, want)
	}
}
