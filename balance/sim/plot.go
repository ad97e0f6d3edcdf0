package main

import (
	"bytes"
	"fmt"
	"math"
)

// plot is a chart of lines. It is readable on light and on dark ground: the ground is transparent, words and axes follow what the reader prefers, and the
// colours of the lines, which are told apart by those who do not see all colours, are of middle brightness; marks tell them apart once more.
type plot struct {
	name   string // of the file
	title  string
	x, y   string // what the axes show
	ticks  []float64
	log    bool // the y axis grows by factors
	low    float64
	high   float64 // ends of the y axis
	unit   string  // behind the numbers of the y axis
	lines  []line
	shaded [2]float64 // part of the x axis that is marked; none if equal
}

// line is one series.
type line struct {
	name string
	x, y []float64
}

const (
	width, height               = 760, 360
	left, right, above, beneath = 64, 170, 34, 46
)

// colours and marks of the lines, in order. Read-only.
var (
	colours = []string{"#d55e00", "#3b82c4", "#009e73", "#b8860b", "#a35fa8", "#7f7f7f"}
	marks   = []string{"circle", "square", "diamond", "triangle", "cross", "bar"}
)

// draw returns the plot as SVG.
func (p *plot) draw() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="%s">`+"\n", width, height, width, height, p.title)
	b.WriteString(`<style>text{font:12px sans-serif;fill:#4b5563}.t{font-size:14px;font-weight:600}.a{stroke:#9ca3af;stroke-width:1}.g{stroke:#9ca3af;stroke-opacity:.3}` +
		`.s{fill:#9ca3af;fill-opacity:.18}.l{fill:none;stroke-width:2}@media(prefers-color-scheme:dark){text{fill:#c9d1d9}}</style>` + "\n")
	fmt.Fprintf(&b, `<text class="t" x="%d" y="20">%s</text>`+"\n", left, p.title)
	if p.shaded[0] < p.shaded[1] {
		x := p.px(p.shaded[0])
		fmt.Fprintf(&b, `<rect class="s" x="%.1f" y="%d" width="%.1f" height="%d"/>`+"\n", x, above, p.px(p.shaded[1])-x, height-above-beneath)
	}
	for _, y := range p.grid() {
		fmt.Fprintf(&b, `<line class="g" x1="%d" y1="%.1f" x2="%d" y2="%.1f"/><text x="%d" y="%.1f" text-anchor="end">%s%s</text>`+"\n",
			left, p.py(y), width-right, p.py(y), left-6, p.py(y)+4, number(y), p.unit)
	}
	for _, x := range p.ticks {
		fmt.Fprintf(&b, `<line class="a" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/><text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n",
			p.px(x), height-beneath, p.px(x), height-beneath+4, p.px(x), height-beneath+18, number(x))
	}
	fmt.Fprintf(&b, `<line class="a" x1="%d" y1="%d" x2="%d" y2="%d"/>`+"\n", left, height-beneath, width-right, height-beneath)
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">%s</text>`+"\n", (left+width-right)/2, height-8, p.x)
	fmt.Fprintf(&b, `<text transform="translate(14 %d) rotate(-90)" text-anchor="middle">%s</text>`+"\n", (above+height-beneath)/2, p.y)
	for i := range p.lines {
		p.drawLine(&b, i)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func (p *plot) drawLine(b *bytes.Buffer, i int) {
	l, colour := &p.lines[i], colours[i%len(colours)]
	fmt.Fprintf(b, `<g stroke="%s" fill="%s"><path class="l" d="`, colour, colour)
	for j := range l.x {
		verb := "L"
		if j == 0 {
			verb = "M"
		}
		fmt.Fprintf(b, "%s%.1f %.1f", verb, p.px(l.x[j]), p.py(l.y[j]))
	}
	b.WriteString(`"/>`)
	every := max(1, len(l.x)/10)
	for j := i % every; j < len(l.x); j += every { // the marks of lines that lie on each other stand beside each other
		mark(b, i, p.px(l.x[j]), p.py(l.y[j]))
	}
	y := float64(above + 14 + 22*i)
	fmt.Fprintf(b, `<line class="l" x1="%d" y1="%.1f" x2="%d" y2="%.1f"/>`, width-right+12, y, width-right+40, y)
	mark(b, i, float64(width-right+26), y)
	fmt.Fprintf(b, `</g><text x="%d" y="%.1f">%s</text>`+"\n", width-right+46, y+4, l.name)
}

// mark draws the mark of a line.
func mark(b *bytes.Buffer, i int, x, y float64) {
	switch marks[i%len(marks)] {
	case "circle":
		fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="3.5"/>`, x, y)
	case "square":
		fmt.Fprintf(b, `<rect x="%.1f" y="%.1f" width="6.4" height="6.4"/>`, x-3.2, y-3.2)
	case "diamond":
		fmt.Fprintf(b, `<path d="M%.1f %.1fl4.4 4.4l-4.4 4.4l-4.4 -4.4z"/>`, x, y-4.4)
	case "triangle":
		fmt.Fprintf(b, `<path d="M%.1f %.1fl4.2 7.2h-8.4z"/>`, x, y-4.4)
	case "cross":
		fmt.Fprintf(b, `<path stroke-width="2" d="M%.1f %.1fl7 7m-7 0l7 -7"/>`, x-3.5, y-3.5)
	case "bar":
		fmt.Fprintf(b, `<rect x="%.1f" y="%.1f" width="3" height="9"/>`, x-1.5, y-4.5)
	}
}

// px and py return where a value is drawn; what is off the axis is drawn at its end.
func (p *plot) px(x float64) float64 {
	first, last := p.ticks[0], p.ticks[len(p.ticks)-1]
	return left + (x-first)/(last-first)*(width-left-right)
}

func (p *plot) py(y float64) float64 {
	low, high, y := p.low, p.high, min(max(y, p.low), p.high)
	if p.log {
		low, high, y = math.Log(low), math.Log(high), math.Log(y)
	}
	return height - beneath - (y-low)/(high-low)*(height-above-beneath)
}

// grid returns the values of the y axis that have a number.
func (p *plot) grid() []float64 {
	var all []float64
	if p.log {
		for decade := math.Pow(10, math.Floor(math.Log10(p.low))); decade <= p.high*1.0001; decade *= 10 {
			for _, step := range []float64{1, 2, 5} {
				if y := decade * step; y >= p.low*0.9999 && y <= p.high*1.0001 {
					all = append(all, y)
				}
			}
		}
		return all
	}
	for i := range 6 {
		all = append(all, p.low+(p.high-p.low)*float64(i)/5)
	}
	return all
}

// number writes a number of an axis.
func number(x float64) string { return fmt.Sprintf("%.4g", x) }
