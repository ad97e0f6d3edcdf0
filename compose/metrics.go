package compose

import (
	"github.com/sluice-gateway/sluice/metric"
)

// stepMetrics are the handles of a step.
type stepMetrics struct {
	outcomes [outcomeCount]*metric.Counter
}

func newStepMetrics(scope *metric.Scope, route, step string) stepMetrics {
	var m stepMetrics
	for o := outcomeOK; o < outcomeCount; o++ {
		m.outcomes[o] = scope.Counter(metric.Steps, route, step, o.String())
	}
	return m
}

// count counts how the step has ended.
func (m *stepMetrics) count(shard metric.Shard, o outcome) { m.outcomes[o].Inc(shard) }

// planMetrics are the handles of a composition.
type planMetrics struct {
	crowded *metric.Counter // answers that were not kept
}

// held tells the bytes of answers in memory.
func newPlanMetrics(scope *metric.Scope, route string, held func() int64) planMetrics {
	scope.GaugeFunc(metric.StepBytes, held, route)
	return planMetrics{crowded: scope.Counter(metric.StepsCrowded, route)}
}
