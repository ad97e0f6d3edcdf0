package route

import (
	"fmt"
	"strings"

	"github.com/sluice-gateway/sluice/message"
)

// MaxSegments is the most segments that a path pattern may have. It bounds the memory of a walk.
const MaxSegments = 32

// class is the first criterion among patterns that match the same path.
type class uint8

const (
	classExact    class = iota // literals only
	classCaptures              // literals and captures
	classPrefix                // ends with a rest
)

// segmentKind is what one segment of a pattern takes.
type segmentKind uint8

const (
	literal segmentKind = iota
	capture             // one segment that is not empty
	rest                // all that is left
)

type segment struct {
	kind segmentKind
	text string // of a literal, in the form of message.AppendMatchPath; the name of a capture or rest
}

// pattern is a path pattern, parsed.
type pattern struct {
	text     string
	class    class
	segments []segment
}

// RestName is the name under which a final `*` is captured.
const RestName = "rest"

// anyPath is the pattern of a route that names none.
const anyPath = "/*"

// parsePattern reads a path pattern.
func parsePattern(text string) (pattern, error) {
	if text == "" {
		text = anyPath
	}
	p := pattern{text: text}
	if text[0] != '/' {
		return p, fmt.Errorf("a path pattern begins with /")
	}
	parts := strings.Split(text[1:], "/")
	if len(parts) > MaxSegments {
		return p, fmt.Errorf("a path pattern has at most %d segments, and this one %d", MaxSegments, len(parts))
	}
	names := make(map[string]bool)
	for i, part := range parts {
		s, err := parseSegment(part)
		last := i == len(parts)-1
		switch {
		case err != nil:
			return p, err
		case s.kind == rest && !last:
			return p, fmt.Errorf("%s takes the rest of the path and can only be the last segment", part)
		case s.kind == literal && s.text == "" && !last:
			return p, fmt.Errorf("two slashes follow each other: requests are read with one")
		case s.kind != literal && names[s.text]:
			return p, fmt.Errorf("two captures are called %s", s.text)
		case s.kind != literal:
			names[s.text] = true
		}
		switch s.kind {
		case capture:
			p.class = max(p.class, classCaptures)
		case rest:
			p.class = classPrefix
		}
		p.segments = append(p.segments, s)
	}
	return p, nil
}

func parseSegment(part string) (segment, error) {
	if part == "*" {
		return segment{rest, RestName}, nil
	}
	if in, ok := strings.CutPrefix(part, "{"); ok && strings.HasSuffix(in, "}") {
		name, many := strings.CutSuffix(in[:len(in)-1], "...")
		if name == "" || strings.ContainsAny(name, "{}.*") {
			return segment{}, fmt.Errorf("%q is no name of a capture", name)
		}
		if many {
			return segment{rest, name}, nil
		}
		return segment{capture, name}, nil
	}
	if strings.ContainsAny(part, "{}*") {
		return segment{}, fmt.Errorf("%q: a capture or * must be a segment of its own", part)
	}
	return parseLiteral(part)
}

// parseLiteral brings a literal segment to the form in which paths are matched.
func parseLiteral(part string) (segment, error) {
	switch {
	case part == "":
		return segment{}, nil
	case part == "." || part == "..":
		return segment{}, fmt.Errorf("dot segments are resolved before matching, so this can never match")
	case strings.Contains(part, ";"):
		return segment{}, fmt.Errorf("%q: parameters behind ; are not part of the match", part)
	case strings.ContainsAny(part, "?#"):
		return segment{}, fmt.Errorf("%q: a path pattern has no query and no fragment", part)
	}
	escaped := []byte{'/'}
	for i := range len(part) {
		if c := part[i]; c <= ' ' || c >= 0x7F {
			escaped = fmt.Appendf(escaped, "%%%02X", c)
		} else {
			escaped = append(escaped, c)
		}
	}
	path, _, reason := message.AppendPath(nil, escaped, message.PathRules{KeepBackslash: true})
	if reason != message.ReasonNone {
		return segment{}, fmt.Errorf("%q: no request is read so that this could match (%s)", part, reason)
	}
	return segment{literal, string(message.AppendMatchPath(nil, path[1:], false))}, nil
}

// key returns the whole path of an exact pattern.
func (p *pattern) key() string {
	var b strings.Builder
	for _, s := range p.segments {
		b.WriteByte('/')
		b.WriteString(s.text)
	}
	return b.String()
}
