package testnet

import (
	"bufio"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

// Client is a client that sends raw bytes. Its methods fail the test; they belong to the
// goroutine of the test.
type Client struct {
	Conn net.Conn // for what the methods do not do
	t    testing.TB
	br   *bufio.Reader
}

// Dial connects to a TCP address. The connection is closed when the test ends.
func Dial(t testing.TB, address string) *Client {
	t.Helper()
	nc, err := net.DialTimeout("tcp", address, Patience)
	if err != nil {
		t.Fatal(err)
	}
	return NewClient(t, nc)
}

// NewClient makes a client of a connection, which is closed when the test ends.
func NewClient(t testing.TB, nc net.Conn) *Client {
	t.Cleanup(func() { _ = nc.Close() })
	return &Client{Conn: nc, t: t, br: bufio.NewReader(nc)}
}

// Send writes text as it is.
func (c *Client) Send(text string) {
	c.t.Helper()
	if err := c.TrySend(text); err != nil {
		c.t.Fatalf("sending %.80q: %v", text, err)
	}
}

// TrySend is Send for a connection that the other side may have ended.
func (c *Client) TrySend(text string) error {
	_ = c.Conn.SetWriteDeadline(time.Now().Add(Patience))
	_, err := io.WriteString(c.Conn, text)
	return err
}

// SendSlowly writes text byte by byte, each in its own segment where the kernel agrees.
func (c *Client) SendSlowly(text string) {
	c.t.Helper()
	for i := range len(text) {
		c.Send(text[i : i+1])
	}
}

// ReadResponse reads the next response, interim or final, to a request of the given method.
func (c *Client) ReadResponse(method string) *Response {
	c.t.Helper()
	r, err := c.TryResponse(method)
	if err != nil {
		c.t.Fatalf("response: %v (so far: %+v)", err, r)
	}
	return r
}

// TryResponse is ReadResponse for responses that may be cut short or missing.
func (c *Client) TryResponse(method string) (*Response, error) {
	_ = c.Conn.SetReadDeadline(time.Now().Add(Patience))
	return ReadResponse(c.br, method)
}

// Do sends a request and reads its response.
func (c *Client) Do(method, text string) *Response {
	c.t.Helper()
	c.Send(text)
	return c.ReadResponse(method)
}

// WantPrefix reads as many bytes as want has and compares.
func (c *Client) WantPrefix(want string) {
	c.t.Helper()
	got := make([]byte, len(want))
	_ = c.Conn.SetReadDeadline(time.Now().Add(Patience))
	n, err := io.ReadFull(c.br, got)
	if string(got[:n]) != want {
		c.t.Fatalf("received %q, want %q (%v)", got[:n], want, err)
	}
}

// WantClosed waits for the end of the connection, orderly or not. Nothing may come before.
func (c *Client) WantClosed() {
	c.t.Helper()
	if err := c.end(); err != io.EOF && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		c.t.Fatalf("the connection did not end: %v", err)
	}
}

// WantEOF waits for the orderly end of the connection. Nothing may come before.
func (c *Client) WantEOF() {
	c.t.Helper()
	if err := c.end(); err != io.EOF {
		c.t.Fatalf("the connection did not end in order: %v", err)
	}
}

// WantReset waits for a reset of the connection. Nothing may come before.
func (c *Client) WantReset() {
	c.t.Helper()
	if err := c.end(); !errors.Is(err, syscall.ECONNRESET) {
		c.t.Fatalf("the connection was not reset: %v", err)
	}
}

func (c *Client) end() error {
	c.t.Helper()
	_ = c.Conn.SetReadDeadline(time.Now().Add(Patience))
	got := make([]byte, 256)
	n, err := c.br.Read(got)
	if n > 0 {
		c.t.Fatalf("received %q, want the end of the connection", got[:n])
	}
	return err
}

// Read reads what comes, as io.Reader.
func (c *Client) Read(p []byte) (int, error) {
	_ = c.Conn.SetReadDeadline(time.Now().Add(Patience))
	return c.br.Read(p)
}

// CloseWrite ends the sending side.
func (c *Client) CloseWrite() {
	c.t.Helper()
	if err := c.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		c.t.Fatal(err)
	}
}

// Close closes the connection.
func (c *Client) Close() { _ = c.Conn.Close() }

// Reset ends the connection with a reset.
func (c *Client) Reset() {
	if s, ok := c.Conn.(interface{ SetLinger(sec int) error }); ok {
		_ = s.SetLinger(0)
	}
	_ = c.Conn.Close()
}

// TCPPair returns the two ends of a TCP connection over loopback. Both are closed when the test
// ends.
func TCPPair(t testing.TB) (client, server *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	nc, err := net.DialTimeout("tcp", ln.Addr().String(), Patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	peer, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = peer.Close() })
	return nc.(*net.TCPConn), peer.(*net.TCPConn)
}
