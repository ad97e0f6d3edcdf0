package stream

import (
	"bytes"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// on calls f with the descriptor of c.
func on(t *testing.T, c *net.TCPConn, f func(fd uintptr)) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err == nil {
		err = raw.Control(f)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// state is what can be known of a socket without reading from it.
func state(t *testing.T, c *net.TCPConn) (quiet, open bool) {
	t.Helper()
	on(t, c, func(fd uintptr) { quiet, open = Quiet(fd), Open(fd) })
	return quiet, open
}

func wantState(t *testing.T, c *net.TCPConn, what string, quiet, open bool) {
	t.Helper()
	testnet.Eventually(t, what, func() bool {
		q, o := state(t, c)
		return q == quiet && o == open
	})
}

func TestStateOfSockets(t *testing.T) {
	a, b := testnet.TCPPair(t)
	wantState(t, a, "a new connection is quiet", true, true)
	send(t, b, "x")
	wantState(t, a, "bytes are seen", false, true)
	receive(t, a, "x") // looking has taken nothing
	wantState(t, a, "it is quiet again", true, true)
	send(t, b, "last")
	closeWrite(t, b)
	wantState(t, a, "bytes stand before the end", false, true)
	receive(t, a, "last")
	wantState(t, a, "the end is seen", false, false)

	a, b = testnet.TCPPair(t)
	_ = b.SetLinger(0)
	_ = b.Close()
	wantState(t, a, "a reset is seen", false, false)
}

func TestReceive(t *testing.T) {
	a, b := testnet.TCPPair(t)
	p := make([]byte, 4)
	receiveNow := func() (n int, again bool, err error) {
		on(t, a, func(fd uintptr) { n, again, err = Receive(fd, p) })
		return n, again, err
	}
	if n, again, err := receiveNow(); n != 0 || !again || err != nil {
		t.Errorf("nothing there: %d, %v, %v", n, again, err)
	}
	send(t, b, "hello")
	wantState(t, a, "bytes are seen", false, true)
	if n, again, err := receiveNow(); n != 4 || again || err != nil || string(p) != "hell" {
		t.Errorf("bytes there: %d, %v, %v, %q", n, again, err, p)
	}
	if n, _, err := receiveNow(); n != 1 || err != nil || p[0] != 'o' {
		t.Errorf("the rest: %d, %v, %q", n, err, p)
	}
	closeWrite(t, b)
	wantState(t, a, "the end is seen", false, false)
	if n, again, err := receiveNow(); n != 0 || again || err != io.EOF {
		t.Errorf("the end: %d, %v, %v", n, again, err)
	}
	a, b = testnet.TCPPair(t)
	_ = b.SetLinger(0)
	_ = b.Close()
	testnet.Eventually(t, "the reset is seen", func() bool {
		_, _, err := receiveNow()
		return errors.Is(err, syscall.ECONNRESET)
	})
}

func TestSend(t *testing.T) {
	a, b := testnet.TCPPair(t)
	large := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	sent := 0
	for {
		var n int
		var err error
		on(t, a, func(fd uintptr) { n, err = Send(fd, large) })
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break // the socket takes no more
		}
		sent += n
	}
	_ = a.CloseWrite()
	if n, err := io.Copy(io.Discard, b); err != nil || n != int64(sent) {
		t.Errorf("%d bytes came of %d that were taken, %v", n, sent, err)
	}
	_ = b.SetLinger(0)
	_ = b.Close()
	a, b = testnet.TCPPair(t)
	_ = b.Close()
	testnet.Eventually(t, "sending to nobody fails", func() bool {
		var err error
		on(t, a, func(fd uintptr) { _, err = Send(fd, []byte("x")) })
		return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
	})
}
