package identity

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/message"
)

// fetchOnce gets a key set from a handler and returns what became of it.
func fetchOnce(t *testing.T, o KeysOptions) (*Keys, KeysStatus) {
	t.Helper()
	k, err := OpenKeys(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	<-k.First()
	return k, k.Status()
}

// What an issuer may do to us is bounded, and everything but a key set is a failure that says what it was.
func TestFetch(t *testing.T) {
	document := setFrom(newES256("e"))
	reply := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		}
	}
	var hops atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("/good", func(w http.ResponseWriter, r *http.Request) {
		if r.Method != "GET" || r.Header.Get("User-Agent") != "sluice" || !strings.Contains(r.Header.Get("Accept"), "json") || r.Header.Get("Accept-Encoding") != "" {
			t.Errorf("request %v %v", r.Method, r.Header)
		}
		fmt.Fprint(w, document)
	})
	mux.Handle("/full", reply(200, document+strings.Repeat(" ", maxDocument-len(document))))
	mux.Handle("/large", reply(200, document+strings.Repeat(" ", maxDocument-len(document)+1)))
	mux.Handle("/missing", reply(404, document))
	mux.Handle("/none", reply(204, ""))
	mux.Handle("/error", reply(500, "secret"))
	mux.Handle("/html", reply(200, "<html>"))
	mux.Handle("/once", http.RedirectHandler("/good", http.StatusFound))
	mux.HandleFunc("/circle", func(w http.ResponseWriter, r *http.Request) {
		hops.Add(1)
		http.Redirect(w, r, "/circle", http.StatusFound)
	})
	mux.Handle("/file", http.RedirectHandler("file:///etc/passwd", http.StatusFound))
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/drip", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000")
		fmt.Fprint(w, document[:10])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	mux.HandleFunc("/short", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000")
		fmt.Fprint(w, document[:10])
	})
	mux.HandleFunc("/header", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X", strings.Repeat("x", 2*maxHeader))
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	for _, test := range []struct{ path, want string }{
		{"/good", ""}, {"/full", ""}, {"/once", ""},
		{"/large", "larger than 1048576 bytes"},
		{"/missing", "status 404"}, {"/none", "status 204"}, {"/error", "status 500"},
		{"/html", "cannot be read"},
		{"/circle", "more than 3 redirects"}, {"/file", "another scheme"},
		{"/slow", "did not answer in time"}, {"/drip", "breaks off"}, {"/short", "breaks off"},
		{"/header", "exceeded"},
	} {
		t.Run(test.path, func(t *testing.T) {
			k, s := fetchOnce(t, KeysOptions{URL: server.URL + test.path, Timeout: map[bool]time.Duration{true: 50 * ms, false: testnet.Patience}[test.path == "/slow" || test.path == "/drip"]})
			if !strings.Contains(s.LastError, test.want) || (s.LastError == "") != (test.want == "") || strings.Contains(s.LastError, "secret") {
				t.Errorf("%+v", s)
			}
			if k.Available() != (test.want == "") {
				t.Errorf("available %v", k.Available())
			}
			k.Close()
		})
	}
	if hops.Load() > 2*(maxRedirects+1) { // a retry may have begun before the end of the test
		t.Errorf("followed %d redirects", hops.Load())
	}
}

// An issuer is known by its certificate, and may not send us from a protected connection to one that is not.
func TestFetchTLS(t *testing.T) {
	document := setFrom(newES256("e"))
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, document) }))
	defer plain.Close()
	mux := http.NewServeMux()
	mux.HandleFunc("/good", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, document) })
	mux.Handle("/down", http.RedirectHandler(plain.URL, http.StatusFound))
	server := httptest.NewUnstartedServer(mux)
	server.Config.ErrorLog = nil
	server.StartTLS()
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	for _, test := range []struct {
		path  string
		roots *x509.CertPool
		want  string
	}{
		{"/good", roots, ""},
		{"/good", x509.NewCertPool(), "unknown authority"},
		{"/down", roots, "from https to http"},
	} {
		k, s := fetchOnce(t, KeysOptions{URL: server.URL + test.path, Roots: test.roots, Timeout: testnet.Patience})
		if !strings.Contains(s.LastError, test.want) || (s.LastError == "") != (test.want == "") {
			t.Errorf("%s: %+v", test.path, s)
		}
		k.Close()
	}
}

// An issuer that changes its keys while requests run, over a real connection: what it publishes before it signs with it is never refused, and what it
// has taken back is refused soon.
func TestRotation(t *testing.T) {
	const rotations = 4
	var document atomic.Pointer[string]
	var fetches atomic.Int64
	publish := func(keys ...*signing) {
		text := setFrom(keys...)
		document.Store(&text)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fetches.Add(1)
		fmt.Fprint(w, *document.Load())
	}))
	defer server.Close()
	old := newES256("0")
	publish(old)
	const interval = 10 * ms
	k, err := OpenKeys(KeysOptions{URL: server.URL, MinInterval: interval, Timeout: testnet.Patience})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	v := newVerifier(t, bankOptions(k))

	var current atomic.Pointer[signing]
	current.Store(old)
	stop := make(chan struct{})
	var verified atomic.Int64
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				signer := current.Load()
				token := signer.token(claimsText(map[string]any{"jti": fmt.Sprint(n % 3)}))
				id, refusal := v.Verify(token, at)
				if refusal != nil && refusal.Reason == message.KeyUnknown {
					// Decided at once since a fetch began within the interval: the next one brings the key.
					for deadline := time.Now().Add(testnet.Patience); refusal != nil && current.Load() == signer && time.Now().Before(deadline); {
						id, refusal = v.Verify(token, at)
					}
				}
				if refusal != nil && current.Load() == signer {
					t.Errorf("refused: %v", refusal)
					return
				}
				if id != nil {
					verified.Add(1)
				}
			}
		})
	}
	for n := range rotations {
		next := newES256(fmt.Sprint(n + 1))
		publish(old, next)
		current.Store(next)
		before := verified.Load()
		testnet.Eventually(t, "tokens of the new key are verified", func() bool { return verified.Load() > before+8 })
		token := old.token(claimsText(nil))
		publish(next)
		testnet.Eventually(t, "tokens of the old key are refused", func() bool {
			v.Verify(newEd25519("nobody's").token(claimsText(nil)), at) // what brings on a fetch
			_, refusal := v.Verify(token, at)
			return refusal != nil && refusal.Reason == message.KeyUnknown
		})
		old = next
	}
	close(stop)
	all.Wait()
	if n := fetches.Load(); n < rotations {
		t.Errorf("%d fetches for %d rotations", n, rotations)
	}
}
