package stream

import (
	"errors"
	"io"
	"sync"
	"syscall"
)

const (
	// What a pipe holds where the system allows it. Measured on loopback, per byte: 256 KiB cost a
	// quarter less than 64 KiB, and 1 MiB another quarter less.
	pipeSize    = 1 << 20
	pipeSecond  = 256 << 10 // where it does not allow that
	pipeMinimum = 64 << 10  // below that copying is cheaper; the system gives less when the user has many pipes

	spliceNonblock = 2    // SPLICE_F_NONBLOCK
	setPipeSize    = 1031 // F_SETPIPE_SZ
	getPipeSize    = 1032 // F_GETPIPE_SZ
)

// errCannotSplice says that the system does not splice from this kind of socket.
var errCannotSplice = errors.New("cannot splice")

// Pipes are the pipes that long transfers of relays go through: the kernel moves pages from socket
// to pipe to socket, and no byte is copied into this program. A relay borrows one only while bytes
// are in flight. When none is to be had, it copies. Its methods may be called by any goroutine.
type Pipes struct {
	max int

	mu      sync.Mutex // held for a few instructions, once for each wake of a long transfer; never while a pipe is made
	idle    []*pipe
	open    int
	refused int64
	closed  bool
}

// PipesState tells how many pipes there are.
type PipesState struct {
	Open    int   // in use or waiting to be used, at most the bound
	Idle    int   // of those, waiting to be used
	Refused int64 // how often a relay got none and copied instead
}

// NewPipes returns a pool of at most limit pipes, of two descriptors each and of up to 1 MiB of
// kernel memory for each that is full because a peer takes nothing. A user without privileges gets
// about 64 (pipe-user-pages-soft). Its owner closes it.
func NewPipes(limit int) *Pipes { return &Pipes{max: limit} }

// State returns how many pipes there are.
func (ps *Pipes) State() PipesState {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return PipesState{Open: ps.open, Idle: len(ps.idle), Refused: ps.refused}
}

// Close closes the pipes that wait. Those in use are closed when their transfer ends, and no
// further ones are lent.
func (ps *Pipes) Close() {
	ps.mu.Lock()
	idle := ps.idle
	ps.idle, ps.closed = nil, true
	ps.open -= len(idle)
	ps.mu.Unlock()
	for _, p := range idle {
		p.close()
	}
}

// get returns an empty pipe, or nil.
func (ps *Pipes) get() *pipe {
	ps.mu.Lock()
	if n := len(ps.idle); n > 0 {
		p := ps.idle[n-1]
		ps.idle = ps.idle[:n-1]
		ps.mu.Unlock()
		return p
	}
	if ps.closed || ps.open >= ps.max {
		ps.refused++
		ps.mu.Unlock()
		return nil
	}
	ps.open++
	ps.mu.Unlock()
	p := newPipe()
	if p == nil {
		ps.mu.Lock()
		ps.open--
		ps.refused++
		ps.mu.Unlock()
	}
	return p
}

// put takes a pipe back. One that still holds bytes is closed: they belong to nobody else.
func (ps *Pipes) put(p *pipe) {
	ps.mu.Lock()
	keep := p.held == 0 && !ps.closed
	if keep {
		ps.idle = append(ps.idle, p)
	} else {
		ps.open--
	}
	ps.mu.Unlock()
	if !keep {
		p.close()
	}
}

// pipe is lent to one direction at a time.
type pipe struct {
	r, w int
	held int // bytes in it
	size int // bytes that it can hold
}

// newPipe returns nil where the system has no pipe that is worth it.
func newPipe() *pipe {
	var fds [2]int
	if syscall.Pipe2(fds[:], syscall.O_CLOEXEC|syscall.O_NONBLOCK) != nil {
		return nil
	}
	p := &pipe{r: fds[0], w: fds[1]}
	if _, _, e := syscall.Syscall(syscall.SYS_FCNTL, uintptr(p.w), setPipeSize, pipeSize); e != 0 {
		_, _, _ = syscall.Syscall(syscall.SYS_FCNTL, uintptr(p.w), setPipeSize, pipeSecond)
	}
	size, _, e := syscall.Syscall(syscall.SYS_FCNTL, uintptr(p.w), getPipeSize, 0)
	if e != 0 || size < pipeMinimum {
		p.close()
		return nil
	}
	p.size = int(size)
	return p
}

func (p *pipe) close() {
	_ = syscall.Close(p.r)
	_ = syscall.Close(p.w)
}

// fill moves what the socket from holds into the pipe, which must be empty: the system says EAGAIN
// both for an empty socket and for a full pipe, and so it can only mean the socket. The end of the
// stream is io.EOF.
func (p *pipe) fill(from uintptr) (n int, again bool, err error) {
	n, e := splice(int(from), p.w, p.size)
	switch {
	case e == syscall.EAGAIN:
		return 0, true, nil
	case e == syscall.EINVAL || e == syscall.ENOSYS:
		return 0, false, errCannotSplice
	case e != 0:
		return 0, false, e
	case n == 0:
		return 0, false, io.EOF
	}
	p.held = n
	return n, false, nil
}

// drain moves what the pipe holds into the socket to; 0 if that has no room. The pipe holds bytes.
func (p *pipe) drain(to uintptr) (n int, err error) {
	n, e := splice(p.r, int(to), p.held)
	switch {
	case e == syscall.EAGAIN:
		return 0, nil
	case e != 0:
		return 0, e
	}
	p.held -= n
	return n, nil
}

// splice moves up to n bytes without waiting. It never says that more is to come (SPLICE_F_MORE):
// the kernel would hold back the last segment for 200 ms when nothing comes.
func splice(from, to, n int) (int, syscall.Errno) {
	for {
		r, _, e := syscall.RawSyscall6(syscall.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(n), spliceNonblock)
		switch e {
		case 0:
			return int(r), 0
		case syscall.EINTR:
		default:
			return 0, e
		}
	}
}
