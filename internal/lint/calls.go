package lint

import (
	"go/ast"
	"go/token"
	"slices"
	"strconv"
	"strings"
)

// bannedImports are packages of the standard library that have a better successor. Read-only.
var bannedImports = map[string]string{
	"math/rand": "use math/rand/v2: its generators are faster, and its global one takes no lock",
	"io/ioutil": "use io and os, where these functions are now",
}

// hotRooms are the packages that every request passes through. Read-only.
var hotRooms = []string{"message", "metric", "balance", "limit", "stream", "http1", "http2", "http3", "route", "policy", "upstream", "proxy"}

// ban is one forbidden use of a package's name.
type ban struct {
	pkg     string
	names   []string
	rooms   []string // where it holds; nil is everywhere
	inTests bool
	instead string
}

// bans are the forbidden calls. Read-only.
var bans = []ban{
	{pkg: "log", names: []string{"Print", "Printf", "Println", "Fatal", "Fatalf", "Fatalln", "Panic", "Panicf", "Panicln", "Default", "SetOutput"},
		instead: "take an io.Writer or a function from the owner: it decides where lines go, and only main ends the process"},
	{pkg: "time", names: []string{"After", "Tick"},
		instead: "use a time.Timer or time.Ticker that you stop: this one makes a channel and a timer per call and cannot be stopped"},
	{pkg: "context", names: []string{"TO" + "DO"}, inTests: true,
		instead: "use the context of the caller, so that its end reaches here"},
	{pkg: "context", names: []string{"Background", "WithValue"}, rooms: hotRooms,
		instead: "use deadlines on the connection and the Exchange: a context costs an allocation per request and a goroutine per cancel; " +
			"what happens less often than requests (a health check, a dial) may say so with //house:allow call"},
	{pkg: "sync/atomic", names: rawAtomics(), inTests: true,
		instead: "use atomic.Int64, atomic.Pointer and the other types: a plain read beside a raw atomic compiles and is a race, and 64-bit ones need alignment"},
	{pkg: "os", names: []string{"Exit"},
		instead: "return an error: only main ends the process, after the others have been joined"},
	{pkg: "os", names: []string{"Stdout", "Stderr"},
		instead: "take an io.Writer: the command decides where lines go, and tests read them"},
	{pkg: "net", names: []string{"Dial", "DialTCP", "DialUDP", "DialUnix", "DialIP"},
		instead: "use a net.Dialer with a Timeout: the system's own is over two minutes"},
	{pkg: "runtime", names: []string{"SetFinalizer", "GC"},
		instead: "use an owner that closes: when a finalizer runs, if ever, is not in our hands"},
}

// printers are the functions that write to standard output or standard error behind the owner's back. Read-only.
var printers = []string{"Print", "Printf", "Println"}

// rawAtomics returns the names of the functions of sync/atomic.
func rawAtomics() []string {
	var names []string
	for _, verb := range []string{"Add", "And", "CompareAndSwap", "Load", "Or", "Store", "Swap"} {
		for _, kind := range []string{"Int32", "Int64", "Uint32", "Uint64", "Uintptr", "Pointer"} {
			names = append(names, verb+kind)
		}
	}
	return names
}

// importNames returns the import paths of f by the name under which the file uses them.
func importNames(f *goFile) map[string]string {
	names := make(map[string]string, len(f.ast.Imports))
	for _, spec := range f.ast.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue
		}
		name := path[strings.LastIndexByte(path, '/')+1:]
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = path
	}
	return names
}

// eachUse calls visit for every pkg.Name in f whose pkg is an import.
func eachUse(f *goFile, visit func(path string, sel *ast.SelectorExpr)) {
	names := importNames(f)
	ast.Inspect(f.ast, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if id, ok := sel.X.(*ast.Ident); ok {
				if path, ok := names[id.Name]; ok {
					visit(path, sel)
				}
			}
		}
		return true
	})
}

// checkCalls holds the table of forbidden calls. Commands print, exit and wait as they need.
func checkCalls(f *goFile, report reporter) {
	if f.program() || f.generated {
		return
	}
	eachUse(f, func(path string, sel *ast.SelectorExpr) {
		for _, b := range bans {
			switch {
			case b.pkg != path || !slices.Contains(b.names, sel.Sel.Name):
			case f.test && !b.inTests, workshop(f) && !b.inTests:
			case b.rooms != nil && !slices.Contains(b.rooms, f.room()):
			default:
				report(sel.Pos(), "no %s.%s here: %s", sel.X, sel.Sel.Name, b.instead)
			}
		}
	})
}

// workshop reports whether the file belongs to the tools and tests beside the rooms, which may use what a long-lived server should not.
func workshop(f *goFile) bool {
	r := f.room()
	return r == "internal" || r == "test" || r == "bench"
}

// checkPrint keeps standard output and standard error to those who own them.
func checkPrint(f *goFile, report reporter) {
	if f.program() || f.test {
		return
	}
	eachUse(f, func(path string, sel *ast.SelectorExpr) {
		if path == "fmt" && slices.Contains(printers, sel.Sel.Name) {
			report(sel.Pos(), "no fmt.%s here: write to the io.Writer that the owner gave, with fmt.F%s; standard output belongs to the command",
				sel.Sel.Name, strings.ToLower(sel.Sel.Name[:1])+sel.Sel.Name[1:])
		}
	})
	ast.Inspect(f.ast, func(n ast.Node) bool {
		if name, call := builtinCall(n); name == "print" || name == "println" {
			report(call.Pos(), "no %s here: it writes to standard error; use the io.Writer that the owner gave", name)
		}
		return true
	})
}

// builtinCall returns the name of a call of a plain identifier, and the call.
func builtinCall(n ast.Node) (string, *ast.CallExpr) {
	if call, ok := n.(*ast.CallExpr); ok {
		if id, ok := call.Fun.(*ast.Ident); ok {
			return id.Name, call
		}
	}
	return "", nil
}

// pureRooms are those whose results depend on their arguments alone, so that every test of them is exact. Read-only.
var pureRooms = []string{"balance", "limit", "route"}

// checkClock keeps the clock out of the rooms that compute.
func checkClock(f *goFile, report reporter) {
	if f.test || f.generated || !slices.Contains(pureRooms, f.room()) {
		return
	}
	eachUse(f, func(path string, sel *ast.SelectorExpr) {
		if path == "time" && slices.Contains([]string{"Now", "Since", "Until"}, sel.Sel.Name) {
			report(sel.Pos(), "no time.%s in %s: take the time as an argument; the caller has read the clock once for the whole request, and a test can set it",
				sel.Sel.Name, f.room())
		}
	})
}

// checkSleep allows a sleep only as the pause of a loop: a poll, a pacer. A sleep elsewhere hopes that something has happened meanwhile, which on a
// busy machine it has not, and in the product it cannot be interrupted.
func checkSleep(f *goFile, report reporter) {
	if f.program() || f.room() == "bench" {
		return
	}
	loops := loopSpans(f)
	eachUse(f, func(path string, sel *ast.SelectorExpr) {
		if path != "time" || sel.Sel.Name != "Sleep" {
			return
		}
		if !f.test && !workshop(f) {
			report(sel.Pos(), "no time.Sleep here: wait on a timer and on the end of the owner in one select, so that a shutdown is not held up")
			return
		}
		for _, l := range loops {
			if l.from < sel.Pos() && sel.Pos() < l.to {
				return
			}
		}
		report(sel.Pos(), "no time.Sleep as synchronisation: wait for the event (a channel, a reply, a counter), or poll for it in a loop with a generous bound")
	})
}

// span is a stretch of a file.
type span struct{ from, to token.Pos }

// loopSpans returns the bodies of the loops of f.
func loopSpans(f *goFile) []span {
	var loops []span
	ast.Inspect(f.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ForStmt:
			loops = append(loops, span{n.Pos(), n.End()})
		case *ast.RangeStmt:
			loops = append(loops, span{n.Pos(), n.End()})
		}
		return true
	})
	return loops
}

// checkPanic keeps panics to impossible states, each with the reason why it cannot come from the network.
func checkPanic(f *goFile, report reporter) {
	if f.test || f.invariant || f.program() || f.generated || workshop(f) {
		return
	}
	ast.Inspect(f.ast, func(n ast.Node) bool {
		if name, call := builtinCall(n); name == "panic" {
			report(call.Pos(), "no panic here: return an error; input from the network or a file must never end the process. "+
				"For a state that only a bug of ours can reach, say which with //house:allow panic")
		}
		return true
	})
}
