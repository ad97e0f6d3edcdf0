package stream

import (
	"io"
	"net"
	"runtime"
	"sync"
	"testing"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// benchRelay runs a relay over loopback until the benchmark ends.
func benchRelay(b *testing.B, pipes *Pipes) (client, server *net.TCPConn) {
	b.Helper()
	client, nearA := testnet.TCPPair(b)
	server, nearB := testnet.TCPPair(b)
	var wg sync.WaitGroup
	wg.Go(func() { Relay(nearA, nearB, RelayOptions{Idle: testnet.Patience, Pipes: pipes}) })
	b.Cleanup(func() {
		_ = client.Close()
		_ = server.Close()
		wg.Wait()
	})
	return client, server
}

// BenchmarkRelayExchange sends 128 bytes and waits for them to come back. Client and server are part
// of it, so compare it with itself only.
func BenchmarkRelayExchange(b *testing.B) {
	client, server := benchRelay(b, nil)
	go func() {
		buf := make([]byte, 128)
		for {
			if _, err := io.ReadFull(server, buf); err != nil {
				return
			}
			if _, err := server.Write(buf); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, 128)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := client.Write(buf); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(client, buf); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRelayBulk moves 1 MiB at a time.
func BenchmarkRelayBulk(b *testing.B) {
	for _, spliced := range []bool{false, true} {
		name := "copied"
		if spliced {
			name = "spliced"
		}
		b.Run(name, func(b *testing.B) {
			var pipes *Pipes
			if spliced {
				pipes = NewPipes(2)
				b.Cleanup(pipes.Close)
			}
			client, server := benchRelay(b, pipes)
			go func() { _, _ = io.Copy(onlyWriter{server}, endless{}) }()
			buf := make([]byte, 1<<20)
			b.SetBytes(int64(len(buf)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := io.ReadFull(client, buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRelaySession opens two connections, moves a byte, ends both, and closes them.
func BenchmarkRelaySession(b *testing.B) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	dial := func() (far, near net.Conn) {
		far, err := net.DialTimeout("tcp", ln.Addr().String(), testnet.Patience)
		if err == nil {
			near, err = ln.Accept()
		}
		if err != nil {
			b.Fatal(err)
		}
		return far, near
	}
	b.ReportAllocs()
	one := make([]byte, 1)
	for b.Loop() {
		client, nearA := dial()
		server, nearB := dial()
		done := make(chan RelayResult, 1)
		go func() { done <- Relay(nearA, nearB, RelayOptions{Idle: testnet.Patience}) }()
		_, _ = client.Write(one)
		_, _ = server.Read(one)
		_ = client.Close()
		_ = server.Close()
		<-done
	}
}

// BenchmarkRelayIdleMemory reports what a relay at rest costs: stacks and heap, without the sockets of the
// kernel.
func BenchmarkRelayIdleMemory(b *testing.B) {
	const sessions = 500
	for b.Loop() {
		var before, after runtime.MemStats
		var wg sync.WaitGroup
		all := make([]RelaySession, sessions)
		pairs := make([][2]net.Conn, sessions)
		for i := range pairs {
			_, pairs[i][0] = testnet.TCPPair(b)
			_, pairs[i][1] = testnet.TCPPair(b)
		}
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i, p := range pairs {
			wg.Go(func() { all[i].Run(p[0], p[1], RelayOptions{Idle: testnet.Patience}) })
		}
		for i := range all {
			testnet.Eventually(b, "the relay waits", func() bool {
				all[i].mu.Lock()
				defer all[i].mu.Unlock()
				return all[i].running
			})
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.StackInuse+after.HeapInuse-before.StackInuse-before.HeapInuse)/sessions, "bytes/session")
		for i := range all {
			all[i].Stop()
		}
		wg.Wait()
	}
}
