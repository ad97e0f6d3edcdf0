package main

import (
	"bytes"
	"fmt"
	"strings"
)

// table is a Markdown table; columns after the first hold figures.
type table struct{ rows [][]string }

func newTable(head ...string) *table { return &table{[][]string{head}} }

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) text() string {
	var b strings.Builder
	for i, row := range t.rows {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			fmt.Fprintf(&b, "|---%s|\n", strings.Repeat("|---:", len(row)-1))
		}
	}
	return b.String()
}

// fill puts text between the two marks of a name in a page, where what a simulation before this has written is.
func fill(page []byte, name, text string) ([]byte, error) {
	open, end := []byte("<!-- simulated: "+name+" -->\n"), []byte("<!-- end: "+name+" -->")
	before, rest, ok := bytes.Cut(page, open)
	_, after, ok2 := bytes.Cut(rest, end)
	if !ok || !ok2 {
		return nil, fmt.Errorf("no lines %q and %q around the place of the results", bytes.TrimSpace(open), end)
	}
	return bytes.Join([][]byte{before, open, []byte(text), end, after}, nil), nil
}
