package load

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// TLS describes a closed-loop client over TLS 1.3 with X25519 and no resumption: Connections goroutines, each with one
// connection at a time.
type TLS struct {
	Address     string
	Connections int
	Request     []byte
	Body        []byte
	// NewConnections makes each request on a connection of its own, so that every request is one full handshake; the
	// Request must then ask for the connection to be closed.
	NewConnections bool
	Window
}

// clientConfig leaves one way through the handshake, so that all proxies do the same work. The certificate was made by
// this program a moment ago; verifying its chain would only heat the client's core.
func clientConfig() *tls.Config {
	return &tls.Config{
		ServerName:         "localhost",
		InsecureSkipVerify: true,
		MinVersion:         tls.VersionTLS13,
		CurvePreferences:   []tls.CurveID{tls.X25519},
	}
}

// checkHandshake refuses a handshake that is cheaper or dearer than the one to be measured.
func checkHandshake(state tls.ConnectionState) error {
	switch {
	case state.Version != tls.VersionTLS13:
		return fmt.Errorf("load: %s was negotiated, want TLS 1.3", tls.VersionName(state.Version))
	case state.DidResume:
		return errors.New("load: the session was resumed, want a full handshake")
	case state.CurveID != tls.X25519:
		return fmt.Errorf("load: key exchange %s was negotiated, want X25519", state.CurveID)
	case state.CipherSuite != tls.TLS_AES_128_GCM_SHA256:
		return fmt.Errorf("load: cipher suite %s was negotiated, want TLS_AES_128_GCM_SHA256", tls.CipherSuiteName(state.CipherSuite))
	}
	return nil
}

// meter collects what the goroutines of a TLS client count. Its lock is taken once for a request, which beside
// a TLS record costs nothing that shows.
type meter struct {
	sync.Mutex
	on     bool
	result Result
	first  error // the first failure in full
}

func (m *meter) right(latency time.Duration) {
	m.Lock()
	defer m.Unlock()
	if m.on {
		m.result.Requests++
		m.result.Latency.Record(latency)
	}
}

func (m *meter) wrong(why Failure, err error) (goOn bool) {
	m.Lock()
	defer m.Unlock()
	m.result.Failures[why]++
	if m.first == nil {
		m.first = err
	}
	return m.result.Failed() <= maxFailures
}

func (m *meter) set(on bool, hook func()) {
	m.Lock()
	defer m.Unlock()
	hook()
	m.on = on
}

// Run drives the proxy for the window. The error is about the client; failed requests are in the Result. All goroutines
// and connections have ended when it returns.
func (t TLS) Run(ctx context.Context) (*Result, error) {
	if t.Connections < 1 || len(t.Request) == 0 || t.Measure <= 0 {
		return nil, errors.New("load: connections, a request and a time to measure are needed")
	}
	ctx, cancel := context.WithCancel(ctx)
	var workers sync.WaitGroup
	defer workers.Wait()
	defer cancel()
	m := &meter{}
	for range t.Connections {
		workers.Go(func() { t.work(ctx, m) })
	}
	if !pause(ctx, t.Warmup) {
		return nil, ctx.Err()
	}
	var from, to time.Time
	m.set(true, func() { t.begin(); from = time.Now() })
	whole := pause(ctx, t.Measure)
	m.set(false, func() { to = time.Now(); t.end() })
	if !whole {
		return nil, ctx.Err()
	}
	m.Lock()
	defer m.Unlock()
	m.result.Elapsed = to.Sub(from)
	result := m.result
	if m.first != nil && result.Requests == 0 {
		return nil, m.first
	}
	return &result, nil
}

// pause waits for d and tells whether ctx is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func (t TLS) work(ctx context.Context, m *meter) {
	buf := make([]byte, maxHead+len(t.Body)+1024)
	var c *tls.Conn
	defer func() { closeConn(c) }()
	for ctx.Err() == nil {
		from := time.Now()
		why, err := None, error(nil)
		if c == nil {
			c, err = dialTLS(ctx, t.Address)
			if err != nil {
				why = Handshake
			}
		}
		if why == None {
			why, err = t.exchange(c, buf)
		}
		if why != None {
			closeConn(c)
			c = nil
			if ctx.Err() != nil || !m.wrong(why, err) || !pause(ctx, reconnectDelay) {
				return
			}
			continue
		}
		m.right(time.Since(from))
		if t.NewConnections {
			closeConn(c)
			c = nil
		}
	}
}

const reconnectDelay = 10 * time.Millisecond

func closeConn(c *tls.Conn) {
	if c != nil {
		_ = c.Close()
	}
}

func dialTLS(ctx context.Context, address string) (*tls.Conn, error) {
	dialer := net.Dialer{Timeout: answerTimeout}
	raw, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	_ = raw.SetDeadline(time.Now().Add(answerTimeout))
	c := tls.Client(raw, clientConfig())
	if err := c.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("load: TLS handshake with %s: %w", address, err)
	}
	if err := checkHandshake(c.ConnectionState()); err != nil {
		_ = raw.Close()
		return nil, err
	}
	return c, nil
}

// exchange sends the request and reads one answer.
func (t TLS) exchange(c *tls.Conn, buf []byte) (Failure, error) {
	_ = c.SetDeadline(time.Now().Add(answerTimeout))
	if _, err := c.Write(t.Request); err != nil {
		return ClosedEarly, err
	}
	for n := 0; ; {
		m, err := c.Read(buf[n:])
		n += m
		got := checkAnswer(buf[:n], t.Body)
		switch {
		case got.failure != None:
			return got.failure, fmt.Errorf("load: %s: %.200q", got.failure, buf[:n])
		case got.size > 0 && got.size != n:
			return Content, errors.New("load: bytes follow the answer")
		case got.size > 0 && got.closing && !t.NewConnections:
			return ClosedEarly, errors.New("load: the proxy closes a keep-alive connection")
		case got.size > 0:
			return None, nil
		case err != nil:
			return ClosedEarly, err
		case n == len(buf):
			return Framing, errors.New("load: the answer is too long")
		}
	}
}
