package gateway

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// changingBank is configuration number i of those that have every kind of policy, compositions and versions. What changes does so in cycles of 2, 3 and 5.
type changingBank struct{ dir, crt, key, ca, app string }

func (c *changingBank) text(i int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "version: 1\nstate: %q\ncache: {memory: %dMiB}\nlisteners:\n  web: {address: \"127.0.0.1:0\", protocol: http}\n", c.dir, 8+i%2)
	fmt.Fprintf(&b, "  tls: {address: \"127.0.0.1:0\", protocol: https, tls: {certificates: [{cert: %q, key: %q}]}}\n", c.crt, c.key)
	fmt.Fprintf(&b, "backends: {app: {endpoints: [%q]}}\n", c.app)
	fmt.Fprintf(&b, "plans: {partner: {rate: %d/s, burst: 100000, quota: 5000000/month}}\n", 10_000+i%3)
	b.WriteString("consumers:\n  - {name: budget-app, plan: partner, api_keys: [\"sha256:5f7b2ed74a9736a538a6fb5a5a1a76afdcdd0d177d7fc6e79c6b6843527d848d\"]}\n")
	fmt.Fprintf(&b, "  - {name: c%d, claims: {azp: app%d}}\n", i%5, i%3)
	b.WriteString("policies:\n")
	fmt.Fprintf(&b, "  sign-in: {jwt: {issuer: \"https://id.bank.example\", audience: bank-api, leeway: %ds, jwks: {file: ../examples/bank/certs/jwks.json, refresh: %dm}}}\n", 30+i%2, 10+i%3)
	b.WriteString("  partner-key: {api_key: {header: X-API-Key}}\n  either: {any_of: [sign-in, partner-key]}\n  customers-only: {authorize: {allow: '\"customer\" in claims.roles'}}\n")
	fmt.Fprintf(&b, "  fair-use: {rate_limit: {key: claims.sub, rate: %d/s, burst: 100000}}\n  by-plan: {plan_limit: {}}\n", 100_000+i%5)
	fmt.Fprintf(&b, "  five-seconds: {cache: {ttl: %ds, vary_on: [claims.sub]}}\n  shared-rates: {cache: {default_ttl: 60s, stale_while_revalidate: 30s, shared: true}}\n", 5+i%3)
	fmt.Fprintf(&b, "  json-only: {validate: {max_body: %dKiB, content_type: [application/json], json_schema: {file: ../examples/bank/schemas/transfer.json}}}\n", 64+i%2)
	fmt.Fprintf(&b, "  asks%d: {forward_auth: {url: \"http://%s/ask\"}}\n", i%3, c.app)
	fmt.Fprintf(&b, "  few: {concurrency: {max: %d}}\n", 10+i%5)
	fmt.Fprintf(&b, "versions:\n  bank-api: {by: [path, header: Accept-Version], default: v2, v1: {deprecated: 2026-01-01, successor: v2}, v2: {}, x%d: {}}\n", i%5)
	b.WriteString("routes:\n  - {name: account, api: bank-api, versions: [v1, v2], match: {path: \"/accounts/{id}\", method: GET}, policies: [sign-in, customers-only, fair-use], rewrite: \"/a/${path.id}\", backend: app}\n")
	fmt.Fprintf(&b, `  - name: transfer
    api: bank-api
    versions: [v2]
    match: {path: /transfers, method: POST}
    policies:
      - sign-in
      - json-only
      - idempotency: {keep: %dh}
      - request: {headers: {set: {X-Customer: "${claims.sub}"}, remove: [Authorization]}, body: {set: {from: "${claims.sub}"}}}
      - response: {headers: {remove: [Server]}, body: {jq: "del(.internal) | .n = %d"}}
    backend: app
  - name: overview
    api: bank-api
    match: {path: /overview, method: GET}
    policies: [sign-in, fair-use, five-seconds, few]
    compose:
      steps:
        account: {backend: app, path: "/accounts/${claims.sub}"}
        rates%d: {backend: app, path: "/rates/${account.body.currency}", optional: true}
        each: {backend: app, path: "/items/${item}", for_each: account.body.items, optional: true}
      body: {account: "${account.body}", rates: "${rates%d.body}", each: "${each.body}"}
`, 24+i%2, i%3, i%2, i%2)
	fmt.Fprintf(&b, "  - {name: rates, match: {path: \"/rates/{currency}\", method: GET}, policies: [partner-key, by-plan, shared-rates, {cors: {origins: [\"https://app%d.example\"]}}, {compress: {}}], backend: app}\n", i%2)
	fmt.Fprintf(&b, "  - {name: own, match: {path: /own}, policies: [either, asks%d, {ip_filter: {deny: 10.0.0.0/8}}, {fault: {share: 0%%, abort: 503}}, {cache: {ttl: %ds}}], backend: app}\n", i%3, 1+i%5)
	fmt.Fprintf(&b, "  - {name: certified, listeners: [tls], match: {path: /c}, policies: [{mtls: {ca: %q}}], respond: {}}\n", c.ca)
	fmt.Fprintf(&b, "  - {name: named%d, match: {path: /basic}, policies: [{basic_auth: {file: %q}}], respond: {}}\n", i%5, filepath.Join(c.dir, "users"))
	return b.String()
}

// rootOf writes the certificate of an authority and returns its file.
func rootOf(t *testing.T, dir string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, root, root, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "root.pem")
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestReloadsOfPoliciesLeaveNothingBehind takes over 2,010 configurations with every kind of policy (with the race detector 240), with requests through all of
// them, and compares what is left with what was there after the first few.
func TestReloadsOfPoliciesLeaveNothingBehind(t *testing.T) {
	reloads := 2010
	if racing() {
		reloads = 240
	}
	dir := t.TempDir()
	crt, key := certificate(t, dir, "a.test")
	if err := os.WriteFile(filepath.Join(dir, "users"), []byte("one:$2y$04$HhzYnTyQ7v0dP0s0h7yY9uo0T7g1h4H5nX9rE2v1m8b0rXq3z5aGi\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	token, err := os.ReadFile("../examples/bank/tokens/customer.jwt")
	if err != nil {
		t.Fatal(err)
	}
	app := forgetfulOf(t, jsonAnswer(`{"id":"7","currency":"EUR","items":["1","2"],"internal":1}`, "Cache-Control: max-age=60"))
	c := &changingBank{dir, crt, key, rootOf(t, dir), app}
	g := start(t, "")
	type counts struct{ goroutines, heap, series, endpoints, things int }
	measure := func() counts {
		g.sweep()
		n := counts{endpoints: len(g.endpoints.kept), things: len(g.things.kept)}
		var page strings.Builder
		if _, err := g.Registry().WriteTo(&page); err != nil {
			t.Fatal(err)
		}
		n.series, n.goroutines = strings.Count(page.String(), "\n"), runtime.NumGoroutine()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		n.heap = int(m.HeapObjects)
		return n
	}
	bearer := "Authorization: Bearer " + strings.TrimSpace(string(token))
	const known = "X-API-Key: demo-partner-key"
	var web *testnet.Client
	var seen []counts
	for i := range reloads {
		g.take(c.text(i))
		if web == nil {
			web = g.dial("web")
		}
		for _, request := range []string{
			"GET /v1/accounts/7 HTTP/1.1\r\n" + bearer, "GET /overview HTTP/1.1\r\n" + bearer, "GET /rates/EUR HTTP/1.1\r\n" + known,
			"GET /own HTTP/1.1\r\n" + known, "GET /own HTTP/1.1\r\n" + bearer,
		} {
			if r := web.Do("GET", request+"\r\nHost: bank.example\r\n\r\n"); r.Status != 200 {
				t.Fatalf("reload %d: %s: %d %s", i, request[:20], r.Status, r.Body)
			}
		}
		body := `{"to":"DE89370400440532013000","amount":"1.00","currency":"EUR"}`
		if r := web.Do("POST", fmt.Sprintf("POST /transfers HTTP/1.1\r\nHost: bank.example\r\n%s\r\nIdempotency-Key: %d\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", bearer, i%7, len(body), body)); r.Status != 200 {
			t.Fatalf("reload %d: POST: %d %s", i, r.Status, r.Body)
		}
		if i%30 == 29 { // the same place in the cycles of everything that changes
			seen = append(seen, measure())
		}
	}
	first, last := seen[1], seen[len(seen)-1] // pools have their size by then
	t.Logf("after 60 reloads %+v, after %d %+v", first, reloads, last)
	if last.series > first.series+10 || last.endpoints != first.endpoints || last.things != first.things {
		t.Errorf("after 60 reloads %+v, after %d %+v", first, reloads, last)
	}
	var heaps, goroutines []int
	for _, n := range seen[1:] {
		heaps, goroutines = append(heaps, n.heap), append(goroutines, n.goroutines)
	}
	half := len(heaps) / 2
	if slices.Min(heaps[half:]) > slices.Min(heaps[:half])+1000 {
		t.Errorf("objects on the heap: %v", heaps)
	}
	if slices.Min(goroutines[half:]) > slices.Min(goroutines[:half])+3 {
		t.Errorf("goroutines: %v", goroutines)
	}
}
