package metric

import (
	"strconv"
	"time"
	"unicode/utf8"
)

// maxString bounds the text of one field in bytes before escaping. What is longer is cut and ends with "…".
const maxString = 4096

// maxLineKept is the largest buffer that a Line keeps. Texts grow by up to six times when they are escaped, and a client that sends such ones
// shall not blow up every pooled Line for good.
const maxLineKept = 16 << 10

// Key is the name of a field of a [Line], encoded once when the program starts.
type Key struct{ text string }

// NewKey encodes a field name. It allocates; keep the result.
func NewKey(name string) Key { return Key{text: string(AppendString(nil, name)) + ":"} }

// Line encodes one access-log line, a flat JSON object, into a buffer that it keeps for the next line. It belongs to one goroutine at a time,
// usually as a field of something pooled. In the steady state no method allocates. The zero value is good.
//
//	l.Start()
//	l.Time(keyTime, now)
//	l.Bytes(keyPath, path)
//	log.Append(l.End())
//
// Every field leaves a comma behind itself, which the next field needs and End replaces; that saves a branch for each field.
type Line struct {
	buf []byte
	sec int64 // the Unix second whose text is in text
	// text is `"2006-01-02T15:04:05.`; a second is rendered once, then copied.
	text [21]byte
}

// Start begins a line and forgets the one before.
func (l *Line) Start() {
	if cap(l.buf) > maxLineKept {
		l.buf = nil
	}
	l.buf = append(l.buf[:0], '{')
}

// End finishes the line and returns it with its newline. The bytes belong to the Line and are valid until Start.
func (l *Line) End() []byte {
	if n := len(l.buf); n > 0 && l.buf[n-1] == ',' {
		l.buf = l.buf[:n-1]
	}
	l.buf = append(l.buf, '}', '\n')
	return l.buf
}

// String adds a text. The string is copied.
func (l *Line) String(k Key, v string) {
	l.buf = append(l.buf, k.text...)
	if len(v) > maxString {
		cut := cutAt(v)
		l.buf = AppendString(l.buf, v[:cut])
		l.ellipsis()
	} else {
		l.buf = AppendString(l.buf, v)
	}
	l.buf = append(l.buf, ',')
}

// Bytes adds a text. The bytes are copied.
func (l *Line) Bytes(k Key, v []byte) {
	l.buf = append(l.buf, k.text...)
	if len(v) > maxString {
		cut := cutAt(v)
		l.buf = AppendBytes(l.buf, v[:cut])
		l.ellipsis()
	} else {
		l.buf = AppendBytes(l.buf, v)
	}
	l.buf = append(l.buf, ',')
}

// ellipsis marks the text that was added last as cut.
func (l *Line) ellipsis() { l.buf = append(l.buf[:len(l.buf)-1], `…"`...) }

// Int adds a whole number.
func (l *Line) Int(k Key, v int64) {
	l.buf = append(strconv.AppendInt(append(l.buf, k.text...), v, 10), ',')
}

// Bool adds true or false.
func (l *Line) Bool(k Key, v bool) {
	l.buf = append(strconv.AppendBool(append(l.buf, k.text...), v), ',')
}

// Milliseconds adds a duration in milliseconds; see [AppendDurationMs].
func (l *Line) Milliseconds(k Key, d time.Duration) {
	l.buf = append(AppendDurationMs(append(l.buf, k.text...), d), ',')
}

// Time adds a point in time, in nanoseconds since 1970, as RFC 3339 text in UTC with milliseconds: "2026-03-04T05:06:07.089Z".
func (l *Line) Time(k Key, unixNano int64) {
	l.buf = append(l.buf, k.text...)
	sec, nanos := unixNano/1e9, unixNano%1e9
	if nanos < 0 {
		sec, nanos = sec-1, nanos+1e9
	}
	if sec != l.sec || l.text[0] == 0 {
		time.Unix(sec, 0).UTC().AppendFormat(l.text[:0], `"2006-01-02T15:04:05.`)
		l.sec = sec
	}
	ms := nanos / 1e6
	l.buf = append(l.buf, l.text[:]...)
	l.buf = append(l.buf, byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10), 'Z', '"', ',')
}

// AppendDurationMs appends a duration in milliseconds with three decimals, rounded to the nearest microsecond: 1.234.
// A negative duration, which only a broken clock makes, is 0.000.
func AppendDurationMs(dst []byte, d time.Duration) []byte {
	us := uint64(max(d, 0)+500) / 1000
	dst = strconv.AppendUint(dst, us/1000, 10)
	us %= 1000
	return append(dst, '.', byte('0'+us/100), byte('0'+us/10%10), byte('0'+us%10))
}

// cutAt returns the place at or just before maxString that is no middle of a rune.
func cutAt[T string | []byte](v T) int {
	for i := maxString; i > maxString-utf8.UTFMax; i-- {
		if utf8.RuneStart(v[i]) {
			return i
		}
	}
	return maxString // not UTF-8 anyway
}
