package policy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/message"
)

const (
	noToken  = "WWW-Authenticate: Bearer"
	badToken = `WWW-Authenticate: Bearer error="invalid_token"`
	noKey    = "WWW-Authenticate: ApiKey"
	noName   = `WWW-Authenticate: Basic realm="a \"bank\"", charset="UTF-8"`
)

// TestIdentityPolicies is the table of who passes, and what the others are told: reasons, statuses and challenges.
func TestIdentityPolicies(t *testing.T) {
	dir := users(t)
	past, future := time.Now().Add(-time.Hour).Unix(), time.Now().Add(time.Hour).Unix()
	token := func(claims map[string]any) string { return "Authorization: Bearer " + bearer(claims) }
	good := token(nil)
	for _, c := range []struct {
		list    string
		query   string
		lines   []string
		caller  string
		refusal string
	}{
		{"[sign-in]", "-", nil, "nobody", "401 token_missing; " + noToken},
		{"[sign-in]", "-", []string{good}, "c-7", ""},
		{"[sign-in]", "-", []string{strings.Replace(good, "Bearer", "bEARER", 1)}, "c-7", ""},
		{"[sign-in]", "-", []string{basic("jane", "secret word")}, "nobody", "401 token_missing; " + noToken},
		{"[sign-in]", "-", []string{"Authorization: Bearer"}, "nobody", "401 token_missing; " + noToken},
		{"[sign-in]", "-", []string{"Authorization: Bearer a.b.c"}, "nobody", "401 token_invalid; " + badToken},
		{"[sign-in]", "-", []string{good + "x"}, "nobody", "401 token_invalid; " + badToken},
		{"[sign-in]", "-", []string{"Authorization: Bearer " + strings.Repeat("a", 17<<10)}, "nobody", "401 token_invalid; " + badToken},
		{"[sign-in]", "-", []string{good, good}, "nobody", "401 header_repeated; " + badToken},
		{"[sign-in]", "access_token=" + bearer(nil), nil, "nobody", "401 token_missing; " + noToken}, // only where it is looked for
		{"[sign-in]", "-", []string{token(map[string]any{"exp": past})}, "nobody", "401 token_expired; " + badToken},
		{"[sign-in]", "-", []string{token(map[string]any{"exp": nil})}, "nobody", "401 token_invalid; " + badToken},
		{"[sign-in]", "-", []string{token(map[string]any{"nbf": future})}, "nobody", "401 token_not_yet_valid; " + badToken},
		{"[sign-in]", "-", []string{token(map[string]any{"iss": "https://evil.example"})}, "nobody", "401 issuer_wrong; " + badToken},
		{"[sign-in]", "-", []string{token(map[string]any{"aud": "shop"})}, "nobody", "401 audience_wrong; " + badToken},
		{"[sign-in]", "-", []string{token(map[string]any{"azp": "mobile-app", "level": 2})}, "c-7 mobile standard", ""},
		{"[sign-in]", "-", []string{token(map[string]any{"azp": "mobile-app", "level": "2"})}, "c-7 mobile standard", ""},
		{"[sign-in]", "-", []string{token(map[string]any{"azp": "mobile-app", "level": 3})}, "c-7", ""}, // all claims have to fit
		{"[sign-in]", "-", []string{token(map[string]any{"azp": "mobile-app"})}, "c-7", ""},
		{"[sign-in]", "-", []string{token(map[string]any{"aud": []string{`"shop"`, `"other-api"`}})}, "nobody", "401 token_invalid; " + badToken}, // broken JSON
		{"[sign-in]", "-", []string{token(map[string]any{"aud": rawJSON(`["shop","other-api"]`)})}, "c-7 lists", ""},
		{"[sign-in]", "-", []string{token(map[string]any{"sub": "jane"})}, "jane", ""}, // the name of a consumer in a token makes nobody a consumer

		{"[partner-key]", "-", nil, "nobody", "401 api_key_missing; " + noKey},
		{"[partner-key]", "-", []string{"X-API-Key: "}, "nobody", "401 api_key_missing; " + noKey},
		{"[partner-key]", "-", []string{"X-API-Key: wrong"}, "nobody", "401 api_key_unknown; " + noKey},
		{"[partner-key]", "-", []string{"x-api-key: " + testKey}, "- budget-app partner", ""},
		{"[partner-key]", "-", []string{"X-API-Key: " + testKey, "X-API-Key: wrong"}, "nobody", "401 header_repeated; " + noKey},
		{"[partner-key]", "a=1&api_key=" + testKey, nil, "- budget-app partner", ""},
		{"[partner-key]", "api%5Fkey=demo%2Dpartner%2Dkey", nil, "- budget-app partner", ""},
		{"[partner-key]", "api_key=wrong&api_key=" + testKey, nil, "nobody", "401 header_repeated; " + noKey},
		{"[partner-key]", "-", []string{"Cookie: a=b; key=" + testKey}, "- budget-app partner", ""},
		{"[partner-key]", "-", []string{"Cookie: key=" + testKey + "; key=wrong"}, "nobody", "401 header_repeated; " + noKey},
		{"[partner-key]", "api_key=" + testKey, []string{"X-API-Key: wrong"}, "nobody", "401 api_key_unknown; " + noKey}, // the first place counts
		{"[partner-key]", "-", []string{"Authorization: Bearer " + testKey}, "nobody", "401 api_key_missing; " + noKey},

		{"[staff]", "-", nil, "nobody", "401 credentials_missing; " + noName},
		{"[staff]", "-", []string{good}, "nobody", "401 credentials_missing; " + noName},
		{"[staff]", "-", []string{basic("jane", "secret word")}, "jane jane standard", ""},
		{"[staff]", "-", []string{basic("jane", "secret")}, "nobody", "401 credentials_wrong; " + noName},
		{"[staff]", "-", []string{basic("joe", "secret word")}, "nobody", "401 credentials_wrong; " + noName},
		{"[staff]", "-", []string{"Authorization: Basic !!"}, "nobody", "401 credentials_wrong; " + noName},
		{"[staff]", "-", []string{basic("jane", "secret word"), good}, "nobody", "401 header_repeated; " + noName},

		// any_of: whom one of them recognises; the challenges of all, the one that was tried with its own words.
		{"[either]", "-", nil, "nobody", "401 credentials_missing; " + noToken + ", ApiKey"},
		{"[either]", "-", []string{good}, "c-7", ""},
		{"[either]", "-", []string{"X-API-Key: " + testKey}, "- budget-app partner", ""},
		{"[either]", "-", []string{"Authorization: Bearer a.b.c", "X-API-Key: " + testKey}, "- budget-app partner", ""},
		{"[either]", "-", []string{good, "X-API-Key: " + testKey}, "c-7", ""},
		{"[either]", "-", []string{"Authorization: Bearer a.b.c"}, "nobody", "401 token_invalid; " + badToken + ", ApiKey"},
		{"[either]", "-", []string{"X-API-Key: wrong"}, "nobody", "401 api_key_unknown; " + noToken + ", ApiKey"},
		{"[either]", "-", []string{"Authorization: Bearer a.b.c", "X-API-Key: wrong"}, "nobody", "401 token_invalid; " + badToken + ", ApiKey"},
		{"[either]", "-", []string{good, good, "X-API-Key: " + testKey}, "nobody", "401 header_repeated; " + badToken + ", ApiKey"},
		{"[three]", "-", []string{basic("jane", "secret word")}, "jane jane standard", ""},
		{"[three]", "-", []string{basic("jane", "wrong")}, "nobody", "401 credentials_wrong; " + noToken + ", ApiKey, " + strings.TrimPrefix(noName, "WWW-Authenticate: ")},
	} {
		p := newServed(t)
		x, f := try(guard(t, p, identities(dir, c.list)), c.query, c.lines...)
		if got := caller(x); got != c.caller || refusal(f) != c.refusal {
			t.Errorf("%s with %q and %.60q:\n%s, %q; want\n%s, %q", c.list, c.query, c.lines, got, refusal(f), c.caller, c.refusal)
		}
		if f != nil && (f.Stage != message.StageRoute || f.Side != message.SideClient || f.Err == nil) {
			t.Errorf("%s: side %q, stage %q, error %v", c.list, f.Side, f.Stage, f.Err)
		}
		if f != nil {
			for _, secret := range []string{testKey, testSecret, "secret word", "a.b.c", bearer(nil)[:30]} {
				if strings.Contains(f.Error(), secret) {
					t.Errorf("%s: the log is told %q", c.list, f.Error())
				}
			}
		}
	}
}

// rawJSON is a claim that stands in the token as it is.
type rawJSON string

// What travels on to the backend: credentials do, API keys do not, whichever policy has let the caller pass.
func TestCredentialsOnTheirWay(t *testing.T) {
	dir := users(t)
	good := "Authorization: Bearer " + bearer(nil)
	forwarding := strings.Replace(identities(dir, "[partner-key]"), "cookie: key}", "cookie: key, forward: true}", 1)
	authorization := strings.Replace(identities(dir, "[partner-key]"), "header: X-API-Key, query", "header: [Authorization, X-Key], query", 1)
	for _, c := range []struct {
		text, query string
		lines       []string
		want        string // query, and lines
	}{
		{identities(dir, "[sign-in]"), "-", []string{good, "X-API-Key: " + testKey}, "-\n" + good + "\nX-API-Key: " + testKey},
		{identities(dir, "[partner-key]"), "a=1&api_key=x&b=2&api%5fkey=y", []string{good, "X-API-Key: " + testKey, "Cookie: a=b; key=z;c=d; ;e", "Other: 1"},
			"a=1&b=2\n" + good + "\nCookie: a=b; c=d; e\nOther: 1"},
		{identities(dir, "[partner-key]"), "api_key=" + testKey, nil, "-\n"},
		{identities(dir, "[partner-key]"), "-", []string{"Cookie: key=" + testKey}, "-\n"},
		{identities(dir, "[partner-key]"), "", []string{"Cookie: x=y; keys=1; key =" + testKey + "; Key=2", "X-API-Key: " + testKey}, "\nCookie: x=y; keys=1; key =" + testKey + "; Key=2"},
		{forwarding, "api_key=x", []string{"X-API-Key: " + testKey, "Cookie: key=z"}, "api_key=x\nX-API-Key: " + testKey + "\nCookie: key=z"},
		{authorization, "-", []string{"Authorization: " + testKey, "X-Key: other"}, "-\n"},
		// The one who has passed with a token may have shown a key, too.
		{identities(dir, "[either]"), "a=1&api_key=x", []string{good, "X-API-Key: " + testKey, "Cookie: key=z"}, "a=1\n" + good},
		{identities(dir, "[either]"), "-", []string{"X-API-Key: " + testKey}, "-\n"},
	} {
		x, f := try(guard(t, newServed(t), c.text), c.query, c.lines...)
		if f != nil {
			t.Errorf("%q %q: %v", c.query, c.lines, f)
			continue
		}
		if got := text(x.Request.Query) + "\n" + dump(&x.Request.Header); got != c.want {
			t.Errorf("%q %q: the backend gets\n%s\nwant\n%s", c.query, c.lines, got, c.want)
		}
	}
}

func TestIdentityIsCounted(t *testing.T) {
	p := newServed(t)
	c := guard(t, p, identities(users(t), "[either]"))
	try(c, "-")
	try(c, "-", "X-API-Key: wrong")
	try(c, "-", "X-API-Key: "+testKey)
	try(c, "-", "Authorization: Bearer "+bearer(nil))
	try(c, "-", "Authorization: Bearer "+bearer(nil))
	alone := guard(t, p, identities(users(t), "[sign-in]"))
	try(alone, "-")
	for policy, want := range map[string]string{
		"either": "0 passed, 2 refused", "partner-key": "1 passed, 0 refused", "sign-in": "2 passed, 1 refused",
	} {
		if got := p.counted(policy); got != want {
			t.Errorf("%s: %s, want %s", policy, got, want)
		}
	}
}

// What was verified stays over a reload that changes nothing of it.
func TestVerifiedTokensStay(t *testing.T) {
	dir, p := users(t), newServed(t)
	first := guard(t, p, identities(dir, "[sign-in]"))
	x, _ := try(first, "-", "Authorization: Bearer "+bearer(nil))
	again := guard(t, p, strings.Replace(identities(dir, "[sign-in, either]"), testHash, "sha256:"+strings.Repeat("0", 64), 1))
	if y, f := try(again, "-", "Authorization: Bearer "+bearer(nil)); f != nil || y.Identity != x.Identity {
		t.Errorf("after a reload the token was verified anew: %v", f)
	}
	for _, change := range [][2]string{{"bank-api, other-api", "bank-api"}, {"plan: standard, claims", "plan: partner, claims"}, {testSecret, testSecret + "x"}} {
		opened := p.opened
		next := guard(t, p, strings.Replace(identities(dir, "[sign-in]"), change[0], change[1], 1))
		if y, _ := try(next, "-", "Authorization: Bearer "+bearer(nil)); y.Identity == x.Identity {
			t.Errorf("with %q the old token is still believed", change[1])
		}
		if p.opened != opened+1 {
			t.Errorf("with %q %d things were opened, want a new verifier", change[1], p.opened-opened)
		}
	}
}

func TestRequireNothing(t *testing.T) {
	text := strings.Replace(identities(users(t), "[sign-in]"), "audience: [bank-api, other-api]", "require: [], from: {header: X-Token, scheme: ''}", 1)
	if _, f := try(guard(t, newServed(t), text), "-", "X-Token: "+bearer(map[string]any{"exp": nil, "aud": nil})); f != nil {
		t.Error(f)
	}
	if _, f := try(guard(t, newServed(t), text), "-"); refusal(f) != "401 token_missing; "+noToken {
		t.Error(refusal(f))
	}
}

// The time of day may jump: what counts is the clock as it is, not as it was at the start.
func TestWallClock(t *testing.T) {
	var c wallClock
	now := message.Now()
	if d := time.Since(c.at(now)).Abs(); d > time.Minute {
		t.Errorf("the clock is off by %v", d)
	}
	c.offset.Add(int64(time.Hour)) // as if the machine's clock had been wrong until now
	if d := c.at(now + 1).Sub(c.at(now)); d != 1 {
		t.Errorf("within a second the clock is read again: %v", d)
	}
	if d := time.Since(c.at(now + int64(time.Second))).Abs(); d > time.Minute {
		t.Errorf("a second later the clock is still off by %v", d)
	}
}

func TestIdentityOptions(t *testing.T) {
	dir := users(t)
	broken := filepath.Join(dir, "broken")
	if err := os.WriteFile(broken, []byte("no such thing"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ policy, want string }{
		{`{jwt: {issuer: a}}`, "there are no keys to verify tokens with"},
		{`{jwt: {jwks: {}}}`, "neither a file nor a url"},
		{`{jwt: {jwks: {file: a, url: "https://a/b"}}}`, "a file and a url"},
		{`{jwt: {jwks: "ftp://a/b"}}`, "no address of HTTP"},
		{`{jwt: {jwks: "https:///b"}}`, "no address of HTTP"},
		{`{jwt: {jwks: "https://me:secret@a/b"}}`, "a password in it"},
		{`{jwt: {jwks: {file: ` + broken + `}}}`, "broken"},
		{`{jwt: {jwks: {file: ` + dir + `/none}}}`, "no such file"},
		{`{jwt: {jwks: "https://a/b", algorithms: HS256}}`, "HS256 needs a secret"},
		{`{jwt: {secret: short}}`, "the secret has 5 bytes"},
		{`{jwt: {secret: short, jwks: "https://a/b"}}`, "the secret has 5 bytes"},
		{`{jwt: {secret: ` + testSecret + `, jwks: "https://a/b", algorithms: RS256}}`, "the secret is not used"},
		{`{jwt: {secret: ` + testSecret + `, algorithms: RS256}}`, "RS256 needs keys"},
		{`{jwt: {secret: ` + testSecret + `, algorithms: none}}`, "none"},
		{`{api_key: {query: ""}}`, "the name of the parameter is empty"},
		{`{api_key: {header: "a b"}}`, "a b"},
		{`{basic_auth: {}}`, `"file" is missing`},
		{`{basic_auth: ` + broken + `}`, "broken"},
		{`{mtls: ` + broken + `}`, "broken"},
		{`{any_of: [sign-in]}`, "at least 2"},
		{`{any_of: [sign-in, nothing]}`, "unknown policy"},
		{`{any_of: [sign-in, either]}`, `"either" is no identity policy`},
		{`{any_of: [sign-in, edit]}`, `"edit" is no identity policy`},
		{`{forward_auth: {}}`, `"url" is missing`},
		{`{forward_auth: "https://"}`, "no address of HTTP"},
		{`{forward_auth: "unix:/run/auth"}`, "no address of HTTP"},
		{`{forward_auth: "http://me:secret@a/"}`, "a name and a password"},
		{`{forward_auth: "http://a/#b"}`, "a fragment"},
		{`{forward_auth: {url: "http://a/", method: PUT}}`, "PUT"},
		{`{forward_auth: {url: "http://a/", headers: X-Consumer}}`, "X-Consumer tells of the consumers"},
		{`{forward_auth: {url: "http://a/", headers: x_consumer}}`, "x_consumer"},
		{`{forward_auth: {url: "http://a/", headers: Content-Length}}`, "belongs to the connection"},
		{`{forward_auth: {url: "http://a/", headers: X-Forwarded-For}}`, "always written by the gateway"},
		{`{forward_auth: {url: "http://a/", request_headers: X_Forwarded_For}}`, "written by the gateway itself"},
		{`{forward_auth: {url: "http://a/", request_headers: [Accept, X-Consumer]}}`, "written by the gateway itself"},
		{`{forward_auth: {url: "http://a/", timeout: 0s}}`, "timeout"},
	} {
		text := strings.Replace(identities(dir, "["+c.policy+"]"), "policies:\n", "policies:\n  edit: {request: {headers: {remove: [A]}}}\n", 1)
		cfg, err := config.Load("test.yaml", []byte(text), config.Options{Kinds: Kinds()})
		if err == nil {
			_, _, err = compiled(cfg, nil)
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.policy, err, c.want)
		}
		for _, line := range at(err) { // the line of the file is shown besides, as it is written there
			if strings.Contains(line, testSecret) {
				t.Errorf("%s: the error shows the secret: %v", c.policy, line)
			}
		}
	}
}

// A check finds what serving would, without keeping anything.
func TestIdentityIsChecked(t *testing.T) {
	for _, list := range []string{"[sign-in]", "[partner-key]", "[staff]", "[asked]", "[either]", "[ask-or-key]", `[{jwt: {jwks: "https://127.0.0.1:1/keys"}}]`} {
		cfg, err := config.Load("test.yaml", []byte(identities(users(t), list)), config.Options{Kinds: Kinds()})
		if err != nil {
			t.Fatal(err)
		}
		if built, warnings, err := compiled(cfg, nil); err != nil || built.Len() != 1 || len(warnings) != 0 {
			t.Errorf("%s: %d policies, %v, %v", list, built.Len(), warnings, err)
		}
	}
	text := strings.Replace(identities(users(t), "[partner-key]"), ", api_keys: \""+testHash+"\"", "", 1)
	cfg, err := config.Load("test.yaml", []byte(text), config.Options{Kinds: Kinds()})
	if err != nil {
		t.Fatal(err)
	}
	if _, warnings, _ := compiled(cfg, nil); len(warnings) != 1 || !strings.Contains(warnings.Error(), "no consumer has api_keys") {
		t.Errorf("warnings: %v", warnings)
	}
	if got := SecretParameters(cfg); len(got) != 1 || got[0] != "api_key" {
		t.Errorf("secret parameters: %q", got)
	}
}
