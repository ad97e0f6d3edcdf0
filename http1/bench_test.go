package http1

import (
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/message"
)

func BenchmarkParseRequest(b *testing.B) {
	for _, bench := range []struct {
		name string
		head []byte
	}{{"small", []byte(get("/"))}, {"browser", browser}} {
		b.Run(bench.name, func(b *testing.B) {
			o := serverOptions()
			var x message.Exchange
			b.SetBytes(int64(len(bench.head)))
			b.ReportAllocs()
			for b.Loop() {
				x.Reset()
				var p requestParser
				if done, _ := p.parse(bench.head, &x, o); !done || p.finish(bench.head, &x, o) != message.ReasonNone {
					b.Fatal("refused")
				}
			}
		})
	}
}

func BenchmarkParseResponse(b *testing.B) {
	o := poolOptions("")
	head := []byte(served)
	var x message.Exchange
	b.SetBytes(int64(len(head)))
	b.ReportAllocs()
	for b.Loop() {
		x.Response.Header.Reset()
		var p responseParser
		if n, err := p.parse(head, &x, &o); n == 0 || err != nil || p.finish(&x) != nil {
			b.Fatal("refused")
		}
	}
}

// BenchmarkExchange is a whole exchange through a proxy, client and origin included.
func BenchmarkExchange(b *testing.B) {
	for _, bench := range []struct {
		name   string
		tcp    bool
		answer string
	}{
		{"memory", false, served},
		{"tcp", true, served},
		{"tcp-64KiB", true, reply("200 OK", string(make([]byte, 64<<10)))},
		{"tcp-1MiB", true, reply("200 OK", string(make([]byte, 1<<20)))},
	} {
		b.Run(bench.name, func(b *testing.B) {
			w := newWire(b, bench.tcp, bench.answer)
			b.SetBytes(int64(len(w.got)))
			b.ReportAllocs()
			for b.Loop() {
				if err := w.exchange(browser); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkSecureExchange is an exchange with an endpoint over TLS 1.3, the endpoint included, as a pool makes it.
func BenchmarkSecureExchange(b *testing.B) {
	o := newSecureOrigin(b, nil, func(s *secureSession) {
		_ = s.raw.SetDeadline(time.Time{})
		testnet.Respond(s.Conn, []byte(served))
	})
	p := newSecure(b, o, nil)
	x := exchangeOf("GET", "/", "")
	b.ReportAllocs()
	for b.Loop() {
		if f := p.Do(x, &Call{}); f != nil {
			b.Fatal(f)
		}
		if _, err := x.Response.Body.Next(); err != nil {
			b.Fatal(err)
		}
		_ = x.Response.Body.Close()
		x.Response.Header.Reset()
	}
}
