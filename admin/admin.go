// Package admin is the HTTP interface for operators: health, readiness, metrics, profiles.
package admin

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"strings"

	"github.com/sluice-gateway/sluice/metric"
	"github.com/sluice-gateway/sluice/upstream"
)

// Source is what the handlers show.
type Source struct {
	Metrics  *metric.Registry
	Ready    func() bool // the configuration is live and the first health round is done
	Draining func() bool // the program is ending

	// Degraded tells which policies cannot do their work for a while; nil where none can fail.
	Degraded func() []Degradation

	Backends func() []upstream.Status // in the order of the configuration
	Routes   func() []Route           // in the order of the configuration
	// Override sets what change makes of what is set of an endpoint against the configuration, where nil is nothing. It returns ErrUnknown if there
	// is no such endpoint.
	Override func(backend, address string, change func(upstream.Override) *upstream.Override) error

	// Cache tells how full the caches are. Purge drops stored answers and returns how many there were; an error says what is wrong with the URL.
	Cache func() CacheState
	Purge func(Purge) (int, error)
}

// Degradation is a policy that cannot do its work for a while: its routes refuse what needs it.
type Degradation struct {
	Policy string `json:"policy"`
	Reason string `json:"reason"`
}

// NewHandler returns the handler of the admin listener:
//
//	/healthz       200 while the process works
//	/readyz        200 when it should get traffic, else 503
//	/metrics       the metrics in the text format of Prometheus
//	/debug/pprof/  profiles of the Go runtime
//
//	GET   /backends                          all backends and endpoints as they stand
//	GET   /backends/NAME                     one of them
//	PATCH /backends/NAME/endpoints/ADDRESS   sets {"state": "ready" | "drain" | "maint", "weight": N}
//	GET   /routes                            what the configuration says
//	GET   /cache                             how full the caches are, and what they were asked
//	POST  /cache/purge                       drops answers: {"key": URL}, {"prefix": URL} or {"tag": NAME}
func NewHandler(s Source) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]any{"status": "ok"})
	})
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_, _ = s.Metrics.WriteTo(w) // a scraper that leaves is its own affair
	})
	mux.HandleFunc("GET /backends", s.backends)
	mux.HandleFunc("GET /backends/{name}", s.backend)
	mux.HandleFunc("PATCH /backends/{name}/endpoints/{address}", s.patch)
	mux.HandleFunc("GET /routes", s.routes)
	mux.HandleFunc("GET /cache", s.cache)
	mux.HandleFunc("POST /cache/purge", s.purge)
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return guard(mux)
}

func (s Source) readyz(w http.ResponseWriter, _ *http.Request) {
	switch {
	case s.Draining():
		answer(w, http.StatusServiceUnavailable, map[string]any{"ready": false, "reason": "draining"})
	case !s.Ready():
		answer(w, http.StatusServiceUnavailable, map[string]any{"ready": false, "reason": "starting"})
	default:
		degraded := []Degradation{}
		if s.Degraded != nil {
			degraded = append(degraded, s.Degraded()...)
		}
		answer(w, http.StatusOK, map[string]any{"ready": true, "degraded": degraded})
	}
}

// guard refuses requests that a web page made: no page has business here. Browsers mark with Origin whatever a page may change something with, and
// what it may read of another site. What is left is a page that reads what it takes for its own site, after its name was made to lead here (DNS
// rebinding): that is told by the name. It is no protection of what is shown; the address must be one that only operators reach.
func guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		detail := ""
		switch {
		case r.Header.Get("Origin") != "":
			detail = "requests of web pages are refused"
		case rebound(r):
			detail = "this address is not known by the name in Host; ask for it by its number or as localhost"
		}
		if detail != "" {
			answer(w, http.StatusForbidden, map[string]any{"status": http.StatusForbidden, "detail": detail})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// rebound reports whether a request came to a loopback address by a name that a stranger may have made to lead there. Numbers, localhost and names
// without a dot, which are the machine's own, nobody else can. Other addresses have names that this program does not know.
func rebound(r *http.Request) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if !ok || !local.IP.IsLoopback() {
		return false
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return false
	}
	return strings.Contains(host, ".") && !strings.HasSuffix(host, ".localhost")
}

func answer(w http.ResponseWriter, status int, body map[string]any) { answerJSON(w, status, body) }

func answerJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client has left
}
