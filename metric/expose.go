package metric

import (
	"cmp"
	"io"
	"slices"
	"strconv"
)

// ContentType is the media type of what [Registry.WriteTo] writes.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// flushSize is how much of the page is collected before it is written.
const flushSize = 32 << 10

// bound is one `le` of the exposed histograms.
type bound struct {
	text   string
	bucket int // index of the last bucket that the bound includes
}

// bounds are the same for every histogram, from 100 µs to a minute, so that they can be added up. All are edges of buckets.
var bounds = func() []bound {
	var list []bound
	for _, text := range []string{"0.0001", "0.00025", "0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05",
		"0.1", "0.25", "0.5", "1", "2.5", "5", "10", "30", "60"} {
		sec, err := strconv.ParseFloat(text, 64)
		if err != nil {
			continue // a test checks that every bound is there
		}
		dec, sub := bucketOf(uint64(sec*1e9 + 0.5))
		list = append(list, bound{text: text, bucket: dec*perDecade + sub})
	}
	return list
}()

// byName lists the families in the order of the page.
var byName = func() (ids [numFamilies]ID) {
	for i := range ids {
		ids[i] = ID(i)
	}
	slices.SortFunc(ids[:], func(a, b ID) int { return cmp.Compare(table[a].name, table[b].name) })
	return ids
}()

// WriteTo writes all series in the Prometheus text exposition format 0.0.4: families sorted by name, series by labels. Families without
// series, and histograms that have observed nothing yet, are left out. It may run at the same time as itself and as everything else and holds
// no lock while it writes, so a slow reader delays nobody. It returns the bytes written and the first error of w.
func (r *Registry) WriteTo(w io.Writer) (int64, error) {
	p := page{w: w, buf: make([]byte, 0, flushSize+4<<10)}
	if r == nil {
		return 0, nil
	}
	scraped := r.scrape()
	for _, id := range byName {
		if p.err != nil {
			break
		}
		f := &r.families[id]
		if f.scraped {
			if v := scraped[id]; v.known {
				p.head(f)
				p.series(f.name, "", "", "")
				p.float(v.value)
			}
			continue
		}
		p.family(f)
	}
	p.flush()
	return p.n, p.err
}

// page is the exposition while it is written.
type page struct {
	w    io.Writer
	buf  []byte
	n    int64
	err  error
	snap Snapshot
}

func (p *page) family(f *family) {
	headed := false
	for _, s := range f.snapshot() {
		if p.err != nil {
			return
		}
		if s.histogram != nil && s.histogram.empty() {
			continue
		}
		if !headed {
			p.head(f)
			headed = true
		}
		switch {
		case s.counter != nil:
			p.series(f.name, "", s.labels, "")
			p.uint(uint64(s.counterValue()))
		case s.gauge != nil:
			p.series(f.name, "", s.labels, "")
			p.buf = append(strconv.AppendInt(p.buf, s.gaugeValue(), 10), '\n')
		default:
			p.histogram(f.name, s)
		}
		if len(p.buf) >= flushSize {
			p.flush()
		}
	}
}

func (p *page) histogram(name string, s *series) {
	s.histogram.Snapshot(&p.snap)
	var sum uint64
	next := 0
	for _, b := range bounds {
		for ; next <= b.bucket; next++ {
			sum += p.snap.counts[next]
		}
		p.series(name, "_bucket", s.labels, b.text)
		p.uint(sum)
	}
	for ; next < numBuckets; next++ {
		sum += p.snap.counts[next]
	}
	p.series(name, "_bucket", s.labels, "+Inf")
	p.uint(sum)
	p.series(name, "_sum", s.labels, "")
	p.float(p.snap.Sum())
	p.series(name, "_count", s.labels, "")
	p.uint(sum)
}

// head writes the two comment lines. The help texts of the table need no escaping; a test checks it.
func (p *page) head(f *family) {
	p.text("# HELP ", f.name, " ", f.help, "\n# TYPE ", f.name, " ", f.kind.String(), "\n")
}

// series writes a sample's name and labels and the space behind them.
func (p *page) series(name, suffix, labels, le string) {
	p.text(name, suffix)
	if labels != "" || le != "" {
		p.text("{", labels)
		if le != "" {
			if labels != "" {
				p.text(",")
			}
			p.text(`le="`, le, `"`)
		}
		p.text("}")
	}
	p.text(" ")
}

func (p *page) text(parts ...string) {
	for _, s := range parts {
		p.buf = append(p.buf, s...)
	}
}

func (p *page) uint(v uint64) { p.buf = append(strconv.AppendUint(p.buf, v, 10), '\n') }

func (p *page) float(v float64) {
	p.buf = append(strconv.AppendFloat(p.buf, v, 'g', -1, 64), '\n')
}

func (p *page) flush() {
	if p.err == nil && len(p.buf) > 0 {
		n, err := p.w.Write(p.buf)
		p.n += int64(n)
		if err == nil && n < len(p.buf) {
			err = io.ErrShortWrite
		}
		p.err = err
	}
	p.buf = p.buf[:0]
}
