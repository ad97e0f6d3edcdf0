package stream

import (
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Conn is one side of a relay. net.Conn fits.
type Conn interface {
	io.ReadWriteCloser
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
}

// RelayOptions bound a relay.
type RelayOptions struct {
	Idle   time.Duration // no byte in either direction for so long ends the relay; 0 for no bound
	EarlyA []byte        // bytes that a sent already; they go to b first
	EarlyB []byte        // bytes that b sent already; they go to a first
}

// ErrIdle says that a relay ended because nothing moved for its idle time.
var ErrIdle = errors.New("no byte in either direction for the idle time")

// relayBuffers is a pool (read-only: what it holds has no meaning) of copy buffers.
var relayBuffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// Relay moves bytes between a and b until both directions have ended, and closes both. The end
// of one direction is passed on as a half-close where the connection can do it. It returns how
// many bytes went from a to b and from b to a, and ErrIdle or nil: that a peer resets its
// connection is an ordinary end.
func Relay(a, b Conn, o RelayOptions) (ab, ba int64, err error) {
	r := &relay{o: o, began: time.Now()}
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		ba = r.pump(a, b, o.EarlyB)
	}()
	ab = r.pump(b, a, o.EarlyA)
	wg.Wait()
	_ = a.Close()
	_ = b.Close()
	if r.idle.Load() {
		return ab, ba, ErrIdle
	}
	return ab, ba, nil
}

type relay struct {
	o     RelayOptions
	began time.Time
	last  atomic.Int64 // nanoseconds since began of the last byte in either direction
	idle  atomic.Bool
}

// pump moves bytes from src to dst until src ends or either fails.
func (r *relay) pump(dst, src Conn, early []byte) (moved int64) {
	buf := relayBuffers.Get().(*[32 << 10]byte)
	defer relayBuffers.Put(buf)
	piece := early
	for {
		for len(piece) > 0 {
			if r.o.Idle > 0 {
				_ = dst.SetWriteDeadline(time.Now().Add(r.o.Idle))
			}
			n, err := dst.Write(piece)
			moved += int64(n)
			r.last.Store(int64(time.Since(r.began)))
			if err != nil {
				r.broken(dst, src, err)
				return moved
			}
			piece = piece[n:]
		}
		n, err := r.read(src, buf[:])
		if n == 0 && err != nil {
			if errors.Is(err, io.EOF) {
				halfClose(dst)
			} else {
				r.broken(dst, src, err)
			}
			return moved
		}
		piece = buf[:n]
	}
}

// read waits for bytes; a direction that is silent goes on while the other one moves.
func (r *relay) read(src Conn, p []byte) (int, error) {
	for {
		if r.o.Idle > 0 {
			_ = src.SetReadDeadline(r.began.Add(time.Duration(r.last.Load()) + r.o.Idle))
		}
		n, err := src.Read(p)
		if n > 0 || err == nil {
			return n, nil
		}
		if errors.Is(err, os.ErrDeadlineExceeded) && time.Since(r.began)-time.Duration(r.last.Load()) < r.o.Idle {
			continue
		}
		return 0, err
	}
}

// broken ends both directions after an error in one.
func (r *relay) broken(a, b Conn, err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		r.idle.Store(true)
	}
	_ = a.Close()
	_ = b.Close()
}

func halfClose(c Conn) {
	if h, ok := c.(interface{ CloseWrite() error }); ok && h.CloseWrite() == nil {
		return
	}
	_ = c.Close()
}
