package proxy

import (
	"runtime"
	"time"

	"github.com/sluice-gateway/sluice/expr"
	"github.com/sluice-gateway/sluice/message"
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

// hidden takes the place of a credential in the log.
const hidden = "***"

// visible returns a query as the log may show it: without the values of parameters that hold credentials, whatever became of the request.
func (s *Site) visible(x *message.Exchange, query []byte) []byte {
	if !s.secret(query) {
		return query
	}
	b := x.Scratch()
	for rest, more := query, true; more; {
		var p expr.Parameter
		p, rest, more = expr.CutParameter(rest)
		if p.Value != nil && s.isSecret(p.Name) {
			b = append(append(append(b, p.Name...), '='), hidden...)
		} else {
			b = append(b, p.Raw...)
		}
		if more {
			b = append(b, '&')
		}
	}
	return x.KeepScratch(b)
}

// secret reports whether a query has a parameter that holds a credential.
func (s *Site) secret(query []byte) bool {
	for _, name := range s.Secrets {
		if _, ok := expr.FindParameter(query, name); ok {
			return true
		}
	}
	return false
}

func (s *Site) isSecret(encoded []byte) bool {
	for _, name := range s.Secrets {
		if expr.EqualDecoded(encoded, name) {
			return true
		}
	}
	return false
}
