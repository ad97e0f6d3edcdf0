package http1

import (
	"net"
	"net/netip"
	"testing"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/message"
)

// asking is a handler that waits until its client is what a test wants, as the codec sees it.
type asking struct {
	t       *testing.T
	inside  chan struct{} // a request is here
	verdict chan bool     // Gone was this at last
	want    chan bool
}

func (h *asking) Serve(x *message.Exchange) {
	c := x.Interim.(interface{ Gone() bool })
	h.inside <- struct{}{}
	want := <-h.want
	testnet.Eventually(h.t, "the client is seen as it is", func() bool { return c.Gone() == want })
	h.verdict <- c.Gone()
	x.Response.Status = 204
}

func (*asking) Finish(*message.Exchange) {}

// TestGone: a client that has reset or ended its connection while its request waits is told from one that has begun the next request.
func TestGone(t *testing.T) {
	for _, test := range []struct {
		name string
		act  func(c *net.TCPConn)
		want bool
	}{
		{"still there", func(*net.TCPConn) {}, false},
		{"has begun the next request", func(c *net.TCPConn) { _, _ = c.Write([]byte("GET /2 HT")) }, false},
		{"has ended its side", func(c *net.TCPConn) { _ = c.CloseWrite() }, true},
		{"has reset", func(c *net.TCPConn) { _ = c.SetLinger(0); _ = c.Close() }, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			far, near := testnet.TCPPair(t)
			h := &asking{t: t, inside: make(chan struct{}, 2), verdict: make(chan bool, 2), want: make(chan bool, 2)}
			done := make(chan struct{})
			go func() {
				defer close(done)
				ServeConn(near, Peer{Addr: netip.MustParseAddrPort("192.0.2.1:1")}, serverOptions(), h)
			}()
			if _, err := far.Write([]byte("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n")); err != nil {
				t.Fatal(err)
			}
			testnet.Receive(t, "the request", h.inside)
			test.act(far)
			h.want <- test.want
			if got := testnet.Receive(t, "the verdict", h.verdict); got != test.want {
				t.Errorf("gone: %v", got)
			}
			_ = far.Close()
			testnet.Receive(t, "the end of the connection", done)
		})
	}
}
