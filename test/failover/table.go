package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"
)

// comparison is one scenario with all proxies.
type comparison struct {
	scenario *scenario
	timing   timing
	outcomes []*outcome
}

// heads are the columns of a table. Read-only.
var heads = []string{"proxy", "requests", "failed GET", "failed POST", "wrong", "POST twice", "p50", "p99", "p99 after 2 s", "share of a, b, c", "result"}

// rows is the table, cell by cell.
func (c *comparison) rows() [][]string {
	table := [][]string{heads}
	for _, o := range c.outcomes {
		table = append(table, o.row())
	}
	return table
}

func (o *outcome) row() []string {
	if o.missing != "" {
		row := []string{o.proxy, o.missing}
		for len(row) < len(heads) {
			row = append(row, "–")
		}
		return row
	}
	whole := span{0, o.timing.length}
	late, result := "–", "not judged"
	if !o.scenario.always && !o.scenario.inTurn {
		late = o.latency(0.99, o.timing.late)
	}
	if o.proxy == "sluice" {
		if result = "holds"; len(o.problems) > 0 {
			result = "DOES NOT HOLD"
		}
	}
	return []string{o.proxy, fmt.Sprint(len(o.results)), fmt.Sprint(o.failures(false, whole)), fmt.Sprint(o.failures(true, whole)), fmt.Sprint(o.wrongs()),
		fmt.Sprint(o.repeated()), o.latency(0.5, whole), o.latency(0.99, whole), late, o.shares(), result}
}

// shares is the share of each endpoint while the bad one fails; where they fail in turn, of the whole run.
func (o *outcome) shares() string {
	when := o.timing.fault
	if o.scenario.inTurn {
		when = span{0, o.timing.length}
	}
	var parts []string
	for _, name := range endpointNames {
		share, _ := o.share(name, when)
		parts = append(parts, fmt.Sprintf("%.1f", 100*share))
	}
	return strings.Join(parts, ", ") + " %"
}

func (o *outcome) latency(q float64, s span) string {
	d, ok := o.quantile(q, s)
	if !ok {
		return "–"
	}
	return milliseconds(d)
}

func milliseconds(d time.Duration) string {
	ms := float64(d) / float64(time.Millisecond)
	if ms < 100 {
		return fmt.Sprintf("%.1f ms", ms)
	}
	return fmt.Sprintf("%.0f ms", ms)
}

// when says in words when the endpoints fail.
func (c *comparison) when() string {
	at := func(d time.Duration) string { return fmt.Sprintf("%.3g s", d.Seconds()) }
	switch {
	case c.scenario.inTurn:
		return fmt.Sprintf("at %s, %s and %s of %s", at(c.timing.turn(0).from), at(c.timing.turn(1).from), at(c.timing.turn(2).from), at(c.timing.length))
	case c.scenario.always:
		return "all the time"
	}
	return fmt.Sprintf("from %s to %s of %s", at(c.timing.fault.from), at(c.timing.fault.to), at(c.timing.length))
}

// mostDetails bounds the causes that are shown for a proxy.
const mostDetails = 6

// text writes the table for a terminal, and below it what failed and what does not hold.
func (c *comparison) text(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s: %s, %s\n\n", c.scenario.name, c.scenario.title, c.when())
	table := c.rows()
	widths := make([]int, len(heads))
	for _, row := range table {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range table {
		var line strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i == 0 || i == len(row)-1 {
				line.WriteString(cell + pad + "  ")
			} else {
				line.WriteString(pad + cell + "  ")
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	b.WriteByte('\n')
	for _, o := range c.outcomes {
		o.remarks(&b)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (o *outcome) remarks(b *strings.Builder) {
	if o.missing != "" {
		return
	}
	fmt.Fprintf(b, "%-8s p99 by second:", o.proxy)
	for _, p99 := range o.seconds() {
		fmt.Fprintf(b, " %.0f", float64(p99)/float64(time.Millisecond))
	}
	fmt.Fprintf(b, " ms; the machine held up clients or endpoints for up to %v", round(o.disturbance()))
	if o.again > 0 {
		fmt.Fprintf(b, " (run %d)", o.again+1)
	}
	b.WriteByte('\n')
	details := o.details()
	for i, detail := range details {
		if i == mostDetails {
			fmt.Fprintf(b, "         and %d more causes\n", len(details)-i)
			break
		}
		fmt.Fprintf(b, "         %s\n", detail)
	}
	for _, problem := range o.problems {
		fmt.Fprintf(b, "%-8s DOES NOT HOLD: %s\n", o.proxy, problem)
	}
	for _, note := range o.notes {
		fmt.Fprintf(b, "         %s\n", note)
	}
}

// markdown writes one section of the page.
func (c *comparison) markdown(b *strings.Builder) {
	fmt.Fprintf(b, "### %s: %s\n\n", c.scenario.name, c.scenario.title)
	fmt.Fprintf(b, "When: %s. %s\n\n", c.when(), c.scenario.note)
	for n, row := range c.rows() {
		b.WriteString("| " + strings.Join(row, " | ") + " |\n")
		if n == 0 {
			b.WriteString("|---" + strings.Repeat("|--:", len(row)-2) + "|---|\n")
		}
	}
	b.WriteByte('\n')
}

// The markers between which writeMarkdown writes.
const (
	markerBegin = "<!-- Written by go run ./test/failover -markdown; do not edit up to the next marker. -->\n"
	markerEnd   = "<!-- End of what go run ./test/failover has written. -->\n"
)

// writeMarkdown replaces what stands between the markers of a file by a line about the circumstances and the tables.
func writeMarkdown(path, circumstances string, all []comparison) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString(circumstances + "\n\n")
	for i := range all {
		all[i].markdown(&b)
	}
	text, err = between(text, b.String())
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, text, 0o644)
}

// between returns text with other words between its markers.
func between(text []byte, words string) ([]byte, error) {
	before, rest, ok := bytes.Cut(text, []byte(markerBegin))
	_, after, end := bytes.Cut(rest, []byte(markerEnd))
	if !ok || !end {
		return nil, errors.New("the markers of the tables are missing")
	}
	return []byte(string(before) + markerBegin + "\n" + words + markerEnd + string(after)), nil
}
