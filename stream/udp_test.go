package stream

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

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
