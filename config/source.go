package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Source is the text of a configuration file, kept so that errors can show the line.
type Source struct {
	// File is the name that stands in errors.
	File string

	lines   []string
	secrets []secret
	outside int // bytes of the values that were read from outside
}

// secret is a value that was read from outside; messages show the reference instead.
type secret struct {
	value     string
	quoted    string // as quote writes it
	reference string
}

// newSource splits the text where YAML 1.1 does, so that line numbers agree with the parser's.
func newSource(file string, data []byte) *Source {
	s := &Source{File: file}
	if len(data) > MaxFile {
		return s
	}
	text := strings.TrimPrefix(string(data), "\ufeff")
	start := 0
	for i, c := range text {
		switch c {
		case '\n', '\u0085', '\u2028', '\u2029':
		case '\r':
			if i+1 < len(text) && text[i+1] == '\n' {
				continue
			}
		default:
			continue
		}
		s.lines = append(s.lines, strings.TrimSuffix(text[start:i], "\r"))
		start = i + utf8.RuneLen(c)
	}
	s.lines = append(s.lines, text[start:])
	return s
}

// error builds an error at a place, with the line of the text.
func (s *Source) error(pos Pos, message, suggestion string) *Error {
	if pos.IsZero() {
		pos = Pos{1, 1}
	}
	e := &Error{File: s.File, Line: pos.Line, Column: pos.Column, Message: message, Suggestion: suggestion}
	if pos.Line < 1 || pos.Line > len(s.lines) {
		return e
	}
	e.Source, e.Caret = excerpt(s.lines[pos.Line-1], pos.Column-1)
	return e
}

// excerpt makes a line fit for a terminal: control characters and broken UTF-8 are shown as `?`, and of a long line the part around the caret is
// shown. It returns the caret's column in the result.
func excerpt(line string, caret int) (string, int) {
	const width = 120
	runes := []rune(line)
	for i, c := range runes {
		if c != '\t' && !unicode.IsPrint(c) {
			runes[i] = '?'
		}
	}
	caret = min(max(caret, 0), len(runes))
	if len(runes) <= width {
		return strings.TrimRightFunc(string(runes), unicode.IsSpace), caret
	}
	from := max(0, caret-width/2)
	to := min(len(runes), from+width)
	from = max(0, to-width)
	text := string(runes[from:to])
	caret -= from
	if from > 0 {
		text, caret = "…"+text, caret+1
	}
	if to < len(runes) {
		text += "…"
	}
	return text, caret
}

// remember keeps a value from outside, and the form that checks may bring it to.
func (s *Source) remember(value, reference string) {
	s.outside += len(value)
	s.secrets = append(s.secrets, secret{value, quote(value), reference})
	if lower := strings.ToLower(value); lower != value {
		s.secrets = append(s.secrets, secret{lower, quote(lower), reference})
	}
}

// redact replaces values that were read from outside by their reference. Very short values are only replaced where they are quoted as a whole: they
// would be found in every message.
func (s *Source) redact(text string) string {
	for _, one := range s.secrets {
		text = strings.ReplaceAll(text, one.quoted, quote(one.reference))
		if len(one.value) > len(text) {
			continue
		}
		quoted := strconv.Quote(one.value)
		text = strings.ReplaceAll(text, quoted, quote(one.reference))
		if len(one.value) >= 3 {
			text = strings.ReplaceAll(text, one.value, one.reference)
			text = strings.ReplaceAll(text, quoted[1:len(quoted)-1], one.reference)
		}
	}
	return text
}

// parse reads the text as one YAML document and returns its root, or reports why it cannot.
func parse(src *Source, r *Reporter, data []byte) (root *yaml.Node) {
	if len(data) > MaxFile {
		r.AddSuggest(Pos{1, 1}, "split it or generate less", "the file has more than %d MiB", MaxFile>>20)
		return nil
	}
	if at := invalidText(src); !at.IsZero() {
		r.Add(at, "the file is not UTF-8 text")
		return nil
	}
	defer func() {
		// The YAML library panics on what it cannot explain. A configuration may come from anybody who may reload, so that must not end the program.
		if p := recover(); p != nil {
			r.Add(Pos{1, 1}, "the file cannot be read as YAML")
			root = nil
		}
	}()
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, next yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		r.AddSuggest(Pos{1, 1}, "begin with version: 1", "the file is empty")
		return nil
	} else if err != nil {
		syntaxError(src, r, err)
		return nil
	}
	if err := dec.Decode(&next); err == nil {
		r.AddSuggest(Pos{next.Line, next.Column}, "write one document, without a further ---", "the file holds more than one YAML document")
		return nil
	} else if !errors.Is(err, io.EOF) {
		syntaxError(src, r, err)
		return nil
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 || doc.Content[0].Tag == "!!null" {
		r.AddSuggest(Pos{1, 1}, "begin with version: 1", "the file is empty")
		return nil
	}
	return doc.Content[0]
}

// invalidText returns the place of the first byte that is not UTF-8, or of a NUL, which YAML would take for the end of the text.
func invalidText(src *Source) Pos {
	for i, line := range src.lines {
		column := 0
		for at, c := range line {
			column++
			if c == 0 {
				return Pos{i + 1, column}
			}
			if c == utf8.RuneError {
				if _, n := utf8.DecodeRuneInString(line[at:]); n == 1 {
					return Pos{i + 1, column}
				}
			}
		}
	}
	return Pos{}
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?(.*)$`)

// syntaxError reports an error of the YAML library. It names a line at most, and the line after the last one at the end of the file; the column is that of the
// first character that could be meant.
func syntaxError(src *Source, r *Reporter, err error) {
	text := strings.ReplaceAll(err.Error(), "\n", " ")
	m := yamlLine.FindStringSubmatch(text)
	pos, message := Pos{1, 1}, text
	if m != nil {
		message = m[2]
		if n, err := strconv.Atoi(m[1]); err == nil {
			pos.Line = n
		}
	}
	pos.Line = max(pos.Line, src.brokenLine())
	pos.Line = min(pos.Line, len(src.lines))
	for pos.Line > 1 && strings.TrimSpace(src.lines[pos.Line-1]) == "" {
		pos.Line--
	}
	line := src.lines[pos.Line-1]
	suggestion := ""
	switch {
	case strings.Contains(message, "cannot start any token") && strings.Contains(line, "\t"):
		pos.Column = 1 + len([]rune(line[:strings.Index(line, "\t")]))
		message, suggestion = "a tab cannot indent YAML", "use spaces"
	case strings.Contains(message, "unknown anchor"):
		if name, ok := between(message, "'", "'"); ok {
			pos, suggestion = findText(src, "*"+name, pos), "define it before with &"+name
			message = fmt.Sprintf("the alias *%s has no anchor", name)
		}
	default:
		pos.Column = 1 + len([]rune(line)) - len([]rune(strings.TrimLeft(line, " \t")))
		if strings.Contains(message, "mapping values are not allowed") {
			suggestion = `put a text with ": " in quotes, and indent keys of one map alike`
		} else if strings.Contains(message, "did not find expected") {
			suggestion = "look for a wrong indentation, a missing comma or a bracket left open"
		}
	}
	r.AddSuggest(pos, suggestion, "not valid YAML: %s", message)
}

// brokenLine finds the first line that makes the text invalid: the line behind the longest part of it, from the beginning, that is valid. The YAML library names
// the beginning of the map or list around the error at best, which may be the whole file. The result is 1 if the search would take too long or finds nothing.
func (s *Source) brokenLine() int {
	const most = 8 << 20 // bytes to parse: about a second
	budget := 512 << 10
	for _, line := range s.lines {
		budget = min(budget+20*(len(line)+1), most)
	}
	valid := func(from, to int) bool {
		text := strings.Join(s.lines[from:to], "\n") + "\n"
		if budget -= len(text); budget < 0 {
			return false
		}
		return yaml.Unmarshal([]byte(text), new(yaml.Node)) == nil
	}
	// First by entries of the outer maps and lists, because a part that ends within a map in braces is not valid although nothing is wrong there.
	cuts := []int{0}
	for i, line := range s.lines {
		if text := strings.TrimLeft(line, " "); i > 0 && text != "" && text[0] != '#' && len(line)-len(text) <= 2 {
			cuts = append(cuts, i)
		}
	}
	cuts = append(cuts, len(s.lines))
	low, high := 0, len(cuts)-1
	for low+1 < high {
		if middle := (low + high) / 2; valid(0, cuts[middle]) {
			low = middle
		} else {
			high = middle
		}
	}
	// Then by lines, within the one entry that is left.
	for to := cuts[high]; to > cuts[low]; to-- {
		if valid(cuts[low], to) {
			return min(to+1, len(s.lines))
		}
	}
	if budget < 0 {
		return 1
	}
	return cuts[low] + 1
}

func between(s, from, to string) (string, bool) {
	_, rest, ok := strings.Cut(s, from)
	if !ok {
		return "", false
	}
	in, _, ok := strings.Cut(rest, to)
	return in, ok
}

// findText returns the place of the first occurrence of a text, or the fallback.
func findText(src *Source, text string, fallback Pos) Pos {
	for i, line := range src.lines {
		if at := strings.Index(line, text); at >= 0 {
			return Pos{i + 1, 1 + utf8.RuneCountInString(line[:at])}
		}
	}
	return fallback
}
