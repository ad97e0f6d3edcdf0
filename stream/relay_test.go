package stream

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// result is what a relay returned.
type result struct {
	ab, ba int64
	err    error
}

// ends are the far ends of a relay's two connections.
type ends struct {
	a, b net.Conn
	done chan result
}

// relayed runs a relay between two connections, TCP or in memory.
func relayed(t *testing.T, tcp bool, o RelayOptions) ends {
	t.Helper()
	var a, nearA, b, nearB net.Conn
	if tcp {
		a, nearA = testnet.TCPPair(t)
		b, nearB = testnet.TCPPair(t)
	} else {
		a, nearA = testnet.Pipe(1000)
		b, nearB = testnet.Pipe(1000)
	}
	e := ends{a: a, b: b, done: make(chan result, 1)}
	for _, c := range []net.Conn{a, b} {
		_ = c.SetDeadline(time.Now().Add(testnet.Patience))
		t.Cleanup(func() { _ = c.Close() })
	}
	go func() {
		var r result
		r.ab, r.ba, r.err = Relay(nearA, nearB, o)
		e.done <- r
	}()
	return e
}

func (e ends) want(t *testing.T, want result) {
	t.Helper()
	got := testnet.Receive(t, "the end of the relay", e.done)
	if got.ab != want.ab || got.ba != want.ba || !errors.Is(got.err, want.err) {
		t.Errorf("the relay returned %+v, want %+v", got, want)
	}
}

func closeWrite(t *testing.T, c net.Conn) {
	t.Helper()
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
}

func send(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

func receive(t *testing.T, c net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("received %.100q (%d bytes), %v; want %.100q", got[:n], n, err, want)
	}
}

func receiveEnd(t *testing.T, c net.Conn) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Fatalf("received %d bytes, %v; want the end", n, err)
	}
}

func both(t *testing.T, test func(t *testing.T, tcp bool)) {
	t.Run("tcp", func(t *testing.T) { test(t, true) })
	t.Run("memory", func(t *testing.T) { test(t, false) })
}

// Bytes that came before the relay go first; each direction ends by itself.
func TestRelay(t *testing.T) {
	both(t, func(t *testing.T, tcp bool) {
		e := relayed(t, tcp, RelayOptions{Idle: testnet.Patience, EarlyA: []byte("early a "), EarlyB: []byte("early b ")})
		send(t, e.a, "hello")
		receive(t, e.b, "early a hello")
		send(t, e.b, "world")
		receive(t, e.a, "early b world")
		closeWrite(t, e.a)
		receiveEnd(t, e.b)
		send(t, e.b, "still here")
		receive(t, e.a, "still here")
		closeWrite(t, e.b)
		receiveEnd(t, e.a)
		e.want(t, result{ab: 13, ba: 23})
	})
}

func TestRelayOfManyBytes(t *testing.T) {
	both(t, func(t *testing.T, tcp bool) {
		e := relayed(t, tcp, RelayOptions{})
		text := strings.Repeat("0123456789abcdef", 1<<16) + "end"
		for _, way := range [][2]net.Conn{{e.a, e.b}, {e.b, e.a}} {
			sent := make(chan error, 1)
			go func() {
				_, err := io.WriteString(way[0], text)
				sent <- err
			}()
			receive(t, way[1], text)
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
			closeWrite(t, way[0])
		}
		e.want(t, result{ab: int64(len(text)), ba: int64(len(text))})
	})
}

// The relay ends when nothing moves in either direction, and only then.
func TestRelayIdle(t *testing.T) {
	both(t, func(t *testing.T, tcp bool) {
		const idle = 100 * time.Millisecond
		e := relayed(t, tcp, RelayOptions{Idle: idle})
		began, n := time.Now(), int64(0)
		testnet.Eventually(t, "one direction has moved for longer than the idle time", func() bool {
			send(t, e.a, "x")
			receive(t, e.b, "x")
			n++
			return time.Since(began) > 3*idle
		})
		receiveEnd(t, e.a)
		receiveEnd(t, e.b)
		e.want(t, result{ab: n, err: ErrIdle})
	})
}

// A peer that takes nothing for the idle time ends the relay as well.
func TestRelayStuck(t *testing.T) {
	e := relayed(t, false, RelayOptions{Idle: 50 * time.Millisecond})
	go func() { _, _ = io.WriteString(e.a, strings.Repeat("x", 100_000)) }()
	r := testnet.Receive(t, "the end of the relay", e.done)
	if r.err != ErrIdle || r.ab > 2000 {
		t.Errorf("%+v", r)
	}
}

// One side that is gone ends both directions, without an error: it is how tunnels end.
func TestRelayBroken(t *testing.T) {
	t.Run("reset", func(t *testing.T) {
		e := relayed(t, true, RelayOptions{Idle: testnet.Patience})
		send(t, e.a, "x")
		receive(t, e.b, "x")
		_ = e.a.(*net.TCPConn).SetLinger(0)
		_ = e.a.Close()
		receiveEnd(t, e.b)
		e.want(t, result{ab: 1})
	})
	t.Run("closed while the other side sends", func(t *testing.T) {
		both(t, func(t *testing.T, tcp bool) {
			e := relayed(t, tcp, RelayOptions{Idle: testnet.Patience})
			_ = e.a.Close()
			for {
				if _, err := io.WriteString(e.b, strings.Repeat("x", 10_000)); err != nil {
					break
				}
			}
			if r := testnet.Receive(t, "the end of the relay", e.done); r.err != nil {
				t.Errorf("%+v", r)
			}
		})
	})
}

// plain is a connection that cannot be closed in one direction.
type plain struct{ Conn }

// Where an end cannot be passed on as one direction's, it ends the connection.
func TestRelayWithoutHalfClose(t *testing.T) {
	a, nearA := testnet.Pipe(100)
	b, nearB := testnet.Pipe(100)
	done := make(chan result, 1)
	go func() {
		var r result
		r.ab, r.ba, r.err = Relay(plain{nearA}, plain{nearB}, RelayOptions{})
		done <- r
	}()
	send(t, a, "bye")
	closeWrite(t, a)
	receive(t, b, "bye")
	receiveEnd(t, b)
	e := ends{done: done}
	e.want(t, result{ab: 3})
	receiveEnd(t, a)
}
