package identity

import (
	"bytes"
	"encoding/base64"
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

// maxToken is what a [Verifier] accepts unless it is told otherwise.
const maxToken = 16 << 10

// strict is base64url without padding, whose unused bits are zero: each value has one form. Read-only.
var strict = base64.RawURLEncoding.Strict()

// parsed is a token whose form is right. Nothing in it was verified.
type parsed struct {
	algorithm Algorithm
	kid       []byte
	hasKid    bool
	hasType   bool
	signed    []byte // what the signature is over: a piece of the token
	signature []byte
	payload   []byte // as in the token, encoded
}

// parseToken reads a token in the compact form of JWS (RFC 7515 section 3.1) as far as is needed to verify it. Where the key comes from is for the
// configuration: jku, jwk, x5u and x5c of the header are not looked at (RFC 8725 section 3.10). types are the types that are accepted.
func parseToken(token []byte, types []string) (parsed, *Refusal) {
	var p parsed
	first := bytes.IndexByte(token, '.')
	last := bytes.LastIndexByte(token, '.')
	if first <= 0 || last == first || bytes.IndexByte(token[first+1:last], '.') >= 0 {
		return p, invalid("it does not have three parts: no signed token in compact form")
	}
	header, ok := decode(token[:first])
	if !ok {
		return p, invalid("its header is not base64url in its only form")
	}
	if p.signature, ok = decode(token[last+1:]); !ok || len(p.signature) == 0 {
		return p, invalid("its signature is missing or not base64url in its only form")
	}
	p.signed, p.payload = token[:last], token[first+1:last]
	members, err := parseObject(header)
	if err != nil {
		return p, invalid("its header: " + err.Error())
	}
	return p, p.header(members, types)
}

// decode decodes base64url. The decoder of the library passes over line ends, which is not its only form.
func decode(text []byte) ([]byte, bool) {
	if bytes.IndexByte(text, '\r') >= 0 || bytes.IndexByte(text, '\n') >= 0 {
		return nil, false
	}
	value := make([]byte, base64.RawURLEncoding.DecodedLen(len(text)))
	n, err := strict.Decode(value, text)
	return value[:n:n], err == nil
}

// header takes what matters out of the header.
func (p *parsed) header(members []member, types []string) *Refusal {
	for _, m := range members {
		switch m.name {
		case "alg":
			if p.algorithm = named(m.text); p.algorithm == 0 {
				return invalid("its algorithm is not supported")
			}
		case "kid":
			if p.kid, p.hasKid = m.text, m.text != nil; !p.hasKid {
				return invalid("its kid is no string")
			}
		case "typ":
			if m.text == nil || !typed(m.text, types) {
				return invalid("it is of another type (typ)")
			}
			p.hasType = true
		case "cty":
			if m.text == nil || typed(m.text, []string{"JWT"}) {
				return invalid("it is a token around another one (cty)")
			}
		case "crit":
			// RFC 7515 section 4.1.11: none of the extensions that may stand here is implemented.
			return invalid("it has an extension that must be understood and is not (crit)")
		case "b64":
			if string(m.raw) != "true" {
				return invalid("its payload is not encoded (b64)")
			}
		case "enc", "zip":
			return invalid("it is encrypted or compressed")
		}
	}
	if p.algorithm == 0 {
		return invalid("its header names no algorithm")
	}
	return nil
}

// typed compares a media type as RFC 7515 section 4.1.9 wants: the prefix "application/" may be left out.
func typed(text []byte, types []string) bool {
	for _, t := range types {
		if s := string(text); strings.EqualFold(s, t) || strings.EqualFold(s, "application/"+t) {
			return true
		}
	}
	return false
}

// second is in the unit of Unix time here.
const second = int64(time.Second)

var errDate = errors.New("it is no number of seconds")

// parseDate reads a NumericDate (RFC 7519 section 2) as nanoseconds of Unix time. What is too far off for that is at the end of it.
func parseDate(raw []byte) (int64, error) {
	if len(raw) == 0 || raw[0] != '-' && (raw[0] < '0' || raw[0] > '9') {
		return 0, errDate
	}
	if seconds, err := strconv.ParseInt(string(raw), 10, 64); err == nil {
		return nanoseconds(seconds), nil
	}
	seconds, err := strconv.ParseFloat(string(raw), 64)
	if err != nil {
		return 0, errDate
	}
	switch ns := seconds * 1e9; {
	case ns >= math.MaxInt64:
		return math.MaxInt64, nil
	case ns <= math.MinInt64:
		return math.MinInt64, nil
	default:
		return int64(ns), nil
	}
}

func nanoseconds(seconds int64) int64 {
	switch {
	case seconds >= math.MaxInt64/second:
		return math.MaxInt64
	case seconds <= math.MinInt64/second:
		return math.MinInt64
	}
	return seconds * second
}

// later returns the sum of both, which stays within its type.
func later(at, by int64) int64 {
	if sum := at + by; (sum > at) == (by > 0) || by == 0 {
		return sum
	}
	if by > 0 {
		return math.MaxInt64
	}
	return math.MinInt64
}
