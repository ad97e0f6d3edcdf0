package identity

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/sluice-gateway/sluice/message"
)

// What the strict reader accepts encoding/json accepts too and reads in the same way, and nothing that is ambiguous is accepted.
func FuzzJSON(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"a":1}`, ` { "a" : [ 1 , "x" , { } ] } `, `{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `{"a":{"b":1,"b":1}}`, `{"a":"\ud83d\ude00"}`, `{"a":"\ud83d"}`,
		`{"a":"\ud83dx"}`, `{"a":-0.1e+5}`, `{"a":01}`, `{"a":1.}`, `{"a":.5}`, `{"a":+1}`, `{"a":1e}`, `{"a":tru}`, `{"a":true,}`, `{,}`, `{"a"}`, `{"a":1}{}`,
		"{\"a\":\"\x00\"}", "{\"a\":\"\xff\"}", `{"a":"\x"}`, `{"a":"\u12"}`, `[1]`, `null`, ``, `{`, `{"`, `{"a":"\`, `{"a":[[[[]]]]}`, `{"":"\/\b\f\n\r\t\"\\"}`,
		strings.Repeat(`{"a":`, 70) + `1` + strings.Repeat(`}`, 70),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		members, err := parseObject(data)
		if err != nil {
			return
		}
		if !utf8.Valid(data) {
			t.Fatalf("accepted what is not UTF-8: %q", data)
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal(data, &want); err != nil {
			t.Fatalf("%q: %v", data, err)
		}
		if len(want) != len(members) {
			t.Fatalf("%q has %d members, and not %d", data, len(want), len(members))
		}
		for _, m := range members {
			if string(want[m.name]) != string(m.raw) {
				t.Fatalf("%q: member %q is %q, and not %q", data, m.name, want[m.name], m.raw)
			}
			var text string
			if isText := m.raw[0] == '"'; isText != (m.text != nil) || isText && (json.Unmarshal(m.raw, &text) != nil || text != string(m.text)) {
				t.Fatalf("%q: the text of %q is %q, and not %q", data, m.name, text, m.text)
			}
		}
	})
}

// Whatever comes as a token, reading it does not panic, and only what was signed is accepted.
func FuzzToken(f *testing.F) {
	e, o := newES256("e"), newEd25519("o")
	secret := bytes.Repeat([]byte("x"), 32)
	options := bankOptions(keysOf(f, setFrom(e, o)))
	options.Secret, options.CacheBytes = secret, 1<<20
	v := newVerifier(f, options)
	signed := map[string]bool{}
	for _, token := range [][]byte{e.token(claimsText(nil)), o.token(claimsText(nil)), hmacToken(secret, `{"alg":"HS256"}`, claimsText(nil)),
		e.token(claimsText(map[string]any{"exp": 1})), e.raw(ES256, `{"alg":"ES256"}`, `{"exp":1e400}`), e.raw(ES256, `{"alg":"ES256","crit":[]}`, `x`)} {
		signed[string(token)] = true
		f.Add(token)
		f.Add(token[:len(token)-1])
	}
	for _, seed := range []string{"", ".", "..", "...", "a.b.c", "e30.e30.AA", "eyJhbGciOiJub25lIn0.e30.", "\x00.\xff.=", "====.e30.e30"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, token []byte) {
		for range 2 { // the second time from what is remembered
			id, refusal := v.Verify(token, at)
			if (id == nil) == (refusal == nil) {
				t.Fatalf("%v and %v", id, refusal)
			}
			if refusal != nil {
				if refusal.Reason == message.ReasonNone || refusal.Reason == message.JWKSUnavailable || refusal.Detail == "" {
					t.Fatalf("%+v", refusal)
				}
				continue
			}
			if !signed[string(token)] {
				t.Fatalf("accepted what nobody has signed: %q", token)
			}
		}
	})
}

// Whatever comes as a key set, reading it does not panic, and all keys of a set can be used.
func FuzzJWKS(f *testing.F) {
	e, o := newES256("e"), newEd25519("o")
	for _, v := range readVectors(f) {
		f.Add([]byte(jwks(string(must(json.Marshal(v.Key))))))
	}
	for _, seed := range []string{setFrom(e, o), setFrom(e, e), `{"keys":[]}`, `{"keys":[{}]}`, `{"keys":[null,1,"x",[]]}`, `{"keys":{"kty":"EC"}}`, `{`, ``,
		jwks(e.public(map[string]any{"key_ops": []any{1, "verify"}})), jwks(e.public(map[string]any{"x": "", "y": ""})), jwks(o.public(map[string]any{"x": "AA"})),
		jwks(`{"kty":"RSA","n":"AA","e":"AQAB"}`), jwks(`{"kty":"RSA","n":"_____w","e":"_____________w"}`)} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		set, left, err := parseJWKS(document)
		if err != nil {
			if set != nil || strings.Contains(err.Error(), "panicked") {
				t.Fatalf("%v with %v", err, set)
			}
			return
		}
		if strings.ContainsAny(left, "\x00") {
			t.Fatalf("a line with a NUL: %q", left)
		}
		for _, k := range set.keys {
			if k.fits == 0 || k.public == nil || k.fits&^fitting(k.public) != 0 {
				t.Fatalf("%+v", k)
			}
			if k.hasID && len(set.byID[k.id]) == 0 {
				t.Fatalf("%q is not found by its kid", k.id)
			}
			for a := RS256; a < algorithmEnd; a++ {
				if a.verify(k.public, []byte("x"), make([]byte, algorithms[a].size)) {
					t.Fatalf("%v accepts a signature of zeros", a)
				}
			}
		}
		if again, _, _ := parseJWKS(document); again.succeed(set) != set {
			t.Fatal("the same document is another set")
		}
	})
}

// Whatever stands in a file with passwords, reading it does not panic, and errors tell nothing of it.
func FuzzUsers(f *testing.F) {
	for _, seed := range []string{
		"a:$2y$04$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuvwxyzabcdefg", "a:" + argonOf("x"), "a:" + sha256Of("x") + "\nb:{SHA256}AAAA", "#\n\n", "a", ":", "a:$argon2id$v=19$m=,t=,p=$$",
		"a:$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$c2VjcmV0c2VjcmV0c2VjcmV0", "a:$2a$", "\x00:\xff", "a:{SHA256}", "a:$2y$31$" + strings.Repeat(".", 53),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		users, err := parseUsers(content)
		if err != nil {
			if users != nil || !strings.HasPrefix(err.Error(), "line ") {
				t.Fatalf("%v with %v", err, users)
			}
			return
		}
		for name, u := range users {
			if name == "" || string(u.identity.Claim("sub").Text) != name || !json.Valid(u.identity.Raw) {
				t.Fatalf("%q: %s", name, u.identity.Raw)
			}
			if h, ok := u.hash.(*argonHash); ok && (h.memory > maxArgonMemory || h.time > maxArgonTime || h.threads == 0) {
				t.Fatalf("%+v", h)
			}
		}
	})
}

// Whatever stands behind Basic, what comes out of it is what was encoded.
func FuzzBasic(f *testing.F) {
	for _, seed := range []string{"QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Og==", "", "=", "Og", "Oh==", "YTpiOmM=", "\r\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		name, password, ok := ParseBasic(text, nil)
		if !ok {
			return
		}
		if again := basicEncoding.EncodeToString([]byte(string(name) + ":" + string(password))); again != string(text) || bytes.IndexByte(name, ':') >= 0 {
			t.Fatalf("%q is %q and %q", text, name, password)
		}
	})
}
