package config

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

// textCheck is one word of the tag `check`: what a text must look like, and its canonical form.
type textCheck struct {
	noun    string // completes "expected …"
	pattern string // for the JSON Schema; may allow more than run does
	run     func(text string) (string, error)
}

// textChecks is the table of the tag `check`.
func textChecks(name string) (textCheck, bool) {
	switch name {
	case "name":
		return textCheck{"a name of letters, digits, and -, _ or . between them", namePattern, checkName}, true
	case "token":
		return textCheck{"a token (RFC 9110 section 5.6.2)", tokenPattern, checkToken}, true
	case "method":
		return textCheck{"a method such as GET", tokenPattern, checkMethod}, true
	case "header":
		return textCheck{"the name of a header field", tokenPattern, checkToken}, true
	case "trailer":
		return textCheck{"the name of a trailer field", tokenPattern, checkTrailer}, true
	case "value":
		return textCheck{"a text without control characters", "", checkValue}, true
	case "host":
		return textCheck{"a host such as shop.example or *.shop.example", `^[^/:@?#\s]+$|^\[[0-9A-Fa-f:.]+\]$`, checkHost}, true
	case "dnsname":
		return textCheck{"a host name such as shop.example", `^[^/:@?#*\s]+$`, checkDNSName}, true
	case "servername":
		return textCheck{"a server name such as shop.example, *.shop.example or *", `^[^/:@?#\s]+$`, checkServerName}, true
	case "authority":
		return textCheck{"a host such as shop.example or shop.example:8080", `^[^/@?#\s]+$`, checkAuthority}, true
	case "target":
		return textCheck{"a path such as /healthz", `^/`, checkTarget}, true
	case "path":
		return textCheck{"a path pattern such as /users/{id} or /static/*", `^/`, checkPath}, true
	}
	return textCheck{}, false
}

const (
	namePattern  = `^[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?$`
	tokenPattern = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"
)

var (
	nameText  = regexp.MustCompile(namePattern)
	tokenText = regexp.MustCompile(tokenPattern)
)

func checkName(text string) (string, error) {
	if !nameText.MatchString(text) {
		return "", &Hint{Problem: "it is not usable as a name", Suggestion: meantName(text)}
	}
	return text, nil
}

// meantName replaces what a name may not hold by a dash.
func meantName(text string) string {
	name := strings.Trim(strings.Map(func(c rune) rune {
		if c < utf8.RuneSelf && nameText.MatchString(string(c)) || strings.ContainsRune("._-", c) {
			return c
		}
		return '-'
	}, text), "._-")
	if !nameText.MatchString(name) {
		return ""
	}
	return meantText(name)
}

func checkToken(text string) (string, error) {
	if !tokenText.MatchString(text) {
		return "", &Hint{Problem: "it holds a character that is not allowed"}
	}
	return text, nil
}

func checkMethod(text string) (string, error) {
	if !tokenText.MatchString(text) {
		return "", &Hint{Problem: "it holds a character that is not allowed"}
	}
	if upper := strings.ToUpper(text); upper != text {
		return "", &Hint{Problem: "methods are written in upper case", Suggestion: meantText(upper)}
	}
	if text == "CONNECT" {
		return "", &Hint{Problem: "CONNECT is not forwarded"}
	}
	return text, nil
}

// checkTrailer refuses fields that may not stand in a trailer because framing, routing or authentication depend on them (RFC 9110 section 6.5.1).
func checkTrailer(text string) (string, error) {
	if _, err := checkToken(text); err != nil {
		return "", err
	}
	switch name := strings.ToLower(text); name {
	case "transfer-encoding", "content-length", "content-encoding", "content-type", "content-range", "host", "trailer", "te", "connection", "keep-alive",
		"upgrade", "proxy-connection", "authorization", "proxy-authorization", "cookie", "set-cookie", "cache-control", "expect", "max-forwards", "range",
		"forwarded", "x-consumer", "x-consumer-plan", "x-authenticated-subject", "x-client-cert", "x-request-id":
		return "", &Hint{Problem: "this field is not allowed in a trailer"}
	default:
		if strings.HasPrefix(name, "x-forwarded-") || strings.HasPrefix(name, "sluice-") {
			return "", &Hint{Problem: "this field is not allowed in a trailer"}
		}
	}
	return text, nil
}

func checkValue(text string) (string, error) {
	if hasControl(text) {
		return "", &Hint{Problem: "it holds a control character"}
	}
	if text != strings.Trim(text, " \t") {
		return "", &Hint{Problem: "it begins or ends with a space"}
	}
	return text, nil
}

// hasControl reports a byte that may not stand in the value of a header field.
func hasControl(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' && c != '\t' || c == 0x7f {
			return true
		}
	}
	return false
}

// checkTarget accepts what is sent as the target of a request as it stands: a path with or without a query.
func checkTarget(text string) (string, error) {
	if !strings.HasPrefix(text, "/") {
		return "", &Hint{Problem: "it does not begin with /", Suggestion: meantText("/" + text)}
	}
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c >= 0x7f || c == '#' {
			return "", &Hint{Problem: "it holds a character that must be percent-encoded"}
		}
	}
	return text, nil
}

// unmanaged are the fields that the gateway writes itself, from the body and the connection.
func unmanaged(name string) bool {
	switch strings.ToLower(name) {
	case "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade", "proxy-connection":
		return false
	}
	return true
}

// checkFieldNames reports keys that are no field names, or name a field twice in different case.
func checkFieldNames(r *Reporter, fields []Pair) {
	seen := make(map[string]bool, len(fields))
	for i := range fields {
		f := &fields[i]
		lower := strings.ToLower(f.Name)
		if !tokenText.MatchString(f.Name) {
			r.Add(f.Pos, "%s is not the name of a header field", quote(f.Name))
		} else if seen[lower] {
			r.Add(f.Pos, "%s is written twice: case does not count in header names", quote(f.Name))
		}
		seen[lower] = true
	}
}

// checkFields reports fields that could not be sent, or that the gateway writes itself.
func checkFields(r *Reporter, fields []Pair, where string) {
	checkFieldNames(r, fields)
	for i := range fields {
		f := &fields[i]
		if !unmanaged(f.Name) {
			r.Add(f.Pos, "%s cannot be set by %s: the gateway writes it", f.Name, where)
		}
		if _, err := checkValue(f.Value); err != nil {
			r.Add(r.At(&f.Value), "the value of %s: %s", quote(f.Name), err)
		}
	}
}

// checkDNSName accepts a host name, and makes it the one spelling of it: lower case, without the dot at its end.
func checkDNSName(text string) (string, error) {
	name := strings.ToLower(strings.TrimSuffix(text, "."))
	if name == "" || len(name) > 253 || !hostName.MatchString(name) {
		return "", &Hint{Problem: "it is no host name"}
	}
	if allDigits(strings.ReplaceAll(name, ".", "")) {
		return "", &Hint{Problem: "it is an address, and not a name"}
	}
	return name, nil
}

// checkServerName accepts what a client may ask for by SNI, or a pattern of it.
func checkServerName(text string) (string, error) {
	if text == "*" {
		return text, nil
	}
	rest, wild := strings.CutPrefix(text, "*.")
	name, err := checkDNSName(rest)
	if err != nil || strings.Contains(rest, "*") {
		return "", &Hint{Problem: "it is no host name, *.suffix or *"}
	}
	if wild {
		name = "*." + name
	}
	return name, nil
}
