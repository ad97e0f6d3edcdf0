package policy

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/message"
)

// oracle is an auth service that answers as a test says.
type oracle struct {
	status  int
	fields  []string
	body    string
	broken  bool             // the body ends with an error
	failure *message.Failure // in place of an answer
	method  string           // of the last question, as all that follows
	asked   []string
	waits   time.Duration
	given   int // answers that were given back
}

// speech is a body in pieces of 1000 bytes.
type speech struct {
	rest   string
	broken bool
}

func (p *speech) Next() ([]byte, error) {
	n := min(len(p.rest), 1000)
	if n == 0 && p.broken {
		return nil, errors.New("broken off")
	}
	if n == 0 {
		return nil, io.EOF
	}
	piece := p.rest[:n]
	p.rest = p.rest[n:]
	return []byte(piece), nil
}

func (*speech) Close() error { return nil }

func (o *oracle) Do(x *message.Exchange) (func(), *message.Failure) {
	r := &x.Request
	o.method = fmt.Sprintf("%s %s:%s %s?%s", r.Method.AppendTo(nil), r.Host, r.Port, r.Path, r.Query)
	o.asked = strings.Split(dump(&r.Header), "\n")
	o.waits = time.Duration(x.Deadline - x.Times.Routed)
	if o.failure != nil {
		return nil, o.failure
	}
	x.Response.Status = o.status
	for _, l := range o.fields {
		addLine(&x.Response.Header, l)
	}
	x.Response.Body, x.Response.Length = &speech{o.body, o.broken}, message.LengthUnknown
	return func() { o.given++ }, nil
}

// consult sends a request through the policies, which may ask o.
func consult(t *testing.T, o *oracle, list string, lines ...string) (x *message.Exchange, done bool, f *message.Failure) {
	t.Helper()
	p := newServed(t)
	p.service = o
	x = exchange("a=b", lines...)
	x.Times.Read = message.Now()
	_, done, f = guard(t, p, identities(users(t), list)).Request(x, 0, nil)
	for _, origin := range p.origins {
		if origin != "http://127.0.0.1:9000" {
			t.Errorf("the service is %s", origin)
		}
	}
	return x, done, f
}

func TestForwardAuthAsks(t *testing.T) {
	o := &oracle{status: 204}
	x, _, f := consult(t, o, "[asked]", "Authorization: Bearer a", "Cookie: a=b", "Accept: text/html", "X-Other: 1", "X-Forwarded-For: 192.0.2.7",
		"X-Forwarded-Host: shop.example", "X-Forwarded-Proto: https", "X-Request-Id: 7", "Traceparent: 00-1", "X-User: root", "X_Roles: admin", "Content-Length: 7")
	if f != nil {
		t.Fatal(f)
	}
	want := []string{"X-Forwarded-For: 192.0.2.7", "X-Forwarded-Host: shop.example", "X-Forwarded-Proto: https", "X-Request-Id: 7", "Traceparent: 00-1",
		"Authorization: Bearer a", "Cookie: a=b", "Accept: text/html", "X-Forwarded-Method: GET", "X-Forwarded-Uri: /items/7/a/b?a=b"}
	if got := strings.Join(o.asked, "\n"); o.method != "GET 127.0.0.1:9000 /check?x=1" || got != strings.Join(want, "\n") {
		t.Errorf("the service was asked %s\n%s", o.method, got)
	}
	if o.waits != time.Second || o.given != 1 {
		t.Errorf("the question may take %v, want 1s; given back %d times", o.waits, o.given)
	}
	if got := dump(&x.Request.Header); strings.Contains(got, "root") || strings.Contains(got, "admin") || !strings.Contains(got, "X-Other") {
		t.Errorf("the backend gets\n%s", got)
	}
	if caller(x) != "-" {
		t.Errorf("the caller is %s", caller(x))
	}
}

// The question says who calls as far as policies before it have found out, and never what the client says of that.
func TestForwardAuthAfterAnother(t *testing.T) {
	o := &oracle{status: 200}
	x, _, f := consult(t, o, "[partner-key, asked]", "X-API-Key: "+testKey)
	asked := strings.Join(o.asked, "\n")
	if f != nil || !strings.Contains(asked, "X-Consumer: budget-app\nX-Consumer-Plan: partner") || strings.Contains(asked, testKey) {
		t.Errorf("%v; the service was asked\n%s", f, asked)
	}
	if caller(x) != "- budget-app partner" {
		t.Errorf("an answer that names nobody leaves %s", caller(x))
	}
	o.fields = []string{"X-Authenticated-Subject: jane"}
	if x, _, _ = consult(t, o, "[partner-key, asked]", "X-API-Key: "+testKey); caller(x) != "jane jane standard" {
		t.Errorf("an answer that names somebody leaves %s", caller(x))
	}
}

func TestForwardAuthMethod(t *testing.T) {
	o := &oracle{status: 200}
	p := newServed(t)
	p.service = o
	text := strings.Replace(identities(users(t), "[asked]"), "timeout: 1s", "method: forward, request_headers: X-Session", 1)
	text = strings.Replace(text, "http://127.0.0.1:9000/check?x=1", "http://127.0.0.1:9000", 1)
	x := exchange("-", "X-Session: 1", "Cookie: a=b")
	x.Request.Method = message.MethodOf([]byte("PURGE"))
	x.Deadline = message.Now() + int64(time.Hour)
	if _, _, f := guard(t, p, text).Request(x, 0, nil); f != nil {
		t.Fatal(f)
	}
	if got := strings.Join(o.asked, "\n"); o.method != "PURGE 127.0.0.1:9000 /?" || got != "X-Session: 1\nX-Forwarded-Method: PURGE\nX-Forwarded-Uri: /items/7/a/b" {
		t.Errorf("the service was asked %s\n%s", o.method, got)
	}
	if o.waits != 2*time.Second {
		t.Errorf("the question may take %v, want the default of 2s", o.waits)
	}
	x.Deadline = message.Now() + int64(100*time.Millisecond)
	if _, _, f := guard(t, p, text).Request(x, 0, nil); f != nil || o.waits > 100*time.Millisecond {
		t.Errorf("the question may take %v although the request has less: %v", o.waits, f)
	}
	x.Deadline = message.Now() - 1
	if _, _, f := guard(t, p, text).Request(x, 0, nil); refusal(f) != "504 route_timeout" {
		t.Errorf("too late: %s", refusal(f))
	}
}

func TestForwardAuthAnswers(t *testing.T) {
	const credentials = "Authorization: Bearer a"
	down := &message.Failure{Reason: message.UpstreamConnectRefused, Side: message.SideUpstream, Err: errors.New("dial 127.0.0.1:9000")}
	for _, c := range []struct {
		name    string
		o       oracle
		lines   []string
		caller  string
		refusal string // of the policy; "answer STATUS" where the service's answer is given on
		fields  string // of that answer
		body    string
		header  string // what the backend gets of X-User and X-Roles
	}{
		{name: "yes", o: oracle{status: 200, fields: []string{"X-User: jane", "X-User: j", "X-Other: 1", "X-Authenticated-Subject: jane"}, body: "ignored"},
			lines: []string{"X-User: root", "X-Roles: admin"}, caller: "jane jane standard", header: "X-User: jane\nX-User: j"},
		{name: "by its claims", o: oracle{status: 200, fields: []string{"X-Authenticated-Subject: \"a\"\\"}}, caller: `"a"\`},
		{name: "yes, and nothing of the caller", o: oracle{status: 204}, lines: []string{"X_User: root", "x.roles: admin", "X-USER: root"}, caller: "-"},
		{name: "a long body", o: oracle{status: 200, body: strings.Repeat("x", 1<<20)}, caller: "-"},
		{name: "two subjects", o: oracle{status: 200, fields: []string{"X-Authenticated-Subject: a", "X-Authenticated-Subject: b"}}, refusal: "503 auth_unavailable"},
		{name: "no text", o: oracle{status: 200, fields: []string{"X-Authenticated-Subject: \xff"}}, refusal: "503 auth_unavailable"},

		{name: "401", o: oracle{status: 401, fields: []string{"WWW-Authenticate: Bearer realm=x", "Content-Type: text/plain", "Set-Cookie: a=b", "X-User: jane", "Server: x"}, body: "who are you"},
			lines: []string{"X-User: root"}, refusal: "answer 401", body: "who are you",
			fields: "WWW-Authenticate: Bearer realm=x\nSet-Cookie: a=b\nContent-Type: text/plain\nSluice-Reason: auth_refused"},
		{name: "403", o: oracle{status: 403, body: "no"}, refusal: "answer 403", body: "no", fields: "Sluice-Reason: auth_refused"},
		{name: "302", o: oracle{status: 302, fields: []string{"Location: https://login.example/?next=1", "Set-Cookie: a=b", "Set-Cookie: c=d"}},
			refusal: "answer 302", fields: "Location: https://login.example/?next=1\nSet-Cookie: a=b\nSet-Cookie: c=d\nSluice-Reason: auth_refused"},
		{name: "as much as is given on", o: oracle{status: 403, body: strings.Repeat("x", maxReply)}, refusal: "answer 403", body: strings.Repeat("x", maxReply), fields: "Sluice-Reason: auth_refused"},
		{name: "more than that", o: oracle{status: 403, body: strings.Repeat("x", maxReply+1), fields: []string{"Location: /a"}}, refusal: "403 auth_refused; Location: /a"},
		{name: "a broken body", o: oracle{status: 401, body: "who", broken: true, fields: []string{"WWW-Authenticate: A", "WWW-Authenticate: B"}}, refusal: "401 auth_refused; WWW-Authenticate: A, B"},

		{name: "404", o: oracle{status: 404}, refusal: "503 auth_unavailable"},
		{name: "500", o: oracle{status: 500, body: "secret cause"}, refusal: "503 auth_unavailable"},
		{name: "503", o: oracle{status: 503}, refusal: "503 auth_unavailable"},
		{name: "304", o: oracle{status: 304}, refusal: "503 auth_unavailable"},
		{name: "429", o: oracle{status: 429}, refusal: "503 auth_unavailable"},
		{name: "down", o: oracle{failure: down}, lines: []string{"X-User: root"}, refusal: "503 auth_unavailable"},
		{name: "two tokens", o: oracle{status: 200}, lines: []string{credentials}, refusal: "401 header_repeated"},
	} {
		x, done, f := consult(t, &c.o, "[asked]", append([]string{credentials}, c.lines...)...)
		got := refusal(f)
		if done {
			got = fmt.Sprintf("answer %d", x.Response.Status)
			if x.Outcome.Reason != message.AuthRefused || x.Outcome.Policy != "asked" {
				t.Errorf("%s: the log has %s of %s", c.name, x.Outcome.Reason, x.Outcome.Policy)
			}
			body, _ := x.Response.Body.Next()
			body = append([]byte(nil), body...)
			_ = x.Response.Body.Close()
			if string(body) != c.body || x.Response.Length != int64(len(c.body)) || dump(&x.Response.Header) != c.fields {
				t.Errorf("%s: answer of %d bytes, %.40q\n%s\nwant\n%s", c.name, x.Response.Length, body, dump(&x.Response.Header), c.fields)
			}
		} else if x.Response.Status != 0 {
			t.Errorf("%s: the response was filled", c.name)
		}
		if got != c.refusal || c.refusal == "" && caller(x) != c.caller || c.refusal != "" && x.Identity != nil {
			t.Errorf("%s: %q, %s; want %q, %s", c.name, got, caller(x), c.refusal, c.caller)
		}
		var header []string
		for line := range strings.SplitSeq(dump(&x.Request.Header), "\n") {
			if name, _, _ := strings.Cut(line, ":"); name != "Authorization" {
				header = append(header, line)
			}
		}
		if got := strings.Join(header, "\n"); got != c.header {
			t.Errorf("%s: the backend gets\n%s\nwant\n%s", c.name, got, c.header)
		}
		if f != nil && strings.Contains(f.Error(), "secret cause") {
			t.Errorf("%s: %v", c.name, f)
		}
		if c.o.failure == nil && c.name != "two tokens" && c.o.given != 1 {
			t.Errorf("%s: the answer was given back %d times", c.name, c.o.given)
		}
	}
}

// In any_of the service is asked only about requests with credentials, and a caller whom it refuses is refused.
func TestForwardAuthAsOneOfSeveral(t *testing.T) {
	const key, bad, token = "X-API-Key: " + testKey, "X-API-Key: wrong", "Cookie: session=1"
	// request_headers has X-API-Key by default, which the other policy looks at: here it has not.
	for _, c := range []struct {
		name, list string
		o          oracle
		lines      []string
		asked      bool
		caller     string
		refusal    string
	}{
		{"nobody", "[ask-or-key]", oracle{status: 200}, nil, false, "", "401 credentials_missing; WWW-Authenticate: ApiKey"},
		{"its own", "[ask-or-key]", oracle{status: 200, fields: []string{"X-Authenticated-Subject: jane"}}, []string{token}, true, "jane jane standard", ""},
		{"the other's", "[ask-or-key]", oracle{status: 200}, []string{"Accept: a", key}, false, "- budget-app partner", ""},
		{"the other's, first", "[key-or-ask]", oracle{status: 403}, []string{token, key}, false, "- budget-app partner", ""},
		{"not known, the other's", "[ask-or-key]", oracle{status: 401}, []string{token, key}, true, "- budget-app partner", ""},
		{"down, the other's", "[ask-or-key]", oracle{status: 500}, []string{token, key}, true, "- budget-app partner", ""},
		{"refused, the other's", "[ask-or-key]", oracle{status: 403, body: "no"}, []string{token, key}, true, "", "answer 403"},
		{"sent elsewhere, the other's", "[ask-or-key]", oracle{status: 302}, []string{token, key}, true, "", "answer 302"},
		{"not known by either", "[ask-or-key]", oracle{status: 401, fields: []string{"WWW-Authenticate: Cookie"}, body: "x"}, []string{token, bad}, true, "", "401 auth_refused; WWW-Authenticate: Cookie, ApiKey"},
		{"not known by either, the other way", "[key-or-ask]", oracle{status: 401, fields: []string{"WWW-Authenticate: Cookie"}}, []string{token, bad}, true, "", "401 api_key_unknown; WWW-Authenticate: ApiKey"},
		{"down, not known", "[key-or-ask]", oracle{status: 500}, []string{token, bad}, true, "", "503 auth_unavailable"},
	} {
		p := newServed(t)
		p.service = &c.o
		text := strings.Replace(identities(users(t), c.list), "timeout: 1s", "request_headers: [Authorization, Cookie, Accept]", 1)
		x := exchange("-", append([]string{"X-User: root", "X_Roles: admin"}, c.lines...)...)
		x.Times.Read = message.Now()
		_, done, f := guard(t, p, text).Request(x, 0, nil)
		got := refusal(f)
		if done {
			got = fmt.Sprintf("answer %d", x.Response.Status)
		} else if x.Response.Status != 0 || x.Response.Header.Len() != 0 {
			t.Errorf("%s: the response was filled", c.name)
		}
		if asked := c.o.method != ""; got != c.refusal || c.refusal == "" && caller(x) != c.caller || asked != c.asked {
			t.Errorf("%s: %q, %s, asked %v; want %q, %s, %v", c.name, got, caller(x), asked, c.refusal, c.caller, c.asked)
		}
		if got := dump(&x.Request.Header); f == nil && !done && (strings.Contains(got, "root") || strings.Contains(got, "admin") || strings.Contains(got, testKey)) {
			t.Errorf("%s: the backend gets\n%s", c.name, got)
		}
	}
}

// Answers on their way to clients are bounded in all, and counted until they have been written.
func TestForwardAuthReplies(t *testing.T) {
	p := newServed(t)
	o := &oracle{status: 403, body: strings.Repeat("x", 40<<10)}
	p.service = o
	chain := guard(t, p, identities(users(t), "[asked]"))
	auth := chain.steps[0].request.(*forwardAuthPolicy)
	var under []*message.Exchange
	for n := range maxReplies/len(o.body) + 3 {
		x := exchange("-")
		_, done, f := chain.Request(x, 0, nil)
		if fits := n < maxReplies/len(o.body); done != fits || !fits && refusal(f) != "403 auth_refused" {
			t.Fatalf("answer %d: given on %v, %s", n, done, refusal(f))
		}
		if auth.held.Load() > maxReplies {
			t.Fatalf("%d bytes in memory", auth.held.Load())
		}
		under = append(under, x)
	}
	for _, x := range under {
		_ = x.Response.Body.Close()
		_ = x.Response.Body.Close() // bodies may be closed twice
	}
	if n := auth.held.Load(); n != 0 {
		t.Errorf("%d bytes are counted at the end", n)
	}
}

// A client cannot say in a trailer what only the service may say.
func TestForwardAuthTrailers(t *testing.T) {
	p := newServed(t)
	p.service = &oracle{status: 200}
	c := guard(t, p, identities(users(t), "[asked]"))
	route := []message.Name{message.NameOf("X-Sum"), message.NameOf("x_user"), message.NameOf("X-Roles")}
	x := exchange("-")
	x.Request.Trailers = route
	if _, _, f := c.Request(x, 0, nil); f != nil {
		t.Fatal(f)
	}
	if got := x.Request.Trailers; len(got) != 1 || got[0] != route[0] || route[1].String() != "x_user" {
		t.Errorf("trailers %v of %v", got, route)
	}
}

func TestForwardAuthNeedsItsService(t *testing.T) {
	cfg, err := config.Load("test.yaml", []byte(identities(users(t), "[asked]")), config.Options{Kinds: Kinds()})
	if err != nil {
		t.Fatal(err)
	}
	if built, _, err := compiled(cfg, newServed(t)); err == nil || built.Len() != 0 {
		t.Errorf("%d policies, %v", built.Len(), err)
	}
}

func TestReadsAs(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"X-User", "x-uSER", true}, {"X_User", "X-User", true}, {"x.user", "X-User", true}, {"X-User", "X_User", true},
		{"XXUser", "X-User", false}, {"X-Users", "X-User", false}, {"X-U[er", "X-U{er", false}, {"", "", true}, {"X\rUser", "X-User", false},
	} {
		if readsAs([]byte(c.a), c.b) != c.same {
			t.Errorf("%q as %q: want %v", c.a, c.b, c.same)
		}
	}
}
