package route

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-gateway/sluice/message"
)

// MaxVersions is the most versions that an API may have: those that a route offers are the bits of a number.
const MaxVersions = 64

// API is the versions of an API and how a request names one. Routes belong to it by pointer; it must not change once a route has it.
type API struct {
	Name string
	// By are the ways to name a version in the order in which they are asked. The first that names one decides.
	By []Selector
	// Default is the version of a request that names none, "" if such a request is not for the API.
	Default string
	// Versions are the names of the versions, which differ. Between letters and digits they may hold '-', '.' and '_'.
	Versions []string
}

// Selector is one way in which a request names a version.
type Selector struct {
	Kind SelectorKind
	// Name of the header field or the parameter, or the media type with {version} in it; "" for the path.
	Name string
}

// SelectorKind is what part of a request names a version.
type SelectorKind uint8

// The kinds of selectors.
const (
	// SelectPath is the first segment of the path. If it is the name of a version it is no part of the path that patterns are for.
	SelectPath SelectorKind = iota
	// SelectHeader is the value of a header field.
	SelectHeader
	// SelectQuery is the value of a query parameter.
	SelectQuery
	// SelectMediaType is a media type that the request accepts, or that of its body.
	SelectMediaType
)

// status answers a request whose version is unknown, by the part that named it.
func (k SelectorKind) status() int16 {
	return [...]int16{SelectPath: 404, SelectHeader: 400, SelectQuery: 400, SelectMediaType: 406}[k]
}

// versionMark stands for the version in a media type.
const versionMark = "{version}"

// TrimVersion takes the segment that names a version off a path, and the slashes before it, if they were kept. What is left begins with a slash.
func TrimVersion(path []byte) []byte {
	start := 0
	for start < len(path) && path[start] == '/' {
		start++
	}
	end := bytes.IndexByte(path[start:], '/')
	if end < 0 {
		return rootPath
	}
	return path[start+end:]
}

// rootPath is read-only: what is left of a path that is a version only.
var rootPath = []byte("/")

// api is an API as a table asks it.
type api struct {
	*API
	selectors []selector
	fallback  int8 // the place of the default version, or unnamed
	byPath    bool // a version may stand in the path
}

// selector is a Selector as a table asks it.
type selector struct {
	kind          SelectorKind
	name          message.Name // of a header field
	param         string
	before, after string // what stands around the version in a media type
}

// Places that are no place of a version.
const (
	unnamed = -1 - iota // no version is named
	unknown             // one is named that the API does not have
)

// offer is what an entry has to do with versions.
type offer struct {
	api      *api
	versions uint64 // a bit for each version that the route is for
	// path is the place of the version that the entry's pattern begins with, unnamed if it begins with none, and unknown for an entry of
	// hostRoutes.unknown.
	path int8
}

// compileAPI checks an API and makes it ready.
func compileAPI(a *API) (*api, error) {
	c := &api{API: a, fallback: unnamed}
	switch {
	case len(a.By) == 0:
		return nil, fmt.Errorf("the API %s does not say how a request names a version", a.Name)
	case len(a.Versions) == 0 || len(a.Versions) > MaxVersions:
		return nil, fmt.Errorf("the API %s has %d versions; one at least must be there, and %d at most", a.Name, len(a.Versions), MaxVersions)
	}
	for i, name := range a.Versions {
		if !validVersion(name) || slices.Contains(a.Versions[:i], name) {
			return nil, fmt.Errorf("the API %s: %q is no name of a version, or stands there twice", a.Name, name)
		}
	}
	if a.Default != "" {
		if c.fallback = int8(slices.Index(a.Versions, a.Default)); c.fallback < 0 {
			return nil, fmt.Errorf("the API %s has no version %q", a.Name, a.Default)
		}
	}
	for _, s := range a.By {
		compiled, err := compileSelector(s)
		if err != nil {
			return nil, fmt.Errorf("the API %s: %w", a.Name, err)
		}
		c.selectors = append(c.selectors, compiled)
		c.byPath = c.byPath || s.Kind == SelectPath
	}
	return c, nil
}

// validVersion reports whether a name is the same text in a path, a query, a field and a media type.
func validVersion(name string) bool {
	for i := range len(name) {
		switch c := name[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case (c == '-' || c == '.' || c == '_') && i > 0 && i < len(name)-1:
		default:
			return false
		}
	}
	return name != ""
}

func compileSelector(s Selector) (c selector, err error) {
	c.kind = s.Kind
	switch s.Kind {
	case SelectPath:
	case SelectHeader:
		if !message.ValidToken([]byte(s.Name)) {
			return c, fmt.Errorf("%q is no name of a header field", s.Name)
		}
		c.name = message.NameOf(s.Name)
	case SelectQuery:
		if c.param = s.Name; s.Name == "" {
			return c, fmt.Errorf("the name of a query parameter is empty")
		}
	case SelectMediaType:
		var ok bool
		c.before, c.after, ok = strings.Cut(s.Name, versionMark)
		if !ok || !strings.Contains(c.before, "/") || strings.Contains(c.after, versionMark) {
			return c, fmt.Errorf("%q is no media type with %s once behind its /", s.Name, versionMark)
		}
	default:
		return c, fmt.Errorf("there is no kind %d of selectors", s.Kind)
	}
	return c, nil
}

// place returns the place of the version of that name, or unknown.
func (a *api) place(name []byte) int8 {
	for i, v := range a.Versions {
		if string(name) == v {
			return int8(i)
		}
	}
	return unknown
}

// looksLikeVersion reports whether a segment is a v and digits.
func looksLikeVersion(segment []byte) bool {
	if len(segment) < 2 || segment[0] != 'v' {
		return false
	}
	for _, c := range segment[1:] {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// meaning is which version of an API a request means. It is found out once for each API that a lookup comes to.
type meaning struct {
	api *api
	// place of the version, unnamed or unknown; by is the kind of selector that named it, or the first of the API if none did.
	place int8
	by    SelectorKind
	// path is what the path's first segment alone says: a place, unknown for a v and digits, else unnamed.
	path int8
	// repeated says that a field which decides stands there twice; place is unknown then.
	repeated bool
}

// mean returns which version of an API the request means.
func (q *query) mean(a *api) *meaning {
	m := &q.meaning
	if m.api == a {
		return m
	}
	*m = meaning{api: a, place: unnamed, path: unnamed}
	if a.byPath {
		if m.path = a.place(q.first); m.path == unknown && !looksLikeVersion(q.first) {
			m.path = unnamed
		}
	}
	for i := range a.selectors {
		s := &a.selectors[i]
		switch s.kind {
		case SelectPath:
			m.place = max(m.path, unnamed) // one that is unknown is the business of what the path leads to
		case SelectHeader:
			m.place, m.repeated = s.header(a, &q.x.Request.Header)
		case SelectQuery:
			m.place = s.query(a, q.x.Request.Query)
		default:
			m.place = s.mediaType(a, &q.x.Request)
		}
		if m.place != unnamed {
			m.by = s.kind
			return m
		}
	}
	m.place, m.by = a.fallback, a.selectors[0].kind
	return m
}

// header reads a field. One that is empty names no version.
func (s *selector) header(a *api, h *message.Header) (place int8, repeated bool) {
	i := h.Index(s.name, 0)
	if i < 0 {
		return unnamed, false
	}
	if h.Index(s.name, i+1) >= 0 {
		return unknown, true
	}
	value := h.At(i).Value
	if len(value) == 0 {
		return unnamed, false
	}
	return a.place(value), false
}

// query reads a parameter, decoded as forms are. One that is empty names no version. Two that differ name one that there is not: a backend could
// take the other.
func (s *selector) query(a *api, query []byte) int8 {
	found := int8(unnamed)
	for len(query) > 0 {
		var name, value []byte
		name, value, query = nextParam(query)
		if len(value) == 0 || !EqualParam(name, s.param) {
			continue
		}
		place := int8(unknown)
		for i, v := range a.Versions {
			if EqualParam(value, v) {
				place = int8(i)
				break
			}
		}
		if found != unnamed && found != place {
			return unknown
		}
		found = place
	}
	return found
}

// mediaType reads Accept, and the type of the body if Accept names no version.
func (s *selector) mediaType(a *api, r *message.Request) int8 {
	place := s.accepted(a, &r.Header)
	if place != unnamed || r.Length == 0 {
		return place
	}
	typ, _ := cutParameters(r.Header.Get(message.ContentType))
	if version, ok := s.cut(typ); ok {
		return a.placeOfType(version)
	}
	return unnamed
}

// accepted reads all lines of Accept (RFC 9110 section 12.5.1): among the types that name a version of the API the one with the greatest weight
// counts, and of several the first. Types that name one which there is not are as if they were not there, unless there are no others.
func (s *selector) accepted(a *api, h *message.Header) int8 {
	best, weight := int8(unnamed), 0
	missing, others := false, false
	for i := h.Index(acceptName, 0); i >= 0; i = h.Index(acceptName, i+1) {
		for list := h.At(i).Value; ; {
			element, rest, ok := message.NextElement(list)
			if !ok {
				break
			}
			list = rest
			typ, parameters := cutParameters(element)
			w := weightOf(parameters)
			if w == 0 {
				continue
			}
			version, ok := s.cut(typ)
			if !ok {
				others = true
				continue
			}
			place := a.placeOfType(version)
			if place == unknown {
				missing = true
			} else if w > weight {
				best, weight = place, w
			}
		}
	}
	if best == unnamed && missing && !others {
		return unknown
	}
	return best
}

// acceptName is read-only.
var acceptName = message.Accept.Name()

// cut returns what stands for the version in a media type, whose letters may be of either case (RFC 9110 section 8.3.1).
func (s *selector) cut(typ []byte) (version []byte, ok bool) {
	b, a := len(s.before), len(s.after)
	if len(typ) <= b+a || !message.EqualFold(typ[:b], s.before) || !message.EqualFold(typ[len(typ)-a:], s.after) {
		return nil, false
	}
	return typ[b : len(typ)-a], true
}

// placeOfType is place for the part of a media type.
func (a *api) placeOfType(name []byte) int8 {
	for i, v := range a.Versions {
		if message.EqualFold(name, v) {
			return int8(i)
		}
	}
	return unknown
}

// cutParameters splits a media type from its parameters.
func cutParameters(value []byte) (typ, parameters []byte) {
	if i := bytes.IndexByte(value, ';'); i >= 0 {
		return message.TrimSpace(value[:i]), value[i+1:]
	}
	return message.TrimSpace(value), nil
}

// weightOf returns the weight among the parameters of a media range in thousandths (RFC 9110 section 12.4.2), 1000 if there is none that can be
// understood.
func weightOf(parameters []byte) int {
	for len(parameters) > 0 {
		var p []byte
		p, parameters = cutParameters(parameters)
		if len(p) > 2 && p[0]|0x20 == 'q' && p[1] == '=' {
			return thousandths(p[2:])
		}
	}
	return 1000
}

// thousandths reads 0, 1, and either with up to three digits behind a point.
func thousandths(b []byte) int {
	if b[0] != '0' || len(b) > 5 || len(b) > 1 && b[1] != '.' {
		return 1000
	}
	w, unit := 0, 100
	for i := 2; i < len(b); i++ {
		if b[i] < '0' || b[i] > '9' {
			return 1000
		}
		w += int(b[i]-'0') * unit
		unit /= 10
	}
	return w
}

// stand is what a request means to an entry of an API.
type stand uint8

const (
	standFits    stand = iota // its version is offered
	standRefused              // it fits, and its version is unknown: it must not be taken for something else
	standOther                // another entry is for the path with its version, or without it
	standPassed               // its version is not offered, or it names none
)

// stand returns what the request means to e, which belongs to an API.
func (q *query) stand(e *entry) stand {
	o := e.offer
	m := q.mean(o.api)
	switch {
	case o.path >= 0:
		// The pattern's first segment is the path's: m.path is o.path.
	case o.path == unknown: // what is looked up is the path without its first segment
		if m.path != unknown {
			return standOther
		}
		return standRefused
	case m.path >= 0:
		return standOther // the version does not belong to the path
	case m.path == unknown && !e.literal:
		return standRefused // the pattern does not mean this segment
	}
	switch {
	case m.place == unknown:
		return standRefused
	case m.place == unnamed || o.versions&(1<<m.place) == 0:
		return standPassed
	}
	return standFits
}

// chooseVersioned is choose for a leaf with routes of APIs. The version is a part of the match that goes before the method: entries that are for
// listed versions go before those of an API for all of its versions, and those before entries of no API.
func (q *query) chooseVersioned(l *leaf) *entry {
	var byGet *entry
	for i := range l.entries {
		e := &l.entries[i]
		if byGet != nil && e.rank != byGet.rank {
			return byGet
		}
		if e.offer != nil {
			switch q.stand(e) {
			case standOther:
				continue
			case standPassed:
				if q.passed == nil && e.fits(q.x) {
					q.passed = e
				}
				continue
			}
		}
		switch {
		case e.methods == 0:
			if byGet != nil {
				return byGet
			}
			if e.fits(q.x) {
				return e
			}
		case e.methods&q.method != 0:
			if e.fits(q.x) {
				return e
			}
		case e.methods&q.viaGet != 0:
			if byGet == nil && e.fits(q.x) {
				byGet = e
			}
		case q.collect:
			if e.fits(q.x) {
				q.allow |= e.methods
			}
		default:
			q.missed = true
		}
	}
	return byGet
}

// findUnknown looks, where the path's first segment looks like a version, whether the rest is for a route of an API that has no such version. Only an
// entry that names the segment literally goes before that. e is the best entry for the whole path, or nil.
func (h *hostRoutes) findUnknown(q *query, e *entry) *entry {
	if e != nil && (e.literal || e.offer != nil && q.stand(e) == standRefused) || !looksLikeVersion(q.first) {
		return e
	}
	whole := q.path
	q.read(TrimVersion(whole))
	other := h.unknown.best(q)
	q.read(whole)
	if other != nil {
		return other
	}
	return e
}

// finding is what a lookup found out of the version.
type finding struct {
	place  int8 // of the version, or unnamed or unknown
	inPath bool // the path begins with one
	status int16
}

// settle sets what the version comes to with e, an entry of an API that was found or passed over, and returns what is wrong with it.
func (q *query) settle(e *entry) (reason message.Reason) {
	m, f := q.mean(e.offer.api), &q.version
	*f = finding{place: m.place, inPath: e.offer.path >= 0}
	stand := q.stand(e)
	switch {
	case stand == standFits:
		return message.ReasonNone
	case stand == standPassed && m.place >= 0:
		return message.VersionNotOffered
	case m.repeated:
		return message.HeaderRepeated
	}
	f.status = m.by.status()
	if stand == standRefused && m.place != unknown { // the path's first segment is what is unknown
		f.place, f.status = unknown, SelectPath.status()
	}
	return message.VersionUnknown
}

// otherwise reports whether other, the entry of another reading of the path, means another version than the one that was found.
func (q *query) otherwise(other *entry) bool {
	return q.stand(other) != standFits || q.mean(other.offer.api).place != q.version.place
}
