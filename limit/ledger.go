package limit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// LedgerFile is the name of the file that a Ledger keeps in its directory.
const LedgerFile = "quota.db"

const (
	// ledgerPeriod is how often changes are written; what was counted since the last time is lost when the process is killed.
	ledgerPeriod = time.Second
	// ledgerCleaning is how many writes there are between two looks for terms that are over.
	ledgerCleaning = 60
	// ledgerBatch bounds the counts of one transaction.
	ledgerBatch = 20_000
	// ledgerLock is how long another process may take to let go of the file, as one does that is being replaced.
	ledgerLock = 2 * time.Second
)

// LedgerOptions are those of a Ledger.
type LedgerOptions struct {
	// Dir is the directory of the file. It is made if it is not there.
	Dir string
	// Clock tells the time of day; required.
	Clock func() time.Time
	// Report is called with one line when the file cannot be written, and one when it can be again; nil drops them. It must not block.
	Report func(line string)
}

// Ledger keeps the counts of quotas in a file, so that they outlive the process: what was counted is written each second by one goroutine, and the
// rest by Close. A process that is killed loses at most what was counted since the last write. Terms of the calendar that are over are deleted.
//
// All methods may be called by any goroutine.
type Ledger struct {
	clock  func() time.Time
	report func(line string)
	seed   seed

	mu     sync.Mutex // guards the fields below and is held while the file is written; no request ever takes it
	file   *ledgerFile
	quotas []*Quota
	counts []count // for collect, kept for the next time
	ticks  int
	broken string // why the last write failed

	writes, failures atomic.Uint64

	stop chan struct{}
	done chan struct{}
}

// OpenLedger opens or makes the file. An error says what is wrong with it and what to do: it is in use by another process, cannot be read or
// written, or is damaged.
func OpenLedger(o LedgerOptions) (*Ledger, error) {
	if o.Clock == nil {
		return nil, errors.New("a ledger needs a clock")
	}
	if o.Report == nil {
		o.Report = func(string) {}
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("state directory: %w; name one that can be written", err)
	}
	l := &Ledger{clock: o.Clock, report: o.Report, stop: make(chan struct{}), done: make(chan struct{})}
	f, err := openLedgerFile(filepath.Join(o.Dir, LedgerFile), ledgerLock)
	if err != nil {
		return nil, err
	}
	l.file, l.seed = f, f.seed
	if err := f.clean(l.clock().Unix()); err != nil {
		_ = f.close()
		return nil, err
	}
	go l.run()
	return l, nil
}

// Quota returns a quota with what the ledger knows of its present term. It is an error if one of the same name, period and zone is already open.
func (l *Ledger) Quota(o QuotaOptions) (*Quota, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	q := newQuota(o, l.seed)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil, errors.New("the ledger is closed")
	}
	if slices.ContainsFunc(l.quotas, func(other *Quota) bool { return other.scope == q.scope }) {
		return nil, fmt.Errorf("the quota %q is kept in the ledger twice: give one of them another name", o.Name)
	}
	t := q.calendar.at(l.clock().UnixNano())
	if err := l.file.load(q.scope, t, q.load); err != nil {
		return nil, err
	}
	q.changes = make([]changes, len(q.t.shards))
	q.ledger = l
	l.quotas = append(l.quotas, q)
	return q, nil
}

// run is the goroutine that writes.
func (l *Ledger) run() {
	defer close(l.done)
	tick := time.NewTicker(ledgerPeriod)
	defer tick.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-tick.C:
			_ = l.Flush() // was reported
		}
	}
}

// Flush writes what has changed, now. The error is also reported.
func (l *Ledger) Flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.flush()
}

func (l *Ledger) flush() error {
	if l.file == nil {
		return errors.New("the ledger is closed")
	}
	var all error
	for _, q := range l.quotas {
		all = errors.Join(all, l.write(q))
	}
	if l.ticks++; l.ticks%ledgerCleaning == 0 && all == nil {
		all = l.file.clean(l.clock().Unix())
	}
	l.tell(all)
	return all
}

// write writes the changes of one quota. What cannot be written stays a change.
func (l *Ledger) write(q *Quota) error {
	l.counts = q.collect(l.counts[:0])
	if len(l.counts) == 0 {
		return nil
	}
	defer func() {
		if cap(l.counts) > 4*ledgerBatch {
			l.counts = nil // after a flood
		}
	}()
	// In the order of the file, so that neighbours are written together.
	slices.SortFunc(l.counts, func(a, b count) int { return a.d.compare(b.d) })
	current := q.calendar.at(l.clock().UnixNano())
	for at := 0; at < len(l.counts); at += ledgerBatch {
		if err := l.file.save(q.scope, current, &q.calendar, l.counts[at:min(at+ledgerBatch, len(l.counts))]); err != nil {
			q.recollect(l.counts[at:])
			return err
		}
		l.writes.Add(1)
	}
	return nil
}

// tell reports a change between writes that work and writes that fail.
func (l *Ledger) tell(err error) {
	text := ""
	if err != nil {
		l.failures.Add(1)
		text = err.Error()
	}
	switch {
	case text != "" && l.broken == "":
		l.report(text + "; quotas are counted in memory, and are lost if the program ends before it can be written")
	case text == "" && l.broken != "":
		l.report("the quotas are written again")
	}
	l.broken = text
}

// leave is Quota.Close.
func (l *Ledger) leave(q *Quota) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := slices.Index(l.quotas, q)
	if at < 0 {
		return nil
	}
	l.quotas = slices.Delete(l.quotas, at, at+1)
	if l.file == nil {
		return nil
	}
	err := l.write(q)
	l.tell(err)
	return err
}

// LedgerStats tells how writing goes.
type LedgerStats struct {
	Writes   uint64 // transactions since the start
	Failures uint64 // writes that failed, since the start
	Broken   string // why the last write failed; "" if it did not
}

// Stats returns how writing goes. It may wait for a write that is under way.
func (l *Ledger) Stats() LedgerStats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return LedgerStats{Writes: l.writes.Load(), Failures: l.failures.Load(), Broken: l.broken}
}

// Close writes what has changed, joins the goroutine and closes the file. The quotas can still be asked; what they count from now on is lost.
func (l *Ledger) Close() error {
	l.mu.Lock()
	if l.file == nil {
		l.mu.Unlock()
		return nil
	}
	err := l.flush()
	f := l.file
	l.file = nil
	close(l.stop)
	l.mu.Unlock()
	<-l.done
	return errors.Join(err, f.close())
}

// compare orders digests.
func (d digest) compare(o digest) int {
	switch {
	case d == o:
		return 0
	case d.hi < o.hi || d.hi == o.hi && d.lo < o.lo:
		return -1
	}
	return 1
}
