package upstream

import (
	"bufio"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// origin answers every connection with a text, after the head of a request has come, and notes what came.
type origin struct {
	net.Listener
	requests chan string
}

func newOrigin(t testing.TB, answer string) *origin {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &origin{l, make(chan string, 100)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			o.serve(conn, answer)
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return o
}

func (o *origin) serve(conn net.Conn, answer string) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	r := bufio.NewReader(conn)
	var head strings.Builder
	for {
		line, err := r.ReadString('\n')
		head.WriteString(line)
		if err != nil || line == "\r\n" {
			break
		}
	}
	if head.Len() > 0 {
		o.requests <- head.String()
	}
	_, _ = io.WriteString(conn, answer)
}

func runCheck(t testing.TB, o *CheckOptions, address string) error {
	t.Helper()
	o.Timeout = 20 * time.Second
	check, err := newCheck(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), o.Timeout)
	defer cancel()
	return check.Run(ctx, &Target{Address: address})
}

func TestHTTPCheck(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nall ok\n"
	for _, test := range []struct {
		name    string
		answer  string
		options CheckOptions
		fault   string // part of what is wrong; "" if nothing
	}{
		{"well", ok, CheckOptions{}, ""},
		{"the text", ok, CheckOptions{Body: "all ok"}, ""},
		{"not the text", ok, CheckOptions{Body: "all well"}, "does not contain"},
		{"another status", "HTTP/1.1 503 No\r\n\r\n", CheckOptions{}, "status 503"},
		{"a redirect is no success", "HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", CheckOptions{}, "status 302"},
		{"an expected 404", "HTTP/1.1 404 Not Found\r\n\r\n", CheckOptions{Statuses: []StatusRange{{200, 200}, {400, 404}}}, ""},
		{"200 where 404 is expected", ok, CheckOptions{Statuses: []StatusRange{{404, 404}}}, "status 200"},
		{"HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\nup", CheckOptions{Body: "up"}, ""},
		{"no reason phrase", "HTTP/1.1 204\r\n\r\n", CheckOptions{}, ""},
		{"interim answer", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + ok, CheckOptions{Body: "ok"}, ""},
		{"chunked, the text across chunks", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4;x=1\r\nall \r\n2\r\nok\r\n0\r\n\r\n", CheckOptions{Body: "all ok"}, ""},
		{"chunk size is not the text", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nabc\r\n", CheckOptions{Body: "abc"}, "broke off"},
		{"text after the body", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nall ok", CheckOptions{Body: "ok"}, "does not contain"},
		{"the text before the body broke off", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nall ok\r\nxx", CheckOptions{Body: "all ok"}, ""},
		{"nothing", "", CheckOptions{}, "no answer"},
		{"half a head", "HTTP/1.1 200 OK\r\nContent-", CheckOptions{}, "broke off"},
		{"not HTTP", "220 mail.example ESMTP\r\n", CheckOptions{}, "not HTTP/1"},
		{"long garbage", strings.Repeat("x", 200) + "\r\n", CheckOptions{}, "not HTTP/1"},
		{"HTTP/2", "HTTP/2 200\r\n\r\n", CheckOptions{}, "not HTTP/1"},
		{"status out of range", "HTTP/1.1 999 ?\r\n\r\n", CheckOptions{Statuses: []StatusRange{{0, 999}}}, "not HTTP/1"},
		{"endless head", "HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 20_000), CheckOptions{}, "broke off"},
		{"endless body", "HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("x", 200_000) + "text", CheckOptions{Body: "text"}, "does not contain"},
		{"long body that is well", "HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("x", 200_000), CheckOptions{}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := newOrigin(t, test.answer)
			test.options.Kind, test.options.Path = "http", "/healthz?deep=1"
			err := runCheck(t, &test.options, o.Addr().String())
			switch {
			case test.fault == "" && err != nil:
				t.Errorf("fault %q, want none", err)
			case test.fault != "" && (err == nil || !strings.Contains(err.Error(), test.fault)):
				t.Errorf("fault %v, want one with %q", err, test.fault)
			}
			want := "GET /healthz?deep=1 HTTP/1.1\r\nHost: " + o.Addr().String() + "\r\nUser-Agent: Sluice-Health\r\nAccept: */*\r\nConnection: close\r\n\r\n"
			if got := <-o.requests; got != want {
				t.Errorf("request %q, want %q", got, want)
			}
		})
	}
}

func TestHTTPCheckHost(t *testing.T) {
	o := newOrigin(t, "HTTP/1.1 200 OK\r\n\r\n")
	if err := runCheck(t, &CheckOptions{Kind: "http", Path: "/", Host: "shop.example"}, o.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if got := <-o.requests; !strings.Contains(got, "\r\nHost: shop.example\r\n") {
		t.Errorf("request %q", got)
	}
}

// closedAddress returns an address at which nobody listens.
func closedAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestTCPCheck(t *testing.T) {
	o := newOrigin(t, "")
	if err := runCheck(t, &CheckOptions{Kind: "tcp"}, o.Addr().String()); err != nil {
		t.Errorf("an endpoint that listens: %v", err)
	}
	for _, kind := range []string{"tcp", "http"} {
		if err := runCheck(t, &CheckOptions{Kind: kind, Path: "/"}, closedAddress(t)); err == nil {
			t.Errorf("%s: nobody listens, and the check passed", kind)
		}
	}
}

// TestHTTPCheckEndsWithItsContext: an endpoint that accepts and says nothing does not hold the checker.
func TestHTTPCheckEndsWithItsContext(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	check := newHTTPCheck(&CheckOptions{Path: "/", Timeout: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- check.Run(ctx, &Target{Address: l.Addr().String()}) }()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	cancel()
	if err := <-done; err == nil {
		t.Error("a check without an answer passed")
	}
}

func TestUnknownCheck(t *testing.T) {
	if _, err := newCheck(&CheckOptions{Kind: "grpc"}); err == nil || !strings.Contains(err.Error(), "grpc") {
		t.Errorf("got %v", err)
	}
}

// FuzzJudge: whatever an endpoint answers, the check ends, reads within its bound, and passes only for an expected status.
func FuzzJudge(f *testing.F) {
	for _, seed := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7fffffff\r\nok",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nok\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nok",
		"HTTP/1.1 503 No\r\n\r\nok",
		"HTTP/1.1 2",
		"\r\n\r\n",
		"",
	} {
		f.Add(seed)
	}
	check := newHTTPCheck(&CheckOptions{Path: "/", Body: "ok"}).(*httpCheck)
	f.Fuzz(func(t *testing.T, answer string) {
		r := strings.NewReader(answer)
		err := check.judge(r)
		if read := len(answer) - r.Len(); read > checkBytes {
			t.Errorf("read %d bytes", read)
		}
		if err == nil && !(strings.Contains(answer, " 2") && strings.Contains(answer, "HTTP/1.")) {
			t.Errorf("%q passed", answer)
		}
	})
}
