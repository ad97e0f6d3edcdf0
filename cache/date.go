package cache

import (
	"strings"
	"time"

	"github.com/sluice-gateway/sluice/message"
)

// months is read-only.
const months = "janfebmaraprmayjunjulaugsepoctnovdec"

// parseDate reads an HTTP date in any of its three forms (RFC 9110 section 5.6.7) and returns it in seconds since 1970. now, in the same unit, tells
// the century of the form with two digits. It does not allocate.
func parseDate(b []byte, now int64) (unix int64, ok bool) {
	var p dateReader
	p.rest = b
	n := 0
	for n < len(b) && b[n]|0x20 >= 'a' && b[n]|0x20 <= 'z' {
		n++
	}
	if n < 3 {
		return 0, false
	}
	p.rest = b[n:]
	var day, month, year int
	switch {
	case len(p.rest) > 0 && p.rest[0] != ',': // Sun Nov  6 08:49:37 1994
		p.literal(' ')
		month = p.month()
		p.literal(' ')
		day = p.day()
		p.literal(' ')
		p.clock()
		p.literal(' ')
		year = p.number(4)
	case n == 3: // Sun, 06 Nov 1994 08:49:37 GMT
		p.literal(',')
		p.literal(' ')
		day = p.number(2)
		p.literal(' ')
		month = p.month()
		p.literal(' ')
		year = p.number(4)
		p.literal(' ')
		p.clock()
		p.zone()
	default: // Sunday, 06-Nov-94 08:49:37 GMT
		p.literal(',')
		p.literal(' ')
		day = p.number(2)
		p.literal('-')
		month = p.month()
		p.literal('-')
		year = century(p.number(2), now)
		p.literal(' ')
		p.clock()
		p.zone()
	}
	if p.failed || len(p.rest) > 0 || day < 1 || day > 31 || p.hour > 23 || p.minute > 59 || p.second > 60 {
		return 0, false
	}
	return time.Date(year, time.Month(month), day, p.hour, p.minute, p.second, 0, time.UTC).Unix(), true
}

// century completes a year of two digits: what would be more than 50 years ahead is the past.
func century(year int, now int64) int {
	present := time.Unix(now, 0).UTC().Year()
	year += present - present%100
	if year > present+50 {
		year -= 100
	}
	return year
}

// dateReader reads the parts of a date.
type dateReader struct {
	rest   []byte
	failed bool

	hour, minute, second int
}

func (p *dateReader) literal(c byte) {
	if len(p.rest) == 0 || p.rest[0] != c {
		p.failed = true
		return
	}
	p.rest = p.rest[1:]
}

// number reads that many digits.
func (p *dateReader) number(digits int) (n int) {
	if len(p.rest) < digits {
		p.failed = true
		return 0
	}
	for _, c := range p.rest[:digits] {
		if c < '0' || c > '9' {
			p.failed = true
			return 0
		}
		n = 10*n + int(c-'0')
	}
	p.rest = p.rest[digits:]
	return n
}

// day reads the day of asctime, which has a space in place of a leading zero.
func (p *dateReader) day() int {
	if len(p.rest) > 0 && p.rest[0] == ' ' {
		p.rest = p.rest[1:]
		return p.number(1)
	}
	return p.number(2)
}

// month reads the first three letters of a month, in any case.
func (p *dateReader) month() int {
	if len(p.rest) < 3 {
		p.failed = true
		return 1
	}
	for i := 0; i < len(months); i += 3 {
		if message.EqualFold(p.rest[:3], months[i:i+3]) {
			p.rest = p.rest[3:]
			return i/3 + 1
		}
	}
	p.failed = true
	return 1
}

func (p *dateReader) clock() {
	p.hour = p.number(2)
	p.literal(':')
	p.minute = p.number(2)
	p.literal(':')
	p.second = p.number(2)
}

func (p *dateReader) zone() {
	p.literal(' ')
	if len(p.rest) != 3 || !message.EqualFold(p.rest, "GMT") && !message.EqualFold(p.rest, "UTC") {
		p.failed = true
		return
	}
	p.rest = nil
}

// appendDate appends a date as it is written nowadays.
func appendDate(dst []byte, t time.Time) []byte {
	return t.UTC().AppendFormat(dst, "Mon, 02 Jan 2006 15:04:05 GMT")
}

// dateOf returns the date in the only field id of h. Two fields are as good as none.
func dateOf(h *message.Header, id message.ID, now int64) (unix int64, ok bool) {
	v := h.Get(id)
	if v == nil || h.Count(id) > 1 {
		return 0, false
	}
	return parseDate(v, now)
}

// lower returns the text in lower case, without an allocation where it is so already.
func lower(b []byte) string { return strings.ToLower(string(b)) }
