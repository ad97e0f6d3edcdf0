package http1

import (
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/message"
)

// keepAliveFields are Keep-Alive fields with what they say. Read-only.
var keepAliveFields = []struct {
	text    string
	timeout time.Duration
	max     int
	ok      bool
}{
	{"", -1, -1, true},
	{"timeout=5", 5 * time.Second, -1, true},
	{"timeout=5, max=100", 5 * time.Second, 100, true},
	{"MAX=1,Timeout=0", 0, 1, true},
	{" , timeout=60 ,, foo, bar=\"x\" ", time.Minute, -1, true},
	{"max=0", -1, 0, true},
	{"timeout=999999999", maxKeepAlive, -1, true},
	{"300", -1, -1, true}, // an old form of it, which nothing says how to read
	{"timeouts=5", -1, -1, true},
	{"timeout=9999999999", -1, -1, false},
	{"timeout", -1, -1, false},
	{"timeout=", -1, -1, false},
	{"timeout=-1", -1, -1, false},
	{"timeout=+5", -1, -1, false},
	{"timeout=5s", -1, -1, false},
	{"timeout= 5", -1, -1, false},
	{"timeout=\"5\"", -1, -1, false},
	{"timeout=5, timeout=6", -1, -1, false},
	{"max=5, max=5", -1, -1, false},
	{"timeout=5, max=x", -1, -1, false},
	{strings.Repeat("a,", 100) + "timeout=5", -1, -1, false},
}

func TestParseKeepAlive(t *testing.T) {
	for _, test := range keepAliveFields {
		want := keepAlive{test.timeout, test.max}
		if k, ok := parseKeepAlive([]byte(test.text)); k != want || ok != test.ok {
			t.Errorf("%.40q: %+v, %v; want %+v, %v", test.text, k, ok, want, test.ok)
		}
	}
}

func FuzzKeepAlive(f *testing.F) {
	for _, test := range keepAliveFields {
		f.Add([]byte(test.text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		k, ok := parseKeepAlive(text)
		if k.timeout < -1 || k.timeout > maxKeepAlive || k.max < -1 || k.max > 999_999_999 || !ok && (k.timeout != -1 || k.max != -1) {
			t.Fatalf("%q: %+v, %v", text, k, ok)
		}
		if !ok {
			return
		}
		// What is believed does not depend on case or on empty elements.
		if again, ok := parseKeepAlive([]byte("," + strings.ToUpper(string(text)) + ", ,")); isASCII(text) && (again != k || !ok) {
			t.Fatalf("%q: %+v, in upper case %+v, %v", text, k, again, ok)
		}
	})
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

// What is learned from closes, in seconds.
func TestLifetime(t *testing.T) {
	const s = int64(time.Second)
	type event struct{ open, low, high, since, now int64 } // open, or a close
	closed := func(low, high, since, now int64) event { return event{0, low, high, since, now} }
	open := func(age, now int64) event { return event{open: age, now: now} }
	for _, test := range []struct {
		name     string
		events   []event
		estimate int64
		sure     bool
	}{
		{"nothing", []event{open(100, 1)}, 0, false},
		{"one close", []event{closed(55, 60, 0, 60)}, 55, false},
		{"not looked at before", []event{closed(0, 60, 0, 60)}, 1, false},
		{"clock before the idle time", []event{closed(-5, 60, 0, 60)}, 1, false},
		{"never looked at", []event{closed(0, 4, 0, 4), closed(0, 5, 10, 15)}, 1, true},
		{"not looked at before, then seen open", []event{closed(0, 60, 0, 60), open(50, 120)}, 50, false},
		{"two closes at once", []event{closed(55, 60, 0, 60), closed(55, 60, 1, 61)}, 55, false},
		{"two closes", []event{closed(55, 60, 0, 60), closed(57, 62, 100, 160)}, 57, true},
		{"seen older", []event{closed(55, 60, 0, 60), closed(55, 60, 100, 160), open(59, 300)}, 59, true},
		{"seen younger", []event{closed(55, 60, 0, 60), closed(55, 60, 100, 160), open(20, 300)}, 55, true},
		{"seen much older", []event{closed(5, 6, 0, 6), closed(5, 6, 10, 16), open(20, 40)}, 20, false},
		{"the second was older", []event{closed(5, 6, 0, 6), closed(55, 60, 100, 160)}, 55, false},
		{"the second was younger", []event{closed(55, 60, 0, 60), closed(5, 6, 100, 106)}, 5, false},
		{"too young", []event{closed(0, 0, 0, 60)}, 0, false},
		{"a restart", []event{closed(55, 60, 0, 60), closed(55, 60, 100, 160), closed(2, 3, 200, 203), closed(7, 8, 195, 203)}, 55, true},
		{"a new timeout", []event{closed(55, 60, 0, 60), closed(55, 60, 100, 160), closed(4, 5, 200, 205), closed(4, 5, 210, 215)}, 4, true},
		{"two restarts with a close that fits between them", []event{closed(55, 60, 0, 60), closed(55, 60, 100, 160), closed(4, 5, 200, 205),
			closed(55, 60, 210, 270), closed(4, 5, 300, 305)}, 55, true},
		{"a restart long after another", []event{closed(55, 60, 0, 60), closed(55, 60, 100, 160), closed(4, 5, 200, 205), open(56, 300), closed(4, 5, 500, 505)}, 56, true},
	} {
		var l lifetime
		for _, e := range test.events {
			if e.open > 0 {
				l.open(e.open*s, e.now*s)
			} else {
				l.closed(e.low*s, e.high*s, e.since*s, e.now*s)
			}
		}
		if l.estimate != test.estimate*s || l.sure != test.sure {
			t.Errorf("%s: %v, %v; want %v s, %v", test.name, time.Duration(l.estimate), l.sure, test.estimate, test.sure)
		}
	}

	l := lifetime{estimate: 60 * s, sure: true, at: 100 * s}
	if l.forget(100*s + forgetAfter); l.estimate == 0 {
		t.Error("forgotten too early")
	}
	if l.forget(101*s + forgetAfter); l.estimate != 0 {
		t.Error("not forgotten")
	}
}

func TestEnding(t *testing.T) {
	ms := func(n int64) int64 { return n * int64(time.Millisecond) }
	for _, test := range []struct {
		age, life int64
		want      bool
	}{
		{ms(1 << 40), 0, false},
		{ms(4499), ms(5000), false},
		{ms(4500), ms(5000), true},
		{ms(899), ms(1000), false},
		{ms(900), ms(1000), true},
		{ms(99), ms(200), false},
		{ms(100), ms(200), true},
		{0, ms(50), true},
		{ms(-5), ms(1000), false},
	} {
		if got := ending(test.age, test.life); got != test.want {
			t.Errorf("age %v of %v: %v", time.Duration(test.age), time.Duration(test.life), got)
		}
	}
	for _, test := range [][3]int64{{0, 0, 0}, {0, 5, 5}, {5, 0, 5}, {5, 6, 5}, {6, 5, 5}} {
		if got := shorter(test[0], test[1]); got != test[2] {
			t.Errorf("%v: %d", test, got)
		}
	}
}

// numbered answers each request with the number of its connection.
func numbered(fields ...string) func(*testnet.OriginConn) {
	return func(c *testnet.OriginConn) {
		for {
			if _, ok := c.ReadRequest(); !ok || !c.Send(reply("200 OK", itoa(c.Number), fields...)) {
				return
			}
		}
	}
}

// age makes the unused connections of p older, and all that it knows of the past.
func age(p *Pool, by time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, moment := range []*int64{&p.suspect, &p.swept, &p.life.at, &p.life.doubted} {
		if *moment != 0 {
			*moment -= int64(by)
		}
	}
	for _, cc := range p.idle {
		cc.idleSince -= int64(by)
		cc.seenOpen -= int64(by)
	}
	for _, cc := range p.bound {
		cc.idleSince -= int64(by)
		cc.seenOpen -= int64(by)
	}
}

// direct is a pool in front of an origin, without a client.
type direct struct {
	t      *testing.T
	pool   *Pool
	origin *testnet.Origin
}

func newDirect(t *testing.T, script func(*testnet.OriginConn), set func(o *PoolOptions)) *direct {
	t.Helper()
	d := &direct{t: t, origin: testnet.NewOrigin(t, script)}
	o := poolOptions(d.origin.Addr)
	if set != nil {
		set(&o)
	}
	d.pool = NewPool(o)
	t.Cleanup(d.pool.Close)
	return d
}

// ask makes an exchange and returns the body of the answer.
func (d *direct) ask(method string, c Call) string {
	d.t.Helper()
	x := exchangeOf(method, "/", "")
	if f := d.pool.Do(x, &c); f != nil {
		d.t.Fatalf("%s: %v", method, f)
	}
	return bodyOf(d.t, x)
}

// exchangeOf makes an exchange with a request.
func exchangeOf(method, path, body string) *message.Exchange {
	x := new(message.Exchange)
	x.Reset()
	r := &x.Request
	r.Method, r.Host, r.Path = message.MethodOf([]byte(method)), []byte("a.example"), []byte(path)
	if body != "" {
		x.Fixed.Reset([]byte(body))
		r.Body, r.Length = &x.Fixed, int64(len(body))
	}
	return x
}

// bodyOf reads the body of the answer and closes it.
func bodyOf(t *testing.T, x *message.Exchange) string {
	t.Helper()
	var all []byte
	for {
		piece, err := x.Response.Body.Next()
		if isEOF(err) {
			break
		}
		if err != nil {
			t.Fatalf("body: %v", err)
		}
		all = append(all, piece...)
	}
	if err := x.Response.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return string(all)
}

func (d *direct) want(method string, c Call, conn string) {
	d.t.Helper()
	if got := d.ask(method, c); got != conn {
		d.t.Fatalf("%s went over connection %s, want %s", method, got, conn)
	}
}

// The endpoint's own word bounds the use of a connection: near its end only what may be sent twice
// goes over it.
func TestKeepAliveTimeout(t *testing.T) {
	d := newDirect(t, numbered("Keep-Alive: timeout=10"), nil)
	once := Call{Once: true}
	d.want("POST", once, "0")
	if life, learned := d.pool.KeepAlive(); life != 10*time.Second || !learned {
		t.Errorf("%v, %v", life, learned)
	}
	age(d.pool, 8500*time.Millisecond)
	d.want("POST", once, "0")
	age(d.pool, 9500*time.Millisecond)
	d.want("POST", once, "1")
	if s := d.pool.Stats(); s.Idle != 2 || s.Spared != 1 {
		t.Errorf("%+v", s)
	}
	d.want("POST", once, "1") // that used last comes first
	age(d.pool, 9500*time.Millisecond)
	d.want("GET", Call{}, "1")
	d.pool.Sweep() // the first one is near its end, and everybody knows it
	if n := d.pool.Idle(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
	testnet.Receive(t, "the end of the first connection", d.origin.Conn(0).Ended())
	d.want("POST", once, "1")
}

func TestKeepAliveMax(t *testing.T) {
	for name, test := range map[string]struct {
		fields []string // of the answers in turn, then the last again
		conns  string   // that requests go over
	}{
		"nothing":         {[]string{"X: y"}, "0000"},
		"always the same": {[]string{"Keep-Alive: max=2"}, "000111"},
		"counting down":   {[]string{"Keep-Alive: timeout=5, max=3", "Keep-Alive: max=2", "Keep-Alive: max=1", "X: y"}, "00001111"},
		"said once":       {[]string{"Keep-Alive: max=1", "X: y"}, "00112"},
		"less than said":  {[]string{"Keep-Alive: max=5", "Keep-Alive: max=1"}, "000111"},
		"none":            {[]string{"Keep-Alive: max=0"}, "012"},
		"no time":         {[]string{"Keep-Alive: timeout=0"}, "012"},
		"malformed":       {[]string{"Keep-Alive: max=1, max=1"}, "0000"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDirect(t, func(c *testnet.OriginConn) {
				for i := 0; ; i++ {
					if _, ok := c.ReadRequest(); !ok || !c.Send(reply("200 OK", itoa(c.Number), test.fields[min(i, len(test.fields)-1)])) {
						return
					}
				}
			}, nil)
			for _, conn := range test.conns {
				d.want("GET", Call{}, string(conn))
			}
		})
	}
}

// The time after which an endpoint closes connections is learned from those that it has closed.
func TestLearnedKeepAlive(t *testing.T) {
	d := newDirect(t, numbered(), func(o *PoolOptions) { o.IdleTimeout = time.Hour })
	conns := 0
	round := func() { // the endpoint closes a connection that was last seen open at the age of 55 seconds
		d.want("GET", Call{}, itoa(conns))
		age(d.pool, 55*time.Second)
		d.pool.Sweep()
		_ = d.origin.Conn(conns).Close()
		testnet.Receive(t, "the end", d.origin.Conn(conns).Ended())
		conns++
	}
	round()
	d.want("POST", Call{Once: true}, "1") // over a new connection, as the old one is found closed
	if life, learned := d.pool.KeepAlive(); learned {
		t.Errorf("learned %v from one close", life)
	}
	conns = 1
	round()
	// The first close may have been a restart; a second one at the same age is none.
	d.want("POST", Call{Once: true}, "2") // what one close has shown is enough to be careful
	d.pool.Sweep()
	life, learned := d.pool.KeepAlive()
	if !learned || life < 54*time.Second || life > 56*time.Second {
		t.Errorf("%v, %v", life, learned)
	}
	if s := d.pool.Stats(); s.Stale != 2 || s.Spared != 1 {
		t.Errorf("%+v", s)
	}
	d.want("GET", Call{Fresh: true}, "3")
	age(d.pool, 51*time.Second)
	d.want("POST", Call{Once: true}, "4")
	d.pool.Sweep() // two are near the end; the older one stays to show it
	if n := d.pool.Idle(); n != 2 {
		t.Fatalf("%d connections, want 2", n)
	}
	testnet.Receive(t, "the end", d.origin.Conn(3).Ended())
	age(d.pool, 40*time.Second)
	d.pool.Sweep()
	if life, learned := d.pool.KeepAlive(); learned {
		t.Errorf("%v, although one was seen open at 91 seconds", life)
	}
}

// An endpoint that closes connections before they are looked at: what is learned is not more than the truth, whatever it is.
func TestLearnedWithoutALook(t *testing.T) {
	d := newDirect(t, numbered(), func(o *PoolOptions) { o.IdleTimeout = time.Hour })
	d.want("GET", Call{}, "0")
	age(d.pool, 4400*time.Millisecond) // it was closed at some time of these
	_ = d.origin.Conn(0).Close()
	testnet.Receive(t, "the end", d.origin.Conn(0).Ended())
	d.want("POST", Call{Once: true}, "1")
	age(d.pool, 1300*time.Millisecond)
	d.want("POST", Call{Once: true}, "2")
	if s := d.pool.Stats(); s.Stale != 1 || s.Spared != 1 {
		t.Errorf("%+v", s)
	}
}

// When one connection has ended and nobody knows why, the others of before are not trusted with
// what must not be sent twice.
func TestSuspicion(t *testing.T) {
	both := make(chan struct{})
	d := newDirect(t, func(c *testnet.OriginConn) {
		if _, ok := c.ReadRequest(); !ok || !c.Wait(both) || !c.Send(reply("200 OK", itoa(c.Number))) {
			return
		}
		numbered()(c)
	}, nil)
	started := make(chan *message.Exchange)
	for range 3 {
		go func() {
			x := exchangeOf("GET", "/", "")
			if f := d.pool.Do(x, &Call{}); f != nil {
				t.Error(f)
			}
			started <- x
		}()
	}
	d.origin.Conn(2)
	close(both)
	last := ""
	for range 3 {
		x := testnet.Receive(t, "an answer", started)
		if x.Response.Status != 200 {
			t.FailNow()
		}
		last = bodyOf(t, x)
	}
	d.want("POST", Call{Once: true}, last)
	n := int(last[0] - '0')
	_ = d.origin.Conn(n).Close()
	testnet.Receive(t, "the end", d.origin.Conn(n).Ended())
	d.want("POST", Call{Once: true}, "3")
	d.want("POST", Call{Once: true}, "3") // it is younger than the suspicion
	if s := d.pool.Stats(); s.Idle != 3 || s.Stale != 1 || s.Spared != 1 {
		t.Errorf("%+v", s)
	}
	d.pool.mu.Lock()
	d.pool.suspect -= int64(2 * suspectFor)
	d.pool.idle = d.pool.idle[:2] // the two of before; the third is closed here
	cc := d.pool.idle[:3][2]
	d.pool.mu.Unlock()
	cc.end()
	if got := d.ask("POST", Call{Once: true}); got == "3" || got == "4" {
		t.Errorf("the suspicion has not ended: connection %s", got)
	}
}

// A request that meets the end of a connection on its way makes the pool look at the others.
func TestRace(t *testing.T) {
	var d *direct
	all := make(chan struct{})
	d = newDirect(t, func(c *testnet.OriginConn) {
		if _, ok := c.ReadRequest(); !ok || !c.Wait(all) || !c.Send(reply("200 OK", itoa(c.Number))) {
			return
		}
		if _, ok := c.ReadRequest(); ok { // the process ends: all its connections do
			for i := range d.origin.Conns() {
				_ = d.origin.Conn(i).Close()
			}
		}
	}, nil)
	done := make(chan *message.Exchange)
	for range 4 {
		go func() {
			x := exchangeOf("GET", "/", "")
			_ = d.pool.Do(x, &Call{})
			done <- x
		}()
	}
	d.origin.Conn(3)
	close(all)
	for range 4 {
		bodyOf(t, testnet.Receive(t, "an answer", done))
	}
	f := d.pool.Do(exchangeOf("POST", "/", "hello"), &Call{})
	if f == nil || f.Retry != message.RetryReused {
		t.Fatalf("%+v", f)
	}
	testnet.Eventually(t, "the pool has no connection that has ended", func() bool {
		d.pool.lost(&clientConn{pool: d.pool}, true) // the sweep may have come before the last of them
		return d.pool.Idle() == 0
	})
	if s := d.pool.Stats(); s.Raced < 2 || s.Stale != 3 {
		t.Errorf("%+v", s)
	}
}
