package upstream

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
)

// BenchmarkDo is what a backend adds to an exchange: pick, count, judge; the transport does nothing.
func BenchmarkDo(b *testing.B) {
	for _, n := range []int{2, 8, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			g := benchGroup(b, n, answers(200))
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				f, x := &Flight{}, newExchange("GET")
				for pb.Next() {
					x.Outcome = message.Outcome{}
					x.Times.Routed = 1
					if failure := g.Do(x, f); failure != nil {
						b.Fatal(failure)
					}
					f.Finish(x)
				}
			})
		})
	}
}

// BenchmarkRetry is an exchange whose first endpoint refuses the connection.
func BenchmarkRetry(b *testing.B) {
	g := benchGroup(b, 2, answers(200))
	g.options.Outlier.Consecutive = 0
	first := true
	for _, tr := range g.transports {
		tr.answer = func(x *message.Exchange, c *Call) *message.Failure {
			if first = !first; !first {
				return &refusedFailure
			}
			return answers(200)(x, c)
		}
	}
	f, x := &Flight{}, newExchange("GET")
	b.ReportAllocs()
	for b.Loop() {
		x.Outcome = message.Outcome{}
		if failure := g.Do(x, f); failure != nil {
			b.Fatal(failure)
		}
		f.Finish(x)
	}
}

// BenchmarkRefresh is what a change of health costs.
func BenchmarkRefresh(b *testing.B) {
	for _, n := range []int{3, 1000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			g := benchGroup(b, n, answers(200))
			for b.Loop() {
				g.refresh(1)
			}
		})
	}
}

func benchGroup(b *testing.B, n int, answer func(*message.Exchange, *Call) *message.Failure) *group {
	var all []func(*message.Exchange, *Call) *message.Failure
	for range n {
		all = append(all, answer)
	}
	g := newGroup(b, func(o *Options) { o.Algorithm = "least_request" }, all...)
	reg := metric.NewRegistry(metric.Options{})
	for _, ep := range g.endpoints {
		ep.metrics.open(reg, ep)
	}
	g.metrics.open(reg, "shop")
	b.ResetTimer()
	return g
}

// BenchmarkFeatures is BenchmarkDo with what else a backend may do for each request.
func BenchmarkFeatures(b *testing.B) {
	for _, test := range []struct {
		name   string
		change func(*Options)
	}{
		{"plain", func(*Options) {}},
		{"bound", func(o *Options) { o.MaxInFlight = 1000 }},
		{"hedge", func(o *Options) { o.Hedge = &HedgeOptions{After: time.Hour, Budget: 0.05} }},
		{"hedge percentile", func(o *Options) { o.Hedge = &HedgeOptions{Percentile: 95, Budget: 0.05} }},
	} {
		b.Run(test.name, func(b *testing.B) {
			g := newGroup(b, test.change, pullNothing, pullNothing, pullNothing)
			b.ReportAllocs()
			f, x := &Flight{}, newExchange("GET")
			for b.Loop() {
				x.Outcome = message.Outcome{}
				x.Times.Routed = 1
				if failure := g.Do(x, f); failure != nil {
					b.Fatal(failure)
				}
				f.Finish(x)
			}
		})
	}
}

// pullNothing is a transport that answers at once.
func pullNothing(x *message.Exchange, _ *Call) *message.Failure {
	x.Response.Status, x.Times.FirstByte = 200, message.Now()
	return nil
}

// BenchmarkQueue is a request that waits for its place, with another that leaves it.
func BenchmarkQueue(b *testing.B) {
	g := newGroup(b, bounded(1, 100, time.Minute), pullNothing)
	b.ReportAllocs()
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		f, x := &Flight{}, newExchange("GET")
		for pb.Next() {
			x.Outcome = message.Outcome{}
			x.Times.Routed = message.Now()
			if failure := g.Do(x, f); failure != nil {
				b.Fatal(failure)
			}
			runtime.Gosched() // others come, and wait
			f.Finish(x)
		}
	})
}
