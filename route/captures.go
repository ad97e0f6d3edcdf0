package route

import "strings"

// Captures returns the names that a path pattern captures, in its order, and which of them takes several segments ("" if none does). A
// pattern that is not valid captures nothing.
func Captures(pattern string) (names []string, several string) {
	switch i := strings.IndexAny(pattern, "{*"); {
	case i < 0:
		return nil, ""
	case pattern[i:] == "*": // by far the most common: /somewhere/*
		return []string{RestName}, RestName
	}
	p, err := parsePattern(pattern)
	if err != nil {
		return nil, ""
	}
	for _, s := range p.segments {
		if s.kind == literal {
			continue
		}
		names = append(names, s.text)
		if s.kind == rest {
			several = s.text
		}
	}
	return names, several
}
