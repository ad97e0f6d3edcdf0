package lint

import (
	"go/ast"
	"go/token"
	"slices"
	"strings"
)

// checkInit forbids init functions: what a program does at its start must be readable in main.
func checkInit(f *goFile, report reporter) {
	for _, d := range f.ast.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
			report(fn.Pos(), "no init function: call it from the owner, or compute the value in a table; importing a package must do nothing")
		}
	}
}

// uselessNames say nothing about what a package is. Read-only.
var uselessNames = []string{
	"util", "utils", "common", "helper", "helpers", "manager", "managers", "misc", "shared", "base", "core", "lib", "types", "interfaces", "models",
}

func checkPackageName(f *goFile, report reporter) {
	name := strings.TrimSuffix(f.ast.Name.Name, "_test")
	if slices.Contains(uselessNames, name) {
		report(f.ast.Name.Pos(), "package %q says nothing: name it after the thing that it holds (listener, route, backend)", name)
	}
	if name != strings.ToLower(name) || strings.Contains(name, "_") {
		report(f.ast.Name.Pos(), "package %q: a package is one lower-case word", name)
	}
}

// constructors make values that nothing changes afterwards. Read-only.
var constructors = []string{
	"errors.New", "fmt.Errorf", "regexp.MustCompile", "reflect.TypeOf", "reflect.TypeFor", "strings.NewReplacer", "time.Duration",
	"netip.MustParseAddr", "netip.MustParsePrefix", "netip.AddrFrom4", "netip.AddrFrom16", "netip.IPv6Unspecified", "template.Must",
}

// checkGlobals forbids mutable state at package level. A table, a byte string or a sentinel that no line of the package writes to is no state; anything
// else that nothing writes to says so by the word "read-only" in its comment.
func checkGlobals(f *goFile, report reporter) {
	if f.test || f.generated {
		return
	}
	for _, d := range f.ast.Decls {
		group, ok := d.(*ast.GenDecl)
		if !ok || group.Tok != token.VAR {
			continue
		}
		for _, s := range group.Specs {
			spec := s.(*ast.ValueSpec)
			promised := saysReadOnly(group.Doc) || saysReadOnly(spec.Doc) || saysReadOnly(spec.Comment) || embeds(group.Doc) || embeds(spec.Doc)
			for i, id := range spec.Names {
				var value ast.Expr
				if i < len(spec.Values) {
					value = spec.Values[i]
				}
				switch at, written := f.writes[id.Name]; {
				case id.Name == "_":
				case written && promised:
					report(id.Pos(), "package variable %s is called read-only, and is written to at %s", id.Name, at)
				case written:
					report(id.Pos(), "package variable %s is state that everybody shares (it is written to at %s): give it to the struct that owns it", id.Name, at)
				case !promised && !isSentinel(id.Name, value) && !isConstant(spec.Type, value) && (id.IsExported() || !isTable(value)):
					report(id.Pos(), "package variable %s may be changed from anywhere: give it to the struct that owns it; "+
						"if nothing ever writes to it, say \"read-only\" in its comment", id.Name)
				}
			}
		}
	}
}

// isTable reports whether a package variable is a literal table, byte string or basic value, which stays as it is while nothing assigns to it.
func isTable(value ast.Expr) bool {
	switch v := value.(type) {
	case *ast.BasicLit:
		return true
	case *ast.CompositeLit:
		return isTableType(v.Type)
	case *ast.CallExpr:
		switch fun := v.Fun.(type) {
		case *ast.ArrayType: // []byte("…")
			return true
		case *ast.FuncLit: // a table computed on the spot
			if results := fun.Type.Results; results != nil && len(results.List) == 1 {
				return isTableType(results.List[0].Type)
			}
		}
	}
	return false
}

func isTableType(typ ast.Expr) bool {
	switch typ.(type) {
	case *ast.ArrayType, *ast.MapType:
		return true
	}
	return false
}

func saysReadOnly(doc *ast.CommentGroup) bool {
	return doc != nil && strings.Contains(strings.ToLower(doc.Text()), "read-only")
}

// embeds reports whether doc holds a go:embed directive; Text leaves directives out.
func embeds(doc *ast.CommentGroup) bool {
	return doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool { return strings.HasPrefix(c.Text, "//go:embed ") })
}

// isSentinel reports whether a variable is by its name and value an error that others compare with.
func isSentinel(name string, value ast.Expr) bool {
	return value != nil && (strings.HasPrefix(name, "err") || strings.HasPrefix(name, "Err"))
}

// isConstant reports whether a package variable of this type and value is by its form one that nothing changes.
func isConstant(typ, value ast.Expr) bool {
	if value == nil {
		return false
	}
	if id, ok := typ.(*ast.Ident); ok && id.Name == "error" {
		return true
	}
	if addr, ok := value.(*ast.UnaryExpr); ok && addr.Op == token.AND {
		// A sentinel of an error type: &Error{…}.
		lit, ok := addr.X.(*ast.CompositeLit)
		return ok && strings.HasSuffix(nameOf(lit.Type), "Error")
	}
	call, ok := value.(*ast.CallExpr)
	if !ok {
		return false
	}
	fun := call.Fun
	if generic, ok := fun.(*ast.IndexExpr); ok {
		fun = generic.X
	}
	return slices.Contains(constructors, nameOf(fun))
}

// nameOf returns an identifier or pkg.Name as text.
func nameOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		if x, ok := e.X.(*ast.Ident); ok {
			return x.Name + "." + e.Sel.Name
		}
	}
	return ""
}

// wellKnown are methods whose meaning their interface tells. Read-only.
var wellKnown = []string{
	"Error", "String", "Unwrap", "Is", "As", "Len", "Less", "Swap", "MarshalText", "UnmarshalText", "MarshalJSON", "UnmarshalJSON", "UnmarshalYAML",
	"LocalAddr", "RemoteAddr", "SetDeadline", "SetReadDeadline", "SetWriteDeadline",
}

// checkDocs wants a comment on everything that a package offers. Commands and tests offer nothing.
func checkDocs(f *goFile, report reporter) {
	if f.test || f.generated || f.program() {
		return
	}
	for _, d := range f.ast.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Doc == nil && d.Name.IsExported() && offered(d.Recv) && (d.Recv == nil || !slices.Contains(wellKnown, d.Name.Name)) {
				report(d.Pos(), "%s needs a comment: what it does, units and ranges, errors, who may call it when", d.Name.Name)
			}
		case *ast.GenDecl:
			checkSpecDocs(f, d, report)
		}
	}
}

// offered reports whether a receiver is absent or of an exported type.
func offered(recv *ast.FieldList) bool {
	if recv == nil || len(recv.List) == 0 {
		return true
	}
	typ := recv.List[0].Type
	for {
		switch t := typ.(type) {
		case *ast.StarExpr:
			typ = t.X
		case *ast.IndexExpr:
			typ = t.X
		case *ast.IndexListExpr:
			typ = t.X
		case *ast.Ident:
			return t.IsExported()
		default:
			return true
		}
	}
}

// checkSpecDocs wants a comment on each exported type, and on each exported constant and variable or on the group that they stand in.
func checkSpecDocs(f *goFile, d *ast.GenDecl, report reporter) {
	for _, s := range d.Specs {
		switch s := s.(type) {
		case *ast.TypeSpec:
			if !s.Name.IsExported() {
				continue
			}
			if s.Doc == nil && s.Comment == nil && (d.Doc == nil || len(d.Specs) > 1) {
				report(s.Pos(), "type %s needs a comment: what it is, who owns it, whether it may be shared between goroutines", s.Name.Name)
			}
			checkFieldDocs(f, s, report)
		case *ast.ValueSpec:
			for _, id := range s.Names {
				if id.IsExported() && s.Doc == nil && s.Comment == nil && d.Doc == nil {
					report(id.Pos(), "%s needs a comment, or its group does: what it means, in which unit", id.Name)
				}
			}
		}
	}
}

// checkFieldDocs wants a comment on each key of the configuration: the manual and the schema are made from them. What the fields of other types mean
// is for the comment of the type.
func checkFieldDocs(f *goFile, s *ast.TypeSpec, report reporter) {
	t, ok := s.Type.(*ast.StructType)
	if !ok {
		return
	}
	for _, field := range t.Fields.List {
		if field.Doc != nil || field.Comment != nil || field.Tag == nil || !strings.Contains(field.Tag.Value, `yaml:"`) || strings.Contains(field.Tag.Value, `yaml:"-"`) {
			continue
		}
		for _, id := range field.Names {
			if id.IsExported() {
				report(id.Pos(), "the key %s.%s needs a comment: what it does, its unit, its default; the manual is made from it", s.Name.Name, id.Name)
			}
		}
	}
}
