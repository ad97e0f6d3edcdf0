package gateway

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// signer is a key of an issuer.
type signer struct {
	kid string
	key *ecdsa.PrivateKey
}

func newSigner(t testing.TB, kid string) *signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{kid, key}
}

func encoded(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// public returns the key as a member of a key set.
func (s *signer) public() string {
	point, err := s.key.PublicKey.Bytes()
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf(`{"kty":"EC","crv":"P-256","alg":"ES256","use":"sig","kid":%q,"x":%q,"y":%q}`, s.kid, encoded(point[1:33]), encoded(point[33:]))
}

// token returns a token of the issuer for sub, which is good for an hour; more is JSON that follows other members.
func (s *signer) token(sub, more string) string {
	text := encoded(fmt.Appendf(nil, `{"alg":"ES256","typ":"JWT","kid":%q}`, s.kid)) + "." +
		encoded(fmt.Appendf(nil, `{"iss":"https://id.bank.example","aud":"bank-api","sub":%q,"exp":%d%s}`, sub, time.Now().Add(time.Hour).Unix(), more))
	sum := sha256.Sum256([]byte(text))
	r, v, err := ecdsa.Sign(rand.Reader, s.key, sum[:])
	if err != nil {
		panic(err)
	}
	var signature [64]byte
	r.FillBytes(signature[:32])
	v.FillBytes(signature[32:])
	return text + "." + encoded(signature[:])
}

// set returns a key set.
func set(keys ...*signer) string {
	list := make([]string, len(keys))
	for i, k := range keys {
		list[i] = k.public()
	}
	return `{"keys":[` + strings.Join(list, ",") + `]}`
}

// issuer publishes keys by HTTP.
type issuer struct {
	URL string

	mu      sync.RWMutex // whoever uses a key has it for reading, so that it stays published
	keys    []*signer
	away    bool
	fetches int
	last    time.Time
}

func newIssuer(t testing.TB, keys ...*signer) *issuer {
	i := &issuer{keys: keys}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.fetches++
		i.last = time.Now()
		if i.away {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte(set(i.keys...)))
	}))
	t.Cleanup(server.Close)
	i.URL = server.URL + "/keys"
	return i
}

// setAway lets the issuer fail, or come back.
func (i *issuer) setAway(away bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.away = away
}

func (i *issuer) count() int {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.fetches
}

// telling is an origin that answers with the head that it got, and the trailers.
func telling(t testing.TB) *testnet.Origin {
	return testnet.NewOrigin(t, func(c *testnet.OriginConn) {
		for {
			r, read := c.ReadRequest()
			if !read {
				return
			}
			var b strings.Builder
			fmt.Fprintf(&b, "%s %s\n", r.Method, r.Target)
			for _, f := range append(slices.Clone(r.Header), r.Trailer...) {
				fmt.Fprintf(&b, "%s: %s\n", f.Name, f.Value)
			}
			if !c.Send(ok(b.String())) {
				return
			}
		}
	})
}

// with is a GET request with header lines.
func with(path string, lines ...string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: bank.example\r\n" + strings.Join(append(lines, "", ""), "\r\n")
}

// told returns the reason and the challenge of an answer.
func told(r *testnet.Response) string {
	text := fmt.Sprint(r.Status)
	if reason := r.Header.Get("Sluice-Reason"); reason != "" {
		text += " " + reason
	}
	for _, name := range []string{"WWW-Authenticate", "Retry-After", "Location"} {
		if v := r.Header.All(name); len(v) > 0 {
			text += "; " + name + ": " + strings.Join(v, " | ")
		}
	}
	return text
}

// guarded is a configuration with a policy of each kind, by the address of an issuer, of a backend and of an auth service.
func guarded(jwks, backend, auth string) string {
	return fmt.Sprintf(`version: 1
admin: {address: "127.0.0.1:0"}
access_log: stdout
listeners: {public: {address: "127.0.0.1:0", protocol: http, trailers: [X-Sum, X-User]}}
plans: {standard: {rate: 1000/s}, partner: {rate: 1000/s}}
consumers:
  - {name: budget-app, plan: partner, api_keys: ["sha256:5f7b2ed74a9736a538a6fb5a5a1a76afdcdd0d177d7fc6e79c6b6843527d848d"]}
  - {name: mobile, plan: standard, claims: {azp: mobile-app}}
policies:
  sign-in: {jwt: {issuer: "https://id.bank.example", audience: bank-api, jwks: %s}}
  partner-key: {api_key: {header: X-API-Key, query: key, cookie: key}}
  keyed: {api_key: {header: X-API-Key, query: key, forward: true}}
  either: {any_of: [sign-in, partner-key]}
  asked: {forward_auth: {url: %q, headers: [X-User], timeout: 500ms}}
  ask-or-key: {any_of: [asked, partner-key]}
  bare: {request: {headers: {remove: [Authorization]}}}
  members: {authorize: {allow: '"member" in claims.roles'}}
routes:
  - {name: open, match: {path: /open}, backend: app}
  - {name: status, match: {path: /status}, respond: {text: ok}}
  - {name: token, match: {path: /token}, policies: [sign-in], backend: app}
  - {name: members, match: {path: /members}, policies: [sign-in, members], backend: app}
  - {name: bare, match: {path: /bare}, policies: [sign-in, bare], backend: app}
  - {name: key, match: {path: /key}, policies: [partner-key], backend: app}
  - {name: keyed, match: {path: /keyed}, policies: [keyed], backend: app}
  - {name: either, match: {path: /either}, policies: [either], backend: app}
  - {name: asked, match: {path: /asked}, policies: [asked], backend: app}
  - {name: ask-or-key, match: {path: /ask-or-key}, policies: [ask-or-key], backend: app}
  - {name: parts, match: {path: /parts}, policies: [either], compose: {steps: {app: {backend: app, path: /part}}, body: {app: "${app.body}"}}}
backends: {app: {endpoints: [%q]}}
`, jwks, auth, backend)
}

const demoKey = "demo-partner-key"

// byURL is a jwks section; min is the least time between two fetches.
func (i *issuer) byURL(min string) string {
	return fmt.Sprintf("{url: %q, refresh: 1h, timeout: 5s, min_interval: %s}", i.URL, min)
}

// publish replaces the keys.
func (i *issuer) publish(keys ...*signer) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = keys
}

// since returns how long ago the keys were last fetched.
func (i *issuer) since() time.Duration {
	i.mu.Lock()
	defer i.mu.Unlock()
	return time.Since(i.last)
}

// TestKeysAreRotated: an issuer changes its keys while requests run, and no request with a token of a published key is refused.
func TestKeysAreRotated(t *testing.T) {
	const minInterval = 10 * time.Millisecond
	var use sync.RWMutex // held for reading while a token is under way, so that its key stays published
	current := newSigner(t, "k0")
	i := newIssuer(t, current)
	g := start(t, guarded(i.byURL(minInterval.String()), telling(t).Addr, "http://127.0.0.1:1/"))
	stop, failed := make(chan struct{}), make(chan string, 3)
	var clients sync.WaitGroup
	for n := range 3 {
		c := g.dial("public")
		clients.Go(func() {
			for turn := 0; ; turn++ {
				select {
				case <-stop:
					return
				default:
				}
				use.RLock()
				err := c.TrySend(with("/token", "Authorization: Bearer "+current.token(fmt.Sprintf("c-%d-%d", n, turn), "")))
				r, _ := c.TryResponse("GET")
				use.RUnlock()
				if err != nil || r == nil || r.Status != 200 {
					failed <- fmt.Sprintf("turn %d: %v %+v", turn, err, r)
					return
				}
			}
		})
	}
	old := current
	for n := range 10 {
		next := newSigner(t, fmt.Sprintf("k%d", n+1))
		old = current
		i.publish(old, next)
		// Whoever has fetched just before cannot know the key, and asks again only after min_interval: a key is published before it is used.
		testnet.Eventually(t, "the time of the next fetch", func() bool { return i.since() > 2*minInterval })
		use.Lock()
		current = next
		use.Unlock()
		i.publish(next)
	}
	close(stop)
	clients.Wait()
	select {
	case text := <-failed:
		t.Error(text)
	default:
	}
	// A key that was withdrawn is good until the next fetch, which an unknown key starts, and then no more, whatever was verified by it.
	withdrawn := "Authorization: Bearer " + old.token("c-1", "")
	testnet.Eventually(t, "the end of the old key", func() bool {
		g.dial("public").Do("GET", with("/token", "Authorization: Bearer "+newSigner(t, "never").token("a", "")))
		return told(g.dial("public").Do("GET", with("/token", withdrawn))) == `401 key_unknown; WWW-Authenticate: Bearer error="invalid_token"`
	})
}

// TestIssuerAway: the program starts without its issuer, refuses what needs it, tells of that, and recovers alone.
func TestIssuerAway(t *testing.T) {
	key := newSigner(t, "k1")
	i := newIssuer(t, key)
	i.setAway(true)
	g := start(t, guarded(i.byURL("10ms"), telling(t).Addr, "http://127.0.0.1:1/"))
	g.wait()
	c, admin := g.dial("public"), g.operator()
	token := "Authorization: Bearer " + key.token("c-7", "")
	for request, want := range map[string]string{
		with("/token", token):                         "503 jwks_unavailable; Retry-After: 1",
		with("/token"):                                "401 token_missing; WWW-Authenticate: Bearer",
		with("/open", token):                          "200",
		with("/status"):                               "200",
		with("/key", "X-API-Key: "+demoKey):           "200",
		with("/either", "X-API-Key: "+demoKey):        "200",
		with("/either", token, "X-API-Key: "+demoKey): "200",
		with("/either", token):                        "503 jwks_unavailable; Retry-After: 1",
		with("/either", token, "X-API-Key: wrong"):    "503 jwks_unavailable; Retry-After: 1",
	} {
		if got := told(c.Do("GET", request)); got != want {
			t.Errorf("%q: %s, want %s", request[:40], got, want)
		}
	}
	ready := func() string {
		status, answer := admin.do("GET", "/readyz", "")
		text, err := json.Marshal(answer["degraded"])
		if status != 200 || err != nil {
			t.Fatalf("/readyz: %d %v", status, err)
		}
		return string(text)
	}
	if got := ready(); got != `[{"policy":"sign-in","reason":"jwks_unavailable"}]` {
		t.Errorf("degraded: %s", got)
	}
	i.setAway(false)
	testnet.Eventually(t, "the keys", func() bool { return c.Do("GET", with("/token", token)).Status == 200 })
	testnet.Eventually(t, "nothing degraded", func() bool { return ready() == "[]" })
	// Keys that were got once stay in use, and a reload keeps them, with the tokens that were verified.
	i.setAway(true)
	fetches := i.count()
	g.take(guarded(i.byURL("10ms"), telling(t).Addr, "http://127.0.0.1:2/"))
	if got := told(g.dial("public").Do("GET", with("/token", token))); got != "200" {
		t.Errorf("after a reload: %s", got)
	}
	if got := told(g.dial("public").Do("GET", with("/token", "Authorization: Bearer "+key.token("c-8", "")))); got != "200" || i.count() != fetches {
		t.Errorf("after a reload a new token got %s; %d more fetches", got, i.count()-fetches)
	}
	if strings.Contains(g.reports.String(), token[22:]) {
		t.Error("the reports show a token")
	}
}

// TestUnknownKeys: tokens with made-up keys make nobody fetch.
func TestUnknownKeys(t *testing.T) {
	key := newSigner(t, "k1")
	i := newIssuer(t, key)
	g := start(t, guarded(i.byURL("1h"), telling(t).Addr, "http://127.0.0.1:1/"))
	c := g.dial("public")
	if got := told(c.Do("GET", with("/token", "Authorization: Bearer "+key.token("c", "")))); got != "200" {
		t.Fatal(got)
	}
	for n := range 50 {
		token := newSigner(t, fmt.Sprintf("x%d", n)).token("c", "")
		if got := told(c.Do("GET", with("/token", "Authorization: Bearer "+token))); got != `401 key_unknown; WWW-Authenticate: Bearer error="invalid_token"` {
			t.Fatal(got)
		}
	}
	if n := i.count(); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
	again := "Authorization: Bearer " + key.token("d", "")
	for range 3 {
		c.Do("GET", with("/token", again))
	}
	for series, want := range map[string]string{
		`sluice_authentications_total{policy="sign-in",result="refused"}`: "50", `sluice_key_fetches_total{policy="sign-in",result="ok"}`: "1",
		`sluice_verified_callers_total{policy="sign-in",event="hit"}`: "2",
	} {
		if got := g.metric(series); got != want {
			t.Errorf("%s is %q, want %s", series, got, want)
		}
	}
	if got := g.metric(`sluice_verified_callers_bytes{policy="sign-in"}`); len(got) < 3 {
		t.Errorf("two tokens are remembered in %q bytes", got)
	}
	g.take(fixed("x"))
	if got := g.metric(`sluice_verified_callers_bytes{policy="sign-in"}`); got != "" {
		t.Errorf("without the policy there are still %s bytes", got)
	}
}

// keyFile writes a key set and returns the section that names it.
func keyFile(t testing.TB, keys ...*signer) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "jwks.json")
	write(t, name, set(keys...))
	return fmt.Sprintf("{file: %q}", name)
}

// lines returns the lines of a head that a service got which begin with one of the names.
func lines(body []byte, names ...string) string {
	var out []string
	for i, line := range strings.Split(string(body), "\n") {
		name, _, _ := strings.Cut(line, ":")
		if i == 0 || slices.ContainsFunc(names, func(n string) bool {
			return strings.EqualFold(strings.NewReplacer("_", "-", ".", "-").Replace(name), n)
		}) {
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n")
}

// TestWhatTravelsOn: credentials go on to the backend unless they are removed, API keys never, and who calls is told by the gateway alone.
func TestWhatTravelsOn(t *testing.T) {
	key := newSigner(t, "k1")
	g := start(t, guarded(keyFile(t, key), telling(t).Addr, "http://127.0.0.1:1/"))
	token := "Authorization: Bearer " + key.token("c-7", "")
	mobile := "Authorization: Bearer " + key.token("c-7", `,"azp":"mobile-app"`)
	for _, tc := range []struct {
		path  string
		lines []string
		want  string
	}{
		{"/token", []string{token}, "GET /token\n" + token},
		{"/token", []string{mobile}, "GET /token\n" + mobile + "\nX-Consumer: mobile\nX-Consumer-Plan: standard"},
		{"/bare", []string{mobile}, "GET /bare\nX-Consumer: mobile\nX-Consumer-Plan: standard"},
		{"/open", []string{token, "X-API-Key: " + demoKey}, "GET /open\n" + token + "\nX-API-Key: " + demoKey},
		{"/key", []string{"X-API-Key: " + demoKey, token}, "GET /key\n" + token + "\nX-Consumer: budget-app\nX-Consumer-Plan: partner"},
		{"/key?a=1&key=" + demoKey + "&b=2", nil, "GET /key?a=1&b=2\nX-Consumer: budget-app\nX-Consumer-Plan: partner"},
		{"/key?key=" + demoKey, nil, "GET /key\nX-Consumer: budget-app\nX-Consumer-Plan: partner"},
		{"/key", []string{"Cookie: a=b; key=" + demoKey}, "GET /key\nCookie: a=b\nX-Consumer: budget-app\nX-Consumer-Plan: partner"},
		{"/keyed?key=" + demoKey, nil, "GET /keyed?key=" + demoKey + "\nX-Consumer: budget-app\nX-Consumer-Plan: partner"},
		{"/keyed", []string{"X-API-Key: " + demoKey}, "GET /keyed\nX-API-Key: " + demoKey + "\nX-Consumer: budget-app\nX-Consumer-Plan: partner"},
		{"/either", []string{token, "X-API-Key: " + demoKey}, "GET /either\n" + token},
	} {
		r := g.dial("public").Do("GET", with(tc.path, tc.lines...))
		if got := strings.TrimSpace(lines(r.Body, "Authorization", "Cookie", "X-API-Key", "X-Consumer", "X-Consumer-Plan")); r.Status != 200 || got != tc.want {
			t.Errorf("%s %.40q: answer %s, the backend got\n%s\nwant\n%s", tc.path, tc.lines, told(r), got, tc.want)
		}
	}
	// A composition sends none of it to its parts, but for who calls.
	r := g.dial("public").Do("GET", with("/parts?key=x", mobile, "X-API-Key: "+demoKey, "Cookie: key="+demoKey))
	var answer struct{ App string }
	if err := json.Unmarshal(r.Body, &answer); err != nil || r.Status != 200 {
		t.Fatalf("%s %v", told(r), err)
	}
	if got := lines([]byte(answer.App), "Authorization", "Cookie", "X-API-Key", "X-Consumer"); got != "GET /part\nX-Consumer: mobile" || strings.Contains(answer.App, demoKey) {
		t.Errorf("a part got\n%s", answer.App)
	}
}

// TestChallenges: what callers are told whom nobody has recognised.
func TestChallenges(t *testing.T) {
	key := newSigner(t, "k1")
	g := start(t, guarded(keyFile(t, key), telling(t).Addr, "http://127.0.0.1:1/"))
	token := "Authorization: Bearer " + key.token("c-7", "")
	for _, tc := range []struct {
		path  string
		lines []string
		want  string
	}{
		{"/either", nil, "401 credentials_missing; WWW-Authenticate: Bearer, ApiKey"},
		{"/either", []string{token + "x"}, `401 token_invalid; WWW-Authenticate: Bearer error="invalid_token", ApiKey`},
		{"/either", []string{"X-API-Key: a"}, "401 api_key_unknown; WWW-Authenticate: Bearer, ApiKey"},
		{"/token", []string{token, token}, `401 header_repeated; WWW-Authenticate: Bearer error="invalid_token"`},
		{"/key", []string{"X-API-Key: a", "X-API-Key: a"}, "401 header_repeated; WWW-Authenticate: ApiKey"},
		{"/members", []string{token}, "403 not_allowed"},
		{"/members", []string{"Authorization: Bearer " + key.token("a", `,"roles":["guest"]`)}, "403 not_allowed"},
		{"/members", []string{"Authorization: Bearer " + key.token("a", `,"roles":["guest","member"]`)}, "200"},
		{"/key", []string{"X-API-Key: " + strings.Repeat("a", 5000)}, "401 api_key_unknown; WWW-Authenticate: ApiKey"},
		{"/token", []string{"Authorization: Bearer " + strings.Repeat("a", 20000)}, `401 token_invalid; WWW-Authenticate: Bearer error="invalid_token"`},
		{"/token", []string{"Authorization: Bearer " + strings.Repeat("a", 70000)}, "431 header_too_large"},
	} {
		r := g.dial("public").Do("GET", with(tc.path, tc.lines...))
		if got := told(r); got != tc.want {
			t.Errorf("%s %.60q: %s, want %s", tc.path, tc.lines, got, tc.want)
		}
		if r.Status == 403 && !strings.Contains(string(r.Body), `"policy":"members"`) {
			t.Errorf("the problem does not name the rule: %s", r.Body)
		}
	}
	testnet.Eventually(t, "a line that names the rule", func() bool {
		return strings.Contains(g.out.String(), `"reason":"not_allowed"`) && strings.Contains(g.out.String(), `"policy":"members"`)
	})
}

// TestSecretsAreNotShown: no credential of a request, good or bad, stands in an answer, the log, the metrics, the reports or the admin pages.
func TestSecretsAreNotShown(t *testing.T) {
	key := newSigner(t, "k1")
	auth := telling(t)
	text := guarded(keyFile(t, key), telling(t).Addr, "http://"+auth.Addr+"/check")
	g := start(t, text)
	good, bad := key.token("c-7", ""), newSigner(t, "k1").token("c-7", "")
	const wrong, session, password = "a-mistyped-partner-key", "session-of-somebody", "amFuZTpzZWNyZXQ="
	var answers strings.Builder
	for _, path := range []string{"/status", "/token", "/members", "/key", "/keyed", "/either", "/asked", "/ask-or-key", "/none", "/a%zz"} {
		for _, fields := range [][]string{
			{"Authorization: Bearer " + good}, {"Authorization: Bearer " + bad}, {"Authorization: Bearer " + bad + "." + bad}, {"Authorization: Basic " + password},
			{"X-API-Key: " + wrong}, {"X-API-Key: " + wrong, "X-API-Key: " + demoKey}, {"Cookie: key=" + wrong + "; s=" + session}, {"Authorization: Bearer " + good, "Cookie: s=" + session},
		} {
			for _, query := range []string{"", "?a=1&key=" + wrong, "?%6bey=" + demoKey + "&b=2"} {
				r := g.dial("public").Do("GET", with(path+query, fields...))
				if r.Status == 200 && path != "/status" {
					continue // the backend's answer, which tells what it got
				}
				fmt.Fprintf(&answers, "%v\n%s\n", r.Header, r.Body)
			}
		}
	}
	var page strings.Builder
	if _, err := g.Registry().WriteTo(&page); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"/readyz", "/backends", "/routes"} {
		_, answer := g.operator().do("GET", p, "")
		fmt.Fprintln(&page, answer)
	}
	if err := g.Apply(parse(t, strings.Replace(text, "audience: bank-api", "audience: other", 1))); err != nil {
		t.Fatal(err)
	}
	g.Close()
	for where, shown := range map[string]string{"an answer": answers.String(), "the log": g.out.String(), "the metrics or the admin pages": page.String(), "the reports": g.reports.String()} {
		for _, secret := range []string{demoKey, wrong, session, password, good, bad, good[len(good)-20:], bad[len(bad)-20:], good[40:80]} {
			if at := strings.Index(shown, secret); at >= 0 {
				t.Errorf("%s shows a credential: …%s…", where, shown[max(0, at-100):min(len(shown), at+len(secret)+20)])
			}
		}
	}
	if !strings.Contains(g.out.String(), `"query":"a=1&key=***"`) || !strings.Contains(g.out.String(), `"query":"%6bey=***&b=2"`) {
		t.Error("the log does not show the rest of a query")
	}
}

// hash is how a key stands in a configuration.
func hash(key string) string {
	sum := sha256.Sum256([]byte(key))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// A reload changes whose a key is at once.
func TestKeysAreWithdrawn(t *testing.T) {
	text := guarded(keyFile(t, newSigner(t, "k1")), telling(t).Addr, "http://127.0.0.1:1/")
	g := start(t, text)
	c := g.dial("public")
	if got := told(c.Do("GET", with("/key", "X-API-Key: "+demoKey))); got != "200" {
		t.Error(got)
	}
	g.take(strings.Replace(text, hash(demoKey), hash("another"), 1))
	if got := told(c.Do("GET", with("/key", "X-API-Key: "+demoKey))); got != "401 api_key_unknown; WWW-Authenticate: ApiKey" {
		t.Error(got)
	}
	if got := told(c.Do("GET", with("/key", "X-API-Key: another"))); got != "200" {
		t.Error(got)
	}
}

// A set of keys in a file is read again when it changes; one that is broken changes nothing.
func TestKeysOfAFile(t *testing.T) {
	one, two := newSigner(t, "k1"), newSigner(t, "k2")
	name := filepath.Join(t.TempDir(), "jwks.json")
	write(t, name, set(one))
	g := start(t, guarded(fmt.Sprintf("{file: %q}", name), telling(t).Addr, "http://127.0.0.1:1/"))
	g.wait()
	c := g.dial("public")
	ask := func(key *signer) string {
		return told(c.Do("GET", with("/token", "Authorization: Bearer "+key.token("c", ""))))
	}
	if ask(one) != "200" || !strings.HasPrefix(ask(two), "401 key_unknown") {
		t.Fatal(ask(one), ask(two))
	}
	next := name + ".next"
	write(t, next, set(two))
	if err := os.Rename(next, name); err != nil {
		t.Fatal(err)
	}
	testnet.Eventually(t, "the new key", func() bool { return ask(two) == "200" })
	if got := ask(one); !strings.HasPrefix(got, "401 key_unknown") {
		t.Errorf("the old key: %s", got)
	}
	write(t, next, "{")
	if err := os.Rename(next, name); err != nil {
		t.Fatal(err)
	}
	testnet.Eventually(t, "the report", func() bool {
		_, answer := g.operator().do("GET", "/readyz", "")
		return fmt.Sprint(answer["degraded"]) == "[map[policy:sign-in reason:jwks_stale]]"
	})
	if got := ask(two); got != "200" {
		t.Errorf("with a broken file: %s", got)
	}
}
