package origin

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluice-gateway/sluice/bench/datagram"
)

// Raw says what ServeRaw serves: for each service the IPv4 addresses to listen on.
type Raw struct {
	Echo     []string // TCP: every byte comes back, until the client closes
	Once     []string // TCP: the first Message bytes come back, then the connection is closed
	Source   []string // TCP: Transfer bytes of Content, then the close
	Sink     []string // TCP: takes Transfer bytes of Content, answers Complete, or Spoiled as soon as they are not that, and closes
	Packets  []string // UDP: every datagram goes back to where it came from
	Message  int      // length of a message of Once; at most maxMessage
	Transfer int64    // length of a transfer
}

// maxMessage bounds a message of Once, and the datagrams that are echoed.
const maxMessage = 2048

// The batches of the UDP service: datagrams for each system call, and the buffers of its sockets.
const (
	packetBatch   = 64
	packetBuffers = 4 << 20
)

// rawTick is how often an idle server looks whether its context has ended.
const rawTick = 100 * time.Millisecond

// service is what a descriptor is for.
type service uint8

const (
	serviceNone service = iota
	serviceEcho
	serviceOnce
	serviceSource
	serviceSink
	servicePackets
)

// peerConn is one connection of a raw service, or a listener.
type peerConn struct {
	service  service
	listener bool
	moved    int64  // bytes sent (source) or taken (sink, once)
	message  []byte // once: what has come so far
}

// rawServer is one thread's state. Everything is indexed by descriptor.
type rawServer struct {
	Raw
	epoll   int
	conns   []peerConn
	open    int
	content Content
	batch   *datagram.Batch
	buf     []byte
}

// ServeRaw serves the layer 4 rows until ctx ends, which it sees within rawTick, or its sockets fail. Like Serve it is one thread
// for everything.
func ServeRaw(ctx context.Context, c Raw) error {
	if c.Message < 1 || c.Message > maxMessage || c.Transfer < 1 {
		return fmt.Errorf("origin: a message (%d) has 1 to %d bytes, a transfer (%d) at least 1", c.Message, maxMessage, c.Transfer)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("origin: epoll_create1: %w", err)
	}
	defer unix.Close(epoll)
	s := &rawServer{Raw: c, epoll: epoll, content: NewContent(), batch: datagram.New(packetBatch, maxMessage, true), buf: make([]byte, contentRun)}
	defer s.closeAll()
	for _, l := range []struct {
		service   service
		addresses []string
	}{{serviceEcho, c.Echo}, {serviceOnce, c.Once}, {serviceSource, c.Source}, {serviceSink, c.Sink}, {servicePackets, c.Packets}} {
		for _, address := range l.addresses {
			if err := s.listen(l.service, address); err != nil {
				return err
			}
		}
	}
	return s.loop(ctx)
}

func (s *rawServer) listen(what service, address string) error {
	var fd int
	var err error
	if what == servicePackets {
		if fd, err = datagram.Listen(address, packetBuffers); err != nil {
			return fmt.Errorf("origin: %w", err)
		}
	} else if fd, err = listen(address); err != nil {
		return err
	}
	return s.adopt(fd, peerConn{service: what, listener: what != servicePackets}, unix.EPOLLIN)
}

// adopt takes a descriptor over; when it fails, the descriptor is closed.
func (s *rawServer) adopt(fd int, c peerConn, events uint32) error {
	event := unix.EpollEvent{Events: events, Fd: int32(fd)}
	if err := unix.EpollCtl(s.epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		_ = unix.Close(fd)
		return fmt.Errorf("origin: epoll_ctl: %w", err)
	}
	for len(s.conns) <= fd {
		s.conns = append(s.conns, peerConn{})
	}
	s.conns[fd] = c
	s.open++
	return nil
}

func (s *rawServer) closeAll() {
	for fd := range s.conns {
		if s.conns[fd].service != serviceNone {
			s.drop(fd)
		}
	}
}

func (s *rawServer) drop(fd int) {
	s.open--
	s.conns[fd] = peerConn{}
	_ = unix.Close(fd)
}

func (s *rawServer) loop(ctx context.Context) error {
	events := make([]unix.EpollEvent, 256)
	for ctx.Err() == nil {
		n, err := unix.EpollWait(s.epoll, events, int(rawTick.Milliseconds()))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("origin: epoll_wait: %w", err)
		}
		for _, event := range events[:n] {
			if err := s.serve(int(event.Fd)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *rawServer) serve(fd int) error {
	c := &s.conns[fd]
	switch {
	case c.listener:
		s.accept(fd, c.service)
	case c.service == servicePackets:
		return s.echoPackets(fd)
	case c.service == serviceSource:
		s.pour(fd, c)
	case c.service != serviceNone:
		s.read(fd, c)
	}
	return nil
}

func (s *rawServer) accept(listener int, what service) {
	for {
		fd, _, err := unix.Accept4(listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err != nil {
			return // EAGAIN, or a client that left; level-triggered readiness brings the rest
		}
		if s.open >= maxConnections {
			_ = unix.Close(fd)
			continue
		}
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		events := uint32(unix.EPOLLIN)
		if what == serviceSource {
			events = unix.EPOLLOUT
		}
		_ = s.adopt(fd, peerConn{service: what}, events) // a connection that cannot be watched is closed; its client sees that
	}
}

// pour writes the next piece of a transfer; readiness brings it back for the rest.
func (s *rawServer) pour(fd int, c *peerConn) {
	n, err := unix.Write(fd, s.content.From(c.moved, int(min(s.Transfer-c.moved, contentRun))))
	if err == unix.EAGAIN || err == unix.EINTR {
		return
	}
	if err != nil {
		s.drop(fd)
		return
	}
	if c.moved += int64(n); c.moved == s.Transfer {
		s.drop(fd)
	}
}

// read takes what has come on a connection of the other TCP services.
func (s *rawServer) read(fd int, c *peerConn) {
	n, err := unix.Read(fd, s.buf)
	if err == unix.EAGAIN || err == unix.EINTR {
		return
	}
	if err != nil || n <= 0 {
		s.drop(fd)
		return
	}
	switch c.service {
	case serviceSink:
		s.take(fd, c, s.buf[:n])
	case serviceOnce:
		c.message = append(c.message, s.buf[:n]...)
		if len(c.message) >= s.Message {
			_, _ = unix.Write(fd, c.message) // a client that is gone misses its answer
			s.drop(fd)
		}
	default:
		// The socket buffer holds far more than one client ever has outstanding, so a short write means a dead client.
		if m, err := unix.Write(fd, s.buf[:n]); err != nil || m != n {
			s.drop(fd)
		}
	}
}

// take checks a piece of a transfer, and answers after the last, or at once when it is wrong.
func (s *rawServer) take(fd int, c *peerConn, piece []byte) {
	if int64(len(piece)) > s.Transfer-c.moved || !bytes.Equal(piece, s.content.From(c.moved, len(piece))) {
		s.judge(fd, Spoiled)
		return
	}
	if c.moved += int64(len(piece)); c.moved == s.Transfer {
		s.judge(fd, Complete)
	}
}

// judge answers a transfer. A client that is gone, or that goes on sending, misses the answer.
func (s *rawServer) judge(fd int, verdict string) {
	_, _ = unix.Write(fd, []byte(verdict))
	s.drop(fd)
}

// echoPackets sends back what has come. What the kernel does not take is lost, as datagrams are; the client counts it.
func (s *rawServer) echoPackets(fd int) error {
	n, err := s.batch.Receive(fd)
	if err == nil {
		_, err = s.batch.Send(fd, n)
	}
	if err != nil {
		return fmt.Errorf("origin: %w", err)
	}
	return nil
}
