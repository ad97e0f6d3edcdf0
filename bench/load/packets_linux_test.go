package load

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// udpServer calls answer for every datagram until the test ends; what it returns goes back, one datagram each.
func udpServer(t *testing.T, answer func(b []byte, from netip.AddrPort) [][]byte) string {
	t.Helper()
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	_ = socket.SetReadBuffer(1 << 20)
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for {
			n, from, err := socket.ReadFromUDPAddrPort(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue // a refusal of an earlier answer
			}
			for _, b := range answer(buf[:n], from) {
				_, _ = socket.WriteToUDPAddrPort(b, from)
			}
		}
	}()
	t.Cleanup(func() {
		_ = socket.Close()
		<-done
	})
	return socket.LocalAddr().String()
}

func same(b []byte, _ netip.AddrPort) [][]byte { return [][]byte{b} }

func packetsFor(address string) Packets {
	return Packets{Address: address, Clients: 3, Outstanding: 4, Size: 128, Window: Window{Warmup: 20 * time.Millisecond, Measure: 200 * time.Millisecond}}
}

func TestPackets(t *testing.T) {
	var served, atBegin, atEnd atomic.Int64
	address := udpServer(t, func(b []byte, from netip.AddrPort) [][]byte {
		served.Add(1)
		return same(b, from)
	})
	p := packetsFor(address)
	p.Begin = func() { atBegin.Store(served.Load()) }
	p.End = func() { atEnd.Store(served.Load()) }
	r, err := p.Run(t.Context())
	if err != nil || r.Err() != nil {
		t.Fatal(err, r.Err())
	}
	if diff := int64(r.Requests) - (atEnd.Load() - atBegin.Load()); diff < -24 || diff > 24 {
		t.Errorf("the client counts %d, the server %d", r.Requests, atEnd.Load()-atBegin.Load())
	}
	if r.Latency.Count() != r.Requests || r.Latency.Quantile(0.5) <= 0 {
		t.Errorf("%d latencies of %d packets", r.Latency.Count(), r.Requests)
	}
}

// spoilOne answers every datagram rightly but one, that it changes after *inside is set.
func spoilOne(inside *atomic.Bool, change func(b []byte) [][]byte) func([]byte, netip.AddrPort) [][]byte {
	var done atomic.Bool
	return func(b []byte, _ netip.AddrPort) [][]byte {
		if inside.Load() && done.CompareAndSwap(false, true) {
			return change(b)
		}
		return [][]byte{b}
	}
}

func TestPacketsSeeWrongAnswers(t *testing.T) {
	flip := func(at int) func(b []byte) [][]byte {
		return func(b []byte) [][]byte {
			b[at] ^= 1
			return [][]byte{b}
		}
	}
	cases := map[string]struct {
		change         func(b []byte) [][]byte
		failures, lost uint64
	}{
		"lost":             {func([]byte) [][]byte { return nil }, 0, 1},
		"twice":            {func(b []byte) [][]byte { return [][]byte{b, b} }, 0, 0},
		"another client's": {flip(3), 1, 1},
		"a wrong slot":     {flip(4), 1, 1},
		"a wrong sequence": {flip(15), 1, 1},
		"a changed byte":   {flip(127), 1, 1},
		"short":            {func(b []byte) [][]byte { return [][]byte{b[:100]} }, 1, 1},
		"long":             {func(b []byte) [][]byte { return [][]byte{append(b, 'x')} }, 1, 1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var inside atomic.Bool
			p := packetsFor(udpServer(t, spoilOne(&inside, c.change)))
			p.Measure = 2*packetPatience + 100*time.Millisecond // so that what is lost is given up inside the window
			p.Begin = func() { inside.Store(true) }
			r, err := p.Run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if r.Failures[Content] != c.failures || r.Failed() != c.failures || r.Lost < c.lost || r.Requests == 0 { // a busy machine may lose more
				t.Errorf("failures: %q, %d lost, %d answered; want %d and %d", r.FailureText(), r.Lost, r.Requests, c.failures, c.lost)
			}
			if share := r.LostShare(); share > 0 != (r.Lost > 0) || share > 0.5 {
				t.Errorf("%d lost and %d answered are a share of %v", r.Lost, r.Requests, share)
			}
		})
	}
}

func TestPacketsToAClosedPort(t *testing.T) {
	p := packetsFor(closedUDPPort(t))
	p.Measure = 2 * packetPatience // the first datagrams are refused before the window, the next ones are sent when those are given up
	r, err := p.Run(t.Context())
	if err != nil || r.Failures[ConnectFailed] == 0 || r.Err() == nil {
		t.Errorf("%v, failures: %q", err, r.FailureText())
	}
}

func closedUDPPort(t *testing.T) string {
	t.Helper()
	socket, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	return socket.LocalAddr().String()
}

func TestPacketsRefuseBadPlans(t *testing.T) {
	for name, change := range map[string]func(*Packets){
		"address":     func(p *Packets) { p.Address = "[::1]:1" },
		"clients":     func(p *Packets) { p.Clients = 0 },
		"outstanding": func(p *Packets) { p.Outstanding = 65 },
		"small":       func(p *Packets) { p.Size = packetHead - 1 },
		"large":       func(p *Packets) { p.Size = maxPacket + 1 },
		"time":        func(p *Packets) { p.Measure = 0 },
	} {
		p := packetsFor("127.0.0.1:1")
		change(&p)
		if _, err := p.Run(t.Context()); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func questionsFor(address string) Questions {
	return Questions{Address: address, Rate: 2000, Size: 128, Window: Window{Warmup: 20 * time.Millisecond, Measure: 300 * time.Millisecond}}
}

func TestQuestionsComeFromNewPorts(t *testing.T) {
	var lock sync.Mutex
	seen := map[netip.AddrPort]int{}
	address := udpServer(t, func(b []byte, from netip.AddrPort) [][]byte {
		lock.Lock()
		defer lock.Unlock()
		seen[from]++
		return same(b, from)
	})
	q := questionsFor(address)
	r, err := q.Run(t.Context())
	if err != nil || r.Err() != nil {
		t.Fatal(err, r.Err())
	}
	lock.Lock()
	defer lock.Unlock()
	for from, n := range seen {
		if n != 1 || !from.Addr().IsLoopback() {
			t.Errorf("%s has asked %d times", from, n)
		}
	}
	// However busy the machine, what is due inside the window is asked.
	want := uint64(float64(q.Rate) * r.Elapsed.Seconds())
	if r.Requests+r.Lost+2 < want || r.Requests > want+want/2+uint64(len(seen)) || r.Latency.Count() != r.Requests {
		t.Errorf("%d answers (%d latencies) in %v", r.Requests, r.Latency.Count(), r.Elapsed)
	}
}

func TestQuestionsSeeWrongAnswers(t *testing.T) {
	cases := map[string]func(b []byte) [][]byte{
		"another's":      func(b []byte) [][]byte { b[3] ^= 1; return [][]byte{b} },
		"a changed byte": func(b []byte) [][]byte { b[20] ^= 1; return [][]byte{b} },
		"short":          func(b []byte) [][]byte { return [][]byte{b[:20]} },
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			var inside atomic.Bool
			q := questionsFor(udpServer(t, spoilOne(&inside, change)))
			q.Begin = func() { inside.Store(true) }
			r, err := q.Run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if r.Failures[Content] != 1 || r.Failed() != 1 || r.Requests == 0 {
				t.Errorf("failures: %q, %d answered; want one wrong answer", r.FailureText(), r.Requests)
			}
		})
	}
}

func TestUnansweredQuestionsAreLost(t *testing.T) {
	address := udpServer(t, func([]byte, netip.AddrPort) [][]byte { return nil })
	q := questionsFor(address)
	r, err := q.Run(t.Context())
	if err != nil || r.Requests != 0 || r.Err() == nil || r.Lost+2 < uint64(float64(q.Rate)*r.Elapsed.Seconds()) {
		t.Errorf("%v, %d answers, %d lost", err, r.Requests, r.Lost)
	}
}

func TestQuestionsToAClosedPort(t *testing.T) {
	r, err := questionsFor(closedUDPPort(t)).Run(t.Context())
	if err != nil || r.Failures[ConnectFailed] == 0 || r.Err() == nil {
		t.Errorf("%v, failures: %q", err, r.FailureText())
	}
}

func TestQuestionsRefuseBadPlans(t *testing.T) {
	for name, change := range map[string]func(*Questions){
		"address": func(q *Questions) { q.Address = "nowhere" },
		"rate":    func(q *Questions) { q.Rate = 0 },
		"size":    func(q *Questions) { q.Size = 1 },
		"time":    func(q *Questions) { q.Measure = 0 },
	} {
		q := questionsFor("127.0.0.1:1")
		change(&q)
		if _, err := q.Run(t.Context()); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestClientsEndWithTheirContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	address := udpServer(t, same)
	for name, run := range map[string]func(context.Context) (*Result, error){
		"packets":   packetsFor(address).Run,
		"questions": questionsFor(address).Run,
		"bulk":      bulkClientFor(closedPort(t), false).Run,
	} {
		if _, err := run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
