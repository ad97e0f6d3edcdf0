package document

import (
	"hash/maphash"
	"sync"
	"unicode/utf8"
)

// The sizes of tables of names: one begins with slots for few names, and one that has become large is not kept for the next document.
const (
	firstSlots = 64
	keptNames  = 1 << 14
)

// names is the set of the names in the objects that are open, one within the other: a table with open addressing over a list in the order of
// adding. Finding takes constant time whatever the names are, because the hash is seeded at random: nobody outside can choose names that
// collide. What was added last leaves first, so that freeing its slot breaks no chain of the others.
//
// It is used by one goroutine at a time, and refers to the texts of the documents until it is released.
type names struct {
	seed    maphash.Seed
	slots   []uint32 // index into list plus 1, or 0 for free; the length in use is a power of two, and at least twice that of list
	list    []name
	high    int    // how long list has been, when it was longer than now: what lies there still refers to texts
	objects uint64 // that have been opened
	open    []object
	decoded []byte // scratch for names with escapes
}

// name is one name in the set.
type name struct {
	hash    uint64
	raw     []byte // between the quotes, as it lies in its document
	escaped bool   // raw has escapes
	slot    uint32 // that points here
}

// object is one open object: its number, and where its names begin in the list.
type object struct {
	number uint64
	first  int
}

// tables is read-only: the pool of tables of names, all empty.
var tables = sync.Pool{New: func() any {
	return &names{seed: maphash.MakeSeed(), slots: make([]uint32, firstSlots)}
}}

// borrowNames returns an empty table, which goes back with release.
func borrowNames() *names { return tables.Get().(*names) }

// release empties the table, and keeps it for others unless it has become large.
func (n *names) release() {
	if cap(n.list) > keptNames || cap(n.decoded) > keptNames {
		return
	}
	clear(n.slots)
	n.slots = n.slots[:firstSlots]
	clear(n.list[:max(n.high, len(n.list))])
	n.list, n.high = n.list[:0], 0
	n.objects, n.open = 0, n.open[:0]
	tables.Put(n)
}

// enter begins an object within the one that is open, if any: names added from now on are its members.
func (n *names) enter() {
	n.objects++
	n.open = append(n.open, object{n.objects, len(n.list)})
}

// leave ends the object that was entered last, and forgets its names.
func (n *names) leave() {
	first := n.open[len(n.open)-1].first
	n.open = n.open[:len(n.open)-1]
	for i := len(n.list) - 1; i >= first; i-- {
		n.slots[n.list[i].slot] = 0
	}
	n.high = max(n.high, len(n.list))
	n.list = n.list[:first]
}

// add adds a name to the object that is open innermost. It returns its place in the list, and false if the object has had it already.
func (n *names) add(raw []byte, escaped bool) (at int, added bool) {
	hash := n.hash(n.open[len(n.open)-1].number, raw, escaped)
	mask := uint64(len(n.slots) - 1)
	i := hash & mask
	for ; n.slots[i] != 0; i = (i + 1) & mask {
		at = int(n.slots[i] - 1)
		if old := &n.list[at]; old.hash == hash && sameName(old.raw, old.escaped, raw, escaped) {
			return at, false
		}
	}
	n.list = append(n.list, name{hash, raw, escaped, uint32(i)})
	n.slots[i] = uint32(len(n.list))
	if 2*len(n.list) > len(n.slots) {
		n.grow()
	}
	return len(n.list) - 1, true
}

// hash returns the hash of what a name stands for, as a member of an object. For one name it differs between any two objects (the factor is
// odd, so that the products differ): of names that are the same, those with the same hash are of the same object.
func (n *names) hash(object uint64, raw []byte, escaped bool) uint64 {
	if escaped {
		n.decoded = appendDecoded(n.decoded[:0], raw)
		raw = n.decoded
	}
	return maphash.Bytes(n.seed, raw) ^ object*0x9E3779B97F4A7C15
}

// grow doubles the slots.
func (n *names) grow() {
	size := 2 * len(n.slots)
	clear(n.slots)
	if cap(n.slots) >= size {
		n.slots = n.slots[:size] // what lies beyond the slots in use is always free
	} else {
		n.slots = make([]uint32, size)
	}
	mask := uint64(size - 1)
	for at := range n.list {
		i := n.list[at].hash & mask
		for n.slots[i] != 0 {
			i = (i + 1) & mask
		}
		n.slots[i] = uint32(at + 1)
		n.list[at].slot = uint32(i)
	}
}

// sameName reports whether the insides of two strings stand for the same.
func sameName(a []byte, aEscaped bool, b []byte, bEscaped bool) bool {
	switch {
	case !aEscaped:
		return equalName(b, bEscaped, a)
	case !bEscaped:
		return equalName(a, true, b)
	}
	for len(a) > 0 && len(b) > 0 {
		r, n := first(a)
		s, m := first(b)
		if r != s {
			return false
		}
		a, b = a[n:], b[m:]
	}
	return len(a) == len(b)
}

// first returns the first character that the inside of a string stands for, and the length of how it is written.
func first(raw []byte) (r rune, size int) {
	if raw[0] == '\\' {
		return unescape(raw)
	}
	return utf8.DecodeRune(raw)
}
