package stream

import (
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// Short sessions, ended in every way, leave no descriptor; the pipes are used again and again.
func TestRelayLeavesNothing(t *testing.T) {
	before := descriptors(t)
	t.Run("sessions", func(t *testing.T) {
		pipes := NewPipes(8)
		defer closePipes(t, pipes)
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		dial := func() (far, near net.Conn) {
			far, err := net.DialTimeout("tcp", ln.Addr().String(), testnet.Patience)
			if err == nil {
				near, err = ln.Accept()
			}
			if err != nil {
				t.Fatal(err)
			}
			return far, near
		}
		var wg sync.WaitGroup
		for i := range 1000 {
			a, nearA := dial()
			b, nearB := dial()
			var s RelaySession
			wg.Go(func() {
				s.Run(nearA, nearB, RelayOptions{Idle: testnet.Patience, Lifetime: testnet.Patience, Pipes: pipes})
			})
			wg.Go(func() {
				_, _ = a.Write(make([]byte, 300_000*(i%2)))
				if i%5 == 0 {
					reset(a)
				} else {
					_ = a.Close()
				}
			})
			wg.Go(func() {
				if i%3 != 0 {
					_, _ = io.Copy(io.Discard, b)
				} else if _, _ = io.ReadFull(b, make([]byte, 100_000*(i%2))); i%7 == 0 {
					s.Stop()
				}
				_ = b.Close()
			})
			if i%50 == 0 {
				wg.Wait()
			}
		}
		wg.Wait()
	})
	testnet.Eventually(t, "no descriptor is left", func() bool { return descriptors(t) <= before })
}

// A transfer borrows a pipe only while bytes are in flight, and an idle one holds none.
func TestPipesAreBorrowed(t *testing.T) {
	pipes := NewPipes(1)
	defer closePipes(t, pipes)
	e := relayed(t, ways[0], RelayOptions{Pipes: pipes})
	text := strings.Repeat("x", 1<<20)
	for range 3 {
		go func() { _, _ = io.WriteString(e.a, text) }()
		receive(t, e.b, text)
		testnet.Eventually(t, "the pipe is back", func() bool { return pipes.State() == PipesState{Open: 1, Idle: 1} })
	}
	go func() { _, _ = io.Copy(onlyWriter{e.a}, endless{}) }()
	testnet.Eventually(t, "the pipe is full", func() bool { return pipes.State().Idle == 0 })
	reset(e.b)
	e.result(t)
	testnet.Eventually(t, "a pipe that is not empty is not used again", func() bool {
		s := pipes.State()
		return s.Idle == s.Open
	})
}

// Where no pipe is to be had, bytes are copied, and it is counted.
func TestPipesAreBounded(t *testing.T) {
	pipes := NewPipes(0)
	defer closePipes(t, pipes)
	e := relayed(t, ways[0], RelayOptions{Pipes: pipes})
	text := strings.Repeat("x", 1<<20)
	go func() {
		_, _ = io.WriteString(e.a, text)
		_ = e.a.Close()
	}()
	receive(t, e.b, text)
	_ = e.b.Close()
	if got := e.result(t); got.AB != 1<<20 || pipes.State().Refused == 0 {
		t.Errorf("%+v, %+v", got, pipes.State())
	}
	closed := NewPipes(3)
	closed.Close()
	if closed.get() != nil {
		t.Error("a closed pool lends pipes")
	}
}

// A pipe that is put back full is closed, whatever the pool is.
func TestPipePutFull(t *testing.T) {
	pipes := NewPipes(1)
	a, b := testnet.TCPPair(t)
	send(t, a, "hello")
	p := pipes.get()
	if p == nil {
		t.Fatal("no pipe")
	}
	testnet.Eventually(t, "bytes are in the pipe", func() bool {
		again := true
		on(t, b, func(fd uintptr) { _, again, _ = p.fill(fd) })
		return !again
	})
	if p.held != 5 {
		t.Errorf("the pipe holds %d bytes", p.held)
	}
	pipes.put(p)
	if got := pipes.State(); got != (PipesState{}) {
		t.Errorf("%+v", got)
	}
	pipes.Close()
}

// What cannot be spliced is copied: the error says so and takes nothing.
func TestFillOfWhatCannotBeSpliced(t *testing.T) {
	pipes := NewPipes(1)
	defer pipes.Close()
	p := pipes.get()
	defer pipes.put(p)
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Close(fd) }()
	if _, again, err := p.fill(uintptr(fd)); again || err != errCannotSplice {
		t.Errorf("%v, %v", again, err)
	}
}

// A relay at rest has borrowed nothing, and waits without a deadline on either connection.
func TestRelayAtRestHoldsNothing(t *testing.T) {
	e := relayed(t, ways[0], RelayOptions{Idle: time.Hour})
	send(t, e.a, "x")
	receive(t, e.b, "x")
	e.s.Stop()
	e.result(t)
	if e.s.ab.buf != nil || e.s.ba.buf != nil || e.s.ab.pipe != nil || e.s.ab.waiting.Load() != 0 {
		t.Errorf("it held something: %+v", &e.s.ab.transfer)
	}
}
