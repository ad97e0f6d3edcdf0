package http1

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/message"
)

func TestLoginSchemes(t *testing.T) {
	for _, test := range []struct {
		name  string
		value string
		want  bool
	}{
		{"WWW-Authenticate", "NTLM", true},
		{"WWW-Authenticate", "ntlm TlRMTVNTUAACAAAA", true},
		{"WWW-Authenticate", "Negotiate", true},
		{"WWW-Authenticate", "Basic realm=\"a, b\", Negotiate", true},
		{"WWW-Authenticate", "Basic realm=\"a\",NTLM\tx", true},
		{"Proxy-Authenticate", "Negotiate oYG2MIGz", true},
		{"Authorization", "NTLM TlRMTVNTUAABAAAA", true},
		{"Authorization", "negotiate YII", true},
		{"WWW-Authenticate", "Basic realm=\"NTLM\"", false},
		{"WWW-Authenticate", "NTLMv2", false},
		{"WWW-Authenticate", "Bearer", false},
		{"WWW-Authenticate", "", false},
		{"Authorization", "Bearer NTLM", false},
		{"Authorization", "Basic bnRsbQ==", false},
		{"X-Authorization", "NTLM", false},
	} {
		x := exchangeOf("GET", "/", "")
		x.Response.Header.Add(message.NameOf("WWW-Authenticate"), []byte("Digest realm=\"x\""))
		h := &x.Response.Header
		if strings.HasSuffix(test.name, "orization") {
			h = &x.Request.Header
		}
		h.Add(message.NameOf(test.name), []byte(test.value))
		if got := loginHere(x); got != test.want {
			t.Errorf("%s: %s: %v", test.name, test.value, got)
		}
	}
}

// loginOrigin asks for NTLM until a request brings it, and from then on takes the connection for
// logged in. It answers with the number of the connection, and with who is logged in.
func loginOrigin(c *testnet.OriginConn) {
	user := ""
	for {
		r, ok := c.ReadRequest()
		if !ok {
			return
		}
		if who, found := strings.CutPrefix(r.Header.Get("Authorization"), "NTLM "); found {
			user = who
		}
		switch {
		case user == "" && r.Target == "/secret":
			ok = c.Send(reply("401 Unauthorized", itoa(c.Number), "WWW-Authenticate: Negotiate", "WWW-Authenticate: NTLM"))
		default:
			ok = c.Send(reply("200 OK", itoa(c.Number)+user))
		}
		if !ok {
			return
		}
	}
}

// Security case 65: a connection that holds a login belongs to the client that has logged in, and
// to nobody else.
func TestLoginsAreNotShared(t *testing.T) {
	p := newProxy(t, loginOrigin, nil)
	public, ada, bob := p.client(), p.client(), p.client()
	ask := func(c *testnet.Client, request string, status int, body string) {
		t.Helper()
		method, _, _ := strings.Cut(request, " ")
		want(t, c.Do(method, request), status, body)
		p.last() // the connection is back
	}
	ask(public, get("/"), 200, "0")
	ask(ada, get("/secret"), 401, "0") // a connection that nobody is logged in on may be taken
	ask(ada, get("/secret", "Authorization: NTLM ada"), 200, "0ada")
	ask(bob, get("/secret"), 401, "1")
	ask(bob, get("/"), 200, "1")
	ask(public, get("/"), 200, "2")
	ask(bob, post("/secret", "hello", "Authorization: NTLM bob"), 200, "1bob")
	for range 3 {
		ask(ada, get("/secret"), 200, "0ada") // the connection is logged in, not the request
		ask(bob, get("/secret"), 200, "1bob")
		ask(public, get("/secret"), 401, "2")
	}
	if s := p.pool.Stats(); s.Idle != 0 || s.Bound != 3 {
		t.Errorf("%+v", s)
	}
	// It ends with its client's connection.
	ada.Close()
	testnet.Receive(t, "the end of Ada's connection", p.origin.Conn(0).Ended())
	ask(bob, get("/secret"), 200, "1bob")
	// When the endpoint ends it, the client has to log in again.
	_ = p.origin.Conn(1).Close()
	testnet.Receive(t, "the end of Bob's connection", p.origin.Conn(1).Ended())
	ask(bob, get("/secret"), 401, "3")
	// The pool ends those that nobody used for long.
	age(p.pool, 2*testnet.Patience)
	if p.pool.Sweep(); p.pool.Stats().Bound != 0 {
		t.Errorf("%+v", p.pool.Stats())
	}
	testnet.Receive(t, "the end of an unused connection", p.origin.Conn(3).Ended())
	ask(bob, get("/secret", "Authorization: Negotiate bob"), 401, "4")
	if s := p.pool.Stats(); s.Bound != 1 {
		t.Errorf("%+v", s)
	}
	p.pool.Close()
	testnet.Receive(t, "the end of the pool's connections", p.origin.Conn(4).Ended())
}

// An exchange without a connection of its own (of HTTP/2, or a copy) leaves no connection that is
// logged in to anybody.
func TestLoginWithoutAConnection(t *testing.T) {
	d := newDirect(t, loginOrigin, nil)
	for i := range 2 {
		x := exchangeOf("GET", "/secret", "")
		x.Request.Header.Add(message.NameOf("Authorization"), []byte("NTLM ada"))
		if f := d.pool.Do(x, &Call{}); f != nil {
			t.Fatal(f)
		}
		if got := bodyOf(t, x); got != itoa(i)+"ada" {
			t.Errorf("%q", got)
		}
		testnet.Receive(t, "the end of the connection", d.origin.Conn(i).Ended())
	}
}

func TestBoundConnections(t *testing.T) {
	d := newDirect(t, loginOrigin, func(o *PoolOptions) { o.MaxBound = 2 })
	ask := func(b *message.Bindings, c Call) string {
		t.Helper()
		x := exchangeOf("GET", "/secret", "")
		x.Bindings = b
		if f := d.pool.Do(x, &c); f != nil {
			t.Fatal(f)
		}
		return bodyOf(t, x)
	}
	var b [3]message.Bindings
	if d.pool.Bound(nil) || d.pool.Bound(&b[0]) {
		t.Error("nothing is bound")
	}
	if ask(&b[0], Call{}) != "0" || ask(&b[1], Call{}) != "1" || !d.pool.Bound(&b[0]) || !d.pool.Bound(&b[1]) {
		t.Error("not bound")
	}
	// A login is worth more than the risk that the endpoint closes the connection.
	age(d.pool, 10*time.Second)
	d.pool.mu.Lock()
	d.pool.life.estimate = int64(10 * time.Second)
	d.pool.mu.Unlock()
	if got := ask(&b[0], Call{Once: true}); got != "0" {
		t.Errorf("connection %s", got)
	}
	// A replay goes over a new connection, which takes the place of the old one.
	if got := ask(&b[0], Call{Fresh: true}); got != "2" {
		t.Errorf("connection %s", got)
	}
	testnet.Receive(t, "the end of the old connection", d.origin.Conn(0).Ended())
	// Beyond the bound one of the others goes.
	if got := ask(&b[2], Call{}); got != "3" {
		t.Errorf("connection %s", got)
	}
	if s := d.pool.Stats(); s.Bound != 2 || s.Evicted != 1 || d.pool.Bound(&b[0]) == d.pool.Bound(&b[1]) || !d.pool.Bound(&b[2]) {
		t.Errorf("%+v", s)
	}
	for i := range b {
		b[i].Close()
	}
	if s := d.pool.Stats(); s.Bound != 0 {
		t.Errorf("%+v", s)
	}
	// The client is gone: nothing is kept for it.
	if got := ask(&b[0], Call{}); got != "4" || d.pool.Stats().Bound != 0 {
		t.Errorf("connection %s, %+v", got, d.pool.Stats())
	}
	d.pool.Close()
	var late message.Bindings
	if ask(&late, Call{}); d.pool.Stats().Bound != 0 {
		t.Error("a pool that is closed keeps a connection")
	}
}

// preluded reads a line before everything else, and answers with it and the number of the connection.
func preluded(c *testnet.OriginConn) {
	line := make([]byte, len("PROXY x\r\n"))
	for n := 0; n < len(line); {
		k, err := c.Read(line[n:])
		if n += k; err != nil {
			return
		}
	}
	for {
		if _, ok := c.ReadRequest(); !ok || !c.Send(reply("200 OK", itoa(c.Number)+" "+string(line[6:7]))) {
			return
		}
	}
}

func TestPrelude(t *testing.T) {
	d := newDirect(t, preluded, nil)
	ask := func(b *message.Bindings, who string, c Call) string {
		t.Helper()
		x := exchangeOf("POST", "/", "hello")
		x.Bindings = b
		if c.Prelude = nil; who != "" {
			c.Prelude = []byte("PROXY " + who + "\r\n")
		}
		if f := d.pool.Do(x, &c); f != nil {
			t.Fatal(f)
		}
		clear(c.Prelude) // it is the caller's again
		return bodyOf(t, x)
	}
	var a, b message.Bindings
	for _, step := range []struct {
		bindings *message.Bindings
		who      string
		call     Call
		want     string
	}{
		{&a, "a", Call{}, "0 a"},
		{&b, "b", Call{}, "1 b"},
		{&a, "a", Call{}, "0 a"},
		{&b, "b", Call{Once: true}, "1 b"},
		{&a, "x", Call{}, "2 x"}, // says something else of itself than before
		{&a, "x", Call{}, "2 x"},
		{nil, "n", Call{}, "3 n"},
		{nil, "n", Call{}, "4 n"},
		{&b, "b", Call{Fresh: true}, "5 b"},
	} {
		if got := ask(step.bindings, step.who, step.call); got != step.want {
			t.Errorf("%q, want %q", got, step.want)
		}
	}
	for _, gone := range []int{0, 1, 3, 4} {
		testnet.Receive(t, "the end of connection "+itoa(gone), d.origin.Conn(gone).Ended())
	}
	if s := d.pool.Stats(); s.Idle != 0 || s.Bound != 2 || d.pool.Bound(&a) {
		t.Errorf("%+v", s)
	}
	// Near its end it is not used for what must not be sent twice.
	age(d.pool, 10*time.Second)
	d.pool.mu.Lock()
	d.pool.life.estimate = int64(10 * time.Second)
	d.pool.mu.Unlock()
	if got := ask(&a, "x", Call{Once: true}); got != "6 x" || d.pool.Stats().Spared != 1 {
		t.Errorf("%q, %+v", got, d.pool.Stats())
	}
	a.Close()
	b.Close()
	for _, gone := range []int{2, 5, 6} {
		testnet.Receive(t, "the end of connection "+itoa(gone), d.origin.Conn(gone).Ended())
	}
}

// failing is a connection that takes nothing.
type failing struct{ net.Conn }

func (failing) Write([]byte) (int, error) { return 0, errors.New("broken") }

func TestPreludeIsNotTaken(t *testing.T) {
	d := newDirect(t, preluded, nil)
	dial := d.pool.o.Dial
	d.pool.o.Dial = func(ctx context.Context, address string) (net.Conn, error) {
		nc, err := dial(ctx, address)
		return failing{nc}, err
	}
	f := d.pool.Do(exchangeOf("POST", "/", "hello"), &Call{Prelude: []byte("PROXY x\r\n")})
	if f == nil || f.Reason != message.UpstreamConnectFailed || f.Retry != message.RetryUnsent || f.Stage != message.StageConnect {
		t.Errorf("%+v", f)
	}
	testnet.Receive(t, "the end of the connection", d.origin.Conn(0).Ended())
}

// With TLS the prelude comes before the handshake.
func TestPreludeBeforeTLS(t *testing.T) {
	o := newSecureOrigin(t, nil, mirrored) // for its certificate
	front := testnet.NewOrigin(t, func(c *testnet.OriginConn) {
		line := make([]byte, len("PROXY x\r\n"))
		if n, _ := c.Read(line); string(line[:n]) != "PROXY x\r\n" {
			return
		}
		s := &secureSession{Conn: tls.Server(rest{c.Conn, c}, &tls.Config{Certificates: []tls.Certificate{o.cert}})}
		s.br = bufio.NewReader(s.Conn)
		mirrored(s)
	})
	p := newSecure(t, o, func(po *PoolOptions) { po.Address = front.Addr })
	if got := over(t, p, "POST", "hello", Call{Prelude: []byte("PROXY x\r\n")}); got != "POST / hello" {
		t.Errorf("%q", got)
	}
}

// rest is a connection of which the beginning was read.
type rest struct {
	net.Conn
	from *testnet.OriginConn
}

func (r rest) Read(p []byte) (int, error) { return r.from.Read(p) }
