package load

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Questions describes short UDP sessions at a constant rate, as DNS has them: each question comes from an address and port that has never
// asked before, gets one answer, and is heard of no more. The addresses are 127.1.0.1 and up.
type Questions struct {
	Address string
	Rate    int // questions per second by Schedule
	Size    int // of question and answer, 16…1400
	Window
}

const (
	maxQuestions  = 4096        // underway at once; further ones wait, and their latency runs
	askPatience   = time.Second // until a question is given up
	firstAskPort  = 10000
	asksOfAddress = 50000 // source ports that are used of each source address
	maxTaken      = 1000  // source ports in a row that may be taken
)

// Run asks until the window is over, ctx ends, or too much has failed, and waits for the answers to what was due inside the window.
// Result.Requests are right answers, Lost are questions without one. It owns its thread and its sockets as Plain does.
func (q Questions) Run(ctx context.Context) (*Result, error) {
	address, err := netip.ParseAddrPort(q.Address)
	if err != nil || !address.Addr().Is4() {
		return nil, fmt.Errorf("load: the address %q is not an IPv4 address with a port", q.Address)
	}
	if q.Size < packetHead || q.Size > maxPacket || q.Measure <= 0 {
		return nil, errors.New("load: the size of a question (16…1400) and a time to measure are needed")
	}
	schedule, err := NewSchedule(q.Rate)
	if err != nil {
		return nil, err
	}
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("load: epoll_create1: %w", err)
	}
	c := &questionClient{Questions: q, frame: frame{Window: q.Window}, epoll: epoll, schedule: schedule,
		asked: make([]question, maxQuestions), out: make([]byte, q.Size), in: make([]byte, q.Size+1)}
	c.target = unix.SockaddrInet4{Port: int(address.Port()), Addr: address.Addr().As4()}
	for i := range c.asked {
		c.asked[i].fd = -1
		c.free = append(c.free, int32(i))
	}
	defer c.close()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) // see Plain.Run
	defer func() { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0) }()
	err = c.loop(ctx)
	return &c.result, err
}

// question is one that is underway.
type question struct {
	fd       int
	sequence uint64
	due      time.Duration
	inside   bool // it was due inside the window
}

type questionClient struct {
	Questions
	frame
	target   unix.SockaddrInet4
	epoll    int
	events   [256]unix.EpollEvent
	schedule Schedule
	asked    []question
	free     []int32
	sent     uint64 // questions taken from the schedule so far, which is also the sequence number
	asleep   bool   // everything that was due inside the window has been asked
	skipped  uint64 // source ports that were taken
	in, out  []byte
}

func (c *questionClient) close() {
	for i := range c.asked {
		if c.asked[i].fd >= 0 {
			_ = unix.Close(c.asked[i].fd)
		}
	}
	_ = unix.Close(c.epoll)
}

func (c *questionClient) loop(ctx context.Context) error {
	c.start = time.Now()
	for {
		now := c.now()
		over, sweep, err := c.step(ctx, now)
		if err != nil {
			return err
		}
		if sweep {
			c.sweep(now)
		}
		if !c.asleep {
			c.ask(now)
		}
		if over && !c.asleep {
			c.asleep = true
			c.result.Lost += c.schedule.Due(now) - c.sent
		}
		// What has no answer is given up by sweep in the end.
		if over && (len(c.free) == len(c.asked) || c.result.Failed() > maxFailures) {
			return nil
		}
		n, err := epollWait(c.epoll, c.events[:], min(c.sweepAt, c.nextDue())-c.now())
		if err != nil {
			return fmt.Errorf("load: epoll_wait: %w", err)
		}
		for _, event := range c.events[:n] {
			c.handle(int(event.Fd))
		}
	}
}

// nextDue is when the next question is due, if there is room for it.
func (c *questionClient) nextDue() time.Duration {
	if c.asleep || len(c.free) == 0 {
		return 1<<63 - 1
	}
	return c.schedule.At(c.sent)
}

// ask sends what is due.
func (c *questionClient) ask(now time.Duration) {
	for due := c.schedule.Due(now); c.sent < due && len(c.free) > 0; c.sent++ {
		i := c.free[len(c.free)-1]
		q := &c.asked[i]
		*q = question{fd: -1, sequence: c.sent, due: c.schedule.At(c.sent), inside: c.begun}
		if err := c.open(int(i)); err != nil {
			c.result.Failures[ConnectFailed]++
			c.shut(int(i), false)
			continue
		}
		fillPacket(c.out, uint32(i), 0, c.sent)
		c.free = c.free[:len(c.free)-1]
		// A datagram that the kernel does not take is lost, and sweep will find it.
		_, _ = unix.Write(q.fd, c.out)
	}
}

// open makes a socket with the next source address and port.
func (c *questionClient) open(i int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	c.asked[i].fd = fd
	for range maxTaken {
		n := c.sent + c.skipped
		host := 1 + n/asksOfAddress%60000
		source := unix.SockaddrInet4{Port: firstAskPort + int(n%asksOfAddress), Addr: [4]byte{127, 1, byte(host >> 8), byte(host)}}
		if err = unix.Bind(fd, &source); err != unix.EADDRINUSE {
			break
		}
		c.skipped++ // somebody listens there on all addresses
	}
	if err == nil {
		err = unix.Connect(fd, &c.target)
	}
	if err == nil {
		event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)}
		err = unix.EpollCtl(c.epoll, unix.EPOLL_CTL_ADD, fd, &event)
	}
	return err
}

// shut closes a question's socket; a used one gives its place back.
func (c *questionClient) shut(i int, used bool) {
	if c.asked[i].fd >= 0 {
		_ = unix.Close(c.asked[i].fd)
	}
	c.asked[i].fd = -1
	if used {
		c.free = append(c.free, int32(i))
	}
}

// sweep gives up what has waited too long.
func (c *questionClient) sweep(now time.Duration) {
	for i := range c.asked {
		if q := &c.asked[i]; q.fd >= 0 && now-q.due > askPatience {
			if q.inside {
				c.result.Lost++
			}
			c.shut(i, true)
		}
	}
}

func (c *questionClient) handle(i int) {
	q := &c.asked[i]
	if q.fd < 0 {
		return
	}
	n, err := unix.Read(q.fd, c.in)
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return
	case err != nil:
		c.result.Failures[ConnectFailed]++
	default:
		if _, sequence, ok := readPacket(c.in[:n], c.Size, uint32(i)); !ok || sequence != q.sequence {
			c.result.Failures[Content]++
		} else if q.inside {
			c.result.Requests++
			c.result.Latency.Record(c.now() - q.due)
		}
	}
	c.shut(i, true)
}
