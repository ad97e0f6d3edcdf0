package upstream

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"

	"github.com/sluice-gateway/sluice/expr"
	"github.com/sluice-gateway/sluice/message"
)

// tokenBytes is how much of a signature a session token is: 144 bits, 24 characters.
const tokenBytes = 18

// session keeps clients at their endpoints by a cookie. The cookie's value is the endpoint's token: a signature of its address, which nobody can
// make or read without the secret, and which is the same for as long as secret, backend and address are. So there is no table of
// sessions: whoever has the secret knows every client.
type session struct {
	name   string
	cookie *expr.Program // reads the cookie from a request
	secret []byte
	prefix string // backend, for the signature
}

// newSession returns nil if o is.
func newSession(o *SessionOptions, backend string) *session {
	if o == nil {
		return nil
	}
	cookie, err := expr.Compile(`request.cookies["`+o.Cookie+`"]`, expr.Env{})
	if err != nil {
		return nil // a cookie's name is a token, and every token can stand in quotes
	}
	return &session{name: o.Cookie, cookie: cookie, secret: o.Secret, prefix: backend}
}

// token returns the value of the cookie for an endpoint.
func (s *session) token(address string) string {
	mac := hmac.New(sha256.New, s.secret)
	mac.Write([]byte("session endpoint\x00" + s.prefix + "\x00" + address))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:tokenBytes])
}

// tokens returns the slots of endpoints by their tokens, and the tokens by their slots.
func (s *session) tokens(slots []*Endpoint) (map[string]int, []string) {
	if s == nil {
		return nil, nil
	}
	all, values := make(map[string]int, len(slots)), make([]string, len(slots))
	for slot, ep := range slots {
		if ep != nil {
			values[slot] = s.token(ep.address)
			all[values[slot]] = slot
		}
	}
	return all, values
}

// slotOf returns the slot that the client's cookie names, or -1. The look-up's time tells a client at most what it knows: a token cannot be
// found out byte by byte, because a map does not compare from left to right.
func (s *session) slotOf(c *choice, x *message.Exchange) int {
	value, ok := s.cookie.Append(x.Scratch(), x)
	if !ok {
		return -1
	}
	if slot, ok := c.tokens[string(value)]; ok {
		return slot
	}
	return -1
}

// attributes of the cookie; a client that came by TLS sends it back by TLS only.
const (
	attributes       = "; Path=/; HttpOnly; SameSite=Lax"
	secureAttributes = attributes + "; Secure"
)

// answer sets the cookie, unless the client's own names the slot that has answered.
func (s *session) answer(x *message.Exchange, c *choice, slot, own int) {
	if slot == own {
		return
	}
	value := append(x.Scratch(), s.name...)
	value = append(append(value, '='), c.values[slot]...)
	if x.Request.Scheme == "https" {
		value = append(value, secureAttributes...)
	} else {
		value = append(value, attributes...)
	}
	x.Response.Header.Add(setCookie, x.KeepScratch(value))
}

// setCookie is read-only.
var setCookie = message.SetCookie.Name()
