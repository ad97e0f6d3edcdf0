package compose

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/expr"
	"github.com/sluice-gateway/sluice/message"
)

// Compile makes the plan of a composition. env is what expressions of the route may use; the steps are added to it. What is wrong is reported with its
// place: expressions that do not compile, names that cannot be used, steps that wait for themselves. The plan is nil then.
func Compile(c *config.Compose, env expr.Env, r *config.Reporter) *Plan {
	k := &compiler{config: c, report: r, env: env}
	k.env.Steps = make([]string, len(c.Steps))
	for i, s := range c.Steps {
		k.env.Steps[i] = s.Name
	}
	k.names()
	p := &Plan{timeout: c.Timeout, steps: make([]step, len(c.Steps)), fixed: 200}
	for i, s := range c.Steps {
		k.step(&p.steps[i], s)
	}
	k.status(p)
	k.body(p)
	k.graph(p)
	if k.failed {
		return nil
	}
	p.varying, p.hidden = varyingFields(p.steps)
	p.runs.New = func() any { return newRun(p) }
	return p
}

// compiler is the state of Compile.
type compiler struct {
	config *config.Compose
	report *config.Reporter
	env    expr.Env
	uses   [][]use // by step: the steps that it waits for
	failed bool
}

// use is that a step is named in a value of another one.
type use struct {
	step int
	at   any // address of the value
}

func (k *compiler) fail(at config.Pos, suggestion, format string, args ...any) {
	k.failed = true
	k.report.AddSuggest(at, suggestion, format, args...)
}

// wrong reports an expression that does not compile.
func (k *compiler) wrong(at any, what string, err *expr.Error) {
	k.fail(k.report.At(at), err.Suggestion, "%s: %s", what, err.Message)
}

// names checks the names of the steps, and of the elements of lists: expressions know them as variables.
func (k *compiler) names() {
	for _, s := range k.config.Steps {
		if err := expr.CheckName(s.Name); err != nil {
			k.fail(s.Pos, err.Suggestion, "steps: %s", err.Message)
		}
		if s.ForEach == "" {
			continue
		}
		if err := expr.CheckName(s.As); err != nil {
			k.wrong(&s.As, "as", err)
		} else if slices.Contains(k.env.Steps, s.As) {
			k.fail(k.report.At(&s.As), "choose another name", "as: %q is a step", s.As)
		}
	}
}

// step compiles one step.
func (k *compiler) step(to *step, s *config.Step) {
	k.uses = append(k.uses, nil)
	*to = step{
		name: s.Name, calls: s.Backend, method: message.MethodOf([]byte(s.Method)), most: s.Elements(), parallel: max(s.Parallel, 1),
		optional: s.Optional, fallback: s.Default, timeout: s.Timeout, success: s.Success, maxBody: int(s.MaxBody), accept: true,
	}
	to.safe = to.method.Safe()
	if to.fallback == nil {
		to.fallback = null
	}
	env := k.env
	if s.When != "" {
		p, err := expr.CompileCondition(s.When, env)
		if err != nil {
			k.wrong(&s.When, "when", err)
		} else {
			to.when = p
			k.use(p, &s.When)
		}
	}
	if s.ForEach != "" {
		env.Item = s.As
		p, err := expr.CompileList(unwrapped(s.ForEach), k.env)
		if err != nil {
			k.wrong(&s.ForEach, "for_each", err)
		} else {
			to.list = p
			to.asks = k.use(p, &s.ForEach)
		}
	}
	k.target(to, s, env)
	k.fields(to, s, env)
	if s.Body.Text != nil {
		to.body = k.document(&s.Body, env)
		if to.body != nil {
			k.use(to.body, &s.Body)
		}
	}
}

// null is the body of what has none. Read-only.
var null = []byte("null")

// user is what names steps.
type user interface{ Steps() []int }

// use notes the steps that a value of the latest step names, and returns them.
func (k *compiler) use(u user, at any) []int {
	last := len(k.uses) - 1
	steps := u.Steps()
	for _, s := range steps {
		k.uses[last] = append(k.uses[last], use{s, at})
	}
	return steps
}

// unwrapped takes the ${ } off an expression: where a value is always an expression both spellings are right.
func unwrapped(src string) string {
	inner, ok := strings.CutPrefix(strings.TrimSpace(src), "${")
	if inner, closed := strings.CutSuffix(inner, "}"); ok && closed && !strings.Contains(inner, "${") {
		return inner
	}
	return src
}

// target compiles where a call goes: path and query.
func (k *compiler) target(to *step, s *config.Step, env expr.Env) {
	if t, err := expr.CompileTemplate(s.Path, env); err != nil {
		k.wrong(&s.Path, "path", err)
	} else {
		to.path = t
		to.needs = append(to.needs, k.use(t, &s.Path)...)
		k.checkPath(s)
	}
	for i := range s.Query {
		q := &s.Query[i]
		t, err := expr.CompileTemplate(q.Value, env)
		if err != nil {
			k.wrong(&q.Value, "query: "+q.Name, err)
			continue
		}
		to.needs = append(to.needs, k.use(t, &q.Value)...)
		to.query = append(to.query, parameter{string(message.AppendQueryValue(nil, []byte(q.Name))), t})
	}
	slices.Sort(to.needs)
	to.needs = slices.Compact(to.needs)
}

// checkPath reports what no path may hold, in the text around expressions.
func (k *compiler) checkPath(s *config.Step) {
	at := k.report.At(&s.Path)
	for text := range literals(s.Path) {
		switch i := strings.IndexFunc(text, func(c rune) bool { return c <= ' ' || c >= 0x7F || c == '?' || c == '#' || c == '\\' }); {
		case i < 0:
		case text[i] == '?':
			k.fail(at, "write query: {NAME: VALUE}", "path: parameters are not part of it")
			return
		case text[i] == '#':
			k.fail(at, "", "path: a fragment is not sent")
			return
		default:
			k.fail(at, "write it percent-encoded", "path: it cannot hold %q", []rune(text[i:])[0])
			return
		}
		if _, _, reason := message.AppendPath(nil, []byte("/"+strings.TrimLeft(text, "/")), message.PathRules{}); reason != message.ReasonNone {
			k.fail(at, "", "path: it holds a broken escape, or could be read in two ways")
			return
		}
	}
	if path, _, _ := message.AppendPath(nil, []byte(s.Path), message.PathRules{}); !strings.Contains(s.Path, "${") && string(path) != s.Path {
		k.fail(at, fmt.Sprintf("did you mean %q?", path), "path: it is not in the form that is matched and forwarded")
	}
}

// literals yields the stretches of text between the expressions of a template that compiles.
func literals(src string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for {
			text, rest, more := strings.Cut(src, "${")
			if !yield(strings.TrimSuffix(text, "$")) || !more {
				return
			}
			src = rest[expr.ExpressionLength(rest):]
		}
	}
}

// fields compiles the header of a call.
func (k *compiler) fields(to *step, s *config.Step, env expr.Env) {
	for i, name := range s.Headers.Pass {
		n := message.NameOf(name)
		if n.ID() != 0 && n.ID().Flags()&(message.FlagHop|message.FlagFraming) != 0 {
			k.fail(k.report.At(&s.Headers.Pass[i]), "", "headers: %s belongs to the connection of the client and is not passed on", name)
			continue
		}
		to.pass = append(to.pass, n)
		to.typed = to.typed || n.ID() == message.ContentType
	}
	for i := range s.Headers.Set {
		h := &s.Headers.Set[i]
		t, err := expr.CompileTemplate(h.Value, env)
		if err == nil {
			err = t.Check(expr.HeaderValue)
		}
		if err != nil {
			k.wrong(&h.Value, "headers: "+h.Name, err)
			continue
		}
		k.use(t, &h.Value)
		n := message.NameOf(h.Name)
		to.headers = append(to.headers, field{n, t, copies(h)})
		to.typed = to.typed || n.ID() == message.ContentType
	}
}

// copies reports whether a field is the field of the same name of the client's request.
func copies(h *config.Pair) bool {
	at := strings.TrimPrefix(unwrapped(h.Value), "request.headers")
	for _, form := range []string{".%s", `["%s"]`, "['%s']"} {
		if strings.EqualFold(at, fmt.Sprintf(form, h.Name)) {
			return true
		}
	}
	return false
}

// document compiles a tree, whose texts have places of their own.
func (k *compiler) document(t *config.Tree, env expr.Env) *expr.Document {
	d, err := expr.CompileDocument(t.Text, env)
	if err == nil {
		return d
	}
	at := k.report.At(t)
	if err.Leaf >= 0 && err.Leaf < len(t.Places) {
		at = t.Places[err.Leaf]
	}
	k.fail(at, err.Suggestion, "body: %s", err.Message)
	return nil
}

// status compiles the status of the answer.
func (k *compiler) status(p *Plan) {
	src := string(k.config.Status)
	if src == "" {
		return
	}
	if n, err := strconv.Atoi(src); err == nil {
		if p.fixed = n; !final(n) {
			k.fail(k.report.At(&k.config.Status), "write one from 200 to 599", "status: %d is not the status of an answer", n)
		}
		return
	}
	program, err := expr.CompileNumber(unwrapped(src), k.env)
	if err != nil {
		k.wrong(&k.config.Status, "status", err)
		return
	}
	p.status = program
}

// final reports whether an answer can have a status.
func final(status int) bool { return status >= 200 && status <= 599 }

// body compiles the answer.
func (k *compiler) body(p *Plan) {
	if k.config.Body.Text != nil {
		p.body = k.document(&k.config.Body, k.env)
	} else {
		k.failed = true // the key is required, and its absence was reported when the file was read
	}
}
