package demo

import (
	"fmt"
	"slices"
	"strings"
)

// style is how a piece of text is shown on a terminal that has colours.
type style uint8

const (
	plain style = iota
	bold
	dim
	good
	warning
	bad
)

// escapes are the SGR sequences of the styles (ECMA-48 section 8.3.117); each ends with a reset. Read-only.
var escapes = [...]string{plain: "", bold: "\x1b[1m", dim: "\x1b[2m", good: "\x1b[32m", warning: "\x1b[33m", bad: "\x1b[31m"}

const resetStyle = "\x1b[0m"

// piece is a stretch of text in one style.
type piece struct {
	style style
	text  string
}

// line is one line of the screen. Lines of a higher rank are left out first when the screen is too low.
type line struct {
	pieces []piece
	rank   int
}

// The ranks: the last to go are the figures, which are what the demonstration is about.
const (
	keep   = iota
	hint   // a command to try
	recent // one of the latest two events
	gap    // an empty line between two parts
	older  // an earlier event
	spare  // the empty line below the title
)

func say(rank int, pieces ...piece) line { return line{pieces, rank} }

// wideFrom is the width in columns from which the table has its long form.
const wideFrom = 104

// layout returns the lines that show a frame on a screen of the given size in columns and rows.
func layout(f *frame, width, height int) []line {
	title := fmt.Sprintf("Sluice demo: a mobile bank, %s requests/s", count(uint64(f.rate)))
	right := clock(f.elapsed) + "  Ctrl-C ends"
	lines := []line{say(keep, piece{bold, title}, piece{dim, strings.Repeat(" ", max(2, width-len(title)-len(right))) + right}), say(spare)}
	lines = append(lines, say(hint, piece{dim, "file "}, piece{plain, f.source}))
	for i, t := range f.tries {
		label := "     "
		if i == 0 {
			label = "try  "
		}
		lines = append(lines, say(hint, piece{dim, label}, piece{plain, t}))
	}
	lines = append(lines, say(gap))
	lines = append(lines, figureLines(f)...)
	lines = append(lines, say(gap))
	lines = append(lines, tableLines(f, width >= wideFrom)...)
	lines = append(lines, say(gap))
	for i, e := range f.events {
		rank := older
		if i >= len(f.events)-2 {
			rank = recent
		}
		lines = append(lines, say(rank, piece{dim, clock(e.at) + "  "}, piece{plain, e.text}))
	}
	return fit(lines, height)
}

// figureLines are what the client sees.
func figureLines(f *frame) []line {
	head := fmt.Sprintf("%-11s  %9s  %7s  %7s  %6s  %13s  %6s", "", "requests", "p50", "p99", "failed", "retries saved", "cached")
	// What could not be sent is no fault of the proxy's, but the other figures say less then.
	partial := f.total.skipped > 0
	if partial {
		head += fmt.Sprintf("  %6s", "unsent")
	}
	return []line{
		say(keep, piece{bold, head}),
		figureLine("last second", &f.last, count(uint64(f.last.perSecond()+0.5))+"/s", partial),
		figureLine("since start", &f.total, count(f.total.answered+f.total.failed), partial),
	}
}

func figureLine(label string, f *figures, requests string, partial bool) line {
	failed, saved := good, plain
	if f.failed > 0 {
		failed = bad
	}
	if f.saved > 0 {
		saved = good
	}
	pieces := []piece{
		{bold, fmt.Sprintf("%-11s", label)},
		{plain, fmt.Sprintf("  %9s  %7s  %7s", requests, duration(f.p50), duration(f.p99))},
		{failed, fmt.Sprintf("  %6s", count(f.failed))},
		{saved, fmt.Sprintf("  %13s", count(f.saved))},
		{plain, fmt.Sprintf("  %6s", percent(f.cachedShare()))},
	}
	if partial {
		pieces = append(pieces, piece{bad, fmt.Sprintf("  %6s", count(f.skipped))})
	}
	return say(keep, pieces...)
}

// Columns of the table. The state's holds the longest state, the trouble's the shortest form of a trouble, so that all fits 80 columns.
const (
	shortRow = "%-12s  %-8s  "
	wideRow  = "%-12s  %-15s  "
	rowState = "%-12s  "
	rowRest  = "%9s  %5s  %8s  %5s"
)

// tableLines is the table of endpoints.
func tableLines(f *frame, wide bool) []line {
	format, where, ill := shortRow, port, func(t trouble) string { return t.word }
	if wide {
		format, where, ill = wideRow, func(a string) string { return a }, func(t trouble) string { return t.phrase }
	}
	head := fmt.Sprintf(format+rowState+rowRest+"  %s", "backend", "endpoint", "state", "in flight", "req/s", "failures", "share", "trouble")
	lines := []line{say(keep, piece{bold, head})}
	for _, b := range f.backends {
		for i, e := range b.endpoints {
			name := b.name
			if i > 0 {
				name = ""
			}
			state, shown := e.status()
			failures := plain
			if e.failures > 0 {
				failures = warning
			}
			pieces := []piece{
				{plain, fmt.Sprintf(format, name, where(e.address))},
				{shown, fmt.Sprintf(rowState, state)},
				{plain, fmt.Sprintf("%9d  %5s  ", e.inFlight, count(uint64(e.perSecond+0.5)))},
				{failures, fmt.Sprintf("%8s", count(e.failures))},
				{plain, fmt.Sprintf("  %5s", percent(e.share))},
			}
			if trouble := ill(e.trouble); trouble != "" {
				pieces = append(pieces, piece{warning, "  " + trouble})
			}
			lines = append(lines, say(keep, pieces...))
		}
	}
	return lines
}

// status returns the word for the endpoint's state and how it is shown.
func (e *endpointRow) status() (string, style) {
	switch e.state {
	case down:
		return "down", bad
	case ejected:
		return fmt.Sprintf("ejected %.1fs", max(0.1, e.ejected.Seconds())), warning // it is never for 0.0s
	}
	return "healthy", good
}

// fit leaves out lines until height of them are left: the highest rank first. Of one rank the first line goes first, for events stand in
// the order in which they happened, but of hints the last. In the end the last lines go.
func fit(lines []line, height int) []line {
	for rank := spare; rank > keep && len(lines) > height; rank-- {
		of := func(l line) bool { return l.rank == rank }
		for len(lines) > height {
			i := slices.IndexFunc(lines, of)
			if i < 0 {
				break
			}
			for rank == hint && i+1 < len(lines) && of(lines[i+1]) {
				i++
			}
			lines = slices.Delete(lines, i, i+1)
		}
	}
	return lines[:min(len(lines), height)]
}

// write adds the line to b, cut to width characters, with colours or without.
func (l *line) write(b *strings.Builder, width int, colour bool) {
	for _, p := range l.pieces {
		text := []rune(p.text)
		text = text[:min(len(text), width)]
		width -= len(text)
		if len(text) == 0 {
			continue
		}
		if colour && p.style != plain {
			b.WriteString(escapes[p.style] + string(text) + resetStyle)
		} else {
			b.WriteString(string(text))
		}
	}
}
