package expr

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/sluice-gateway/sluice/document"
)

// functions are ours: those that read documents, and those of CEL and its extensions whose work or result can be out of all proportion to
// their arguments, or that do not take numbers as JSON has them. They take raw values. Read-only.
var functions = map[string]func(r *run, args []ref.Val) ref.Val{
	"merge.deep":            merge(document.Deep),
	"merge.first":           merge(document.First),
	"merge.last":            merge(document.Last),
	"merge.error":           merge(document.Strict),
	"concat":                concat,
	"json.encode":           encodeJSON,
	"json.decode":           decodeJSON,
	"sort":                  sortList,
	"@sortByAssociatedKeys": sortByKeys,
	"distinct":              distinct,
	"indexOf":               indexOf,
	"lastIndexOf":           lastIndexOf,
	"replace":               replace,
	"join":                  joinTexts,
	"sets.contains":         setsContain,
	"sets.equivalent":       setsAreEquivalent,
	"sets.intersects":       setsIntersect,
}

// maxMerged bounds the arguments of merges.
const maxMerged = 8

// declarations declares the functions that CEL does not know. CEL has no functions of any number of arguments.
func declarations() []cel.EnvOption {
	var list []cel.EnvOption
	for _, name := range []string{"merge.deep", "merge.first", "merge.last", "merge.error", "concat"} {
		result := cel.DynType
		if name == "concat" {
			result = cel.ListType(cel.DynType)
		}
		var overloads []cel.FunctionOpt
		var args []*cel.Type
		for n := range maxMerged {
			args = append(args, cel.DynType)
			overloads = append(overloads, cel.Overload(fmt.Sprintf("%s_%d", strings.ReplaceAll(name, ".", "_"), n+1), slices.Clone(args), result))
		}
		list = append(list, cel.Function(name, overloads...))
	}
	return append(list, cel.Function("json.decode", cel.Overload("json_decode_string", []*cel.Type{cel.StringType}, cel.DynType)))
}

// encodeJSON is json.encode(VALUE): the JSON text of a value, as a text.
func encodeJSON(r *run, args []ref.Val) ref.Val {
	w := writer{r: r}
	if !w.value(args[0], 0) {
		return types.MaybeNoSuchOverloadErr(args[0])
	}
	return types.String(w.dst)
}

// decodeJSON is json.decode(TEXT): the value of a JSON text, within the usual bounds of documents.
func decodeJSON(r *run, args []ref.Val) ref.Val {
	t, ok := r.texts(args[0])
	if !ok {
		return types.MaybeNoSuchOverloadErr(args[0])
	}
	r.spend(4 * len(t[0]))
	v, err := document.Parse([]byte(t[0]), document.Limits{})
	if err != nil {
		return types.WrapErr(err)
	}
	return r.value(v)
}

// documents turns arguments into parts of documents. What an expression has built is written for it.
func (r *run) documents(args []ref.Val) ([]document.Value, bool) {
	parts := make([]document.Value, len(args))
	for i, arg := range args {
		switch v := arg.(type) {
		case *object:
			parts[i] = v.v
		case *list:
			parts[i] = v.v
		case *leaf:
			parts[i] = v.v
		default:
			w := writer{r: r}
			if !w.value(arg, 0) {
				return nil, false
			}
			parts[i] = document.Of(w.dst)
		}
		r.spend(8*len(parts[i].Raw()) + stepWork)
	}
	return parts, true
}

// merge makes a function that makes one value of several.
func merge(s document.Strategy) func(r *run, args []ref.Val) ref.Val {
	return func(r *run, args []ref.Val) ref.Val {
		parts, ok := r.documents(args)
		if !ok {
			return types.MaybeNoSuchOverloadErr(args[0])
		}
		return r.made(document.AppendMerged(nil, s, parts...))
	}
}

// concat makes one list of several.
func concat(r *run, args []ref.Val) ref.Val {
	parts, ok := r.documents(args)
	if !ok {
		return types.MaybeNoSuchOverloadErr(args[0])
	}
	return r.made(document.AppendConcat(nil, parts...))
}

// made returns what was made of documents.
func (r *run) made(text []byte, err error) ref.Val {
	if conflict := (*document.ConflictError)(nil); errors.As(err, &conflict) {
		return types.WrapErr(fmt.Errorf("%w: %w", errRefused, err))
	} else if err != nil {
		return types.WrapErr(err)
	}
	if len(text) > maxOutput {
		r.spend(workLimit + 1)
	}
	return r.value(document.Of(text))
}

// elements returns the elements of a list as they are; ok is false for another value.
func (r *run) elements(v ref.Val) ([]ref.Val, bool) {
	l, ok := v.(traits.Lister)
	if !ok {
		return nil, false
	}
	n, _ := l.Size().(types.Int)
	r.spend(stepWork * (1 + int(n)))
	items := make([]ref.Val, 0, n)
	for it := l.Iterator(); it.HasNext() == types.True; {
		items = append(items, it.Next())
	}
	return items, true
}

func listOf(items []ref.Val) ref.Val { return types.NewRefValList(types.DefaultTypeAdapter, items) }

// sortList is LIST.sort(), stable.
func sortList(r *run, args []ref.Val) ref.Val { return sortByKeys(r, []ref.Val{args[0], args[0]}) }

// sortByKeys sorts a list in the order of another one: what the macro sortBy becomes.
func sortByKeys(r *run, args []ref.Val) ref.Val {
	items, ok := r.elements(args[0])
	keys, also := r.elements(args[1])
	if !ok || !also || len(items) != len(keys) {
		return types.MaybeNoSuchOverloadErr(args[0])
	}
	order := make([]int, len(items))
	for i := range order {
		order[i] = i
	}
	var failure ref.Val
	slices.SortStableFunc(order, func(i, j int) int {
		c, ok := r.compare(keys[i], keys[j]).(types.Int)
		if !ok {
			failure = types.MaybeNoSuchOverloadErr(keys[i])
		}
		return int(c)
	})
	if failure != nil {
		return failure
	}
	sorted := make([]ref.Val, len(items))
	for i, from := range order {
		sorted[i] = items[from]
	}
	return listOf(sorted)
}

// distinct is LIST.distinct(): the first of several equal elements stays.
func distinct(r *run, args []ref.Val) ref.Val {
	items, ok := r.elements(args[0])
	if !ok {
		return types.MaybeNoSuchOverloadErr(args[0])
	}
	kept := items[:0:0]
	for _, v := range items {
		if !slices.ContainsFunc(kept, func(k ref.Val) bool { return r.equal(k, v) }) {
			kept = append(kept, v)
		}
	}
	return listOf(kept)
}

// setsContain is sets.contains(a, b): whether everything in b is in a.
func setsContain(r *run, args []ref.Val) ref.Val {
	items, ok := r.elements(args[1])
	set, also := args[0].(traits.Lister)
	if !ok || !also {
		return types.MaybeNoSuchOverloadErr(args[0])
	}
	for _, v := range items {
		if !r.contains(set, v) {
			return types.False
		}
	}
	return types.True
}

func setsAreEquivalent(r *run, args []ref.Val) ref.Val {
	if v := setsContain(r, args); v != types.True {
		return v
	}
	return setsContain(r, []ref.Val{args[1], args[0]})
}

func setsIntersect(r *run, args []ref.Val) ref.Val {
	items, ok := r.elements(args[1])
	set, also := args[0].(traits.Lister)
	if !ok || !also {
		return types.MaybeNoSuchOverloadErr(args[0])
	}
	return types.Bool(slices.ContainsFunc(items, func(v ref.Val) bool { return r.contains(set, v) }))
}

// texts returns arguments that have to be texts.
func (r *run) texts(args ...ref.Val) ([]string, bool) {
	list := make([]string, len(args))
	for i, arg := range args {
		s, ok := r.scalar(arg).(types.String)
		if !ok {
			return nil, false
		}
		r.spendText(s)
		list[i] = string(s)
	}
	return list, true
}

// number returns an optional argument that has to be an integer.
func (r *run) number(args []ref.Val, i int, missing int64) (int64, bool) {
	if i >= len(args) {
		return missing, true
	}
	n, ok := r.scalar(args[i]).(types.Int)
	return int64(n), ok
}

// indexOf is TEXT.indexOf(part, from): places are counted in characters.
func indexOf(r *run, args []ref.Val) ref.Val {
	t, ok := r.texts(args[0], args[1])
	from, also := r.number(args, 2, 0)
	if !ok || !also || from < 0 {
		return types.MaybeNoSuchOverloadErr(args[0])
	}
	text, part := t[0], t[1]
	n := int64(utf8.RuneCountInString(text))
	if part == "" {
		return types.Int(min(from, n))
	}
	if from >= n {
		return types.Int(-1)
	}
	rest := text[byteOffset(text, from):]
	at := strings.Index(rest, part)
	if at < 0 {
		return types.Int(-1)
	}
	return types.Int(from + int64(utf8.RuneCountInString(rest[:at])))
}

// lastIndexOf is TEXT.lastIndexOf(part, from): the last place at or before from.
func lastIndexOf(r *run, args []ref.Val) ref.Val {
	t, ok := r.texts(args[0], args[1])
	if !ok {
		return types.MaybeNoSuchOverloadErr(args[0])
	}
	text, part := t[0], t[1]
	n := int64(utf8.RuneCountInString(text))
	from, ok := r.number(args, 2, n)
	switch {
	case !ok || from < 0:
		return types.MaybeNoSuchOverloadErr(args[0])
	case part == "":
		return types.Int(min(from, n))
	case len(args) > 2 && from >= n:
		return types.Int(-1)
	}
	end := min(byteOffset(text, from)+len(part), len(text))
	at := strings.LastIndex(text[:end], part)
	if at < 0 {
		return types.Int(-1)
	}
	return types.Int(utf8.RuneCountInString(text[:at]))
}

// byteOffset returns where character n of a text begins.
func byteOffset(text string, n int64) int {
	for i := range text {
		if n == 0 {
			return i
		}
		n--
	}
	return len(text)
}

// replace is TEXT.replace(old, new, n).
func replace(r *run, args []ref.Val) ref.Val {
	t, ok := r.texts(args[0], args[1], args[2])
	n, also := r.number(args, 3, -1)
	if !ok || !also || n < math.MinInt32 || n > math.MaxInt32 {
		return types.MaybeNoSuchOverloadErr(args[0])
	}
	count := int64(strings.Count(t[0], t[1]))
	if n >= 0 {
		count = min(count, n)
	}
	size := int64(len(t[0])) + count*int64(len(t[2])-len(t[1]))
	r.spend(int(min(size, workLimit) / 4))
	return r.bounded(int(min(size, maxOutput+1)), func() ref.Val { return types.String(strings.Replace(t[0], t[1], t[2], int(n))) })
}

// joinTexts is LIST.join(separator).
func joinTexts(r *run, args []ref.Val) ref.Val {
	items, ok := r.elements(args[0])
	if !ok {
		return types.MaybeNoSuchOverloadErr(args[0])
	}
	separator, ok := r.texts(args[1:]...)
	if !ok {
		return types.MaybeNoSuchOverloadErr(args[1])
	}
	list, ok := r.texts(items...)
	if !ok {
		return types.MaybeNoSuchOverloadErr(args[0])
	}
	between := strings.Join(separator, "")
	size := len(between) * len(list)
	for _, s := range list {
		size += len(s)
	}
	r.spend(size / 4)
	return r.bounded(size, func() ref.Val { return types.String(strings.Join(list, between)) })
}

// pattern is a regular expression (RE2) with the number of its instructions.
type pattern struct {
	re   *regexp.Regexp
	size int
}

// maxPattern bounds the instructions of a regular expression.
const maxPattern = 1000

func compilePattern(text string) (*pattern, string) {
	problem := func(err error) string { return strings.TrimPrefix(err.Error(), "error parsing regexp: ") }
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, problem(err)
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return nil, problem(err)
	}
	size := len(program.Inst)
	if size > maxPattern {
		return nil, fmt.Sprintf("it has %d instructions, and %d are allowed", size, maxPattern)
	}
	re, err := regexp.Compile(text)
	if err != nil {
		return nil, problem(err)
	}
	return &pattern{re: re, size: size}, ""
}

// match is TEXT.matches(pattern): whether a part of the text matches. The time is bounded by the product of both sizes.
func (p *pattern) match(r *run, args []ref.Val) ref.Val {
	t, ok := r.texts(args[0])
	if !ok {
		return types.MaybeNoSuchOverloadErr(args[0])
	}
	r.spend(len(t[0]) * (1 + p.size/8))
	return types.Bool(p.re.MatchString(t[0]))
}
