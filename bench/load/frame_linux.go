package load

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// frame is the life of a client's measured window: warm-up, measuring, end. The client calls step once in each turn of its loop.
type frame struct {
	Window
	result  Result
	start   time.Time
	begun   bool
	ended   bool
	beganAt time.Duration
	sweepAt time.Duration
}

// now is the time since the client's start.
func (f *frame) now() time.Duration { return time.Since(f.start) }

// counting tells whether what happens now belongs to the window.
func (f *frame) counting() bool { return f.begun && !f.ended }

// step moves the window on. It tells whether the window is over, and whether it is time to look for what has waited too long.
func (f *frame) step(ctx context.Context, now time.Duration) (over, sweep bool, err error) {
	if !f.begun && now >= f.Warmup {
		// On a crowded machine the client may come late to its own window, which then moves as a whole.
		f.begun, f.beganAt, f.Warmup = true, now, now
		f.result = Result{}
		f.begin()
	}
	failed := false
	if now >= f.sweepAt {
		if err := ctx.Err(); err != nil {
			return true, false, err
		}
		f.sweepAt, sweep = now+reconnectPause, true
		failed = f.result.Failed() > maxFailures
	}
	if failed && !f.begun {
		f.begun, f.beganAt = true, now
		f.begin()
	}
	if !f.ended && (failed || now >= f.Warmup+f.Measure) {
		f.ended = true
		f.result.Elapsed = now - f.beganAt
		f.end()
	}
	return f.ended, sweep, nil
}

// driven is a load that keeps a fixed amount of work under way, driven by events of its sockets.
type driven interface {
	handle(fd int)           // what a socket is ready for
	sweep(now time.Duration) // gives up what has waited too long
}

// loop runs c on the sockets of an epoll set until the window is over.
func (f *frame) loop(ctx context.Context, epoll int, events []unix.EpollEvent, c driven) error {
	for {
		now := f.now()
		over, sweep, err := f.step(ctx, now)
		if over || err != nil {
			return err
		}
		if sweep {
			c.sweep(now)
		}
		n, err := epollWait(epoll, events, f.sweepAt-f.now())
		if err != nil {
			return fmt.Errorf("load: epoll_wait: %w", err)
		}
		for _, event := range events[:n] {
			c.handle(int(event.Fd))
		}
	}
}
