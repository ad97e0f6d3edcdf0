//go:build !linux || portable

package stream

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// The engine of other systems: one goroutine reads requests, one for each session reads its replies, and one watches over time-outs. Replies leave from the
// address that was asked if the socket is bound to it; on a socket for all addresses the system chooses. With the build tag portable it
// runs on Linux too, for its tests.

// dialTimeout bounds making a socket of a session, which does not wait for anybody.
const dialTimeout = time.Second

// udpKey is who sent a datagram.
type udpKey struct{ client netip.AddrPort }

// udpSocket is the engine's part of a session.
type udpSocket struct {
	conn *net.UDPConn // nil once the session has ended; tells the sessions of one row apart
}

// udpEngine is the listening socket and its goroutines.
type udpEngine struct {
	conn    *net.UDPConn
	timer   *time.Timer
	armed   time.Duration // when the timer fires, 0 for never
	end     chan struct{} // closed when the relay ends
	readers sync.WaitGroup
}

func (e *udpEngine) start(r *UDPRelay, conn *net.UDPConn) error {
	e.conn, e.end = conn, make(chan struct{})
	e.timer = time.NewTimer(time.Hour)
	e.timer.Stop()
	var loops sync.WaitGroup
	size := r.options.MaxDatagram
	loops.Go(func() { e.fromClients(r, size) })
	loops.Go(func() { e.watch(r) })
	go func() {
		defer close(r.done)
		loops.Wait()
		e.readers.Wait()
	}()
	return nil
}

// watch ends the sessions whose time is up.
func (e *udpEngine) watch(r *UDPRelay) {
	defer e.timer.Stop()
	for {
		select {
		case <-e.end:
			return
		case <-e.timer.C:
		}
		r.mu.Lock()
		e.armed = 0
		r.expire(r.clock())
		e.arm(r)
		r.mu.Unlock()
	}
}

// arm sets the timer to when the next session may expire, unless it fires earlier anyway. It is called with the lock held.
func (e *udpEngine) arm(r *UDPRelay) {
	at, ok := r.nextExpiry()
	if !ok || r.closing || e.armed != 0 && at >= e.armed {
		return
	}
	e.armed = at + min(r.options.Unanswered, time.Second)/listGrain
	e.timer.Reset(e.armed - r.clock())
}

// wake ends the relay. It is called with the lock held.
func (e *udpEngine) wake(r *UDPRelay) {
	close(e.end)
	r.endAll(r.clock())
	_ = e.conn.Close()
}

// overflow is not known here.
func (e *udpEngine) overflow() uint64 { return 0 }

// parked is 0: sockets are closed with their sessions.
func (e *udpEngine) parked() int { return 0 }

// connect makes the socket of a session and begins to read from it.
func (e *udpEngine) connect(r *UDPRelay, s *udpSession, _ time.Duration) error {
	d := net.Dialer{Timeout: dialTimeout}
	c, err := d.Dial("udp", s.endpoint.String())
	if err != nil {
		return err
	}
	conn := c.(*net.UDPConn)
	s.socket.conn = conn
	size := r.options.MaxDatagram
	e.readers.Go(func() { e.fromEndpoint(r, s, conn, size) })
	return nil
}

// disconnect closes the socket of a session, which ends its reader.
func (e *udpEngine) disconnect(s *udpSession, _ time.Duration) {
	if s.socket.conn != nil {
		_ = s.socket.conn.Close()
		s.socket.conn = nil
	}
}

// fromClients is the goroutine that reads requests.
func (e *udpEngine) fromClients(r *UDPRelay, size int) {
	p := make([]byte, size+1)
	for {
		n, client, err := receiveFrom(e.conn, p)
		r.mu.Lock()
		if r.closing {
			r.mu.Unlock()
			return
		}
		switch {
		case err != nil:
			r.report(r.clock(), err)
		case n > size:
			r.stats.Requests++
			r.drop(UDPTruncated, 1)
		default:
			r.stats.Requests++
			r.stats.RequestBytes += uint64(n)
			r.stats.RequestBatches++
			e.toEndpoint(r, client, p[:n])
		}
		e.arm(r)
		r.mu.Unlock()
	}
}

// toEndpoint sends a request. If the endpoint turns out to be gone it goes to another session, once. It is called with the lock held.
func (e *udpEngine) toEndpoint(r *UDPRelay, client netip.AddrPort, p []byte) {
	now := r.clock()
	key := udpKey{client: client}
	for range 2 {
		s := r.table.sessions[key]
		if s == nil || !r.usable(s, now) {
			if s = r.open(key, client, r.local, p, now); s == nil {
				return
			}
		}
		r.request(s, len(p), now)
		_, err := s.socket.conn.Write(p)
		if err == nil {
			return
		}
		if !gone(err) {
			r.drop(dropOf(err), 1)
			return
		}
		r.end(s, endOf(err), err, now)
	}
	r.drop(UDPNoSocket, 1)
}

// fromEndpoint is the goroutine that reads the replies of one session. Each holds a buffer: UDPOptions.MaxDatagram bounds what many of them take.
func (e *udpEngine) fromEndpoint(r *UDPRelay, s *udpSession, conn *net.UDPConn, size int) {
	p := make([]byte, size+1)
	for {
		n, err := conn.Read(p)
		if !e.pass(r, s, conn, p, n, err) {
			return
		}
	}
}

// pass sends a reply to the client of a session. It reports whether the session is still open.
func (e *udpEngine) pass(r *UDPRelay, s *udpSession, conn *net.UDPConn, p []byte, n int, err error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.socket.conn != conn {
		return false // ended, and perhaps used again
	}
	now := r.clock()
	switch {
	case err != nil:
		r.end(s, endOf(err), err, now)
		return false
	case n >= len(p):
		r.drop(UDPTruncated, 1)
		return true
	}
	last := r.reply(s, 1, n, now)
	r.stats.ReplyBatches++
	if _, err := e.conn.WriteToUDPAddrPort(p[:n], s.client); err != nil {
		r.drop(dropOf(err), 1)
	}
	e.arm(r)
	if last {
		r.end(s, UDPAnswered, nil, now)
		return false
	}
	return true
}
