package proxy

import (
	"runtime"
	"time"

	"github.com/sluice-gateway/sluice/metric"
)

// Log is an access log with an account of the lines that exchanges under way still owe it, so that
// a log which a configuration has replaced can wait for them. It is safe for concurrent use.
type Log struct {
	writer *metric.LogWriter

	// Lines announced when an exchange begins, and those handed over when it has ended.
	due, given *metric.Counter
}

// NewLog returns a Log over w, which belongs to it from then on.
func NewLog(w *metric.LogWriter) *Log {
	shards := runtime.GOMAXPROCS(0)
	return &Log{writer: w, due: metric.NewCounter(shards), given: metric.NewCounter(shards)}
}

// Settled reports whether all lines that were announced have been handed over. More may come as
// long as a site has the log.
func (l *Log) Settled() bool {
	given := l.given.Value() // first: what ends in between makes it too small, never too large
	return given == l.due.Value()
}

// Reopen is metric.LogWriter.Reopen.
func (l *Log) Reopen() error { return l.writer.Reopen() }

// Close is metric.LogWriter.Close.
func (l *Log) Close(bound time.Duration) error { return l.writer.Close(bound) }
