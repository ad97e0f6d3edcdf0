package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Pos is a place in a configuration file. Both counts begin at 1 and count characters, not bytes; the zero value is no place.
type Pos struct {
	Line, Column int
}

// IsZero reports that p is no place.
func (p Pos) IsZero() bool { return p == Pos{} }

// Error is one thing that is wrong with a configuration, at its place.
type Error struct {
	File         string
	Line, Column int
	// Message says what is wrong, on one line.
	Message string
	// Suggestion says what would be right, or is empty.
	Suggestion string
	// Source is the line of the file, cut to a readable length.
	Source string
	// Caret is the column in Source that Column stands for, counted from 0.
	Caret int
}

// Error returns `FILE:LINE:COLUMN: message`, the line, a caret under the place and the suggestion, without a final newline.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d:%d: %s", e.File, e.Line, e.Column, e.Message)
	if e.Source != "" {
		b.WriteString("\n  " + e.Source + "\n  ")
		for i, c := range []rune(e.Source) {
			if i >= e.Caret {
				break
			}
			if c == '\t' {
				b.WriteByte('\t')
			} else {
				b.WriteByte(' ')
			}
		}
		b.WriteByte('^')
	}
	if e.Suggestion != "" {
		b.WriteString("\n  " + e.Suggestion)
	}
	return b.String()
}

// Errors are all things that are wrong with a configuration, sorted by place.
type Errors []*Error

// Error returns the errors one after the other, each as [Error.Error] writes it.
func (e Errors) Error() string {
	parts := make([]string, len(e))
	for i, one := range e {
		parts[i] = one.Error()
	}
	return strings.Join(parts, "\n")
}

// maxErrors bounds the errors and the warnings of one report.
const maxErrors = 200

// Reporter collects errors and warnings about one configuration file. It is used by one goroutine at a time.
type Reporter struct {
	src      *Source
	places   *places
	errors   Errors
	warnings Errors
	dropped  int // errors beyond maxErrors
	seen     map[report]bool
	failed   map[Pos]bool // places whose value could not be decoded; checks of such a value say nothing new
}

// report is what makes two errors the same.
type report struct {
	pos     Pos
	message string
}

func newReporter(src *Source) *Reporter {
	return &Reporter{src: src, places: &places{}, failed: map[Pos]bool{}, seen: map[report]bool{}}
}

// Add reports an error at a place. The message says what is wrong, in lower case and without a period. Values that came from `${env:…}` or
// `${file:…}` are replaced by that reference.
func (r *Reporter) Add(pos Pos, format string, args ...any) {
	r.AddSuggest(pos, "", format, args...)
}

// AddSuggest is [Reporter.Add] with a suggestion what to do, such as the result of [DidYouMean]. An error at a place whose value could not
// be decoded is left out, because that was already reported.
func (r *Reporter) AddSuggest(pos Pos, suggestion, format string, args ...any) {
	if r.failed[pos] {
		return
	}
	if len(r.errors) >= maxErrors {
		r.dropped++
		return
	}
	if e, ok := r.build(pos, suggestion, format, args); ok {
		r.errors = append(r.errors, e)
	}
}

// Warn reports a doubt about something that is valid.
func (r *Reporter) Warn(pos Pos, format string, args ...any) {
	r.WarnSuggest(pos, "", format, args...)
}

// WarnSuggest is [Reporter.Warn] with a suggestion.
func (r *Reporter) WarnSuggest(pos Pos, suggestion, format string, args ...any) {
	if len(r.warnings) >= maxErrors {
		return
	}
	if e, ok := r.build(pos, suggestion, format, args); ok {
		r.warnings = append(r.warnings, e)
	}
}

// build makes an error, or reports false if the same was said of the same place, which aliases bring about.
func (r *Reporter) build(pos Pos, suggestion, format string, args []any) (*Error, bool) {
	message := r.src.redact(fmt.Sprintf(format, args...))
	if key := (report{pos, message}); r.seen[key] {
		return nil, false
	} else {
		r.seen[key] = true
	}
	return r.src.error(pos, message, r.src.redact(suggestion)), true
}

// fail reports an error at a value and marks the place, so that later checks of the value keep quiet.
func (r *Reporter) fail(pos Pos, suggestion, format string, args ...any) {
	r.AddSuggest(pos, suggestion, format, args...)
	r.failed[pos] = true
}

// At returns the place of the value that a field was decoded from. ptr is the field's address within the struct that Load filled, not in
// a copy. A field that is not in the file has the place of the struct around it.
func (r *Reporter) At(ptr any) Pos {
	pos, _ := r.places.find(ptr)
	return pos
}

// Set reports whether the field at this address stands in the file, even if its value could not be decoded. See [Reporter.At].
func (r *Reporter) Set(ptr any) bool {
	_, exact := r.places.find(ptr)
	return exact
}

// Err returns the errors as [Errors], sorted by place, or nil if there are none.
func (r *Reporter) Err() error {
	if len(r.errors) == 0 {
		return nil
	}
	sortErrors(r.errors)
	if r.dropped > 0 {
		last := *r.errors[len(r.errors)-1]
		last.Message += fmt.Sprintf(" (and %d more errors)", r.dropped)
		r.errors[len(r.errors)-1] = &last
		r.dropped = 0
	}
	return r.errors
}

// Warnings returns the warnings, sorted by place.
func (r *Reporter) Warnings() Errors {
	sortErrors(r.warnings)
	return r.warnings
}

func sortErrors(list Errors) {
	slices.SortStableFunc(list, func(a, b *Error) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
}

// places remembers where decoded fields stand in the file. Recording is an append, because a valid file is hardly ever asked; the index is brought up to date by
// a question.
type places struct {
	list  []place
	asked int               // the part of list that is in the index
	exact map[any]Pos       // by typed address
	spans map[uintptr][]int // places of structs in list, by each block of addresses that the struct touches
}

type place struct {
	ptr any // address of the field; keeps it alive, so that addresses stay unique
	pos Pos
}

// blockBits is the size of a block of addresses in places.spans: about as large as the structs, so that a struct touches few blocks and a block holds few structs.
const blockBits = 10

func (p *places) mark(ptr any, pos Pos) {
	p.list = append(p.list, place{ptr, pos})
}

// find returns the place of the field, or that of the smallest struct around it and false.
func (p *places) find(ptr any) (Pos, bool) {
	p.index()
	if pos, ok := p.exact[ptr]; ok {
		return pos, true
	}
	v := reflect.ValueOf(ptr)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return Pos{}, false
	}
	at := v.Pointer()
	best, size := Pos{}, ^uintptr(0)
	for _, i := range p.spans[at>>blockBits] {
		s := reflect.ValueOf(p.list[i].ptr)
		from, n := s.Pointer(), s.Type().Elem().Size()
		if from <= at && at < from+n && n <= size { // the later of two: a key's place is recorded after its value's
			best, size = p.list[i].pos, n
		}
	}
	return best, false
}

func (p *places) index() {
	if p.exact == nil {
		p.exact, p.spans = make(map[any]Pos, len(p.list)), map[uintptr][]int{}
	}
	for ; p.asked < len(p.list); p.asked++ {
		one := p.list[p.asked]
		p.exact[one.ptr] = one.pos
		v := reflect.ValueOf(one.ptr)
		if v.Type().Elem().Kind() != reflect.Struct {
			continue
		}
		from, n := v.Pointer(), v.Type().Elem().Size()
		for block := from >> blockBits; block <= (from+n)>>blockBits; block++ {
			p.spans[block] = append(p.spans[block], p.asked)
		}
	}
}

// quote writes a text of the file for a message: in quotes, control characters escaped, cut to a readable length.
func quote(text string) string {
	const most = 60
	if r := []rune(text); len(r) > most {
		text = string(r[:most]) + "…"
	}
	return strconv.Quote(text)
}
