// Package metric counts, measures and logs what the other packages do.
//
// Three rules shape it:
//
//   - The hot path never looks anything up by name. A configuration resolves its series once, through a [Scope],
//     and keeps the handles ([Counter], [Gauge], [Histogram]); a request only adds to them. No handle method allocates,
//     locks or blocks, and every handle method may be called on a nil handle, which does nothing.
//   - Everything is bounded: the number of series of a family (the rest is counted under the label value "other"),
//     the length of a label value, the buckets of a histogram, the bytes that wait for the access log. What did not fit is counted.
//   - There is no global registry. The gateway makes one [Registry], hands it down, and writes it out in the
//     Prometheus text format 0.0.4.
//
// The access log has two halves: [Line] encodes one JSON line into a buffer of the caller, [LogWriter] takes finished
// lines from any number of goroutines without ever making them wait for a disk or a pipe.
package metric
