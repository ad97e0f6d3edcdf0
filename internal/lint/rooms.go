package lint

import (
	"fmt"
	"go/token"
	"slices"
	"strconv"
	"strings"
)

// room is one row of the table of packages: where a package stands and what it may not know.
type room struct {
	name  string
	floor int      // it imports only rooms of lower floors
	never []never  // what it does not import, beyond what the floors forbid
	only  []string // when set, the only rooms that it may import
	with  []string // rooms of its own floor that it may import all the same
}

// never is one forbidden import.
type never struct {
	path string // import path; a room of ours by its bare name; "x/..." means x and all below it
	deep bool   // must not be reached through other packages either
	why  string
}

const (
	whyOneMessage = "net/http is a second view of a request, and costs three times as much; use message.Exchange, and adapt in nethttp"
	whyNoConfig   = "configuration is compiled into plain values by gateway; take those values"
	whyPure       = "picking is pure: endpoints in, index out; take numbers and let upstream know about addresses"
	whyOwnBytes   = "the owner of bytes must be visible in types; use offsets into the arena"
)

// rooms is the table of the packages at the root of the repository. A new package gets a row here, with the lowest floor that serves it.
// Read-only.
var rooms = []room{
	{name: "message", floor: 0, never: []never{
		{"net/http/...", true, whyOneMessage}, {"unsafe", false, whyOwnBytes}, {"config", true, whyNoConfig}}},
	{name: "metric", floor: 0, only: []string{}, never: []never{{"net/http/...", true, whyOneMessage}}},
	{name: "balance", floor: 0, never: []never{
		{"net", true, whyPure}, {"net/http/...", true, whyOneMessage}, {"config", true, whyNoConfig}}},
	{name: "limit", floor: 0, never: []never{
		{"message", true, "a limiter counts keys; the policy makes the key from the message"}, {"net/http/...", false, whyOneMessage}}},
	{name: "stream", floor: 0, only: []string{}, never: []never{{"net/http/...", true, whyOneMessage}}},
	{name: "document", floor: 0, only: []string{}, never: []never{{"net/http/...", true, whyOneMessage}}},
	{name: "config", floor: 0, only: []string{}, never: []never{{"net/http/...", true, whyOneMessage}}},

	{name: "http1", floor: 1, never: []never{
		{"net/http/...", true, whyOneMessage}, {"config", true, whyNoConfig}, {"upstream", true, "a codec serves both sides and knows neither"}}},
	{name: "http2", floor: 1, never: []never{{"net/http/...", false, whyOneMessage}, {"config", true, whyNoConfig}}},
	{name: "http3", floor: 1, never: []never{{"net/http/...", false, whyOneMessage}, {"config", true, whyNoConfig}}},
	{name: "nethttp", floor: 1, only: []string{"message"}},
	{name: "cert", floor: 1, never: []never{{"net/http/...", false, whyOneMessage}}},
	{name: "cache", floor: 1, never: []never{{"net/http/...", false, whyOneMessage}}},
	{name: "identity", floor: 1, never: []never{{"config", true, whyNoConfig}}},
	{name: "discovery", floor: 1, only: []string{"metric"}, never: []never{{"net/http/...", true, whyOneMessage}, {"config", true, whyNoConfig}}},
	{name: "expr", floor: 1, never: []never{
		{"net/http/...", false, whyOneMessage}, {"config", true, whyNoConfig}, {"net", false, "an expression reads an Exchange and nothing else"}}},

	{name: "route", floor: 2, never: []never{{"net/http/...", true, whyOneMessage}}},
	{name: "policy", floor: 2, never: []never{{"net/http/...", false, whyOneMessage}}},
	{name: "upstream", floor: 2, never: []never{{"net/http/...", false, whyOneMessage}}},

	{name: "compose", floor: 3, never: []never{{"net/http/...", false, whyOneMessage}}},
	{name: "proxy", floor: 3, never: []never{{"net/http/...", false, whyOneMessage}}},

	{name: "listen", floor: 4, never: []never{
		{"net/http/...", false, whyOneMessage}, {"policy", false, "listen is given a handler and does not know what is done to a request"}}},

	// admin and demo speak net/http: they are services beside the proxy, and no exchange passes through them.
	{name: "admin", floor: 5, with: []string{"gateway"}},
	{name: "gateway", floor: 5, with: []string{"admin"}, never: []never{{"net/http/...", false, whyOneMessage}}},
	{name: "demo", floor: 5, with: []string{"gateway", "admin"}},

	{name: "cmd", floor: 6, only: []string{"gateway", "admin", "demo", "config"}, never: []never{
		{"net/http/...", false, "a command holds flags and signals only"}}},
	{name: "bench", floor: 7},
	{name: "examples", floor: 7},
	{name: "test", floor: 7, with: []string{"bench"}}, // test/failover starts and accounts the same programs
}

// testOnly are the packages below internal that only tests and tools may import. Read-only.
var testOnly = map[string]string{
	"internal/leak":    "it is the gate of the tests",
	"internal/lint":    "it reads the source of the others",
	"internal/testnet": "it is the scripted peer of the tests",
	"internal/testrun": "it is a command",
}

// addRow tells what to do about a package that the table does not know.
const addRow = "is not in the table of packages: add a row to internal/lint/rooms.go with its floor and what it never imports, and to docs/architecture.md"

func findRoom(name string) (room, bool) {
	i := slices.IndexFunc(rooms, func(r room) bool { return r.name == name })
	if i < 0 {
		return room{}, false
	}
	return rooms[i], true
}

// ours returns the path of an import below the module's root, and whether it is there.
func ours(path string) (string, bool) { return strings.CutPrefix(path, modulePath+"/") }

// matches reports whether path is what n forbids.
func (n never) matches(path string) bool {
	want := n.path
	if _, ok := findRoom(want); ok {
		want = modulePath + "/" + want + "/..."
	}
	if tree, ok := strings.CutSuffix(want, "/..."); ok {
		return path == tree || strings.HasPrefix(path, tree+"/")
	}
	return path == want
}

// checkImports holds the floors and the direct imports. Tests may import what they like: a comparison with net/http, or a whole gateway.
func checkImports(f *goFile, report reporter) {
	if f.test {
		return
	}
	r, known := findRoom(f.room())
	for _, spec := range f.ast.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the parser has refused it
		}
		if why, ok := bannedImports[path]; ok {
			report(spec.Pos(), "do not import %s: %s", path, why)
		}
		if !known || (f.program() && r.floor < 6) {
			continue // a generator of a room is not the room
		}
		if why := mayNotImport(r, path); why != "" {
			report(spec.Pos(), "%s must not import %s: %s", r.name, path, why)
		}
	}
}

// mayNotImport returns why r may not import path, or nothing.
func mayNotImport(r room, path string) string {
	for _, n := range r.never {
		if n.matches(path) {
			return n.why
		}
	}
	sub, ok := ours(path)
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(sub, "/")
	if name == "internal" {
		if why, ok := testOnly[sub]; ok && r.floor < 7 {
			return why + "; only tests may import it"
		}
		return ""
	}
	other, known := findRoom(name)
	switch {
	case name == r.name:
		return ""
	case r.only != nil && !slices.Contains(r.only, name):
		if len(r.only) == 0 {
			return "it knows nothing of ours; take an interface or a plain value"
		}
		return "of ours it knows only " + strings.Join(r.only, ", ")
	case slices.Contains(r.with, name) || !known:
		return "" // an unknown room is a finding of its own
	case other.floor >= r.floor:
		return fmt.Sprintf("it stands on floor %d and %s on floor %d, and imports go only to lower floors; move the shared thing down, "+
			"or let the upper package hand it in", r.floor, name, other.floor)
	}
	return ""
}

// checkRooms finds packages that are not in the table, and packages below a room: all stand at the root, one level, so that the first glance shows
// the product.
func checkRooms(t *tree) []finding {
	var all []finding
	seen := make(map[string]bool)
	for _, f := range t.gos {
		dir := f.dir()
		if seen[dir] || dir == "." || f.program() && f.room() != "cmd" {
			continue
		}
		seen[dir] = true
		_, known := findRoom(f.room())
		switch {
		case f.room() == "internal":
			// Small tools for one purpose; what they may be is for the reviewer.
		case !known:
			all = append(all, finding{f.path, 1, "rooms", fmt.Sprintf("package %s %s", dir, addRow)})
		case strings.Contains(dir, "/") && !strings.Contains(dir, "/internal/") && !nests(f.room()):
			all = append(all, finding{f.path, 1, "rooms", fmt.Sprintf("package %s stands below a room: all packages stand at the root, one level; "+
				"make it a file of %s, or a room with a row in internal/lint/rooms.go", dir, f.room())})
		}
	}
	return all
}

// nests reports whether a folder at the root may hold packages of its own.
func nests(room string) bool {
	return room == "cmd" || room == "test" || room == "bench" || room == "examples"
}

// checkReach holds the imports that a room must not have even through others.
func checkReach(t *tree) []finding {
	var all []finding
	for _, r := range rooms {
		start := modulePath + "/" + r.name
		if _, ok := t.deps[start]; !ok {
			continue // not written yet
		}
		for _, n := range r.never {
			if !n.deep {
				continue
			}
			if chain := reach(t.deps, start, n.matches); len(chain) > 2 { // two are a direct import, found with its line
				all = append(all, finding{r.name, 0, "reach", fmt.Sprintf("%s must not reach %s, and does: %s (%s)",
					r.name, chain[len(chain)-1], strings.ReplaceAll(strings.Join(chain, " → "), modulePath+"/", ""), n.why)})
			}
		}
	}
	return all
}

// reach returns a shortest chain of imports from start to a package that matches, both included, or nothing.
func reach(deps map[string][]string, start string, matches func(string) bool) []string {
	from := map[string]string{start: ""}
	for queue := []string{start}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		if at != start && matches(at) {
			var chain []string
			for ; at != ""; at = from[at] {
				chain = append(chain, at)
			}
			slices.Reverse(chain)
			return chain
		}
		for _, next := range deps[at] {
			if _, seen := from[next]; !seen {
				from[next] = at
				queue = append(queue, next)
			}
		}
	}
	return nil
}

// checkUnsafe wants a reason at every import of unsafe that the table does not forbid altogether.
func checkUnsafe(f *goFile, report reporter) {
	if workshop(f) {
		return
	}
	for _, spec := range f.ast.Imports {
		if spec.Path.Value == `"unsafe"` && !f.test {
			report(spec.Pos(), "unsafe needs a reason: use plain slices and offsets, or say with //house:allow unsafe what is gained, as measured, and why it is sound")
		}
	}
	for _, group := range f.ast.Comments {
		for _, c := range group.List {
			if strings.HasPrefix(c.Text, "//go:"+"linkname ") {
				report(c.Pos(), "no linkname: it binds to what the runtime does not promise; use the public function")
			}
		}
	}
}

// checkFormat wants what gofmt would write.
func checkFormat(f *goFile, report reporter) {
	if !isFormatted(f.src) {
		report(token.NoPos, "not formatted: run gofmt -w %s", f.path)
	}
}
