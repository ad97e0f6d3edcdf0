package rig

import (
	"io"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// Client is a connection to the gateway that speaks in raw bytes. One goroutine uses it.
type Client struct {
	*testnet.Client
	t testing.TB
}

// Response is one final response, or a 101, as it stood on the wire.
type Response struct {
	*testnet.Response
	Interim []*testnet.Response // 1xx responses before it
}

// Reason returns the field Sluice-Reason.
func (r *Response) Reason() string { return strings.Join(r.Header.All("Sluice-Reason"), ",") }

// Closes reports whether the response says that the connection ends.
func (r *Response) Closes() bool { return strings.EqualFold(r.Header.Get("Connection"), "close") }

// Dial connects to an address. The connection is closed at the end of the test.
func Dial(t testing.TB, address string) *Client {
	t.Helper()
	return &Client{Client: testnet.Dial(t, address), t: t}
}

// Push sends as much of text as the other side takes: it may have answered and closed already.
func (c *Client) Push(text string) { _ = c.TrySend(text) }

// Response reads the response to a request of the given method, with the interim ones before it.
func (c *Client) Response(method string) *Response {
	c.t.Helper()
	r, err := c.Try(method)
	if err != nil {
		c.t.Fatalf("response to %s: %v; so far: %+v", method, err, r)
	}
	return r
}

// Try is Response for one that may be missing (io.EOF) or cut short (io.ErrUnexpectedEOF, with what came of it).
func (c *Client) Try(method string) (*Response, error) {
	all := &Response{}
	for {
		r, err := c.TryResponse(method)
		all.Response = r
		if err != nil || r.Status >= 200 || r.Status == 101 {
			return all, err
		}
		all.Interim = append(all.Interim, r)
	}
}

// Rest reads to the end of the connection, orderly or not, and returns what came.
func (c *Client) Rest() string {
	c.t.Helper()
	rest, err := io.ReadAll(c.Client)
	if err != nil && timeout(err) {
		c.t.Fatalf("the connection stays open; received %.500q", rest)
	}
	return string(rest)
}

func timeout(err error) bool {
	ne, ok := err.(interface{ Timeout() bool })
	return ok && ne.Timeout()
}
