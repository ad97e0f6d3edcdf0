package gateway

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// shaping is a configuration whose only route has these policies.
func shaping(policies, endpoint string) string {
	return fmt.Sprintf(`version: 1
listeners: {web: {address: "127.0.0.1:0", protocol: http}}
routes:
  - name: all
    backend: app
    policies: %s
backends:
  app: {endpoints: [%q], retries: {attempts: 1, on: [connect, reset]}}
`, policies, endpoint)
}

// bank are policies like those of the route transfer in the bank's configuration.
const bank = `
      - validate: {max_body: 64KiB, content_type: [application/json], json_schema: {type: object, required: [amount], properties: {amount: {type: number, minimum: 0}}}}
      - request: {headers: {set: {X-Customer: "${request.query.user}"}, remove: [Authorization]}, body: {set: {from: "${request.query.user}"}}}
      - response: {headers: {remove: [Server]}, body: {jq: "del(.internal)"}}
`

// scripted is an origin that answers each request with what answer makes of it.
func scripted(t testing.TB, answer func(r *testnet.Request) string) *testnet.Origin {
	return testnet.NewOrigin(t, func(c *testnet.OriginConn) {
		for {
			r, read := c.ReadRequest()
			if !read || !c.Send(answer(r)) {
				return
			}
		}
	})
}

// jsonAnswer is an answer of JSON with further header lines.
func jsonAnswer(body string, lines ...string) string {
	head := "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	for _, l := range lines {
		head += l + "\r\n"
	}
	return fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", head, len(body), body)
}

// post is a POST request with a body of known length, or in chunks of n bytes.
func post(path, body string, n int, lines ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "POST %s HTTP/1.1\r\nHost: bank.test\r\nContent-Type: application/json\r\n", path)
	for _, l := range lines {
		b.WriteString(l + "\r\n")
	}
	if n == 0 {
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
		return b.String()
	}
	b.WriteString("Transfer-Encoding: chunked\r\n\r\n")
	for len(body) > 0 {
		size := min(n, len(body))
		fmt.Fprintf(&b, "%x\r\n%s\r\n", size, body[:size])
		body = body[size:]
	}
	b.WriteString("0\r\n\r\n")
	return b.String()
}

// A request and its answer change shape on their way, however their lengths are told.
func TestBodiesChangeShape(t *testing.T) {
	var mu sync.Mutex
	var got []*testnet.Request
	origin := scripted(t, func(r *testnet.Request) string {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, r)
		if len(got)%2 == 0 { // every other one in chunks
			return "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nServer: x\r\nETag: \"1\"\r\nTransfer-Encoding: chunked\r\n\r\n" +
				"10\r\n{\"id\":1,\"interna\r\n10\r\nl\":{\"a\":1}, \"n\":\r\n5\r\n1.10}\r\n0\r\n\r\n"
		}
		return jsonAnswer(`{"id":1,"internal":{"a":1}, "n":1.10}`, `ETag: "1"`, "Server: x")
	})
	g := start(t, shaping(bank, origin.Addr))
	c := g.dial("web")
	for i, n := range []int{0, 0, 1, 7, 1000} {
		r := c.Do("POST", post("/transfers?user=u7", `{"amount": 10.50, "from":"forged"}`, n, "Authorization: Bearer x"))
		if r.Status != 200 || string(r.Body) != `{"id":1, "n":1.10}` || r.Framing != testnet.FramedLength {
			t.Errorf("%d: answer %d %q, %s", i, r.Status, r.Body, r.Framing)
		}
		if r.Header.Get("ETag") != `W/"1"` || r.Header.Get("Server") != "" {
			t.Errorf("%d: header %v", i, r.Header)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for i, r := range got {
		if string(r.Body) != `{"amount": 10.50, "from":"u7"}` || r.Framing != testnet.FramedLength || r.Header.Get("X-Customer") != "u7" ||
			r.Header.Get("Authorization") != "" || r.Header.Get("Accept-Encoding") != "identity" {
			t.Errorf("%d: the backend got %q, %s, %v", i, r.Body, r.Framing, r.Header)
		}
	}
	if len(got) != 5 || origin.Conns() != 1 {
		t.Errorf("%d requests over %d connections", len(got), origin.Conns())
	}
}

// What does not pass is refused before anything is forwarded, and tells why.
func TestBodiesRefused(t *testing.T) {
	origin := scripted(t, func(*testnet.Request) string { return ok("no") })
	g := start(t, shaping(bank, origin.Addr))
	large := `{"amount":1,"x":"` + strings.Repeat("x", 64<<10) + `"}`
	for _, c := range []struct {
		name, request string
		status        int
		reason, has   string
	}{
		{"too large", post("/", large, 0), 413, "body_too_large", ""},
		{"too large, in chunks", post("/", large, 1000), 413, "body_too_large", ""},
		{"another type", strings.Replace(post("/", `{}`, 0), "application/json", "text/plain", 1), 415, "content_type_unsupported", ""},
		{"broken", post("/", `{"amount":`, 5), 400, "json_invalid", `"pointer":"#"`},
		{"too deep", post("/", strings.Repeat("[", 100)+strings.Repeat("]", 100), 0), 422, "json_too_deep", ""},
		{"twice", post("/", `{"amount":1,"amount":2}`, 0), 422, "json_duplicate_key", ""},
		{"schema", post("/", `{"amount":-5}`, 3), 422, "schema_violated", `"errors":[{"pointer":"#/amount","detail":"must be at least 0"}]`},
		{"empty", post("/", "", 0), 422, "schema_violated", `"pointer":"#"`},
		{"none", get("/"), 422, "schema_violated", `"pointer":"#"`},
	} {
		cl := g.dial("web")
		if err := cl.TrySend(c.request); err != nil {
			t.Logf("%s: %v", c.name, err) // the gateway may stop reading
		}
		r, err := cl.TryResponse("POST")
		if err != nil || r.Status != c.status || r.Header.Get("Sluice-Reason") != c.reason || !strings.Contains(string(r.Body), c.has) ||
			r.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %+v, %v", c.name, r, err)
			continue
		}
		if strings.Contains(string(r.Body), "-5") {
			t.Errorf("%s: the answer repeats the request: %s", c.name, r.Body)
		}
	}
	if origin.Conns() != 0 {
		t.Errorf("%d connections to the backend: %q", origin.Conns(), origin.Received())
	}
}

// A client that waits to be asked is asked when its body is wanted, and only then.
func TestBodiesExpected(t *testing.T) {
	origin := scripted(t, func(r *testnet.Request) string { return jsonAnswer(string(r.Body)) })
	g := start(t, shaping(bank, origin.Addr))
	c := g.dial("web")
	for range 2 {
		c.Send("POST /?user=u HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: 12\r\n\r\n")
		if r := c.ReadResponse("POST"); r.Status != 100 {
			t.Fatalf("answer %+v", r)
		}
		c.Send(`{"amount":1}`)
		if r := c.ReadResponse("POST"); r.Status != 200 || string(r.Body) != `{"amount":1,"from":"u"}` {
			t.Fatalf("answer %d %s", r.Status, r.Body)
		}
	}
	c.Send("POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: 100000\r\n\r\n")
	if r := c.ReadResponse("POST"); r.Status != 413 {
		t.Errorf("answer %+v", r)
	}
	c = g.dial("web")
	c.Send("POST / HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nExpect: 100-continue\r\nContent-Length: 12\r\n\r\n")
	if r := c.ReadResponse("POST"); r.Status != 415 {
		t.Errorf("answer %+v", r)
	}
}

// A compressed answer is read, one that cannot be read or is too large is replaced, and HEAD and 304 say nothing that a GET would not.
func TestAnswersChangeShape(t *testing.T) {
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	_, _ = io.WriteString(w, `{"a":1,"secret":2}`)
	_ = w.Close()
	answers := map[string]string{
		"/gzip":    jsonAnswer(z.String(), "Content-Encoding: gzip"),
		"/br":      jsonAnswer("whatever", "Content-Encoding: br"),
		"/large":   jsonAnswer(`{"a":"` + strings.Repeat("x", 4096) + `"}`),
		"/chunked": "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("400\r\n"+strings.Repeat(" ", 1024)+"\r\n", 5) + "0\r\n\r\n",
		"/text":    ok("plain"),
		"/broken":  jsonAnswer(`{"a":`),
		"/cut":     "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\nConnection: close\r\n\r\n{\"a\":1",
		"/304":     "HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\nContent-Type: application/json\r\n\r\n",
		"/404":     strings.Replace(jsonAnswer(`{"error":"none","secret":1}`), "200 OK", "404 Not Found", 1),
	}
	origin := testnet.NewOrigin(t, func(c *testnet.OriginConn) {
		for {
			r, read := c.ReadRequest()
			if !read {
				return
			}
			text := answers[r.Target]
			if r.Method == "HEAD" {
				text = text[:strings.Index(text, "\r\n\r\n")+4]
			}
			if !c.Send(text) || r.Target == "/cut" {
				return
			}
		}
	})
	g := start(t, shaping(`[{response: {body: {max: 4KiB, remove: [secret]}}}]`, origin.Addr))
	for _, c := range []struct {
		path   string
		status int
		want   string
	}{
		{"/gzip", 200, `{"a":1}`},
		{"/br", 502, "response_encoding_unsupported"},
		{"/large", 502, "response_too_large"},
		{"/chunked", 502, "response_too_large"},
		{"/text", 200, "plain"},
		{"/broken", 502, "response_not_json"},
		{"/cut", 502, "upstream_body_broken"},
		{"/304", 304, ""},
		{"/404", 404, `{"error":"none"}`},
	} {
		cl := g.dial("web")
		r := cl.Do("GET", get(c.path))
		got := string(r.Body)
		if r.Status == 502 {
			got = r.Header.Get("Sluice-Reason")
		}
		if r.Status != c.status || got != c.want || r.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s: answer %d %q, %v", c.path, r.Status, r.Body, r.Header)
		}
		if r.Status == 304 && r.Header.Get("ETag") != `W/"1"` {
			t.Errorf("304 has the tag %s", r.Header.Get("ETag"))
		}
		want(t, cl, "/text", 200, "plain") // the connection goes on
	}
	r := g.dial("web").Do("HEAD", strings.Replace(get("/gzip"), "GET", "HEAD", 1))
	if r.Status != 200 || r.Header.Get("Content-Length") != "" || r.Header.Get("Content-Encoding") != "" {
		t.Errorf("HEAD: %d %v", r.Status, r.Header)
	}
}

// A backend may answer before it has read the request, and a second one may have to be asked: the body is there until then, and whole.
func TestBodiesLast(t *testing.T) {
	text := `{"amount":1,"x":"` + strings.Repeat("0123456789", 20_000) + `"}`
	after := text[:len(text)-1] + `,"from":"u"}`
	policies := strings.ReplaceAll(bank, "64KiB", "1MiB")
	first := true
	var mu sync.Mutex
	var bodies []string
	origin := testnet.NewOrigin(t, func(c *testnet.OriginConn) {
		mu.Lock()
		reset := first
		first = false
		mu.Unlock()
		for {
			r, read := c.ReadRequest()
			if !read {
				return
			}
			if reset {
				c.Reset()
				return
			}
			mu.Lock()
			bodies = append(bodies, string(r.Body))
			mu.Unlock()
			if !c.Send(jsonAnswer(`{}`)) {
				return
			}
		}
	})
	g := start(t, strings.Replace(shaping(policies, origin.Addr), "on: [connect, reset]", "on: [connect, reset], methods: [POST], max_body: 1MiB", 1))
	c := g.dial("web")
	for range 3 {
		if r := c.Do("POST", post("/?user=u", text, 8000)); r.Status != 200 {
			t.Fatalf("answer %d %s", r.Status, r.Body)
		}
	}
	mu.Lock()
	for _, b := range bodies {
		if b != after {
			t.Errorf("the backend got %d bytes, %.60q", len(b), b)
		}
	}
	mu.Unlock()

	early := testnet.NewOrigin(t, func(c *testnet.OriginConn) {
		if _, read := c.ReadHead(); read && c.Send(jsonAnswer(`{"early":true}`)) {
			c.Hang()
		}
	})
	g = start(t, shaping(policies, early.Addr))
	c = g.dial("web")
	c.Send(post("/?user=u", text[:len(text)-2]+strings.Repeat("x", 700_000)+`"}`, 0))
	if r := c.ReadResponse("POST"); r.Status != 200 || string(r.Body) != `{"early":true}` {
		t.Errorf("answer %d %.100s", r.Status, r.Body)
	}
}

// Many at once do not see each other's bodies.
func TestBodiesApart(t *testing.T) {
	origin := scripted(t, func(r *testnet.Request) string { return jsonAnswer(string(r.Body)) })
	g := start(t, shaping(bank, origin.Addr))
	var clients sync.WaitGroup
	for n := range 8 {
		c := g.dial("web")
		clients.Go(func() {
			for i := range 40 {
				fill := strings.Repeat(string(rune('a'+n)), i*i*20)
				r := c.Do("POST", post(fmt.Sprintf("/?user=u%d", n), fmt.Sprintf(`{"amount":%d,"x":%q,"internal":1}`, i, fill), i*10))
				if want := fmt.Sprintf(`{"amount":%d,"x":%q,"from":"u%d"}`, i, fill, n); r.Status != 200 || string(r.Body) != want {
					t.Errorf("client %d: answer %d, %d bytes, want %d", n, r.Status, len(r.Body), len(want))
					return
				}
			}
		})
	}
	clients.Wait()
}

// Answers are compressed on their way, in the order that they have and as they come.
func TestAnswersCompressed(t *testing.T) {
	text := strings.Repeat(`{"a":1,"secret":2},`, 500)
	origin := scripted(t, func(r *testnet.Request) string {
		if r.Target == "/events" {
			return "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n"
		}
		return jsonAnswer("["+text+"0]", `ETag: "1"`)
	})
	g := start(t, shaping(`[{compress: {encodings: [gzip]}}, {response: {body: {jq: "map(objects | del(.secret))"}}}]`, origin.Addr))
	c := g.dial("web")
	for range 3 {
		r := c.Do("GET", "GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip;q=0.9, br\r\n\r\n")
		if r.Status != 200 || r.Header.Get("Content-Encoding") != "gzip" || r.Header.Get("Vary") != "Accept-Encoding" || r.Header.Get("ETag") != `W/"1"` ||
			r.Framing != testnet.FramedChunked || len(r.Body) > 500 {
			t.Fatalf("answer %d, %d bytes, %v", r.Status, len(r.Body), r.Header)
		}
		z, err := gzip.NewReader(bytes.NewReader(r.Body))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(z); err != nil || string(got) != "["+strings.Repeat(`{"a":1},`, 499)+`{"a":1}]` {
			t.Errorf("%.60q, %v", got, err)
		}
		if r := c.Do("GET", get("/")); r.Header.Get("Content-Encoding") != "" || r.Header.Get("Vary") != "Accept-Encoding" || r.Framing != testnet.FramedLength {
			t.Errorf("without Accept-Encoding: %v", r.Header)
		}
	}
	// An event that the backend pauses behind arrives.
	c.Send("GET /events HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n")
	var head []byte
	for !bytes.Contains(head, []byte("\r\n\r\n\x00")) && len(head) < 4096 {
		var b [1]byte
		if _, err := c.Read(b[:]); err != nil {
			t.Fatal(err)
		}
		if head = append(head, b[0]); bytes.Contains(head, []byte("\x1f\x8b")) {
			break
		}
	}
	if !bytes.Contains(head, []byte("Content-Encoding: gzip")) {
		t.Errorf("answer %q", head)
	}
}
