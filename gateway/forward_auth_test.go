package gateway

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// deciding is an auth service: what X-Decide of the request says is its answer. What it is asked can be read from it.
func deciding(t testing.TB) *testnet.Origin {
	return testnet.NewOrigin(t, func(c *testnet.OriginConn) {
		for {
			r, read := c.ReadRequest()
			if !read {
				return
			}
			answer := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
			switch r.Header.Get("X-Decide") {
			case "jane":
				answer = "HTTP/1.1 200 OK\r\nX-User: jane\r\nX-Authenticated-Subject: mobile\r\nX-Other: 1\r\nContent-Length: 2\r\n\r\nok"
			case "401":
				answer = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Session\r\nX-User: jane\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nwho"
			case "403":
				answer = "HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n"
			case "302":
				answer = "HTTP/1.1 302 Found\r\nLocation: https://login.example/\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"
			case "500":
				answer = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 5\r\n\r\ncause"
			case "garbage":
				answer = "no answer\r\n\r\n"
			case "slow":
				c.Hang()
			case "slow body":
				c.Send("HTTP/1.1 403 Forbidden\r\nContent-Length: 1000\r\n\r\nn")
				c.Hang()
			case "leaves":
				return
			}
			if !c.Send(answer) {
				return
			}
		}
	})
}

// consulting is a configuration whose routes ask an auth service.
func consulting(auth, backend string) string {
	text := guarded(`{url: "http://127.0.0.1:1/"}`, backend, "http://"+auth+"/check")
	return strings.NewReplacer("headers: [X-User], timeout: 500ms", "headers: [X-User], request_headers: [X-Decide, Cookie], timeout: 500ms").Replace(text)
}

func TestForwardAuth(t *testing.T) {
	auth, backend := deciding(t), telling(t)
	g := start(t, consulting(auth.Addr, backend.Addr))
	ask := func(path, decide string, lines ...string) *testnet.Response {
		return g.dial("public").Do("GET", with(path, append(lines, "X-Decide: "+decide, "X-User: root", "X_USER: root")...))
	}
	for _, tc := range []struct{ path, decide, want, body string }{
		{"/asked?a=b", "yes", "200", "GET /asked?a=b"},
		{"/asked", "jane", "200", "GET /asked\nX-User: jane"},
		{"/asked", "401", "401 auth_refused; WWW-Authenticate: Session", "who"},
		{"/asked", "403", "403 auth_refused", "no"},
		{"/asked", "302", "302 auth_refused; Location: https://login.example/", ""},
		{"/asked", "500", "503 auth_unavailable; Retry-After: 1", ""},
		{"/asked", "garbage", "503 auth_unavailable; Retry-After: 1", ""},
		{"/asked", "leaves", "503 auth_unavailable; Retry-After: 1", ""},
		{"/asked", "slow", "503 auth_unavailable; Retry-After: 1", ""},
		{"/asked", "slow body", "403 auth_refused", ""},
		{"/ask-or-key", "jane", "200", "GET /ask-or-key\nX-User: jane"},
		{"/ask-or-key", "401", "401 auth_refused; WWW-Authenticate: Session, ApiKey", ""},
	} {
		began := time.Now()
		r := ask(tc.path, tc.decide)
		body := string(r.Body)
		if r.Status == 200 {
			body = lines(r.Body, "X-User", "X-Other")
		}
		if got := told(r); got != tc.want || tc.body != "" && body != tc.body {
			t.Errorf("%s: %s %q, want %s %q", tc.decide, got, body, tc.want, tc.body)
		}
		if strings.Contains(body, "root") || strings.Contains(body, "cause") || strings.Contains(body, auth.Addr) {
			t.Errorf("%s: %s", tc.decide, body)
		}
		if took := time.Since(began); took > testnet.Patience/2 {
			t.Errorf("%s: took %v", tc.decide, took)
		}
	}
	if got := backend.Received(); strings.Contains(got, "root") || strings.Count(got, "GET ") != 3 {
		t.Errorf("the backend got\n%s", got)
	}
	for series, want := range map[string]string{`policy="asked",result="passed"`: "3", `policy="asked",result="refused"`: "8", `policy="ask-or-key",result="refused"`: "1"} {
		if got := g.metric("sluice_authentications_total{" + series + "}"); got != want {
			t.Errorf("%s is %s, want %s", series, got, want)
		}
	}
	asked := auth.Received()
	if !strings.Contains(asked, "GET /check HTTP/1.1\r\nHost: "+auth.Addr+"\r\n") || !strings.Contains(asked, "X-Forwarded-Uri: /asked?a=b\r\n") ||
		!strings.Contains(asked, "X-Forwarded-For: 127.0.0.1\r\n") || !strings.Contains(asked, "X-Forwarded-Host: bank.example\r\n") || strings.Contains(asked, "root") {
		t.Errorf("the service was asked\n%s", asked)
	}
	g.Close()
	for _, want := range []string{`"status":302,"reason":"auth_refused","side":"client","stage":"route","error":"policy asked: the service answered with status 302"`, `"policy":"asked"`} {
		if !strings.Contains(g.out.String(), want) {
			t.Errorf("the log lacks %s", want)
		}
	}
}

// TestForwardAuthAway: without the service nobody passes, and when it is back everybody does, without a reload.
func TestForwardAuthAway(t *testing.T) {
	auth := testnet.NewOrigin(t, func(*testnet.OriginConn) {}) // ends each connection
	g := start(t, consulting(auth.Addr, telling(t).Addr))
	c := g.dial("public")
	for range 20 {
		if got := told(c.Do("GET", with("/asked"))); got != "503 auth_unavailable; Retry-After: 1" {
			t.Fatal(got)
		}
	}
	if got := told(c.Do("GET", with("/open"))); got != "200" {
		t.Errorf("another route: %s", got)
	}
	g.take(consulting("127.0.0.1:1", telling(t).Addr))
	if got := told(c.Do("GET", with("/asked"))); got != "503 auth_unavailable; Retry-After: 1" {
		t.Error(got)
	}
	g.take(consulting(deciding(t).Addr, telling(t).Addr))
	if got := told(c.Do("GET", with("/asked"))); got != "200" {
		t.Errorf("with the service: %s", got)
	}
}

// TestForwardAuthKeepsConnections: one question after the other goes over one connection, whatever its answer was, also after a reload.
func TestForwardAuthKeepsConnections(t *testing.T) {
	auth := deciding(t)
	text := consulting(auth.Addr, telling(t).Addr)
	g := start(t, text)
	c := g.dial("public")
	for n := range 30 {
		decide := []string{"yes", "403", "302", "401", "jane", "500"}[n%6]
		c.Do("GET", with("/asked", "X-Decide: "+decide))
		if n == 15 {
			g.take(strings.Replace(text, "access_log: stdout\n", "", 1))
		}
	}
	if n := auth.Conns(); n != 1 {
		t.Errorf("30 questions went over %d connections, want 1", n)
	}
}

// TestForwardAuthWithBody: a request waits with its body until it may pass, and a refused one does not harm the connection.
func TestForwardAuthWithBody(t *testing.T) {
	backend := telling(t)
	g := start(t, consulting(deciding(t).Addr, backend.Addr))
	c := g.dial("public")
	for _, decide := range []string{"yes", "403", "jane"} {
		body := strings.Repeat("x", 5000)
		c.Send(fmt.Sprintf("POST /asked HTTP/1.1\r\nHost: a\r\nX-Decide: %s\r\nContent-Length: %d\r\n\r\n%s", decide, len(body), body))
		if r := c.ReadResponse("POST"); (r.Status == 403) != (decide == "403") || r.Status != 403 && !strings.Contains(string(r.Body), "Content-Length: 5000") {
			t.Errorf("%s: %s %s", decide, told(r), r.Body)
		}
	}
}

// TestForgedIdentity: what only the gateway or the auth service may say of a caller, in every spelling and as a trailer, reaches neither the backend nor the
// service, on every kind of route.
func TestForgedIdentity(t *testing.T) {
	auth, backend := deciding(t), telling(t)
	g := start(t, strings.Replace(consulting(auth.Addr, backend.Addr), "[X-Decide, Cookie]", "[X-Decide, Cookie, X-Session, Accept]", 1))
	var forged strings.Builder
	for _, name := range []string{"X-Consumer", "X-Consumer-Plan", "X-Authenticated-Subject", "X-Client-Cert", "Sluice-Reason", "Sluice-Partial", "Sluice-Anything"} {
		for _, spelled := range []string{name, strings.ToLower(name), strings.ToUpper(name), strings.ReplaceAll(name, "-", "_"), strings.ReplaceAll(name, "-", "."), strings.Replace(name, "-", "_", 1)} {
			forged.WriteString(spelled + ": forged\r\n" + spelled + ": forged-twice\r\n")
		}
	}
	user := "X-User: forged\r\nx-user: forged\r\nX_User: forged\r\nX.USER: forged\r\n"
	for path, fields := range map[string]string{
		"/open": forged.String(), "/key": forged.String() + "X-API-Key: " + demoKey + "\r\n", "/either": forged.String() + "X-API-Key: " + demoKey + "\r\n",
		"/asked": forged.String() + user, "/ask-or-key": forged.String() + user + "X-API-Key: " + demoKey + "\r\n", "/parts": forged.String() + "X-API-Key: " + demoKey + "\r\n",
	} {
		for _, decide := range []string{"", "Cookie: s=1\r\n"} {
			request := "POST " + path + " HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n" + decide + fields + "\r\n2\r\nhi\r\n0\r\n" + forged.String()
			if strings.Contains(path, "ask") {
				request += user
			}
			c := g.dial("public")
			c.Send(request + "X-Sum: 7\r\n\r\n")
			r := c.ReadResponse("POST")
			if r.Status != 200 || strings.Contains(string(r.Body), "forged") {
				t.Errorf("%s: %s\n%s", path, told(r), r.Body)
			}
			if path == "/open" && !strings.Contains(string(r.Body), "X-Sum: 7") {
				t.Errorf("a trailer that may pass does not:\n%s", r.Body)
			}
		}
	}
	if got := auth.Received(); strings.Contains(got, "forged") || !strings.Contains(got, "GET /check") {
		t.Errorf("the service got\n%s", got)
	}
	if got := backend.Received(); strings.Contains(got, "forged") {
		t.Errorf("the backend got\n%s", got)
	}
}

// TestRefusedChangesNothing: who is turned away by a redirect has not changed what is stored.
func TestRefusedChangesNothing(t *testing.T) {
	backend := telling(t)
	text := strings.Replace(consulting(deciding(t).Addr, backend.Addr), "routes:\n", `routes:
  - {name: stored, match: {path: /stored, method: GET}, policies: [{cache: {ttl: 1h}}], backend: app}
  - {name: change, match: {path: /stored, method: POST}, policies: [asked], backend: app}
`, 1)
	g := start(t, text)
	c := g.dial("public")
	gets := func() int {
		c.Do("GET", with("/stored"))
		return strings.Count(backend.Received(), "GET /stored")
	}
	post := func(decide string) int {
		c.Send("POST /stored HTTP/1.1\r\nHost: bank.example\r\nX-Decide: " + decide + "\r\nContent-Length: 0\r\n\r\n")
		return c.ReadResponse("POST").Status
	}
	if first, second := gets(), gets(); first != 1 || second != 1 {
		t.Fatal("the answer is not stored, so that this test shows nothing")
	}
	if status := post("302"); status != 302 || gets() != 1 {
		t.Errorf("after a refused change (%d) the stored answer is gone", status)
	}
	if status := post("yes"); status != 200 || gets() != 2 {
		t.Errorf("after a change (%d) the stored answer is still there", status)
	}
}
