package http1

import (
	"context"
	"errors"
	"net"
	"sync"

	"github.com/sluice-gateway/sluice/message"
)

// ErrCanceled is the cause of the failure of a Pool.Do that was ended by Cancel.Fire.
var ErrCanceled = errors.New("the attempt was canceled")

// Cancel ends a Pool.Do from another goroutine: the slower one of two attempts, a step whose answer
// is not needed any more. A Call without one costs nothing. The zero value is ready, and serves one
// Do after the other; two at the same time need two.
//
// It takes a lock, for a few instructions and only where an attempt can be canceled: what has to be
// atomic is two things at once, whether the attempt has its answer and which connection it still
// waits on. The connection may be another exchange's a moment later.
type Cancel struct {
	mu     sync.Mutex
	state  cancelState        // guarded by mu
	stop   context.CancelFunc // ends the dial under way, or nil; guarded by mu
	cc     *clientConn        // what the Do under way waits on, or nil; guarded by mu
	wake   func()             // ends another wait on behalf of who uses c; guarded by mu
	others [2]*Cancel         // of the attempts that run in place of one of c's own; guarded by mu
}

// cancelState is who was first.
type cancelState uint8

const (
	cancelOpen  cancelState = iota
	cancelFired             // Fire was: no Do succeeds until Reset
	cancelWon               // Do was: it has its answer and keeps the connection
)

// Fire makes the Do that uses c return with a failure, whether it dials, sends or waits for the
// head of the answer; also one that has yet to begin. After Do has returned success it does
// nothing, and returns false: exactly one of the two happens. It may be called from any goroutine,
// and more than once; it does not wait for Do.
func (c *Cancel) Fire() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == cancelWon {
		return false
	}
	c.state = cancelFired
	if c.stop != nil {
		c.stop()
	}
	if c.cc != nil {
		c.cc.cut()
	}
	if c.wake != nil {
		c.wake()
	}
	for _, other := range c.others {
		if other != nil {
			other.Fire()
		}
	}
	return true
}

// Watch makes Fire call wake, which must not wait, until Watch(nil). It reports false if c was fired before. It is for what precedes a Do, such as a place in
// a queue.
func (c *Cancel) Watch(wake func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wake = wake
	return c.state != cancelFired
}

// Lend makes Fire end the attempts of two others, which run in place of one of c's own, until Return. If c was fired before, they are at once.
func (c *Cancel) Lend(first, second *Cancel) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.others = [2]*Cancel{first, second}
	if c.state == cancelFired {
		first.Fire()
		second.Fire()
	}
}

// Return ends Lend. With won the attempts have brought an answer: Fire does nothing any more.
func (c *Cancel) Return(won bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.others = [2]*Cancel{}
	if won && c.state == cancelOpen {
		c.state = cancelWon
	}
}

// Reset makes c ready for the next attempt, fired or not. No Do may be using it, and no Fire meant
// for an attempt before may still come.
func (c *Cancel) Reset() {
	c.mu.Lock()
	c.state, c.stop, c.cc, c.wake, c.others = cancelOpen, nil, nil, nil, [2]*Cancel{}
	c.mu.Unlock()
}

// wait says what Fire has to end from now on, a dial or a connection. It reports false if c was
// fired before.
func (c *Cancel) wait(stop context.CancelFunc, cc *clientConn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == cancelFired {
		return false
	}
	c.state, c.stop, c.cc = cancelOpen, stop, cc
	return true
}

// settle takes the connection out of reach of Fire and returns what Do ends with, given what it
// would have ended with.
func (c *Cancel) settle(failure *message.Failure) *message.Failure {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stop, c.cc = nil, nil
	switch {
	case c.state == cancelFired && failure == nil:
		return canceled(message.StageReceive)
	case c.state == cancelFired:
		return canceled(failure.Stage)
	case failure == nil:
		c.state = cancelWon
	}
	return failure
}

// canceled is the failure of an attempt that was ended by its own side: no endpoint is to blame.
func canceled(at message.Stage) *message.Failure {
	return &message.Failure{Reason: message.Internal, Side: message.SideInternal, Stage: at, Retry: message.RetryNever, Err: ErrCanceled}
}

// cut ends all reads and writes of the connection, now and later, without waiting for those under
// way: its owner closes it. Closing it here could wait for as long as a splice to it waits for the
// client.
func (cc *clientConn) cut() {
	nc := cc.nc
	if cc.secure != nil {
		nc = cc.secure.link.Conn // ending TLS in order would write
	}
	s, ok := nc.(interface {
		net.Conn
		CloseRead() error
		CloseWrite() error
	})
	if !ok {
		_ = nc.Close()
		return
	}
	_ = s.CloseRead()
	_ = s.CloseWrite()
}
