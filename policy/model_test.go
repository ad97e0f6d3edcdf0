package policy

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/message"
)

// item is a field, or a parameter as it was sent.
type item struct{ name, value string }

// model makes changes in the plainest way: step by step over the whole list. same compares names.
func model(list []item, rename []config.Pair, remove []string, set, add []config.Pair, same func(a, b string) bool) []item {
	has := func(name string) func(item) bool { return func(i item) bool { return same(i.name, name) } }
	for _, r := range rename {
		if !slices.ContainsFunc(list, has(r.Name)) {
			continue
		}
		list = slices.DeleteFunc(list, has(r.Value))
		for i := range list {
			if same(list[i].name, r.Name) {
				list[i].name = r.Value
			}
		}
	}
	for _, name := range remove {
		list = slices.DeleteFunc(list, has(name))
	}
	for _, s := range set {
		at := slices.IndexFunc(list, has(s.Name))
		if at < 0 {
			list = append(list, item{s.Name, s.Value})
			continue
		}
		list[at].value = s.Value
		rest := slices.DeleteFunc(slices.Clone(list[at+1:]), has(s.Name))
		list = append(list[:at+1], rest...)
	}
	for _, a := range add {
		list = append(list, item{a.Name, a.Value})
	}
	return list
}

// noReport is the context of changes that have no errors.
func noReport(t testing.TB) *BuildContext {
	cfg, _, err := load("[]")
	if err != nil {
		t.Fatal(err)
	}
	c := context(cfg)
	return &c
}

func pick(r *rand.Rand, from []string, most int) []string {
	r.Shuffle(len(from), func(i, j int) { from[i], from[j] = from[j], from[i] })
	return slices.Clone(from[:r.IntN(most+1)])
}

func pairs(names []string, value string) []config.Pair {
	var out []config.Pair
	for i, n := range names {
		out = append(out, config.Pair{Name: n, Value: fmt.Sprint(value, i)})
	}
	return out
}

// Any changes of any header come to the same as making them one after the other in the order rename, remove, set, add.
func TestHeaderModel(t *testing.T) {
	c := noReport(t)
	r := rand.New(rand.NewPCG(3, 4))
	names := []string{"X-A", "X-B", "X-C", "Accept", "Vary", "X-D"}
	for round := range 2000 {
		var h HeaderChanges
		if from := pick(r, names, 4); len(from) > 1 { // the second half are new names of the first
			for i := range len(from) / 2 {
				h.Rename = append(h.Rename, config.Pair{Name: from[i], Value: from[len(from)/2+i]})
			}
		}
		h.Remove = pick(r, names, 2)
		h.Set = pairs(pick(r, names, 3), "set")
		h.Add = pairs(pick(r, names, 2), "add")
		x := exchange("-")
		var list []item
		for i := range r.IntN(8) {
			f := item{names[r.IntN(len(names))], fmt.Sprint(i)}
			list = append(list, f)
			addLine(&x.Request.Header, f.name+": "+f.value)
		}
		before := dump(&x.Request.Header)
		var s values
		e := compileHeaders(&h, ofRequest, &s, c)
		e.apply(&x.Request.Header, x, nil)
		var want []string
		for _, f := range model(list, h.Rename, h.Remove, h.Set, h.Add, strings.EqualFold) {
			want = append(want, f.name+": "+f.value)
		}
		if got := dump(&x.Request.Header); got != strings.Join(want, "\n") {
			t.Fatalf("round %d: %+v\nof\n%s\ngives\n%s\nwant\n%s", round, h, before, got, strings.Join(want, "\n"))
		}
	}
}

// FuzzQuery changes queries of all shapes. What no change names keeps its bytes and its order, and the result is what the changes made one
// after the other come to.
func FuzzQuery(f *testing.F) {
	c := noReport(f)
	f.Add("a=1&b=2&c=3", "a", "x", "b", "c", "v&=%", "d")
	f.Add("%61=1&a&&=x&a=%zz+", "a", "b", "c", "a", "", "a")
	f.Add("", "a", "b", "b", "c", "1", "d")
	f.Add("old=1&new=2&old=3", "old", "new", "", "new", "v", "new")
	f.Add("a=1&", "z", "y", "a", "q", "${x}", "")
	f.Fuzz(func(t *testing.T, query, from, to, remove, set, setTo, add string) {
		q := QueryChanges{}
		if from != "" && to != "" && from != to {
			q.Rename = []config.Pair{{Name: from, Value: to}}
		}
		if remove != "" {
			q.Remove = []string{remove}
		}
		if set != "" {
			q.Set = []config.Pair{{Name: set, Value: strings.ReplaceAll(setTo, "${", "$${")}}
		}
		if add != "" {
			q.Add = []config.Pair{{Name: add, Value: "added"}}
		}
		var s values
		e := compileQuery(&q, &s, c)
		x := exchange("-")
		x.Request.Query = []byte(query)
		e.apply(x, nil)
		got, gone := string(x.Request.Query), x.Request.Query == nil

		var list []item // the name decoded, the value as it was sent with all that stands before it
		if query != "" {
			for piece := range strings.SplitSeq(query, "&") {
				name, _, _ := strings.Cut(piece, "=")
				list = append(list, item{decoded(name), piece})
			}
		}
		// In the model a parameter's value is the whole of it; a rename replaces the name in front.
		same := func(a, b string) bool { return a == b }
		var empty []int
		for i := range list {
			if list[i].value == "" {
				empty = append(empty, i)
				list[i].name = "\x00empty" // an empty piece is no parameter: no name finds it
			}
		}
		if len(empty) > 0 && strings.Contains(from+to+remove+set+add, "\x00") {
			return
		}
		original := slices.Clone(list)
		whole := func(p []config.Pair, value string) []config.Pair {
			var out []config.Pair
			for i := range p {
				out = append(out, config.Pair{Name: p[i].Name, Value: encoded(p[i].Name) + "=" + encoded(value)})
			}
			return out
		}
		result := model(list, q.Rename, q.Remove, whole(q.Set, setTo), whole(q.Add, "added"), same)
		want := make([]string, 0, len(result))
		for _, p := range result {
			piece := p.value
			if i := slices.IndexFunc(original, func(o item) bool { return o.value == p.value }); i >= 0 && original[i].name != p.name && p.name == to {
				name, _, _ := strings.Cut(piece, "=")
				piece = encoded(to) + piece[len(name):] // it was renamed
			}
			want = append(want, piece)
		}
		if wanted := strings.Join(want, "&"); got != wanted || gone != (len(want) == 0 && query != "") {
			t.Fatalf("%+v of %q gives %q, none: %v; want %q", q, query, got, gone, wanted)
		}
		if message.CheckQuery([]byte(query)) == message.ReasonNone && message.CheckQuery(x.Request.Query) != message.ReasonNone {
			t.Fatalf("%+v of %q gives %q, which cannot be forwarded", q, query, got)
		}
		if parsed, err := url.ParseQuery(got); err == nil && set != "" && parsed.Get(set) != setTo {
			t.Fatalf("%+v of %q gives %q, in which %q is %q", q, query, got, set, parsed.Get(set))
		}
	})
}

// decoded decodes a name as url.QueryUnescape does, but leaves broken escapes.
func decoded(name string) string {
	if plain, err := url.QueryUnescape(name); err == nil {
		return plain
	}
	var out strings.Builder
	for len(name) > 0 {
		n := 1
		if name[0] == '%' && len(name) >= 3 {
			n = 3
		}
		plain, err := url.QueryUnescape(name[:n])
		if err != nil {
			plain, n = name[:1], 1
		}
		out.WriteString(plain)
		name = name[n:]
	}
	return out.String()
}

func encoded(text string) string {
	return strings.ReplaceAll(url.QueryEscape(text), "+", "%20")
}
