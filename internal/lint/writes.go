package lint

import (
	"fmt"
	"go/ast"
	"go/token"
)

// findWrites fills the writes of every file: for each package, the names that one of its functions assigns to, without those that the function
// itself declares. Tests do not count; what they change they change in their own process.
func findWrites(files []*goFile) {
	packages := make(map[string]map[string]string)
	for _, f := range files {
		key := f.dir() + " " + f.ast.Name.Name
		if packages[key] == nil {
			packages[key] = make(map[string]string)
		}
		f.writes = packages[key]
		if f.test {
			continue
		}
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Body != nil {
				findWritesIn(f, fn)
			}
		}
	}
}

// findWritesIn adds what fn writes to. It knows no types: a name that fn declares anywhere counts as its own everywhere in fn.
func findWritesIn(f *goFile, fn *ast.FuncDecl) {
	local := declaredIn(fn)
	note := func(e ast.Expr) {
		id := rootOf(e)
		if id == nil || local[id.Name] {
			return
		}
		if _, ok := f.writes[id.Name]; !ok {
			f.writes[id.Name] = fmt.Sprintf("%s:%d", f.path, f.line(id.Pos()))
		}
	}
	ast.Inspect(fn.Body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			if n.Tok != token.DEFINE {
				for _, e := range n.Lhs {
					note(e)
				}
			}
		case *ast.IncDecStmt:
			note(n.X)
		case *ast.RangeStmt:
			if n.Tok == token.ASSIGN {
				note(n.Key)
				note(n.Value)
			}
		case *ast.CallExpr:
			switch name, _ := builtinCall(n); name {
			case "copy", "clear", "delete":
				note(n.Args[0])
			}
		}
		return true
	})
}

// declaredIn returns the names that fn declares: receiver, parameters, results and variables.
func declaredIn(fn *ast.FuncDecl) map[string]bool {
	names := make(map[string]bool)
	ast.Inspect(fn, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Field:
			for _, id := range n.Names {
				names[id.Name] = true
			}
		case *ast.AssignStmt:
			if n.Tok == token.DEFINE {
				for _, e := range n.Lhs {
					if id, ok := e.(*ast.Ident); ok {
						names[id.Name] = true
					}
				}
			}
		case *ast.RangeStmt:
			if n.Tok == token.DEFINE {
				for _, e := range []ast.Expr{n.Key, n.Value} {
					if id, ok := e.(*ast.Ident); ok {
						names[id.Name] = true
					}
				}
			}
		case *ast.ValueSpec:
			for _, id := range n.Names {
				names[id.Name] = true
			}
		}
		return true
	})
	return names
}

// rootOf returns the variable that an assignable expression belongs to: x of x, x[i], x.f, *x, x[i].f.
func rootOf(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.IndexExpr:
			e = x.X
		case *ast.SliceExpr:
			e = x.X
		case *ast.SelectorExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return nil
		}
	}
}
