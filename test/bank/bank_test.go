package bank

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-gateway/sluice/test/rig"
)

// partnerKey is the API key whose hash stands in the bank's configuration.
const partnerKey = "demo-partner-key"

// bank is the bank's gateway with its three services.
type bank struct {
	*rig.Gateway
	*issuer
	t testing.TB

	accounts, transactions, rates *service

	dir     string
	secrets []string // what no answer may hold
}

// service is one of the bank's services, at one or several addresses.
type service struct {
	name    string
	origins []*rig.Origin

	mu     sync.Mutex
	answer func(r *rig.Request) string  // what a request is answered with, as bytes; "" closes the connection
	hold   func(c *rig.OriginConn) bool // what happens before that; false ends the connection
}

// options change the bank's configuration.
type options struct {
	replace []string // old and new texts, in turn; each old one has to be there
	sunset  string   // of v1; "" is a day that is far off

	careless bool // clients write their credentials into addresses, which are logged
}

// newService starts a service with n endpoints.
func newService(t testing.TB, name string, n int, answer func(r *rig.Request) string) *service {
	s := &service{name: name, answer: answer}
	for range n {
		s.origins = append(s.origins, rig.NewOrigin(t, name, func(c *rig.OriginConn) {
			for {
				r := c.Request()
				if r == nil {
					return
				}
				if r.Target == "/healthz" {
					c.Answer(200, "ok")
					continue
				}
				text, more := s.reply(c, r)
				if text == "" || !c.Send(text) || !more {
					c.Close()
					return
				}
			}
		}))
	}
	return s
}

// reply waits while the service is held and returns what it answers.
func (s *service) reply(c *rig.OriginConn, r *rig.Request) (text string, more bool) {
	s.mu.Lock()
	hold, answer := s.hold, s.answer
	s.mu.Unlock()
	if hold != nil && !hold(c) {
		return "", false
	}
	return answer(r), true
}

// answers changes what the service answers.
func (s *service) answers(answer func(r *rig.Request) string) {
	s.mu.Lock()
	s.answer = answer
	s.mu.Unlock()
}

// always lets the service answer everything alike.
func (s *service) always(text string) { s.answers(func(*rig.Request) string { return text }) }

// holds lets every request wait for an event before it is answered.
func (s *service) holds(event <-chan struct{}) {
	s.when(func(c *rig.OriginConn) bool { return c.Wait(event) })
}

// when lets something happen before each answer; where it reports false the connection ends.
func (s *service) when(hold func(c *rig.OriginConn) bool) {
	s.mu.Lock()
	s.hold = hold
	s.mu.Unlock()
}

// down ends the service: nobody listens at its addresses any more.
func (s *service) down() {
	for _, o := range s.origins {
		o.Unlisten()
		for _, c := range o.Conns() {
			c.Close()
		}
	}
}

// requests returns what has reached the service but the health checks, in no certain order over its endpoints.
func (s *service) requests(t testing.TB) []*rig.Request {
	t.Helper()
	var all []*rig.Request
	for _, o := range s.origins {
		got, err := o.Requests()
		if err != nil {
			t.Errorf("%s received what is no request: %v", s.name, err)
		}
		for _, r := range got {
			if r.Target != "/healthz" {
				all = append(all, r)
			}
		}
	}
	return all
}

// jsonOf is an answer of JSON.
func jsonOf(status int, body string, fields ...string) string {
	return rig.Answer(status, body, append([]string{"Content-Type: application/json"}, fields...)...)
}

// What the services answer unless a test wants it otherwise.
func account(r *rig.Request) string {
	id := r.Target[strings.LastIndexByte(r.Target, '/')+1:]
	return jsonOf(200, fmt.Sprintf(`{"id":%q, "currency":"EUR", "balance":1234.50}`, id), "Cache-Control: private, max-age=30", "Server: ledger/1.2")
}

func transactions(r *rig.Request) string {
	if r.Method == "POST" {
		return jsonOf(201, `{"id":"t-1","internal":{"node":"db-3"}, "amount":"10.50"}`, "Server: ledger/1.2", "Location: /transfers/t-1")
	}
	return jsonOf(200, `{"items":[{"amount":1.10},{"amount":2e2}],"next":null}`, "Cache-Control: max-age=10")
}

func rates(*rig.Request) string {
	return jsonOf(200, `{"EUR":1.000, "USD":1.0840,"note":"`+strings.Repeat("indicative ", 60)+`"}`, "Cache-Control: max-age=60", `ETag: "r1"`)
}

// start runs the bank.
func start(t testing.TB, o options) *bank {
	t.Helper()
	b := &bank{t: t, issuer: newIssuer(t, "k1"), dir: t.TempDir()}
	b.accounts = newService(t, "accounts", 2, account)
	b.transactions = newService(t, "transactions", 2, transactions)
	b.rates = newService(t, "rates", 1, rates)
	text := b.text(o)
	b.secrets = append(b.secrets, b.dir, partnerKey, "/tmp/", ".go:", "goroutine ", "runtime.", "panic", ".yaml", "jwks.json", "transfer.json", "127.0.0.1", "dial tcp")
	for _, s := range []*service{b.accounts, b.transactions, b.rates} {
		for _, origin := range s.origins {
			b.secrets = append(b.secrets, origin.Addr()[strings.LastIndexByte(origin.Addr(), ':'):])
		}
	}
	b.Gateway = rig.Start(t, text)
	if !o.careless {
		t.Cleanup(b.searchLog)
	}
	return b
}

// searchLog looks through the access log and what operators are told for credentials: whoever may read them must not be able to call.
func (b *bank) searchLog() {
	b.Close()
	told := b.Out.String() + b.Reports.String()
	for _, secret := range append(b.signatures, partnerKey) {
		if strings.Contains(told, secret) {
			b.t.Errorf("the log tells %q", secret)
		}
	}
	if strings.Contains(told, "goroutine ") {
		b.t.Errorf("the log holds a stack:\n%.3000s", told)
	}
}

// text returns the bank's configuration with the addresses and files of the test.
func (b *bank) text(o options) string {
	b.t.Helper()
	raw, err := os.ReadFile("../../examples/bank/bank.yaml")
	if err != nil {
		b.t.Fatal(err)
	}
	schema, err := os.ReadFile("../../examples/bank/schemas/transfer.json")
	if err != nil {
		b.t.Fatal(err)
	}
	write(b.t, filepath.Join(b.dir, "jwks.json"), b.keySet())
	write(b.t, filepath.Join(b.dir, "transfer.json"), string(schema))
	sunset := "2999-01-01"
	if o.sunset != "" {
		sunset = o.sunset
	}
	text := change(b.t, string(raw), append([]string{
		"127.0.0.1:8080", "127.0.0.1:0",
		"127.0.0.1:9900", "127.0.0.1:0",
		"127.0.0.1:9101", b.accounts.origins[0].Addr(),
		"127.0.0.1:9102", b.accounts.origins[1].Addr(),
		"127.0.0.1:9111", b.transactions.origins[0].Addr(),
		"127.0.0.1:9112", b.transactions.origins[1].Addr(),
		"127.0.0.1:9121", b.rates.origins[0].Addr(),
		"certs/jwks.json", filepath.Join(b.dir, "jwks.json"),
		"schemas/transfer.json", filepath.Join(b.dir, "transfer.json"),
		"sunset: 2027-01-01", "sunset: " + sunset,
	}, o.replace...)...)
	return text + "access_log: stdout\n"
}

// change replaces texts, each of which has to be there.
func change(t testing.TB, text string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("the bank's configuration has no %q", pairs[i])
		}
		text = strings.ReplaceAll(text, pairs[i], pairs[i+1])
	}
	return text
}

func write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// get is a GET request with further field lines.
func get(target string, fields ...string) string { return with("GET", target, nil, fields) }

// post is a POST request of JSON with a length.
func post(target, body string, fields ...string) string {
	return with("POST", target, &body, append([]string{"Content-Type: application/json"}, fields...))
}

// with is a request; body nil is none.
func with(method, target string, body *string, fields []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: api.bank.example\r\n", method, target)
	for _, f := range fields {
		b.WriteString(f + "\r\n")
	}
	if body == nil {
		return b.String() + "\r\n"
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(*body), *body)
	return b.String()
}

// chunked makes chunks of the body of a request that has a length.
func chunked(request string, size int) string {
	head, body, _ := strings.Cut(request, "\r\n\r\n")
	var b strings.Builder
	b.WriteString(length.ReplaceAllString(head, "Transfer-Encoding: chunked") + "\r\n\r\n")
	for len(body) > 0 {
		n := min(size, len(body))
		fmt.Fprintf(&b, "%x\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	return b.String() + "0\r\n\r\n"
}

var length = regexp.MustCompile(`Content-Length: \d+`)

// bearer is the field that brings a token.
func bearer(token string) string { return "Authorization: Bearer " + token }

// ask sends a request on a connection of its own, reads its answer, and searches it.
func (b *bank) ask(request string) *rig.Response {
	b.t.Helper()
	c := b.Dial("public")
	defer c.Close()
	return b.on(c, request)
}

// on is ask on a connection that goes on.
func (b *bank) on(c *rig.Client, request string) *rig.Response {
	b.t.Helper()
	c.Push(request) // the gateway may stop reading
	method, _, _ := strings.Cut(request, " ")
	r := c.Response(method)
	b.search(request, r)
	return r
}

// goType is what Go prints of types and of errors of its packages.
var goType = regexp.MustCompile(`\*?\b[a-z][a-z0-9]*\.(Error|[A-Z][a-z]+[A-Z]?\w*)\b|&\{|%!|0x[0-9a-f]{8}`)

// search looks through the whole answer for what no answer may tell (SEMANTICS 9.5), and for what every answer has.
func (b *bank) search(request string, r *rig.Response) {
	b.t.Helper()
	var all strings.Builder
	for _, f := range r.Header {
		all.WriteString(f.Name + ": " + f.Value + "\n")
	}
	all.Write(r.Body)
	told := all.String()
	line, _, _ := strings.Cut(request, "\r\n")
	for _, secret := range b.secrets {
		if strings.Contains(told, secret) {
			b.t.Errorf("%.200s: the answer tells %q:\n%.2000s", line, secret, told)
		}
	}
	for _, f := range strings.Split(request, "\r\n") {
		if token, ok := strings.CutPrefix(f, "Authorization: Bearer "); ok && len(token) > 20 && strings.Contains(told, token[len(token)-20:]) {
			b.t.Errorf("%.200s: the answer tells the token:\n%.2000s", line, told)
		}
	}
	if what := goType.FindString(told[:min(len(told), 64<<10)]); what != "" && r.Header.Get("Content-Encoding") == "" {
		b.t.Errorf("%.200s: the answer tells %q:\n%.2000s", line, what, told)
	}
	if ids := r.Header.All("X-Request-Id"); len(ids) != 1 || ids[0] == "" {
		b.t.Errorf("%.200s: request ids %q", line, ids)
	}
	for _, f := range r.Header {
		if strings.HasPrefix(f.Name, "X-Consumer") {
			b.t.Errorf("%.200s: the answer tells %s", line, f.Name)
		}
	}
	if reason := r.Reason(); reason != "" && len(r.Body) > 0 {
		b.searchProblem(line, r, reason)
	}
}

// problem is the document of a failure (RFC 9457).
type problem struct {
	Type, Title, Detail, Reason string
	Status                      int
	RequestID                   string `json:"request_id"`
	Errors                      []struct{ Pointer, Detail string }
	Versions                    []string
	Policy                      string
	Parts                       []struct {
		Step, Outcome, Reason string
		Status                int
	}
}

// problemOf reads the document of an answer. Members that are not known here fail the test: they may tell what they should not.
func (b *bank) problemOf(r *rig.Response) *problem {
	b.t.Helper()
	d := json.NewDecoder(strings.NewReader(string(r.Body)))
	d.DisallowUnknownFields()
	p := new(problem)
	if err := d.Decode(p); err != nil {
		b.t.Fatalf("%d %s is no problem: %v\n%s", r.Status, r.Reason(), err, r.Body)
	}
	return p
}

// searchProblem looks at what every problem has (SEMANTICS 9.1).
func (b *bank) searchProblem(line string, r *rig.Response, reason string) {
	b.t.Helper()
	p := b.problemOf(r)
	if r.Header.Get("Content-Type") != "application/problem+json" || p.Type != "about:blank" || p.Title == "" || p.Detail == "" || p.Reason != reason ||
		p.Status != r.Status || p.RequestID != r.Header.Get("X-Request-Id") {
		b.t.Errorf("%.200s: problem %+v with the header %v", line, p, r.Header)
	}
}
