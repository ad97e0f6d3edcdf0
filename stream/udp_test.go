package stream

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// udpSocketOn listens on loopback until the test ends.
func udpSocketOn(t testing.TB, network, address string) *net.UDPConn {
	t.Helper()
	a, err := net.ResolveUDPAddr(network, address)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.ListenUDP(network, a)
	if err != nil {
		t.Skipf("this machine has no %s: %v", address, err)
	}
	_ = c.SetDeadline(time.Now().Add(testnet.Patience))
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func addrOf(c *net.UDPConn) netip.AddrPort {
	ap := c.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// origin is an endpoint that answers each datagram by what answer makes of it, and keeps what it saw.
type origin struct {
	conn *net.UDPConn
	addr netip.AddrPort
	seen chan string
}

func newOrigin(t testing.TB, address string, answer func(p []byte) []string) *origin {
	t.Helper()
	o := &origin{conn: udpSocketOn(t, "udp", address), seen: make(chan string, 10_000)}
	o.addr = addrOf(o.conn)
	var done sync.WaitGroup
	done.Go(func() {
		p := make([]byte, 1<<16)
		for {
			n, from, err := o.conn.ReadFromUDPAddrPort(p)
			if err != nil {
				return
			}
			o.seen <- string(p[:n])
			for _, a := range answer(p[:n]) {
				_, _ = o.conn.WriteToUDPAddrPort([]byte(a), from)
			}
		}
	})
	t.Cleanup(func() { _ = o.conn.Close(); done.Wait() })
	return o
}

// named answers with its name before what was sent; echo with what was sent; silent not at all.
func named(name string) func(p []byte) []string {
	return func(p []byte) []string { return []string{name + string(p)} }
}
func echo(p []byte) []string { return []string{string(p)} }
func silent([]byte) []string { return nil }

// deadAddr returns an address of loopback where nobody listens.
func deadAddr(t testing.TB) netip.AddrPort {
	t.Helper()
	c := udpSocketOn(t, "udp4", "127.0.0.1:0")
	defer func() { _ = c.Close() }()
	return addrOf(c)
}

// picker is a handler that hands out endpoints in turn.
type picker struct {
	mu        sync.Mutex
	endpoints []netip.AddrPort
	turn      int
	opened    []*pick
	ends      chan UDPResult
	twice     atomic.Int32 // calls of End beyond the first of a session
	panics    atomic.Bool
}

// pick is one session of a picker.
type pick struct {
	p             *picker
	client, local netip.AddrPort
	first         string
	down          atomic.Bool
	ended         atomic.Bool
}

func newPicker(endpoints ...netip.AddrPort) *picker {
	return &picker{endpoints: endpoints, ends: make(chan UDPResult, 10_000)}
}

func (p *picker) Open(client, local netip.AddrPort, first []byte) (UDPSession, netip.AddrPort, bool) {
	if p.panics.Load() {
		panic("no endpoint today")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.endpoints) == 0 {
		return nil, netip.AddrPort{}, false
	}
	s := &pick{p: p, client: client, local: local, first: string(first)}
	p.opened = append(p.opened, s)
	endpoint := p.endpoints[p.turn%len(p.endpoints)]
	p.turn++
	return s, endpoint, true
}

func (p *picker) sessions() []*pick {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.opened)
}

func (s *pick) Usable() bool { return !s.down.Load() }

func (s *pick) End(r UDPResult) {
	if s.ended.Swap(true) {
		s.p.twice.Add(1)
	}
	s.p.ends <- r
}

// relayOn starts a relay on address. When the test ends it is closed, and every session must have ended once.
func relayOn(t testing.TB, address string, p *picker, o UDPOptions) *UDPRelay {
	t.Helper()
	return relayFrom(t, udpSocketOn(t, "udp", address), p, o)
}

func relayFrom(t testing.TB, c *net.UDPConn, p *picker, o UDPOptions) *UDPRelay {
	t.Helper()
	_ = c.SetDeadline(time.Time{})
	r, err := StartUDP(c, p, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.Close()
		for _, s := range p.sessions() {
			if !s.ended.Load() {
				t.Errorf("the session of %s has not ended", s.client)
			}
		}
		if n := p.twice.Load(); n != 0 {
			t.Errorf("End was called %d times too often", n)
		}
	})
	return r
}

// udpClient is a client that takes datagrams only from where it sends to.
type udpClient struct {
	*net.UDPConn
	t testing.TB
}

func dialUDP(t testing.TB, to netip.AddrPort) udpClient {
	t.Helper()
	d := net.Dialer{Timeout: testnet.Patience}
	c, err := d.Dial("udp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(testnet.Patience))
	t.Cleanup(func() { _ = c.Close() })
	return udpClient{c.(*net.UDPConn), t}
}

func (c udpClient) send(text string) {
	c.t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		c.t.Fatal(err)
	}
}

func (c udpClient) receive() string {
	c.t.Helper()
	p := make([]byte, 1<<16)
	n, err := c.Read(p)
	if err != nil {
		c.t.Fatal(err)
	}
	return string(p[:n])
}

func (c udpClient) want(text string) {
	c.t.Helper()
	if got := c.receive(); got != text {
		c.t.Fatalf("received %d bytes %.60q, want %d bytes %.60q", len(got), got, len(text), text)
	}
}

// try is an exchange whose datagrams may be lost, as they are when a session expires under them.
func (c udpClient) try(text string) {
	c.t.Helper()
	c.send(text)
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	_, _ = c.Read(make([]byte, 100))
	_ = c.SetReadDeadline(time.Now().Add(testnet.Patience))
}

func (c udpClient) exchange(text, want string) {
	c.t.Helper()
	c.send(text)
	c.want(want)
}

// wantEnd waits for the end of a session.
func wantEnd(t testing.TB, p *picker, want UDPEnd) UDPResult {
	t.Helper()
	r := testnet.Receive(t, "the end of a session", p.ends)
	if r.End != want {
		t.Fatalf("a session ended as %s (%v), want %s", r.End, r.Err, want)
	}
	return r
}

// wantDrop waits until n datagrams were dropped for a reason.
func wantDrop(t testing.TB, r *UDPRelay, why UDPDrop, n uint64) {
	t.Helper()
	testnet.Eventually(t, fmt.Sprintf("%d dropped as %s", n, why), func() bool {
		s := r.Stats()
		return s.DroppedFor(why) == n
	})
}

// A client keeps its endpoint; every datagram arrives as it was sent, whatever its length.
func TestUDPRelay(t *testing.T) {
	a, b := newOrigin(t, "127.0.0.1:0", named("a")), newOrigin(t, "127.0.0.1:0", named("b"))
	p := newPicker(a.addr, b.addr)
	r := relayOn(t, "127.0.0.1:0", p, UDPOptions{})
	one, two := dialUDP(t, r.Addr()), dialUDP(t, r.Addr())
	texts := []string{"", "x", "hello", string(bytes.Repeat([]byte("0123456789"), 120)), string(bytes.Repeat([]byte("jumbo"), 1800)), string(bytes.Repeat([]byte("z"), 65_506))}
	bytesOf := 0
	for _, text := range texts {
		one.exchange(text, "a"+text)
		two.exchange(text, "b"+text)
		bytesOf += len(text)
	}
	if n := r.Stats().Sessions; n != 2 {
		t.Errorf("%d sessions are open, want 2", n)
	}
	if cut := r.Close(); cut != 2 {
		t.Errorf("Close cut %d sessions, want 2", cut)
	}
	for range 2 {
		e := wantEnd(t, p, UDPClosed)
		if e.Requests != uint64(len(texts)) || e.Replies != e.Requests || e.RequestBytes != uint64(bytesOf) || e.ReplyBytes != e.RequestBytes+e.Replies {
			t.Errorf("the story of the session: %+v", e)
		}
		if e.Local != r.Addr() || e.FirstReply <= 0 || e.Lasted < e.FirstReply || e.Began.IsZero() || (e.Endpoint == a.addr) != (e.Client == addrOf(one.UDPConn)) {
			t.Errorf("the story of the session: %+v", e)
		}
	}
	s := r.Stats()
	if s.Sessions != 0 || s.Opened != 2 || s.EndedBy(UDPClosed) != 2 || s.Requests != 2*uint64(len(texts)) || s.Replies != s.Requests || s.RequestBytes != 2*uint64(bytesOf) || s.Dropped != ([udpDrops]uint64{}) {
		t.Errorf("the counters: %+v", s)
	}
	if first := p.sessions()[0].first; first != texts[0] {
		t.Errorf("the handler saw %.20q as the first datagram", first)
	}
}

// Each client gets the replies to its own questions, and in a burst they keep their order.
func TestUDPManyClients(t *testing.T) {
	const clients, questions = 30, 40 // so few in flight that no socket overflows
	o := newOrigin(t, "127.0.0.1:0", echo)
	r := relayOn(t, "127.0.0.1:0", newPicker(o.addr), UDPOptions{})
	var done sync.WaitGroup
	for i := range clients {
		c := dialUDP(t, r.Addr())
		done.Go(func() {
			for q := 0; q < questions; q += 4 {
				for k := range 4 {
					if _, err := fmt.Fprintf(c, "client %d question %d", i, q+k); err != nil {
						t.Error(err)
						return
					}
				}
				p := make([]byte, 100)
				for k := range 4 {
					n, err := c.Read(p)
					if want := fmt.Sprintf("client %d question %d", i, q+k); err != nil || string(p[:n]) != want {
						t.Errorf("received %q, %v; want %q", p[:n], err, want)
						return
					}
				}
			}
		})
	}
	done.Wait()
	if s := r.Stats(); s.Sessions != clients || s.Opened != clients || s.Requests != clients*questions {
		t.Errorf("%+v", s)
	}
}

// Whatever stands in the socket when the relay begins is one batch. Datagrams of one size go on as segments where the system can do that: what arrives must
// be the same.
func TestUDPBurst(t *testing.T) {
	for name, o := range map[string]UDPOptions{"segments": {}, "one by one": {NoSegmentation: true}} {
		t.Run(name, func(t *testing.T) {
			origin := newOrigin(t, "127.0.0.1:0", echo)
			socket := udpSocketOn(t, "udp", "127.0.0.1:0")
			one, two := dialUDP(t, addrOf(socket)), dialUDP(t, addrOf(socket))
			var want [2][]string
			for i, size := range []int{100, 100, 100, 40, 100, 0, 0, 7, 7, 7, 9, 9, 3, 100, 100, 100, 100, 100, 100, 100, 100} {
				for c, client := range []udpClient{one, two} {
					text := bytes.Repeat([]byte{byte('a' + i)}, size)
					client.send(string(text))
					want[c] = append(want[c], string(text))
				}
			}
			r := relayFrom(t, socket, newPicker(origin.addr), o)
			for c, client := range []udpClient{one, two} {
				for _, text := range want[c] {
					client.want(text)
				}
			}
			if s := r.Stats(); s.Requests != uint64(len(want[0])+len(want[1])) || s.Replies != s.Requests {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestUDPTruncated(t *testing.T) {
	o := newOrigin(t, "127.0.0.1:0", func(p []byte) []string { return []string{string(p), string(p) + "!"} })
	r := relayOn(t, "127.0.0.1:0", newPicker(o.addr), UDPOptions{MaxDatagram: 100})
	c := dialUDP(t, r.Addr())
	text := string(bytes.Repeat([]byte("t"), 100))
	c.send(text + "!")
	wantDrop(t, r, UDPTruncated, 1)
	if s := r.Stats(); s.Opened != 0 {
		t.Errorf("a datagram that is too long opened a session: %+v", s)
	}
	for n := range uint64(40) { // enough to have replies read one by one and in batches
		c.exchange(text, text)
		wantDrop(t, r, UDPTruncated, 2+n)
	}
	c.send("short")
	c.want("short")
	c.want("short!")
}

func TestUDPIdle(t *testing.T) {
	const idle = 30 * time.Millisecond
	o := newOrigin(t, "127.0.0.1:0", echo)
	p := newPicker(o.addr)
	r := relayOn(t, "127.0.0.1:0", p, UDPOptions{Idle: idle})
	c := dialUDP(t, r.Addr())
	c.try("x")
	e := testnet.Receive(t, "the end of the session", p.ends)
	if e.End != UDPIdle && e.End != UDPUnanswered || e.Requests != 1 || e.Replies != 1 && e.End == UDPIdle {
		t.Errorf("%+v", e)
	}
	// While datagrams flow it goes on. Where the machine holds the test up for longer than the idle time, another session has to show it.
	testnet.Eventually(t, "a session lasts longer than its idle time", func() bool {
		c.try("x")
		select {
		case e := <-p.ends:
			return e.Lasted > 3*idle
		default:
			return lasted(r) > 3*idle
		}
	})
	testnet.Receive(t, "the end of the session", p.ends)
	c.try("y")
	if n := len(p.sessions()); n < 3 {
		t.Errorf("%d sessions, want a new one after each end", n)
	}
}

// lasted returns how long the oldest session has lasted.
func lasted(r *UDPRelay) (d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.table.sessions {
		d = max(d, s.last-s.began)
	}
	return d
}

func TestUDPUnanswered(t *testing.T) {
	o := newOrigin(t, "127.0.0.1:0", silent)
	p := newPicker(o.addr)
	r := relayOn(t, "127.0.0.1:0", p, UDPOptions{Unanswered: 20 * time.Millisecond})
	dialUDP(t, r.Addr()).send("is anybody there?")
	if e := wantEnd(t, p, UDPUnanswered); e.Requests != 1 || e.Replies != 0 || e.FirstReply != 0 {
		t.Errorf("%+v", e)
	}
}

// A full table keeps who is young, and lets go of the oldest: first those that were never answered.
func TestUDPTableFull(t *testing.T) {
	loud, quiet := newOrigin(t, "127.0.0.1:0", echo), newOrigin(t, "127.0.0.1:0", silent)
	p := newPicker(loud.addr, loud.addr, quiet.addr, loud.addr, loud.addr)
	o := UDPOptions{Idle: time.Hour, Unanswered: time.Hour, EvictAfter: time.Hour, MaxSessions: 3}
	r := relayOn(t, "127.0.0.1:0", p, o)
	var clients []udpClient
	for range 5 {
		clients = append(clients, dialUDP(t, r.Addr()))
	}
	clients[0].exchange("0", "0")
	clients[1].exchange("1", "1")
	clients[2].send("2")
	testnet.Receive(t, "the third client's datagram", quiet.seen)
	clients[3].send("3")
	wantDrop(t, r, UDPTableFull, 1)
	if n := r.Stats().Sessions; n != 3 {
		t.Fatalf("%d sessions are open, and 3 are allowed", n)
	}
	o.EvictAfter = time.Nanosecond
	r.Swap(p, o)
	clients[3].exchange("3", "3")
	if e := wantEnd(t, p, UDPEvicted); e.Client != addrOf(clients[2].UDPConn) {
		t.Errorf("the session of %s had to go, want the one that was never answered", e.Client)
	}
	clients[4].exchange("4", "4")
	if e := wantEnd(t, p, UDPEvicted); e.Client != addrOf(clients[0].UDPConn) {
		t.Errorf("the session of %s had to go, want the one that is idle for longest", e.Client)
	}
	if s := r.Stats(); s.Sessions != 3 || s.EndedBy(UDPEvicted) != 2 {
		t.Errorf("%+v", s)
	}
}

// An endpoint where nobody listens ends the session; the next datagram gets another endpoint.
func TestUDPRefused(t *testing.T) {
	o := newOrigin(t, "127.0.0.1:0", echo)
	p := newPicker(deadAddr(t), o.addr)
	r := relayOn(t, "127.0.0.1:0", p, UDPOptions{})
	c := dialUDP(t, r.Addr())
	c.send("lost")
	if e := wantEnd(t, p, UDPRefused); !errors.Is(e.Err, syscall.ECONNREFUSED) || e.Requests != 1 {
		t.Errorf("%+v", e)
	}
	c.exchange("found", "found")
	if s := r.Stats(); s.EndedBy(UDPRefused) != 1 || s.Opened != 2 {
		t.Errorf("%+v", s)
	}
}

// The refusal may come while more is under way to the endpoint: what was not sent goes to the next one, in order, and once.
func TestUDPRefusedInBatch(t *testing.T) {
	o := newOrigin(t, "127.0.0.1:0", silent)
	p := newPicker(deadAddr(t), o.addr)
	socket := udpSocketOn(t, "udp", "127.0.0.1:0")
	c := dialUDP(t, addrOf(socket))
	const count = 20
	for i := range count {
		c.send(fmt.Sprintf("%02d", i))
	}
	r := relayFrom(t, socket, p, UDPOptions{NoSegmentation: true})
	wantEnd(t, p, UDPRefused)
	c.send(fmt.Sprintf("%02d", count))
	last := -1
	for last < count {
		var i int
		if _, err := fmt.Sscanf(testnet.Receive(t, "the rest", o.seen), "%d", &i); err != nil || i <= last || last >= 0 && i != last+1 {
			t.Fatalf("datagram %d after %d, %v", i, last, err)
		}
		last = i
	}
	if s := r.Stats(); s.Opened != 2 || s.Requests != count+1 {
		t.Errorf("%+v", s)
	}
}

// Two endpoints that are gone: a datagram is not tried for ever.
func TestUDPRefusedByAll(t *testing.T) {
	p := newPicker(deadAddr(t))
	r := relayOn(t, "127.0.0.1:0", p, UDPOptions{})
	c := dialUDP(t, r.Addr())
	testnet.Eventually(t, "several sessions were refused", func() bool {
		c.send("a")
		return r.Stats().Ended[UDPRefused] > 5
	})
	if s := r.Stats(); s.Opened > s.Requests+1 {
		t.Errorf("more sessions than datagrams: %+v", s)
	}
}

func TestUDPReplaced(t *testing.T) {
	a, b := newOrigin(t, "127.0.0.1:0", named("a")), newOrigin(t, "127.0.0.1:0", named("b"))
	p := newPicker(a.addr, b.addr)
	r := relayOn(t, "127.0.0.1:0", p, UDPOptions{})
	c := dialUDP(t, r.Addr())
	c.exchange("1", "a1")
	p.sessions()[0].down.Store(true)
	c.exchange("2", "b2")
	if e := wantEnd(t, p, UDPReplaced); e.Endpoint != a.addr || e.Requests != 1 {
		t.Errorf("%+v", e)
	}
	c.exchange("3", "b3")
}

func TestUDPRequestsAndResponses(t *testing.T) {
	twice := func(p []byte) []string { return []string{string(p), string(p)} }
	for name, test := range map[string]struct {
		options  UDPOptions
		answer   func([]byte) []string
		sent     int
		sessions int
		end      UDPEnd
	}{
		"each datagram by itself":       {UDPOptions{Requests: 1, Responses: 1}, echo, 6, 6, UDPAnswered},
		"two datagrams":                 {UDPOptions{Requests: 2, Responses: 1}, echo, 6, 3, UDPAnswered},
		"two replies":                   {UDPOptions{Responses: 2}, twice, 4, 4, UDPAnswered},
		"two datagrams and replies":     {UDPOptions{Requests: 2, Responses: 2}, twice, 6, 3, UDPAnswered},
		"any number of replies":         {UDPOptions{Requests: 3, Unanswered: 500 * time.Millisecond}, twice, 6, 2, UDPIdle},
		"fewer replies than are needed": {UDPOptions{Responses: 2, Idle: 500 * time.Millisecond}, echo, 3, 1, UDPIdle},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOrigin(t, "127.0.0.1:0", test.answer)
			p := newPicker(o.addr)
			r := relayOn(t, "127.0.0.1:0", p, test.options)
			c := dialUDP(t, r.Addr())
			replies := len(test.answer([]byte("x")))
			for i := range test.sent {
				c.send(fmt.Sprint(i))
				for range replies {
					c.want(fmt.Sprint(i))
				}
			}
			var got [2]uint64
			for range test.sessions {
				e := wantEnd(t, p, test.end)
				got[0] += e.Requests
				got[1] += e.Replies
			}
			if want := [2]uint64{uint64(test.sent), uint64(test.sent * replies)}; got != want {
				t.Errorf("requests and replies of all sessions %v, want %v", got, want)
			}
			if s := r.Stats(); s.Sessions != 0 || s.Opened != uint64(test.sessions) {
				t.Errorf("%+v", s)
			}
		})
	}
}

// Many datagrams of one client in one batch, each balanced by itself.
func TestUDPEachByItself(t *testing.T) {
	a, b := newOrigin(t, "127.0.0.1:0", echo), newOrigin(t, "127.0.0.1:0", echo)
	p := newPicker(a.addr, b.addr)
	socket := udpSocketOn(t, "udp", "127.0.0.1:0")
	c := dialUDP(t, addrOf(socket))
	want := make(map[string]bool)
	for i := range 50 {
		c.send(fmt.Sprint(i))
		want[fmt.Sprint(i)] = true
	}
	r := relayFrom(t, socket, p, UDPOptions{Requests: 1, Responses: 1})
	for range 50 {
		delete(want, c.receive())
	}
	if len(want) != 0 || len(a.seen) != 25 || len(b.seen) != 25 {
		t.Errorf("without reply: %v; a had %d, b had %d", want, len(a.seen), len(b.seen))
	}
	for range 50 {
		wantEnd(t, p, UDPAnswered)
	}
	if s := r.Stats(); s.Sessions != 0 {
		t.Errorf("%+v", s)
	}
}

// New options and a new handler are for new clients; who is there stays where it is.
func TestUDPSwap(t *testing.T) {
	a, b := newOrigin(t, "127.0.0.1:0", named("a")), newOrigin(t, "127.0.0.1:0", named("b"))
	before, after := newPicker(a.addr), newPicker(b.addr)
	r := relayOn(t, "127.0.0.1:0", before, UDPOptions{})
	old := dialUDP(t, r.Addr())
	old.exchange("1", "a1")
	r.Swap(after, UDPOptions{Idle: 500 * time.Millisecond, MaxDatagram: 1})
	dialUDP(t, r.Addr()).exchange("22", "b22")
	wantEnd(t, after, UDPIdle)
	wantEnd(t, before, UDPIdle) // the new idle time holds for all
	old.exchange("3", "b3")
}

func TestUDPSwapKeepsSessions(t *testing.T) {
	a, b := newOrigin(t, "127.0.0.1:0", named("a")), newOrigin(t, "127.0.0.1:0", named("b"))
	p := newPicker(a.addr)
	r := relayOn(t, "127.0.0.1:0", p, UDPOptions{})
	old := dialUDP(t, r.Addr())
	old.exchange("1", "a1")
	for i := range 100 {
		next := newPicker(b.addr)
		r.Swap(next, UDPOptions{MaxSessions: 10})
		old.exchange(fmt.Sprint(i), fmt.Sprint("a", i))
	}
	dialUDP(t, r.Addr()).exchange("2", "b2")
	if s := r.Stats(); s.Opened != 2 || s.Sessions != 2 {
		t.Errorf("%+v", s)
	}
}

func TestUDPDrain(t *testing.T) {
	o := newOrigin(t, "127.0.0.1:0", echo)
	p := newPicker(o.addr)
	r := relayOn(t, "127.0.0.1:0", p, UDPOptions{Idle: time.Hour})
	old, late := dialUDP(t, r.Addr()), dialUDP(t, r.Addr())
	old.exchange("1", "1")
	cut := make(chan int, 1)
	go func() { cut <- r.Drain(t.Context()) }()
	testnet.Eventually(t, "new clients are turned away", func() bool {
		late.send("late")
		return r.Stats().Dropped[UDPDraining] > 0
	})
	old.exchange("2", "2")
	r.Swap(p, UDPOptions{Idle: 20 * time.Millisecond})
	wantEnd(t, p, UDPIdle)
	if n := testnet.Receive(t, "the end of the drain", cut); n != 0 {
		t.Errorf("Drain cut %d sessions, and all had ended", n)
	}
	testnet.Receive(t, "the end of the relay", r.Done())
}

func TestUDPDrainDeadline(t *testing.T) {
	o := newOrigin(t, "127.0.0.1:0", echo)
	p := newPicker(o.addr)
	r := relayOn(t, "127.0.0.1:0", p, UDPOptions{})
	c := dialUDP(t, r.Addr())
	c.exchange("1", "1")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if n := r.Drain(ctx); n != 1 {
		t.Errorf("Drain cut %d sessions, want 1", n)
	}
	wantEnd(t, p, UDPClosed)
	if n := r.Close() + r.Drain(t.Context()); n != 0 {
		t.Errorf("a relay that has ended cut %d sessions", n)
	}
}

// A handler that has no endpoint, one that panics, and endpoints that no socket can be connected to cost the datagram and nothing else.
func TestUDPNoEndpoint(t *testing.T) {
	o := newOrigin(t, "127.0.0.1:0", echo)
	p := newPicker()
	var reports atomic.Int32
	r := relayOn(t, "127.0.0.1:0", p, UDPOptions{Report: func(error) { reports.Add(1) }})
	c := dialUDP(t, r.Addr())
	c.send("none")
	wantDrop(t, r, UDPNoEndpoint, 1)
	p.panics.Store(true)
	c.send("panics")
	wantDrop(t, r, UDPNoEndpoint, 2)
	p.panics.Store(false)
	if n := reports.Load(); n != 1 {
		t.Errorf("%d reports, want one of the panic", n)
	}
	r.Swap(newPicker(), UDPOptions{})
	bad := newPicker(netip.AddrPort{})
	r.Swap(bad, UDPOptions{})
	c.send("nowhere")
	wantDrop(t, r, UDPNoSocket, 1)
	if e := wantEnd(t, bad, UDPFailed); e.Err == nil {
		t.Errorf("%+v", e)
	}
	good := newPicker(o.addr)
	r.Swap(good, UDPOptions{})
	c.exchange("here", "here")
	if s := r.Stats(); s.Sessions != 1 || s.Opened != 2 {
		t.Errorf("%+v", s)
	}
}

// Nobody but the endpoint can send to a client through its session.
func TestUDPStranger(t *testing.T) {
	peer := make(chan netip.AddrPort, 1)
	o := udpSocketOn(t, "udp4", "127.0.0.1:0")
	r := relayOn(t, "127.0.0.1:0", newPicker(addrOf(o)), UDPOptions{})
	c := dialUDP(t, r.Addr())
	c.send("hello")
	p := make([]byte, 100)
	_, from, err := o.ReadFromUDPAddrPort(p)
	if err != nil {
		t.Fatal(err)
	}
	peer <- from
	stranger := udpSocketOn(t, "udp4", "127.0.0.1:0")
	for range 10 {
		if _, err := stranger.WriteToUDPAddrPort([]byte("forged"), from); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := o.WriteToUDPAddrPort([]byte("genuine"), from); err != nil {
		t.Fatal(err)
	}
	c.want("genuine")
	if s := r.Stats(); s.Replies != 1 {
		t.Errorf("%+v", s)
	}
}

// Clients of one version of IP, endpoints of the other.
func TestUDPOverBothVersions(t *testing.T) {
	for _, test := range [][2]string{{"127.0.0.1:0", "[::1]:0"}, {"[::1]:0", "127.0.0.1:0"}, {"[::1]:0", "[::1]:0"}} {
		t.Run(test[0]+" to "+test[1], func(t *testing.T) {
			o := newOrigin(t, test[1], echo)
			p := newPicker(o.addr)
			r := relayOn(t, test[0], p, UDPOptions{})
			c := dialUDP(t, r.Addr())
			c.exchange("hello", "hello")
			if s := p.sessions()[0]; s.client != addrOf(c.UDPConn) || s.local != r.Addr() {
				t.Errorf("the handler saw client %s, local %s; want %s, %s", s.client, s.local, addrOf(c.UDPConn), r.Addr())
			}
		})
	}
}

// The relay under everything at once, for the race detector: clients come and go, endpoints refuse, handlers are swapped, the table is full.
func TestUDPChurn(t *testing.T) {
	a, b := newOrigin(t, "127.0.0.1:0", echo), newOrigin(t, "127.0.0.1:0", echo)
	dead := deadAddr(t)
	p := newPicker(a.addr, dead, b.addr)
	o := UDPOptions{Idle: 20 * time.Millisecond, Unanswered: 10 * time.Millisecond, EvictAfter: time.Millisecond, MaxSessions: 8}
	r := relayOn(t, "127.0.0.1:0", p, o)
	var done sync.WaitGroup
	var replies atomic.Int64
	for i := range 4 {
		done.Go(func() {
			text := make([]byte, 8)
			for n := range 100 {
				c := dialUDP(t, r.Addr())
				binary.BigEndian.PutUint64(text, uint64(i<<32|n))
				_ = c.SetReadDeadline(time.Now().Add(2 * time.Millisecond))
				_, _ = c.Write(text)
				got := make([]byte, 16)
				if k, err := c.Read(got); err == nil {
					replies.Add(1)
					if !bytes.Equal(got[:k], text) {
						t.Errorf("received %x, want %x", got[:k], text)
					}
				}
				_ = c.Close()
				if n%10 == 0 {
					r.Swap(p, o)
				}
			}
		})
	}
	done.Wait()
	testnet.Eventually(t, "all sessions have ended", func() bool { return r.Stats().Sessions == 0 })
	s := r.Stats()
	var ended uint64
	for _, n := range s.Ended {
		ended += n
	}
	if ended != s.Opened || replies.Load() == 0 {
		t.Errorf("%d replies; %+v", replies.Load(), s)
	}
}

// The order of a list is that of the last datagrams.
func TestUDPList(t *testing.T) {
	var l udpList
	rows := make([]udpSession, 4)
	for i := range rows {
		l.append(&rows[i], time.Duration(i))
	}
	order := func() (got []int) {
		for s := l.first; s != nil; s = s.next {
			if s.next == nil && l.last != s || s.next != nil && s.next.prev != s {
				t.Fatal("the links do not fit")
			}
			got = append(got, slices.IndexFunc(rows, func(r udpSession) bool { return r.filed == s.filed }))
		}
		return got
	}
	for _, step := range []struct {
		remove int
		want   []int
	}{{1, []int{0, 2, 3}}, {3, []int{0, 2}}, {0, []int{2}}, {2, nil}} {
		l.remove(&rows[step.remove])
		if got := order(); !slices.Equal(got, step.want) {
			t.Fatalf("without %d: %v, want %v", step.remove, got, step.want)
		}
	}
	l.append(&rows[2], 2)
	if got := order(); !slices.Equal(got, []int{2}) {
		t.Fatalf("%v", got)
	}
}

func TestUDPNames(t *testing.T) {
	seen := make(map[string]bool)
	for e := range UDPEnd(udpEnds + 1) {
		seen[e.String()] = true
	}
	for d := range UDPDrop(udpDrops + 1) {
		seen[d.String()] = true
	}
	if want := udpEnds + udpDrops + 1; len(seen) != want || !seen["unknown"] || !seen[UDPEvicted.String()] {
		t.Errorf("%d names, want %d: %v", len(seen), want, seen)
	}
}
