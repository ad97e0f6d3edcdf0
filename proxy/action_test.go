package proxy

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/expr"
	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/route"
	"github.com/sluice-gateway/sluice/upstream"
)

// redirect makes the action of a redirect on a route with a pattern.
func redirect(t testing.TB, pattern, to string, status int) *Redirect {
	t.Helper()
	captures, rest := route.Captures(pattern)
	compiled, err := expr.CompileTemplate(to, expr.Env{Captures: captures, Rest: rest})
	if err != nil {
		t.Fatal(err)
	}
	return &Redirect{To: compiled, Status: status}
}

func TestRedirect(t *testing.T) {
	for _, tc := range []struct{ pattern, to, target, want string }{
		{"/old", "/new", "/old", "/new"},
		{"/*", "https://${request.host}${request.path}", "/a/b%20c", "https://example.test/a/b%20c"},
		{"/*", "https://${request.host}${request.path}?${request.query}", "/a?b=c&d", "https://example.test/a?b=c&d"},
		{"/u/{id}", "https://new.test/users/${path.id}", "/u/a%2Fb%20c", "https://new.test/users/a%2Fb%20c"},
		{"/u/{id}", "/users?id=${path.id}", "/u/a&b=c", "/users?id=a%26b%3Dc"},
		{"/u/{rest...}", "/v/${path.rest}", "/u/a/b", "/v/a/b"},
		{"/u/{id}", "/users/${path.id}", "/u/%0d%0aSet-Cookie:%20a", "/users/%0D%0ASet-Cookie%3A%20a"},
	} {
		s := site(t, nil, at(tc.pattern, &Route{Action: redirect(t, tc.pattern, tc.to, 307)}))
		r := ask(t, s, get(tc.target))
		if got := r.Header.All("Location"); r.Status != 307 || len(got) != 1 || got[0] != tc.want || len(r.Body) != 0 || r.Header.Get("X-Request-Id") == "" {
			t.Errorf("%s: %d %q %q, want %s", tc.target, r.Status, got, r.Body, tc.want)
		}
	}
	// A value that is missing, or that would change the address, is refused.
	s := site(t, nil, at("/u/{id}", &Route{Action: redirect(t, "/u/{id}", `/users/${request.query["x"]}`, 307)}))
	r := ask(t, s, get("/u/1"))
	wantProblem(t, r, message.PathValueInvalid)
	if r.Header.Get("Location") != "" {
		t.Errorf("Location %q in a problem", r.Header.Get("Location"))
	}
	wantProblem(t, ask(t, s, get("/u/1?x=..")), message.PathValueInvalid)
}

func TestRespond(t *testing.T) {
	value := strings.Repeat("v", 100)
	s := site(t, nil,
		at("/text", &Route{Action: &Respond{
			Status: 203, ContentType: []byte("text/plain"), Body: []byte("hi"),
			Headers: []Field{{message.NameOf("X-A"), []byte(value)}, {message.NameOf("X-A"), []byte("2")}},
		}}),
		at("/empty", &Route{Action: &Respond{Status: 204}}),
		at("/nothing", &Route{Action: &Respond{Status: 200}}))
	r := ask(t, s, get("/text"))
	if got := r.Header.All("X-A"); r.Status != 203 || string(r.Body) != "hi" || len(got) != 2 || got[0] != value || r.Header.Get("Content-Type") != "text/plain" {
		t.Errorf("answer %+v", r)
	}
	for range 2 { // the same bytes for everybody
		if r = ask(t, s, strings.Replace(get("/text"), "GET", "HEAD", 1)); r.Header.Get("Content-Length") != "2" || len(r.Body) != 0 {
			t.Errorf("answer to HEAD %+v", r)
		}
	}
	if r = ask(t, s, get("/empty")); r.Status != 204 || r.Framing != testnet.FramedNone || r.Header.Get("Content-Type") != "" {
		t.Errorf("answer %+v", r)
	}
	if r = ask(t, s, get("/nothing")); r.Status != 200 || r.Header.Get("Content-Length") != "0" || r.Header.Get("Content-Type") != "" {
		t.Errorf("answer %+v", r)
	}
}

func TestForward(t *testing.T) {
	o := testnet.NewOrigin(t, testnet.Answer("HTTP/1.1 201 Made\r\nContent-Length: 2\r\nX-Request-Id: theirs\r\nSluice-Reason: no_route\r\nX-A: 1\r\n\r\nok"))
	s := site(t, nil, at("/*", &Route{Action: &Forward{backend(t, o.Addr, nil, nil)}}))
	r := ask(t, s, get("/a?b"))
	if r.Status != 201 || string(r.Body) != "ok" || r.Header.Get("X-A") != "1" {
		t.Errorf("answer %+v", r)
	}
	if got := r.Header.All("X-Request-Id"); len(got) != 1 || got[0] == "theirs" || !strings.Contains(o.Received(), "X-Request-Id: "+got[0]+"\r\n") {
		t.Errorf("the client gets the ids %q, the backend got\n%s", got, o.Received())
	}
	if r.Header.Get("Sluice-Reason") != "" {
		t.Error("a service's Sluice-Reason reaches the client")
	}
	if !strings.HasPrefix(o.Received(), "GET /a?b HTTP/1.1\r\n") || !strings.Contains(o.Received(), "X-Forwarded-For: 192.0.2.7\r\n") {
		t.Errorf("the backend got\n%s", o.Received())
	}
}

// TestBackendErrors: a backend's own failures pass as they are, those of the way there are problems.
func TestBackendErrors(t *testing.T) {
	own := testnet.NewOrigin(t, testnet.Answer("HTTP/1.1 503 Mine\r\nContent-Length: 4\r\n\r\nmine"))
	s := site(t, nil, at("/*", &Route{Action: &Forward{backend(t, own.Addr, nil, nil)}}))
	if r := ask(t, s, get("/")); r.Status != 503 || string(r.Body) != "mine" || r.Header.Get("Sluice-Reason") != "" || r.Header.Get("Retry-After") != "" {
		t.Errorf("answer %+v", r)
	}
	garbage := testnet.NewOrigin(t, testnet.Answer("SSH-2.0-x\r\n"))
	s = site(t, nil, at("/*", &Route{Action: &Forward{backend(t, garbage.Addr, nil, nil)}}))
	r := ask(t, s, get("/"))
	wantProblem(t, r, message.UpstreamResponseInvalid)
	if strings.Contains(string(r.Body), garbage.Addr) || strings.Contains(string(r.Body), "SSH") {
		t.Errorf("the problem tells of the endpoint: %s", r.Body)
	}
}

func TestRouteTimeout(t *testing.T) {
	silent := testnet.NewOrigin(t, func(c *testnet.OriginConn) { c.Hang() })
	half := testnet.NewOrigin(t, func(c *testnet.OriginConn) {
		if _, ok := c.ReadRequest(); ok {
			c.Send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
			c.Hang()
		}
	})
	for _, retries := range []int{0, 2} {
		edit := func(o *upstream.Options) { o.Retry.Attempts, o.Retry.Timeout = retries, true }
		s := site(t, nil, at("/*", &Route{Timeout: 60 * time.Millisecond, Action: &Forward{backend(t, silent.Addr, edit, nil)}}))
		wantProblem(t, ask(t, s, get("/")), message.RouteTimeout)
		wantProblem(t, ask(t, s, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"), message.RouteTimeout)
	}
	l, text := openLog(t)
	s := site(t, func(s *Site) { s.Log = l }, at("/*", &Route{Timeout: 60 * time.Millisecond, Action: &Forward{backend(t, half.Addr, nil, nil)}}))
	c := connect(t, NewHTTP(s), serverOptions(), "192.0.2.7:1")
	c.Send(get("/"))
	if r, err := c.TryResponse("GET"); err == nil || r != nil && r.Status != 200 {
		t.Errorf("answer %+v, %v; want 200 that is cut short", r, err)
	}
	if _, err := io.ReadAll(c.Conn); err != nil {
		t.Errorf("the connection did not end: %v", err)
	}
	if line := text(); !strings.Contains(line, `"status":200,"reason":"route_timeout"`) {
		t.Errorf("log %s", line)
	}
}
