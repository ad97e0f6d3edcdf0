package config

import (
	"errors"
	"math"
	"path/filepath"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// scalar decodes a single value.
func (d *decoder) scalar(n *yaml.Node, v reflect.Value, f *field) {
	text, outside, ok := d.text(n, v, f)
	if !ok {
		return
	}
	pos := posOf(n)
	shown := written{text: n.Value, outside: outside}
	if f.none && text == "none" {
		v.SetZero()
		return
	}
	if v.Type() == filePathType {
		d.path(pos, v, f, text)
		return
	}
	if len(f.enum) > 0 && !contains(f.enum, text) {
		if len(f.enum) == 1 {
			d.fail(pos, "", "%s: expected %s, found %s", f.name, f.enum[0], quote(shown.text))
			return
		}
		d.fail(pos, shown.hint(nearestText(text, f.enum)), "%s: %s is not one of %s", f.name, quote(shown.text), strings.Join(f.enum, ", "))
		return
	}
	if f.check != nil {
		canonical, err := f.check.run(text)
		if err != nil {
			d.badText(pos, f.name, f.check.noun, shown, err)
			return
		}
		text = canonical
	}
	fresh := reflect.New(v.Type()).Elem()
	if err := parseText(fresh, text); err != nil {
		noun := nounOf(fresh)
		if f.none {
			noun += " or none"
		}
		d.badText(pos, f.name, noun, shown, err)
		return
	}
	if !d.inRange(pos, fresh, f, shown.text) {
		return
	}
	v.Set(fresh)
}

// written is a text as it stands in the file. If part of it came from outside, nothing may be said that was worked out from the value.
type written struct {
	text    string
	outside bool
}

func (w written) hint(suggestion string) string {
	if w.outside {
		return ""
	}
	return suggestion
}

// badText reports a text that is not what a field expects.
func (d *decoder) badText(pos Pos, name, noun string, shown written, err error) {
	suggestion := shown.hint(hintOf(err))
	detail := err.Error()
	text := shown.text
	if shown.outside || strings.HasPrefix(detail, "it is no") || detail == "the spelling is wrong" || strings.HasPrefix(detail, "it is neither") {
		d.fail(pos, suggestion, "%s: expected %s, found %s", name, noun, quote(text))
		return
	}
	d.fail(pos, suggestion, "%s: expected %s, found %s: %s", name, noun, quote(text), detail)
}

// hintOf returns the suggestion of an error, or "".
func hintOf(err error) string {
	var h *Hint
	if errors.As(err, &h) {
		return h.Suggestion
	}
	return ""
}

// nounOf completes "expected …" for a scalar.
func nounOf(v reflect.Value) string {
	if s := asScalar(v); s != nil {
		return s.ConfigFormat().Noun
	}
	switch v.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a text"
	case reflect.Float32, reflect.Float64:
		return "a number"
	}
	return "a whole number"
}

// inRange checks the tags min and max.
func (d *decoder) inRange(pos Pos, v reflect.Value, f *field, text string) bool {
	low, high := math.Inf(-1), math.Inf(1)
	bound := reflect.New(v.Type()).Elem()
	if f.min != "" && parseText(bound, f.min) == nil {
		low = number(bound)
	}
	if f.max != "" && parseText(bound, f.max) == nil {
		high = number(bound)
	}
	x := number(v)
	if x >= low && x <= high {
		return true
	}
	limits := "at least " + f.min
	if f.min == "" || x > high {
		limits = "at most " + f.max
	}
	suggestion := ""
	if f.none {
		suggestion = "write none for no limit"
	}
	d.fail(pos, suggestion, "%s: %s is out of range: %s", f.name, text, limits)
	return false
}

func number(v reflect.Value) float64 {
	switch {
	case v.CanInt():
		return float64(v.Int())
	case v.CanUint():
		return float64(v.Uint())
	case v.CanFloat():
		return v.Float()
	}
	return 0
}

// path sets the name of a file, relative to the configuration's directory.
func (d *decoder) path(pos Pos, v reflect.Value, f *field, text string) {
	if contains(f.words, text) {
		v.SetString(text)
		return
	}
	if text == "" || strings.ContainsRune(text, 0) {
		d.fail(pos, "", "%s: expected the name of a file, found %s", f.name, quote(text))
		return
	}
	if !filepath.IsAbs(text) {
		text = filepath.Join(d.dir, text)
	}
	v.SetString(text)
}

// text returns the text of a scalar node for a value of v's type, with references to the outside replaced.
func (d *decoder) text(n *yaml.Node, v reflect.Value, f *field) (text string, outside, ok bool) {
	pos := posOf(n)
	noun := nounOf(v)
	if f.check != nil {
		noun = f.check.noun
	} else if len(f.enum) > 0 {
		noun = "one of " + strings.Join(f.enum, ", ")
	}
	if n.Kind != yaml.ScalarNode {
		d.fail(pos, "", "%s: expected %s, found %s", f.name, noun, describe(n))
		return "", false, false
	}
	plain := asScalar(v) == nil
	switch n.Tag {
	case "!!str", "!!timestamp":
		text, outside, ok = d.expand(n, f)
		if ok && plain && !outside && v.Kind() != reflect.String && n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
			suggestion := "leave out the quotes"
			if err := parseBasic(reflect.New(v.Type()).Elem(), text); err != nil {
				suggestion = hintOf(err)
			}
			d.fail(pos, suggestion, "%s: expected %s, found the text %s", f.name, noun, quote(text))
			return "", false, false
		}
		return text, outside, ok
	case "!!int", "!!float":
		if v.Kind() == reflect.String && plain && v.Type() != filePathType && len(f.enum) == 0 && f.check == nil {
			break
		}
		return n.Value, false, true
	case "!!bool":
		if v.Kind() == reflect.Bool || len(f.enum) > 0 {
			return n.Value, false, true
		}
	default:
		d.fail(pos, "", "%s: YAML tags such as %s are not used here", f.name, quote(n.Tag))
		return "", false, false
	}
	suggestion := ""
	if v.Kind() == reflect.String && plain {
		suggestion = `write "` + n.Value + `" in quotes`
	}
	d.fail(pos, suggestion, "%s: expected %s, found %s", f.name, noun, describe(n))
	return "", false, false
}
