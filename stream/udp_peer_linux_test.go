//go:build !portable

package stream

import (
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// peersOf returns sockets of an epoll set, all closed when the test ends.
func peersOf(t *testing.T) (u *udpPeers, epoll int) {
	t.Helper()
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	u = &udpPeers{}
	t.Cleanup(func() {
		for _, p := range u.all {
			if p != nil {
				_ = unix.Close(p.fd)
			}
		}
		_ = unix.Close(epoll)
	})
	return u, epoll
}

// takePeer returns a socket at a time.
func takePeer(t *testing.T, u *udpPeers, epoll int, now time.Duration) *udpPeer {
	t.Helper()
	p, err := u.take(epoll, unix.AF_INET, now)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// fill connects a socket to a peer, has that send count datagrams, and waits until they are there. It returns the port of the socket.
func fill(t *testing.T, p *udpPeer, count int) (port int) {
	t.Helper()
	o := udpSocketOn(t, "udp4", "127.0.0.1:0")
	to := addrOf(o)
	if err := unix.Connect(p.fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Send(p.fd, []byte("hello"), 0); err != nil {
		t.Fatal(err)
	}
	_, from, err := o.ReadFromUDPAddrPort(make([]byte, 10))
	if err != nil {
		t.Fatal(err)
	}
	for range count {
		if _, err := o.WriteToUDPAddrPort([]byte("for the one before"), from); err != nil {
			t.Fatal(err)
		}
	}
	testnet.Eventually(t, "the datagrams are in the socket", func() bool {
		_, _, err := unix.Recvfrom(p.fd, make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		return err == nil || count == 0
	})
	return int(from.Port())
}

// A socket is used again when it has rested, on another port, and without what was in it.
func TestUDPPeersRest(t *testing.T) {
	u, epoll := peersOf(t)
	p := takePeer(t, u, epoll, 0)
	port := fill(t, p, 3)
	u.give(p, time.Second)
	if p.session != nil || u.parked != 1 {
		t.Fatalf("%+v, %d parked", p, u.parked)
	}
	if q := takePeer(t, u, epoll, time.Second+parkedRest-1); q == p {
		t.Fatal("the socket was used again before it has rested")
	}
	if q := takePeer(t, u, epoll, time.Second+parkedRest); q != p {
		t.Fatal("the socket was not used again")
	}
	if n, _, err := unix.Recvfrom(p.fd, make([]byte, 1), unix.MSG_DONTWAIT); err != unix.EAGAIN {
		t.Errorf("%d bytes of the last session, %v", n, err)
	}
	if again := fill(t, p, 0); again == port { // once in 28,000 times by chance
		if u.give(p, 2*time.Second); fill(t, takePeer(t, u, epoll, 3*time.Second), 0) == port {
			t.Errorf("the socket is on port %d again and again", port)
		}
	}
	if u.parked != 0 {
		t.Errorf("%d parked", u.parked)
	}
}

// A socket that holds more than is worth reading is closed; another one takes its place in the table.
func TestUDPPeersFull(t *testing.T) {
	u, epoll := peersOf(t)
	p := takePeer(t, u, epoll, 0)
	fill(t, p, discardMax+10)
	index := p.index
	u.give(p, 0)
	q := takePeer(t, u, epoll, time.Hour)
	if u.all[index] != q || q.index != index || u.parked != 0 || len(u.all) != 1 {
		t.Errorf("%+v in %v", q, u.all)
	}
	if n, _, err := unix.Recvfrom(q.fd, make([]byte, 1), unix.MSG_DONTWAIT); err != unix.EAGAIN {
		t.Errorf("%d bytes of the last session, %v", n, err)
	}
}

func TestUDPPeersTrim(t *testing.T) {
	u, epoll := peersOf(t)
	if _, ok := u.nextTrim(); ok {
		t.Error("nothing is parked, and something is to be trimmed")
	}
	peers := []*udpPeer{takePeer(t, u, epoll, 0), takePeer(t, u, epoll, 0), takePeer(t, u, epoll, 0)}
	for i, p := range peers {
		u.give(p, time.Duration(i)*time.Second)
	}
	if at, ok := u.nextTrim(); !ok || at != parkedFor {
		t.Errorf("the next one to be closed at %v, %v", at, ok)
	}
	u.trim(parkedFor + time.Second)
	if at, ok := u.nextTrim(); !ok || at != parkedFor+2*time.Second || u.parked != 1 || len(u.gaps) != 2 {
		t.Errorf("the next one to be closed at %v, %v; %d parked", at, ok, u.parked)
	}
	if _, err := unix.FcntlInt(uintptr(peers[2].fd), unix.F_GETFD, 0); err != nil {
		t.Error(err)
	}
	u.closeParked()
	if _, ok := u.nextTrim(); ok || u.parked != 0 {
		t.Errorf("%d parked", u.parked)
	}
}

// A relay that is left alone closes its parked sockets.
func TestUDPParked(t *testing.T) {
	o := newOrigin(t, "127.0.0.1:0", echo)
	r := relayOn(t, "127.0.0.1:0", newPicker(o.addr), UDPOptions{Responses: 1})
	c := dialUDP(t, r.Addr())
	for i := range 20 {
		c.exchange(fmt.Sprint(i), fmt.Sprint(i))
	}
	if s := r.Stats(); s.Parked == 0 || s.Parked > 20 || s.Sessions != 0 {
		t.Errorf("%+v", s)
	}
	r.mu.Lock()
	for i := range r.engine.peers.idle { // as if they had been there for long
		for p := r.engine.peers.idle[i].first; p != nil; p = p.next {
			p.parked -= parkedFor
		}
	}
	r.engine.arm(r)
	r.mu.Unlock()
	testnet.Eventually(t, "no socket is parked", func() bool { return r.Stats().Parked == 0 })
	c.exchange("still there?", "still there?")
}

// When descriptors are used up, parked sockets and old sessions make room for new clients.
func TestUDPDescriptorsUsedUp(t *testing.T) {
	o := newOrigin(t, "127.0.0.1:0", echo)
	p := newPicker(o.addr)
	r := relayOn(t, "127.0.0.1:0", p, UDPOptions{EvictAfter: time.Nanosecond})
	var clients []udpClient
	for range 40 {
		clients = append(clients, dialUDP(t, r.Addr()))
	}
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	used := make(map[int]bool)
	for _, f := range files {
		var fd int
		if _, err := fmt.Sscan(f.Name(), &fd); err == nil {
			used[fd] = true
		}
	}
	end := 0 // descriptors below it are all that there are
	for free := 0; free < 10; end++ {
		if !used[end] {
			free++
		}
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	low := limit
	low.Cur = uint64(end)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Error(err)
		}
	}()
	for i, c := range clients {
		c.exchange(fmt.Sprint(i), fmt.Sprint(i))
	}
	if s := r.Stats(); s.EndedBy(UDPEvicted) == 0 || s.Opened != uint64(len(clients)) || s.Dropped[UDPNoSocket] != 0 {
		t.Errorf("%+v", s)
	}
}
