package message

import "math"

// field is one header line. It holds offsets into the arena, no pointers, so that a header of
// a hundred fields is one object for the garbage collector.
type field struct {
	name  uint32 // offset of the name in the arena
	value uint32 // offset of the value in the arena
	size  uint32 // length of the value
	nlen  uint16 // length of the name
	id    ID     // known name, or 0
	form  form
}

// form says how a field lies in the arena.
type form uint8

const (
	// formLine: the arena holds the field as a line, "Name: value" and CR LF, so that codecs of
	// HTTP/1 can copy it, and its neighbours with it, in one go.
	formLine form = 1 << iota
	// formChecked: name and value were found legal when the line was read.
	formChecked
)

// Header is an ordered list of fields over one append-only arena. The zero value is an empty
// header. It owns its bytes; slices that its methods return are valid until Reset.
//
// A Header is not safe for concurrent use.
type Header struct {
	arena   []byte
	fields  []field
	present [(knownNames + 64) / 64]uint64 // bit id: the field is there; bit 0: an unknown name is there
}

// Field is one header line as Header.At gives it; the slices belong to the header.
type Field struct {
	ID    ID
	Name  []byte
	Value []byte
}

// Reset empties h and keeps its memory, up to bound bytes of it: one huge request must not
// make a pooled exchange huge for ever.
func (h *Header) Reset() {
	const bound = 16 << 10
	if cap(h.arena) > bound {
		h.arena = nil
	}
	if cap(h.fields) > 256 {
		h.fields = nil
	}
	if len(h.arena) > 0 {
		poison(h.arena)
		h.arena = h.arena[:0]
	}
	h.fields = h.fields[:0]
	h.present = [len(h.present)]uint64{}
}

// Len returns how many fields there are.
func (h *Header) Len() int { return len(h.fields) }

// Size returns how many bytes of names and values the fields hold.
func (h *Header) Size() int {
	n := 0
	for i := range h.fields {
		n += int(h.fields[i].nlen) + int(h.fields[i].size)
	}
	return n
}

// At returns the field at index i, 0 ≤ i < Len.
func (h *Header) At(i int) Field {
	f := &h.fields[i]
	return Field{
		ID:    f.id,
		Name:  h.arena[f.name : f.name+uint32(f.nlen) : f.name+uint32(f.nlen)],
		Value: h.arena[f.value : f.value+f.size : f.value+f.size],
	}
}

// Has reports whether a known field is there.
func (h *Header) Has(id ID) bool { return h.present[id>>6]&(1<<(id&63)) != 0 }

// Get returns the value of the first known field id, or nil if there is none. An empty value
// is not nil.
func (h *Header) Get(id ID) []byte {
	if !h.Has(id) {
		return nil
	}
	for i := range h.fields {
		if h.fields[i].id == id {
			return h.At(i).Value
		}
	}
	return nil
}

// Count returns how many fields of the known name there are.
func (h *Header) Count(id ID) int {
	if !h.Has(id) {
		return 0
	}
	n := 0
	for i := range h.fields {
		if h.fields[i].id == id {
			n++
		}
	}
	return n
}

// Index returns the place of the first field called n at or after from, or -1.
func (h *Header) Index(n Name, from int) int {
	if !h.Has(n.id) { // bit 0 stands for every unknown name
		return -1
	}
	for i := from; i < len(h.fields); i++ {
		if h.matches(&h.fields[i], n) {
			return i
		}
	}
	return -1
}

// Find returns the value of the first field called n, or nil if there is none.
func (h *Header) Find(n Name) []byte {
	if i := h.Index(n, 0); i >= 0 {
		return h.At(i).Value
	}
	return nil
}

func (h *Header) matches(f *field, n Name) bool {
	if n.id != 0 || f.id != 0 {
		return f.id == n.id
	}
	return EqualFold(h.arena[f.name:f.name+uint32(f.nlen)], n.text)
}

// Add appends a field; value is copied. The caller has checked that value is legal (ValidValue);
// a field that is not is marked, and codecs refuse to write it.
func (h *Header) Add(n Name, value []byte) {
	at := uint32(len(h.arena))
	a := append(h.arena, n.text...)
	a = append(a, ':', ' ')
	a = append(a, value...)
	h.arena = append(a, '\r', '\n')
	h.AddAt(n.id, at, len(n.text), at+uint32(len(n.text))+2, len(value))
	f := &h.fields[len(h.fields)-1]
	f.form = formLine
	if LegalValue(value) && (n.id != 0 || ValidToken([]byte(n.text))) {
		f.form |= formChecked
	}
}

// Set gives the first field called n the value and removes every other copy; without one it adds it.
func (h *Header) Set(n Name, value []byte) {
	i := h.Index(n, 0)
	if i < 0 {
		h.Add(n, value)
		return
	}
	v := h.Append(value)
	h.fields[i].value, h.fields[i].size, h.fields[i].form = v, uint32(len(value)), 0
	h.removeFrom(n, i+1)
}

// Remove removes every field called n and reports whether there was one.
func (h *Header) Remove(n Name) bool {
	i := h.Index(n, 0)
	if i < 0 {
		return false
	}
	h.removeFrom(n, i)
	if n.id != 0 {
		h.present[n.id>>6] &^= 1 << (n.id & 63)
	}
	return true
}

func (h *Header) removeFrom(n Name, from int) {
	kept := from
	for i := from; i < len(h.fields); i++ {
		if !h.matches(&h.fields[i], n) {
			h.fields[kept] = h.fields[i]
			kept++
		}
	}
	h.fields = h.fields[:kept]
}

// RemoveAt removes the field at index i; those behind it move up.
func (h *Header) RemoveAt(i int) {
	id := h.fields[i].id
	h.fields = append(h.fields[:i], h.fields[i+1:]...)
	if id == 0 {
		return // the bit of the unknown names may stay: it only says "look"
	}
	for j := range h.fields {
		if h.fields[j].id == id {
			return
		}
	}
	h.present[id>>6] &^= 1 << (id & 63)
}

// Rename gives every field called from the name to, its value and place unchanged.
func (h *Header) Rename(from, to Name) {
	for i := h.Index(from, 0); i >= 0; i = h.Index(from, i) {
		at := h.Append([]byte(to.text))
		f := &h.fields[i]
		f.name, f.nlen, f.id, f.form = at, uint16(len(to.text)), to.id, 0
		h.present[to.id>>6] |= 1 << (to.id & 63)
		if h.matches(f, from) {
			break // from and to are the same name
		}
	}
	if from.id != 0 && from.id != to.id {
		h.present[from.id>>6] &^= 1 << (from.id & 63)
	}
}

// Append copies b to the end of the arena and returns its offset. Codecs copy a whole header
// block with it once and then enter its lines with AddAt.
func (h *Header) Append(b []byte) uint32 {
	at := uint32(len(h.arena))
	h.arena = append(h.arena, b...)
	return at
}

// AddAt enters a field whose bytes are in the arena already. The name is shorter than 64 KiB:
// codecs refuse longer ones before.
func (h *Header) AddAt(id ID, name uint32, nameLen int, value uint32, valueLen int) {
	if nameLen > math.MaxUint16 {
		//house:allow panic codecs refuse names far shorter than this, so no input reaches it
		panic("message: field name of 64 KiB or more reached a header")
	}
	h.fields = append(h.fields, field{name: name, nlen: uint16(nameLen), value: value, size: uint32(valueLen), id: id})
	h.present[id>>6] |= 1 << (id & 63)
}

// AddLine is AddAt for a line that was read and found legal: the value ends where CR LF stands in
// the arena, or will when the block is appended.
func (h *Header) AddLine(id ID, name uint32, nameLen int, value uint32, valueLen int, plain bool) {
	h.AddAt(id, name, nameLen, value, valueLen)
	f := &h.fields[len(h.fields)-1]
	f.form = formChecked
	if plain {
		f.form |= formLine
	}
}

// Lines returns the longest run of fields from index i on that lie next to each other in the
// arena as lines and have none of the flags skip, as the bytes of these lines, and the index of
// the field behind it. If the field at i is none of the sort, lines is nil and next is i.
// checked reports that all of them were read as legal.
func (h *Header) Lines(i int, skip Flag) (lines []byte, next int, checked bool) {
	f := &h.fields[i]
	if f.form&formLine == 0 || nameTable[f.id].flags&skip != 0 {
		return nil, i, false
	}
	from, to := f.name, f.value+f.size+2
	form := f.form
	for next = i + 1; next < len(h.fields); next++ {
		f = &h.fields[next]
		if f.name != to || f.form&formLine == 0 || nameTable[f.id].flags&skip != 0 {
			break
		}
		to = f.value + f.size + 2
		form &= f.form
	}
	return h.arena[from:to], next, form&formChecked != 0
}

// CopyFrom makes h an independent copy of src.
func (h *Header) CopyFrom(src *Header) {
	h.arena = append(h.arena[:0], src.arena...)
	h.fields = append(h.fields[:0], src.fields...)
	h.present = src.present
}
