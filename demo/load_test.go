package demo

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// answerLikeTheBank answers what the load wants, without a proxy.
func answerLikeTheBank(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == "POST":
		w.WriteHeader(http.StatusCreated)
	case strings.HasPrefix(r.URL.Path, "/old/"):
		w.WriteHeader(http.StatusPermanentRedirect)
	}
}

// await polls until ok, for as long as a busy machine may need.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestLoad(t *testing.T) {
	var seen sync.Map
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		service, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		seen.Store(r.Method+" "+service, true)
		answerLikeTheBank(w, r)
	}))
	defer s.Close()
	l := newLoad(s.Listener.Addr().String(), 2000, func(what string) { t.Errorf("failed: %s", what) })
	l.start()
	all := []string{"GET accounts", "GET transactions", "GET rates", "POST transfers", "GET status", "GET old"}
	await(t, "all routes of the bank", func() bool {
		for _, route := range all {
			if _, ok := seen.Load(route); !ok {
				return false
			}
		}
		return true
	})
	l.stop()
	if l.answered.Value() < uint64(len(all)) || l.failures.Value() != 0 {
		t.Errorf("%d answered, %d failed", l.answered.Value(), l.failures.Value())
	}
	if over := l.over(time.Now()); over <= 0 || over != l.over(time.Now().Add(time.Hour)) {
		t.Errorf("it took %s, and goes on after its end", over)
	}
}

func TestLoadCountsFailures(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Sluice-Reason", "no_healthy_endpoint")
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer s.Close()
	told := make(chan string, 1)
	l := newLoad(s.Listener.Addr().String(), 1000, func(what string) {
		select {
		case told <- what:
		default:
		}
	})
	l.start()
	if what := <-told; !strings.HasSuffix(what, ": 503 no_healthy_endpoint") {
		t.Errorf("told %q, want status and reason", what)
	}
	l.stop()
	if l.failures.Value() == 0 || l.answered.Value() != 0 {
		t.Errorf("%d failed, %d answered", l.failures.Value(), l.answered.Value())
	}
}

func TestLoadIsBounded(t *testing.T) {
	var inside, most atomic.Int64
	release := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		n := inside.Add(1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		select { // until the load is cut, which a server notices only where it has read the body
		case <-r.Context().Done():
		case <-release:
		}
		inside.Add(-1)
	}))
	defer s.Close()
	defer close(release)
	l := newLoad(s.Listener.Addr().String(), maxRate, func(string) {})
	l.start()
	await(t, "requests that are not sent", func() bool { return l.skipped.Load() > maxInFlight })
	l.stop()
	if most.Load() > maxInFlight {
		t.Errorf("%d requests at once, want at most %d", most.Load(), maxInFlight)
	}
	if l.failures.Value() != 0 || l.answered.Value() != 0 {
		t.Errorf("%d failed, %d answered, though all were cut", l.failures.Value(), l.answered.Value())
	}
}

func TestNoLoad(t *testing.T) {
	var requests atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests.Add(1) }))
	defer s.Close()
	l := newLoad(s.Listener.Addr().String(), 0, func(what string) { t.Errorf("failed: %s", what) })
	l.start()
	l.stop()
	if n := requests.Load(); n != 0 {
		t.Errorf("a load of nothing sent %d requests", n)
	}
}
