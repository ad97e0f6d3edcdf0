package load

import (
	"fmt"
	"strings"
	"time"
)

// Result is what a client saw in its measured window, the warm-up left out.
type Result struct {
	Requests   uint64 // right answers that arrived inside the window
	Failures   [failureKinds]uint64
	Lost       uint64 // datagrams without an answer in time; they are no failures, because UDP promises nothing
	Bytes      uint64 // of large transfers, also of those that were not over at the end of the window
	Reconnects uint64 // connections opened anew after the proxy had closed them while they were idle or after an answer
	Elapsed    time.Duration
	Latency    Histogram
}

// Failed is the number of requests that did not get the right answer.
func (r *Result) Failed() uint64 {
	var n uint64
	for _, c := range r.Failures {
		n += c
	}
	return n
}

// Rate is right answers per second.
func (r *Result) Rate() float64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return float64(r.Requests) / r.Elapsed.Seconds()
}

// Throughput is bytes of large transfers per second.
func (r *Result) Throughput() float64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return float64(r.Bytes) / r.Elapsed.Seconds()
}

// LostShare is the share of datagrams that had no answer in time, 0…1.
func (r *Result) LostShare() float64 {
	if r.Lost == 0 {
		return 0
	}
	return float64(r.Lost) / float64(r.Lost+r.Requests)
}

// Err is nil when every request got the right answer and at least one was made; otherwise it names the failures.
func (r *Result) Err() error {
	if r.Failed() == 0 {
		if r.Requests == 0 && r.Bytes == 0 {
			return fmt.Errorf("load: no request was answered within %v", r.Elapsed.Round(time.Millisecond))
		}
		return nil
	}
	return fmt.Errorf("load: %d of %d requests failed: %s", r.Failed(), r.Failed()+r.Requests, r.FailureText())
}

// FailureText lists the failures with their counts, or is empty.
func (r *Result) FailureText() string {
	var parts []string
	for kind, n := range r.Failures {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, Failure(kind)))
		}
	}
	return strings.Join(parts, ", ")
}

// Window is what every client takes: how long to warm up and to measure, and whom to tell.
type Window struct {
	Warmup, Measure time.Duration
	// Begin and End, when set, are called at the borders of the measured window on the client's own thread, so that
	// the processor time of the proxy is read at the moment at which the requests are counted.
	Begin, End func()
}

func (w Window) begin() {
	if w.Begin != nil {
		w.Begin()
	}
}

func (w Window) end() {
	if w.End != nil {
		w.End()
	}
}

// answerTimeout is how long a client waits for one answer before it counts the request as failed.
const answerTimeout = 5 * time.Second

// maxFailures ends a run early: a proxy that fails this often has no figure worth waiting for.
const maxFailures = 2000
