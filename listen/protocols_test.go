package listen

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/http1"
	"github.com/sluice-gateway/sluice/message"
)

func TestProtocols(t *testing.T) {
	w := &words{}
	p := Protocols{HTTP1: w}
	if got := p.Words(); !slices.Equal(got, []string{"http/1.1"}) {
		t.Errorf("words %q", got)
	}
	for _, word := range []string{"", "http/1.1"} {
		if p.choose(word) != w {
			t.Errorf("%q is not served by HTTP/1", word)
		}
	}
}

// answerer answers every request with its body, once it may.
type answerer struct {
	begun   chan struct{}
	release chan struct{}
}

func (a *answerer) Serve(x *message.Exchange) {
	var body []byte
	for {
		piece, err := x.Request.Body.Next()
		body = append(body, piece...)
		if err != nil {
			break
		}
	}
	if a.begun != nil {
		a.begun <- struct{}{}
		<-a.release
	}
	x.Response.Status = 200
	x.Fixed.Reset(body)
	x.Response.Body = &x.Fixed
	x.Response.Length = int64(len(body))
}

func (a *answerer) Finish(*message.Exchange) {}

// httpOptions are those of a listener with the HTTP/1 codec.
func httpOptions(h message.Handler, linger time.Duration) *Options {
	return &Options{Name: "test", Protocols: Protocols{HTTP1: &HTTP1{Handler: h, Options: &http1.ServerOptions{
		Scheme: "http", MaxRequestLine: 8 << 10, MaxHeader: 32 << 10, MaxHeaderCount: 50, HeaderTimeout: 2 * patience, BodyTimeout: 2 * patience,
		IdleTimeout: 2 * patience, WriteTimeout: 2 * patience, DrainLinger: linger,
	}}}}
}

// post sends a request in two pieces, cut at a place, and returns the answer's body and whether it says that the connection closes.
func (c *client) post(body string, cut int, between func()) (string, bool, error) {
	request := fmt.Sprintf("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	cut = min(cut, len(request))
	if _, err := io.WriteString(c.Conn, request[:cut]); err != nil {
		return "", false, err
	}
	between()
	if _, err := io.WriteString(c.Conn, request[cut:]); err != nil {
		return "", false, err
	}
	answer, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return "", false, err
	}
	got, err := io.ReadAll(answer.Body)
	return string(got), answer.Close, err
}

func TestHTTP1(t *testing.T) {
	l := start(t, httpOptions(&answerer{}, 0))
	c := connect(t, l)
	for i := range 3 {
		want := strings.Repeat("x", i*1000)
		if got, last, err := c.post(want, 10, func() {}); err != nil || got != want || last {
			t.Fatalf("request %d: %d bytes, last %v, %v", i, len(got), last, err)
		}
	}
	if cut := await(t, "the drain", drain(t.Context(), l, 0)); cut != 0 {
		t.Errorf("%d cut, want 0", cut)
	}
	c.wantEnd()
}

func TestHTTP1DrainLetsRequestsFinish(t *testing.T) {
	a := &answerer{begun: make(chan struct{}), release: make(chan struct{})}
	l := start(t, httpOptions(a, 0))
	c := connect(t, l)
	result := make(chan error, 1)
	go func() {
		got, last, err := c.post("abc", 1000, func() {})
		if err == nil && (got != "abc" || !last) {
			err = fmt.Errorf("answer %q, last %v", got, last)
		}
		result <- err
	}()
	await(t, "the request", a.begun)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := drain(ctx, l, 0)
	eventually(t, "the drain", l.draining.Load)
	close(a.release)
	if err := await(t, "the answer", result); err != nil {
		t.Error(err)
	}
	if cut := await(t, "the drain", done); cut != 0 {
		t.Errorf("%d cut, want 0", cut)
	}
}

// Clients with keep-alive send requests without a pause, in pieces cut anywhere, while the listener drains: each gets every answer, and the last
// one tells that the connection closes.
func TestHTTP1RequestRacesDrain(t *testing.T) {
	for name, rounds := range map[string]int{"plain": 50, "TLS": 15} {
		if testing.Short() {
			rounds /= 5
		}
		t.Run(name, func(t *testing.T) {
			o := httpOptions(&answerer{}, 2*patience)
			if name == "TLS" {
				o.TLS = store(t).Config(tls.VersionTLS12, o.Protocols.Words()...)
			}
			for round := range rounds {
				if raceDrain(t, o); t.Failed() {
					t.Fatalf("in round %d", round)
				}
			}
		})
	}
}

// raceDrain is one round of TestHTTP1RequestRacesDrain.
func raceDrain(t *testing.T, o *Options) {
	l := Start(bind(t), o)
	var clients, ready sync.WaitGroup
	for i := range 4 {
		c := connect(t, l)
		if o.TLS != nil {
			c = clientOf(t, tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true}))
		}
		ready.Add(1)
		clients.Go(func() {
			for n := 0; ; n++ {
				if n == 3 {
					ready.Done()
				}
				want := strings.Repeat("b", rand.IntN(300))
				cut := rand.IntN(500)
				got, last, err := c.post(want, cut, func() {
					for i%2 == 0 && n >= 3 && !l.draining.Load() && rand.IntN(50) > 0 {
						time.Sleep(10 * time.Microsecond)
					}
				})
				if err != nil || got != want {
					t.Errorf("client %d, request %d cut at %d: %q, %v", i, n, cut, got, err)
				}
				if err != nil || last {
					if n < 3 {
						ready.Done() // too early, which the test has noticed
						if err == nil {
							t.Errorf("client %d: request %d is said to be the last before the drain", i, n)
						}
					}
					return
				}
			}
		})
	}
	ready.Wait()
	if cut := l.Drain(t.Context(), 0); cut != 0 {
		t.Errorf("%d connections cut, want 0", cut)
	}
	clients.Wait()
	await(t, "the end", l.Ended())
}
