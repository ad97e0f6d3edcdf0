package report

import (
	"fmt"
	"time"
)

// Line is one line of the table: a metric of a row of measurements.
type Line struct {
	Row      string   // the row's name, as the flag -only spells it
	Metric   string   // key of Sample.Values
	Title    string   // what a reader sees
	Unit     string   // "µs", "1/s", "KiB" …
	Decimals int      // digits behind the point
	Targets  []Target // what the subject has to reach; none: for information
}

// Target is one demand on the subject's figure.
type Target struct {
	Against string  // peer whose figure it is compared with, round by round; empty: the figure itself
	Max     float64 // largest ratio, or largest figure, that meets the target; not used when Min is set
	Min     float64 // when set: smallest ratio, or smallest figure, that meets the target, for figures of which more is better
	Worst   bool    // the worst round counts and not the median
}

// text is the target as the table shows it.
func (t Target) text(unit string) string {
	bound := fmt.Sprintf("≤ %.4g", t.Max)
	if t.Min > 0 {
		bound = fmt.Sprintf("≥ %.4g", t.Min)
	}
	switch {
	case t.Against != "":
		return bound + " × " + t.Against
	case unit != "":
		return bound + " " + unit
	}
	return bound
}

// met tells whether the figure over the rounds reaches the target.
func (t Target) met(figure Summary) bool {
	switch {
	case t.Min > 0 && t.Worst:
		return figure.Min >= t.Min
	case t.Min > 0:
		return figure.Median >= t.Min
	case t.Worst:
		return figure.Max <= t.Max
	}
	return figure.Median <= t.Max
}

// Sample is what one peer did in one round of one row.
type Sample struct {
	Row    string             `json:"row"`
	Round  int                `json:"round"`
	Peer   string             `json:"peer"`
	Values map[string]float64 `json:"values,omitempty"`
	Error  string             `json:"error,omitempty"` // a failed measurement has no values
}

// Report is everything a run has measured. It is not safe for concurrent use.
type Report struct {
	Subject     string            `json:"subject"`   // the peer that the targets are for
	Reference   string            `json:"reference"` // the peer of the ratio column
	Peers       []string          `json:"peers"`     // columns, in order
	Environment map[string]string `json:"environment"`
	Options     map[string]string `json:"options"`
	Started     time.Time         `json:"started"`
	Took        float64           `json:"took_seconds"`
	Lines       []Line            `json:"-"`
	Samples     []Sample          `json:"samples"`
	Notes       []string          `json:"notes,omitempty"` // peers left out, an interrupted run
}

// Add keeps a sample.
func (r *Report) Add(s Sample) { r.Samples = append(r.Samples, s) }

// ByRound is a metric of a peer, round by round.
func (r *Report) ByRound(row, peer, metric string) map[int]float64 {
	values := map[int]float64{}
	for _, s := range r.Samples {
		if v, ok := s.Values[metric]; ok && s.Row == row && s.Peer == peer && s.Error == "" {
			values[s.Round] = v
		}
	}
	return values
}

// Summary is the median and spread of a metric of a peer.
func (r *Report) Summary(row, peer, metric string) Summary {
	var values []float64
	for _, v := range r.ByRound(row, peer, metric) {
		values = append(values, v)
	}
	return Summarize(values)
}

// Ratio is the median and spread of the ratio of a metric between two peers, pair by pair.
func (r *Report) Ratio(row, metric, subject, reference string) Summary {
	return Summarize(PairRatios(r.ByRound(row, subject, metric), r.ByRound(row, reference, metric)))
}

// failures counts the failed and all measurements of a peer in a row.
func (r *Report) failures(row, peer string) (failed, all int) {
	for _, s := range r.Samples {
		if s.Row == row && s.Peer == peer {
			all++
			if s.Error != "" {
				failed++
			}
		}
	}
	return failed, all
}

// Failed tells whether any measurement failed.
func (r *Report) Failed() bool {
	for _, s := range r.Samples {
		if s.Error != "" {
			return true
		}
	}
	return false
}

// Verdict is the outcome of one target.
type Verdict string

// The verdicts. A target cannot be judged when the subject or the peer it is compared with has no figure.
const (
	Met     Verdict = "met"
	Missed  Verdict = "missed"
	Unknown Verdict = "not measured"
)

// Judge compares the subject's figure with a target. A failed measurement of the subject is a miss, whatever
// its other rounds were.
func (r *Report) Judge(line Line, target Target) (Verdict, Summary) {
	figure := r.Summary(line.Row, r.Subject, line.Metric)
	if target.Against != "" {
		figure = r.Ratio(line.Row, line.Metric, r.Subject, target.Against)
	}
	if failed, _ := r.failures(line.Row, r.Subject); failed > 0 {
		return Missed, figure
	}
	if figure.N == 0 {
		return Unknown, figure
	}
	if !target.met(figure) {
		return Missed, figure
	}
	return Met, figure
}
