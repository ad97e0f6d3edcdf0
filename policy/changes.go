package policy

import (
	"strings"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/expr"
	"github.com/sluice-gateway/sluice/message"
)

// HeaderChanges are changes of a header. They are made in this order: rename, remove, set, add. All values are worked out before the
// first change, so they may use fields that the same policy removes.
type HeaderChanges struct {
	// Rename gives all fields of a name another one, in the place where they stand. Fields that had the new name before are removed.
	Rename []config.Pair `yaml:"rename" max:"64"`
	// Remove takes all fields of these names away.
	Remove []string `yaml:"remove,single" max:"64"`
	// Set gives a field this value and removes every other copy of it. `${…}` is replaced; where it has no value, the field is removed.
	Set []config.Pair `yaml:"set" max:"64"`
	// Add appends a field and keeps those of the same name. `${…}` is replaced; where it has no value, nothing is added.
	Add []config.Pair `yaml:"add" max:"64"`
}

// QueryChanges are changes of the query. They are made in this order: rename, remove, set, add. All values are worked out before the
// first change. Parameters that no change names keep their bytes and their place.
type QueryChanges struct {
	// Rename gives all parameters of a name another one, their values unchanged. Parameters that had the new name before are removed.
	Rename []config.Pair `yaml:"rename" max:"64"`
	// Remove takes all parameters of these names away.
	Remove []string `yaml:"remove,single" max:"64"`
	// Set gives a parameter this value, percent-encoded, and removes every other copy of it. `${…}` is replaced; where it has no value
	// the request is refused with 400 `path_value_invalid`.
	Set []config.Pair `yaml:"set" max:"64"`
	// Add appends a parameter and keeps those of the same name. Values are as those of `set`.
	Add []config.Pair `yaml:"add" max:"64"`
}

func (h *HeaderChanges) empty() bool {
	return len(h.Rename)+len(h.Remove)+len(h.Set)+len(h.Add) == 0
}

func (q *QueryChanges) empty() bool {
	return len(q.Rename)+len(q.Remove)+len(q.Set)+len(q.Add) == 0
}

// direction is the message that changes are made to.
type direction uint8

const (
	ofRequest direction = iota
	ofResponse
)

// check reports what is wrong with the changes whatever the route.
func (h *HeaderChanges) check(r *config.Reporter, d direction) {
	names := func(list []config.Pair, key string) {
		once := repeats{r: r, key: key, fold: true}
		for i := range list {
			checkName(r, list[i].Pos, list[i].Name, key, d)
			once.see(list[i].Pos, list[i].Name)
		}
	}
	names(h.Rename, "rename")
	checkRenames(r, h.Rename, true)
	for i := range h.Rename {
		checkName(r, r.At(&h.Rename[i].Value), h.Rename[i].Value, "rename", d)
	}
	once := repeats{r: r, key: "remove", fold: true}
	for i := range h.Remove {
		checkName(r, r.At(&h.Remove[i]), h.Remove[i], "remove", d)
		once.see(r.At(&h.Remove[i]), h.Remove[i])
	}
	names(h.Set, "set")
	checkValues(r, h.Set, d)
	names(h.Add, "add")
	checkValues(r, h.Add, d)
}

// check reports what is wrong with the changes whatever the route.
func (q *QueryChanges) check(r *config.Reporter) {
	names := func(list []config.Pair, key string) {
		once := repeats{r: r, key: key}
		for i := range list {
			if list[i].Name == "" {
				r.Add(list[i].Pos, "%s: the name of a parameter is empty", key)
			}
			once.see(list[i].Pos, list[i].Name)
		}
	}
	names(q.Rename, "rename")
	checkRenames(r, q.Rename, false)
	once := repeats{r: r, key: "remove"}
	for i := range q.Remove {
		if q.Remove[i] == "" {
			r.Add(r.At(&q.Remove[i]), "remove: the name of a parameter is empty")
		}
		once.see(r.At(&q.Remove[i]), q.Remove[i])
	}
	names(q.Set, "set")
	names(q.Add, "add")
	for _, list := range [][]config.Pair{q.Set, q.Add} {
		for i := range list {
			checkTemplate(r, &list[i].Value, ofRequest)
		}
	}
}

// checkRenames reports renames whose result would depend on their order: a new name that occurs twice, or is an old one as well.
func checkRenames(r *config.Reporter, list []config.Pair, fold bool) {
	same := func(a, b string) bool { return a == b || fold && message.EqualFold([]byte(a), b) }
	for i := range list {
		to := list[i].Value
		at := r.At(&list[i].Value)
		if to == "" {
			r.Add(at, "rename: the new name is empty")
			continue
		}
		for j := range list {
			switch {
			case same(list[j].Name, to) && i == j:
				r.Add(at, "rename: %q is the same name", to)
			case same(list[j].Name, to):
				r.AddSuggest(at, "write two policies, one after the other", "rename: %q is given a new name by the same policy", to)
			case j < i && same(list[j].Value, to):
				r.Add(at, "rename: two fields or parameters are to be called %q", to)
			}
		}
	}
}

// repeats reports names that stand in a list twice.
type repeats struct {
	r    *config.Reporter
	key  string
	fold bool // case does not count
	seen map[string]bool
}

func (s *repeats) see(at config.Pos, name string) {
	if s.fold {
		name = strings.ToLower(name)
	}
	if s.seen == nil {
		s.seen = make(map[string]bool)
	}
	if s.seen[name] {
		s.r.Add(at, "%s: %q is written twice", s.key, name)
	}
	s.seen[name] = true
}

// checkValues reports values that no header may hold.
func checkValues(r *config.Reporter, list []config.Pair, d direction) {
	for i := range list {
		t := checkTemplate(r, &list[i].Value, d)
		if t == nil {
			continue
		}
		if err := t.Check(expr.HeaderValue); err != nil {
			r.Add(r.At(&list[i].Value), "%s: %s", list[i].Name, err.Message)
			continue
		}
		if text, ok := t.Const(); ok && message.EqualFold([]byte(list[i].Name), "Host") {
			if _, _, reason := message.ParseAuthority(nil, text); reason != message.ReasonNone {
				r.Add(r.At(&list[i].Value), "Host: %q is not a host with or without a port", text)
			}
		}
	}
}

// checkTemplate compiles a value as it can be without knowing the route, and reports what is wrong.
func checkTemplate(r *config.Reporter, value *string, d direction) *expr.Template {
	t, err := expr.CompileTemplate(*value, expr.Env{Any: true, AnyCapture: true, Response: d == ofResponse})
	if err != nil {
		r.AddSuggest(r.At(value), err.Suggestion, "%s", err.Message)
		return nil
	}
	return t
}
