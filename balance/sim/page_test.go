package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestPageHasAllResults: the page has a filled place for every comparison, and for no other, and its plots are there.
func TestPageHasAllResults(t *testing.T) {
	page, err := os.ReadFile("../../docs/balancing.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range comparisons {
		_, rest, ok := bytes.Cut(page, []byte("<!-- simulated: "+c.name+" -->\n"))
		table, _, ok2 := bytes.Cut(rest, []byte("<!-- end: "+c.name+" -->"))
		if !ok || !ok2 || bytes.Count(table, []byte("\n| ")) < 3 {
			t.Errorf("the page has no table of %s: run make sim", c.name)
		}
	}
	if got := bytes.Count(page, []byte("<!-- simulated: ")); got != len(comparisons) {
		t.Errorf("the page has places for %d results, and there are %d", got, len(comparisons))
	}
	for _, m := range regexp.MustCompile(`\((balancing/[a-z-]+\.svg)\)`).FindAllSubmatch(page, -1) {
		svg, err := os.ReadFile("../../docs/" + string(m[1]))
		if err != nil {
			t.Error(err)
			continue
		}
		checkSVG(t, svg)
	}
}

func TestFill(t *testing.T) {
	const page = "# P\n\n<!-- simulated: a -->\nold\n<!-- end: a -->\n\n<!-- simulated: b -->\n<!-- end: b -->\n"
	got, err := fill([]byte(page), "a", "| x |\n")
	if want := strings.Replace(page, "old\n", "| x |\n", 1); err != nil || string(got) != want {
		t.Errorf("got %q, %v", got, err)
	}
	if again, err := fill(got, "a", "| x |\n"); err != nil || !bytes.Equal(again, got) {
		t.Errorf("filled again: %q, %v", again, err)
	}
	for _, name := range []string{"c", ""} {
		if _, err := fill([]byte(page), name, ""); err == nil {
			t.Errorf("no error for a place %q that is not there", name)
		}
	}
}

func TestTable(t *testing.T) {
	table := newTable("a", "b")
	table.add("x", "1")
	if got, want := table.text(), "| a | b |\n|---|---:|\n| x | 1 |\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestPlot: well-formed, with every line named, and nothing drawn outside.
func TestPlot(t *testing.T) {
	for _, logarithmic := range []bool{false, true} {
		p := plot{title: "T", x: "x", y: "y", ticks: []float64{0, 5, 10}, log: logarithmic, low: 1, high: 100, shaded: [2]float64{2, 4}}
		for i := range 7 { // one more than there are colours
			p.point(i, "line "+string(rune('a'+i)), 0, 0)
			p.point(i, "line "+string(rune('a'+i)), 10, 1e9)
		}
		svg := p.draw()
		checkSVG(t, svg)
		for i := range 7 {
			if !bytes.Contains(svg, []byte(">line "+string(rune('a'+i))+"<")) {
				t.Errorf("line %d has no name", i)
			}
		}
		if y := p.py(1); y != height-beneath {
			t.Errorf("the lowest value is drawn at %v", y)
		}
		if y := p.py(1e9); y != above {
			t.Errorf("a value above the axis is drawn at %v", y)
		}
	}
}

// checkSVG holds that a file is XML, and that no number in it is none.
func checkSVG(t *testing.T, svg []byte) {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(svg))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Errorf("not well-formed: %v", err)
			return
		}
	}
	if bytes.Contains(svg, []byte("NaN")) || bytes.Contains(svg, []byte("Inf")) {
		t.Error("a number is missing")
	}
}
