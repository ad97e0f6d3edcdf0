package expr

import (
	"strings"

	"github.com/sluice-gateway/sluice/document"
	"github.com/sluice-gateway/sluice/message"
)

// Document is a JSON value with `${…}` in its texts, compiled. It is immutable, and may be used by any number of goroutines at once.
//
// A text that is nothing but one `${…}` becomes the value of the expression with its type: a part of a document is copied as it lies there, and
// where there is no value there is null. In other texts values are substituted as text; where one of them is missing the whole text is null.
// `$${` stands for a plain `${`. Names of members are fixed. What a request brings is never looked at for expressions.
type Document struct {
	pieces []piece
	steps  []int
	uses   []string
}

// piece is a stretch of JSON text with a value behind it.
type piece struct {
	text     []byte    // before the value
	program  *Program  // of a text that is nothing but one expression
	template *Template // of another text; both are nil in the last piece
}

// documentLimits are generous: the text was made from a file whose size is bounded.
var documentLimits = document.Limits{Depth: 256, Keys: 1 << 20, Digits: 1 << 20} // read-only

// CompileDocument compiles a JSON value whose texts may hold `${…}`. An error names the text by its place among all string values, from 0
// and without the names of members (Error.Leaf); its Offset is one in the decoded text. Numbers keep their digits.
func CompileDocument(json []byte, env Env) (*Document, *Error) {
	v, err := document.Parse(json, documentLimits)
	if err != nil {
		return nil, &Error{Leaf: -1, Message: "the value is " + err.Error()}
	}
	c := documentCompiler{env: env, d: new(Document)}
	if failure := c.value(v); failure != nil {
		failure.Leaf = c.leaf
		return nil, failure
	}
	c.flush(nil, nil)
	c.d.steps, c.d.uses = c.steps.list(&c.env)
	return c.d, nil
}

// documentCompiler walks over a value and collects the text between expressions.
type documentCompiler struct {
	env   Env
	d     *Document
	text  []byte
	leaf  int // string values before this one
	steps stepSet
}

func (c *documentCompiler) value(v document.Value) *Error {
	switch v.Kind() {
	case document.Object:
		return c.object(v)
	case document.Array:
		c.text = append(c.text, '[')
		first := true
		for item := range v.Items {
			c.comma(&first)
			if err := c.value(item); err != nil {
				return err
			}
		}
		c.text = append(c.text, ']')
	case document.String:
		if err := c.string(v); err != nil {
			return err
		}
		c.leaf++
	default:
		c.text = append(c.text, v.Raw()...)
	}
	return nil
}

func (c *documentCompiler) object(v document.Value) *Error {
	c.text = append(c.text, '{')
	first := true
	for name, member := range v.Members {
		c.comma(&first)
		c.text = append(append(c.text, name.Raw()...), ':')
		if err := c.value(member); err != nil {
			return err
		}
	}
	c.text = append(c.text, '}')
	return nil
}

func (c *documentCompiler) comma(first *bool) {
	if !*first {
		c.text = append(c.text, ',')
	}
	*first = false
}

// string compiles one text.
func (c *documentCompiler) string(v document.Value) *Error {
	decoded, _ := v.AppendText(nil)
	text := string(decoded)
	if !strings.Contains(text, "${") {
		c.text = append(c.text, v.Raw()...)
		return nil
	}
	if src, ok := single(text); ok {
		if len(src) > MaxSource {
			return &Error{Message: "the expression is longer than 64 KiB"}
		}
		p, err := compile(src, &c.env)
		if err != nil {
			err.Offset += len("${")
			return err
		}
		c.steps.add(p.Steps())
		c.flush(&p, nil)
		return nil
	}
	t, err := compileTemplate(text, &c.env)
	if err != nil {
		return err
	}
	if plain, ok := t.Const(); ok {
		c.text = document.AppendString(c.text, plain)
		return nil
	}
	c.steps.add(t.Steps())
	c.flush(nil, t)
	return nil
}

// single returns the expression of a text that is nothing but one `${…}`.
func single(text string) (src string, ok bool) {
	if !strings.HasPrefix(text, "${") || endOfExpression(text, 2) != len(text)-1 {
		return "", false
	}
	return text[2 : len(text)-1], true
}

// flush ends a piece with its value.
func (c *documentCompiler) flush(p *Program, t *Template) {
	c.d.pieces = append(c.d.pieces, piece{text: c.text, program: p, template: t})
	c.text = nil
}

// Append appends the value as compact JSON; parts of documents have the bytes that they have there. ok is false, and nothing is appended, where
// a value must not be replaced by null: parts that contradict each other (merge.error), or an expression that goes beyond its bounds.
func (d *Document) Append(dst []byte, x *message.Exchange) (out []byte, ok bool) {
	n := len(dst)
	for i := range d.pieces {
		p := &d.pieces[i]
		dst = append(dst, p.text...)
		how := found
		m := len(dst)
		switch {
		case p.program != nil:
			dst, how = p.program.appendJSON(dst, x)
		case p.template != nil:
			if dst, how = p.template.appendText(dst, x); how == found {
				dst = quoteFrom(dst, m)
			}
		}
		switch how {
		case missing:
			dst = append(dst[:m], "null"...)
		case refused:
			return dst[:n], false
		}
	}
	return dst, true
}

// Uses returns the names of the steps that the document reads, in the order of Env.Steps. The caller does not change the list.
func (d *Document) Uses() []string { return d.uses }

// Steps returns the places in Exchange.Steps of the steps that the document reads, in rising order. The caller does not change the list.
func (d *Document) Steps() []int { return d.steps }

// stepSet collects the steps that programs read.
type stepSet struct{ has []bool }

func (s *stepSet) add(steps []int) {
	for _, i := range steps {
		for len(s.has) <= i {
			s.has = append(s.has, false)
		}
		s.has[i] = true
	}
}

// list returns the steps in order, and their names.
func (s *stepSet) list(env *Env) (steps []int, names []string) {
	for i, has := range s.has {
		if has {
			steps = append(steps, i)
			names = append(names, env.Steps[i])
		}
	}
	return steps, names
}
