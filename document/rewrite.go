package document

import (
	"cmp"
	"slices"
	"sync"
)

// This file carries out edits. A pass looks at the document once, to find where the places of its tree are, and then copies it with the
// changes, in stretches as long as nothing changes.

// found is where a place of a tree is in the text.
type found struct {
	item
	here      bool
	elements  int  // of an array, as far as they were counted: all, or more than the largest index of a child
	ambiguous bool // of an object: a child was there more than once
}

// change is something to do within an object or array: what to do with an item, where n is nil for taking it out.
type change struct {
	item
	n *node
}

// rewriter is the state of one Append.
type rewriter struct {
	tree    *tree
	values  [][]byte
	found   []found  // by node
	changes []change // of the objects and arrays that are being copied, those of the innermost last
	one     [1][]byte
}

// rewriters is read-only: the pool of rewriters, which refer to no text.
var rewriters = sync.Pool{New: func() any { return new(rewriter) }}

// keptChanges bounds the room for changes that is kept. An edit has few; only members of one name over and over again make it more.
const keptChanges = 1 << 10

// emptyObject is what a missing parent is made from.
var emptyObject = []byte("{}")

// Append appends the text of v with the changes. For each path that is set, values has the JSON text, in the same order; an empty or missing one leaves
// that path as it is, and one for a place that a later one replaces leaves no trace. An absent v counts as an empty object where something is
// set. If there is an error, dst comes back as it was; it is a *PathError.
//
// Its time is a scan of the document and a copy, for each group of changes that do not build on each other. Between them dst holds two versions
// of the document. It allocates nothing but room in dst.
func (e *Edit) Append(dst []byte, v Value, values [][]byte) ([]byte, error) {
	if len(e.passes) == 0 {
		return append(dst, v.text...), nil
	}
	r := rewriters.Get().(*rewriter)
	defer r.release()
	base, text := len(dst), v.text
	for i := range e.passes {
		start := len(dst)
		var err error
		if m := e.passes[i].move; m != nil {
			dst, err = r.move(dst, text, m)
		} else {
			dst, err = r.pass(dst, text, e.passes[i].changes, values)
		}
		if err != nil {
			return dst[:base], err
		}
		if start > base {
			dst = dst[:base+copy(dst[base:], dst[start:])]
		}
		text = dst[base:]
	}
	return dst, nil
}

// release forgets the texts and returns r to the others.
func (r *rewriter) release() {
	if cap(r.changes) > keptChanges {
		r.changes = nil
	}
	r.changes = r.changes[:0] // after an error there are some left
	r.tree, r.values, r.one[0] = nil, nil, nil
	rewriters.Put(r)
}

// move appends text with a value at another place.
func (r *rewriter) move(dst, text []byte, m *move) ([]byte, error) {
	value := Value{text}.At(m.from)
	if !value.Exists() {
		return append(dst, text...), nil
	}
	start := len(dst)
	dst, err := r.pass(dst, text, m.take, nil)
	if err != nil {
		return dst, err
	}
	without := dst[start:]
	r.one[0] = value.text
	if dst, err = r.pass(dst, without, m.put, r.one[:]); err != nil {
		return dst, err
	}
	return dst[:start+copy(dst[start:], dst[start+len(without):])], nil
}

// pass appends text with the changes of a tree.
func (r *rewriter) pass(dst, text []byte, t *tree, values [][]byte) ([]byte, error) {
	r.tree, r.values = t, values
	r.found = slices.Grow(r.found[:0], t.nodes)[:t.nodes]
	clear(r.found)
	if len(text) == 0 {
		if r.first(t.root, -1) < 0 {
			return dst, nil
		}
		text = emptyObject
	}
	end := r.find(t.root, text, 0)
	return r.copy(dst, text[:end], t.root, item{end: end}, -1)
}

// find notes where the places below n are in the value at i, and returns the index behind it. Nothing below n has been found yet.
func (r *rewriter) find(n *node, text []byte, i int) int {
	if len(n.children) == 0 || i >= len(text) {
		return skipValue(text, i)
	}
	switch text[i] {
	case '{':
		return r.findMembers(n, text, i)
	case '[':
		return r.findElements(n, text, i)
	}
	return skipValue(text, i)
}

func (r *rewriter) findMembers(n *node, text []byte, i int) int {
	c := enter(text, i)
	for {
		it, ok := c.memberName()
		if !ok {
			return c.next
		}
		child := n.named(c.nameOf(it), it.escaped)
		if child == nil {
			c.next = skipValue(text, it.start)
			continue
		}
		if r.found[child.id].here {
			r.found[n.id].ambiguous = true
			r.forget(child)
		}
		it.end = r.find(child, text, it.start)
		c.next = it.end
		r.found[child.id].item, r.found[child.id].here = it, true
	}
}

func (r *rewriter) findElements(n *node, text []byte, i int) int {
	c := enter(text, i)
	next := n.nextIndex(0)
	for at := 0; next != nil; at++ {
		if !c.advance() {
			r.found[n.id].elements = at
			return c.next
		}
		if at < next.index {
			c.next = skipValue(text, c.next)
			continue
		}
		it := item{name: c.next, nameEnd: c.next, start: c.next}
		it.end = r.find(next, text, c.next)
		c.next = it.end
		r.found[next.id].item, r.found[next.id].here = it, true
		r.found[n.id].elements = at + 1
		next = n.nextIndex(at + 1)
	}
	return skipRest(text, c.next)
}

// forget takes back what was found at n and below.
func (r *rewriter) forget(n *node) {
	r.found[n.id] = found{}
	for _, c := range n.children {
		r.forget(c)
	}
}

// own returns the number of the value that is put at n itself: the last one, if it comes after floor; -1 if there is none.
func (r *rewriter) own(n *node, floor int) int {
	for i := len(n.sets) - 1; i >= 0 && n.sets[i] > floor; i-- {
		if set := n.sets[i]; set < len(r.values) && len(r.values[set]) > 0 {
			return set
		}
	}
	return -1
}

// first returns the number of the first value after floor that is put at n or below, -1 if there is none. Values that a later one replaces do
// not count.
func (r *rewriter) first(n *node, floor int) int {
	if set := r.own(n, floor); set >= 0 {
		return set
	}
	first := -1
	for _, c := range n.children {
		if set := r.first(c, floor); set >= 0 && (first < 0 || set < first) {
			first = set
		}
	}
	return first
}

// firstBelow is first without n itself.
func (r *rewriter) firstBelow(n *node, floor int) int {
	first := -1
	for _, c := range n.children {
		if set := r.first(c, floor); set >= 0 && (first < 0 || set < first) {
			first = set
		}
	}
	return first
}

// copy appends the value it of text, which is at n, with the changes below n.
func (r *rewriter) copy(dst, text []byte, n *node, it item, floor int) ([]byte, error) {
	kind := Value{text[it.start:it.end]}.Kind()
	if len(n.children) == 0 || kind != Object && kind != Array {
		if set := r.firstBelow(n, floor); set >= 0 {
			return dst, r.tree.errs[set]
		}
		return append(dst, text[it.start:it.end]...), nil
	}
	mark := len(r.changes)
	if r.found[n.id].ambiguous {
		r.collectAll(n, text, it)
	} else {
		r.collect(n)
	}
	dst = append(dst, text[it.start])
	at := it.start + 1 // up to here text has been copied
	var err error
	for i := mark; i < len(r.changes); i++ {
		if dst, at, err = r.apply(dst, text, at, it.end, r.changes[i], floor); err != nil {
			return dst, err
		}
	}
	r.changes = r.changes[:mark]

	// What is new comes right behind the last item, before white space and the bracket.
	end := it.end - 1
	for end > at && isSpace(text[end-1]) {
		end--
	}
	end = max(end, at)
	dst = append(dst, text[at:end]...)
	if dst, err = r.addMissing(dst, n, kind, floor); err != nil {
		return dst, err
	}
	return append(dst, text[end:it.end]...), nil
}

// collect notes the changes below n by where they are in the text.
func (r *rewriter) collect(n *node) {
	mark := len(r.changes)
	for _, c := range n.children {
		if f := &r.found[c.id]; f.here {
			r.changes = append(r.changes, change{f.item, c})
		}
	}
	slices.SortFunc(r.changes[mark:], func(a, b change) int { return cmp.Compare(a.start, b.start) })
}

// collectAll is collect for an object with several members of one name: those but the last go.
func (r *rewriter) collectAll(n *node, text []byte, it item) {
	c := enter(text[:it.end], it.start)
	for {
		m, ok := c.member()
		if !ok {
			return
		}
		child := n.named(c.nameOf(m), m.escaped)
		switch {
		case child == nil:
		case r.found[child.id].name == m.name:
			r.changes = append(r.changes, change{m, child})
		default:
			r.changes = append(r.changes, change{m, nil})
		}
	}
}

// apply copies text from at up to the item of a change, makes the change, and returns up to where text is done. The text of the object or array
// ends at end.
func (r *rewriter) apply(dst, text []byte, at, end int, c change, floor int) ([]byte, int, error) {
	switch n := c.n; {
	case n == nil, n.remove, n.source != nil && r.found[n.source.id].here:
		dst = append(dst, text[at:c.name]...)
		dst, at = cut(dst, text[:end], c.end)
		return dst, at, nil
	case n.newName != nil:
		dst = append(dst, text[at:c.name]...)
		return append(dst, n.newName...), c.nameEnd, nil
	default:
		dst = append(dst, text[at:c.start]...)
		set := r.own(n, floor)
		if set < 0 {
			dst, err := r.copy(dst, text, n, c.item, floor)
			return dst, c.end, err
		}
		dst, err := r.put(dst, n, set)
		return dst, c.end, err
	}
}

// put appends the value set at n, with what is set below it later.
func (r *rewriter) put(dst []byte, n *node, set int) ([]byte, error) {
	text := r.values[set]
	if r.firstBelow(n, set) < 0 {
		return append(dst, text...), nil
	}
	return r.copyNew(dst, text, n, set)
}

// copyNew is copy for a text that takes the place of what is at n.
func (r *rewriter) copyNew(dst, text []byte, n *node, floor int) ([]byte, error) {
	for _, c := range n.children {
		r.forget(c)
	}
	r.found[n.id].elements, r.found[n.id].ambiguous = 0, false
	start := skipSpace(text, 0)
	end := r.find(n, text, start)
	return r.copy(dst, text[:end], n, item{start: start, end: end}, floor)
}

// cut takes an item out that ends at end, when dst has what stands before it, and returns up to where text is done. Of the commas on both sides
// one goes along, if there is any.
func cut(dst, text []byte, end int) ([]byte, int) {
	dst = trimSpace(dst)
	if last := len(dst) - 1; dst[last] == ',' {
		return trimSpace(dst[:last]), end
	}
	if i := skipSpace(text, end); i < len(text) && text[i] == ',' {
		return dst, i + 1
	}
	return dst, end
}

// trimSpace takes white space off the end of dst, which holds an opening bracket at least.
func trimSpace(dst []byte) []byte {
	for isSpace(dst[len(dst)-1]) {
		dst = dst[:len(dst)-1]
	}
	return dst
}

// addMissing appends the members or elements below n that are set and were not there, in the order in which they are set.
func (r *rewriter) addMissing(dst []byte, n *node, kind Kind, floor int) ([]byte, error) {
	elements := r.found[n.id].elements
	for last := -1; ; {
		child, set := r.nextMissing(n, floor, last)
		if child == nil {
			return dst, nil
		}
		last = set
		if tail := dst[len(dst)-1]; tail != '{' && tail != '[' {
			dst = append(dst, ',')
		}
		if kind == Object {
			dst = append(dst, child.key...)
			dst = append(dst, ':')
		} else {
			if child.index != elements {
				return dst, r.tree.errs[set]
			}
			elements++
		}
		var err error
		if own := r.own(child, floor); own >= 0 {
			dst, err = r.put(dst, child, own)
		} else {
			dst, err = r.copyNew(dst, emptyObject, child, floor)
		}
		if err != nil {
			return dst, err
		}
	}
}

// nextMissing returns the child of n that was not there and is set first after the value with the number last, and the number of its first
// value.
func (r *rewriter) nextMissing(n *node, floor, last int) (child *node, set int) {
	for _, c := range n.children {
		if r.found[c.id].here {
			continue
		}
		if s := r.first(c, floor); s > last && (child == nil || s < set) {
			child, set = c, s
		}
	}
	return child, set
}
