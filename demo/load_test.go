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

// loadOn makes a load on a server.
func loadOn(t *testing.T, s *httptest.Server, rate int) *load {
	t.Helper()
	i, err := newIssuer()
	if err != nil {
		t.Fatal(err)
	}
	return newLoad(s.Listener.Addr().String(), rate, i, &journal{began: time.Now()})
}

// failure is what the journal of a load has noted last.
func failure(l *load) string {
	_, text := l.journal.latest()
	return text
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
		for _, name := range []string{"Authorization", "X-API-Key", "Idempotency-Key"} {
			if r.Header.Get(name) != "" {
				service += " " + name
			}
		}
		seen.Store(r.Method+" "+service, true)
		w.Header().Set("Cache-Status", "sluice; hit; ttl=4")
		answerLikeTheBank(w, r)
	}))
	defer s.Close()
	l := loadOn(t, s, 2000)
	l.start()
	all := []string{
		"GET accounts Authorization", "GET v1 Authorization", "GET overview Authorization", "GET rates X-API-Key",
		"POST transfers Authorization Idempotency-Key", "GET status", "GET old",
	}
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
		t.Errorf("%d answered, %d failed, the last %s", l.answered.Value(), l.failures.Value(), failure(l))
	}
	if l.cached.Value() != l.answered.Value() || l.partial.Value() != 0 {
		t.Errorf("of %d answers %d came from a cache and %d lacked a part, want all and none", l.answered.Value(), l.cached.Value(), l.partial.Value())
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
	l := loadOn(t, s, 1000)
	l.start()
	await(t, "a failure", func() bool { return failure(l) != "" })
	if what := failure(l); !strings.HasSuffix(what, ": 503 no_healthy_endpoint") {
		t.Errorf("noted %q, want status and reason", what)
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
	l := loadOn(t, s, maxRate)
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
	l := loadOn(t, s, 0)
	l.start()
	l.stop()
	if n := requests.Load(); n != 0 {
		t.Errorf("a load of nothing sent %d requests", n)
	}
}

// Customers and the partner have limits: the load must stay below them, at any rate.
func TestLoadKeepsTheLimits(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(answerLikeTheBank))
	defer s.Close()
	for _, rate := range []int{1, 400, 1000, maxRate} {
		l := loadOn(t, s, rate)
		if perCustomer := float64(rate) / float64(len(l.customers)); perCustomer > 2 {
			t.Errorf("at %d requests/s each customer sends %.1f", rate, perCustomer)
		}
		if rates := rate * l.ratesShare() / 100; rates > 150 {
			t.Errorf("at %d requests/s the partner sends %d", rate, rates)
		}
	}
}

// One line for each time that parts are missing, not one for each answer.
func TestJournalOfMissingParts(t *testing.T) {
	j := &journal{began: time.Now()}
	for range 3 {
		j.addPartial("rates;reason=timeout")
	}
	j.partial = j.partial.Add(-2 * partialPause)
	j.addPartial("rates;reason=status_503")
	got, _ := j.latest()
	if len(got) != 2 || got[1].text != "sluice: an overview is answered without rates: status_503" {
		t.Errorf("noted %v", got)
	}
}
