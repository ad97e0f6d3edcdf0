package config

import (
	"net/netip"
	"strings"
)

// checkHost accepts an exact host or `*.suffix` and brings it to the form that requests are read to: lower case, no trailing dot.
func checkHost(text string) (string, error) {
	host := strings.TrimSuffix(strings.ToLower(text), ".")
	name, wild := strings.CutPrefix(host, "*.")
	switch {
	case host == "":
		return "", &Hint{Problem: "it is empty"}
	case host == "*":
		return "", &Hint{Problem: "every host fits without the key", Suggestion: "leave out host"}
	case strings.Contains(host, "://"):
		_, rest, _ := strings.Cut(host, "://")
		rest, _, _ = strings.Cut(rest, "/")
		return "", &Hint{Problem: "a host has no scheme", Suggestion: meantText(rest)}
	case strings.HasPrefix(name, "["):
		in, ok := strings.CutSuffix(name[1:], "]")
		if ip, err := netip.ParseAddr(in); err != nil || !ok || wild || !ip.Is6() || ip.Zone() != "" {
			return "", &Hint{Problem: "the brackets do not hold an IPv6 address"}
		}
		return host, nil
	case strings.Contains(name, ":"):
		before, _, _ := strings.Cut(host, ":")
		return "", &Hint{Problem: "a host has no port: listeners have", Suggestion: meantText(before)}
	case strings.Contains(name, "*"):
		return "", &Hint{Problem: "a * stands alone at the beginning, as in *.shop.example"}
	case len(name) > 253 || !hostName.MatchString(name):
		return "", &Hint{Problem: "it is no host name"}
	}
	return host, nil
}

// checkAuthority accepts a host with or without a port.
func checkAuthority(text string) (string, error) {
	if host, err := checkHost(text); err == nil && !strings.HasPrefix(host, "*.") {
		return host, nil
	}
	host, port, err := splitAddress(text)
	if err != nil {
		return "", err
	}
	if host == "" || port == 0 {
		return "", &Hint{Problem: "host or port is missing"}
	}
	return strings.ToLower(text), nil
}

// checkPath accepts a path pattern. What it accepts is spelled as requests are after they were read (SEMANTICS section 12), because another spelling
// could never match.
func checkPath(text string) (string, error) {
	if !strings.HasPrefix(text, "/") {
		return "", &Hint{Problem: "a path begins with /", Suggestion: meantText("/" + text)}
	}
	if len(text) > 4096 {
		return "", &Hint{Problem: "it is longer than 4096 characters"}
	}
	segments := strings.Split(text[1:], "/")
	names := make(map[string]bool, len(segments))
	for i, s := range segments {
		if err := checkSegment(s, i == len(segments)-1, names); err != nil {
			return "", err
		}
		if s == "" && i < len(segments)-1 {
			return "", &Hint{Problem: "two slashes follow each other: requests are read with one"}
		}
	}
	return text, nil
}

// checkSegment checks one segment of a path pattern; names collects the captures.
func checkSegment(s string, last bool, names map[string]bool) error {
	if s == "*" {
		if !last {
			return &Hint{Problem: "a * stands for the rest and can only be the last segment", Suggestion: "write {name} for one segment"}
		}
		if names["rest"] {
			return &Hint{Problem: "the final * is captured as rest, a name that occurs before"}
		}
		return nil
	}
	if strings.ContainsAny(s, "{}") {
		return checkCapture(s, last, names)
	}
	if strings.Contains(s, "*") {
		return &Hint{Problem: "a * must be a segment of its own", Suggestion: meantText("/" + strings.ReplaceAll(s, "*", "") + "/*")}
	}
	return checkLiteral(s)
}

func checkCapture(s string, last bool, names map[string]bool) error {
	in, ok := strings.CutPrefix(s, "{")
	in, closed := strings.CutSuffix(in, "}")
	if !ok || !closed || strings.ContainsAny(in, "{}") {
		return &Hint{Problem: "a capture must be a segment of its own, as in /users/{id}/orders"}
	}
	name, rest := strings.CutSuffix(in, "...")
	switch {
	case name == "":
		return &Hint{Problem: "a capture needs a name", Suggestion: meantText("{name}")}
	case !isIdentifier(name):
		return &Hint{Problem: "the name of a capture is made of letters, digits and _, and does not begin with a digit"}
	case names[name]:
		return &Hint{Problem: "two captures have the name " + name}
	case rest && !last:
		return &Hint{Problem: "{" + name + "...} stands for the rest and can only be the last segment", Suggestion: meantText("{" + name + "}")}
	}
	names[name] = true
	return nil
}

func isIdentifier(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || i > 0 && c >= '0' && c <= '9' {
			continue
		}
		return false
	}
	return s != "" && len(s) <= 64
}

// checkLiteral checks a segment without captures.
func checkLiteral(s string) error {
	if s == "." || s == ".." {
		return &Hint{Problem: "dot segments are resolved before matching, so this can never match"}
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '%':
			if err := checkEscape(s, i); err != nil {
				return err
			}
			i += 2
		case c == '?':
			return &Hint{Problem: "a path pattern has no query", Suggestion: "write match: {query: {NAME: VALUE}}"}
		case c == '#':
			return &Hint{Problem: "a path pattern has no fragment"}
		case c == ';':
			return &Hint{Problem: "parameters after ; are not part of the match"}
		case c == '\\':
			return &Hint{Problem: "a backslash in a path is refused", Suggestion: meantText(strings.ReplaceAll(s, `\`, "/"))}
		case c <= ' ' || c >= 0x7f || strings.IndexByte(`"<>^`+"`|", c) >= 0:
			return &Hint{Problem: "it holds a character that must be percent-encoded", Suggestion: meantText(encodePath(s))}
		}
	}
	return nil
}

// checkEscape checks the escape at s[i]: hexadecimal in upper case, of a byte that needs it, and none that hides a dot, a slash or a backslash.
func checkEscape(s string, i int) error {
	if i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
		return &Hint{Problem: "a % needs two hexadecimal digits", Suggestion: meantText(s[:i] + "%25" + s[i+1:])}
	}
	escape := strings.ToUpper(s[i : i+3])
	c := unhex(escape[1])<<4 | unhex(escape[2])
	switch {
	case c == '/':
		return &Hint{Problem: "an encoded slash (" + escape + ") is no separator and is not matched"}
	case c == '\\':
		return &Hint{Problem: "an encoded backslash (" + escape + ") in a path is refused"}
	case c == '.':
		return &Hint{Problem: "a disguised dot (" + escape + ") in a path is refused", Suggestion: meantText(s[:i] + "." + s[i+3:])}
	case c < ' ' || c == 0x7f:
		return &Hint{Problem: "an encoded control character (" + escape + ") in a path is refused"}
	case isUnreserved(c):
		return &Hint{Problem: escape + " is read as " + string(rune(c)) + " before matching", Suggestion: meantText(s[:i] + string(rune(c)) + s[i+3:])}
	case escape != s[i:i+3]:
		return &Hint{Problem: "escapes are read in upper case", Suggestion: meantText(s[:i] + escape + s[i+3:])}
	}
	return nil
}

// encodePath percent-encodes the bytes of a segment that cannot stand in it.
func encodePath(s string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`"<>^`+"`|", c) >= 0 {
			b.WriteString("%" + string(digits[c>>4]) + string(digits[c&15]))
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func isUnreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c >= 'a':
		return c - 'a' + 10
	}
	return c - 'A' + 10
}
