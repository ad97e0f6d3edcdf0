package metric

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	defaultLogBuffer = 4 << 20
	minLogBuffer     = 4 << 10
	defaultLogFlush  = 100 * time.Millisecond
	// logBatch is when lines are written without waiting longer. It is small enough to be still in the cache.
	logBatch = 128 << 10
	// A failing destination is tried again after 100 ms, then after twice as long each time, up to 1 s.
	firstLogRetry = 100 * time.Millisecond
	lastLogRetry  = time.Second
	// logInterrupt is how long Close waits after it has interrupted a stuck write.
	logInterrupt = time.Second
)

// ErrLogStalled says that the destination of a log did not take everything before Close gave up.
var ErrLogStalled = errors.New("destination does not accept data")

// LogOptions are the settings of a [LogWriter].
type LogOptions struct {
	// Path is the file to append to, made if it is missing with mode 0640. It may name a FIFO that somebody reads.
	Path string
	// Writer is the destination if Path is empty; it is not closed. It is called by one goroutine only and may block.
	//
	// A program that hands over os.Stdout or os.Stderr must ignore SIGPIPE (signal.Ignore), or the Go runtime ends it when the reader of the pipe goes away.
	Writer io.Writer
	// Buffer is the memory for lines that wait, in bytes, half of it for those being written. 0 means 4 MiB; the least is 4 KiB.
	// A line longer than a quarter of it is dropped.
	Buffer int
	// Flush is the longest time that a line waits for others. 0 means 100 ms.
	Flush time.Duration
	// Lines counts the lines written, Dropped those that were not. Either may be nil.
	Lines, Dropped *Counter
	// Notify, if not nil, is told when the destination begins to fail (with the error) and when it works again (with nil). The writing goroutine calls it.
	Notify func(error)
}

// LogWriter takes finished lines from any number of goroutines and writes them from one of its own. [LogWriter.Append] never blocks: while the
// destination is slow, stuck or failing, lines wait in a buffer of fixed size, and what does not fit is dropped and counted. A failed write is tried
// again from the byte where it stopped, so that a full disk or a stuck pipe leaves no torn line behind when it recovers.
type LogWriter struct {
	path           string
	buffer         *logBuffer
	maxLine        int
	flush          time.Duration
	lines, dropped *Counter
	notify         func(error)

	first    chan struct{} // a line stands in an empty buffer; one slot
	enough   chan struct{} // a batch is ready; one slot
	reopened chan struct{} // next was set; one slot
	closing  chan struct{} // closed by Close: write what is there, then end
	done     chan struct{} // closed by the goroutine when it ends
	once     sync.Once

	mu    sync.Mutex
	cur   io.Writer // guarded by mu; only the goroutine replaces it
	next  *os.File  // guarded by mu; what cur becomes before the next write, or nil
	ended bool      // guarded by mu; the files are closed

	lost int // lines given up by the goroutine at its end; read after done
}

// OpenLog opens the destination and starts the goroutine that writes to it. The caller must call Close.
func OpenLog(o LogOptions) (*LogWriter, error) {
	w := &LogWriter{
		path: o.Path, cur: o.Writer, flush: o.Flush, lines: o.Lines, dropped: o.Dropped, notify: o.Notify,
		first: make(chan struct{}, 1), enough: make(chan struct{}, 1), reopened: make(chan struct{}, 1),
		closing: make(chan struct{}), done: make(chan struct{}),
	}
	if w.path != "" {
		f, err := openLogFile(w.path)
		if err != nil {
			return nil, err
		}
		w.cur = f
	}
	if w.cur == nil {
		return nil, errors.New("access log: no destination, give a path or a writer")
	}
	if w.lines == nil {
		w.lines = NewCounter(1)
	}
	if w.dropped == nil {
		w.dropped = NewCounter(1)
	}
	if w.flush <= 0 {
		w.flush = defaultLogFlush
	}
	if o.Buffer <= 0 {
		o.Buffer = defaultLogBuffer
	}
	half := max(o.Buffer, minLogBuffer) / 2
	w.buffer = newLogBuffer(half, min(half/2, logBatch))
	w.maxLine = half / 2
	go w.run()
	return w, nil
}

// openLogFile does not wait for the reader of a FIFO: without one it fails. Writes to a FIFO can then be interrupted.
func openLogFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NONBLOCK, 0o640)
	if err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) && errors.Is(pe.Err, syscall.ENXIO) {
			return nil, fmt.Errorf("access log: %s: nobody reads this FIFO, start its reader first: %w", path, err)
		}
		return nil, fmt.Errorf("access log: %w", err)
	}
	return f, nil
}

// Append hands over one line, which must end with a newline and hold no other; the bytes are copied. It reports whether the line was kept; false means it was dropped and counted.
// It never blocks and never allocates. A nil LogWriter drops everything.
func (w *LogWriter) Append(line []byte) bool {
	if w == nil {
		return false
	}
	if len(line) == 0 || len(line) > w.maxLine || line[len(line)-1] != '\n' {
		w.dropped.Inc(0)
		return false
	}
	switch w.buffer.append(line) {
	case dropped:
		w.dropped.Inc(0)
		return false
	case keptFirst:
		poke(w.first)
	case keptEnough:
		poke(w.enough)
	}
	return true
}

// Lines returns the number of lines written.
func (w *LogWriter) Lines() uint64 { return w.lines.Value() }

// Dropped returns the number of lines dropped.
func (w *LogWriter) Dropped() uint64 { return w.dropped.Value() }

// Reopen opens the path again and goes on writing there, for log rotation. If it cannot be opened, the old file stays in use
// and the error says why. Without a path, and after Close, it does nothing. It does not wait for a write that is stuck; such a write is interrupted if the system can.
func (w *LogWriter) Reopen() error {
	if w == nil || w.path == "" {
		return nil
	}
	f, err := openLogFile(w.path)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		f.Close()
		return nil
	}
	if w.next != nil {
		w.next.Close()
	}
	w.next = f
	setDeadline(w.cur, time.Unix(1, 0)) // under the same lock, so that it cannot hit f
	poke(w.reopened)
	return nil
}

// Close writes what is there and ends the goroutine. A destination that fails is not waited for; one that is stuck is
// interrupted after the bound, if the system can do that. What could not be written is counted as dropped, and the error wraps [ErrLogStalled].
// A Writer that cannot be interrupted keeps its goroutine until its write returns; Close gives up on it one second after the bound.
// Lines appended meanwhile or later are dropped and counted. Calling Close again only waits.
func (w *LogWriter) Close(bound time.Duration) error {
	if w == nil {
		return nil
	}
	w.once.Do(func() { close(w.closing) })
	timer := time.NewTimer(bound)
	defer timer.Stop()
	select {
	case <-w.done:
	case <-timer.C:
		w.mu.Lock()
		setDeadline(w.cur, time.Unix(1, 0))
		w.mu.Unlock()
		timer.Reset(logInterrupt)
		select {
		case <-w.done:
			setDeadline(w.cur, time.Time{}) // a Writer may have other users
		case <-timer.C:
			return fmt.Errorf("access log: %w", ErrLogStalled)
		}
	}
	if w.lost > 0 {
		return fmt.Errorf("access log: %w, %d lines lost at the end", ErrLogStalled, w.lost)
	}
	return nil
}

// setDeadline, with a time that is over, makes a write that is under way on a pipe or socket return. On other files and writers it has no effect;
// regular files do not get stuck in that way.
func setDeadline(dst io.Writer, at time.Time) {
	if d, ok := dst.(interface{ SetWriteDeadline(time.Time) error }); ok {
		_ = d.SetWriteDeadline(at)
	}
}

// poke fills the slot of a channel if it is free; if not, the goroutine will look anyway.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run owns the destination and the half of the buffer that is not active.
func (w *LogWriter) run() {
	defer close(w.done)
	timer := time.NewTimer(w.flush)
	timer.Stop()
	for {
		select {
		case <-w.first:
			timer.Reset(w.flush)
			select {
			case <-timer.C:
			case <-w.enough:
			case <-w.closing:
			}
		case <-w.enough:
		case <-w.reopened:
		case <-w.closing:
			w.write(w.buffer.seal())
			w.end()
			return
		}
		w.write(w.buffer.swap())
	}
}

// destination returns where to write now, and whether it is another one than before.
func (w *LogWriter) destination() (io.Writer, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.next == nil {
		return w.cur, false
	}
	old := w.cur
	w.cur, w.next = w.next, nil
	if f, ok := old.(*os.File); ok {
		f.Close()
	}
	return w.cur, true
}

// end closes what Reopen and OpenLog opened, now and later.
func (w *LogWriter) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	if w.next != nil {
		w.next.Close()
	}
	if f, ok := w.cur.(*os.File); ok && w.path != "" {
		f.Close()
	}
}

// write writes whole lines and does not return before they are written or given up.
func (w *LogWriter) write(lines []byte) {
	retry := firstLogRetry
	failing, torn := false, false // torn: the destination has the first part of a line whose rest is next
	for len(lines) > 0 {
		dst, changed := w.destination()
		if changed && torn { // the rest of this line would be garbage in the new file
			lines = lines[bytes.IndexByte(lines, '\n')+1:]
			w.dropped.Inc(0)
			torn = false
			continue
		}
		n, err := dst.Write(lines)
		if n > 0 && n <= len(lines) { // progress; if there was an error too, it will come again
			w.lines.Add(0, uint64(bytes.Count(lines[:n], newline)))
			torn = lines[n-1] != '\n'
			lines = lines[n:]
			retry = firstLogRetry
			continue
		}
		if w.willChange() {
			continue // the write was interrupted for that
		}
		if err == nil {
			err = io.ErrShortWrite
		}
		if !failing {
			failing = true
			w.tell(err)
		}
		if !w.pause(retry) {
			w.lost += bytes.Count(lines, newline)
			w.dropped.Add(0, uint64(bytes.Count(lines, newline)))
			return
		}
		retry = min(2*retry, lastLogRetry)
	}
	if failing {
		w.tell(nil)
	}
}

// willChange reports whether the next call of destination returns another one.
func (w *LogWriter) willChange() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.next != nil
}

var newline = []byte{'\n'}

func (w *LogWriter) tell(err error) {
	if w.notify != nil {
		w.notify(err)
	}
}

// pause waits before the next attempt, or until there is a new destination. Once Close was called it returns false:
// nobody repairs a disk or a pipe in the time that a program may take to end.
func (w *LogWriter) pause(d time.Duration) bool {
	select {
	case <-w.closing:
		return false
	default:
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-w.reopened:
	case <-w.closing: // one last attempt
	}
	return true
}
