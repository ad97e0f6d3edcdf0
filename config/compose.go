package config

import (
	"reflect"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Compose makes one answer of the answers of several backends. Steps that do not need each other's answers run side by side; a step that names
// another one in an expression runs when that has ended.
type Compose struct {
	// Timeout bounds all steps together.
	Timeout time.Duration `yaml:"timeout" default:"10s" min:"1ms"`
	// Steps are the calls, by name. Expressions know a step that has ended as NAME.status, NAME.headers and NAME.body.
	Steps []*Step `yaml:"steps,required" min:"1" max:"64"`
	// Status of the answer: a number, or an expression.
	Status StatusText `yaml:"status" default:"200"`
	// Body is the answer: any value, whose texts may hold `${…}`.
	Body Tree `yaml:"body,required"`
}

// Step is one call of a composition.
type Step struct {
	// Name of the step in expressions.
	Name string `yaml:",key"`
	// Pos is the place of the step.
	Pos Pos `yaml:"-"`
	// Backend that is called.
	Backend string `yaml:"backend,required"`
	// Method of the call.
	Method string `yaml:"method" default:"GET" check:"method"`
	// Path of the call. Values in it are percent-encoded.
	Path string `yaml:"path,required"`
	// Query are the parameters of the call; one whose value is missing fails the step.
	Query []Pair `yaml:"query" max:"64"`
	// Headers are fields of the call: a map of names to values, or a list of names that are passed on from the request.
	Headers StepHeaders `yaml:"headers"`
	// Body of the call: any value, whose texts may hold `${…}`. It is sent as JSON.
	Body Tree `yaml:"body"`
	// When is an expression: without its being true the step is left out, and has its default.
	When string `yaml:"when"`
	// ForEach is an expression that gives a list: the step runs once for each element, and its body is the list of the answers in that order.
	ForEach string `yaml:"for_each"`
	// As names the element in expressions of the step.
	As string `yaml:"as" default:"item"`
	// Max bounds the step. A number is how many elements there may be with `for_each`, 100 if it is left out; a size such as 1MiB bounds the body
	// of an answer, like `max_body`.
	Max StepMax `yaml:"max"`
	// Parallel bounds how many elements are worked on at once.
	Parallel int `yaml:"parallel" default:"8" min:"1" max:"100"`
	// Optional says that the whole does without the step: it then has its default.
	Optional bool `yaml:"optional"`
	// Default is the body of a step that failed or was left out.
	Default JSON `yaml:"default"`
	// Timeout bounds the step, from its own start; the composition's bounds it too.
	Timeout time.Duration `yaml:"timeout,none" default:"none" min:"1ms"`
	// Success lists the statuses that are an answer; others make the step fail.
	Success []StatusRange `yaml:"success,single" default:"2xx"`
	// MaxBody bounds the body of an answer.
	MaxBody Size `yaml:"max_body" default:"1MiB" min:"1" max:"64MiB"`
}

// StatusText is a status or an expression that gives one.
type StatusText string

// ParseConfig implements [Scalar].
func (t *StatusText) ParseConfig(text string) error {
	if text == "" {
		return &Hint{Problem: "it is empty"}
	}
	if allDigits(text) && (len(text) != 3 || text[0] < '2' || text[0] > '5') {
		return &Hint{Problem: "it is not between 200 and 599"}
	}
	*t = StatusText(text)
	return nil
}

// ConfigFormat implements [Scalar].
func (t *StatusText) ConfigFormat() Format {
	return Format{Noun: "a status such as 200, or an expression", Name: "status or expression", Integer: true}
}

// maxElements bounds the elements of for_each.
const maxElements = 10_000

// Elements returns how many elements for_each may have.
func (s *Step) Elements() int {
	if s.Max.Elements > 0 {
		return s.Max.Elements
	}
	return 100
}

// Check reports bounds that contradict each other, and words that belong to for_each.
func (s *Step) Check(r *Reporter) {
	if s.Max.Body > 0 {
		if r.Set(&s.MaxBody) {
			r.AddSuggest(r.At(&s.MaxBody), "leave one of them", "max and max_body both bound the body")
		}
		s.MaxBody = s.Max.Body
	}
	if s.ForEach == "" && !r.Set(&s.ForEach) {
		for _, w := range []struct {
			at   any
			word string
		}{{&s.As, "as"}, {&s.Parallel, "parallel"}} {
			if r.Set(w.at) {
				r.Add(r.At(w.at), "%s: belongs to for_each, which is missing", w.word)
			}
		}
		if s.Max.Elements > 0 {
			r.AddSuggest(r.At(&s.Max), "write a size such as 1MiB to bound the body", "max: a number bounds the elements of for_each, which is missing")
		}
	}
	if s.Body.Text != nil && (s.Method == "GET" || s.Method == "HEAD") {
		r.AddSuggest(r.At(&s.Body), "add method: POST", "body: a call with %s has none", s.Method)
	}
	if s.Path != "" && s.Path[0] != '/' && !strings.HasPrefix(s.Path, "${") {
		r.AddSuggest(r.At(&s.Path), meantText("/"+s.Path), "path: it does not begin with /")
	}
}

// StepMax bounds a step: elements, or bytes of a body. One of them is 0.
type StepMax struct {
	Elements int
	Body     Size
}

// ParseConfig implements [Scalar].
func (m *StepMax) ParseConfig(text string) error {
	if allDigits(text) {
		n, err := parseDigits(text)
		if err != nil {
			return err
		}
		if n < 1 || n > maxElements {
			return &Hint{Problem: "it is not between 1 and 10000"}
		}
		*m = StepMax{Elements: int(n)}
		return nil
	}
	var size Size
	if err := size.ParseConfig(text); err != nil {
		return err
	}
	if size < 1 || size > 64<<20 {
		return &Hint{Problem: "it is not between 1B and 64MiB"}
	}
	*m = StepMax{Body: size}
	return nil
}

// ConfigFormat implements [Scalar].
func (m *StepMax) ConfigFormat() Format {
	return Format{Noun: "a number of elements, or a size such as 1MiB", Name: "number or size", Pattern: `^[0-9]+(B|KiB|MiB)?$`, Integer: true}
}

// StepHeaders are the fields of a call: set, or passed on from the request.
type StepHeaders struct {
	// Set are fields with their values.
	Set []Pair
	// Pass are names of fields that are passed on from the request.
	Pass []string
}

// maxStepHeaders bounds the fields of a step.
const maxStepHeaders = 64

func (h *StepHeaders) decodeNode(d *decoder, n *yaml.Node) {
	at := &field{name: "headers", max: "64"}
	switch n.Kind {
	case yaml.SequenceNode:
		c, _ := textChecks("header")
		at.check, at.typ = &c, reflect.TypeFor[[]string]()
		d.value(n, reflect.ValueOf(&h.Pass).Elem(), at, posOf(n))
	case yaml.MappingNode:
		at.typ = reflect.TypeFor[[]Pair]()
		d.value(n, reflect.ValueOf(&h.Set).Elem(), at, posOf(n))
		checkFields(d.Reporter, h.Set, "a step")
	default:
		d.fail(posOf(n), "write {NAME: VALUE} or [NAME, …]", "headers: expected a map or a list of names, found %s", describe(n))
	}
}

func (*StepHeaders) nodeSchema(*schemaBuilder) object {
	return object{"anyOf": []any{
		object{"type": "object", "maxProperties": maxStepHeaders, "additionalProperties": object{"type": "string"}},
		object{"type": "array", "maxItems": maxStepHeaders, "items": object{"type": "string", "pattern": tokenPattern}}}}
}

func (*StepHeaders) nodeType() string { return "map, or list of names" }
