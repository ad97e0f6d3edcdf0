package testnet

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestPipe(t *testing.T) {
	a, b := Pipe(10)
	text := strings.Repeat("0123456789abcdefghijklmnopqrstuvwxyz", 100)
	sent := make(chan error, 1)
	go func() {
		_, err := io.WriteString(a, text)
		_ = a.CloseWrite()
		sent <- err
	}()
	if got, err := io.ReadAll(b); string(got) != text || err != nil {
		t.Errorf("received %d bytes of %d, %v", len(got), len(text), err)
	}
	if err := Receive(t, "the end of the write", sent); err != nil {
		t.Error(err)
	}
	if _, err := io.WriteString(b, "back"); err != nil { // the other direction goes on
		t.Error(err)
	}
	got := make([]byte, 4)
	if n, err := io.ReadFull(a, got); n != 4 || err != nil {
		t.Errorf("received %q, %v", got[:n], err)
	}
	_ = a.Close()
	if _, err := b.Write(got); err != syscall.EPIPE {
		t.Errorf("writing to an end that was closed: %v", err)
	}
	if _, err := a.Read(got); err != net.ErrClosed {
		t.Errorf("reading from an end that was closed: %v", err)
	}
}

func TestPipeDeadlines(t *testing.T) {
	a, b := Pipe(4)
	if _, err := io.WriteString(b, "xxxx"); err != nil {
		t.Fatal(err)
	}
	_ = a.SetReadDeadline(time.Unix(1, 0))
	if n, err := a.Read(make([]byte, 1)); n != 0 || err != os.ErrDeadlineExceeded {
		t.Errorf("a deadline that has passed: %d, %v", n, err)
	}
	_ = a.SetReadDeadline(time.Time{})
	if n, err := a.Read(make([]byte, 9)); n != 4 || err != nil {
		t.Errorf("no deadline: %d, %v", n, err)
	}
	_ = a.SetReadDeadline(time.Now().Add(time.Millisecond))
	if n, err := a.Read(make([]byte, 1)); n != 0 || err != os.ErrDeadlineExceeded {
		t.Errorf("a deadline that passes: %d, %v", n, err)
	}
	_ = a.SetWriteDeadline(time.Now().Add(time.Millisecond))
	if n, err := a.Write(make([]byte, 9)); n != 4 || err != os.ErrDeadlineExceeded {
		t.Errorf("a write that has no room: %d, %v", n, err)
	}
	_ = a.SetDeadline(time.Time{})
	ended := make(chan error, 1)
	go func() {
		_, err := a.Read(make([]byte, 1))
		ended <- err
	}()
	_ = a.SetReadDeadline(time.Unix(1, 0)) // before the read or in it
	if err := Receive(t, "the end of the read", ended); err != os.ErrDeadlineExceeded {
		t.Errorf("a deadline that is moved to the past: %v", err)
	}
}

func TestReadResponse(t *testing.T) {
	for _, test := range []struct {
		text, method string
		status       int
		framing      Framing
		body         string
	}{
		{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokmore", "GET", 200, FramedLength, "ok"},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n", "GET", 200, FramedChunked, "ok"},
		{"HTTP/1.0 299 \r\n\r\nok", "GET", 299, FramedClose, "ok"},
		{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", "HEAD", 200, FramedNone, ""},
		{"HTTP/1.1 103 Early Hints\r\n\r\n", "GET", 103, FramedNone, ""},
		{"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n", "GET", 304, FramedNone, ""},
	} {
		r, err := ReadResponse(bufio.NewReader(strings.NewReader(test.text)), test.method)
		if err != nil || r.Status != test.status || r.Framing != test.framing || string(r.Body) != test.body {
			t.Errorf("%q: %+v, %v", test.text, r, err)
		}
	}
	const ok = "HTTP/1.1 200 OK\r\n"
	for _, text := range []string{
		"", "HTTP/1.1 200\r\n\r\n", "HTTP/2.0 200 OK\r\n\r\n", "HTTP/1.1 200 OK\n\n", ok + "A : 1\r\n\r\n", ok + "A:  1\r\n\r\n", ok + "A: 1 \r\n\r\n", ok + " A: 1\r\n\r\n",
		ok + "A\r\n\r\n", ok + "A: 1\rB\r\n\r\n", ok + "Content-Length: 2\r\nContent-Length: 2\r\n\r\nok", ok + "Content-Length: 02\r\n\r\nok",
		ok + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ok + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", ok + "Transfer-Encoding: chunked\r\n\r\n+1\r\nx\r\n0\r\n\r\n",
		ok + "Transfer-Encoding: chunked\r\n\r\n1;a\r\nx\r\n0\r\n\r\n", ok + "Transfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n0\r\n\r\n",
	} {
		if r, err := ReadResponse(bufio.NewReader(strings.NewReader(text)), "GET"); err == nil {
			t.Errorf("%q was accepted: %+v", text, r)
		}
	}
	for _, text := range []string{ok, ok + "Content-Length: 3\r\n\r\nok", ok + "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"} {
		if r, err := ReadResponse(bufio.NewReader(strings.NewReader(text)), "GET"); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%q, cut short: %+v, %v", text, r, err)
		}
	}
}

func TestOrigin(t *testing.T) {
	o := NewOrigin(t, Answer("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n2"))
	c := Dial(t, o.Addr)
	const request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	c.SendSlowly(request)
	if r := c.ReadResponse("GET"); string(r.Body) != "1" {
		t.Errorf("%+v", r)
	}
	if r := c.Do("GET", request); string(r.Body) != "2" {
		t.Errorf("%+v", r)
	}
	c.WantEOF()
	Receive(t, "the end of the script", o.Conn(0).Ended())
	if got := o.Received(); got != request+request || o.Conns() != 1 {
		t.Errorf("recorded %q of %d connections", got, o.Conns())
	}
}

func TestReset(t *testing.T) {
	gone := make(chan error, 1)
	o := NewOrigin(t, func(c *OriginConn) {
		_, err := c.Read(make([]byte, 1))
		gone <- err
		c.Reset()
	})
	c := Dial(t, o.Addr)
	c.Send("x")
	if err := Receive(t, "a byte", gone); err != nil {
		t.Fatal(err)
	}
	c.WantReset()
	c = Dial(t, o.Addr)
	c.Reset()
	if err := Receive(t, "the reset", gone); err == nil {
		t.Error("the origin did not see the reset")
	}
}

func TestRespond(t *testing.T) {
	a, b := Pipe(100)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		Respond(b, []byte("answer"))
	}()
	c := NewClient(t, a)
	c.Send("GET / HTTP/1.1\r\n\r")
	c.Send("\n")
	c.WantPrefix("answer")
	c.Send("\r\r\n\r\n\r\n\r\n")
	c.WantPrefix("answeranswer")
	c.CloseWrite()
	c.WantEOF()
	<-ended
}
