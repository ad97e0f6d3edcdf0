package proxy

import (
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-gateway/sluice/http1"
	"github.com/sluice-gateway/sluice/message"
)

// Branches are all requests of a program that run beside the exchange which they came from: copies for mirrors, and what policies begin on their own. It
// is safe for any number of goroutines; the zero value is ready. A branch takes its lock three times, for a moment: it has a goroutine of its own
// and costs a whole request, so that is not what it costs.
type Branches struct {
	running sync.WaitGroup // Add under mu
	mu      sync.Mutex
	closed  bool
	all     map[*branch]struct{} // that can be ended
	quiet   int64                // moment before which no panic is reported again

	// Report is told of panics, one line and a stack; nil drops them. Set before use.
	Report func(line string)

	held atomic.Int64 // bytes of bodies that are kept for copies
}

// branch is what ends a request that runs beside another.
type branch struct {
	cancel http1.Cancel
	answer interface{ Interrupt() } // the body that is being read, if that can be ended; guarded by mu of Branches
	ended  bool                     // nobody wants its answer any more; guarded by mu of Branches
}

// maxHeld bounds the bytes of request bodies that are kept for copies, of all routes together. What would go beyond is not copied.
const maxHeld = 64 << 20

// Held returns how many bytes of request bodies are kept for copies now.
func (c *Branches) Held() int64 { return c.held.Load() }

// hold counts n more bytes, or reports that there may not be as many.
func (c *Branches) hold(n int) bool {
	if c.held.Add(int64(n)) > maxHeld {
		c.held.Add(int64(-n))
		return false
	}
	return true
}

// enter counts a branch, unless Close was called.
func (c *Branches) enter(b *branch) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	if c.all == nil {
		c.all = make(map[*branch]struct{})
	}
	c.all[b] = struct{}{}
	c.running.Add(1)
	return true
}

// reading is called when a branch has an answer, and reports false if it is to be dropped. The body can be interrupted from then on.
func (c *Branches) reading(b *branch, answer message.Body) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || b.ended {
		return false
	}
	b.answer, _ = answer.(interface{ Interrupt() })
	return true
}

// end ends a branch that has not settled, whatever it is at.
func (c *Branches) end(b *branch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.all[b]; ok {
		b.stop()
	}
}

// stop makes what the branch waits for return. The lock of its Branches is held.
func (b *branch) stop() {
	b.ended = true
	b.cancel.Fire()
	if b.answer != nil {
		b.answer.Interrupt()
	}
}

// settle puts a branch out of Close's reach, which still waits for it: until leave.
func (c *Branches) settle(b *branch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.all, b)
	b.answer = nil
}

func (c *Branches) leave() { c.running.Done() }

// report tells of a panic, once a minute at most.
func (c *Branches) report(what string, panicked any) {
	now := message.Now()
	c.mu.Lock()
	due := c.Report != nil && now >= c.quiet
	if due {
		c.quiet = now + int64(time.Minute)
	}
	c.mu.Unlock()
	if due {
		c.Report(fmt.Sprintf("%s ended by a panic, which is a bug in this program: %v\n%s", what, panicked, debug.Stack()))
	}
}

// Close ends the branches that are under way and waits for them. No others begin. The program ends: connections of branches may not be usable any more.
func (c *Branches) Close() {
	c.mu.Lock()
	c.closed = true
	for b := range c.all {
		b.stop()
	}
	c.mu.Unlock()
	c.running.Wait()
}
