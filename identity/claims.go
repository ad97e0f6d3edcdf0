package identity

import (
	"bytes"
	"math"

	"github.com/sluice-gateway/sluice/message"
)

// claims are those of a token whose signature is right.
type claims struct {
	list      []message.Claim
	issuer    []byte // nil without one
	audiences [][]byte
	expires   int64 // nanoseconds of Unix time; forever without exp
	begins    int64 // the same of nbf; math.MinInt64 without
}

// parseClaims reads the payload. The registered claims (RFC 7519 section 4.1) must have the types that they should.
func parseClaims(payload []byte) (*claims, *Refusal) {
	members, err := parseObject(payload)
	if err != nil {
		return nil, invalid("its payload: " + err.Error())
	}
	c := &claims{list: make([]message.Claim, len(members)), expires: forever, begins: math.MinInt64}
	for i, m := range members {
		c.list[i] = message.Claim{Name: m.name, Text: m.text, Raw: m.raw}
		var problem error
		switch m.name {
		case "iss":
			c.issuer = m.text
			problem = needText(&m)
		case "sub", "jti":
			problem = needText(&m)
		case "aud":
			c.audiences, problem = parseAudiences(&m)
		case "exp":
			c.expires, problem = parseDate(m.raw)
		case "nbf":
			c.begins, problem = parseDate(m.raw)
		case "iat":
			_, problem = parseDate(m.raw)
		}
		if problem != nil {
			return nil, invalid("its claim " + m.name + ": " + problem.Error())
		}
	}
	return c, nil
}

func needText(m *member) error {
	if m.text == nil {
		return errNoText
	}
	return nil
}

// parseAudiences reads aud, which is a string or a list of them.
func parseAudiences(m *member) ([][]byte, error) {
	if m.text != nil {
		return [][]byte{m.text}, nil
	}
	list, err := parseArray(m.raw)
	if err != nil {
		return nil, errNoTexts
	}
	for i, raw := range list {
		text, ok := parseText(raw)
		if !ok {
			return nil, errNoTexts
		}
		list[i] = text
	}
	return list, nil
}

// judge reports why the claims are not accepted now, or nil.
func (v *Verifier) judge(c *claims, now int64) *Refusal {
	o := &v.options
	for _, name := range o.Require {
		if !c.has(name) {
			return invalid("it lacks the claim " + name)
		}
	}
	from, until := c.span(int64(o.Leeway))
	switch {
	case o.Issuer != "" && string(c.issuer) != o.Issuer:
		return refusedIssuer
	case len(o.Audiences) > 0 && !c.isFor(o.Audiences):
		return refusedAudience
	case now >= until:
		return refusedExpired
	case now < from:
		return refusedEarly
	}
	return nil
}

// span returns the time in which the claims are good: from is in it, until is not (RFC 7519 section 4.1.4).
func (c *claims) span(leeway int64) (from, until int64) {
	return later(c.begins, -leeway), later(c.expires, leeway)
}

func (c *claims) has(name string) bool {
	for i := range c.list {
		if c.list[i].Name == name {
			return !bytes.Equal(c.list[i].Raw, []byte("null"))
		}
	}
	return false
}

func (c *claims) isFor(audiences []string) bool {
	for _, has := range c.audiences {
		for _, want := range audiences {
			if string(has) == want {
				return true
			}
		}
	}
	return false
}
