package document

import (
	"errors"
	"fmt"
)

// maxChanges bounds the changes of one edit.
const maxChanges = 256

// Rename moves the value at From to To, if there is one.
type Rename struct{ From, To Path }

// PathError says that an edit cannot put a value at a path, because one of the parents is neither object nor array, or an array that has no
// such element and does not end there.
type PathError struct{ Path Path }

func (e *PathError) Error() string {
	return "a value cannot be put at the path " + e.Path.String() + ": something above it is no object, and no array of that length"
}

// Edit is a compiled list of changes: first values are moved, one after the other; then values are removed, all paths as they are before the
// first of them goes; then values are set, one after the other. Members that are not touched keep their order and their bytes.
//
// A value moved within its object keeps its place under the new name; one moved elsewhere goes where a value set would go. What was at its
// new place is gone. A value set replaces what is there, or comes last in its object; in an array the index just past the end appends. Missing
// parents are made, as objects. A member that an edit names and that is there several times is left once, the last one counting.
//
// An Edit does not change, and may be used by several goroutines at once.
type Edit struct{ passes []pass }

// pass is one way over the document: either a tree of changes that do not get in each other's way, or one move.
type pass struct {
	changes *tree
	move    *move
}

// move takes a value from one place and puts it at another that is not a member of the same object.
type move struct {
	from      Path
	take, put *tree
}

// NewEdit compiles an edit. Values for the sets are given to Append.
func NewEdit(renames []Rename, removes []Path, sets []Path) (*Edit, error) {
	if n := len(renames) + len(removes) + len(sets); n > maxChanges {
		return nil, fmt.Errorf("%d changes of one document; at most %d are possible: use a template or a jq program", n, maxChanges)
	}
	c := &compiler{sets: sets}
	for _, r := range renames {
		if len(r.From.steps) == 0 || len(r.To.steps) == 0 {
			return nil, errNoPath
		}
		c.rename(r)
	}
	for _, p := range removes {
		if len(p.steps) == 0 {
			return nil, errNoPath
		}
		c.remove(p)
	}
	for _, p := range sets {
		if len(p.steps) == 0 {
			return nil, errNoPath
		}
	}
	c.set(sets)
	c.flush()
	return &Edit{c.passes}, nil
}

var errNoPath = errors.New("a change has no path; name the member that it is about")

// compiler collects changes into passes. A change that would see what another one of its pass has done begins a new pass.
type compiler struct {
	passes  []pass
	current *tree
	renamed []Path // from and to, of the current pass
	removed []Path
	sets    []Path
}

// tree returns the tree of the current pass.
func (c *compiler) tree() *tree {
	if c.current == nil {
		c.current = newTree(c.sets)
	}
	return c.current
}

// flush ends the current pass, if there is one.
func (c *compiler) flush() {
	if c.current != nil {
		c.passes = append(c.passes, pass{changes: c.current})
	}
	c.current, c.renamed, c.removed = nil, nil, nil
}

func (c *compiler) rename(r Rename) {
	if r.From.within(r.To) && r.To.within(r.From) {
		return
	}
	if !renamesMember(r) {
		c.flush()
		take := newTree(nil)
		take.at(r.From).remove = true
		put := newTree([]Path{r.To})
		put.at(r.To).sets = []int{0}
		c.passes = append(c.passes, pass{move: &move{r.From, take, put}})
		return
	}
	if anyRelated(c.renamed, r.From) || anyRelated(c.renamed, r.To) {
		c.flush()
	}
	from, to := c.tree().at(r.From), c.tree().at(r.To)
	from.newName = to.key
	to.source = from
	c.renamed = append(c.renamed, r.From, r.To)
}

// renamesMember reports whether a rename changes no more than a member's name, whatever the document is: both paths have the same parent,
// and are no indexes.
func renamesMember(r Rename) bool {
	from, to := r.From.parent(), r.To.parent()
	return from.within(to) && to.within(from) && r.From.last().index < 0 && r.To.last().index < 0
}

func (c *compiler) remove(p Path) {
	if anyRelated(c.renamed, p) {
		c.flush()
	}
	c.tree().at(p).remove = true
	c.removed = append(c.removed, p)
}

// set adds all sets to one pass: which of them count is seen there.
func (c *compiler) set(paths []Path) {
	for _, p := range paths {
		late := anyRelated(c.renamed, p) || anyRelated(c.removed, p)
		for _, r := range c.removed {
			// Where elements go, the others get new indexes.
			late = late || r.last().index >= 0 && p.within(r.parent())
		}
		if late {
			c.flush()
			break
		}
	}
	for i, p := range paths {
		n := c.tree().at(p)
		n.sets = append(n.sets, i)
	}
}

// anyRelated reports whether p lies within one of the paths, or one of them within p.
func anyRelated(paths []Path, p Path) bool {
	for _, q := range paths {
		if p.related(q) {
			return true
		}
	}
	return false
}

// tree is the paths of the changes of one pass, as a tree of their names.
type tree struct {
	root  *node
	nodes int
	errs  []*PathError // by number of the set, made here because a request must not cost an allocation for being wrong
}

// node is a place in a document.
type node struct {
	step
	id       int    // in the tree, from 0
	key      []byte // the name with quotes
	children []*node
	lengths  uint64 // bit n is set if the name of a child has n bytes, modulo 64

	// What becomes of what is there.
	remove  bool
	newName []byte // the name that the member gets, with quotes; nil if it keeps its own
	source  *node  // the member that gets this name, and takes this place from who has it
	sets    []int  // numbers of the values that are put here
}

func newTree(sets []Path) *tree {
	t := &tree{root: &node{}, nodes: 1}
	for _, p := range sets {
		t.errs = append(t.errs, &PathError{p})
	}
	return t
}

// at returns the node of a path.
func (t *tree) at(p Path) *node {
	n := t.root
	for _, s := range p.steps {
		n = t.child(n, s)
	}
	return n
}

func (t *tree) child(n *node, s step) *node {
	for _, c := range n.children {
		if c.step == s {
			return c
		}
	}
	c := &node{step: s, id: t.nodes, key: AppendString(nil, []byte(s.name))}
	t.nodes++
	n.children = append(n.children, c)
	n.lengths |= 1 << (len(s.name) & 63)
	return c
}

// named returns the child for a member with this name, nil if there is none.
func (n *node) named(raw []byte, escaped bool) *node {
	if !escaped && n.lengths>>(len(raw)&63)&1 == 0 {
		return nil
	}
	for _, c := range n.children {
		if equalName(raw, escaped, c.name) {
			return c
		}
	}
	return nil
}

// nextIndex returns the child with the least index of at least i, nil if there is none.
func (n *node) nextIndex(i int) *node {
	var next *node
	for _, c := range n.children {
		if c.index >= i && (next == nil || c.index < next.index) {
			next = c
		}
	}
	return next
}
