package origin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"

	"golang.org/x/sys/unix"
)

// maxHead bounds a request head; a connection that sends a longer one is closed.
const maxHead = 16 << 10

// maxConnections bounds the table; further connections are closed at once.
const maxConnections = 1 << 16

// server is one thread's state. Connections are indexed by their descriptor.
type server struct {
	epoll     int
	listeners map[int]bool
	conns     []bool   // which descriptors are connections
	tails     [][]byte // what has come of a head that is not whole yet, by descriptor; nil when nothing
	open      int
	answer    []byte
	batch     []byte // answers to pipelined requests, put together
	buf       [maxHead]byte
}

// Serve answers every GET on the given IPv4 addresses with size bytes until ctx ends, which it sees within a second, or
// its sockets fail. Request bodies are not understood: the benchmark sends none.
func Serve(ctx context.Context, addresses []string, size int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("origin: epoll_create1: %w", err)
	}
	defer unix.Close(epoll)
	s := &server{epoll: epoll, listeners: map[int]bool{}, answer: Answer(size)}
	for _, address := range addresses {
		fd, err := listen(address)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		s.listeners[fd] = true
		if err := s.watch(fd); err != nil {
			return err
		}
	}
	defer s.closeAll()
	return s.loop(ctx)
}

func listen(address string) (int, error) {
	target, err := netip.ParseAddrPort(address)
	if err != nil || !target.Addr().Is4() {
		return -1, fmt.Errorf("origin: the address %q is not an IPv4 address with a port", address)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("origin: socket: %w", err)
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.Bind(fd, &unix.SockaddrInet4{Port: int(target.Port()), Addr: target.Addr().As4()}),
		unix.Listen(fd, 4096),
	)
	if err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("origin: listen on %s: %w", address, err)
	}
	return fd, nil
}

func (s *server) watch(fd int) error {
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
	if err := unix.EpollCtl(s.epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		return fmt.Errorf("origin: epoll_ctl: %w", err)
	}
	return nil
}

// closeAll closes the connections; the listeners belong to Serve.
func (s *server) closeAll() {
	for fd, held := range s.conns {
		if held {
			s.drop(fd)
		}
	}
}

func (s *server) loop(ctx context.Context) error {
	events := make([]unix.EpollEvent, 256)
	for ctx.Err() == nil {
		n, err := unix.EpollWait(s.epoll, events, 1000)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("origin: epoll_wait: %w", err)
		}
		for _, event := range events[:n] {
			if fd := int(event.Fd); s.listeners[fd] {
				s.accept(fd)
			} else {
				s.serve(fd)
			}
		}
	}
	return nil
}

func (s *server) accept(listener int) {
	for {
		fd, _, err := unix.Accept4(listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err != nil {
			return // EAGAIN, or a client that left; level-triggered readiness brings the rest
		}
		if s.open >= maxConnections || s.watch(fd) != nil {
			_ = unix.Close(fd)
			continue
		}
		s.open++
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		for len(s.tails) <= fd {
			s.tails, s.conns = append(s.tails, nil), append(s.conns, false)
		}
		s.tails[fd], s.conns[fd] = nil, true
	}
}

func (s *server) drop(fd int) {
	s.open--
	s.tails[fd], s.conns[fd] = nil, false
	_ = unix.Close(fd)
}

// serve reads once and answers every whole head in what has come.
func (s *server) serve(fd int) {
	kept := copy(s.buf[:], s.tails[fd])
	n, err := unix.Read(fd, s.buf[kept:])
	if err == unix.EAGAIN || err == unix.EINTR {
		return
	}
	if err != nil || n <= 0 {
		s.drop(fd)
		return
	}
	heads, rest := countHeads(s.buf[:kept+n])
	if len(rest) == len(s.buf) {
		s.drop(fd)
		return
	}
	if len(rest) > 0 {
		s.tails[fd] = append([]byte(nil), rest...)
	} else {
		s.tails[fd] = nil
	}
	if heads == 0 {
		return
	}
	out := s.answer
	if heads > 1 {
		s.batch = s.batch[:0]
		for range heads {
			s.batch = append(s.batch, s.answer...)
		}
		out = s.batch
	}
	// The socket buffer holds far more than one client ever has outstanding, so a short write means a dead client.
	if n, err := unix.Write(fd, out); err != nil || n != len(out) {
		s.drop(fd)
	}
}

// countHeads returns how many whole request heads b holds and what follows the last of them.
func countHeads(b []byte) (int, []byte) {
	n := 0
	for {
		i := bytes.Index(b, []byte("\r\n\r\n"))
		if i < 0 {
			return n, b
		}
		b = b[i+4:]
		n++
	}
}
