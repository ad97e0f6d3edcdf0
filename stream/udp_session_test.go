package stream

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

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

// refusedInBatch has a relay begin with count datagrams of one client in its socket, and ends when their first session was refused.
func refusedInBatch(t *testing.T, p *picker, count int) (*UDPRelay, udpClient) {
	t.Helper()
	socket := udpSocketOn(t, "udp", "127.0.0.1:0")
	c := dialUDP(t, addrOf(socket))
	for i := range count {
		c.send(fmt.Sprintf("%02d", i))
	}
	r := relayFrom(t, socket, p, UDPOptions{NoSegmentation: true})
	wantEnd(t, p, UDPRefused)
	return r, c
}

// The refusal may come while more is under way to the endpoint: what was not sent goes to the next one, in order, and once.
func TestUDPRefusedInBatch(t *testing.T) {
	const count = 20
	testnet.Eventually(t, "the refusal comes before the batch is sent", func() bool {
		o := newOrigin(t, "127.0.0.1:0", silent)
		r, c := refusedInBatch(t, newPicker(deadAddr(t), o.addr), count)
		c.send(fmt.Sprintf("%02d", count))
		last, first := -1, -1
		for last < count {
			var i int
			if _, err := fmt.Sscanf(testnet.Receive(t, "the rest", o.seen), "%d", &i); err != nil || i <= last || last >= 0 && i != last+1 {
				t.Fatalf("datagram %d after %d, %v", i, last, err)
			}
			if last = i; first < 0 {
				first = i
			}
		}
		if s := r.Stats(); s.Opened != 2 || s.Requests != count+1 {
			t.Errorf("%+v", s)
		}
		return first < count
	})
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
		"one datagram, any replies":     {UDPOptions{Requests: 1, Unanswered: 500 * time.Millisecond}, twice, 3, 3, UDPIdle},
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
	// A datagram that comes before the drain has begun opens a session, and is rightly passed on.
	testnet.Eventually(t, "the begin of the drain", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.draining
	})
	late.send("late")
	wantDrop(t, r, UDPDraining, 1)
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

// A busy session moves to the end of its list, but not with every datagram.
func TestUDPListGrain(t *testing.T) {
	r := &UDPRelay{options: UDPOptions{Idle: listGrain * time.Second}.withDefaults()}
	l := &r.table.answered
	var a, b udpSession
	l.append(&a, 0)
	l.append(&b, 0)
	r.touch(&a, time.Second)
	if l.first != &a || a.last != time.Second {
		t.Error("it moved for the first datagram")
	}
	r.touch(&a, time.Second+1)
	if l.first != &b || l.last != &a || a.last != time.Second+1 {
		t.Error("it did not move")
	}
	if at, ok := r.nextExpiry(); !ok || at != listGrain*time.Second {
		t.Errorf("the next one expires at %v, %v", at, ok)
	}
}
