package policy

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/expr"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
)

// served is a Program that keeps things over configurations, and closes them when the test ends.
type served struct {
	Program  // what it is not asked for here
	things   map[any]io.Closer
	opened   int
	registry *metric.Registry
	scope    *metric.Scope
	service  Service // that all questions go to; nil for none
	origins  []string
}

func newServed(t testing.TB) *served {
	p := &served{things: map[any]io.Closer{}, registry: metric.NewRegistry(metric.Options{})}
	p.scope = p.registry.Scope()
	t.Cleanup(func() {
		for _, c := range p.things {
			_ = c.Close()
		}
		p.scope.Release()
	})
	return p
}

func (p *served) Keep(_ string, key any, open func() (io.Closer, error)) (io.Closer, error) {
	if c := p.things[key]; c != nil {
		return c, nil
	}
	c, err := open()
	if err == nil {
		p.things[key] = c
		p.opened++
	}
	return c, err
}

func (p *served) Service(origin string) (Service, error) {
	if p.service == nil {
		return nil, errors.New("there is no service")
	}
	p.origins = append(p.origins, origin)
	return p.service, nil
}

func (p *served) Scope() *metric.Scope       { return p.scope }
func (p *served) Registry() *metric.Registry { return p.registry }
func (p *served) Reporter() func(string)     { return func(string) {} }

// counted returns how often a policy let pass and refused.
func (p *served) counted(policy string) string {
	n := map[string]int64{}
	p.registry.Each(metric.Authentications, func(values []string, value int64) {
		if values[0] == policy {
			n[values[1]] = value
		}
	})
	return fmt.Sprintf("%d passed, %d refused", n["passed"], n["refused"])
}

const (
	testSecret = "a-secret-of-32-bytes-or-more-0123456789"
	testKey    = "demo-partner-key"
	testHash   = "sha256:5f7b2ed74a9736a538a6fb5a5a1a76afdcdd0d177d7fc6e79c6b6843527d848d"
)

// identities is a configuration with policies of all kinds, consumers of all kinds, and a route with a list of policies. Files are in dir.
func identities(dir, list string) string {
	return fmt.Sprintf(`version: 1
listeners: {web: {address: "127.0.0.1:8080", protocol: http}}
plans: {standard: {rate: 1/s}, partner: {rate: 9/s}}
consumers:
  - {name: budget-app, plan: partner, api_keys: %q}
  - {name: mobile, plan: standard, claims: {azp: mobile-app, level: "2"}}
  - {name: lists, claims: {aud: other-api}}
  - {name: jane, plan: standard}
policies:
  sign-in: {jwt: {issuer: "https://id.bank.example", audience: [bank-api, other-api], secret: %q}}
  partner-key: {api_key: {header: X-API-Key, query: api_key, cookie: key}}
  staff: {basic_auth: {file: %q, realm: 'a "bank"'}}
  asked: {forward_auth: {url: "http://127.0.0.1:9000/check?x=1", headers: [X-User, X-Roles], timeout: 1s}}
  either: {any_of: [sign-in, partner-key]}
  three: {any_of: [sign-in, partner-key, staff]}
  ask-or-key: {any_of: [asked, partner-key]}
  key-or-ask: {any_of: [partner-key, asked]}
routes:
  - {name: items, match: {path: "/items/{id}/*"}, policies: %s, respond: {status: 204}}
`, testHash, testSecret, filepath.Join(dir, "users"), list)
}

// users writes the file of passwords: jane with the password "secret word", which a machine has made.
func users(t testing.TB) (dir string) {
	t.Helper()
	dir = t.TempDir()
	sum := sha256.Sum256([]byte("secret word"))
	text := "jane:{SHA256}" + base64.StdEncoding.EncodeToString(sum[:]) + "\n"
	if err := os.WriteFile(filepath.Join(dir, "users"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// guard builds the policies of the route in a configuration, served by p.
func guard(t testing.TB, p *served, text string) *Chain {
	t.Helper()
	cfg, err := config.Load("test.yaml", []byte(text), config.Options{Kinds: Kinds()})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	built, _, err := compiled(cfg, p)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return built
}

// compiled builds the policies of the first route. Without a program they are only checked.
func compiled(cfg *config.Config, p *served) (*Chain, config.Errors, error) {
	c := BuildContext{Route: "items", Env: expr.Env{Captures: []string{"id", "rest"}, Rest: "rest"}, Report: cfg.Reporter(), Config: cfg, Consumers: NewConsumers(cfg)}
	if p != nil {
		c.Program = p
	}
	built, _ := Compile(cfg.Routes[0].Policies, c)
	return built, c.Report.Warnings(), c.Report.Err()
}

// bearer returns a token with the usual claims and those given, which replace them; nil ones are left out.
func bearer(claims map[string]any) string {
	all := map[string]any{"iss": "https://id.bank.example", "aud": "bank-api", "sub": "c-7", "exp": time.Now().Add(time.Hour).Unix()}
	maps.Copy(all, claims)
	var members []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		switch v := all[name].(type) {
		case nil:
		case string:
			members = append(members, fmt.Sprintf("%q:%q", name, v))
		default:
			members = append(members, fmt.Sprintf("%q:%v", name, v))
		}
	}
	text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." +
		base64.RawURLEncoding.EncodeToString([]byte("{"+strings.Join(members, ",")+"}"))
	mac := hmac.New(sha256.New, []byte(testSecret))
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// basic returns the value of Authorization for a name and a password.
func basic(name, password string) string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+password))
}

// caller says who an identity is: the subject, the consumer and its plan.
func caller(x *message.Exchange) string {
	if x.Identity == nil {
		return "nobody"
	}
	sub := "-"
	if c := x.Identity.Claim("sub"); c != nil {
		sub = string(c.Text)
	}
	return strings.TrimSpace(sub + " " + x.Identity.Consumer + " " + x.Identity.Plan)
}

// refusal says what the client is told: status, reason, challenge.
func refusal(f *message.Failure) string {
	if f == nil {
		return ""
	}
	text := fmt.Sprintf("%d %s", statusOf(f), f.Reason)
	for _, field := range f.Fields {
		text += fmt.Sprintf("; %s: %s", field.Name.String(), field.Value)
	}
	return text
}

// try sends a request with these header lines through the policies.
func try(c *Chain, query string, lines ...string) (x *message.Exchange, f *message.Failure) {
	x = exchange(query, lines...)
	x.Times.Read = message.Now()
	_, _, f = c.Request(x, 0, nil)
	return x, f
}
