// Package lint holds the house rules of Sluice as code. `go test ./internal/lint` applies them to every file of the repository;
// with `-long` (which `make lint` sets) it also runs go vet, staticcheck, the generators and the macOS build.
//
// Each rule tells what to use instead and why. A rule may be broken on one line by a comment on that line, or directly above it, that names
// the rule and gives the reason:
//
//	//house:allow panic the index comes from our own table, so this is a bug and not input
//
// A reason is required, and an allowance that allows nothing is itself a finding, so that none outlives its cause.
package lint

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/token"
	"slices"
	"strings"
)

// modulePath is the path of the module that the rules are about.
const modulePath = "github.com/sluice-gateway/sluice"

// finding is one place where a rule is broken.
type finding struct {
	path string // slash-separated, from the root of the repository
	line int    // 1-based; 0 when the finding is about the file or package as a whole
	rule string
	text string // what is wrong, what to use instead, and why
}

func (f finding) String() string { return fmt.Sprintf("%s:%d: %s: %s", f.path, f.line, f.rule, f.text) }

// goFile is one parsed Go file.
type goFile struct {
	path      string // slash-separated, from the root of the repository
	src       []byte
	fset      *token.FileSet
	ast       *ast.File
	test      bool // name ends in _test.go
	generated bool // carries the standard "Code generated … DO NOT EDIT." line
	invariant bool // built only with the invariants tag, where failing loudly is the purpose

	// writes tells where the package first writes to a name, for every name that it writes to at package level.
	writes map[string]string
}

// dir returns the folder of the file from the root of the repository, "." for the root.
func (f *goFile) dir() string {
	if i := strings.LastIndexByte(f.path, '/'); i >= 0 {
		return f.path[:i]
	}
	return "."
}

// room returns the first element of the file's folder: the package of the design, or cmd, internal, test, bench.
func (f *goFile) room() string {
	room, _, _ := strings.Cut(f.dir(), "/")
	return room
}

// program reports whether the file belongs to a command, which may print, read flags and end the process.
func (f *goFile) program() bool { return f.ast.Name.Name == "main" }

func (f *goFile) line(pos token.Pos) int { return f.fset.Position(pos).Line }

// textFile is one file of the repository that is text, Go or not.
type textFile struct {
	path string
	src  []byte
}

// tree is the repository as the rules see it.
type tree struct {
	root  string // folder on disk; empty for a tree made up by a test
	gos   []*goFile
	texts []textFile
	deps  map[string][]string // import path → its imports, for this module and all that it reaches
}

// goRule is a rule about one Go file.
type goRule struct {
	name  string
	check func(f *goFile, report reporter)
}

// treeRule is a rule about several files at once, or about files that are not Go.
type treeRule struct {
	name  string
	check func(t *tree) []finding
}

// reporter takes one finding at a place of a file.
type reporter func(pos token.Pos, format string, args ...any)

// goRules are the rules about single Go files. Read-only.
var goRules = []goRule{
	{"imports", checkImports},
	{"length", checkLength},
	{"format", checkFormat},
	{"print", checkPrint},
	{"call", checkCalls},
	{"clock", checkClock},
	{"sleep", checkSleep},
	{"panic", checkPanic},
	{"init", checkInit},
	{"global", checkGlobals},
	{"unsafe", checkUnsafe},
	{"name", checkPackageName},
	{"doc", checkDocs},
	{"unfinished", checkUnfinished},
	{"loopback", checkLoopback},
	{"idle-test", checkIdleTests},
	{"fuzz-seed", checkFuzzSeeds},
}

// treeRules are the rules about the repository as a whole. Read-only.
var treeRules = []treeRule{
	{"rooms", checkRooms},
	{"reach", checkReach},
	{"package-doc", checkPackageDocs},
	{"leak-gate", checkLeakGates},
	{"machine", checkMachineWords},
	{"unfinished-text", checkUnfinishedText},
}

// run applies all rules to t and returns the findings in the order of paths and lines.
func run(t *tree) []finding {
	findWrites(t.gos)
	var all []finding
	for _, f := range t.gos {
		all = append(all, runFile(f)...)
	}
	for _, r := range treeRules {
		all = append(all, r.check(t)...)
	}
	slices.SortStableFunc(all, func(a, b finding) int {
		return cmp.Or(cmp.Compare(a.path, b.path), cmp.Compare(a.line, b.line))
	})
	return all
}

// runFile applies the rules about single files to f, less what the file allows itself with a reason.
func runFile(f *goFile) []finding {
	allowed, all := allowances(f)
	for _, r := range goRules {
		r.check(f, func(pos token.Pos, format string, args ...any) {
			line := 0
			if pos.IsValid() {
				line = f.line(pos)
			}
			for _, a := range allowed {
				if a.rule == r.name && (a.line == line || a.above == line) {
					a.used = true
					return
				}
			}
			all = append(all, finding{f.path, line, r.name, fmt.Sprintf(format, args...)})
		})
	}
	for _, a := range allowed {
		if !a.used {
			all = append(all, finding{f.path, a.line, "allow", fmt.Sprintf("nothing here breaks the rule %q: remove the allowance", a.rule)})
		}
	}
	return all
}

// allowance is one //house:allow comment.
type allowance struct {
	rule  string
	line  int // where it stands
	above int // the line below the comment group that it stands in, so that it may close a doc comment
	used  bool
}

// allowances returns the //house:allow comments of f, and findings for those that are malformed.
func allowances(f *goFile) ([]*allowance, []finding) {
	var allowed []*allowance
	var wrong []finding
	for _, group := range f.ast.Comments {
		for _, c := range group.List {
			rest, ok := strings.CutPrefix(c.Text, "//house:allow")
			if !ok {
				continue
			}
			rule, reason, _ := strings.Cut(strings.TrimSpace(rest), " ")
			a := &allowance{rule: rule, line: f.line(c.Pos()), above: f.line(group.End()) + 1}
			switch {
			case !slices.ContainsFunc(goRules, func(r goRule) bool { return r.name == rule }):
				wrong = append(wrong, finding{f.path, a.line, "allow", fmt.Sprintf("there is no rule %q that a line may break", rule)})
			case len(strings.Fields(reason)) < 3:
				wrong = append(wrong, finding{f.path, a.line, "allow", "give the reason after the name of the rule, in at least three words"})
			default:
				allowed = append(allowed, a)
			}
		}
	}
	return allowed, wrong
}
