// Package report holds what the benchmark has measured and turns it into tables: medians with their spread, ratios pair by
// pair, and the verdict over each target. It knows nothing of proxies and sockets.
package report

import (
	"math"
	"slices"
)

// Summary describes the values of one metric of one peer over the rounds.
type Summary struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	N      int     `json:"n"`
}

// Summarize returns the median and the spread. With an even number of values the median is the mean of the middle two.
// Without values all fields are zero.
func Summarize(values []float64) Summary {
	if len(values) == 0 {
		return Summary{}
	}
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	middle := v[n/2]
	if n%2 == 0 {
		middle = (v[n/2-1] + v[n/2]) / 2
	}
	return Summary{Median: middle, Min: v[0], Max: v[n-1], N: n}
}

// PairRatios divides, round by round, the value of one peer by that of another. Neighbours in time share the machine's
// mood (its clock rate, its other tenants), so the ratio of a pair is steadier than the ratio of two medians. Rounds in which one of
// the two is missing, or the divisor is zero, are left out.
func PairRatios(subject, reference map[int]float64) []float64 {
	rounds := make([]int, 0, len(subject))
	for round := range subject {
		if b, ok := reference[round]; ok && b != 0 {
			rounds = append(rounds, round)
		}
	}
	slices.Sort(rounds)
	ratios := make([]float64, 0, len(rounds))
	for _, round := range rounds {
		if r := subject[round] / reference[round]; !math.IsNaN(r) && !math.IsInf(r, 0) {
			ratios = append(ratios, r)
		}
	}
	return ratios
}
