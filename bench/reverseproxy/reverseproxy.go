// Package reverseproxy is the peer that stands for "a proxy of the standard library": httputil.ReverseProxy, tuned as
// far as its options go. The benchmark runs it as a process of its own.
package reverseproxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// Config is what the proxy serves.
type Config struct {
	Address           string
	Backends          []string // host:port, used in turn
	Certificate, Key  string   // files; with them it serves TLS
	Prefixes, Exacts  []string // route patterns; without any, every path goes to the backends
	ReadHeaderTimeout time.Duration
}

// Serve runs the proxy until ctx ends or its socket fails.
func Serve(ctx context.Context, c Config) error {
	handler, err := newHandler(c)
	if err != nil {
		return err
	}
	socket, err := net.Listen("tcp", c.Address)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: c.ReadHeaderTimeout,
		ErrorLog:          log.New(io.Discard, "", 0),
		TLSNextProto:      map[string]func(*http.Server, *tls.Conn, http.Handler){}, // HTTP/1.1 only, like its peers
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if c.Certificate != "" {
		err = server.ServeTLS(socket, c.Certificate, c.Key)
	} else {
		err = server.Serve(socket)
	}
	if errors.Is(err, http.ErrServerClosed) && ctx.Err() != nil {
		return nil
	}
	return err
}

func newHandler(c Config) (http.Handler, error) {
	if len(c.Backends) == 0 {
		return nil, errors.New("reverseproxy: at least one backend is needed")
	}
	targets := make([]*url.URL, len(c.Backends))
	for i, backend := range c.Backends {
		target, err := url.Parse("http://" + backend)
		if err != nil {
			return nil, fmt.Errorf("reverseproxy: backend %q: %w", backend, err)
		}
		targets[i] = target
	}
	var turn atomic.Uint64
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(targets[turn.Add(1)%uint64(len(targets))])
		},
		Transport: &http.Transport{
			MaxIdleConnsPerHost: 256,
			DisableCompression:  true,
			IdleConnTimeout:     time.Hour,
		},
		BufferPool: &buffers{},
		ErrorLog:   log.New(io.Discard, "", 0),
	}
	if len(c.Prefixes)+len(c.Exacts) == 0 {
		return proxy, nil
	}
	mux := http.NewServeMux()
	for _, pattern := range c.Prefixes {
		mux.Handle(pattern, proxy)
	}
	for _, pattern := range c.Exacts {
		mux.Handle(pattern, proxy)
	}
	return mux, nil
}

// buffers lends the copy buffers of response bodies; the size is the one ReverseProxy would allocate.
type buffers struct{ pool sync.Pool }

const bufferSize = 32 << 10

func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return *p
	}
	return make([]byte, bufferSize)
}

func (b *buffers) Put(p []byte) { b.pool.Put(&p) }
