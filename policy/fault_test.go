package policy

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-gateway/sluice/message"
)

func TestFault(t *testing.T) {
	for _, c := range []struct {
		options string
		wait    time.Duration
		want    string
	}{
		{`{abort: 503}`, 0, "503 fault_injected"},
		{`{abort: 418}`, 0, "418 fault_injected"},
		{`{delay: 100ms}`, 100 * time.Millisecond, ""},
		{`{delay: 2s, abort: 500}`, 2 * time.Second, "500 fault_injected"},
		{`{delay: 2s, abort: 500, share: 0%}`, 0, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := chain(t, "[{fault: "+c.options+"}]")
			x := exchange("-")
			begin := time.Now()
			_, done, f := p.Request(x, 0, nil)
			got := ""
			if f != nil {
				got = told(f)
			}
			if took := time.Since(begin); took != c.wait || got != c.want || done {
				t.Errorf("%s: %s after %v, want %s after %v", c.options, got, took, c.want, c.wait)
			}
		})
	}
}

// A delay does not hold a request longer than its route allows.
func TestFaultDeadline(t *testing.T) {
	p := chain(t, `[{fault: {delay: 1m}}]`)
	x := exchange("-")
	x.Deadline = message.Now() + int64(time.Millisecond)
	if _, _, f := p.Request(x, 0, nil); f == nil || told(f) != "504 route_timeout" {
		t.Errorf("%v", f)
	}
}

func TestFaultShare(t *testing.T) {
	p := chain(t, `[{fault: {abort: 503, share: 30%}}]`)
	hit := 0
	for range 10_000 {
		if _, _, f := p.Request(exchange("-"), 0, nil); f != nil {
			hit++
		}
	}
	if hit < 2700 || hit > 3300 {
		t.Errorf("%d of 10000, want about 3000", hit)
	}
}

func TestFaultOptions(t *testing.T) {
	for _, c := range []struct{ policies, want string }{
		{`[{fault: {abort: 200}}]`, "abort: 200 is no status of a failure"},
		{`[{fault: {delay: 2h}}]`, "delay"},
	} {
		_, _, err := load(c.policies)
		if got := strings.Join(at(err), "\n"); err == nil || !strings.Contains(got, c.want) {
			t.Errorf("%s\ngot  %s\nwant %s", c.policies, got, c.want)
		}
	}
	cfg, _, err := load(`[{fault: {}}]`)
	if err != nil || !strings.Contains(cfg.Warnings.Error(), "fault: the policy does nothing") {
		t.Errorf("%v, %v", err, cfg.Warnings)
	}
}
