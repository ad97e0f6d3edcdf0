package bank

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/expr"
	"github.com/sluice-gateway/sluice/test/rig"
)

// example is a line of the page: an expression and what it gives, or what is said of it.
type example struct {
	line         int
	source, want string
}

// blocks returns the examples of the page in its blocks of a kind, and the text of the blocks.
func blocks(t *testing.T, page, kind string) (all []example, texts []string) {
	t.Helper()
	inside := false
	var text strings.Builder
	for i, line := range strings.Split(page, "\n") {
		switch {
		case line == "```"+kind:
			inside = true
		case line == "```" && inside:
			inside = false
			texts = append(texts, text.String())
			text.Reset()
		case inside:
			text.WriteString(line + "\n")
			if source, want, ok := strings.Cut(line, " → "); ok {
				all = append(all, example{i + 1, strings.TrimSpace(source), strings.TrimSpace(want)})
			}
		}
	}
	if len(texts) == 0 {
		t.Fatalf("the page has no block of %s", kind)
	}
	return all, texts
}

func readPage(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/expressions.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// everywhere is an environment in which everything of the page's example is known.
func everywhere() expr.Env {
	return expr.Env{Captures: []string{"id", "name", "rest"}, Rest: "rest", Response: true, Claims: true, Consumer: true, Version: true,
		Steps: []string{"account", "rows", "rates"}, Item: "item"}
}

// Every result on the page is what a gateway says when it is asked with the page's request.
func TestExamplesOfExpressions(t *testing.T) {
	examples, _ := blocks(t, readPage(t), "cel")
	if len(examples) < 50 {
		t.Fatalf("%d examples were found", len(examples))
	}
	var body strings.Builder
	for i, e := range examples {
		source, _ := json.Marshal("${" + e.source + "}")
		fmt.Fprintf(&body, "        e%d: %s\n", i, source)
	}
	page := newPage(t)
	g := rig.Start(t, page.text(`"/customers/{id}/accounts/{name}"`, body.String()))
	c := g.Dial("web")
	c.Send("GET /v2/customers/7/accounts/a%2Fb?sort=date&tag=x&tag=y HTTP/1.1\r\nHost: api.bank.example\r\nAccept-Language: de\r\nX-List: a\r\nX-List: b\r\nCookie: theme=dark\r\n" +
		bearer(page.token) + "\r\n\r\n")
	r := c.Response("GET")
	if r.Status != 200 || r.Header.Get("Sluice-Partial") != "rates;reason=status_503" {
		t.Fatalf("answer %d %v %s", r.Status, r.Header, r.Body)
	}
	var got map[string]json.RawMessage
	if err := json.Unmarshal(r.Body, &got); err != nil {
		t.Fatalf("%v in %s", err, r.Body)
	}
	for i, e := range examples {
		if value := string(got[fmt.Sprint("e", i)]); value != e.want {
			t.Errorf("docs/expressions.md:%d: %s gives %s, not %s", e.line, e.source, value, e.want)
		}
	}
}

// examplePage is what the page's example is asked of.
type examplePage struct {
	account, rows, rates *rig.Origin
	keys, token          string
}

func newPage(t *testing.T) *examplePage {
	t.Helper()
	answering := func(name string, status int, body string) *rig.Origin {
		return rig.NewOrigin(t, name, func(c *rig.OriginConn) {
			for c.Request() != nil {
				c.Send(jsonOf(status, body))
			}
		})
	}
	i := newIssuer(t, "k1")
	p := &examplePage{
		account: answering("account", 200, `{"id":"a-1","balance":1234.50,"tags":["x","y"],"owner":{"name":"Ann"}}`),
		rows:    answering("rows", 200, `{"items":[{"id":1,"amount":1.10},{"id":2,"amount":2e2},{"id":3,"amount":300}]}`),
		rates:   answering("rates", 503, `{}`),
		keys:    t.TempDir() + "/jwks.json",
	}
	write(t, p.keys, i.keySet())
	p.token = i.seal(`{"alg":"ES256","kid":"k1"}`, `{"sub":"7","roles":["customer","admin"],"level":2,"limit":1.10,"address":{"city":"Bern"},"azp":"mobile-app","exp":9999999999}`)
	return p
}

func (p *examplePage) text(path, body string) string {
	return fmt.Sprintf(`version: 1
listeners: {web: {address: "127.0.0.1:0", protocol: http}}
backends:
  account: {endpoints: [%q]}
  rows: {endpoints: [%q]}
  rates: {endpoints: [%q]}
plans: {standard: {rate: 1000/s}}
consumers:
  - {name: app, plan: standard, claims: {azp: mobile-app}}
policies:
  sign-in: {jwt: {jwks: {file: %q}}}
versions:
  api: {by: path, default: v2, v2: {}}
routes:
  - match: {path: %s}
    api: api
    policies: [sign-in]
    compose:
      steps:
        account: {backend: account, path: /account}
        rows: {backend: rows, path: /rows}
        rates: {backend: rates, path: /rates, optional: true}
      body:
%s`, p.account.Addr(), p.rows.Addr(), p.rates.Addr(), p.keys, path, body)
}

// What the page calls refused is refused, in these words.
func TestRefusedExpressions(t *testing.T) {
	examples, _ := blocks(t, readPage(t), "cel refused")
	for _, e := range examples {
		env := everywhere()
		env.Response = !strings.HasPrefix(e.source, "response")
		if _, err := expr.Compile(e.source, env); err == nil || err.Error() != e.want {
			t.Errorf("docs/expressions.md:%d: of %s is said %v, not %s", e.line, e.source, err, e.want)
		}
	}
	if len(examples) < 5 {
		t.Errorf("%d examples were found", len(examples))
	}
}

// The variables and functions that the tables name are there, and no other: what the page leaves out would be found by nobody.
func TestNamedVariables(t *testing.T) {
	page := readPage(t)
	_, table, _ := strings.Cut(page, "## Variables")
	table, _, _ = strings.Cut(table, "**Where each is known.**")
	n := 0
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(table, -1) {
		n++
		if _, err := expr.Compile(row[1], everywhere()); err != nil {
			t.Errorf("%s: %v", row[1], err)
		}
	}
	if n < 20 {
		t.Errorf("%d variables were found", n)
	}
	for _, member := range []string{"request.method", "request.scheme", "request.host", "request.path", "request.query", "request.headers", "request.cookies", "request.size", "request.id",
		"request.query_all", "client.ip", "client.port", "client.cert.subject", "client.cert.san", "consumer.name", "consumer.plan", "response.status", "response.headers"} {
		if !strings.Contains(table, member) {
			t.Errorf("the table lacks %s", member)
		}
	}
	for _, name := range regexp.MustCompile(`(?:merge\.\w+|concat|json\.\w+|base64\.\w+|cel\.bind|lists\.range|sets\.\w+|math\.\w+)`).FindAllString(page, -1) {
		if !known(name) {
			t.Errorf("there is no function %s", name)
		}
	}
}

// known reports whether expressions have a function of this name, whatever its arguments are.
func known(name string) bool {
	for _, args := range []string{"([1], [1])", "(1)", "([1])", `("1")`, `({"a": 1})`, `(b"1")`, "(1.5)", "(x, 1, x)"} {
		if _, err := expr.Compile(name+args, everywhere()); err == nil {
			return true
		}
	}
	return false
}

// The configurations of the page work.
func TestConfigurationsOfExpressions(t *testing.T) {
	_, texts := blocks(t, readPage(t), "yaml")
	for _, text := range texts {
		if warnings, err := check("page.yaml", text); err != nil || len(warnings) > 0 {
			t.Errorf("%v %q in\n%s", err, warnings, text)
		}
	}
}
