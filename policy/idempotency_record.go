package policy

import (
	"encoding/binary"

	"github.com/sluice-gateway/sluice/message"
)

// An answer in a store:
//
//	version 1            1 byte
//	sum of the request   32 bytes
//	status, length       uvarint each
//	number of fields     uvarint; then of each: name, value, both behind their lengths as uvarint
//	body                 the rest, behind its length as uvarint
//
// What is read is not trusted: whoever can write into the store could else write into connections.

const (
	recordVersion = 1
	// maxRecord bounds what is read; maxRecordFields the fields in it.
	maxRecord       = maxReplay + 256<<10
	maxRecordFields = 1000
)

// appendAnswer appends the text of an answer that is kept.
func appendAnswer(b []byte, r *answer) []byte {
	size := 64 + len(r.body)
	for i := range r.fields {
		size += len(r.fields[i].Value) + fieldOverhead
	}
	if cap(b)-len(b) < size {
		b = append(make([]byte, 0, len(b)+size), b...)
	}
	b = append(append(b, recordVersion), r.sum[:]...)
	b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(r.status)), uint64(r.length))
	n := 0
	for i := range r.fields {
		if !momentary(r.fields[i].Name.ID()) {
			n++
		}
	}
	b = binary.AppendUvarint(b, uint64(n))
	for i := range r.fields {
		if f := &r.fields[i]; !momentary(f.Name.ID()) {
			name := f.Name.String()
			b = append(binary.AppendUvarint(b, uint64(len(name))), name...)
			b = append(binary.AppendUvarint(b, uint64(len(f.Value))), f.Value...)
		}
	}
	return append(binary.AppendUvarint(b, uint64(len(r.body))), r.body...)
}

// decodeAnswer reads the text of an answer, and reports whether it is one that can be given. The answer refers to the text.
func decodeAnswer(text []byte) (*answer, bool) {
	r := newAnswer(sumOfRequest{})
	if len(text) > maxRecord || len(text) < 1+len(r.sum) || text[0] != recordVersion {
		return nil, false
	}
	text = text[1+copy(r.sum[:], text[1:]):]
	d := recordReader{text: text}
	status, length, n := d.number(599), d.number(1<<62), d.number(maxRecordFields)
	for range n {
		name, value := d.bytes(), d.bytes()
		if d.broken || !message.ValidToken(name) || message.IndexInvalidValue(value) >= 0 {
			return nil, false
		}
		if field := message.NameOf(string(name)); carried(field) && !momentary(field.ID()) {
			r.fields = append(r.fields, message.FieldValue{Name: field, Value: value})
		}
	}
	size := d.number(maxReplay)
	if d.broken || status < 200 || size != uint64(len(d.text)) || size > 0 && size != length {
		return nil, false
	}
	r.state, r.status, r.body, r.length = answerThere, int(status), d.text, int64(length)
	return r, true
}

// recordReader reads pieces of a text. When one is not there it is broken, and gives nothing any more.
type recordReader struct {
	text   []byte
	broken bool
}

// number reads a number of at most the given size.
func (d *recordReader) number(most uint64) uint64 {
	n, size := binary.Uvarint(d.text)
	if size <= 0 || n > most {
		d.broken, d.text = true, nil
		return 0
	}
	d.text = d.text[size:]
	return n
}

// bytes reads bytes behind their length.
func (d *recordReader) bytes() []byte {
	n := d.number(uint64(len(d.text)))
	if n > uint64(len(d.text)) {
		d.broken, d.text = true, nil
		return nil
	}
	b := d.text[:n:n]
	d.text = d.text[n:]
	return b
}
