package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"
)

// outcome is one proxy in one scenario.
type outcome struct {
	scenario *scenario
	timing   timing
	proxy    string
	missing  string // why there is nothing else, as "not installed"

	results  []result
	ledger   *ledger
	problems []string // assertions that do not hold
	notes    []string // what may explain them
	again    int      // how often the run was repeated because the machine was busy with other things
}

// span is a stretch of the run: from inclusive, to exclusive.
type span struct{ from, to time.Duration }

func (s span) holds(at time.Duration) bool { return at >= s.from && at < s.to }

// count is how many results are as wanted.
func (o *outcome) count(is func(*result) bool) int {
	n := 0
	for i := range o.results {
		if is(&o.results[i]) {
			n++
		}
	}
	return n
}

// failures is how many requests of a method failed that were due within s.
func (o *outcome) failures(post bool, s span) int {
	return o.count(func(r *result) bool { return r.verdict == failed && r.post == post && s.holds(r.due) })
}

// wrongs is how many answers a client would have taken for good that were not, and requests that endpoints got damaged.
func (o *outcome) wrongs() int {
	return o.count(func(r *result) bool { return r.verdict == wrong }) + len(o.ledger.bad)
}

// repeated is how many POSTs came to an endpoint more than once, or to more than one.
func (o *outcome) repeated() int {
	n := 0
	for _, receipts := range o.ledger.got {
		if len(receipts) > 1 && receipts[0].post {
			n++
		}
	}
	return n
}

// disturbed is by how much client or endpoints may be held up in a run that is to be judged: about what the shortest timeouts of the configurations can bear.
const disturbed = 50 * time.Millisecond

// disturbance is the most that the machine has held up clients or endpoints, neither of which has much to do: what holds them up holds up the proxy, too.
func (o *outcome) disturbance() time.Duration {
	most := o.ledger.late
	for i := range o.results {
		most = max(most, o.results[i].late)
	}
	return most
}

// quantile is the latency that the share q of the requests due within s did not exceed (nearest rank), whatever became of them; false if there were none.
func (o *outcome) quantile(q float64, s span) (time.Duration, bool) {
	var all []time.Duration
	for i := range o.results {
		if s.holds(o.results[i].due) {
			all = append(all, o.results[i].latency)
		}
	}
	if len(all) == 0 {
		return 0, false
	}
	slices.Sort(all)
	rank := int(q * float64(len(all)))
	if float64(rank) < q*float64(len(all)) {
		rank++
	}
	return all[max(rank, 1)-1], true
}

// share is the part of an endpoint in all arrivals, retries included, of requests due within s; false if there were none.
func (o *outcome) share(endpoint string, s span) (float64, bool) {
	mine, all := 0, 0
	for id, receipts := range o.ledger.got {
		if id >= len(o.results) || !s.holds(o.results[id].due) {
			continue
		}
		for _, r := range receipts {
			all++
			if r.endpoint == endpoint {
				mine++
			}
		}
	}
	if all == 0 {
		return 0, false
	}
	return float64(mine) / float64(all), true
}

// seconds is the p99 of each second of the run.
func (o *outcome) seconds() []time.Duration {
	var all []time.Duration
	for at := time.Duration(0); at < o.timing.length; at += time.Second {
		p99, _ := o.quantile(0.99, span{at, at + time.Second})
		all = append(all, p99)
	}
	return all
}

// details counts why requests were not answered rightly, the most frequent first.
func (o *outcome) details() []string {
	counts := map[string]int{}
	for i := range o.results {
		if r := &o.results[i]; r.verdict != right {
			method := "GET"
			if r.post {
				method = "POST"
			}
			counts[method+": "+r.detail]++
		}
	}
	for _, text := range o.ledger.bad {
		counts[text]++
	}
	words := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	for i, word := range words {
		words[i] = fmt.Sprintf("%d × %s", counts[word], word)
	}
	return words
}
