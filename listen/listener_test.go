package listen

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func TestServe(t *testing.T) {
	w := &words{busy: make(chan *Conn, 1)}
	m := counters()
	l := start(t, &Options{Protocols: Protocols{HTTP1: w}, Metrics: m})
	c := connect(t, l)
	c.send("a")
	conn := await(t, "the request", w.busy)
	c.want("a")
	if local := c.LocalAddr().String(); conn.Remote().String() != local {
		t.Errorf("remote is %v, want %v", conn.Remote(), local)
	}
	if conn.TLS() != nil || conn.ServerName() != "" || conn.Draining() {
		t.Error("a plain connection has TLS or drains")
	}
	if m.Open.Value() != 1 || m.Accepted.Value() != 1 || l.Open() != 1 {
		t.Errorf("open %d, accepted %d", m.Open.Value(), m.Accepted.Value())
	}
	c.Close()
	eventually(t, "the end of the connection", func() bool { return m.Open.Value() == 0 && l.Open() == 0 })
}

// Clients of a socket for both families are seen with the addresses that they have.
func TestRemoteIsUnmapped(t *testing.T) {
	for address, want := range map[string]string{"[::ffff:192.0.2.1]:80": "192.0.2.1:80", "[2001:db8::1]:80": "[2001:db8::1]:80", "192.0.2.1:80": "192.0.2.1:80"} {
		c := newConn(&Listener{}, &addressed{a: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(address))}, &Options{}, 0)
		if c.Remote().String() != want {
			t.Errorf("%s is seen as %v, want %s", address, c.Remote(), want)
		}
	}
}

type addressed struct {
	net.Conn
	a net.Addr
}

func (a *addressed) RemoteAddr() net.Addr { return a.a }
func (a *addressed) LocalAddr() net.Addr  { return a.a }

// Clients connect without a pause while the options are swapped: no connection fails, each is served by options that were in force between
// its beginning and its end, and connections that are open keep theirs.
func TestSwapWhileAccepting(t *testing.T) {
	const generations = 50
	var codecs [generations]*words
	for i := range codecs {
		codecs[i] = &words{mark: string(rune('A' + i))}
	}
	l := start(t, &Options{Protocols: Protocols{HTTP1: codecs[0]}})
	kept := connect(t, l)
	kept.send("")
	kept.want("A")
	var current atomic.Int64 // generation that is surely in force
	var wg sync.WaitGroup
	stop := make(chan struct{})
	var served atomic.Int64
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				from := current.Load()
				nc, err := (&net.Dialer{Timeout: patience}).Dial("tcp", l.Addr().String())
				if err != nil {
					t.Error(err)
					return
				}
				c := clientOf(t, nc)
				c.send("")
				got := c.receive()
				to := current.Load() + 1
				nc.Close()
				if len(got) != 1 || int64(got[0]-'A') < from || int64(got[0]-'A') > to {
					t.Errorf("answered by %q, want one of generations %d to %d", got, from, to)
					return
				}
				served.Add(1)
			}
		})
	}
	for i := 1; i < generations; i++ {
		l.Swap(&Options{Name: "test", Protocols: Protocols{HTTP1: codecs[i]}})
		current.Store(int64(i))
		before := served.Load()
		eventually(t, "a connection to be served", func() bool { return served.Load() > before || t.Failed() })
	}
	close(stop)
	wg.Wait()
	kept.send("still")
	kept.want("Astill")
	if got := l.Options().Protocols.HTTP1; got != codecs[generations-1] {
		t.Error("the last options are not in force")
	}
}

func TestMaxConnections(t *testing.T) {
	w := &words{busy: make(chan *Conn, 8), release: make(chan struct{})}
	m, told := counters(), &reports{}
	l := start(t, &Options{Protocols: Protocols{HTTP1: w}, MaxConnections: 2, Metrics: m, Report: told.add})
	a, b := connect(t, l), connect(t, l)
	for _, c := range []*client{a, b} {
		c.send("x")
		await(t, "a request", w.busy)
	}
	// Both are busy: the third and fourth are reset.
	for range 2 {
		wantRefused(t, l)
	}
	if m.TooMany.Value() != 2 || m.Accepted.Value() != 2 || m.Open.Value() != 2 || m.Reclaimed.Value() != 0 {
		t.Errorf("refused %d, accepted %d, open %d, reclaimed %d", m.TooMany.Value(), m.Accepted.Value(), m.Open.Value(), m.Reclaimed.Value())
	}
	if all := told.all(); len(all) != 1 || !strings.Contains(all[0], `listener "test": 1 connections refused (too_many_connections)`) {
		t.Errorf("reported %q, want one line", all)
	}
	close(w.release)
	a.want("x")
	b.want("x")
	// There is room again once one has gone.
	a.Close()
	eventually(t, "room", func() bool { return l.Open() == 1 })
	c := connect(t, l)
	c.send("y")
	c.want("y")
}

// At the bound a connection that is idle makes room for a new one, the one that has been idle for longer first.
func TestIdleConnectionsAreReclaimed(t *testing.T) {
	w := &words{}
	m := counters()
	l := start(t, &Options{Protocols: Protocols{HTTP1: w}, MaxConnections: 4, Metrics: m})
	var clients []*client
	for range 4 {
		c := connect(t, l)
		c.send("a")
		c.want("a")
		clients = append(clients, c)
	}
	eventually(t, "idle connections", func() bool {
		for _, c := range l.conns.all() {
			if !c.isIdle() {
				return false
			}
		}
		return true
	})
	fifth := connect(t, l)
	fifth.send("b")
	fifth.want("b")
	clients[0].wantEnd()
	eventually(t, "the reclaimed connection to go", func() bool { return l.Open() == 4 })
	if m.Reclaimed.Value() != 1 || m.TooMany.Value() != 0 {
		t.Errorf("reclaimed %d, refused %d, want 1, 0", m.Reclaimed.Value(), m.TooMany.Value())
	}
	for _, c := range clients[1:] {
		c.send("c")
		c.want("c")
	}
}

func TestMaxPerSource(t *testing.T) {
	w := &words{}
	m, told := counters(), &reports{}
	o := Options{Name: "test", Protocols: Protocols{HTTP1: w}, MaxPerSource: 2, Metrics: m, Report: told.add}
	l := start(t, &o)
	a, b := connect(t, l), connect(t, l)
	for _, c := range []*client{a, b} {
		c.send("x")
		c.want("x")
	}
	wantRefused(t, l)
	if m.TooManySource.Value() != 1 {
		t.Errorf("refused %d, want 1", m.TooManySource.Value())
	}
	if all := told.all(); len(all) != 1 || !strings.Contains(all[0], "127.0.0.1 has 2 open") {
		t.Errorf("reported %q", all)
	}
	a.Close()
	eventually(t, "room", func() bool { return l.Open() == 1 })
	c := connect(t, l)
	c.send("y")
	c.want("y")
	// Without the bound, what was counted is still taken off.
	unbound := o
	unbound.MaxPerSource = 0
	l.Swap(&unbound)
	d := connect(t, l)
	d.send("z")
	d.want("z")
	for _, c := range []*client{b, c, d} {
		c.Close()
	}
	eventually(t, "the end of all", func() bool { return l.Open() == 0 })
	l.conns.mu.Lock()
	defer l.conns.mu.Unlock()
	if len(l.conns.sources) != 0 {
		t.Errorf("still counted: %v", l.conns.sources)
	}
}

func TestSourceOf(t *testing.T) {
	for in, want := range map[string]string{"192.0.2.1": "192.0.2.1", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::", "fe80::1%eth0": "fe80::"} {
		if got := sourceOf(netip.MustParseAddr(in)); got.String() != want {
			t.Errorf("sourceOf(%s) = %v, want %s", in, got, want)
		}
	}
}

func TestPanicEndsOnlyItsConnection(t *testing.T) {
	m, told := counters(), &reports{}
	l := start(t, &Options{Protocols: Protocols{HTTP1: &words{}}, Metrics: m, Report: told.add})
	other := connect(t, l)
	other.send("a")
	other.want("a")
	c := connect(t, l)
	c.send("panic")
	c.wantEnd()
	eventually(t, "the count", func() bool { return m.Panicked.Value() == 1 && l.Open() == 1 })
	if all := told.all(); len(all) != 1 || !strings.Contains(all[0], "asked to") || !strings.Contains(all[0], "ServeConn") {
		t.Errorf("reported %q, want the panic with its stack", all)
	}
	other.send("b")
	other.want("b")
}

// failing is a socket whose Accept fails some times before it works.
type failing struct {
	net.Listener
	left  atomic.Int64
	calls atomic.Int64
	err   error
}

func (f *failing) Accept() (net.Conn, error) {
	f.calls.Add(1)
	if f.left.Add(-1) >= 0 {
		return nil, f.err
	}
	return f.Listener.Accept()
}

func (f *failing) SetDeadline(t time.Time) error { return f.Listener.(*net.TCPListener).SetDeadline(t) }

func TestAcceptErrorsBackOff(t *testing.T) {
	s := bind(t)
	f := &failing{Listener: s.ln, err: &net.OpError{Op: "accept", Net: "tcp", Err: syscall.EMFILE}}
	f.left.Store(4)
	s.ln = f
	m, told := counters(), &reports{}
	began := time.Now()
	l := startOn(t, s, &Options{Protocols: Protocols{HTTP1: &words{}}, Metrics: m, Report: told.add})
	c := connect(t, l)
	c.send("a")
	c.want("a")
	if took, least := time.Since(began), (1+2+4+8)*minPause; took < least {
		t.Errorf("four errors took %v, want pauses of %v at least", took, least)
	}
	if n := f.calls.Load(); n > 6 {
		t.Errorf("Accept was called %d times", n)
	}
	if m.AcceptFailed.Value() != 4 {
		t.Errorf("counted %d errors, want 4", m.AcceptFailed.Value())
	}
	if all := told.all(); len(all) != 1 || !strings.Contains(all[0], "too many open files") || !strings.Contains(all[0], "LimitNOFILE") {
		t.Errorf("reported %q", all)
	}
}

// Without file descriptors left, an idle connection goes to make room.
func TestOutOfFilesReclaims(t *testing.T) {
	s := bind(t)
	f := &failing{Listener: s.ln, err: &net.OpError{Op: "accept", Err: syscall.EMFILE}}
	s.ln = f
	m := counters()
	w := &words{waiting: make(chan *Conn, 4)}
	l := startOn(t, s, &Options{Protocols: Protocols{HTTP1: w}, Metrics: m})
	idle := connect(t, l)
	await(t, "an idle connection", w.waiting)
	f.left.Store(1) // takes effect after the accept that is waiting already
	wakeUp := connect(t, l)
	idle.wantEnd()
	if m.Reclaimed.Value() != 1 {
		t.Errorf("reclaimed %d, want 1", m.Reclaimed.Value())
	}
	wakeUp.Close()
}

// An accept loop that pauses after an error still ends at once.
func TestEndDuringBackOff(t *testing.T) {
	s := bind(t)
	f := &failing{Listener: s.ln, err: errors.New("broken")}
	f.left.Store(1 << 40)
	s.ln = f
	l := startOn(t, s, &Options{Protocols: Protocols{HTTP1: &words{}}})
	eventually(t, "some errors", func() bool { return f.calls.Load() >= 3 })
	l.Close()
	await(t, "the end", l.Ended())
}

func TestReportsAreRateLimited(t *testing.T) {
	var kind trouble
	told := 0
	o := &Options{Report: func(error) { told++ }}
	for i := range 1000 {
		if n, ok := o.due(&kind); ok {
			told++
			if i > 0 || n != 1 {
				t.Errorf("event %d is told as %d events", i, n)
			}
		}
	}
	if told != 1 {
		t.Errorf("told %d times, want once", told)
	}
	kind.next.Store(0) // the quiet time has passed
	if n, ok := o.due(&kind); !ok || n != 1000 {
		t.Errorf("later told %d, %v, want 1000 events since", n, ok)
	}
}

// A listener whose codec is missing closes its connections instead of failing.
func TestNoCodec(t *testing.T) {
	l := start(t, &Options{})
	connect(t, l).wantEnd()
	if words := l.Options().Protocols.Words(); len(words) != 0 {
		t.Errorf("words %q", words)
	}
}
