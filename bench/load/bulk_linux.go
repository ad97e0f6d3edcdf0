package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Bulk describes a client of large transfers: each of its connections carries one after the other, each on a new connection.
type Bulk struct {
	Address     string
	Connections int
	Transfer    int64 // bytes of one transfer
	Upload      bool  // from the client to the endpoint; otherwise the endpoint sends as soon as it is connected
	// Content is what a transfer must hold from an offset on, most bytes or fewer.
	Content func(offset int64, most int) []byte
	Verdict []byte // what the endpoint answers to an upload that has reached it whole and unchanged
	Window
}

// pieceSize is the most that one call sends or reads.
const pieceSize = 256 << 10

// Run transfers until the window is over, ctx ends, or too much has failed. Result.Requests are whole transfers, Bytes all bytes that
// this client has received or handed to its kernel inside the window. It owns its thread and its sockets as Plain does.
func (b Bulk) Run(ctx context.Context) (*Result, error) {
	address, err := netip.ParseAddrPort(b.Address)
	if err != nil || !address.Addr().Is4() {
		return nil, fmt.Errorf("load: the address %q is not an IPv4 address with a port", b.Address)
	}
	if b.Connections < 1 || b.Connections > 1000 || b.Transfer < 1 || b.Content == nil || b.Measure <= 0 {
		return nil, errors.New("load: connections (1…1000), the length and the content of a transfer, and a time to measure are needed")
	}
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("load: epoll_create1: %w", err)
	}
	c := &bulkClient{Bulk: b, frame: frame{Window: b.Window}, epoll: epoll, conns: make([]bulkConn, b.Connections),
		buf: make([]byte, pieceSize)}
	c.target = unix.SockaddrInet4{Port: int(address.Port()), Addr: address.Addr().As4()}
	for i := range c.conns {
		c.conns[i].fd = -1
	}
	defer c.close()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err = c.loop(ctx)
	return &c.result, err
}

// bulkConn is one transfer.
type bulkConn struct {
	fd       int
	moved    int64
	verdict  int           // bytes of the verdict that have come
	deadline time.Duration // of the next progress, or, without a socket, of the pause
}

type bulkClient struct {
	Bulk
	frame
	target unix.SockaddrInet4
	epoll  int
	events [64]unix.EpollEvent
	conns  []bulkConn
	buf    []byte
}

func (c *bulkClient) close() {
	for i := range c.conns {
		c.shut(i)
	}
	_ = unix.Close(c.epoll)
}

func (c *bulkClient) loop(ctx context.Context) error {
	c.start = time.Now()
	return c.frame.loop(ctx, c.epoll, c.events[:], c)
}

// sweep ends transfers that have stopped, and begins those whose pause is over.
func (c *bulkClient) sweep(now time.Duration) {
	for i := range c.conns {
		k := &c.conns[i]
		switch {
		case k.fd < 0 && now >= k.deadline:
			c.connect(i, now)
		case k.fd >= 0 && now >= k.deadline:
			c.fail(i, Timeout)
		}
	}
}

func (c *bulkClient) connect(i int, now time.Duration) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		c.fail(i, ConnectFailed)
		return
	}
	c.conns[i] = bulkConn{fd: fd, deadline: now + answerTimeout}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if err := unix.Connect(fd, &c.target); err != nil && err != unix.EINPROGRESS {
		c.fail(i, ConnectFailed)
		return
	}
	events := uint32(unix.EPOLLIN)
	if c.Upload {
		events = unix.EPOLLOUT
	}
	event := unix.EpollEvent{Events: events, Fd: int32(i)}
	if err := unix.EpollCtl(c.epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		c.fail(i, ConnectFailed)
	}
}

// handle moves one connection on. Readiness is level-triggered, so one piece in a turn is enough, and fair.
func (c *bulkClient) handle(i int) {
	k := &c.conns[i]
	if k.fd < 0 {
		return
	}
	var n int
	var why Failure
	switch {
	case !c.Upload:
		n, why = c.receive(k)
	case k.moved < c.Transfer:
		n, why = c.send(i, k)
	default:
		n, why = c.hearVerdict(k)
	}
	switch {
	case why != None:
		c.fail(i, why)
	case n > 0:
		k.deadline = c.now() + answerTimeout
	}
	if k.fd >= 0 && n == 0 && why == None && c.isWhole(k) {
		if c.counting() {
			c.result.Requests++
		}
		c.shut(i)
		c.connect(i, c.now())
	}
}

// isWhole tells whether everything has been moved that belongs to a transfer.
func (c *bulkClient) isWhole(k *bulkConn) bool {
	return k.moved == c.Transfer && (!c.Upload || k.verdict == len(c.Verdict))
}

// again stands for a call that has found nothing to do.
const again = -1

// receive takes a piece of a download. It returns 0 at a right end.
func (c *bulkClient) receive(k *bulkConn) (int, Failure) {
	n, err := unix.Read(k.fd, c.buf)
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return again, None
	case err == unix.ECONNREFUSED:
		return again, ConnectFailed
	case err != nil || n == 0 && k.moved < c.Transfer:
		return again, ClosedEarly
	case int64(n) > c.Transfer-k.moved, !c.matches(k.moved, c.buf[:n]):
		return again, Content
	}
	c.count(k, n)
	return n, None
}

func (c *bulkClient) matches(offset int64, got []byte) bool {
	for len(got) > 0 {
		want := c.Content(offset, len(got))
		if len(want) == 0 || !bytes.Equal(got[:len(want)], want) {
			return false
		}
		got, offset = got[len(want):], offset+int64(len(want))
	}
	return true
}

func (c *bulkClient) count(k *bulkConn, n int) {
	k.moved += int64(n)
	if c.counting() {
		c.result.Bytes += uint64(n)
	}
}

// send hands the next piece of an upload to the kernel; after the last one the verdict is waited for.
func (c *bulkClient) send(i int, k *bulkConn) (int, Failure) {
	n, err := unix.Write(k.fd, c.Content(k.moved, int(min(c.Transfer-k.moved, pieceSize))))
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return again, None
	case err == unix.ECONNREFUSED:
		return again, ConnectFailed
	case err != nil || n <= 0:
		return again, ClosedEarly
	}
	c.count(k, n)
	if k.moved == c.Transfer {
		event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)}
		if err := unix.EpollCtl(c.epoll, unix.EPOLL_CTL_MOD, k.fd, &event); err != nil {
			return again, ConnectFailed
		}
	}
	return n, None
}

// hearVerdict takes what the endpoint says of an upload. It returns 0 at a right end.
func (c *bulkClient) hearVerdict(k *bulkConn) (int, Failure) {
	n, err := unix.Read(k.fd, c.buf[:len(c.Verdict)+1])
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return again, None
	case err != nil || n == 0 && k.verdict < len(c.Verdict):
		return again, ClosedEarly
	case n > len(c.Verdict)-k.verdict, !bytes.Equal(c.buf[:n], c.Verdict[k.verdict:k.verdict+n]):
		return again, Content
	}
	k.verdict += n
	return n, None
}

func (c *bulkClient) fail(i int, why Failure) {
	c.result.Failures[why]++
	c.shut(i)
	c.conns[i].deadline = c.now() + reconnectPause
}

func (c *bulkClient) shut(i int) {
	if c.conns[i].fd >= 0 {
		_ = unix.Close(c.conns[i].fd)
	}
	c.conns[i].fd = -1
}
