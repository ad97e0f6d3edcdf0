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

// Plain describes a client without TLS: one thread, one epoll set, raw sockets.
type Plain struct {
	Address     string          // "127.0.0.1:port" of the proxy
	Connections int             // keep-alive connections, opened at once
	Requests    [][]byte        // sent in turn, over and over; see Request
	Next        *int            // when set, which of the requests is the first one; it is left at the one to go on with
	Numbers     *Numbers        // when set, each request has a NumberPlace, which gets the next number; not with Echo
	Body        []byte          // what every answer must hold
	Echo        bool            // no HTTP: the answer to a request is the request itself, and Body is not used
	Fresh       bool            // with Echo, closed loop: a new connection for every request, over when the proxy has closed it behind the answer
	Rate        int             // requests per second by Schedule; 0 is closed loop: each connection sends as soon as it has its answer
	Stop        <-chan struct{} // when set and closed, the window ends before its time
	Window
}

// Run drives the proxy until the window is over, ctx ends, or too many requests have failed. The error is about the
// client itself (arguments, sockets, ctx); failed requests are in the Result. It owns its thread and its sockets and
// has released both when it returns.
func (p Plain) Run(ctx context.Context) (*Result, error) {
	c, err := newClient(p)
	if err != nil {
		return nil, err
	}
	defer c.close()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// The default slack of 50 µs would be added to every due time of a constant rate.
	// It is put back because children inherit it.
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	defer func() { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0) }()
	err = c.loop(ctx)
	if p.Next != nil {
		*p.Next = c.next
	}
	return &c.result, err
}

// conn is one keep-alive connection of the client. Its buffer is its own and reused for every answer.
type conn struct {
	fd       int
	state    connState
	served   bool          // has had an answer: a close before the next one is the race that RFC 9112 section 9.3.1 describes
	since    time.Duration // closed loop: when the request was sent; constant rate: when it was due
	deadline time.Duration // of the answer, the connect, or the pause before the next connect
	want     []byte        // with Echo, the answer that is due
	buf      []byte
	n        int
}

type connState uint8

const (
	connDown connState = iota // no socket; connects again at the deadline
	connOpening
	connIdle
	connBusy
)

const reconnectPause = 10 * time.Millisecond

type client struct {
	Plain
	target   unix.SockaddrInet4
	epoll    int
	events   [256]unix.EpollEvent
	conns    []conn
	schedule Schedule
	free     []int32 // ring of idle connections, oldest first, so that all of them are used
	freeHead int
	freeLen  int
	sent     uint64   // requests taken from the schedule so far
	next     int      // request text to send next
	places   [][]byte // with Numbers, where the number of each request text is
	start    time.Time
	begun    bool
	ended    bool
	beganAt  time.Duration
	result   Result
}

func newClient(p Plain) (*client, error) {
	address, err := netip.ParseAddrPort(p.Address)
	if err != nil || !address.Addr().Is4() {
		return nil, fmt.Errorf("load: the address %q is not an IPv4 address with a port", p.Address)
	}
	if p.Connections < 1 || p.Connections > 60000 || len(p.Requests) == 0 || p.Measure <= 0 {
		return nil, errors.New("load: connections (1…60000), requests and a time to measure are needed")
	}
	if p.Fresh && (!p.Echo || p.Rate != 0) {
		return nil, errors.New("load: new connections for every request need Echo and no rate")
	}
	if p.Next != nil && (*p.Next < 0 || *p.Next >= len(p.Requests)) {
		return nil, fmt.Errorf("load: there is no request %d among %d", *p.Next, len(p.Requests))
	}
	if p.Numbers != nil && p.Echo {
		return nil, errors.New("load: an echo is compared with its request, which numbers would have changed")
	}
	c := &client{Plain: p, epoll: -1, conns: make([]conn, p.Connections), free: make([]int32, p.Connections)}
	c.target = unix.SockaddrInet4{Port: int(address.Port()), Addr: address.Addr().As4()}
	if p.Rate != 0 {
		if c.schedule, err = NewSchedule(p.Rate); err != nil {
			return nil, err
		}
	}
	if p.Next != nil {
		c.next = *p.Next
	}
	if p.Numbers != nil {
		if c.Requests, c.places, err = p.Numbers.numbered(p.Requests); err != nil {
			return nil, err
		}
	}
	if c.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("load: epoll_create1: %w", err)
	}
	longest := len(p.Body)
	for _, text := range p.Requests {
		longest = max(longest, len(text))
	}
	for i := range c.conns {
		c.conns[i] = conn{fd: -1, buf: make([]byte, maxHead+longest+1024)}
	}
	return c, nil
}

func (c *client) close() {
	for i := range c.conns {
		if c.conns[i].fd >= 0 {
			_ = unix.Close(c.conns[i].fd)
		}
	}
	_ = unix.Close(c.epoll)
}

func (c *client) now() time.Duration { return time.Since(c.start) }

// loop is the whole life of the client. At a constant rate it goes on after the window until the last request that was
// due inside it is answered or has timed out, because the slowest answers are the ones that matter.
func (c *client) loop(ctx context.Context) error {
	c.start = time.Now()
	for i := range c.conns {
		c.connect(i, 0)
	}
	sweepAt := time.Duration(0)
	for {
		now := c.now()
		if !c.begun && now >= c.Warmup {
			// On a crowded machine the client may come late to its own window, which then moves as a whole.
			c.begun, c.beganAt, c.Warmup = true, now, now
			c.result = Result{}
			c.begin()
		}
		last := c.Warmup + c.Measure
		if !c.ended && now >= last {
			c.ended = true
			c.result.Elapsed = now - c.beganAt
			c.end()
		}
		if c.ended && (c.Rate == 0 || c.drained() || now > last+answerTimeout) {
			c.abandon()
			return nil
		}
		if now >= sweepAt {
			if err := ctx.Err(); err != nil {
				return err
			}
			if c.result.Failed() > maxFailures {
				return c.giveUp(now)
			}
			if c.begun && !c.ended && c.stopped() {
				c.Measure = now - c.Warmup
			}
			c.sweep(now)
			sweepAt = now + reconnectPause
		}
		if c.Rate > 0 {
			c.dispatch(now)
		}
		n, err := c.wait(min(c.nextWake(), sweepAt) - c.now())
		if err != nil {
			return err
		}
		for _, event := range c.events[:n] {
			c.handle(int(event.Fd))
		}
	}
}

func (c *client) stopped() bool {
	select {
	case <-c.Stop:
		return true
	default:
		return false
	}
}

// giveUp closes the window early, so that the figures read so far are whole.
func (c *client) giveUp(now time.Duration) error {
	if !c.begun {
		c.beganAt = now
		c.begin()
	}
	if !c.ended {
		c.result.Elapsed = now - c.beganAt
		c.end()
	}
	c.begun, c.ended = true, true
	return nil
}

// wait sleeps until a socket is ready or the time is over. epoll_pwait2 is used for its nanoseconds: the milliseconds of
// epoll_wait are fifty requests long.
func (c *client) wait(timeout time.Duration) (int, error) {
	n, err := epollWait(c.epoll, c.events[:], timeout)
	if err != nil {
		return 0, fmt.Errorf("load: epoll_wait: %w", err)
	}
	return n, nil
}

// nextWake is when the next request of the schedule is due, if there is a connection for it.
func (c *client) nextWake() time.Duration {
	if c.Rate == 0 || c.freeLen == 0 {
		return 1<<63 - 1
	}
	at := c.schedule.At(c.sent)
	if at >= c.Warmup+c.Measure {
		return 1<<63 - 1
	}
	return at
}

// dispatch sends what is due. Requests that find no idle connection wait in the schedule itself; their latency runs.
func (c *client) dispatch(now time.Duration) {
	due := c.schedule.Due(min(now, c.Warmup+c.Measure-1))
	for c.sent < due && c.freeLen > 0 {
		i := int(c.free[c.freeHead])
		c.freeHead = (c.freeHead + 1) % len(c.free)
		c.freeLen--
		if c.conns[i].state != connIdle {
			continue // closed while it waited; it comes back when it is connected again
		}
		at := c.schedule.At(c.sent)
		c.sent++
		c.send(i, at)
	}
}

// drained tells whether every request of the schedule has its answer or its failure.
func (c *client) drained() bool {
	if c.sent < c.schedule.Due(c.Warmup+c.Measure-1) {
		return false
	}
	for i := range c.conns {
		if c.conns[i].state == connBusy {
			return false
		}
	}
	return true
}

// abandon counts the requests of a constant rate that were due and have no answer. In a closed loop what is still in
// flight at the end is no failure: it was simply not measured.
func (c *client) abandon() {
	if c.Rate == 0 {
		return
	}
	for i := range c.conns {
		if c.conns[i].state == connBusy {
			c.result.Failures[Timeout]++
		}
	}
	c.result.Failures[Timeout] += c.schedule.Due(c.Warmup+c.Measure-1) - c.sent
}

// sweep ends what has waited too long and opens again what is closed.
func (c *client) sweep(now time.Duration) {
	for i := range c.conns {
		k := &c.conns[i]
		if now < k.deadline {
			continue
		}
		switch k.state {
		case connBusy:
			c.fail(i, Timeout)
		case connOpening:
			c.fail(i, ConnectFailed)
		case connDown:
			c.connect(i, now)
		}
	}
}

func (c *client) send(i int, since time.Duration) {
	k := &c.conns[i]
	text := c.Requests[c.next]
	if c.places != nil {
		c.Numbers.put(c.places[c.next])
	}
	if c.next++; c.next == len(c.Requests) {
		c.next = 0
	}
	k.state, k.since, k.want, k.n = connBusy, since, text, 0
	k.deadline = c.now() + answerTimeout
	n, err := unix.Write(k.fd, text)
	switch {
	case err == unix.EPIPE || err == unix.ECONNRESET:
		c.lost(i)
	case err != nil || n != len(text):
		c.fail(i, ClosedEarly)
	}
}

func (c *client) handle(i int) {
	k := &c.conns[i]
	switch k.state {
	case connDown:
		return
	case connOpening:
		if code, err := unix.GetsockoptInt(k.fd, unix.SOL_SOCKET, unix.SO_ERROR); err != nil || code != 0 {
			c.fail(i, ConnectFailed)
			return
		}
		c.opened(i)
		return
	}
	n, err := unix.Read(k.fd, k.buf[k.n:])
	if err == unix.EAGAIN || err == unix.EINTR {
		return
	}
	if n == 0 && err == nil && c.Fresh && k.state == connBusy && bytes.Equal(k.buf[:k.n], k.want) {
		c.answered(i, true)
		return
	}
	if err != nil || n <= 0 {
		c.lost(i)
		return
	}
	k.n += n
	if k.state == connIdle {
		c.fail(i, Content) // bytes that no request asked for
		return
	}
	var got answer
	if c.Echo {
		got = checkEcho(k.buf[:k.n], k.want)
	} else {
		got = checkAnswer(k.buf[:k.n], c.Body)
	}
	switch {
	case got.failure != None:
		c.fail(i, got.failure)
	case got.size == 0 && k.n == len(k.buf):
		c.fail(i, Framing)
	case got.size == 0:
	case got.size != k.n:
		c.fail(i, Content)
	case c.Fresh: // answered when the proxy has closed, too
	default:
		c.answered(i, got.closing)
	}
}

func (c *client) answered(i int, closing bool) {
	k := &c.conns[i]
	now := c.now()
	k.served, k.state = true, connIdle
	if c.begun && !c.ended {
		c.result.Requests++
	}
	// At a constant rate the due time decides what belongs to the window, so that its slowest answers are not lost.
	if c.begun && (c.Rate > 0 && k.since >= c.beganAt || c.Rate == 0 && !c.ended) {
		c.result.Latency.Record(now - k.since)
	}
	if closing {
		if !c.Fresh {
			c.result.Reconnects++
		}
		c.shut(i)
		if !c.Fresh || !c.ended {
			c.connect(i, now)
		}
		return
	}
	c.ready(i, now)
}

// ready gives an idle connection its next request, or puts it at the end of the ring.
func (c *client) ready(i int, now time.Duration) {
	if c.Rate == 0 {
		if !c.ended {
			c.send(i, now)
		}
		return
	}
	if c.freeLen < len(c.free) {
		c.free[(c.freeHead+c.freeLen)%len(c.free)] = int32(i)
		c.freeLen++
	}
}

// lost handles a connection that the proxy closed.
func (c *client) lost(i int) {
	k := &c.conns[i]
	switch {
	case k.state == connIdle:
		c.result.Reconnects++
		c.forget(i)
		c.shut(i)
		c.connect(i, c.now())
	case k.n == 0 && k.served:
		c.fail(i, ClosedUnused)
	default:
		c.fail(i, ClosedEarly)
	}
}

// forget takes a connection out of the ring of idle ones.
func (c *client) forget(i int) {
	for n := c.freeLen; n > 0; n-- {
		j := c.free[c.freeHead]
		c.freeHead = (c.freeHead + 1) % len(c.free)
		c.freeLen--
		if int(j) != i {
			c.free[(c.freeHead+c.freeLen)%len(c.free)] = j
			c.freeLen++
		}
	}
}

// fail counts a request as failed and replaces its connection after a short pause.
func (c *client) fail(i int, why Failure) {
	k := &c.conns[i]
	if k.state == connIdle {
		c.forget(i)
	}
	c.result.Failures[why]++
	c.shut(i)
	k.deadline = c.now() + reconnectPause
}

func (c *client) shut(i int) {
	k := &c.conns[i]
	if k.fd >= 0 {
		_ = unix.Close(k.fd)
	}
	k.fd, k.state, k.n, k.served = -1, connDown, 0, false
}

func (c *client) connect(i int, now time.Duration) {
	k := &c.conns[i]
	k.deadline = now + reconnectPause
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		c.result.Failures[ConnectFailed]++
		return
	}
	k.fd = fd
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	err = unix.Connect(fd, &c.target)
	if err != nil && err != unix.EINPROGRESS {
		c.fail(i, ConnectFailed)
		return
	}
	pending := err != nil
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP, Fd: int32(i)}
	if pending {
		event.Events |= unix.EPOLLOUT
	}
	if err := unix.EpollCtl(c.epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		c.fail(i, ConnectFailed)
		return
	}
	k.state, k.since, k.deadline = connOpening, now, now+answerTimeout
	if !pending {
		c.opened(i)
	}
}

func (c *client) opened(i int) {
	k := &c.conns[i]
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP, Fd: int32(i)}
	if err := unix.EpollCtl(c.epoll, unix.EPOLL_CTL_MOD, k.fd, &event); err != nil {
		c.fail(i, ConnectFailed)
		return
	}
	k.state = connIdle
	if c.Fresh {
		if !c.ended {
			c.send(i, k.since) // the connect counts
		}
		return
	}
	c.ready(i, c.now())
}
