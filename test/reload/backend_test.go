package reload

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/test/rig"
)

// endpoint is an endpoint that can be restarted. Every answer says who gave it, and what it was asked.
type endpoint struct {
	*rig.Origin
	slow time.Duration // how long a request to /slow takes

	mu       sync.Mutex
	draining bool
	busy     map[*rig.OriginConn]bool // is an answer under way? One entry for each connection that is not ended
	raced    map[string]bool          // ids of requests that came over a connection which had ended already
	served   map[string]int           // how often each id was answered
}

func newEndpoint(t *testing.T, name string) *endpoint {
	e := &endpoint{slow: 150 * time.Millisecond, busy: map[*rig.OriginConn]bool{}, raced: map[string]bool{}, served: map[string]int{}}
	e.Origin = rig.NewOrigin(t, name, e.serve)
	return e
}

// serve answers the requests of one connection.
func (e *endpoint) serve(c *rig.OriginConn) {
	e.mu.Lock()
	e.busy[c] = false
	e.mu.Unlock()
	defer e.end(c, func(*rig.OriginConn) {})
	for {
		r := c.Request()
		if r == nil {
			return
		}
		if !e.begin(c, r) {
			continue
		}
		if strings.HasPrefix(r.Target, "/slow") {
			timer := time.NewTimer(e.slow)
			<-timer.C
		}
		e.mu.Lock()
		last := e.draining
		e.mu.Unlock()
		fields := []string{"X-Endpoint: " + e.Name, "X-Saw: " + r.Method + " " + r.Target + " " + r.Header.Get("X-Generation") + " " + string(r.Body)}
		if last {
			fields = append(fields, "Connection: close")
		}
		c.Answer(200, strings.Repeat(e.Name, 100), fields...)
		e.mu.Lock()
		if _, there := e.busy[c]; there {
			e.busy[c] = false
		}
		e.mu.Unlock()
		if last {
			e.end(c, (*rig.OriginConn).CloseWrite)
			return
		}
	}
}

// begin notes that a request is being answered, or reports that the connection had ended before it came.
func (e *endpoint) begin(c *rig.OriginConn, r *rig.Request) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	id := r.Header.Get("X-Id")
	if _, there := e.busy[c]; !there {
		e.raced[id] = true
		return false
	}
	e.busy[c] = true
	if id != "" {
		e.served[id]++
	}
	return true
}

// end ends a connection, once, in the way of how.
func (e *endpoint) end(c *rig.OriginConn, how func(*rig.OriginConn)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, there := e.busy[c]; there {
		delete(e.busy, c)
		how(c)
	}
}

// idle returns the connections on which no answer is under way, and how many there are in all.
func (e *endpoint) idle() (idle []*rig.OriginConn, all int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for c, busy := range e.busy {
		if !busy {
			idle = append(idle, c)
		}
	}
	return idle, len(e.busy)
}

// restartGracefully is the restart of a server that takes care: it stops accepting, answers what is in flight, tells everybody on the next answer
// that it was the last, and closes who has asked for nothing for a while.
func (e *endpoint) restartGracefully(t *testing.T) {
	t.Helper()
	e.Unlisten()
	e.mu.Lock()
	e.draining = true
	e.mu.Unlock()
	for began := time.Now(); time.Since(began) < 200*time.Millisecond; {
		if _, all := e.idle(); all == 0 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	testnet.Eventually(t, "the end of the connections to "+e.Name, func() bool {
		idle, all := e.idle()
		for _, c := range idle {
			e.end(c, (*rig.OriginConn).CloseWrite)
		}
		return all == len(idle)
	})
	e.mu.Lock()
	e.draining = false
	e.mu.Unlock()
	e.Listen()
}

// restartAbruptly resets every connection between two requests, as a server that is killed does. posts holds back what cannot be repeated: whether
// such a request is on its way at the moment of the reset is nobody's to know.
func (e *endpoint) restartAbruptly(t *testing.T, posts *sync.RWMutex) {
	t.Helper()
	e.Unlisten()
	posts.Lock()
	defer posts.Unlock()
	testnet.Eventually(t, "the end of the connections to "+e.Name, func() bool {
		idle, all := e.idle()
		for _, c := range idle {
			e.end(c, (*rig.OriginConn).Reset)
		}
		return all == len(idle)
	})
	// Resets on loopback are delivered at once but for a kernel that is busy elsewhere.
	for began := time.Now(); time.Since(began) < 20*time.Millisecond; {
		time.Sleep(5 * time.Millisecond)
	}
	e.Listen()
}

// hasRaced reports whether the request of an id came over a connection that had ended.
func (e *endpoint) hasRaced(id string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.raced[id]
}
