package http1

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/sluice-gateway/sluice/message"
)

// PoolOptions is how connections to one endpoint are made and kept.
type PoolOptions struct {
	Address         string // host:port
	ConnectTimeout  time.Duration
	IdleTimeout     time.Duration // an unused connection is closed after it
	ProgressTimeout time.Duration // no byte of a running exchange for so long ends it
	MaxIdle         int           // connections kept while unused; more are closed
	MaxHeader       int           // bytes of a response head
	MaxHeaderCount  int           // fields of a response

	// Dial makes a connection; nil dials TCP.
	Dial func(ctx context.Context, address string) (net.Conn, error)
}

// Pool holds the connections to one endpoint. All cores share it; the connection used last is
// used first, so that the others grow idle and go. It is safe for concurrent use.
type Pool struct {
	o PoolOptions

	mu     sync.Mutex
	idle   []*clientConn // the oldest first
	closed bool
}

// NewPool returns an empty pool.
func NewPool(o PoolOptions) *Pool {
	if o.Dial == nil {
		d := &net.Dialer{Timeout: o.ConnectTimeout, KeepAlive: -1}
		o.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			return d.DialContext(ctx, "tcp", address)
		}
	}
	return &Pool{o: o}
}

// get returns an unused connection that was still open when it was last looked at, or nil.
func (p *Pool) get() *clientConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.idle)
	if n == 0 {
		return nil
	}
	cc := p.idle[n-1]
	p.idle[n-1] = nil
	p.idle = p.idle[:n-1]
	return cc
}

// put takes back a connection on which both messages ended where their framing says.
func (p *Pool) put(cc *clientConn) {
	cc.idleSince = cc.answered
	if cc.body.waited {
		cc.idleSince = message.Now() // the body took its time
	}
	p.mu.Lock()
	if p.closed || len(p.idle) >= p.o.MaxIdle {
		p.mu.Unlock()
		_ = cc.nc.Close()
		return
	}
	p.idle = append(p.idle, cc)
	p.mu.Unlock()
}

// Idle returns how many connections are kept unused.
func (p *Pool) Idle() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.idle)
}

// Sweep closes connections that were unused for the idle timeout, and those that the endpoint
// has closed or sent something on: whatever it says without being asked would be taken for the
// answer to the next request. Its owner calls it every few seconds.
func (p *Pool) Sweep() {
	before := message.Now() - int64(p.o.IdleTimeout)
	var dead []*clientConn
	p.mu.Lock()
	kept := p.idle[:0]
	for _, cc := range p.idle {
		if cc.idleSince < before || !cc.quietNow() {
			dead = append(dead, cc)
			continue
		}
		kept = append(kept, cc)
	}
	clear(p.idle[len(kept):])
	p.idle = kept
	p.mu.Unlock()
	for _, cc := range dead {
		_ = cc.nc.Close()
	}
}

// Close closes the unused connections; those in use are closed when they come back.
func (p *Pool) Close() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	for _, cc := range idle {
		_ = cc.nc.Close()
	}
}

// dial makes a connection. by bounds it beside the connect timeout.
func (p *Pool) dial(by int64) (*clientConn, *message.Failure) {
	until := message.Now() + int64(p.o.ConnectTimeout)
	if by > 0 {
		until = min(until, by)
	}
	//house:allow call a dial is rare where connections are kept, and net.Dialer takes its deadline so
	ctx, cancel := context.WithDeadline(context.Background(), message.WallTime(until))
	defer cancel()
	nc, err := p.o.Dial(ctx, p.o.Address)
	if err != nil {
		f := &message.Failure{Reason: message.UpstreamConnectFailed, Side: message.SideUpstream, Stage: message.StageConnect, Retry: message.RetryUnsent, Err: err}
		var timeout interface{ Timeout() bool }
		switch {
		case errors.Is(err, syscall.ECONNREFUSED):
			f.Reason = message.UpstreamConnectRefused
		case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
			f.Reason = message.UpstreamConnectTimeout
		}
		return nil, f
	}
	cc := &clientConn{pool: p}
	cc.init(nc)
	cc.onReply = cc.reply
	return cc, nil
}
