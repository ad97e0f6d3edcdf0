package identity

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"
)

// defaultInterval is how often files are looked at.
const defaultInterval = time.Second

// settleTime is how long after a file was written a second change may leave its time and size as they were: the coarsest clock of a file system in
// use. What was read within it is read again.
const settleTime = 2 * time.Second

// file is one file that is read again when it changes. It belongs to one goroutine at a time.
type file struct {
	path string
	most int64 // bytes

	info fs.FileInfo // what the file looked like just before it was last read; nil: it could not be looked at
	read time.Time   // when
	hash [sha256.Size]byte
}

// load returns the content, or changed == false if it is what it was when last read. It is a loader.
func (f *file) load(context.Context) (content []byte, changed bool, err error) {
	// The state is taken before the reading: a change in between is then seen by the next look.
	info, err := os.Stat(f.path)
	if err != nil {
		f.info = nil
		return nil, false, describe(f.path, err)
	}
	now := time.Now()
	unsettled := f.info != nil && f.read.Sub(f.info.ModTime()).Abs() < settleTime
	if f.info != nil && !unsettled && os.SameFile(info, f.info) && info.Size() == f.info.Size() && info.ModTime().Equal(f.info.ModTime()) {
		return nil, false, nil
	}
	if content, err = f.readAll(info); err != nil {
		f.info = nil
		return nil, false, err
	}
	hash := sha256.Sum256(content)
	same := f.info != nil && hash == f.hash
	f.info, f.read, f.hash = info, now, hash
	if same {
		return nil, false, nil
	}
	return content, true, nil
}

func (f *file) readAll(info fs.FileInfo) ([]byte, error) {
	if !info.Mode().IsRegular() { // a pipe would be waited for without end
		return nil, fmt.Errorf("%s is no regular file", f.path)
	}
	handle, err := os.Open(f.path)
	if err != nil {
		return nil, describe(f.path, err)
	}
	defer handle.Close()
	content, err := io.ReadAll(io.LimitReader(handle, f.most+1))
	switch {
	case err != nil:
		return nil, describe(f.path, err)
	case int64(len(content)) > f.most:
		return nil, fmt.Errorf("%s is larger than %d bytes", f.path, f.most)
	}
	return content, nil
}

// describe takes the name of the system call out of an error.
func describe(path string, err error) error {
	var wrapped *fs.PathError
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	return fmt.Errorf("%s: %w", path, err)
}

// watch looks at a file at each interval and applies what has changed. What is wrong is told once until it changes.
type watch struct {
	file   file
	apply  func(content []byte) error
	report func(line string)

	mu       sync.Mutex // held while the file is looked at
	wrong    string     // guarded by mu: what is wrong with the file as it is, "" if it is in use
	reported string     // guarded by mu: what was told of that
	broken   bool       // guarded by mu: the content was read, and refused

	stop chan struct{}
	once sync.Once
	done chan struct{}
}

// openWatch reads the file, which must be right, and begins to watch it. A negative interval looks only when check is called.
func openWatch(path string, most int64, interval time.Duration, report func(string), apply func([]byte) error) (*watch, error) {
	if report == nil {
		report = func(string) {}
	}
	w := &watch{file: file{path: path, most: most}, apply: apply, report: report, stop: make(chan struct{}), done: make(chan struct{})}
	content, _, err := w.file.load(context.Background())
	if err == nil {
		if err = apply(content); err != nil {
			err = fmt.Errorf("%s: %w", path, err)
		}
	}
	if err != nil {
		return nil, err
	}
	if interval == 0 {
		interval = defaultInterval
	}
	if interval < 0 {
		close(w.done)
		return w, nil
	}
	go w.run(interval)
	return w, nil
}

// run is the goroutine.
func (w *watch) run(interval time.Duration) {
	defer close(w.done)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-w.stop:
			return
		case <-tick.C:
			w.check()
		}
	}
}

// check looks at the file now. A problem is told of at the second look that finds it: a file that is being written is no event for anybody.
func (w *watch) check() {
	w.mu.Lock()
	defer w.mu.Unlock()
	content, changed, err := w.file.load(context.Background())
	if err == nil && changed {
		if err = w.apply(content); err != nil {
			err = fmt.Errorf("%s: %w", w.file.path, err)
		}
		w.broken = err != nil
	}
	switch {
	case err != nil && err.Error() != w.wrong:
		w.wrong = err.Error()
	case err != nil || w.broken:
		if w.wrong != w.reported {
			w.reported = w.wrong
			w.report(w.wrong + "; what was read before stays in use")
		}
	default:
		if w.reported != "" {
			w.report(w.file.path + ": is right again")
		}
		w.wrong, w.reported = "", ""
	}
}

// degraded reports whether the file as it is is not in use.
func (w *watch) degraded() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.wrong != ""
}

// close ends the watching and waits for its goroutine.
func (w *watch) close() {
	w.once.Do(func() { close(w.stop) })
	<-w.done
}
