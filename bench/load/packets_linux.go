package load

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluice-gateway/sluice/bench/datagram"
)

// Packets describes busy UDP clients, each with a socket of its own and a fixed number of datagrams underway: an answer lets the next
// one go. What has come at once is answered at once, by one system call.
type Packets struct {
	Address     string
	Clients     int // sockets, 1…1000
	Outstanding int // datagrams underway for each, 1…64
	Size        int // of a datagram, 16…1400
	Window
}

// packetPatience is how long an answer is waited for before the datagram counts as lost. Loopback answers within a millisecond
// unless a buffer was full.
const packetPatience = 300 * time.Millisecond

// Run sends and checks datagrams until the window is over, ctx ends, or too much has failed. Result.Requests are right answers; Lost are
// datagrams that were given up. An answer that comes after that, or twice, is not counted. It owns its thread and its sockets as Plain does.
func (p Packets) Run(ctx context.Context) (*Result, error) {
	address, err := netip.ParseAddrPort(p.Address)
	if err != nil || !address.Addr().Is4() {
		return nil, fmt.Errorf("load: the address %q is not an IPv4 address with a port", p.Address)
	}
	if p.Clients < 1 || p.Clients > 1000 || p.Outstanding < 1 || p.Outstanding > 64 || p.Size < packetHead || p.Size > maxPacket || p.Measure <= 0 {
		return nil, errors.New("load: clients (1…1000), datagrams underway (1…64), their size (16…1400) and a time to measure are needed")
	}
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("load: epoll_create1: %w", err)
	}
	c := &packetClient{Packets: p, frame: frame{Window: p.Window}, epoll: epoll,
		in: datagram.New(p.Outstanding, p.Size+1, false), out: datagram.New(p.Outstanding, p.Size, false)}
	defer c.close()
	if err := c.open(&unix.SockaddrInet4{Port: int(address.Port()), Addr: address.Addr().As4()}); err != nil {
		return nil, err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err = c.loop(ctx)
	return &c.result, err
}

// flight is a datagram underway.
type flight struct {
	sequence uint64
	since    time.Duration
}

type packetClient struct {
	Packets
	frame
	epoll   int
	events  [256]unix.EpollEvent
	fds     []int
	flights [][]flight // by client and slot
	next    uint64     // sequence number
	in, out *datagram.Batch
	slots   []uint32 // of the datagrams to send next, all of one client
}

func (c *packetClient) open(target *unix.SockaddrInet4) error {
	for i := range c.Clients {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("load: socket: %w", err)
		}
		c.fds = append(c.fds, fd)
		c.flights = append(c.flights, make([]flight, c.Outstanding))
		if err := unix.Connect(fd, target); err != nil {
			return fmt.Errorf("load: connect: %w", err)
		}
		event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)}
		if err := unix.EpollCtl(c.epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
			return fmt.Errorf("load: epoll_ctl: %w", err)
		}
	}
	return nil
}

func (c *packetClient) close() {
	for _, fd := range c.fds {
		_ = unix.Close(fd)
	}
	_ = unix.Close(c.epoll)
}

func (c *packetClient) loop(ctx context.Context) error {
	c.start = time.Now()
	for i := range c.fds {
		for slot := range c.Outstanding {
			c.slots = append(c.slots, uint32(slot))
		}
		c.send(i, 0)
	}
	return c.frame.loop(ctx, c.epoll, c.events[:], c)
}

// sweep gives up what has waited too long, and sends the next datagrams in its place.
func (c *packetClient) sweep(now time.Duration) {
	for i := range c.fds {
		for slot := range c.flights[i] {
			if now-c.flights[i][slot].since > packetPatience {
				c.result.Lost++
				c.slots = append(c.slots, uint32(slot))
			}
		}
		c.send(i, now)
	}
}

// send sends a new datagram for each of the slots that wait for one.
func (c *packetClient) send(i int, now time.Duration) {
	for n, slot := range c.slots {
		c.flights[i][slot] = flight{c.next, now}
		fillPacket(c.out.Buffer(n), uint32(i), slot, c.next)
		c.out.SetLen(n, c.Size)
		c.next++
	}
	// What the kernel does not take is found by sweep.
	if _, err := c.out.Send(c.fds[i], len(c.slots)); err != nil {
		c.result.Failures[ConnectFailed]++
	}
	c.slots = c.slots[:0]
}

func (c *packetClient) handle(i int) {
	got, err := c.in.Receive(c.fds[i])
	if err != nil {
		c.result.Failures[ConnectFailed]++ // the proxy's port is closed
		return
	}
	now := c.now()
	for n := range got {
		slot, sequence, ok := readPacket(c.in.Data(n), c.Size, uint32(i))
		if !ok || int(slot) >= c.Outstanding || sequence >= c.next {
			c.result.Failures[Content]++
			continue
		}
		flight := &c.flights[i][slot]
		if flight.sequence != sequence || len(c.slots) == c.Outstanding {
			continue // late, or twice
		}
		flight.sequence = ^uint64(0)
		if c.counting() {
			c.result.Requests++
			c.result.Latency.Record(now - flight.since)
		}
		c.slots = append(c.slots, slot)
	}
	c.send(i, now)
}
