package metric

import (
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

const golden = `# HELP sluice_build_info Always 1; the labels say what is running.
# TYPE sluice_build_info gauge
sluice_build_info{version="1.0 \"beta\"\\",go="go1.26\nx"} 1
# HELP sluice_config_generation Number of the configuration that is being served, 1 for the first.
# TYPE sluice_config_generation gauge
sluice_config_generation 2
# HELP sluice_failures_total Requests that the gateway itself failed, by reason code.
# TYPE sluice_failures_total counter
sluice_failures_total{route="home",reason="no_healthy_endpoint"} 0
sluice_failures_total{route="hôme",reason="queue_full"} 1
# HELP sluice_request_duration_seconds Time from the first byte of a request to the last byte of its answer.
# TYPE sluice_request_duration_seconds histogram
sluice_request_duration_seconds_bucket{route="home",le="0.0001"} 2
sluice_request_duration_seconds_bucket{route="home",le="0.00025"} 2
sluice_request_duration_seconds_bucket{route="home",le="0.0005"} 2
sluice_request_duration_seconds_bucket{route="home",le="0.001"} 3
sluice_request_duration_seconds_bucket{route="home",le="0.0025"} 4
sluice_request_duration_seconds_bucket{route="home",le="0.005"} 4
sluice_request_duration_seconds_bucket{route="home",le="0.01"} 4
sluice_request_duration_seconds_bucket{route="home",le="0.025"} 4
sluice_request_duration_seconds_bucket{route="home",le="0.05"} 4
sluice_request_duration_seconds_bucket{route="home",le="0.1"} 4
sluice_request_duration_seconds_bucket{route="home",le="0.25"} 4
sluice_request_duration_seconds_bucket{route="home",le="0.5"} 5
sluice_request_duration_seconds_bucket{route="home",le="1"} 5
sluice_request_duration_seconds_bucket{route="home",le="2.5"} 5
sluice_request_duration_seconds_bucket{route="home",le="5"} 5
sluice_request_duration_seconds_bucket{route="home",le="10"} 5
sluice_request_duration_seconds_bucket{route="home",le="30"} 5
sluice_request_duration_seconds_bucket{route="home",le="60"} 6
sluice_request_duration_seconds_bucket{route="home",le="+Inf"} 7
sluice_request_duration_seconds_sum{route="home"} 128.502100001
sluice_request_duration_seconds_count{route="home"} 7
`

func TestExpositionGolden(t *testing.T) {
	r := NewRegistry(Options{Shards: 4})
	r.Gauge(ConfigGeneration).Set(2)
	r.Gauge(BuildInfo, `1.0 "beta"\`, "go1.26\nx").Set(1)
	r.Counter(Failures, "hôme", "queue_full").Inc(9)
	r.Counter(Failures, "home", "no_healthy_endpoint")
	r.Histogram(RequestDuration, "never used")
	h := r.Histogram(RequestDuration, "home")
	// The bounds include their own value and nothing above it; durations of whole 1.024 µs make the sum exact.
	for i, d := range []time.Duration{0, 100 * time.Microsecond, time.Millisecond, time.Millisecond + 1, 500 * time.Millisecond, 60 * time.Second, 68 * time.Second} {
		h.Observe(Shard(i), d)
	}
	var got strings.Builder
	for line := range strings.Lines(pageOf(t, r)) {
		if name := strings.TrimPrefix(strings.TrimPrefix(line, "# HELP "), "# TYPE "); strings.HasPrefix(name, "sluice_") {
			got.WriteString(line)
		}
	}
	if got.String() != golden {
		t.Errorf("got:\n%s\nwant:\n%s", got.String(), golden)
	}
}

var (
	sampleLine  = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*",?)+)\})? (\S+)$`)
	commentLine = regexp.MustCompile(`^# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)$`)
)

// checkPage reads a page by the rules of the format and returns its samples in order.
func checkPage(t *testing.T, page string) (names []string, values map[string]float64) {
	t.Helper()
	values = map[string]float64{}
	family, lastFamily := "", ""
	if !utf8.ValidString(page) {
		t.Error("the page is not UTF-8")
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(page, "\n"), "\n") {
		if m := commentLine.FindStringSubmatch(line); m != nil {
			if m[1] == "HELP" {
				family = m[2]
				if family <= lastFamily {
					t.Errorf("%s comes after %s", family, lastFamily)
				}
				lastFamily = family
			} else if m[2] != family {
				t.Errorf("TYPE of %s follows HELP of %s", m[2], family)
			}
			continue
		}
		m := sampleLine.FindStringSubmatch(line)
		if m == nil {
			t.Errorf("no sample: %q", line)
			continue
		}
		if !strings.HasPrefix(m[1], family) {
			t.Errorf("sample of %s stands under %s", m[1], family)
		}
		v, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			t.Errorf("%q: %v", line, err)
		}
		key := strings.TrimSuffix(line, " "+m[3])
		if _, twice := values[key]; twice {
			t.Errorf("%s stands twice", key)
		}
		values[key] = v
		names = append(names, m[1])
	}
	return names, values
}

func TestProcessReadings(t *testing.T) {
	_, values := checkPage(t, pageOf(t, NewRegistry(Options{})))
	for _, name := range []string{"go_goroutines", "go_memstats_heap_alloc_bytes", "go_memstats_heap_objects", "go_memstats_next_gc_bytes",
		"go_memstats_sys_bytes", "go_memstats_alloc_bytes_total", "go_sched_gomaxprocs_threads"} {
		if values[name] < 1 {
			t.Errorf("%s is %g", name, values[name])
		}
	}
	for _, name := range []string{"go_gc_cycles_total", "go_gc_pause_seconds_total", "go_gc_pause_longest_seconds"} {
		if v, ok := values[name]; !ok || v < 0 {
			t.Errorf("%s is %g, there: %v", name, v, ok)
		}
	}
	if started := values["process_start_time_seconds"]; started < 1.6e9 || started > float64(time.Now().Unix()+1) {
		t.Errorf("process_start_time_seconds is %g", started)
	}
}

// failingWriter takes a number of writes, then fails.
type failingWriter struct{ left int }

func (w *failingWriter) Write(p []byte) (int, error) {
	if w.left--; w.left < 0 {
		return 3, errors.New("gone")
	}
	return len(p), nil
}

type shortWriter struct{}

func (shortWriter) Write(p []byte) (int, error) { return len(p) - 1, nil }

func TestWriteToStopsAtError(t *testing.T) {
	r := NewRegistry(Options{})
	for i := range 2000 {
		r.Counter(Failures, "route-"+strconv.Itoa(i), "x")
	}
	w := &failingWriter{left: 1}
	n, err := r.WriteTo(w)
	if err == nil || err.Error() != "gone" || w.left != -1 {
		t.Errorf("err = %v after %d further writes, want gone after the first", err, -w.left)
	}
	if n < flushSize || n > 2*flushSize {
		t.Errorf("n = %d", n)
	}
	if _, err := r.WriteTo(shortWriter{}); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("err = %v, want %v", err, io.ErrShortWrite)
	}
}

func FuzzLabelValue(f *testing.F) {
	for _, s := range []string{"", "a", `\`, `"`, "\n", `a="b",c="d"} 1` + "\n# TYPE x", "\xff\xfe", "é漢🙂", "\r\x00\u2028", strings.Repeat("x", 300)} {
		f.Add(s, "y")
		f.Add("y", s)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		r := NewRegistry(Options{Shards: 1})
		r.Counter(Retries, a, b).Add(0, 12)
		var page strings.Builder
		if _, err := r.WriteTo(&page); err != nil {
			t.Fatal(err)
		}
		names, values := checkPage(t, page.String())
		n := 0
		for _, name := range names {
			if strings.HasPrefix(name, "sluice_") {
				n++
			}
		}
		if n != 1 {
			t.Fatalf("%d samples, want 1:\n%s", n, page.String())
		}
		for key, v := range values {
			if strings.HasPrefix(key, "sluice_retries_total{") && v != 12 {
				t.Errorf("%s is %g", key, v)
			}
		}
	})
}
