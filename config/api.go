package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// API is the versions of an API and how a request says which one it means.
type API struct {
	// Name of the API, that routes belong to it by.
	Name string `yaml:",key" check:"name"`
	// Pos is the place of the name.
	Pos Pos `yaml:"-"`
	// By are the ways in which a request names a version, in the order in which they are asked.
	By []Selector `yaml:"-"`
	// Default is the version of a request that names none, "" if that is refused.
	Default string `yaml:"-"`
	// Versions are the versions in the order of the file.
	Versions []*APIVersion `yaml:"-"`

	defaultPos Pos
	isMap      bool // it was written as a map
	hasBy      bool // by was written, rightly or not
}

// APIVersion is one version of an API.
type APIVersion struct {
	// Name of the version, as in /v1/….
	Name string `yaml:",key" check:"name"`
	// Pos is the place of the version.
	Pos Pos `yaml:"-"`
	// Deprecated is the day from which the version is deprecated (RFC 9745).
	Deprecated Date `yaml:"deprecated"`
	// Sunset is the day on which the version ends (RFC 8594): from then on it is answered 410.
	Sunset Date `yaml:"sunset"`
	// Successor is the version to change to.
	Successor string `yaml:"successor"`
	// Link is an address that explains the deprecation.
	Link string `yaml:"link" check:"value"`
}

// MaxVersions is the most versions that an API may have.
const MaxVersions = 64

// Check reports a link that is no address.
func (v *APIVersion) Check(r *Reporter) {
	if strings.ContainsFunc(v.Link, func(c rune) bool { return c <= ' ' || c >= 0x7f || strings.ContainsRune(`"<>\^`+"`{|}", c) }) ||
		v.Link != "" && !strings.Contains(v.Link, "://") && v.Link[0] != '/' {
		r.Add(r.At(&v.Link), "link: expected an address such as https://shop.example/v1-ends")
	}
}

// Selector is one way in which a request names a version.
type Selector struct {
	// Kind is path, header, media_type or query.
	Kind string
	// Name of the header or the parameter, or the media type with {version} in it.
	Name string
	// Pos is the place of the selector.
	Pos Pos
}

// Kinds of selectors.
const (
	SelectPath      = "path"
	SelectHeader    = "header"
	SelectMediaType = "media_type"
	SelectQuery     = "query"
)

// Date is a day, at whose beginning (UTC) something happens. The zero value is none.
type Date struct{ time.Time }

// ParseConfig implements [Scalar].
func (t *Date) ParseConfig(text string) error {
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if parsed, err := time.Parse(layout, text); err == nil {
			t.Time = parsed.UTC()
			return nil
		}
	}
	return &Hint{Problem: "it is no date"}
}

// ConfigFormat implements [Scalar].
func (t *Date) ConfigFormat() Format {
	return Format{Noun: "a date such as 2027-01-01", Name: "date"}
}

func (a *API) decodeNode(d *decoder, n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		d.fail(posOf(n), "write {by: [path], default: v1, v1: {}}", "an API: expected a map, found %s", describe(n))
		return
	}
	a.isMap = true
	for _, e := range d.entries(n) {
		switch e.key {
		case "by":
			a.hasBy = true
			a.decodeSelectors(d, e)
		case "default":
			a.defaultPos = posOf(e.value)
			d.value(e.value, reflect.ValueOf(&a.Default).Elem(), &field{name: "default"}, e.pos)
		default:
			v := &APIVersion{}
			d.entry(e, reflect.ValueOf(v).Elem(), &field{name: "version"})
			a.Versions = append(a.Versions, v)
		}
	}
}

// decodeSelectors decodes `path`, `{header: NAME}` and the like, or a list of them.
func (a *API) decodeSelectors(d *decoder, e entry) {
	list, ok := d.enter(e.value)
	if !ok {
		return
	}
	defer d.leave()
	nodes := list.Content
	if list.Kind != yaml.SequenceNode {
		nodes = []*yaml.Node{list}
	}
	for _, n := range nodes {
		n, ok := d.enter(n)
		if !ok {
			return
		}
		if s, ok := d.selector(n); ok {
			if slices.ContainsFunc(a.By, func(other Selector) bool { return other.Kind == s.Kind && strings.EqualFold(other.Name, s.Name) }) {
				d.Add(s.Pos, "by: %s is written twice", s.Kind)
			}
			a.By = append(a.By, s)
		}
		d.leave()
	}
	if len(nodes) == 0 {
		d.fail(posOf(e.value), "write by: [path]", "by: at least one way to name a version must be there")
	}
}

// selectorForms is read-only: how selectors are written.
const selectorForms = `write path, {header: NAME}, {query: NAME} or {media_type: "application/vnd.NAME.{version}+json"}`

func (d *decoder) selector(n *yaml.Node) (Selector, bool) {
	s := Selector{Pos: posOf(n)}
	switch {
	case n.Kind == yaml.ScalarNode && n.Value == SelectPath:
		s.Kind = SelectPath
		return s, true
	case n.Kind == yaml.MappingNode:
		entries := d.entries(n)
		if len(entries) != 1 {
			break
		}
		s.Kind, s.Pos = entries[0].key, entries[0].pos
		if s.Kind != SelectHeader && s.Kind != SelectQuery && s.Kind != SelectMediaType {
			d.fail(s.Pos, DidYouMean(s.Kind, []string{SelectPath, SelectHeader, SelectQuery, SelectMediaType}), "by: unknown way %s to name a version", quote(s.Kind))
			return s, false
		}
		d.value(entries[0].value, reflect.ValueOf(&s.Name).Elem(), &field{name: s.Kind}, s.Pos)
		return s, s.check(d.Reporter)
	}
	d.fail(s.Pos, selectorForms, "by: expected a way to name a version, found %s", describe(n))
	return s, false
}

func (s *Selector) check(r *Reporter) bool {
	switch s.Kind {
	case SelectHeader:
		if !tokenText.MatchString(s.Name) {
			r.Add(s.Pos, "header: %s is not the name of a header field", quote(s.Name))
			return false
		}
	case SelectQuery:
		if s.Name == "" {
			r.Add(s.Pos, "query: the name of the parameter is empty")
			return false
		}
	case SelectMediaType:
		major, minor, ok := strings.Cut(s.Name, "/")
		if !ok || strings.Count(s.Name, "{version}") != 1 || !strings.Contains(minor, "{version}") ||
			!tokenText.MatchString(major) || !tokenText.MatchString(strings.Replace(minor, "{version}", "v", 1)) {
			r.AddSuggest(s.Pos, `write one such as "application/vnd.bank.{version}+json"`, "media_type: expected a media type with {version} once behind its /")
			return false
		}
	}
	return true
}

// Version returns the version of that name, or nil.
func (a *API) Version(name string) *APIVersion {
	for _, v := range a.Versions {
		if v.Name == name {
			return v
		}
	}
	return nil
}

// Selects reports whether a way of that kind names versions.
func (a *API) Selects(kind string) bool {
	return slices.ContainsFunc(a.By, func(s Selector) bool { return s.Kind == kind })
}

func (a *API) names() []string {
	names := make([]string, len(a.Versions))
	for i, v := range a.Versions {
		names[i] = v.Name
	}
	return names
}

// link reports what does not fit together within an API.
func (a *API) link(r *Reporter) {
	if !a.isMap {
		return
	}
	if !a.hasBy {
		r.AddSuggest(a.Pos, "add by: [path]", "the API %q does not say how a request names a version", a.Name)
	}
	if len(a.Versions) == 0 {
		r.AddSuggest(a.Pos, "add one such as v1: {}", "the API %q has no versions", a.Name)
		return
	}
	if len(a.Versions) > MaxVersions {
		r.Add(a.Versions[MaxVersions].Pos, "the API %q has %d versions, and %d is the most", a.Name, len(a.Versions), MaxVersions)
	}
	if a.Default != "" && a.Version(a.Default) == nil {
		r.AddSuggest(a.defaultPos, DidYouMean(a.Default, a.names()), "default: the API has no version %s", quote(a.Default))
	}
	for _, v := range a.Versions {
		if v.Successor != "" && (v.Successor == v.Name || a.Version(v.Successor) == nil) {
			r.AddSuggest(r.At(&v.Successor), DidYouMean(v.Successor, a.names()), "successor: the API has no other version %s", quote(v.Successor))
		}
		if !v.Sunset.IsZero() && !v.Deprecated.IsZero() && v.Sunset.Before(v.Deprecated.Time) {
			r.Add(r.At(&v.Sunset), "sunset: it is before deprecated (RFC 9745 section 4)")
		}
	}
}

// linkAPI reports an API or versions that are not there.
func (t *Route) linkAPI(r *Reporter, apis []*API, used map[string]bool) {
	if t.API == "" {
		if len(t.Versions) > 0 && !r.Set(&t.API) {
			r.AddSuggest(r.At(&t.Versions[0]), "add api: NAME", "versions: the route belongs to no API")
		}
		return
	}
	used[t.API] = true
	at := slices.IndexFunc(apis, func(a *API) bool { return a.Name == t.API })
	if at < 0 {
		names := make([]string, len(apis))
		for i, a := range apis {
			names[i] = a.Name
		}
		r.AddSuggest(r.At(&t.API), DidYouMean(t.API, names), "unknown API %s: it is not under versions", quote(t.API))
		return
	}
	for i, name := range t.Versions {
		if apis[at].Version(name) == nil {
			r.AddSuggest(r.At(&t.Versions[i]), DidYouMean(name, apis[at].names()), "the API %q has no version %s", t.API, quote(name))
		}
	}
	checkRepeated(r, t.Versions, "versions")
	if first, rest, _ := strings.Cut(strings.TrimPrefix(t.Match.Path, "/"), "/"); apis[at].Selects(SelectPath) && apis[at].Version(first) != nil {
		r.WarnSuggest(r.At(&t.Match.Path), meantText("/"+rest), "path: %s is a version of the API %q, and taken off the path before it is matched", quote(first), t.API)
	}
}

// linkAPIs links the APIs with the routes.
func (c *Config) linkAPIs(r *Reporter) {
	used := map[string]bool{}
	for _, a := range c.Versions {
		a.link(r)
	}
	for _, t := range c.Routes {
		t.linkAPI(r, c.Versions, used)
	}
	for _, a := range c.Versions {
		if !used[a.Name] {
			r.Warn(a.Pos, "no route belongs to the API %q", a.Name)
			continue
		}
		for _, v := range a.Versions {
			if !slices.ContainsFunc(c.Routes, func(t *Route) bool { return t.offers(a.Name, v.Name) }) {
				r.Warn(v.Pos, "no route has the version %q of the API %q", v.Name, a.Name)
			}
		}
	}
}

// offers reports whether the route is one for a version of an API: without a list it is one for all.
func (t *Route) offers(api, version string) bool {
	return t.API == api && (len(t.Versions) == 0 || slices.Contains(t.Versions, version))
}

func (*API) nodeSchema(b *schemaBuilder) object {
	selector := object{"anyOf": []any{
		object{"type": "string", "const": SelectPath},
		object{"type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": false, "properties": object{
			SelectHeader: object{"type": "string"}, SelectQuery: object{"type": "string"}, SelectMediaType: object{"type": "string"}}}}}
	return object{"type": "object", "properties": object{
		"by":      object{"anyOf": []any{selector, object{"type": "array", "items": selector, "minItems": 1}}, "description": byMeaning},
		"default": object{"type": "string", "description": defaultMeaning},
	}, "additionalProperties": b.structRef(reflect.TypeFor[APIVersion]()), "propertyNames": object{"pattern": namePattern}}
}

const (
	byMeaning      = "The ways in which a request names a version, in the order in which they are asked."
	defaultMeaning = "The version of a request that names none. Without it such a request is refused."
)

func (*API) nodeType() string { return "API" }

func (*API) manualKeys() []manualKey {
	return []manualKey{
		{"`by`", "one or a list of `path`, `{header: NAME}`, `{query: NAME}`, `{media_type: TYPE}`", "required", byMeaning +
			" A media type has {version} once behind its slash."},
		{"`default`", "text", "", defaultMeaning},
		{"VERSION", "map", "", fmt.Sprintf("A version of the API, by its name, as in `v1: {}`. At most %d entries.", MaxVersions)},
	}
}

func (*API) manualOthers() (word string, t reflect.Type) {
	return "VERSION", reflect.TypeFor[APIVersion]()
}
