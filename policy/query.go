package policy

import (
	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/expr"
	"github.com/sluice-gateway/sluice/message"
)

// queryEdit is compiled QueryChanges. There are at most 64 entries of a kind (the tags of QueryChanges say so), one bit each.
type queryEdit struct {
	rename []queryRename
	remove []string
	set    []queryValue
	add    []queryValue
}

type queryRename struct {
	from, to string
	encoded  []byte // to, as it is written
}

// queryValue is a parameter; its value is the whole of it: name, "=" and value, as they are written.
type queryValue struct {
	name  string
	value value
}

func compileQuery(q *QueryChanges, s *values, c *BuildContext) queryEdit {
	var e queryEdit
	for i := range q.Rename {
		to := q.Rename[i].Value
		e.rename = append(e.rename, queryRename{from: q.Rename[i].Name, to: to, encoded: message.AppendQueryValue(nil, []byte(to))})
	}
	e.remove = append(e.remove, q.Remove...)
	list := func(pairs []config.Pair) []queryValue {
		var out []queryValue
		for i := range pairs {
			out = append(out, queryValue{name: pairs[i].Name, value: s.compile(&pairs[i], forParameter, ofRequest, c)})
		}
		return out
	}
	e.set, e.add = list(q.Set), list(q.Add)
	return e
}

// apply makes the changes to x.Request.Query. What no change names is copied byte for byte; a query that nothing changes stays the same
// slice. When nothing is left the query is gone, with its "?".
func (e *queryEdit) apply(x *message.Exchange, worked []byte) {
	query := x.Request.Query
	w := queryWriter{edit: e, worked: worked, renamed: e.renamed(query)}
	if w.renamed == 0 && len(e.set)+len(e.add) == 0 && !e.removes(query) {
		return
	}
	w.out = x.Scratch()
	for more := len(query) > 0; more; {
		var p expr.Parameter
		p, query, more = expr.CutParameter(query)
		w.parameter(p)
	}
	for i := range e.set {
		if w.written&(1<<i) == 0 {
			w.append(&e.set[i].value)
		}
	}
	for i := range e.add {
		w.append(&e.add[i].value)
	}
	switch {
	case w.parts == 0:
		x.Request.Query = nil
	case len(w.out) == 0:
		x.Request.Query = x.Request.Query[:0] // one empty piece is left: the "?" stays
	default:
		x.Request.Query = x.KeepScratch(w.out)
	}
}

// removes reports whether there is a parameter to remove.
func (e *queryEdit) removes(query []byte) bool {
	for _, name := range e.remove {
		if _, ok := expr.FindParameter(query, name); ok {
			return true
		}
	}
	return false
}

// renamed returns which renames find a parameter, one bit each.
func (e *queryEdit) renamed(query []byte) (bits uint64) {
	for i := range e.rename {
		if _, ok := expr.FindParameter(query, e.rename[i].from); ok {
			bits |= 1 << i
		}
	}
	return bits
}

// queryWriter builds the new query.
type queryWriter struct {
	edit    *queryEdit
	worked  []byte
	out     []byte
	parts   int    // parameters in out, empty ones included
	renamed uint64 // the renames that find a parameter
	written uint64 // the values of set that stand in out
}

// begin separates the next parameter from the one before it.
func (w *queryWriter) begin() {
	if w.parts > 0 {
		w.out = append(w.out, '&')
	}
	w.parts++
}

// append writes a parameter of the configuration's.
func (w *queryWriter) append(v *value) {
	if text, ok := v.of(w.worked); ok {
		w.begin()
		w.out = append(w.out, text...)
	}
}

// parameter treats one parameter of the request.
func (w *queryWriter) parameter(p expr.Parameter) {
	if len(p.Raw) == 0 {
		w.begin() // "a&&b": an empty piece is no parameter, and its bytes stay
		return
	}
	for i := range w.edit.rename {
		r := &w.edit.rename[i]
		if expr.EqualDecoded(p.Name, r.from) {
			w.write(p, r)
			return
		}
	}
	for i := range w.edit.rename {
		if w.renamed&(1<<i) != 0 && expr.EqualDecoded(p.Name, w.edit.rename[i].to) {
			return // another one takes its name
		}
	}
	w.write(p, nil)
}

// write writes a parameter under its name, or the new one of r, unless it is removed or set.
func (w *queryWriter) write(p expr.Parameter, r *queryRename) {
	called := func(name string) bool {
		if r != nil {
			return r.to == name
		}
		return expr.EqualDecoded(p.Name, name)
	}
	for _, name := range w.edit.remove {
		if called(name) {
			return
		}
	}
	for i := range w.edit.set {
		if !called(w.edit.set[i].name) {
			continue
		}
		if w.written&(1<<i) == 0 {
			w.written |= 1 << i
			w.append(&w.edit.set[i].value)
		}
		return
	}
	w.begin()
	if r != nil {
		w.out = append(append(w.out, r.encoded...), p.Raw[len(p.Name):]...)
		return
	}
	w.out = append(w.out, p.Raw...)
}
