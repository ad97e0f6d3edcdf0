package lint

import (
	"fmt"
	"go/ast"
	"go/token"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"
)

// checkLeakGates wants the goroutine gate in every package that has tests.
func checkLeakGates(t *tree) []finding {
	first := make(map[string]*goFile)
	gated := make(map[string]bool)
	for _, f := range t.gos {
		if !f.test {
			continue
		}
		dir := f.dir()
		if first[dir] == nil {
			first[dir] = f
		}
		gated[dir] = gated[dir] || gatesLeaks(f)
	}
	var all []finding
	for dir, f := range first {
		if !gated[dir] {
			all = append(all, finding{f.path, 0, "leak-gate", fmt.Sprintf("the tests of %s have no goroutine gate: add a main_test.go with "+
				"`func TestMain(m *testing.M) { leak.Main(m) }`", dir)})
		}
	}
	return all
}

// gatesLeaks reports whether f calls leak.Main. The gate's own tests call it from inside its package.
func gatesLeaks(f *goFile) bool {
	found := f.ast.Name.Name == "leak"
	eachUse(f, func(path string, sel *ast.SelectorExpr) {
		found = found || path == modulePath+"/internal/leak" && sel.Sel.Name == "Main"
	})
	return found
}

// testFuncs calls visit for every test function of f of the given kind ("Test", "Fuzz", "Benchmark") with the name of its first parameter.
func testFuncs(f *goFile, kind string, visit func(fn *ast.FuncDecl, param string)) {
	if !f.test {
		return
	}
	for _, d := range f.ast.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Recv != nil || fn.Body == nil || !strings.HasPrefix(fn.Name.Name, kind) || fn.Name.Name == "TestMain" {
			continue
		}
		if params := fn.Type.Params.List; len(params) == 1 && len(params[0].Names) == 1 {
			visit(fn, params[0].Names[0].Name)
		}
	}
}

// verdicts are the methods by which a test can fail, or hand its fate to others. Read-only.
var verdicts = []string{"Error", "Errorf", "Fatal", "Fatalf", "Fail", "FailNow", "Run"}

// checkIdleTests finds tests that cannot fail: they neither use a verdict nor give their *testing.T to anybody.
func checkIdleTests(f *goFile, report reporter) {
	testFuncs(f, "Test", func(fn *ast.FuncDecl, t string) {
		if !canFail(fn.Body, t) {
			report(fn.Pos(), "%s cannot fail: compare a result with what it should be, or say with //house:allow idle-test what failing looks like", fn.Name.Name)
		}
	})
}

// canFail reports whether body calls a verdict of t or passes t on.
func canFail(body *ast.BlockStmt, t string) bool {
	found := false
	ast.Inspect(body, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return !found
		}
		if sel, ok := call.Fun.(*ast.SelectorExpr); ok {
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == t && slices.Contains(verdicts, sel.Sel.Name) {
				found = true
			}
		}
		for _, arg := range call.Args {
			if id, ok := arg.(*ast.Ident); ok && id.Name == t {
				found = true
			}
		}
		return !found
	})
	return found
}

// checkFuzzSeeds wants seeds in every fuzzer: they are its test cases in an ordinary run, and where its search begins.
func checkFuzzSeeds(f *goFile, report reporter) {
	testFuncs(f, "Fuzz", func(fn *ast.FuncDecl, param string) {
		seeded := false
		ast.Inspect(fn.Body, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				seeded = seeded || nameOf(call.Fun) == param+".Add" || slices.ContainsFunc(call.Args, func(arg ast.Expr) bool { return nameOf(arg) == param })
			}
			return !seeded
		})
		if !seeded {
			report(fn.Pos(), "%s has no seeds: give it some with %s.Add, among them what was once wrong", fn.Name.Name, param)
		}
	})
}

// checkLoopback keeps the listeners of tests to loopback and to ports that the system chooses: another test, or another user, may have a fixed one.
func checkLoopback(f *goFile, report reporter) {
	if !f.test {
		return
	}
	names := importNames(f)
	ast.Inspect(f.ast, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) < 2 {
			return true
		}
		sel, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := sel.X.(*ast.Ident); !ok || names[x.Name] != "net" || !strings.HasPrefix(sel.Sel.Name, "Listen") {
			return true
		}
		lit, ok := call.Args[1].(*ast.BasicLit)
		if !ok || lit.Kind != token.STRING {
			return true
		}
		if address, err := strconv.Unquote(lit.Value); err == nil && !isPrivate(address) {
			report(lit.Pos(), "a test listens on loopback and lets the system choose the port: use \"127.0.0.1:0\"")
		}
		return true
	})
}

// isPrivate reports whether address is a loopback address with port 0, or a Unix socket.
func isPrivate(address string) bool {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return path.IsAbs(address) || strings.HasPrefix(address, "@")
	}
	ip := net.ParseIP(host)
	return port == "0" && (host == "localhost" || ip != nil && ip.IsLoopback())
}
