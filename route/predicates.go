package route

import (
	"fmt"

	"github.com/sluice-gateway/sluice/message"
)

// predicateTable lists the kinds of predicates in the order of precedence: between two routes that match, the one with more predicates of the first kind
// wins, then of the second, and so on. A new kind is a file and a row here.
var predicateTable = [...]func(*Match) ([]predicate, error){
	compileHeaders,
	compileQuery,
}

// predicate is a condition on a request beyond host, path and method. The fields tell Build which routes take the requests of others.
type predicate struct {
	condition
	row   int    // of predicateTable
	name  string // what is looked at; the same text means the same thing
	value string // what it must be
	any   bool   // any value fits
}

// condition is asked on every request that comes to the route's pattern; it must not allocate.
type condition interface {
	match(x *message.Exchange) bool
}

// implies reports whether every request that fits p fits o too.
func (p *predicate) implies(o *predicate) bool {
	return p.row == o.row && p.name == o.name && (o.any || !p.any && p.value == o.value)
}

// key returns a text that is the same for predicates that hold for the same requests.
func (p *predicate) key() string {
	if p.any {
		return fmt.Sprintf("%d %q", p.row, p.name)
	}
	return fmt.Sprintf("%d %q %q", p.row, p.name, p.value)
}
