package load

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// listen runs handle for each connection to a free port, until the test ends.
func listen(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	socket, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	all.Go(func() {
		for {
			c, err := socket.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer context.AfterFunc(ctx, func() { _ = c.Close() })()
				defer c.Close()
				handle(c)
			})
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = socket.Close()
		all.Wait()
	})
	return socket.Addr().String()
}

const message = "twelve bytes"

func echoClient(address string) Plain {
	return Plain{Address: address, Connections: 4, Requests: [][]byte{[]byte(message), []byte("TWELVE BYTES")}, Echo: true,
		Window: Window{Warmup: 20 * time.Millisecond, Measure: 200 * time.Millisecond}}
}

func TestEchoClosedLoop(t *testing.T) {
	address := listen(t, func(c net.Conn) { _, _ = io.Copy(struct{ io.Writer }{c}, c) })
	r, err := echoClient(address).Run(t.Context())
	if err != nil || r.Err() != nil {
		t.Fatal(err, r.Err())
	}
	if r.Latency.Count() != r.Requests || r.Reconnects != 0 {
		t.Errorf("%d latencies of %d exchanges, %d reconnects", r.Latency.Count(), r.Requests, r.Reconnects)
	}
}

// spoil is what a server does once, inside the window, to an exchange: what it answers, and whether it goes on.
type spoil struct {
	name   string
	answer string
	shut   bool
	want   Failure
}

// spoiler serves exchanges of one message each, and spoils one of them after *inside is set. With once it closes behind every answer.
func spoiler(inside *atomic.Bool, s spoil, once bool) func(net.Conn) {
	var done atomic.Bool
	return func(c net.Conn) {
		buf := make([]byte, len(message))
		for k := 0; ; k++ {
			if _, err := io.ReadFull(c, buf); err != nil {
				return
			}
			if (k > 0 || once) && inside.Load() && done.CompareAndSwap(false, true) {
				_, _ = io.WriteString(c, s.answer)
				if s.shut {
					return
				}
				continue
			}
			if _, err := c.Write(buf); err != nil || once {
				return
			}
		}
	}
}

func TestEchoCountsFailures(t *testing.T) {
	for _, s := range []spoil{
		{"other bytes", "twelve BITES", false, Content},
		{"the end of another answer", "welve bytes", false, Content},
		{"too many bytes", message + "x", false, Content},
		{"closed inside", "twe", true, ClosedEarly},
		{"closed before", "", true, ClosedUnused},
	} {
		t.Run(s.name, func(t *testing.T) {
			var inside atomic.Bool
			c := echoClient(listen(t, spoiler(&inside, s, false)))
			c.Requests = c.Requests[:1]
			c.Begin = func() { inside.Store(true) }
			r, err := c.Run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if r.Failed() != 1 || r.Failures[s.want] != 1 || r.Requests == 0 {
				t.Errorf("failures: %s; %d right answers", r.FailureText(), r.Requests)
			}
		})
	}
}

func TestFreshConnections(t *testing.T) {
	var opened atomic.Int64
	address := listen(t, func(c net.Conn) {
		opened.Add(1)
		buf := make([]byte, len(message))
		if _, err := io.ReadFull(c, buf); err == nil {
			_, _ = c.Write(buf[:3])
			_, _ = c.Write(buf[3:])
		}
	})
	c := echoClient(address)
	c.Fresh = true
	var atBegin, atEnd int64
	c.Begin = func() { atBegin = opened.Load() }
	c.End = func() { atEnd = opened.Load() }
	r, err := c.Run(t.Context())
	if err != nil || r.Err() != nil {
		t.Fatal(err, r.Err())
	}
	if diff := int64(r.Requests) - (atEnd - atBegin); diff < -8 || diff > 8 {
		t.Errorf("the client counts %d, the server %d connections", r.Requests, atEnd-atBegin)
	}
	if r.Latency.Count() != r.Requests || r.Latency.Quantile(0) <= 0 {
		t.Errorf("%d latencies of %d connections", r.Latency.Count(), r.Requests)
	}
}

func TestFreshConnectionsCountFailures(t *testing.T) {
	for _, s := range []spoil{
		{"other bytes", "twelve BITES", true, Content},
		{"too many bytes", message + "x", true, Content},
		{"closed inside", "twe", true, ClosedEarly},
		{"closed before", "", true, ClosedEarly},
	} {
		t.Run(s.name, func(t *testing.T) {
			var inside atomic.Bool
			c := echoClient(listen(t, spoiler(&inside, s, true)))
			c.Requests, c.Fresh = c.Requests[:1], true
			c.Begin = func() { inside.Store(true) }
			r, err := c.Run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if r.Failed() != 1 || r.Failures[s.want] != 1 || r.Requests == 0 {
				t.Errorf("failures: %s; %d right answers", r.FailureText(), r.Requests)
			}
		})
	}
}

func TestFreshNeedsEchoAndNoRate(t *testing.T) {
	for name, change := range map[string]func(*Plain){
		"no echo": func(p *Plain) { p.Echo = false },
		"a rate":  func(p *Plain) { p.Rate = 10 },
	} {
		c := echoClient("127.0.0.1:1")
		c.Fresh = true
		change(&c)
		if _, err := c.Run(t.Context()); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
