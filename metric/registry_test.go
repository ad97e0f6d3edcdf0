package metric

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"
)

func pageOf(t *testing.T, r *Registry) string {
	t.Helper()
	var b strings.Builder
	n, err := r.WriteTo(&b)
	if err != nil || n != int64(b.Len()) {
		t.Fatalf("WriteTo = %d, %v; wrote %d bytes", n, err, b.Len())
	}
	return b.String()
}

// sample returns the value of one line of the page, "" if it is not there.
func sample(t *testing.T, r *Registry, series string) string {
	t.Helper()
	for line := range strings.Lines(pageOf(t, r)) {
		if v, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

func TestTable(t *testing.T) {
	name := regexp.MustCompile(`^(sluice|process|go)_[a-z0-9_]+$`)
	label := regexp.MustCompile(`^[a-z_]+$`)
	seen := map[string]bool{}
	for id, row := range table {
		if row.name == "" || row.help == "" {
			t.Errorf("family %d has no row", id)
			continue
		}
		if seen[row.name] {
			t.Errorf("%s stands twice", row.name)
		}
		seen[row.name] = true
		if !name.MatchString(row.name) {
			t.Errorf("%s is no good name", row.name)
		}
		if strings.HasSuffix(row.name, "_total") != (row.kind == counter) {
			t.Errorf("%s is a %s: counters and only they end with _total", row.name, row.kind)
		}
		if row.kind == histogram && !strings.HasSuffix(row.name, "_seconds") {
			t.Errorf("%s is a histogram of durations and must say _seconds", row.name)
		}
		if strings.ContainsAny(row.help, "\\\n") || !strings.HasSuffix(row.help, ".") {
			t.Errorf("%s: help must be a sentence that needs no escaping", row.name)
		}
		for _, l := range row.labels {
			if !label.MatchString(l) || l == "le" {
				t.Errorf("%s: bad label %q", row.name, l)
			}
		}
		if row.scraped && len(row.labels) > 0 {
			t.Errorf("%s: a scraped family has no labels", row.name)
		}
	}
}

func TestReloadKeepsCounts(t *testing.T) {
	r := NewRegistry(Options{})
	first := r.Scope()
	first.Counter(BytesSent, "stays").Add(0, 7)
	first.Counter(BytesSent, "goes").Add(0, 9)
	first.Histogram(RequestDuration, "goes").Observe(0, time.Second)
	first.Gauge(Connections, "goes").Set(3)

	second := r.Scope()
	stays := second.Counter(BytesSent, "stays")
	second.Counter(BytesSent, "new").Inc(0)
	first.Release()
	first.Release() // does nothing

	stays.Inc(0)
	page := pageOf(t, r)
	if strings.Contains(page, "goes") {
		t.Error("a series that nobody holds is still shown")
	}
	if got := sample(t, r, `sluice_bytes_sent_total{listener="stays"}`); got != "8" {
		t.Errorf("the series that stays shows %q, want 8", got)
	}
	if got := sample(t, r, `sluice_bytes_sent_total{listener="new"}`); got != "1" {
		t.Errorf("the new series shows %q, want 1", got)
	}

	// A name that comes back begins anew.
	third := r.Scope()
	if got := third.Counter(BytesSent, "goes").Value(); got != 0 {
		t.Errorf("a series that came back shows %d, want 0", got)
	}
	second.Release()
	third.Release()
	if strings.Contains(pageOf(t, r), "sluice_") {
		t.Error("series are left although every scope was released")
	}
}

func TestHandlesOfOneSeriesAreOne(t *testing.T) {
	r := NewRegistry(Options{})
	a, b := r.Counter(Retries, "accounts", "ok"), r.Counter(Retries, "accounts", "ok")
	if a != b {
		t.Error("two handles for the same labels")
	}
	if c := r.Counter(Retries, "accounts", "failed"); c == a {
		t.Error("one handle for different labels")
	}
	// Values that look like others when they are joined carelessly.
	if r.Counter(Retries, `x",outcome="y`, "z") == r.Counter(Retries, "x", `y",outcome="z`) {
		t.Error("quotes in values are confused")
	}
}

func TestSeriesBound(t *testing.T) {
	r := NewRegistry(Options{MaxSeries: 3})
	sc := r.Scope()
	for i := range 10 {
		sc.Counter(BytesSent, fmt.Sprint("l", i)).Inc(0)
		sc.Histogram(RequestDuration, fmt.Sprint("r", i)).Observe(0, time.Millisecond)
		sc.Gauge(Connections, fmt.Sprint("l", i)).Inc()
		sc.GaugeFunc(UpstreamConnectionsIdle, func() int64 { return 5 }, "b", fmt.Sprint("e", i))
	}
	for series, want := range map[string]string{
		`sluice_bytes_sent_total{listener="l2"}`:                                            "1",
		`sluice_bytes_sent_total{listener="l3"}`:                                            "",
		`sluice_bytes_sent_total{listener="other"}`:                                         "7",
		`sluice_request_duration_seconds_count{route="other"}`:                              "7",
		`sluice_connections{listener="other"}`:                                              "7",
		`sluice_upstream_connections_idle{backend="b",endpoint="e2"}`:                       "5",
		`sluice_upstream_connections_idle{backend="other",endpoint="other"}`:                "",
		`sluice_metric_series_overflow_total{family="sluice_bytes_sent_total"}`:             "7",
		`sluice_metric_series_overflow_total{family="sluice_upstream_connections_idle"}`:    "7",
		`sluice_metric_series_overflow_total{family="sluice_metric_series_overflow_total"}`: "",
	} {
		if got := sample(t, r, series); got != want {
			t.Errorf("%s is %q, want %q", series, got, want)
		}
	}
	// Room made by a release can be used.
	sc.Release()
	if r.Counter(BytesSent, "later") == r.Counter(BytesSent, otherValue) {
		t.Error("the family is still full after its series were released")
	}
}

func TestWrongUsePanics(t *testing.T) {
	r := NewRegistry(Options{})
	for name, f := range map[string]func(){
		"kind":    func() { r.Counter(Connections, "x") },
		"labels":  func() { r.Counter(BytesSent) },
		"scraped": func() { r.Gauge(GoGoroutines) },
	} {
		func() {
			defer func() {
				if msg, _ := recover().(string); !strings.HasPrefix(msg, "metric: ") {
					t.Errorf("%s: recovered %q", name, msg)
				}
			}()
			f()
		}()
	}
}

// A refused configuration registers its readers and gives them back; what is served must be shown again.
func TestCounterFunc(t *testing.T) {
	r := NewRegistry(Options{})
	n := int64(3)
	sc := r.Scope()
	sc.CounterFunc(Datagrams, func() int64 { return n }, "dns", "received")
	read := func() string {
		var b strings.Builder
		if _, err := r.WriteTo(&b); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	const line = "# TYPE sluice_datagrams_total counter\nsluice_datagrams_total{listener=\"dns\",direction=\"received\"} "
	if got := read(); !strings.Contains(got, line+"3\n") {
		t.Errorf("%s", got)
	}
	n = 5
	if got := read(); !strings.Contains(got, line+"5\n") {
		t.Errorf("%s", got)
	}
	if sc.Release(); strings.Contains(read(), "sluice_datagrams_total") {
		t.Error("the series outlives its reader")
	}
}

func TestGaugeFunc(t *testing.T) {
	const series = `sluice_endpoint_healthy{backend="b",endpoint="e"}`
	r := NewRegistry(Options{})
	read := func(n int64) func() int64 { return func() int64 { return n } }
	one := r.GaugeFunc(EndpointHealthy, read(1), "b", "e")
	two := r.GaugeFunc(EndpointHealthy, read(2), "b", "e")
	for i, step := range []struct {
		do   func()
		want string
	}{
		{func() {}, "2"},
		{two.Release, "1"},
		{func() { two = r.GaugeFunc(EndpointHealthy, read(3), "b", "e") }, "3"},
		{one.Release, "3"},
		{two.Release, ""},
	} {
		step.do()
		if got := sample(t, r, series); got != step.want {
			t.Errorf("step %d: %q, want %q", i, got, step.want)
		}
	}
}

func TestScopeAfterRelease(t *testing.T) {
	r := NewRegistry(Options{})
	sc := r.Scope()
	set := sc.CounterSet(Failures, []string{"no_route", "queue_full"}, "home")
	set.Inc(0, 0)
	sc.Release()
	set.Inc(0, 1) // an exchange that ends in the old configuration
	set.Inc(0, 0)
	if page := pageOf(t, r); strings.Contains(page, "home") {
		t.Errorf("a released scope keeps series:\n%s", page)
	}
}

func TestCounterSet(t *testing.T) {
	r := NewRegistry(Options{})
	sc := r.Scope()
	defer sc.Release()
	names := make([]string, 40)
	for i := range names {
		names[i] = fmt.Sprintf("reason_%02d", i)
	}
	set := sc.CounterSet(Failures, names, "home")
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range names {
				set.Inc(Shard(w), i)
			}
			set.Inc(0, -1)
			set.Inc(0, len(names))
		})
	}
	wg.Wait()
	n := 0
	r.Each(Failures, func(values []string, v int64) {
		if values[0] != "home" || values[1] != names[n] || v != 4 {
			t.Errorf("%q is %d, want 4", values, v)
		}
		n++
	})
	if n != len(names) {
		t.Errorf("%d series, want %d", n, len(names))
	}
}

func TestStatusCounters(t *testing.T) {
	r := NewRegistry(Options{})
	codes := r.Scope().StatusCounters(Requests, "web", "home")
	for _, status := range []int{100, 200, 200, 599, 99, 600, 0, -200, 1 << 40} {
		codes.Inc(0, status)
	}
	for code, want := range map[string]string{"100": "1", "200": "2", "599": "1", "other": "5", "404": ""} {
		if got := sample(t, r, fmt.Sprintf(`sluice_requests_total{listener="web",route="home",code="%s"}`, code)); got != want {
			t.Errorf("code %s: %q, want %q", code, got, want)
		}
	}
}

func TestEach(t *testing.T) {
	r := NewRegistry(Options{})
	r.Gauge(EndpointInFlight, "b", "2").Set(-3)
	r.GaugeFunc(EndpointInFlight, func() int64 { return 8 }, "b", `1"\`)
	r.Histogram(UpstreamDuration, "b").Observe(0, time.Second)
	var got []string
	r.Each(EndpointInFlight, func(values []string, v int64) { got = append(got, fmt.Sprintf("%q %d", values, v)) })
	r.EachHistogram(UpstreamDuration, func(values []string, s *Snapshot) { got = append(got, fmt.Sprintf("%q %d", values, s.Count())) })
	r.EachHistogram(EndpointInFlight, func(values []string, s *Snapshot) { t.Error("a gauge is no histogram") })
	want := fmt.Sprintf("%q", []string{`["b" "1\"\\"] 8`, `["b" "2"] -3`, `["b"] 1`})
	if fmt.Sprintf("%q", got) != want {
		t.Errorf("got %q, want %s", got, want)
	}
}

func TestLongLabelValue(t *testing.T) {
	for _, tail := range []string{"x", "é", "漢", "🙂", "\xff"} {
		for pad := maxLabelValue - 6; pad <= maxLabelValue+1; pad++ {
			v := strings.Repeat("a", pad) + strings.Repeat(tail, 5)
			got := renderLabels([]string{"l"}, []string{v})
			got = strings.TrimSuffix(strings.TrimPrefix(got, `l="`), `"`)
			if !utf8.ValidString(got) {
				t.Errorf("%q + %q: not UTF-8: %q", "a…", tail, got)
			}
			if tail != "\xff" && (len(got) > maxLabelValue || len(got) <= maxLabelValue-utf8.UTFMax || !strings.HasPrefix(v, got)) {
				t.Errorf("pad %d, %q: cut to %d bytes: %q", pad, tail, len(got), got[pad-10:])
			}
		}
	}
}

// Scrapes, reloads and requests at the same time; the race detector and the last count judge.
func TestRegistryConcurrent(t *testing.T) {
	r := NewRegistry(Options{MaxSeries: 20})
	base := r.Scope()
	total := base.Counter(BytesSent, "base")
	stop := make(chan struct{})
	var background, workers sync.WaitGroup
	background.Go(func() {
		for {
			var b strings.Builder
			if _, err := r.WriteTo(&b); err != nil {
				t.Error(err)
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	const each = 100
	for w := range 4 {
		workers.Go(func() {
			for i := range each {
				sc := r.Scope()
				sc.Counter(BytesSent, "base").Inc(Shard(w))
				codes := sc.StatusCounters(Requests, "web", fmt.Sprint("r", (w*7+i)%30))
				codes.Inc(r.NextShard(), 200+i%5)
				sc.Histogram(RequestDuration, fmt.Sprint("r", i%30)).Observe(Shard(w), time.Duration(i)*time.Millisecond)
				sc.GaugeFunc(EndpointHealthy, func() int64 { return int64(w) }, "b", "e")
				sc.Release()
			}
		})
	}
	workers.Wait()
	close(stop)
	background.Wait()
	if total.Value() != 4*each {
		t.Errorf("count is %d, want %d", total.Value(), 4*each)
	}
	base.Release()
	page := pageOf(t, r)
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, "sluice_") && !strings.HasPrefix(line, "sluice_metric_series_overflow_total") {
			t.Errorf("left behind: %s", line)
		}
	}
}

// A generation takes over the variants that occurred before it, whether or not they occur in it: their counts never go back.
func TestCounterSetSurvivesReload(t *testing.T) {
	reg := NewRegistry(Options{Shards: 1})
	old := reg.Scope()
	old.StatusCounters(Requests, "web", "home").Inc(0, 200)
	for generation := 2; generation < 5; generation++ {
		next := reg.Scope()
		set := next.StatusCounters(Requests, "web", "home")
		other := next.StatusCounters(Requests, "web", "away") // has none to take over
		old.Release()
		other.Inc(0, 404)
		if generation == 3 {
			set.Inc(0, 200)
		}
		old = next
	}
	got := make(map[string]int64)
	reg.Each(Requests, func(values []string, v int64) { got[strings.Join(values, " ")] = v })
	if got["web home 200"] != 2 || got["web away 404"] != 3 || len(got) != 2 {
		t.Errorf("after three reloads: %v, want web home 200 = 2 and web away 404 = 3", got)
	}
	old.Release()
	reg.Each(Requests, func(values []string, v int64) { t.Errorf("series %v = %d is left after the last release", values, v) })
	for id := range reg.families {
		if n := len(reg.families[id].groups); n > 0 {
			t.Errorf("%s: %d groups are left", reg.families[id].name, n)
		}
	}
}
