package main

import (
	"maps"
	"strings"
	"testing"
)

const metricsText = `# HELP a_total Help.
a_total{policy="p",result="passed"} 12
a_total{policy="p",result="refused"} 0
b_total{backend="app",endpoint="127.0.0.1:1"} 3
b_total{backend="app",endpoint="127.0.0.1:2"} 4.5
`

func TestSumCounters(t *testing.T) {
	got, err := sumCounters([]byte(metricsText), map[string]float64{`a_total{policy="p",result="passed"}`: 1, `b_total{`: 0})
	if want := map[string]float64{`a_total{policy="p",result="passed"}`: 12, `b_total{`: 7.5}; err != nil || !maps.Equal(got, want) {
		t.Errorf("read %v, %v; want %v", got, err, want)
	}
	if _, err := sumCounters([]byte(metricsText), map[string]float64{`c_total`: 0}); err == nil {
		t.Error("a counter that is not there was read")
	}
	if _, err := sumCounters([]byte("a_total x\n"), map[string]float64{`a_total`: 0}); err == nil || !strings.Contains(err.Error(), "a_total x") {
		t.Errorf("a line without a number: %v", err)
	}
}

func TestExpect(t *testing.T) {
	r := reply{status: 200, body: []byte("a")}
	if err := r.expect(200, []byte("a")); err != nil {
		t.Error(err)
	}
	if err := r.expect(200, nil); err != nil {
		t.Error(err)
	}
	for _, bad := range []error{r.expect(404, nil), r.expect(200, []byte("b")), r.expect(200, []byte{})} {
		if bad == nil {
			t.Error("a wrong answer was accepted")
		}
	}
}
