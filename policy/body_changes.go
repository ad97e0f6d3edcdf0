package policy

import (
	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/document"
	"github.com/sluice-gateway/sluice/expr"
)

// BodyChanges are changes of a body that is JSON. They are made in this order: rename, remove, set, jq, template. All values of `set` and of the template
// are worked out before the first change of the policy. Members that no change names keep their order and their bytes, and numbers their digits.
//
// Paths are names with dots between them; a number is an index in an array (`items.0.id`), and `\.` stands for a dot in a name.
type BodyChanges struct {
	// Max is the largest body that is changed. A request with a larger one is refused with 413, a response is replaced by 502 `response_too_large`.
	Max config.Size `yaml:"max" default:"1MiB" min:"1B" max:"64MiB"`
	// Rename moves the value at one path to another. What the new path had before is gone.
	Rename []config.Pair `yaml:"rename" max:"64"`
	// Remove takes the values at these paths away.
	Remove []string `yaml:"remove,single" max:"64"`
	// Set puts a value at a path. Missing parents are made; where a parent is neither object nor array a request is refused with 422
	// `body_path_invalid`. A text that is nothing but one `${…}` keeps the type of its value, and is null where there is none.
	Set []config.TreePair `yaml:"set" max:"64"`
	// JQ is a program in the language of jq; its first output is the new body. It reads nothing but the body, and may run for 100 ms and 1,000,000 steps.
	JQ string `yaml:"jq"`
	// Template is the new body, whatever the old one was.
	Template config.Tree `yaml:"template"`
}

func (b *BodyChanges) empty() bool {
	return len(b.Rename)+len(b.Remove)+len(b.Set) == 0 && b.JQ == "" && b.Template.Text == nil
}

// replaces reports whether the old body does not matter.
func (b *BodyChanges) replaces() bool {
	return b.Template.Text != nil && len(b.Rename)+len(b.Remove)+len(b.Set) == 0 && b.JQ == ""
}

// check reports what is wrong with the changes whatever the route.
func (b *BodyChanges) check(r *config.Reporter, d direction) {
	paths := func(list []config.Pair, key string) {
		once := repeats{r: r, key: key}
		for i := range list {
			checkPath(r, list[i].Pos, list[i].Name, key)
			once.see(list[i].Pos, list[i].Name)
		}
	}
	paths(b.Rename, "rename")
	checkRenames(r, b.Rename, false)
	for i := range b.Rename {
		if b.Rename[i].Value != "" {
			checkPath(r, r.At(&b.Rename[i].Value), b.Rename[i].Value, "rename")
		}
	}
	once := repeats{r: r, key: "remove"}
	for i := range b.Remove {
		checkPath(r, r.At(&b.Remove[i]), b.Remove[i], "remove")
		once.see(r.At(&b.Remove[i]), b.Remove[i])
	}
	once = repeats{r: r, key: "set"}
	env := expr.Env{Any: true, AnyCapture: true, Response: d == ofResponse}
	for i := range b.Set {
		checkPath(r, b.Set[i].Pos, b.Set[i].Name, "set")
		once.see(b.Set[i].Pos, b.Set[i].Name)
		checkTree(r, &b.Set[i].Value, env)
	}
	if b.Template.Text != nil {
		checkTree(r, &b.Template, env)
	}
	if _, err := compileJQ(b.JQ); err != nil {
		r.AddSuggest(r.At(&b.JQ), err.suggestion, "jq: %s", err.message)
	}
	if b.Template.Text != nil && !b.replaces() {
		r.WarnSuggest(r.At(&b.Template), "leave the others out", "template: it replaces the body, so rename, remove, set and jq of the same policy have no effect")
	}
}

// checkPath reports a text that is no path.
func checkPath(r *config.Reporter, at config.Pos, path, key string) {
	if _, err := document.ParsePath(path); err != nil {
		r.Add(at, "%s: %v", key, err)
	}
}

// checkTree reports what is wrong with the expressions of a value.
func checkTree(r *config.Reporter, t *config.Tree, env expr.Env) *expr.Document {
	d, err := expr.CompileDocument(t.Text, env)
	if err != nil {
		r.AddSuggest(placeOf(r, t, err), err.Suggestion, "%s", err.Message)
		return nil
	}
	return d
}

// placeOf returns the place of the text that an error is about.
func placeOf(r *config.Reporter, t *config.Tree, err *expr.Error) config.Pos {
	if err.Leaf >= 0 && err.Leaf < len(t.Places) {
		return t.Places[err.Leaf]
	}
	return r.At(t)
}

// bodyEdit is compiled BodyChanges. It is immutable.
type bodyEdit struct {
	direction direction
	max       int64
	edit      *document.Edit // nil for none
	set       []*expr.Document
	jq        *jqProgram     // nil for none
	template  *expr.Document // nil for none
	replaces  bool           // the old body does not matter
	creates   bool           // something comes of a body that is not there
	memory    *bodyMemory
	errs      bodyErrors
}

// compileBody compiles b, which was checked when it was decoded. It returns nil where there is nothing to change, or an error, which is reported.
func compileBody(b *BodyChanges, d direction, c *BuildContext) *bodyEdit {
	if b.empty() {
		return nil
	}
	e := &bodyEdit{direction: d, max: int64(b.Max), replaces: b.replaces(), errs: newBodyErrors(c.Name, d)}
	ok := true
	tree := func(t *config.Tree) *expr.Document {
		doc, err := expr.CompileDocument(t.Text, c.env(d == ofResponse))
		if err != nil {
			c.Report.AddSuggest(placeOf(c.Report, t, err), err.Suggestion, "on the route %q: %s", c.Route, err.Message)
			ok = false
		}
		return doc
	}
	var sets []document.Path
	for i := range b.Set {
		path, err := document.ParsePath(b.Set[i].Name)
		ok = ok && err == nil // it was reported
		sets = append(sets, path)
		e.set = append(e.set, tree(&b.Set[i].Value))
	}
	e.creates = len(sets) > 0 || b.Template.Text != nil
	if ok && len(b.Rename)+len(b.Remove)+len(sets) > 0 {
		var err error
		if e.edit, err = newEdit(b, sets); err != nil {
			c.Report.Add(c.Pos, "policy %q: body: %v", c.Name, err)
			ok = false
		}
	}
	if b.Template.Text != nil {
		e.template = tree(&b.Template)
	}
	if b.JQ != "" {
		program, err := compileJQ(b.JQ)
		if err != nil {
			return nil // it was reported
		}
		e.jq = program
	}
	if !ok {
		return nil
	}
	e.memory = c.bodyMemory()
	return e
}

func newEdit(b *BodyChanges, sets []document.Path) (*document.Edit, error) {
	var renames []document.Rename
	var removes []document.Path
	for i := range b.Rename {
		from, err := document.ParsePath(b.Rename[i].Name)
		if err != nil {
			return nil, err
		}
		to, err := document.ParsePath(b.Rename[i].Value)
		if err != nil {
			return nil, err
		}
		renames = append(renames, document.Rename{From: from, To: to})
	}
	for _, name := range b.Remove {
		path, err := document.ParsePath(name)
		if err != nil {
			return nil, err
		}
		removes = append(removes, path)
	}
	return document.NewEdit(renames, removes, sets)
}
