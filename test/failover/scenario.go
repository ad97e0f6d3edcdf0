package main

import (
	"fmt"
	"slices"
	"time"
)

// endpointNames are the endpoints of every scenario. Read-only.
var endpointNames = []string{"a", "b", "c"}

// badEndpoint is the one that fails where only one does.
const badEndpoint = "c"

// scenario is one way in which endpoints fail, and what it may cost.
type scenario struct {
	name     string
	title    string // what happens, as a sentence's beginning
	note     string // what to know when reading the figures
	mode     mode   // of the bad endpoint during the fault
	always   bool   // the fault is there from the beginning to the end
	inTurn   bool   // no fault of one: each endpoint's process is ended and started again
	posts    bool   // half of the requests are POSTs
	twice    bool   // it takes twice as long as others
	byTime   bool   // proxies are told to look at latencies, where they can
	table    func(length time.Duration) (timetable, error)
	asserted []assertion
}

// assertion is what must hold for Sluice. It returns what does not, or "".
type assertion func(o *outcome) string

// timing is when things happen in a run, counted from its start.
type timing struct {
	length time.Duration
	fault  span
	before span // while all is well; empty when nothing ever is
	late   span // of the fault, when a proxy has had the time to find out
	last   span // the last second
}

// settled is the time that a proxy has to find out.
const settled = 2 * time.Second

// timingOf makes the times of a run, which takes length unless the scenario needs more.
func timingOf(s *scenario, length time.Duration) timing {
	if s.twice {
		length *= 2
	}
	t := timing{length: length, fault: span{length / 4, length * 3 / 4}, last: span{length - time.Second, length}}
	if s.always {
		t.fault = span{0, length}
	} else {
		t.before = span{length / 16, t.fault.from}
	}
	t.late = span{t.fault.from + settled, t.fault.to}
	return t
}

// turn is one restart of an endpoint: its process is told to end at from, and another one started at to.
func (t timing) turn(i int) span {
	const down = 700 * time.Millisecond
	from := t.length/6 + time.Duration(i)*(t.length/5)
	return span{from, from + down}
}

// Rates of the loads.
const (
	steadyRate = 400 // requests per second
	burstSize  = 60  // requests at once
)

// firstPauses are long enough for idle connections to be closed meanwhile, so that a proxy which learns has seen it happen. Read-only.
var firstPauses = []time.Duration{2 * time.Second, 2 * time.Second}

func steadyTable(length time.Duration) (timetable, error) { return steady(steadyRate, length) }

func closeTable(length time.Duration) (timetable, error) {
	return bursts(burstSize, closeAfter, firstPauses, length), nil
}

func announceTable(length time.Duration) (timetable, error) {
	return bursts(burstSize, announceAfter, nil, length), nil
}

// scenarios returns all scenarios, in the order in which they are run.
func scenarios() []*scenario {
	return []*scenario{
		{name: "refuse", title: "one endpoint refuses connections", mode: modeRefuse, posts: true, table: steadyTable,
			note:     "It stops listening, answers what it has, and closes its idle connections.",
			asserted: []assertion{noFailed(false), noFailed(true), p99Back, comesBack}},
		{name: "hang", title: "one endpoint accepts and reads, and never answers", mode: modeHang, posts: true, table: steadyTable,
			note: "A POST that an endpoint has received cannot be sent once more by anybody who is honest, so those that were with the endpoint before it was found out are lost; " +
				"they are counted, and not asserted.",
			asserted: []assertion{noFailed(false), p99Back, comesBack}},
		{name: "slow", title: fmt.Sprintf("one endpoint takes %d times as long", slowFactor), mode: modeSlow, posts: true, byTime: true, table: steadyTable,
			note: "Sluice has `balance: least_latency`; the others have what comes nearest to it, the fewest connections. An average over 10 s forgets that an endpoint was 20 times slower " +
				"in about 30 s; so long it is spared afterwards, too.",
			asserted: []assertion{noFailed(false), noFailed(true), shareAtMost(0.03)}},
		{name: "error", title: "one endpoint answers 500 at once", mode: modeError, posts: true, table: steadyTable,
			note: "Its health check still passes, so only its answers give it away. GETs are sent again; the 500 of a POST is an answer, and the client gets it: " +
				"those until the endpoint is left out, and those that find out whether it is well again.",
			asserted: []assertion{noFailed(false), shareBelow(1.0 / 3), ejected}},
		{name: "close", title: "one endpoint closes connections that were idle for 1.2 s", mode: modeClose, always: true, posts: true, twice: true, table: closeTable,
			note: fmt.Sprintf("It says nothing about it. Bursts of %d requests come with pauses of 2 s, in which the connections are closed; and after two of those, of 1.200 to 1.218 s, "+
				"so that its connections are asked again just before, at, and after that time.", burstSize),
			asserted: []assertion{noFailed(false), noFailed(true)}},
		{name: "announce", title: "one endpoint closes connections that were idle for 1 s, and says so", mode: modeAnnounce, always: true, posts: true, table: announceTable,
			note:     fmt.Sprintf("Its answers have `Keep-Alive: timeout=1`. Bursts of %d requests come with pauses of 1.000 to 1.018 s.", burstSize),
			asserted: []assertion{noFailed(false), noFailed(true)}},
		{name: "cut", title: "one endpoint ends the connection in the middle of its answers", mode: modeCut, posts: true, table: steadyTable,
			note: "By turns with a reset and in order, and by turns in an answer with a Content-Length and a chunked one. What has begun cannot be taken back: these requests fail, " +
				"and what matters is that no client takes half an answer for a whole one.",
			asserted: []assertion{cutsAreSeen}},
		{name: "restart", title: "the endpoints are restarted in turn", inTurn: true, posts: true, table: steadyTable,
			note: "Each process gets SIGTERM, stops listening, answers what it has with `Connection: close`, closes its idle connections and ends; 0.7 s later another one listens " +
				"at the same address.",
			asserted: []assertion{noFailed(false), noFailed(true), comesBack}},
	}
}

// scenarioNames lists the names of all scenarios.
func scenarioNames() []string {
	var names []string
	for _, s := range scenarios() {
		names = append(names, s.name)
	}
	return names
}

// judge returns what does not hold of what is asserted: what every scenario wants, and then its own.
func (s *scenario) judge(o *outcome) []string {
	var problems []string
	all := append([]assertion{nothingWrong, nothingRepeated, wellBefore, hadItsPart}, s.asserted...)
	for _, holds := range all {
		if problem := holds(o); problem != "" {
			problems = append(problems, problem)
		}
	}
	return problems
}

func nothingWrong(o *outcome) string {
	if n := o.wrongs(); n > 0 {
		return fmt.Sprintf("%d answers or requests are wrong and look right", n)
	}
	return ""
}

func nothingRepeated(o *outcome) string {
	if n := o.repeated(); n > 0 {
		return fmt.Sprintf("%d POSTs were received twice", n)
	}
	return ""
}

// wellBefore holds that the fault is what fails.
func wellBefore(o *outcome) string {
	if n := o.failures(false, o.timing.before) + o.failures(true, o.timing.before); n > 0 {
		return fmt.Sprintf("%d requests failed before anything was amiss", n)
	}
	return ""
}

// leastPart is what the endpoint that is going to fail must have had of the requests before.
const leastPart = 0.1

// hadItsPart holds that the endpoint which fails was used: else a run shows nothing. Balancing by latency may well prefer others after a hiccup of the machine.
func hadItsPart(o *outcome) string {
	if o.scenario.always || o.scenario.inTurn {
		return ""
	}
	if share, _ := o.share(badEndpoint, o.timing.before); share < leastPart {
		return fmt.Sprintf("endpoint %s had %s of the requests before anything was amiss, so that its failure shows nothing", badEndpoint, percent(share))
	}
	return ""
}

func noFailed(post bool) assertion {
	return func(o *outcome) string {
		if n := o.failures(post, span{0, o.timing.length}); n > 0 {
			return fmt.Sprintf("%d %ss failed", n, map[bool]string{false: "GET", true: "POST"}[post])
		}
		return ""
	}
}

// slack is how much above its value before the fault a p99 may lie to be called normal, on a machine that does other things as well. What a single hanging or
// slow try costs is more.
const slack = 50 * time.Millisecond

// p99Back wants the p99 to be normal from settled after the beginning of the fault on, while it lasts.
func p99Back(o *outcome) string {
	before, _ := o.quantile(0.99, o.timing.before)
	late, ok := o.quantile(0.99, o.timing.late)
	if !ok {
		return "no request was due in the time in which the p99 has to be normal"
	}
	if late > before+slack {
		return fmt.Sprintf("p99 is %v from %v after the beginning of the failure on; it was %v before", round(late), settled, round(before))
	}
	return ""
}

func shareAtMost(most float64) assertion {
	return func(o *outcome) string {
		if share, ok := o.share(badEndpoint, o.timing.fault); !ok || share > most {
			return fmt.Sprintf("%s of the requests went to the bad endpoint, more than %s", percent(share), percent(most))
		}
		return ""
	}
}

func shareBelow(even float64) assertion {
	return func(o *outcome) string {
		if share, ok := o.share(badEndpoint, o.timing.fault); !ok || share >= even {
			return fmt.Sprintf("%s of the requests went to the bad endpoint, which is no less than an even share", percent(share))
		}
		return ""
	}
}

// ejected wants the bad endpoint to be left out: an endpoint without ejection would be asked in every second.
func ejected(o *outcome) string {
	for at := o.timing.fault.from; at < o.timing.fault.to; at += time.Second / 4 {
		if share, ok := o.share(badEndpoint, span{at, at + time.Second/4}); ok && share == 0 {
			return ""
		}
	}
	return "the bad endpoint was never left out"
}

// comesBack wants every endpoint to be used in the last second, when all are well again.
func comesBack(o *outcome) string {
	for _, name := range endpointNames {
		if share, _ := o.share(name, o.timing.last); share == 0 {
			return fmt.Sprintf("endpoint %s is not used in the last second, although it is well", name)
		}
	}
	return ""
}

// cutsAreSeen holds that each kind of cut has happened, and that nobody took a cut answer for a whole one. (An answer of half the bytes would be wrong, too;
// this one also holds that the scenario has done what it says.)
func cutsAreSeen(o *outcome) string {
	kinds := map[[2]bool]bool{}
	for id := range o.ledger.cut {
		if id >= len(o.results) {
			continue
		}
		r := &o.results[id]
		kinds[[2]bool{isChunked(id), isReset(id)}] = true
		if r.verdict == right && (r.from == badEndpoint || r.post) {
			return fmt.Sprintf("request %d has the whole answer of an endpoint that has only sent half of it", id)
		}
	}
	if len(kinds) < 4 {
		return fmt.Sprintf("only %d of the 4 kinds of cut answers came about", len(kinds))
	}
	return ""
}

func percent(share float64) string { return fmt.Sprintf("%.1f %%", 100*share) }

// round shortens a duration to what is worth reading.
func round(d time.Duration) time.Duration {
	if d < 10*time.Millisecond {
		return d.Round(100 * time.Microsecond)
	}
	return d.Round(time.Millisecond)
}

// pick returns the scenarios of the given names, in the order of all; without names, all.
func pick(names []string) []*scenario {
	all := scenarios()
	if len(names) == 0 {
		return all
	}
	return slices.DeleteFunc(all, func(s *scenario) bool { return !slices.Contains(names, s.name) })
}
