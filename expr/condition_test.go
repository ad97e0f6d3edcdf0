package expr

import (
	"testing"

	"github.com/sluice-gateway/sluice/message"
)

// simpleConditions are worked out without CEL.
var simpleConditions = []string{
	`"customer" in claims.roles`, `"admin" in claims.roles`, `"nobody" in claims.roles`, `"x" in claims.absent`, `"x" in claims.sub`, `"x" in claims.none`,
	`"city" in claims.address`, `"x" in claims.address`, `"sub" in claims`, `"1.0" in account.body.items`, `"a" in item.tags`, `"a" in failed.body.items`,
	`claims.sub == "7"`, `"7" == claims.sub`, `claims.sub != "7"`, `claims.sub == "8"`, `claims.absent == "x"`, `claims.absent != "x"`, `claims.level == "3"`,
	`claims.level == 3`, `claims.level == 4`, `claims.level != 4`, `claims.amount == 1`, `account.body.items[0].id == 1`, `account.body.items[1].name == "é/"`,
	`claims.sub == 7`, `claims.none == "x"`, `claims.none == 0`, `claims.none == true`, `claims.roles == "x"`, `claims.roles == 1`, `claims.address != 1`,
	`claims.admin`, `claims.admin == true`, `claims.admin == false`, `claims.sub == true`, `claims.absent == true`, `!claims.admin`, `!claims.absent`, `!claims.sub`,
	`request.method == "GET"`, `request.method != "POST"`, `request.method in ["POST", "PUT"]`, `request.method in ["HEAD", "GET"]`, `request.method in []`,
	`request.size == 0`, `client.port == 4711`, `account.status == 200`, `account.status != 404`, `failed.status == 0`, `later.status == 0`, `later.body.x == "y"`,
	`claims.sub in ["7", "8"]`, `claims.level in ["3"]`, `claims.absent in ["3"]`, `claims.none in ["3"]`, `claims.roles in ["a"]`, `version == "v2"`,
	`consumer.plan == "partner" && "customer" in claims.roles`, `claims.absent == "x" || true`, `claims.absent == "x" && false`, `false || claims.absent == "x"`,
	`claims.absent == "x" || claims.sub == "7"`, `!(claims.absent == "x")`, `!(claims.sub == "7") || claims.admin`, `claims.sub && claims.admin`, `claims.admin && claims.sub`,
	`claims.sub || claims.admin`, `true && !false`, `has(claims.sub)`, `has(claims.absent)`, `has(consumer.name)`, `has(request.headers.accept)`, `has(request.headers.absent)`,
	`has(request.query.q)`, `has(request.query.absent)`, `has(request.cookies.late)`, `has(path.id)`, `has(path.absent)`, `has(response.headers.vary)`,
	`!has(claims.absent) && request.headers["x-absent"] == "x"`, `request.headers["x-empty"] == ""`, `request.query.q == "1 2/3"`, `path["id"] == "4 2/%"`,
	`request.headers.host == "shop.example:8443"`, `client.cert.subject == "CN=mobile,O=Bank"`, `client.cert.serial in ["beef"]`, `client.ip == "192.0.2.7"`,
}

// A condition that is worked out without CEL has the value that CEL gives it.
func TestConditionIsCEL(t *testing.T) {
	nobody := exchange()
	nobody.Identity, nobody.Client.Certificates, nobody.Version = nil, nil, ""
	other := exchange()
	other.Identity = identity(`{"sub":7,"roles":{"customer":1},"level":"3","admin":"true","none":[],"absent":"x","address":["city"],"amount":1.0}`)
	for _, src := range simpleConditions {
		p, err := CompileCondition(src, known())
		if err != nil {
			t.Errorf("%s: %v", src, err)
			continue
		}
		if p.op != opCEL && src == `claims.admin` {
			continue // a selector
		}
		if p.cel.simple == nil {
			t.Errorf("%s is not worked out directly", src)
			continue
		}
		q, err := CompileCondition(src, known())
		if err != nil {
			t.Fatal(err)
		}
		q.cel.simple = nil
		for i, x := range []*message.Exchange{exchange(), nobody, other} {
			if a, b := valueOf(t, p, src, x), valueOf(t, q, src, x); a != b {
				t.Errorf("%s of exchange %d: directly it is %s, by CEL %s", src, i, a, b)
			}
			if p.True(x) != q.True(x) {
				t.Errorf("%s of exchange %d: directly it is %v, by CEL %v", src, i, p.True(x), q.True(x))
			}
			a, ok := p.Append(nil, x)
			b, also := q.Append(nil, x)
			if string(a) != string(b) || ok != also {
				t.Errorf("%s of exchange %d: directly its text is %q, by CEL %q", src, i, a, b)
			}
			if _, ok := p.Int(x); ok {
				t.Errorf("%s of exchange %d is a number", src, i)
			}
		}
	}
}

// What only looks like one of them is left to CEL.
func TestNoSimpleCondition(t *testing.T) {
	for _, src := range []string{
		`claims.level > 2`, `claims.sub == path.id`, `claims.roles.exists(path, path == "x")`, `claims.level in [3]`, `request.query["q"] + "x" == "y"`,
		`claims[path.id] == "x"`, `"q" in request.query`, `has(account.body.x)`, `claims.amount == 1.5`, `claims.?admin == optional.of(true)`, `claims.sub == null`,
		`claims.sub.startsWith("7")`, `claims.sub in [path.id]`, `claims.admin ? true : false`,
	} {
		p, err := CompileCondition(src, known())
		if err != nil {
			t.Errorf("%s: %v", src, err)
		} else if p.cel.simple != nil {
			t.Errorf("%s is worked out directly", src)
		}
	}
}

// Two parts of a condition, put together in all ways, have the value that CEL gives them.
func FuzzCondition(f *testing.F) {
	f.Add(uint(0), uint(1), uint(2), "7", `{"sub":"x"}`)
	f.Add(uint(3), uint(9), uint(30), `","a":"`, `{"roles":["customer"],"level":3.0}`)
	f.Fuzz(func(t *testing.T, a, b, how uint, value, claims string) {
		n := uint(len(simpleConditions))
		src := "(" + simpleConditions[a%n] + ")" + []string{" && ", " || ", " && !", " || !"}[how%4] + "(" + simpleConditions[b%n] + ")"
		p, err := CompileCondition(src, known())
		if err != nil {
			t.Fatalf("%s: %v", src, err)
		}
		q, _ := CompileCondition(src, known())
		if p.cel.simple == nil {
			t.Fatalf("%s is not worked out directly", src)
		}
		q.cel.simple = nil
		x := exchange()
		x.Captures[0].Value = []byte(value)
		add(&x.Request.Header, "X-Absent", value)
		if v, err := parseClaims(claims); err == nil {
			x.Identity = identity(string(v))
		}
		if a, b := valueOf(t, p, src, x), valueOf(t, q, src, x); a != b {
			t.Fatalf("%s with %q and %q: directly it is %s, by CEL %s", src, value, claims, a, b)
		}
	})
}
