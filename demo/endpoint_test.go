package demo

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// openEndpoint starts an endpoint that ends with the test, and returns a function that asks it for a path over a new connection.
func openEndpoint(t *testing.T, e *endpoint) (get func(path string) (*http.Response, string, error)) {
	t.Helper()
	if err := e.open(t.Context(), "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.close)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
	return func(path string) (*http.Response, string, error) {
		a, err := client.Get("http://" + e.address + path)
		if err != nil {
			return nil, "", err
		}
		body, err := io.ReadAll(a.Body)
		_ = a.Body.Close()
		return a, string(body), err
	}
}

func wantStatus(t *testing.T, a *http.Response, err error, status int) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if a.StatusCode != status {
		t.Fatalf("status %d, want %d", a.StatusCode, status)
	}
}

func TestEndpointWell(t *testing.T) {
	e := &endpoint{api: accountAPI()}
	get := openEndpoint(t, e)
	a, body, err := get("/accounts/1001")
	wantStatus(t, a, err, http.StatusOK)
	if !strings.Contains(body, `"id":"1001"`) {
		t.Errorf("answer %s", body)
	}
	if by := a.Header.Get("X-Served-By"); by != e.address {
		t.Errorf("served by %q, want %q", by, e.address)
	}
	a, _, err = get("/healthz")
	wantStatus(t, a, err, http.StatusOK)
	if got := e.trouble(); got != (trouble{}) {
		t.Errorf("trouble %+v, want none", got)
	}
}

func TestEndpointFailing(t *testing.T) {
	e := &endpoint{api: accountAPI()}
	get := openEndpoint(t, e)
	e.become(t.Context(), failing)
	for range 8 {
		if a, _, err := get("/accounts/1001"); err == nil {
			t.Errorf("an endpoint that fails answers %d", a.StatusCode)
		}
	}
	a, _, err := get("/healthz")
	wantStatus(t, a, err, http.StatusOK) // it does not know
	if got := e.trouble().word; got != "resets" {
		t.Errorf("trouble %q", got)
	}
}

func TestEndpointFlaky(t *testing.T) {
	e := &endpoint{api: accountAPI()}
	get := openEndpoint(t, e)
	e.become(t.Context(), flaky)
	row, most, failed := 0, 0, 0 // failures in a row, the most of them, all of them
	for range 3 * flakyRound {
		if a, _, err := get("/accounts/1001"); err == nil && a.StatusCode == http.StatusOK {
			row = 0
			continue
		}
		failed++
		row++
		most = max(most, row)
	}
	if failed != 3*flakyResets || most != flakyResets {
		t.Errorf("%d of %d requests fail, up to %d in a row; want %d, %d", failed, 3*flakyRound, most, 3*flakyResets, flakyResets)
	}
}

func TestEndpointSluggish(t *testing.T) {
	e := &endpoint{api: accountAPI()}
	get := openEndpoint(t, e)
	e.become(t.Context(), sluggish)
	began := time.Now()
	a, _, err := get("/accounts/1001")
	wantStatus(t, a, err, http.StatusOK)
	if took := time.Since(began); took < sluggishPace.least {
		t.Errorf("the answer took %s, want %s at least", took, sluggishPace.least)
	}
	if got := e.trouble().word; got != "slow" {
		t.Errorf("trouble %q", got)
	}
}

func TestEndpointRefusesAndComesBack(t *testing.T) {
	e := &endpoint{api: accountAPI()}
	get := openEndpoint(t, e)
	before := e.address
	e.become(t.Context(), refusing)
	if _, _, err := get("/healthz"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a stopped endpoint: %v, want that it refuses connections", err)
	}
	if got := e.trouble().word; got != "stopped" {
		t.Errorf("trouble %q", got)
	}
	e.become(t.Context(), well)
	if e.address != before {
		t.Errorf("it came back at %s, was at %s", e.address, before)
	}
	a, _, err := get("/accounts/1001")
	wantStatus(t, a, err, http.StatusOK)
}

func TestEndpointThatCannotComeBackGivesUp(t *testing.T) {
	first, second := &endpoint{api: accountAPI()}, &endpoint{api: accountAPI()}
	openEndpoint(t, first)
	second.address = first.address // taken
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	second.become(ctx, well)
	if second.server != nil {
		t.Error("it listens at an address that another has")
	}
}

func TestEndpointCutsWhenItCrashes(t *testing.T) {
	arrived := make(chan struct{})
	e := &endpoint{api: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done() // ends because the connection does
	})}
	get := openEndpoint(t, e)
	failed := make(chan error, 1)
	go func() {
		_, _, err := get("/accounts/1001")
		failed <- err
	}()
	<-arrived
	e.crash()
	if err := <-failed; err == nil {
		t.Error("a request to an endpoint that crashed was answered")
	}
}

func TestScriptGoesRound(t *testing.T) {
	e := &endpoint{api: accountAPI()}
	get := openEndpoint(t, e)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		e.follow(ctx, []stage{{failing, time.Millisecond}, {refusing, time.Millisecond}, {well, time.Millisecond}})
	}()
	// Twice through all moods, in their order, whatever else is seen in between.
	deadline := time.Now().Add(30 * time.Second)
	for _, want := range []string{"resets", "stopped", "", "resets", "stopped", ""} {
		for e.trouble().word != want {
			if time.Now().After(deadline) {
				t.Fatalf("the trouble is %q and never became %q", e.trouble().word, want)
			}
			time.Sleep(50 * time.Microsecond)
		}
	}
	cancel()
	<-done
	e.become(t.Context(), well)
	a, _, err := get("/healthz")
	wantStatus(t, a, err, http.StatusOK)
}

func TestSpan(t *testing.T) {
	s := span{2 * time.Millisecond, 6 * time.Millisecond}
	for range 1000 {
		if d := s.pick(); d < s.least || d >= s.most {
			t.Fatalf("%s is outside of %s", d, s)
		}
	}
	if d := (span{time.Second, time.Second}).pick(); d != time.Second {
		t.Errorf("a span of one duration gives %s", d)
	}
}

func TestPauseEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if pause(ctx, time.Hour) {
		t.Error("pause waited for an hour")
	}
	if !pause(t.Context(), 0) {
		t.Error("a pause of nothing was cut")
	}
}
