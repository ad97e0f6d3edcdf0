package stream

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// peeked is a connection whose far end is driven by the test.
func peeked(t *testing.T) (far *net.TCPConn, near *net.TCPConn, raw syscall.RawConn, p *Peeker) {
	t.Helper()
	far, near = testnet.TCPPair(t)
	for _, c := range []*net.TCPConn{far, near} {
		_ = c.SetDeadline(time.Now().Add(testnet.Patience))
	}
	raw, err := near.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	p = GetPeeker()
	t.Cleanup(p.Release)
	return far, near, raw, p
}

// sendSlowly sends text byte by byte, each in a segment of its own as far as the system likes.
func sendSlowly(far net.Conn, text []byte) {
	for i := range text {
		_, _ = far.Write(text[i : i+1])
	}
}

// A header and a hello that come in pieces, in one, or behind one another are found, and what is
// behind them is left.
func TestPeek(t *testing.T) {
	hello := clientHello(t, &tls.Config{ServerName: "Shop.example", NextProtos: []string{"h2"}})
	header := []byte(v2(0x21, 0x11, 12+5, addrs4+"\x02\x00\x02ab"))
	for name, write := range map[string]func(far net.Conn, text []byte){
		"at once": func(far net.Conn, text []byte) { _, _ = far.Write(text) },
		"slowly":  sendSlowly,
	} {
		t.Run(name, func(t *testing.T) {
			far, near, raw, p := peeked(t)
			all := append(append(append([]byte(nil), header...), hello...), "behind"...)
			go write(far, all)
			h, err := p.TakeProxyHeader(raw)
			if authority, _ := h.TLV(ProxyAuthority); err != nil || h.Source != tcp4.Source || string(authority) != "ab" {
				t.Fatalf("%+v, %v", h, err)
			}
			for range 2 { // it stays where it is
				ch, err := p.PeekClientHello(raw)
				if err != nil || string(ch.ServerName()) != "shop.example" || !ch.OffersProtocol("h2") {
					t.Fatalf("%+v, %v", ch, err)
				}
			}
			got := make([]byte, len(hello)+len("behind"))
			if _, err := io.ReadFull(near, got); err != nil || !bytes.Equal(got, all[len(header):]) {
				t.Errorf("what is left: %d bytes, %v", len(got), err)
			}
		})
	}
}

// A hello that is longer than what is lent is found as well, and TLS can still begin.
func TestPeekLargeHello(t *testing.T) {
	many := make([]string, 1500)
	for i := range many {
		many[i] = "protocol-xxxx"
	}
	hello := clientHello(t, &tls.Config{ServerName: "shop.example", NextProtos: append(many, "h2")})
	if len(hello) < 20_000 {
		t.Fatalf("the hello has %d bytes only", len(hello))
	}
	far, near, raw, p := peeked(t)
	go func() { _, _ = far.Write(hello) }()
	h, err := p.PeekClientHello(raw)
	if err != nil || string(h.ServerName()) != "shop.example" || !h.ALPNCut {
		t.Fatalf("%+v, %v", h, err)
	}
	if got, err := io.ReadAll(io.LimitReader(near, int64(len(hello)))); err != nil || !bytes.Equal(got, hello) {
		t.Errorf("what is left: %d bytes, %v", len(got), err)
	}
}

// Security case 46: there is one deadline, however the peer trickles. Other ends are told apart.
func TestPeekEnds(t *testing.T) {
	hello := clientHello(t, &tls.Config{ServerName: "shop.example"})
	look := func(p *Peeker, raw syscall.RawConn) error {
		_, err := p.PeekClientHello(raw)
		return err
	}
	t.Run("stall", func(t *testing.T) {
		far, near, raw, p := peeked(t)
		_ = near.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			for _, c := range hello[:len(hello)-1] {
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Millisecond):
				}
				_, _ = far.Write([]byte{c})
			}
		}()
		err := look(p, raw)
		close(stop)
		<-stopped
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%v", err)
		}
	})
	t.Run("end before the first byte", func(t *testing.T) {
		far, _, raw, p := peeked(t)
		closeWrite(t, far)
		if err := look(p, raw); err != io.EOF {
			t.Errorf("%v", err)
		}
	})
	for name, part := range map[string][]byte{"one byte": hello[:1], "a record header": hello[:5], "all but one byte": hello[:len(hello)-1]} {
		t.Run("end after "+name, func(t *testing.T) {
			far, _, raw, p := peeked(t)
			send(t, far, string(part))
			closeWrite(t, far)
			if err := look(p, raw); err != io.ErrUnexpectedEOF {
				t.Errorf("%v", err)
			}
		})
	}
	t.Run("end behind all", func(t *testing.T) {
		far, _, raw, p := peeked(t)
		go func() {
			sendSlowly(far, hello)
			_ = far.Close()
		}()
		if err := look(p, raw); err != nil {
			t.Errorf("%v", err)
		}
	})
	t.Run("reset", func(t *testing.T) {
		far, _, raw, p := peeked(t)
		send(t, far, "\x16\x03")
		reset(far)
		if err := look(p, raw); err == nil {
			t.Error("a reset was not seen")
		}
	})
	t.Run("not TLS", func(t *testing.T) {
		far, near, raw, p := peeked(t)
		send(t, far, "GET")
		if err := look(p, raw); err != ErrNotTLS {
			t.Errorf("%v", err)
		}
		if _, err := p.TakeProxyHeader(raw); err != ErrNotProxyHeader {
			t.Errorf("%v", err)
		}
		receive(t, near, "GET") // nothing was taken
	})
	t.Run("a parser that wants too much", func(t *testing.T) {
		far, _, raw, p := peeked(t)
		send(t, far, "x")
		if err := p.Look(raw, func([]byte) int { return peekMax + 1 }); err != ErrPeekFull {
			t.Errorf("%v", err)
		}
	})
	t.Run("a broken header", func(t *testing.T) {
		far, near, raw, p := peeked(t)
		send(t, far, "PROXY TCP4 no\r\n")
		if _, err := p.TakeProxyHeader(raw); err != errProxyFields {
			t.Errorf("%v", err)
		}
		receive(t, near, "PROXY")
	})
}

// Discard takes exactly what it is told, also what has not come yet.
func TestDiscard(t *testing.T) {
	far, near, raw, p := peeked(t)
	const n = 200_000
	go func() { _, _ = io.WriteString(far, strings.Repeat("x", n)+"rest") }()
	if err := errors.Join(p.Discard(raw, 0), p.Discard(raw, n)); err != nil {
		t.Fatal(err)
	}
	receive(t, near, "rest")
	send(t, far, "ab")
	closeWrite(t, far)
	if err := p.Discard(raw, 3); err != io.ErrUnexpectedEOF {
		t.Errorf("%v", err)
	}
}
