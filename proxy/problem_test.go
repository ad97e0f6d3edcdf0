package proxy

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/message"
)

// TestProblems writes the document of every reason, for a failure whose cause holds everything that
// must not be told.
func TestProblems(t *testing.T) {
	s := site(t, func(s *Site) { s.ProblemType = "https://api.example/problems/{reason}?of={reason}" }, at("/*", &Route{}))
	var all strings.Builder
	for r := range message.Reasons {
		x := request("192.0.2.7:1", "example.test", "/")
		x.ID = []byte("0123456789abcdef0123456789abcdef")
		x.Outcome.Endpoint, x.Outcome.Backend = "10.9.8.7:9001", "secret-backend"
		x.Fail(&message.Failure{Reason: r, Err: errors.New("*net.OpError dial tcp 10.9.8.7:9001: open secret.pem: goroutine 7")})
		x.Response.Header.Add(message.NameOf("X-From-Backend"), []byte("1"))
		x.Response.Header.Add(message.Allow.Name(), []byte("GET, HEAD"))
		x.Response.Trailer.Add(message.NameOf("X-Trailer"), []byte("1"))
		s.problem(x)
		body, err := x.Response.Body.Next()
		if err != nil || int64(len(body)) != x.Response.Length {
			t.Fatalf("%s: body %q, length %d (%v)", r, body, x.Response.Length, err)
		}
		fmt.Fprintf(&all, "%d\n%s\n%s\n", x.Response.Status, dump(&x.Response.Header), body)
		checkDocument(t, x, r, body)
	}
	golden(t, "problems.txt", all.String())
}

func checkDocument(t *testing.T, x *message.Exchange, r message.Reason, body []byte) {
	t.Helper()
	var p struct {
		Type, Title, Detail, Reason string
		Status                      int
		RequestID                   string `json:"request_id"`
	}
	d := json.NewDecoder(strings.NewReader(string(body)))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		t.Fatalf("%s: %v in %s", r, err, body)
	}
	want := "https://api.example/problems/" + r.String() + "?of=" + r.String()
	if p.Type != want || p.Reason != r.String() || p.Status != r.Status() || p.RequestID != string(x.ID) || p.Title == "" || p.Detail == "" {
		t.Errorf("%s: %+v", r, p)
	}
	if x.Response.Status < 400 || x.Response.Status > 599 {
		t.Errorf("%s: status %d", r, x.Response.Status)
	}
	h := &x.Response.Header
	if string(h.Get(message.SluiceReason)) != r.String() || string(h.Get(message.XRequestId)) != string(x.ID) {
		t.Errorf("%s: header\n%s", r, dump(h))
	}
	if retry := h.Get(message.RetryAfter); (p.Status == 503) != (retry != nil) {
		t.Errorf("%s: Retry-After %q with status %d", r, retry, p.Status)
	}
	if allowed := h.Get(message.Allow); (p.Status == 405) != (allowed != nil) || x.Response.Trailer.Len() > 0 {
		t.Errorf("%s: Allow %q with status %d, %d trailers", r, allowed, p.Status, x.Response.Trailer.Len())
	}
	told := strings.ToLower(dump(h) + string(body))
	for _, secret := range []string{"10.9.8.7", "9001", "secret", "pem", "net.op", "goroutine", "x-from-backend"} {
		if strings.Contains(told, secret) {
			t.Errorf("%s: the client is told %q:\n%s", r, secret, told)
		}
	}
}

func TestNoRouteAndMethod(t *testing.T) {
	var all []routeOf
	for _, m := range [][]string{{"PATCH", "GET"}, {"DELETE"}, {"M-SEARCH"}} {
		r := at("/items/{id}", &Route{Name: m[0]})
		r.Match.Methods = m
		all = append(all, r)
	}
	s := site(t, nil, all...)
	t.Run("404", func(t *testing.T) {
		wantProblem(t, ask(t, s, get("/other")), message.NoRoute)
	})
	t.Run("404 of HEAD", func(t *testing.T) {
		r := ask(t, s, strings.Replace(get("/other"), "GET", "HEAD", 1))
		if r.Status != 404 || len(r.Body) != 0 || r.Header.Get("Sluice-Reason") != "no_route" || r.Header.Get("Content-Length") == "0" {
			t.Errorf("answer %+v", r)
		}
	})
	t.Run("405", func(t *testing.T) {
		r := ask(t, s, strings.Replace(get("/items/7"), "GET", "PUT", 1))
		wantProblem(t, r, message.MethodNotAllowed)
		if got := r.Header.All("Allow"); len(got) != 1 || got[0] != "DELETE, GET, HEAD, M-SEARCH, PATCH" {
			t.Errorf("Allow %q", got)
		}
	})
}

// TestRefusedByTheCodec looks at requests that never come to a route.
func TestRefusedByTheCodec(t *testing.T) {
	s := trusting(t, "10.0.0.0/8")
	l, text := openLog(t)
	s.Log = l
	h := NewHTTP(s)
	send := func(peer, request string, reason message.Reason) *testnet.Response {
		t.Helper()
		o := serverOptions()
		o.MaxBody = 10
		c := connect(t, h, o, peer)
		r := c.Do("GET", request)
		wantProblem(t, r, reason)
		testnet.Eventually(t, "the line of the log", l.Settled)
		return r
	}
	// A trusted client first: nothing of it may stay in what is reused.
	ask := connect(t, h, serverOptions(), "10.0.0.1:1")
	if r := ask.Do("GET", get("/", "X-Forwarded-For: 203.0.113.9", "X-Request-Id: trusted", "User-Agent: first")); r.Header.Get("X-Request-Id") != "trusted" {
		t.Fatalf("id %q", r.Header.Get("X-Request-Id"))
	}
	testnet.Eventually(t, "the line of the log", l.Settled)
	_ = ask.Conn.Close()
	r := send("192.0.2.7:1", "GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: curl\r\nX-Request-Id: mine\r\nbad header\r\n\r\n", message.HeaderInvalid)
	if id := r.Header.Get("X-Request-Id"); len(id) != 32 {
		t.Errorf("id %q", id)
	}
	if r = send("10.0.0.1:1", "POST / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.1\r\nX-Request-Id: kept\r\nContent-Length: 11\r\n\r\n", message.BodyTooLarge); r.Header.Get("X-Request-Id") != "kept" {
		t.Errorf("id %q, want that of the trusted proxy", r.Header.Get("X-Request-Id"))
	}
	send("192.0.2.7:1", "GET /a%zz?b HTTP/1.1\r\nHost: a\r\n\r\n", message.PathInvalid)
	log := strings.Split(text(), "\n")
	for i, want := range []string{`"client":"203.0.113.9"`, `"client":"192.0.2.7","status":400,"reason":"header_invalid"`, `"client":"203.0.113.1","method":"POST"`, `"path":"/a%zz"`} {
		if !strings.Contains(log[i], want) {
			t.Errorf("line %d: %s\nwant %s in it", i, log[i], want)
		}
	}
	if strings.Contains(log[1], "user_agent") {
		t.Errorf("a header that was not read to its end is logged: %s", log[1])
	}
}
