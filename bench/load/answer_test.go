package load

import (
	"strings"
	"testing"
)

func TestCheckAnswer(t *testing.T) {
	const good = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: x\r\n\r\nhello"
	cases := []struct {
		name, bytes string
		want        answer
	}{
		{"whole", good, answer{size: len(good)}},
		{"with the next one behind", good + "HTTP", answer{size: len(good)}},
		{"half a head", "HTTP/1.1 200 OK\r\nContent-Le", answer{}},
		{"half a body", good[:len(good)-2], answer{}},
		{"closing", "HTTP/1.1 200 OK\r\nCONNECTION:  Close \r\ncontent-length:5\r\n\r\nhello", answer{size: 63, closing: true}},
		{"keep-alive", "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\ncontent-length:5\r\n\r\nhello", answer{size: 66}},
		{"status", "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 5\r\n\r\nhello", answer{failure: Status}},
		{"length", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello!", answer{failure: Framing}},
		{"no length", "HTTP/1.1 200 OK\r\n\r\nhello", answer{failure: Framing}},
		{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", answer{failure: Framing}},
		{"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello", answer{failure: Framing}},
		{"broken length", "HTTP/1.1 200 OK\r\nContent-Length: 5x\r\n\r\nhello", answer{failure: Framing}},
		{"other body", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhallo", answer{failure: Content}},
		{"endless head", strings.Repeat("x", maxHead+1), answer{failure: Framing}},
	}
	for _, c := range cases {
		if got := checkAnswer([]byte(c.bytes), []byte("hello")); got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}

func FuzzCheckAnswer(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"))
	f.Add([]byte("HTTP/1.1 200\r\n:\r\nc\r\n\r\n"))
	f.Add([]byte("\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		want := []byte("hello")
		got := checkAnswer(b, want)
		if got.size > len(b) || (got.size > 0 && got.failure != None) {
			t.Fatalf("impossible verdict %+v over %d bytes", got, len(b))
		}
		if got.size > 0 && string(b[got.size-len(want):got.size]) != string(want) {
			t.Fatalf("accepted a wrong body in %q", b)
		}
	})
}
