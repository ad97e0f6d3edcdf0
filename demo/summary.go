package demo

import (
	"fmt"
	"strings"
)

// greeting is what a reader of plain lines sees first.
func greeting(f *frame) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Sluice demo: a mobile bank, %s requests/s\n", count(uint64(f.rate)))
	fmt.Fprintf(&b, "file %s\n", f.source)
	for i, t := range f.tries {
		label := "     "
		if i == 0 {
			label = "try  "
		}
		fmt.Fprintf(&b, "%s%s\n", label, t)
	}
	b.WriteByte('\n')
	return b.String()
}

// plainLine is a frame in one line, for pipes and logs.
func plainLine(f *frame) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s/s  p50 %s  p99 %s  failed %s  retries saved %s  cached %s  partial %s",
		clock(f.elapsed), count(uint64(f.last.perSecond()+0.5)), duration(f.last.p50), duration(f.last.p99), count(f.total.failed), count(f.total.saved),
		count(f.total.cached), count(f.total.partial))
	for _, w := range f.backends {
		fmt.Fprintf(&b, "  %s %d/%d", w.name, w.usable, len(w.endpoints))
		for _, e := range w.endpoints {
			if e.state != healthy {
				state, _ := e.status()
				fmt.Fprintf(&b, " (%s %s)", port(e.address), state)
			}
		}
	}
	b.WriteByte('\n')
	return b.String()
}

// summary is what remains of a run.
func summary(f *frame) string {
	var b strings.Builder
	t := &f.total
	fmt.Fprintf(&b, "requests       %s in %.1f s (%s/s)\n", count(t.answered+t.failed), t.over.Seconds(), count(uint64(t.perSecond()+0.5)))
	fmt.Fprintf(&b, "failed         %s%s\n", count(t.failed), when(f.failure != "", ", the last: "+f.failure))
	if t.skipped > 0 {
		fmt.Fprintf(&b, "not sent       %s, because %d others waited for their answers\n", count(t.skipped), maxInFlight)
	}
	fmt.Fprintf(&b, "p50, p99       %s, %s\n", duration(t.p50), duration(t.p99))
	fmt.Fprintf(&b, "retries saved  %s of %s%s\n", count(t.saved), count(t.retries), when(t.denied > 0, ", and "+count(t.denied)+" not made, over the budget"))
	fmt.Fprintf(&b, "from cache     %s%s\n", count(t.cached), when(t.answered > 0, " ("+percent(t.cachedShare())+")"))
	fmt.Fprintf(&b, "partial        %s, without an optional part that failed or was too slow\n", count(t.partial))
	fmt.Fprintf(&b, "ejections      %s\n", count(t.ejections))
	fmt.Fprintf(&b, "went down      %s\n\n", count(t.downs))
	fmt.Fprintf(&b, "%-12s  %-15s  %8s  %5s  %8s  %7s  %4s\n", "backend", "endpoint", "requests", "share", "failures", "ejected", "down")
	for _, w := range f.backends {
		for i, e := range w.endpoints {
			name := w.name
			if i > 0 {
				name = ""
			}
			fmt.Fprintf(&b, "%-12s  %-15s  %8s  %5s  %8s  %7s  %4s\n", name, e.address,
				count(e.requests), percent(e.totalShare), count(e.failures), times(e.ejections), times(e.downs))
		}
	}
	return b.String()
}

// when returns text if there is a reason for it.
func when(reason bool, text string) string {
	if reason {
		return text
	}
	return ""
}

// times writes how often something happened.
func times(n uint64) string {
	if n == 0 {
		return "-"
	}
	return count(n) + "x"
}
