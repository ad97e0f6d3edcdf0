package route

import "bytes"

// node is one segment of the patterns of one class that share their beginning. A walk comes to a node with depth segments of the path taken.
type node struct {
	literals map[string]*node // more than one literal child
	only     *node            // the literal child, if there is one
	name     string           // its literal
	longest  int              // of the literals' names, in bytes: a longer segment is not looked up
	capture  *node            // takes one segment, whatever it is
	rest     *leaf            // routes whose pattern takes what is left
	leaf     *leaf            // routes whose pattern ends here
	depth    int
}

// insert returns the leaf of a pattern in the tree below n.
func (n *node) insert(segments []segment) *leaf {
	for _, s := range segments {
		switch s.kind {
		case rest:
			if n.rest == nil {
				n.rest = &leaf{}
			}
			return n.rest
		case capture:
			if n.capture == nil {
				n.capture = &node{depth: n.depth + 1}
			}
			n = n.capture
		default:
			n = n.literal(s.text)
		}
	}
	if n.leaf == nil {
		n.leaf = &leaf{}
	}
	return n.leaf
}

// literal returns the child for a literal, and makes it if there is none.
func (n *node) literal(name string) *node {
	if n.only != nil && n.name == name {
		return n.only
	}
	if c := n.literals[name]; c != nil {
		return c
	}
	c := &node{depth: n.depth + 1}
	n.longest = max(n.longest, len(name))
	switch {
	case n.literals != nil:
		n.literals[name] = c
	case n.only == nil:
		n.only, n.name = c, name
	default:
		n.literals = map[string]*node{n.name: n.only, name: c}
		n.only, n.name = nil, ""
	}
	return c
}

// child returns the literal child for a segment, or nil. A map is looked up because a table may have thousands of children here; the key is not copied.
func (n *node) child(segment []byte) *node {
	switch {
	case n.only != nil:
		if string(segment) == n.name {
			return n.only
		}
	case n.literals != nil && len(segment) <= n.longest:
		return n.literals[string(segment)]
	}
	return nil
}

// visits returns how many nodes a walk from n visits at most.
func (n *node) visits() int {
	most := 0
	if n.only != nil {
		most = n.only.visits()
	}
	for _, c := range n.literals {
		most = max(most, c.visits())
	}
	if n.capture != nil {
		most += n.capture.visits()
	}
	return most + 1
}

// walk looks for the best entry below n: at every node the literal child goes before the capture, and the capture before the rest. It calls itself only
// where something is left to try after the child, and never deeper than a pattern has segments (MaxSegments), whatever the request.
func (q *query) walk(n *node) *entry {
	for {
		if int(q.starts[n.depth]) > len(q.path) { // no segment is left
			if n.leaf == nil {
				return nil
			}
			return q.choose(n.leaf)
		}
		segment := q.segment(n.depth)
		next := n.child(segment)
		if n.capture != nil && len(segment) > 0 {
			if next != nil {
				if e := q.walk(next); e != nil {
					return e
				}
			}
			next = n.capture
		}
		if n.rest != nil {
			if next != nil {
				if e := q.walk(next); e != nil {
					return e
				}
			}
			return q.choose(n.rest)
		}
		if next == nil {
			return nil
		}
		n = next
	}
}

// segment returns the segment of the path at depth; those before it have been asked for. Each is searched for once, so that a long path costs no more
// when the walk turns back.
func (q *query) segment(depth int) []byte {
	start := int(q.starts[depth])
	if q.known == depth {
		end := len(q.path)
		if i := bytes.IndexByte(q.path[start:], '/'); i >= 0 {
			end = start + i
		}
		q.known++
		q.starts[q.known] = uint32(end) + 1
	}
	return q.path[start : q.starts[depth+1]-1]
}
