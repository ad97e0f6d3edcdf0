package load

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Idle is a set of keep-alive connections that have each made one request and now wait. It owns their sockets.
type Idle struct {
	fds []int
}

// idleBatch is how many connections are opened and asked at the same time.
const idleBatch = 64

// portsForSource is how many connections one source address carries; the kernel has 28,000 ports for each by default.
const portsForSource = 20000

// HoldIdle opens n connections to an IPv4 address in batches, sends request once on each and checks the answer
// against body. Beyond 20,000 connections further loopback addresses 127.0.0.2, 127.0.0.3 … are the source. A proxy
// that fails one of the requests fails the whole.
func HoldIdle(ctx context.Context, address string, n int, request, body []byte) (*Idle, error) {
	target, err := netip.ParseAddrPort(address)
	if err != nil || !target.Addr().Is4() {
		return nil, fmt.Errorf("load: the address %q is not an IPv4 address with a port", address)
	}
	h := &Idle{fds: make([]int, 0, n)}
	to := &unix.SockaddrInet4{Port: int(target.Port()), Addr: target.Addr().As4()}
	for len(h.fds) < n {
		if err := ctx.Err(); err != nil {
			h.Close()
			return nil, err
		}
		from := len(h.fds)
		if err := h.open(to, min(idleBatch, n-from), request); err != nil {
			h.Close()
			return nil, fmt.Errorf("load: idle connection %d: %w", len(h.fds), err)
		}
		for _, fd := range h.fds[from:] {
			if err := readAnswer(fd, body); err != nil {
				h.Close()
				return nil, fmt.Errorf("load: idle connection %d: %w", from, err)
			}
		}
	}
	return h, nil
}

// open adds count connections and sends the request on each of them.
func (h *Idle) open(to *unix.SockaddrInet4, count int, request []byte) error {
	for range count {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		source := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, byte(1 + len(h.fds)/portsForSource%250)}}
		h.fds = append(h.fds, fd)
		limit := unix.NsecToTimeval(int64(answerTimeout))
		_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit)
		_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit)
		// With this option bind leaves the port open until connect, where only the pair of addresses must be free.
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
		// A reset at the end leaves no TIME_WAIT behind for the next measurement.
		_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		if err := unix.Bind(fd, source); err != nil {
			return err
		}
		if err := unix.Connect(fd, to); err != nil {
			return err
		}
		if sent, err := unix.Write(fd, request); err != nil || sent != len(request) {
			return errors.Join(errors.New("the request could not be sent"), err)
		}
	}
	return nil
}

func readAnswer(fd int, body []byte) error {
	buf := make([]byte, maxHead+len(body)+1024)
	for n := 0; ; {
		m, err := unix.Read(fd, buf[n:])
		if err == unix.EINTR {
			continue
		}
		if err != nil || m <= 0 {
			return errors.Join(errors.New("no answer"), err)
		}
		n += m
		got := checkAnswer(buf[:n], body)
		switch {
		case got.failure != None:
			return fmt.Errorf("%s: %.200q", got.failure, buf[:n])
		case got.closing:
			return errors.New("the proxy closes the connection after one answer")
		case got.size > 0:
			return nil
		case n == len(buf):
			return errors.New("the answer is too long")
		}
	}
}

// Broken is the number of connections that the proxy has closed in the meantime.
func (h *Idle) Broken() int {
	n := 0
	var b [1]byte
	for _, fd := range h.fds {
		if _, _, err := unix.Recvfrom(fd, b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT); err != unix.EAGAIN {
			n++
		}
	}
	return n
}

// Close ends all connections.
func (h *Idle) Close() {
	for _, fd := range h.fds {
		_ = unix.Close(fd)
	}
	h.fds = nil
}

// Settle calls read every step until it has changed by no more than tolerance (a share) for calm steps in a row, and
// returns the last value; after limit it returns what there is.
func Settle(ctx context.Context, read func() (float64, error), step, limit time.Duration, tolerance float64, calm int) (float64, error) {
	until := time.Now().Add(limit)
	last, err := read()
	for quiet := 0; err == nil && quiet < calm && time.Now().Before(until); {
		if !pause(ctx, step) {
			return last, ctx.Err()
		}
		var next float64
		if next, err = read(); err != nil {
			break
		}
		if diff := next - last; diff <= tolerance*last && -diff <= tolerance*last {
			quiet++
		} else {
			quiet = 0
		}
		last = next
	}
	return last, err
}
