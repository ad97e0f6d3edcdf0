package reload

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// job is one request that is to be sent at its time, whatever became of those before it.
type job struct {
	id     int
	method string
	path   string
	extra  bool // over the listener that comes and goes, if it is there
}

// reply is what became of a job.
type reply struct {
	job
	err         error
	listener    string
	first, last int64 // generations that may have been live: the last one complete before, the last one begun until the answer
	born        int64 // the last generation complete when the connection was made
	fresh       bool  // nothing had been answered on the connection, if there was one
	response    *testnet.Response
}

// load is an open-loop client: requests go out at a constant rate over keep-alive connections.
type load struct {
	t      *testing.T
	make   func(i int) job
	check  func(*reply)
	web    string
	gate   sync.RWMutex // held for reading from the look at extra until there is a connection
	extra  *string      // address of the listener that comes and goes, nil while it is not there; guarded by gate
	gone   int          // how often it has gone; guarded by gate
	posts  sync.RWMutex // held for reading while a POST is under way
	done   atomic.Int64 // generation that the last complete reload made live
	begun  atomic.Int64 // generation that the last reload which has begun makes live
	sent   atomic.Int64
	late   atomic.Int64 // jobs that found no idle worker at their time
	ending atomic.Bool  // the gateway is ending
	closes atomic.Int64 // answers that told the client to close

	jobs    chan job
	stop    chan struct{}
	workers sync.WaitGroup
	pacer   sync.WaitGroup
}

const workers = 24

// start sends rate requests each second until finish.
func (l *load) start(rate int) {
	l.jobs, l.stop = make(chan job, 10_000), make(chan struct{})
	for range workers {
		l.workers.Go(l.work)
	}
	l.pacer.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(rate))
		defer tick.Stop()
		began, n := time.Now(), 0
		for {
			select {
			case <-l.stop:
				return
			case <-tick.C:
			}
			// A ticker drops what it is late for; the rate is kept all the same.
			for due := int(time.Since(began) * time.Duration(rate) / time.Second); n < due; n++ {
				select {
				case l.jobs <- l.make(n):
				default:
					l.late.Add(1)
				}
			}
		}
	})
}

// setExtra tells the clients of the listener that comes and goes. After setExtra(nil) none begins to connect to it.
func (l *load) setExtra(address *string) {
	l.gate.Lock()
	defer l.gate.Unlock()
	if l.extra != nil && address == nil {
		l.gone++
	}
	l.extra = address
}

// pass waits until n more requests have been sent.
func (l *load) pass(n int64) {
	l.t.Helper()
	to := l.sent.Load() + n
	testnet.Eventually(l.t, "requests of the load", func() bool { return l.sent.Load() >= to })
}

// finish ends the load after what was begun.
func (l *load) finish() {
	close(l.stop)
	l.pacer.Wait()
	close(l.jobs)
	l.workers.Wait()
}

// worker has a connection of its own to each listener.
type worker struct {
	*load
	conns map[string]*link
}

// link is a keep-alive connection.
type link struct {
	*testnet.Client
	used time.Time // of the last answer
	born int64
	gone int  // how often the listener had gone before
	old  bool // something was answered on it
}

func (l *load) work() {
	w := &worker{load: l, conns: map[string]*link{}}
	for j := range l.jobs {
		l.sent.Add(1)
		if j.method == "POST" {
			l.posts.RLock()
		}
		r := w.send(j)
		if j.method == "POST" {
			l.posts.RUnlock()
		}
		l.check(r)
	}
	for _, c := range w.conns {
		c.Close()
	}
}

// lingers is how long after its last answer a connection to a listener that is going away may be used: half of what the gateway grants.
const lingers = 250 * time.Millisecond

// choose returns a connection for a job.
func (w *worker) choose(j job) (string, *link, error) {
	if j.extra {
		w.gate.RLock()
		defer w.gate.RUnlock()
		up := w.extra
		c := w.conns["extra"]
		// A connection to a listener that has gone since is served for a while only, also if there is a new listener in its place.
		switch {
		case c != nil && (up != nil && c.gone == w.gone || time.Since(c.used) < lingers):
			return "extra", c, nil
		case c != nil:
			c.Close()
			delete(w.conns, "extra")
		}
		if up != nil {
			c, err := w.dial("extra", *up)
			if err == nil {
				c.gone = w.gone
			}
			return "extra", c, err
		}
	}
	if c := w.conns["web"]; c != nil {
		if !w.ending.Load() || time.Since(c.used) < lingers {
			return "web", c, nil
		}
		c.Close()
	}
	c, err := w.dial("web", w.web)
	return "web", c, err
}

func (w *worker) dial(listener, address string) (*link, error) {
	nc, err := (&net.Dialer{Timeout: testnet.Patience}).Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	w.conns[listener] = &link{Client: testnet.NewClient(w.t, nc), used: time.Now(), born: w.done.Load()}
	return w.conns[listener], nil
}

// send does one exchange.
func (w *worker) send(j job) *reply {
	r := &reply{job: j, first: w.done.Load(), fresh: true}
	var c *link
	if r.listener, c, r.err = w.choose(j); r.err == nil {
		r.born, r.fresh = c.born, !c.old
		body := ""
		if j.method == "POST" || j.method == "PUT" {
			body = fmt.Sprintf("body-%d", j.id)
		}
		text := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: a.test\r\nX-Id: %d\r\n", j.method, j.path, j.id)
		if body != "" {
			text += fmt.Sprintf("Content-Length: %d\r\n", len(body))
		}
		if r.err = c.TrySend(text + "\r\n" + body); r.err == nil {
			r.response, r.err = c.TryResponse(j.method)
		}
	}
	r.last = w.begun.Load()
	switch {
	case c == nil:
	case r.err != nil, r.response.Header.Get("Connection") == "close":
		if r.err == nil {
			w.closes.Add(1)
		}
		c.Close()
		delete(w.conns, r.listener)
	default:
		c.used, c.old = time.Now(), true
	}
	return r
}
