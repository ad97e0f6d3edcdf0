package compose

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/http1"
	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/upstream"
)

// The compositions of gates and benchmarks: three answers of 1 KiB each.
const (
	sideBySide = `
steps:
  a: {backend: app, path: "/a/${path.id}"}
  b: {backend: app, path: /b, query: {id: "${path.id}"}}
  c: {backend: app, path: /c, optional: true}
body: {a: "${a.body}", b: "${b.body.items}", c: "${c.body}"}
`
	oneAfterTheOther = `
steps:
  a: {backend: app, path: "/a/${path.id}"}
  b: {backend: app, path: /b, query: {id: "${a.body.id}"}}
  c: {backend: app, path: "/c/${b.body.currency}", optional: true, timeout: 5s}
body: {a: "${a.body}", b: "${b.body.items}", c: "${c.body}"}
`
	elementsOfList = `
steps:
  a: {backend: app, path: "/a/${path.id}"}
  b: {backend: app, path: "/b/${item}", for_each: a.body.items}
body: {a: "${a.body}", b: "${b.body}"}
`
)

// once runs a plan for a request and reads the answer, as a codec would.
func once(t testing.TB, p *Plan, x *message.Exchange, fields []string) {
	refill(x, fields)
	if failure := p.Serve(x, 0); failure != nil {
		t.Fatal(failure)
	}
	for {
		if _, err := x.Response.Body.Next(); err != nil {
			if err != io.EOF {
				t.Fatal(err)
			}
			break
		}
	}
	_ = x.Response.Body.Close()
	x.Reset()
}

// refill is fill without allocations.
func refill(x *message.Exchange, fields []string) {
	r := &x.Request
	r.Method, r.Protocol, r.Scheme = message.Method{Known: message.GET}, message.HTTP11, "http"
	r.Host, r.Path, r.RawPath = hostText, pathText, pathText
	for i := range fields {
		name, value, _ := strings.Cut(fields[i], ": ")
		r.Header.Add(message.NameOf(name), x.Keep([]byte(value)))
	}
	x.Captures = append(x.Captures, message.Capture{Name: "id", Value: pathText[7:]})
	x.Times.Start = message.Now()
	x.Times.Read, x.Times.Routed = x.Times.Start, x.Times.Start
}

var hostText, pathText = []byte("example.test"), []byte("/whole/7")

// answerOf1K is what the services of benchmarks say.
func answerOf1K() []byte {
	text := `{"id":"7","currency":"EUR","items":[1,2,3],"x":"`
	return []byte(ok(text+strings.Repeat("x", 1024-len(text)-2)+`"}`, "Cache-Control: max-age=5"))
}

// BenchmarkCompose is a composition of three answers of 1 KiB, beside one request that is proxied to the same service, both from end to end: client, codec
// and services. cpu-ns/op is the processor time of this process alone; the client and the services run in another one.
//
// To reach: three parts cost at most 4 times as much as one proxied request.
func BenchmarkCompose(b *testing.B) {
	other := startPeer(b)
	for _, bc := range []struct{ name, compose string }{
		{"proxied", ""},
		{"one part", "steps:\n  a: {backend: app, path: \"/a/${path.id}\"}\nbody: ${a.body}\n"},
		{"three side by side", sideBySide},
		{"three in a row", oneAfterTheOther},
		{"four with a list", elementsOfList},
	} {
		b.Run(bc.name, func(b *testing.B) {
			var h message.Handler
			if bc.compose == "" {
				h = &forward{backend: backend(b, other.address, nil)}
			} else {
				h = front{plan(b, other.address, bc.compose)}
			}
			address := listening(b, h)
			other.load(b, address, 2000, 0) // connections and pools get their sizes
			b.ReportAllocs()
			b.ResetTimer()
			before := processorTime(b)
			other.load(b, address, b.N, 0)
			b.ReportMetric(float64(processorTime(b)-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

// BenchmarkLatency is how long clients wait at half of the load that there could be: for one proxied request, and for three parts side by side.
//
// To reach: composing adds at most 1 ms to the slowest part at p99.
func BenchmarkLatency(b *testing.B) {
	other := startPeer(b)
	most := 0
	for _, compose := range []string{sideBySide, ""} {
		var h message.Handler = &forward{backend: backend(b, other.address, nil)}
		name := "proxied"
		if compose != "" {
			h, name = front{plan(b, other.address, compose)}, "composed"
		}
		b.Run(name, func(b *testing.B) {
			address := listening(b, h)
			if most == 0 { // the same rate for both
				const n = 20_000
				before := time.Now()
				other.load(b, address, n, 0)
				most = int(n / time.Since(before).Seconds())
			}
			b.ResetTimer()
			p50, p99 := other.load(b, address, b.N, most/2)
			b.ReportMetric(p50, "p50-us")
			b.ReportMetric(p99, "p99-us")
			b.ReportMetric(float64(most/2), "requests/s")
		})
	}
}

// processorTime returns what this process has used.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// forward is a handler that only proxies.
type forward struct{ backend *upstream.Backend }

func (f *forward) Serve(x *message.Exchange) {
	flight, ok := x.State.(*upstream.Flight)
	if !ok {
		flight = new(upstream.Flight)
		x.State = flight
	}
	x.Times.Routed = x.Times.Read
	if failure := f.backend.Do(x, flight); failure != nil {
		x.Fail(failure)
		x.Response.Status = failure.Reason.Status()
	}
}

func (*forward) Finish(x *message.Exchange) { x.State.(*upstream.Flight).Finish(x) }

// listening serves connections until the benchmark ends.
func listening(b *testing.B, h message.Handler) string {
	return testnet.NewOrigin(b, func(c *testnet.OriginConn) { http1.ServeConn(c.Conn, http1.Peer{Addr: peerAddr}, serverOptions(), h) }).Addr
}

// peer is the process of the client and the services.
type peer struct {
	address string // of the service
	in      io.WriteCloser
	out     *bufio.Reader
}

// startPeer runs this test once more, as the other process.
func startPeer(b *testing.B) *peer {
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), peerVariable+"=1")
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := c.Start(); err != nil {
		b.Fatal(err)
	}
	p := &peer{in: in, out: bufio.NewReader(out)}
	b.Cleanup(func() {
		_ = in.Close()
		if err := c.Wait(); err != nil {
			b.Error(err)
		}
	})
	p.address = p.line(b)
	return p
}

func (p *peer) line(b *testing.B) string {
	text, err := p.out.ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(text)
}

// load has the other process send n requests over a few connections: so many each second, or with 0 as many as it can. It returns what half of them and
// all but one in a hundred took at most, in microseconds.
func (p *peer) load(b *testing.B, address string, n, rate int) (p50, p99 float64) {
	b.Helper()
	fmt.Fprintf(p.in, "%s %d %d\n", address, n, rate)
	line := p.line(b)
	if _, err := fmt.Sscanf(line, "done %f %f", &p50, &p99); err != nil {
		b.Fatal(line)
	}
	return p50, p99
}

// peerVariable makes a test process the other one of a benchmark.
const peerVariable = "COMPOSE_PEER"

// runPeer is the other process. It ends with its input.
func runPeer() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go testnet.Respond(nc, answerOf1K())
		}
	}()
	fmt.Println(ln.Addr())
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var address string
		var n, rate int
		if _, err := fmt.Sscan(in.Text(), &address, &n, &rate); err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(send(address, n, rate))
	}
}

// send sends n requests over 16 connections, and reads as many answers of status 200. With a rate, each request has its moment, and what it takes counts
// from then, whether the connection was free or not.
func send(address string, n, rate int) string {
	const conns = 16
	var group sync.WaitGroup
	var next atomic.Int64
	result := make(chan string, conns)
	took := make([]time.Duration, n)
	begin := time.Now()
	for range conns {
		group.Go(func() {
			nc, err := net.Dial("tcp", address)
			if err != nil {
				result <- err.Error()
				return
			}
			defer nc.Close()
			buf := make([]byte, 64<<10)
			request := []byte("GET /whole/7 HTTP/1.1\r\nHost: example.test\r\nAccept-Language: de\r\nUser-Agent: test\r\n\r\n")
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				at := time.Now()
				if rate > 0 {
					at = begin.Add(time.Duration(float64(i) / float64(rate) * 1e9))
					time.Sleep(time.Until(at))
				}
				if _, err := nc.Write(request); err != nil {
					result <- err.Error()
					return
				}
				if why := readAnswer(nc, buf); why != "" {
					result <- why
					return
				}
				took[i] = time.Since(at)
			}
		})
	}
	group.Wait()
	select {
	case why := <-result:
		return why
	default:
	}
	slices.Sort(took)
	at := func(share float64) float64 { return took[int(share*float64(n-1))].Seconds() * 1e6 }
	return fmt.Sprintf("done %f %f", at(0.5), at(0.99))
}

// readAnswer reads an answer of status 200 and a known length.
func readAnswer(nc net.Conn, buf []byte) string {
	for n := 0; ; {
		k, err := nc.Read(buf[n:])
		if err != nil {
			return err.Error()
		}
		n += k
		head := bytes.Index(buf[:n], []byte("\r\n\r\n"))
		if head < 0 {
			continue
		}
		at := bytes.Index(buf[:head], []byte("Content-Length: "))
		length := 0
		if _, err := fmt.Sscan(string(buf[at+16:head+2]), &length); err != nil || !bytes.HasPrefix(buf, []byte("HTTP/1.1 200 ")) {
			return fmt.Sprintf("answer %q", buf[:n])
		}
		if n >= head+4+length {
			return ""
		}
	}
}
