package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/sluice-gateway/sluice/stream"
)

// mode is what ails an endpoint.
type mode string

// The modes.
const (
	modeWell      mode = "well"
	modeRefuse    mode = "refuse"   // does not listen
	modeHang      mode = "hang"     // accepts, reads, never answers, health checks neither
	modeSlow      mode = "slow"     // takes slowFactor times as long
	modeError     mode = "error"    // answers 500 at once; only its health check is well
	modeClose     mode = "close"    // closes connections that were unused for closeAfter, without a word about it
	modeAnnounce  mode = "announce" // closes them after announceAfter, and says so in the field Keep-Alive
	modeCut       mode = "cut"      // ends the connection in the middle of an answer
	serviceTime        = 5 * time.Millisecond
	slowFactor         = 20
	closeAfter         = 1200 * time.Millisecond
	announceAfter      = time.Second // the field counts in seconds
	cutPause           = 10 * time.Millisecond
)

// Bounds on what a peer may take.
const (
	requestLimit = 5 * time.Second        // from the first byte of a request to its last
	firstRequest = 500 * time.Millisecond // how long an ending endpoint waits for the request that a fresh connection was surely made for
	endLimit     = 2 * time.Second        // of a graceful end
)

// origin is one endpoint. It serves on an address of its own, in the way of its mode, and reports every request that it got whole.
type origin struct {
	name   string
	report func(line string) // called from many goroutines

	mu       sync.Mutex
	address  string
	ln       *net.TCPListener // nil while it does not listen
	mode     mode
	switched chan struct{}        // closed when the mode changes
	conns    map[*originConn]bool // all that are open
	leaving  bool                 // between Withdraw and Listen: connections end after the answer under way
	left     chan struct{}        // closed when the last connection of a Withdraw has ended
	wg       sync.WaitGroup
}

// originConn is a connection of an origin. Its own goroutine serves it.
type originConn struct {
	*net.TCPConn
	br      *bufio.Reader
	waiting bool // for a request; guarded by origin.mu
	served  bool // has had an answer; guarded by origin.mu
}

func newOrigin(name string, report func(string)) *origin {
	return &origin{name: name, report: report, address: "127.0.0.1:0", mode: modeWell, switched: make(chan struct{}), conns: map[*originConn]bool{}}
}

// Listen begins to accept at an address; after Withdraw at the same one.
func (o *origin) Listen(address string) error {
	ln, err := net.Listen("tcp4", address)
	if err != nil {
		return err
	}
	o.mu.Lock()
	o.ln, o.address, o.leaving = ln.(*net.TCPListener), ln.Addr().String(), false
	o.mu.Unlock()
	o.wg.Go(func() { o.accept(ln) })
	return nil
}

// Address is where the origin listens, or has listened.
func (o *origin) Address() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.address
}

func (o *origin) accept(ln net.Listener) {
	for {
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		o.take(nc.(*net.TCPConn))
	}
}

func (o *origin) take(nc *net.TCPConn) {
	c := &originConn{TCPConn: nc, br: bufio.NewReader(nc)}
	o.mu.Lock()
	o.conns[c] = true
	o.mu.Unlock()
	o.wg.Go(func() {
		o.serve(c)
		_ = c.Close()
		o.mu.Lock()
		delete(o.conns, c)
		if o.leaving && len(o.conns) == 0 && o.left != nil {
			close(o.left)
			o.left = nil
		}
		o.mu.Unlock()
	})
}

// SetMode changes what ails the origin. Who waits for an answer that never came is reset when the origin stops hanging.
func (o *origin) SetMode(m mode) error {
	o.mu.Lock()
	before := o.mode
	o.mode = m
	close(o.switched)
	o.switched = make(chan struct{})
	address := o.address
	o.mu.Unlock()
	switch {
	case m == modeRefuse && before != modeRefuse:
		o.Withdraw()
	case m != modeRefuse && before == modeRefuse:
		return o.Listen(address)
	}
	return nil
}

// look returns the mode and the channel that tells of the next.
func (o *origin) look() (mode, chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.mode, o.switched
}

// Withdraw ends listening as a careful server does: connections that were made but not accepted yet are served as well, requests under way are answered
// with "Connection: close", connections on which nothing has come are closed. It returns when all have ended, or after endLimit.
func (o *origin) Withdraw() {
	left := make(chan struct{})
	o.mu.Lock()
	ln := o.ln
	o.ln = nil
	o.mu.Unlock()
	if ln != nil {
		// Without this, closing the socket resets what waits in its queue, with requests that were sent already.
		o.acceptRest(ln)
		_ = ln.Close()
	}
	o.mu.Lock()
	o.leaving, o.left = true, left
	if len(o.conns) == 0 {
		close(left)
		o.left = nil
	}
	for c := range o.conns {
		if c.waiting {
			_ = c.SetReadDeadline(time.Now()) // wakes it; await looks what is to be done
		}
	}
	o.mu.Unlock()
	timer := time.NewTimer(endLimit)
	defer timer.Stop()
	select {
	case <-left:
	case <-timer.C:
		o.cut()
	}
}

// acceptRest takes the connections that wait to be accepted.
func (o *origin) acceptRest(ln *net.TCPListener) {
	raw, err := ln.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		for {
			s, _, err := syscall.Accept(int(fd))
			if errors.Is(err, syscall.EINTR) {
				continue
			}
			if err != nil {
				return
			}
			syscall.CloseOnExec(s)
			f := os.NewFile(uintptr(s), "connection")
			nc, err := net.FileConn(f)
			_ = f.Close()
			if err == nil {
				o.take(nc.(*net.TCPConn))
			}
		}
	})
}

// cut closes every connection.
func (o *origin) cut() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for c := range o.conns {
		_ = c.Close()
	}
}

// Close ends the origin at once and joins everything of it.
func (o *origin) Close() {
	o.mu.Lock()
	ln := o.ln
	o.ln = nil
	o.mu.Unlock()
	if ln != nil {
		_ = ln.Close()
	}
	o.cut()
	// Who hangs waits for another mode.
	o.mu.Lock()
	o.mode = modeWell
	close(o.switched)
	o.switched = make(chan struct{})
	o.mu.Unlock()
	o.wg.Wait()
}

// await waits for the first byte of the next request and reports whether there is one.
func (o *origin) await(c *originConn) bool {
	for {
		o.mu.Lock()
		var until time.Time
		switch {
		case o.leaving && !c.served:
			until = time.Now().Add(firstRequest)
		case o.leaving && quiet(c.TCPConn) && c.br.Buffered() == 0:
			o.mu.Unlock()
			return false
		case o.leaving:
		case c.served && o.mode == modeClose:
			until = time.Now().Add(closeAfter)
		case c.served && o.mode == modeAnnounce:
			until = time.Now().Add(announceAfter)
		}
		leaving := o.leaving
		c.waiting = true
		_ = c.SetReadDeadline(until)
		o.mu.Unlock()
		_, err := c.br.Peek(1)
		o.mu.Lock()
		c.waiting = false
		woken := o.leaving && !leaving
		o.mu.Unlock()
		switch {
		case err == nil:
			_ = c.SetReadDeadline(time.Now().Add(requestLimit))
			return true
		case woken && errors.Is(err, os.ErrDeadlineExceeded):
			continue
		}
		// An idle time that is over closes the connection as servers do: without a look at what may have come in the last moment.
		return false
	}
}

// quiet reports whether nothing waits to be read and the peer has not ended the connection.
func quiet(c *net.TCPConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	is := false
	if raw.Control(func(fd uintptr) { is = stream.Quiet(fd) }) != nil {
		return false
	}
	return is
}

// originCommand is the sub-command that runs one endpoint.
const originCommand = "origin"

// runOrigin carries out originCommand NAME ADDRESS CONTROL. It tells the address CONTROL of every request, obeys the modes that come from
// there, and ends in order on SIGTERM, or when the connection ends.
func runOrigin(ctx context.Context, args []string) error {
	if len(args) != 3 {
		return errors.New("usage: origin NAME ADDRESS CONTROL")
	}
	nc, err := (&net.Dialer{Timeout: requestLimit}).DialContext(ctx, "tcp", args[2])
	if err != nil {
		return fmt.Errorf("origin: control: %w", err)
	}
	defer nc.Close()
	var mu sync.Mutex
	say := func(line string) {
		mu.Lock()
		defer mu.Unlock()
		_ = nc.SetWriteDeadline(time.Now().Add(requestLimit))
		_, _ = nc.Write([]byte(line + "\n"))
	}
	o := newOrigin(args[0], say)
	defer o.Close()
	if err := o.Listen(args[1]); err != nil {
		say("error " + err.Error())
		return fmt.Errorf("origin: %w", err)
	}
	say(sayUp)
	stop := context.AfterFunc(ctx, func() {
		o.Withdraw()
		_ = nc.Close() // ends the loop below
	})
	defer stop()
	orders := bufio.NewScanner(nc)
	for orders.Scan() {
		name, ok := strings.CutPrefix(orders.Text(), sayMode)
		if !ok {
			return fmt.Errorf("origin: order %q is not understood", orders.Text())
		}
		if err := o.SetMode(mode(name)); err != nil {
			say("error " + err.Error())
			return fmt.Errorf("origin: %w", err)
		}
		say(sayMode + name)
	}
	return nil
}

// The words between an endpoint and the harness.
const (
	sayUp   = "up"    // listens
	sayMode = "mode " // order and acknowledgement
	sayGot  = "got "  // "got 17 POST": request 17 was received whole
	sayCut  = "cut "  // "cut 17": its answer was begun and will not be ended
	sayLate = "late " // "late 120ms": an answer was due so long before this process got round to it
	sayBad  = "bad "  // a request that is not what the client has sent, and why
)
