package route

import "github.com/sluice-gateway/sluice/message"

// entry is one route at one of its hosts.
type entry struct {
	index      int    // of the route, in the order of the file
	methods    uint64 // a bit for each method of the table that it names; 0 if it names none
	predicates []predicate
	counts     [len(predicateTable)]int // how many predicates there are of each row
	captures   []captured
	offer      *offer // what the route has to do with versions; nil if it belongs to no API
	keepSlash  bool
	literal    bool // the first segment of the pattern is a literal
	rank       rank // among the entries of a leaf, before the method
}

// rank is what an entry's versions make it among others with the same pattern.
type rank uint8

const (
	rankListed rank = iota // for listed versions of an API
	rankAny                // for all versions of an API
	rankNone               // of no API
)

// captured is one value that a pattern takes from the path.
type captured struct {
	name    string
	segment int  // of the path, from 0
	rest    bool // with all segments behind it
}

// leaf holds the routes of one host and one pattern, the most specific first.
type leaf struct {
	entries   []entry // by value: one read of memory less
	versioned bool    // a route of an API is among them
}

// query is one request as it is looked up.
type query struct {
	x    *message.Exchange
	path []byte // in the form of message.AppendMatchPath; begins with '/'

	method uint64 // the bit of the request's method; 0 if no route names it
	viaGet uint64 // the bit of GET for a HEAD request, else 0

	missed  bool   // a route did not match by its method
	collect bool   // the methods of such routes are wanted
	allow   uint64 // the methods of the routes that match but for the method

	known  int                     // starts is filled up to here
	starts [MaxSegments + 2]uint32 // where the segments of path begin; behind the last, len(path)+1. A version may stand before those of a pattern.

	// Where routes belong to APIs:
	first   []byte // segment of the path that is looked up, if one of the APIs has its versions there
	meaning meaning
	passed  *entry // the first entry that fits but for the version
	version finding
}

// read makes q look at path next.
func (q *query) read(path []byte) {
	q.path, q.known, q.starts[0] = path, 0, 1
}

// choose returns the first entry that matches, or nil. For HEAD, a route that names HEAD goes before one for GET, and that before one for any method.
func (q *query) choose(l *leaf) *entry {
	if l.versioned {
		return q.chooseVersioned(l)
	}
	var byGet *entry
	for i := range l.entries {
		e := &l.entries[i]
		switch {
		case e.methods == 0:
			if byGet != nil {
				return byGet
			}
			if e.fits(q.x) {
				return e
			}
		case e.methods&q.method != 0:
			if e.fits(q.x) {
				return e
			}
		case e.methods&q.viaGet != 0:
			if byGet == nil && e.fits(q.x) {
				byGet = e
			}
		case q.collect:
			if e.fits(q.x) {
				q.allow |= e.methods
			}
		default:
			q.missed = true
		}
	}
	return byGet
}

// fits reports whether all predicates hold.
func (e *entry) fits(x *message.Exchange) bool {
	for i := range e.predicates {
		if !e.predicates[i].match(x) {
			return false
		}
	}
	return true
}
