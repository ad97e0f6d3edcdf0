//go:build !race

package stream

import (
	"crypto/tls"
	"testing"
)

// Nothing is allocated for a connection until it is known what it is.
func TestParsersDoNotAllocate(t *testing.T) {
	hello := clientHello(t, &tls.Config{ServerName: "shop.example", NextProtos: []string{"h2", "http/1.1"}})
	cut := split(hello, 100, 7)
	out := make([]byte, 0, 1000)
	line := []byte(headers[0].text)
	h := tcp4.with(2, "\x03\x00\x04"+checksum)
	for name, f := range map[string]func(){
		"v1":                func() { _, _, _ = ParseProxyHeader(line) },
		"write v1":          func() { out, _ = AppendProxyHeader(out[:0], 1, &tcp4) },
		"write v2":          func() { out, _ = AppendProxyHeader(out[:0], 2, &h) },
		"hello":             func() { parseBoth(t, hello) },
		"hello in pieces":   func() { parseBoth(t, cut) },
		"half a hello":      func() { _, _, _ = ParseClientHello(hello[:1000]) },
		"refusal of a name": func() { out = AppendAlert(out[:0], 2, 112) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	written := []byte(v2(0x21, 0x11, 19, addrs4+"\x03\x00\x04"+checksum))
	if n := testing.AllocsPerRun(100, func() {
		if h, _, err := ParseProxyHeader(written); err != nil || len(h.TLVs) == 0 {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("v2 with a checksum: %v allocations", n)
	}
}

func parseBoth(t *testing.T, b []byte) {
	if h, _, err := ParseClientHello(b); err != nil || !h.OffersProtocol("http/1.1") || string(h.ServerName()) != "shop.example" {
		t.Error(err)
	}
}

// A look costs nothing but its system calls.
func TestPeekDoesNotAllocate(t *testing.T) {
	far, _, raw, p := peeked(t)
	header := v2(0x21, 0x11, 19, addrs4+"\x03\x00\x04"+checksum)
	hello := string(clientHello(t, &tls.Config{ServerName: "shop.example"}))
	send(t, far, hello)
	if n := testing.AllocsPerRun(50, func() {
		if h, err := p.PeekClientHello(raw); err != nil || h.Name != NameValid {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("a hello: %v allocations", n)
	}
	if err := p.Discard(raw, len(hello)); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(50, func() {
		send(t, far, header)
		if h, err := p.TakeProxyHeader(raw); err != nil || !h.Source.IsValid() {
			t.Fatal(err)
		}
	}); n > 1 { // io.WriteString of the test itself
		t.Errorf("a header: %v allocations", n)
	}
}
