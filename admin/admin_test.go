package admin

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/metric"
)

// source is one whose answers a test sets.
func source(ready, draining bool) Source {
	reg := metric.NewRegistry(metric.Options{})
	reg.Gauge(metric.ConfigGeneration).Set(7)
	return Source{Metrics: reg, Ready: func() bool { return ready }, Draining: func() bool { return draining }}
}

func ask(s Source, method, path string, fields ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	NewHandler(s).ServeHTTP(w, r)
	return w
}

func TestHandlers(t *testing.T) {
	up := source(true, false)
	const json, metrics = "application/json", "text/plain; version=0.0.4; charset=utf-8"
	for _, tc := range []struct {
		name         string
		source       Source
		method, path string
		fields       []string
		status       int
		kind         string // Content-Type; "" for any
		body         string // a part of it
	}{
		{"healthz", up, "GET", "/healthz", nil, 200, json, `{"status":"ok"}`},
		{"healthz while starting", source(false, false), "GET", "/healthz", nil, 200, json, `{"status":"ok"}`},
		{"healthz while draining", source(true, true), "GET", "/healthz", nil, 200, json, `{"status":"ok"}`},
		{"healthz, HEAD", up, "HEAD", "/healthz", nil, 200, json, ""},
		{"healthz, POST", up, "POST", "/healthz", nil, 405, "", ""},
		{"ready", up, "GET", "/readyz", nil, 200, json, `{"degraded":[],"ready":true}`},
		{"starting", source(false, false), "GET", "/readyz", nil, 503, json, `{"ready":false,"reason":"starting"}`},
		{"draining", source(false, true), "GET", "/readyz", nil, 503, json, `{"ready":false,"reason":"draining"}`},
		{"draining, were it ready", source(true, true), "GET", "/readyz", nil, 503, json, `{"ready":false,"reason":"draining"}`},
		{"metrics", up, "GET", "/metrics", nil, 200, metrics, "\nsluice_config_generation 7\n"},
		{"metrics, POST", up, "POST", "/metrics", nil, 405, "", ""},
		{"metrics, query", up, "GET", "/metrics?x=1", nil, 200, metrics, "# TYPE sluice_config_generation gauge"},
		{"profiles", up, "GET", "/debug/pprof/", nil, 200, "", "goroutine"},
		{"goroutines", up, "GET", "/debug/pprof/goroutine?debug=1", nil, 200, "", "goroutine profile: total"},
		{"command line", up, "GET", "/debug/pprof/cmdline", nil, 200, "", ""},
		{"symbols", up, "GET", "/debug/pprof/symbol?0x0", nil, 200, "", "num_symbols: 1"},
		{"no such profile", up, "GET", "/debug/pprof/nothing", nil, 404, "", ""},
		{"profiles, POST", up, "POST", "/debug/pprof/heap", nil, 405, "", ""},
		{"elsewhere", up, "GET", "/", nil, 404, "", ""},
		{"elsewhere, below", up, "GET", "/healthz/x", nil, 404, "", ""},
		{"a web page", up, "GET", "/metrics", []string{"Origin: https://evil.example"}, 403, json, "web pages"},
		{"a web page of this address", up, "GET", "/healthz", []string{"Origin: http://127.0.0.1:9900"}, 403, json, "web pages"},
		{"a web page without a name", up, "GET", "/debug/pprof/heap", []string{"Origin: null"}, 403, json, "web pages"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := ask(tc.source, tc.method, tc.path, tc.fields...)
			if w.Code != tc.status || tc.kind != "" && w.Header().Get("Content-Type") != tc.kind || !strings.Contains(w.Body.String(), tc.body) {
				t.Errorf("%d %q\n%.300s\nwant %d %q with %s", w.Code, w.Header().Get("Content-Type"), w.Body, tc.status, tc.kind, tc.body)
			}
			if w.Header().Get("X-Content-Type-Options") != "nosniff" || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("header %v", w.Header())
			}
			if allow := w.Header().Get("Allow"); tc.status == http.StatusMethodNotAllowed && allow != "GET, HEAD" {
				t.Errorf("Allow %q", allow)
			}
		})
	}
}
