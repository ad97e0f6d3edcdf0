package http1

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/message"
)

// wire is a proxied connection from client to origin that does nothing but what is measured.
type wire struct {
	client  net.Conn
	got     []byte
	chunked bool
}

// exchange sends request and reads its answer: as many bytes as it has, or to the last chunk.
func (w *wire) exchange(request []byte) error {
	if _, err := w.client.Write(request); err != nil {
		return err
	}
	if !w.chunked {
		_, err := io.ReadFull(w.client, w.got)
		return err
	}
	for n := 0; !bytes.HasSuffix(w.got[:n], []byte("\r\n\r\n")) || !bytes.Contains(w.got[:n], []byte("\r\n0\r\n")); {
		k, err := w.client.Read(w.got[n:])
		if n += k; err != nil {
			return err
		}
	}
	return nil
}

// forwarder is the handler of measurements: Serve is Pool.Do.
type forwarder struct {
	pool   *Pool
	failed string
}

func (f *forwarder) Serve(x *message.Exchange) {
	var c Call
	c.FirstByte = testnet.Patience
	if failure := f.pool.Do(x, &c); failure != nil {
		f.failed = failure.Error()
		x.Response.Status = 502
	}
}

func (f *forwarder) Finish(*message.Exchange) {}

// newWire makes a client, a proxy and an origin that answers every request with answer. Over TCP
// the way is that of plain sockets, in memory that of all other connections.
func newWire(tb testing.TB, tcp bool, answer string) *wire {
	tb.Helper()
	pair := func() (net.Conn, net.Conn) {
		if tcp {
			return testnet.TCPPair(tb)
		}
		a, b := testnet.Pipe(64 << 10)
		return a, b
	}
	var wg sync.WaitGroup
	o := poolOptions("")
	o.Dial = func(context.Context, string) (net.Conn, error) {
		a, b := pair()
		wg.Add(1)
		go func() {
			defer wg.Done()
			testnet.Respond(b, []byte(answer))
		}()
		return a, nil
	}
	f := &forwarder{pool: NewPool(o)}
	client, front := pair()
	wg.Add(1)
	go func() {
		defer wg.Done()
		ServeConn(front, Peer{Addr: peerOf}, serverOptions(), f)
	}()
	tb.Cleanup(func() {
		_ = client.Close()
		f.pool.Close()
		wg.Wait()
		if f.failed != "" {
			tb.Error(f.failed)
		}
	})
	// The first answer tells how long each is: the proxy adds to the origin's.
	w := &wire{client: client}
	c := testnet.NewClient(tb, client)
	r := c.Do("GET", get("/"))
	n := len("HTTP/1.1 200 \r\n") + len(r.Phrase) + len("\r\n") + len(r.Body)
	for _, f := range r.Header {
		n += len(f.Name) + len(": ") + len(f.Value) + len("\r\n")
	}
	w.got, w.chunked = make([]byte, n), r.Framing == testnet.FramedChunked
	if w.chunked {
		w.got = make([]byte, 64<<10)
	}
	return w
}

// browser is a request as a browser sends it. Read-only.
var browser = []byte("GET /api/v1/accounts/12345?fields=name,balance HTTP/1.1\r\n" +
	"Host: api.example.com\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n" +
	"Accept: application/json, text/plain, */*\r\n" +
	"Accept-Language: en-GB,en;q=0.7,de;q=0.3\r\n" +
	"Accept-Encoding: gzip, deflate, br, zstd\r\n" +
	"Authorization: Bearer eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0\r\n" +
	"Cookie: session=0123456789abcdef; theme=dark\r\n" +
	"X-Custom-Header: some value\r\n" +
	"Connection: keep-alive\r\n\r\n")

// served is an answer as a service gives it. Read-only.
var served = reply("200 OK", `{"id":12345,"name":"Ada","balance":"10.00","currency":"EUR"}`,
	"Date: Mon, 23 Nov 2026 10:00:00 GMT", "Content-Type: application/json; charset=utf-8", "Cache-Control: no-store", "X-Service: accounts")
