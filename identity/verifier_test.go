package identity

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
)

// The times of a token hold to the nanosecond, with the leeway, and so does what is remembered of it.
func TestTimes(t *testing.T) {
	b := newBank(t)
	exp, nbf := at.Add(10*time.Minute), at.Add(5*time.Minute)
	token := b.ec.token(claimsText(map[string]any{"exp": exp.Unix(), "nbf": nbf.Unix()}))
	for _, leeway := range []time.Duration{0, -1, time.Minute} {
		o := bankOptions(b.keys)
		o.Leeway = leeway
		width := leeway
		switch {
		case leeway == 0:
			width = DefaultLeeway
		case leeway < 0:
			width = 0
		}
		for _, cached := range []bool{false, true} {
			o.CacheBytes = -1
			if cached {
				o.CacheBytes = 0
			}
			v := newVerifier(t, o)
			if cached {
				expect(t, v, token, nbf, message.ReasonNone)
			}
			expect(t, v, token, nbf.Add(-width), message.ReasonNone)
			expect(t, v, token, nbf.Add(-width-1), message.TokenNotYetValid)
			expect(t, v, token, exp.Add(width-1), message.ReasonNone)
			expect(t, v, token, exp.Add(width), message.TokenExpired)
			expect(t, v, token, exp.Add(1000*time.Hour), message.TokenExpired)
		}
	}
}

func TestDates(t *testing.T) {
	b := newBank(t)
	for _, test := range []struct {
		exp  string
		want message.Reason
	}{
		{fmt.Sprint(at.Unix()), message.ReasonNone}, // within the leeway
		{fmt.Sprint(at.Unix() - 30), message.TokenExpired},
		{fmt.Sprintf("%d.5", at.Unix()-30), message.ReasonNone},
		{"1.79e9", message.ReasonNone},
		{"1e300", message.ReasonNone},
		{"99999999999999999999", message.ReasonNone},
		{"9223372036854775807", message.ReasonNone},
		{"0", message.TokenExpired},
		{"-1", message.TokenExpired},
		{"-9223372036854775808", message.TokenExpired},
		{"-1e300", message.TokenExpired},
		{"1e400", message.TokenInvalid},
		{`"1890000000"`, message.TokenInvalid},
		{"null", message.TokenInvalid},
		{"true", message.TokenInvalid},
		{"[1890000000]", message.TokenInvalid},
		{"{}", message.TokenInvalid},
		{"01890000000", message.TokenInvalid},
		{"NaN", message.TokenInvalid},
		{"Infinity", message.TokenInvalid},
	} {
		token := b.ec.token(`{"iss":"https://id.bank.example","aud":"bank-api","exp":` + test.exp + `}`)
		t.Run(test.exp, func(t *testing.T) { expect(t, b.verifier, token, at, test.want) })
	}
	for _, name := range []string{"nbf", "iat"} {
		expect(t, b.verifier, b.ec.token(claimsText(map[string]any{name: "now"})), at, message.TokenInvalid)
	}
	for _, name := range []string{"sub", "jti"} {
		expect(t, b.verifier, b.ec.token(claimsText(map[string]any{name: 1})), at, message.TokenInvalid)
	}
}

func TestRequire(t *testing.T) {
	b := newBank(t)
	without := b.ec.token(claimsText(map[string]any{"exp": nil}))
	expect(t, b.verifier, without, at, message.TokenInvalid)
	o := bankOptions(b.keys)
	o.Require = []string{}
	none := newVerifier(t, o)
	expect(t, none, without, at, message.ReasonNone)
	expect(t, none, without, at.Add(100000*time.Hour), message.ReasonNone) // remembered or not, it never expires
	o.Require = []string{"exp", "azp"}
	azp := newVerifier(t, o)
	expect(t, azp, b.ec.token(claimsText(nil)), at, message.TokenInvalid)
	expect(t, azp, b.ec.token(claimsText(map[string]any{"azp": "app"})), at, message.ReasonNone)
	expect(t, azp, b.ec.raw(ES256, `{"alg":"ES256","kid":"e"}`, strings.Replace(claimsText(nil), "{", `{"azp":null,`, 1)), at, message.TokenInvalid)
}

func TestTypesAndIssuers(t *testing.T) {
	b := newBank(t)
	o := VerifierOptions{Keys: b.keys, Types: []string{"at+jwt"}, NeedType: true}
	v := newVerifier(t, o)
	for header, want := range map[string]message.Reason{
		`{"alg":"ES256","kid":"e","typ":"at+jwt"}`: message.ReasonNone,
		`{"alg":"ES256","kid":"e","typ":"JWT"}`:    message.TokenInvalid,
		`{"alg":"ES256","kid":"e"}`:                message.TokenInvalid,
	} {
		expect(t, v, b.ec.raw(ES256, header, claimsText(nil)), at, want)
	}
	// What is not configured is not looked at.
	expect(t, newVerifier(t, VerifierOptions{Keys: b.keys}), b.ec.token(claimsText(map[string]any{"iss": nil, "aud": nil})), at, message.ReasonNone)
	o = bankOptions(b.keys)
	o.Audiences = []string{"a", "b"}
	two := newVerifier(t, o)
	expect(t, two, b.ec.token(claimsText(map[string]any{"aud": "b"})), at, message.ReasonNone)
	expect(t, two, b.ec.token(claimsText(map[string]any{"aud": []string{"x", "a"}})), at, message.ReasonNone)
	expect(t, two, b.ec.token(claimsText(map[string]any{"aud": "c"})), at, message.AudienceWrong)
}

// Claims are what was signed, byte by byte, and their texts without escapes.
func TestClaims(t *testing.T) {
	b := newBank(t)
	payload := ` {"exp" : 1890000000 ,"iss":"https:\/\/id.bank.example","aud":["bank-api"],"sub":"","nick":"a\"\u00e9\ud83d\ude00\n","roles":[ "customer" ],"big":12345678901234567890.10,"o":{"a":null}} `
	id := expect(t, b.verifier, b.ec.token(payload), at, message.ReasonNone)
	if string(id.Raw) != payload {
		t.Errorf("raw %q", id.Raw)
	}
	for _, want := range []struct{ name, text, raw string }{
		{"exp", "<nil>", "1890000000"},
		{"iss", "https://id.bank.example", `"https:\/\/id.bank.example"`},
		{"aud", "<nil>", `["bank-api"]`},
		{"sub", "", `""`},
		{"nick", "a\"é😀\n", `"a\"\u00e9\ud83d\ude00\n"`},
		{"roles", "<nil>", `[ "customer" ]`},
		{"big", "<nil>", "12345678901234567890.10"},
		{"o", "<nil>", `{"a":null}`},
	} {
		c := id.Claim(want.name)
		text := "<nil>"
		if c != nil && c.Text != nil {
			text = string(c.Text)
		}
		if c == nil || text != want.text || string(c.Raw) != want.raw {
			t.Errorf("%s: %+v", want.name, c)
		}
	}
	if len(id.Claims) != 8 || id.Claims[0].Name != "exp" || id.Claims[7].Name != "o" {
		t.Errorf("order %+v", id.Claims)
	}
}

// All requests with a token share one identity, which was completed before anybody saw it.
func TestSharedIdentity(t *testing.T) {
	b := newBank(t)
	attached := 0
	var mu sync.Mutex
	o := bankOptions(b.keys)
	hits, misses := metric.NewCounter(1), metric.NewCounter(1)
	o.Cache = CacheMetrics{Hits: hits, Misses: misses}
	o.Attach = func(id *message.Identity) {
		mu.Lock()
		attached++
		mu.Unlock()
		if string(id.Claim("azp").Text) == "mobile-app" {
			id.Consumer, id.Plan = "app", "standard"
		}
	}
	v := newVerifier(t, o)
	token := b.ec.token(claimsText(map[string]any{"azp": "mobile-app"}))
	if v.Cached(token, at) != nil {
		t.Error("known before it was verified")
	}
	first := expect(t, v, token, at, message.ReasonNone)
	if first.Consumer != "app" || first.Plan != "standard" {
		t.Errorf("consumer %q, plan %q", first.Consumer, first.Plan)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if id, _ := v.Verify(token, at); id != first {
				t.Error("another identity")
			}
		})
	}
	all.Wait()
	if attached != 1 || v.Cached(token, at) != first || hits.Value() != 9 || misses.Value() != 2 {
		t.Errorf("attached %d times, %d hits, %d misses", attached, hits.Value(), misses.Value())
	}
	other := b.ec.token(claimsText(map[string]any{"azp": "mobile-app"})) // ECDSA: the same claims with another signature
	if id := expect(t, v, other, at, message.ReasonNone); id == first {
		t.Error("two tokens with one identity")
	}
	if s := v.Stats(); s.Entries != 2 || s.Bytes < int64(len(token)+len(other)) || s.Bound != defaultCacheBytes {
		t.Errorf("%+v", s)
	}
	// A token that only ends differently is another token.
	if v.Cached(token[:len(token)-1], at) != nil || v.Cached(append(token[:len(token):len(token)], 'A'), at) != nil {
		t.Error("a part of a token is known")
	}
}

// What was refused is looked at anew each time.
func TestRefusalsAreNotRemembered(t *testing.T) {
	b := newBank(t)
	token := b.ec.token(claimsText(map[string]any{"nbf": at.Unix() + 60}))
	expect(t, b.verifier, token, at, message.TokenNotYetValid)
	expect(t, b.verifier, token, at.Add(time.Minute), message.ReasonNone)
	if s := b.verifier.Stats(); s.Entries != 1 {
		t.Errorf("%+v", s)
	}
}
