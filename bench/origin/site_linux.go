package origin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Site is a service that looks at its requests before it answers them, so that a proxy that does not do its work with them is found out.
type Site struct {
	Addresses []string      // IPv4 addresses to listen on
	Answer    []byte        // JSON, the same for every request
	Want      []byte        // the body that every request must have; empty: none
	Fields    []string      // header fields that every request must have, as "Name: value", byte for byte
	Absent    []string      // names of fields that no request may have, in any spelling
	Delay     time.Duration // how long after its request an answer is sent
}

// siteConn is one connection of a site. Everything is indexed by descriptor.
type siteConn struct {
	site   *Site  // nil: no connection and no listener
	serial uint64 // tells a connection from the one that had its descriptor before
	listen bool
	tail   []byte // what has come of a request that is not whole yet
}

// late is an answer that is not due yet. Answers of one site become due in the order of their requests.
type late struct {
	due    time.Duration
	fd     int
	serial uint64
	answer []byte
}

// siteServer is one thread's state.
type siteServer struct {
	epoll, timer int
	start        time.Time
	answers      map[*Site][]byte
	conns        []siteConn
	serial       uint64
	open         int
	waiting      []late // by the time when they are due: all sites with a delay have the same one
	buf          [maxHead]byte
}

// ServeSites serves until ctx ends, which it sees within rawTick, or its sockets fail. Like Serve it is one thread for everything. A request that is not as it must be
// gets the status 400 and what is wrong.
func ServeSites(ctx context.Context, sites []Site) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	s := &siteServer{epoll: -1, timer: -1, start: time.Now(), answers: map[*Site][]byte{}}
	defer s.close()
	if err := s.begin(sites); err != nil {
		return err
	}
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
			if err := s.handle(int(event.Fd)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *siteServer) begin(sites []Site) (err error) {
	if s.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("origin: epoll_create1: %w", err)
	}
	if s.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC); err != nil {
		return fmt.Errorf("origin: timerfd_create: %w", err)
	}
	if err := s.watch(s.timer); err != nil {
		return err
	}
	var delay time.Duration
	for i := range sites {
		site := &sites[i]
		if site.Delay != 0 && delay != 0 && site.Delay != delay {
			return errors.New("origin: sites with different delays")
		}
		delay = max(delay, site.Delay)
		s.answers[site] = siteAnswer("200 OK", "application/json", site.Answer)
		for _, address := range site.Addresses {
			fd, err := listen(address)
			if err != nil {
				return err
			}
			s.adopt(fd, siteConn{site: site, listen: true})
			if err := s.watch(fd); err != nil {
				return err
			}
		}
	}
	return nil
}

// siteAnswer is a whole response.
func siteAnswer(status, kind string, body []byte) []byte {
	head := fmt.Sprintf("HTTP/1.1 %s\r\nServer: origin\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n", status, kind, len(body))
	return append([]byte(head), body...)
}

func (s *siteServer) watch(fd int) error {
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
	if err := unix.EpollCtl(s.epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		return fmt.Errorf("origin: epoll_ctl: %w", err)
	}
	return nil
}

func (s *siteServer) adopt(fd int, c siteConn) {
	for len(s.conns) <= fd {
		s.conns = append(s.conns, siteConn{})
	}
	s.serial++
	c.serial = s.serial
	s.conns[fd] = c
	s.open++
}

func (s *siteServer) drop(fd int) {
	s.open--
	s.conns[fd] = siteConn{}
	_ = unix.Close(fd)
}

func (s *siteServer) close() {
	for fd := range s.conns {
		if s.conns[fd].site != nil {
			s.drop(fd)
		}
	}
	for _, fd := range []int{s.timer, s.epoll} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

func (s *siteServer) handle(fd int) error {
	if fd == s.timer {
		return s.ring()
	}
	c := &s.conns[fd]
	switch {
	case c.listen:
		s.accept(fd, c.site)
	case c.site != nil:
		return s.serve(fd)
	}
	return nil
}

func (s *siteServer) accept(listener int, site *Site) {
	for {
		fd, _, err := unix.Accept4(listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err != nil {
			return // EAGAIN, or a client that left; level-triggered readiness brings the rest
		}
		if s.open >= maxConnections || s.watch(fd) != nil {
			_ = unix.Close(fd)
			continue
		}
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		s.adopt(fd, siteConn{site: site})
	}
}

// serve reads once and answers every whole request in what has come.
func (s *siteServer) serve(fd int) error {
	c := &s.conns[fd]
	kept := copy(s.buf[:], c.tail)
	n, err := unix.Read(fd, s.buf[kept:])
	if err == unix.EAGAIN || err == unix.EINTR {
		return nil
	}
	if err != nil || n <= 0 {
		s.drop(fd)
		return nil
	}
	rest := s.buf[:kept+n]
	for len(rest) > 0 {
		size, wrong := c.site.judge(rest)
		if size == 0 && wrong == "" {
			break
		}
		answer := s.answers[c.site]
		if wrong != "" {
			answer = siteAnswer("400 Bad Request", "text/plain", []byte(wrong))
		}
		if err := s.answer(fd, answer); err != nil {
			return err
		}
		if c = &s.conns[fd]; c.site == nil {
			return nil // it is gone
		}
		if size == 0 {
			s.drop(fd) // where the next request begins is not known
			return nil
		}
		rest = rest[size:]
	}
	if len(rest) == len(s.buf) {
		s.drop(fd)
		return nil
	}
	c.tail = append(c.tail[:0], rest...)
	return nil
}

// answer sends an answer, or keeps it until it is due.
func (s *siteServer) answer(fd int, answer []byte) error {
	c := &s.conns[fd]
	if c.site.Delay == 0 {
		// The socket buffer holds far more than one client ever has outstanding, so a short write means a dead client.
		if n, err := unix.Write(fd, answer); err != nil || n != len(answer) {
			s.drop(fd)
		}
		return nil
	}
	s.waiting = append(s.waiting, late{time.Since(s.start) + c.site.Delay, fd, c.serial, answer})
	if len(s.waiting) == 1 {
		return s.arm()
	}
	return nil
}

// arm sets the timer to when the first answer is due.
func (s *siteServer) arm() error {
	wait := max(s.waiting[0].due-time.Since(s.start), 1) // 0 would stop it
	if err := unix.TimerfdSettime(s.timer, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(wait))}, nil); err != nil {
		return fmt.Errorf("origin: timerfd_settime: %w", err)
	}
	return nil
}

// ring sends what is due.
func (s *siteServer) ring() error {
	var count [8]byte
	_, _ = unix.Read(s.timer, count[:]) // how often it rang says nothing
	now, sent := time.Since(s.start), 0
	for ; sent < len(s.waiting) && s.waiting[sent].due <= now; sent++ {
		w := &s.waiting[sent]
		if s.conns[w.fd].serial != w.serial {
			continue // closed in the meantime
		}
		if n, err := unix.Write(w.fd, w.answer); err != nil || n != len(w.answer) {
			s.drop(w.fd)
		}
	}
	s.waiting = append(s.waiting[:0], s.waiting[sent:]...)
	if len(s.waiting) == 0 {
		return nil
	}
	return s.arm()
}

// judge returns how long the first request in b is, 0 while it is not whole, and what is wrong with it.
func (site *Site) judge(b []byte) (size int, wrong string) {
	end := bytes.Index(b, headEnd)
	if end < 0 {
		return 0, ""
	}
	head := b[:end+2]
	length, ok := contentLength(head)
	switch {
	case !ok || length > maxHead:
		return 0, "the length of the body is not understood"
	case len(b) < end+len(headEnd)+length:
		return 0, ""
	}
	size = end + len(headEnd) + length
	if !bytes.Equal(b[end+len(headEnd):size], site.Want) {
		return size, "the body is another one"
	}
	for _, field := range site.Fields {
		if i := bytes.Index(head, []byte(field)); i < 2 || head[i-1] != '\n' || head[i+len(field)] != '\r' {
			return size, "the field is missing: " + field
		}
	}
	for _, name := range site.Absent {
		if fieldValue(head, name) != nil {
			return size, "there is a field " + name
		}
	}
	return size, ""
}

var headEnd = []byte("\r\n\r\n")

// contentLength reads the length of the body, 0 where the head says none. A transfer coding is not understood.
func contentLength(head []byte) (int, bool) {
	if fieldValue(head, "Transfer-Encoding") != nil {
		return 0, false
	}
	value := fieldValue(head, "Content-Length")
	if value == nil {
		return 0, true
	}
	n, err := strconv.Atoi(string(value))
	return n, err == nil && n >= 0
}

// fieldValue is the value of the first field of a name, or nil.
func fieldValue(head []byte, name string) []byte {
	for len(head) > 0 {
		i := bytes.IndexByte(head, '\n')
		if i < 0 {
			return nil
		}
		line := head[:i+1]
		head = head[i+1:]
		if len(line) > len(name) && line[len(name)] == ':' && bytes.EqualFold(line[:len(name)], []byte(name)) {
			return bytes.TrimSpace(line[len(name)+1:])
		}
	}
	return nil
}
