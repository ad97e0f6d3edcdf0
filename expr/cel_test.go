package expr

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/document"
	"github.com/sluice-gateway/sluice/message"
)

// noValue is what a test wants where an expression has no value, refusedValue where it must not be replaced by null.
const (
	noValue      = "missing"
	refusedValue = "refused"
)

// evaluate returns the value of an expression as JSON.
func evaluate(t testing.TB, src string, x *message.Exchange) string {
	t.Helper()
	p, err := Compile(src, known())
	if err != nil {
		t.Errorf("%s: error at %d: %v", src, err.Offset, err)
		return ""
	}
	return valueOf(t, p, src, x)
}

func valueOf(t testing.TB, p *Program, src string, x *message.Exchange) string {
	t.Helper()
	out, how := p.appendJSON([]byte("x"), x)
	if how != found {
		if string(out) != "x" {
			t.Errorf("%s: without a value it appended %q", src, out)
		}
		return [...]string{missing: noValue, refused: refusedValue}[how]
	}
	if !json.Valid(out[1:]) {
		t.Errorf("%s gives %s, which is no JSON", src, out[1:])
	}
	return string(out[1:])
}

func TestCEL(t *testing.T) {
	const items = `[ {"id": 1.0, "price": 9.90}, {"id": 2, "price": 100, "name": "\u00e9\/"} ]`
	for _, c := range []struct{ src, want string }{
		// Conditions.
		{`request.path == "/a/b%20c"`, `true`},
		{`request.method in ["GET", "HEAD"] && client.port > 1024`, `true`},
		{`"customer" in claims.roles`, `true`},
		{`"admin" in claims.roles`, `true`}, // with an escape in the token
		{`"nobody" in claims.roles`, `false`},
		{`"x" in claims.absent`, noValue},
		{`"x" in claims.absent || true`, `true`}, // as CEL has it
		{`claims.absent == "x" && false`, `false`},
		{`claims.level >= 3`, `true`},
		{`claims.level in [1, 2, 3]`, `true`},
		{`claims.level in [1, 2]`, `false`},
		{`claims.sub in ["7"]`, `true`},
		{`claims.admin && version == "v2"`, `true`},
		{`claims.admin ? "yes" : "no"`, `"yes"`},
		{`claims.roles.exists(r, r.startsWith("cust"))`, `true`},
		{`claims.roles.all(r, r in ["customer", "admin"])`, `true`},
		{`sets.contains(claims.roles, ["admin"])`, `true`},
		{`sets.intersects(claims.roles, ["x", "admin"])`, `true`},
		{`sets.equivalent(claims.roles, ["admin", "customer", "admin"])`, `true`},
		{`request.path.matches("^/a/")`, `true`},
		{`request.headers["accept"].contains("html")`, `true`},
		{`has(claims.sub) && !has(claims.absent)`, `true`},
		{`has(consumer.name) && has(client.cert) && has(account.body.id) && !has(account.body.x)`, `true`},
		{`"id" in path && !("x" in path)`, `true`},
		{`"HOST" in request.headers`, `true`},
		{`type(claims.level) == int && type(claims.amount) == double && type(claims.sub) == string && type(claims.roles) == list`, `true`},
		{`client.cert.san.exists(n, n == "mobile.example")`, `true`},
		{`request.query_all["q"].size() == 2`, `true`},
		{`request.headers.all(name, name == name.lowerAscii())`, `true`},

		// Texts.
		{`claims.sub + "-" + consumer.name`, `"7-budget-app"`},
		{`"a" + 'b'`, `"ab"`},
		{`["a", claims.sub].join("-")`, `"a-7"`},
		{`"%s is %d".format([claims.sub, claims.level])`, `"7 is 3"`},
		{`"a,b".split(",")`, `["a","b"]`},
		{`{"7": "x"}[claims.sub]`, `"x"`},
		{`request.headers["x-absent"]`, noValue},
		{`request.headers[claims.sub == "7" ? "accept" : "x"]`, `"text/html, */*"`},
		{`request.cookies["late"] + path["none"]`, `"4"`},
		{`"größe".indexOf("e")`, `4`},
		{`"größe".indexOf("x")`, `-1`},
		{`"abcabc".indexOf("c", 3)`, `5`},
		{`"größengröße".lastIndexOf("ö")`, `8`},
		{`"abcabc".lastIndexOf("c", 4)`, `2`},
		{`"a.b.c".replace(".", "-")`, `"a-b-c"`},
		{`"a.b.c".replace(".", "-", 1)`, `"a-b.c"`},
		{`base64.encode(b"abc")`, `"YWJj"`},
		{`"\u00fc\x41"`, `"üA"`}, // escapes that only CEL has

		// Numbers of documents keep their text when they are passed on.
		{`true ? claims.amount : 0`, `1.50`},
		{`[claims.amount, 1]`, `[1.50,1]`},
		{`[claims.amount][0]`, `1.50`},
		{`{"amount": claims.amount}.amount`, `1.50`},
		{`dyn(claims.amount)`, `1.50`},
		{`cel.bind(a, claims.amount, [a, a])`, `[1.50,1.50]`},
		{`claims.?amount.orValue(0)`, `1.50`},
		{`optional.of(claims.amount).value()`, `1.50`},
		{`account.body.items.map(i, i.price)`, `[9.90,100]`},
		{`account.body.items.map(i, i.id)[0]`, `1.0`},
		{`account.body.amounts.filter(a, a > 2)`, `[3,2.50,3.0]`},
		{`account.body.amounts.sort()`, `[1.5,2.50,3,3.0]`},
		{`account.body.amounts.reverse()`, `[3.0,2.50,1.5,3]`},
		{`account.body.amounts.distinct()`, `[3,1.5,2.50]`},
		{`account.body.amounts.slice(1, 3)`, `[1.5,2.50]`},
		{`account.body.amounts.first().value()`, `3`},
		{`[account.body.amounts, [0]].flatten()`, `[3,1.5,2.50,3.0,0]`},
		{`account.body.amounts + [claims.amount]`, `[3,1.5,2.50,3.0,1.50]`},
		{`[claims.amount] + account.body.amounts`, `[1.50,3,1.5,2.50,3.0]`},
		{`account.body.items.sortBy(i, -i.price).map(i, i.price)`, `[100,9.90]`},
		{`claims.transformMap(k, v, k in ["level", "amount"], v)`, `{"amount":1.50,"level":3}`},
		{`account.body.amounts.transformList(i, v, i < 2, v)`, `[3,1.5]`},
		{`true ? account.body.big : 0`, `123456789012345678901234567890`},
		{`[account.body.exp, account.body.tiny]`, `[1.20e+2,0.10]`},
		{`string(claims.amount)`, `"1.50"`},
		{`string(account.body.big)`, `"123456789012345678901234567890"`},
		{`account.body.items.map(i, string(i.price)).join("|")`, `"9.90|100"`},

		// And they are numbers: on either side, whole or not.
		{`claims.level + 1`, `4`},
		{`1 + claims.level`, `4`},
		{`claims.amount * 2`, `3`},
		{`2 * claims.amount`, `3`},
		{`claims.amount + claims.level`, `4.5`},
		{`account.body.count / 2`, `1.5`},
		{`account.body.count % 2`, `1`},
		{`6 / account.body.count`, `2`},
		{`-claims.amount`, `-1.5`},
		{`account.body.balance - 0.5 == 10.0`, `true`},
		{`account.body.exp == 120 && 120 == account.body.exp && 120.0 == account.body.exp`, `true`},
		{`account.body.items[0].id == 1 && 1 in [account.body.items[0].id]`, `true`},
		{`account.body.amounts == [3, 1.5, 2.5, 3]`, `true`},
		{`[3, 1.5, 2.5, 3] == account.body.amounts`, `true`},
		{`{"a": claims.amount} == {"a": 1.5} && {"a": 1.5} == {"a": claims.amount}`, `true`},
		{`account.body.big > 123456789012345678901234567889.0 || account.body.big == account.body.big`, `true`},
		{`claims.big == claims.big && claims.big != account.body.big && claims.big < account.body.big`, `true`},
		{`1 < claims.amount && claims.amount < 2 && claims.amount <= 1.5 && 1.5 >= claims.amount`, `true`},
		{`math.greatest(account.body.amounts)`, `3`},
		{`math.ceil(account.body.count) + math.round(account.body.balance)`, `14`},
		{`int(account.body.balance)`, `10`},
		{`double(account.body.count) + 0.5`, `3.5`},
		{`lists.range(claims.level)`, `[0,1,2]`},
		{`["a", "b", "c", "d"][claims.level]`, `"d"`},
		{`account.body.items[claims.level - 2].id`, `2`},
		{`"abcd".substring(claims.level)`, `"d"`},
		{`{claims.level: "three"}[3]`, `"three"`},
		{`{3: "three"}[claims.level]`, `"three"`},
		{`item.id + 1`, `8`},
		{`account.status + failed.status`, `200`},
		{`1.0 / 3.0 > 0.3`, `true`},
		{`1e300 * 1e300`, noValue}, // JSON has no infinity
		{`1 / 0`, noValue},
		{`claims.sub + 1`, noValue},

		// Documents are passed on byte for byte; maps keep the order in which they are written.
		{`true ? account.body : null`, accountBody},
		{`{"b": account.body.items, "a": claims.amount}`, `{"b":` + items + `,"a":1.50}`},
		{`{"z": 1, "y": {"x": [], "w": {}}}`, `{"z":1,"y":{"x":[],"w":{}}}`},
		{`account.body.items.filter(i, i.price > 10)`, `[{"id": 2, "price": 100, "name": "\u00e9\/"}]`},
		{`[account.body.items[1].name]`, `["\u00e9\/"]`},
		{`account.body.items[1].name + "!"`, `"é/!"`},
		{`[claims.none, null, claims.admin]`, `[null,null,true]`},
		{`[request.headers, account.headers][1]`, `{"content-type":"application/json","x-total":"2, 3"}`},
		{`[request.query_all][0]["q"]`, `["1 2/3","second"]`},
		{`timestamp("2026-01-02T03:04:05Z")`, `"2026-01-02T03:04:05Z"`},
		{`b"abc"`, `"YWJj"`},
		{`type(1)`, noValue},

		// Steps.
		{`failed.body == null && failed.body.items == null && failed.body.items[0] == null && !has(failed.body.items)`, `true`},
		{`failed.body.items.map(i, i.x)`, noValue},
		{`true ? failed.body.items : 1`, `null`},
		{`later.body.x == 1`, noValue},
		{`later.status == 0`, noValue},
		{`rows.body.map(e, e.n)`, `[2,10]`},
		{`rows.headers == {}`, `true`},
		{`account.status == 200 ? account.body.id : "none"`, `"a\/1"`[:0] + `"a/1"`},

		// Merges.
		{`merge.deep({"a": {"x": 1}}, {"a": {"y": claims.amount}})`, `{"a":{"x":1,"y":1.50}}`},
		{`merge.first({"a": 1}, {"a": 2, "b": 3})`, `{"a":1,"b":3}`},
		{`merge.last({"a": 1}, {"a": 2, "b": 3})`, `{"a":2,"b":3}`},
		{`merge.error({"a": 1}, {"b": 3})`, `{"a":1,"b":3}`},
		{`merge.error({"a": 1}, {"a": 3})`, refusedValue},
		{`merge.deep(account.body, failed.body)`, accountBody},
		{`merge.deep(item, {"id": 8}).id`, `8`},
		{`concat(rows.body, failed.body, item.tags)`, `[{"id":"x","n":2},{"id":"y","n":10},"a", "b"]`},
		{`concat(item.tags, account.body.count)`, noValue},
	} {
		if got := evaluate(t, c.src, exchange()); got != c.want {
			t.Errorf("%s = %s, want %s", c.src, got, c.want)
		}
	}
}

func TestCELText(t *testing.T) {
	for _, c := range []struct{ src, want string }{
		{`claims.level + 1`, "4"},
		{`claims.amount * 3`, "4.5"},
		{`true ? claims.amount : 1`, "1.50"},
		{`1 == 1`, "true"},
		{`claims.sub + "!"`, "7!"},
		{`[1]`, noValue},
		{`{}`, noValue},
		{`b"a"`, noValue},
		{`true ? null : claims.sub`, noValue},
		{`claims.?absent`, noValue},
		{`claims.?sub`, "7"},
		{`duration("90s")`, "90s"},
		{`1e30 * 10.0`, "1e+31"},
		{`2u + 1u`, "3"},
	} {
		p, err := Compile(c.src, known())
		if err != nil {
			t.Errorf("%s: %v", c.src, err)
			continue
		}
		got, ok := p.Append([]byte("x"), exchange())
		if !ok {
			got = []byte("x" + noValue)
		}
		if string(got) != "x"+c.want {
			t.Errorf("%s = %q, want %q", c.src, got, "x"+c.want)
		}
	}
}

// A selector read directly and the same selector read by CEL give the same.
func TestDirectIsCEL(t *testing.T) {
	env := known()
	for _, src := range []string{
		`request.method`, `request.scheme`, `request.host`, `request.path`, `request.size`, `request.id`, `request.query["q"]`, `request.query.name`,
		`request.query.absent`, `request.query.empty`, `request.query_all["q"]`, `request.query_all["absent"]`, `request.query_all.flag`,
		`request.headers["accept"]`, `request.headers.host`, `request.headers["X-Many"]`, `request.headers["x-absent"]`, `request.headers["x-empty"]`,
		`request.cookies["session"]`, `request.cookies.late`, `request.cookies.absent`, `path.id`, `path["none"]`, `path.absent`, `path.rest`,
		`client.ip`, `client.port`, `client.cert.subject`, `client.cert.issuer`, `client.cert.serial`, `client.cert.fingerprint`, `client.cert.san`,
		`claims`, `claims.sub`, `claims["sub"]`, `claims.level`, `claims.amount`, `claims.roles`, `claims.roles[1]`, `claims.roles[2]`, `claims.address.city`,
		`claims.address.absent`, `claims.absent`, `claims.absent.x`, `claims.none`, `claims.none.x`, `claims.sub.x`, `claims.admin`, `claims.big`, `claims["a.b"]`,
		`consumer.name`, `consumer.plan`, `version`, `response.status`, `response.headers.vary`, `response.headers["absent"]`,
		`account.status`, `account.headers["x-total"]`, `account.headers.absent`, `account.body`, `account.body.items`, `account.body.items[0].id`,
		`account.body.items[1].name`, `account.body.items[2]`, `account.body.absent`, `account.body["0"]`, `failed.status`, `failed.body`, `failed.body.x.y`,
		`failed.headers.x`, `rows.body[1].n`, `later.status`, `later.body`, `later.headers.x`, `item`, `item.id`, `item.tags[1]`, `item.tags[-1]`,
		`"text"`, `'a\n'`, `true`, `false`, `null`, `3`, `-1`,
	} {
		p, complete, h := direct(src, &env)
		if !complete && src != `item.tags[-1]` || h.err != nil {
			t.Errorf("%s is not read directly: %v", src, h.err)
			continue
		}
		if !complete {
			continue
		}
		q, failure := compileCEL(src, &env)
		if failure != nil {
			t.Errorf("%s is not read by CEL: %v", src, failure.err)
			continue
		}
		if q.op != opCEL {
			t.Fatalf("%s: op %d, want CEL", src, q.op)
		}
		x := exchange()
		if a, b := valueOf(t, &p, src, x), valueOf(t, &q, src, x); a != b {
			t.Errorf("%s: read directly it is %s, by CEL %s", src, a, b)
		}
		a, ok := p.Append(nil, x)
		b, also := q.Append(nil, x)
		if string(a) != string(b) || ok != also {
			t.Errorf("%s: read directly its text is %q, %v, by CEL %q, %v", src, a, ok, b, also)
		}
		if p.True(x) != q.True(x) {
			t.Errorf("%s: read directly it is %v, by CEL %v", src, p.True(x), q.True(x))
		}
		m, ok := p.Int(x)
		n, also := q.Int(x)
		if m != n || ok != also {
			t.Errorf("%s: read directly it is %d, %v, by CEL %d, %v", src, m, ok, n, also)
		}
		if !slices.Equal(p.Uses(), q.Uses()) || !slices.Equal(p.Steps(), q.Steps()) || !slices.Equal(p.Variables(), q.Variables()) {
			t.Errorf("%s: read directly it uses %v %v %v, by CEL %v %v %v", src, p.Uses(), p.Steps(), p.Variables(), q.Uses(), q.Steps(), q.Variables())
		}
	}
}

func TestTrueAndInt(t *testing.T) {
	for _, c := range []struct {
		src  string
		yes  bool
		n    int64
		isIt bool
	}{
		{`claims.admin`, true, 0, false},
		{`claims.level`, false, 3, true},
		{`claims.sub`, false, 0, false}, // the text "7" is no number
		{`claims.amount * 2`, false, 3, true},
		{`claims.amount`, false, 0, false},
		{`account.body.items[0].id`, false, 1, true}, // 1.0
		{`claims.absent`, false, 0, false},
		{`claims.absent == 1`, false, 0, false},
		{`!(claims.absent == 1)`, false, 0, false},
		{`claims.?admin`, true, 0, false},
		{`[claims.?admin][0]`, true, 0, false},
		{`[claims.?level][0]`, false, 3, true},
		{`claims.level > 2`, true, 0, false},
		{`request.size + 5`, false, 5, true},
		{`size(claims.roles)`, false, 2, true},
		{`18446744073709551615u`, false, 0, false},
		{`0.0 + 1.5`, false, 0, false},
		{`true`, true, 0, false},
		{`client.port`, false, 4711, true},
		{`account.status`, false, 200, true},
		{`"true"`, false, 0, false},
	} {
		p, err := Compile(c.src, known())
		if err != nil {
			t.Errorf("%s: %v", c.src, err)
			continue
		}
		x := exchange()
		if got := p.True(x); got != c.yes {
			t.Errorf("%s: True = %v, want %v", c.src, got, c.yes)
		}
		if n, ok := p.Int(x); n != c.n || ok != c.isIt {
			t.Errorf("%s: Int = %d, %v; want %d, %v", c.src, n, ok, c.n, c.isIt)
		}
	}
}

func TestUses(t *testing.T) {
	for _, c := range []struct {
		src, steps, variables string
	}{
		{`request.path`, "[] []", "[request]"},
		{`"text"`, "[] []", "[]"},
		{`account.body.id`, "[0] [account]", "[account]"},
		{`rows.status`, "[2] [rows]", "[rows]"},
		{`rows.body.map(account, account.id)`, "[2] [rows]", "[rows]"}, // the loop's own account is another one
		{`rows.body.map(e, account.body.id) + [failed.status, claims.sub]`, "[0 1 2] [account failed rows]", "[rows account failed claims]"},
		{`later.?body.orValue(item)`, "[3] [later]", "[later item]"},
		{`merge.deep(account.body, rows.body)`, "[0 2] [account rows]", "[account rows]"},
	} {
		p, err := Compile(c.src, known())
		if err != nil {
			t.Errorf("%s: %v", c.src, err)
			continue
		}
		if got := fmt.Sprint(p.Steps(), p.Uses()); got != c.steps {
			t.Errorf("%s uses %s, want %s", c.src, got, c.steps)
		}
		if got := fmt.Sprint(p.Variables()); got != c.variables {
			t.Errorf("%s reads %s, want %s", c.src, got, c.variables)
		}
	}
	tmpl, err := CompileTemplate("/x/${rows.body[0].id}/${account.body.id + 'a'}", known())
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(tmpl.Steps(), tmpl.Uses()); got != "[0 2] [account rows]" {
		t.Errorf("a template uses %s", got)
	}
}

func TestCheckName(t *testing.T) {
	for _, name := range []string{"account", "a_1", "_x", "Item", "e2"} {
		if err := CheckName(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := Compile(name+".status + 1", Env{Steps: []string{name}}); err != nil {
			t.Errorf("%s as a step: %v", name, err)
		}
		if _, err := Compile(name+".x + 1", Env{Item: name}); err != nil {
			t.Errorf("%s as an element: %v", name, err)
		}
	}
	for _, name := range []string{"", "a-b", "1a", "a.b", "ü", "request", "claims", "version", "in", "true", "null", "merge", "math", "int", "for", "env", strings.Repeat("a", 65)} {
		if err := CheckName(name); err == nil {
			t.Errorf("%q is accepted", name)
		}
	}
	// What CheckName does not know would be a name that means two things.
	l, err := languageOf()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range l.names {
		root, _, dotted := strings.Cut(f, ".")
		if dotted && CheckName(root) == nil {
			t.Errorf("a step may be called %s, as the functions %s", root, f)
		}
	}
}

// Whatever stands in a document, CEL gives it back byte for byte.
func FuzzPassThrough(f *testing.F) {
	for _, s := range []string{`1.50`, `{"a":[1.0,"\u0041",null]}`, `"\/"`, `[[],{}]`, `-0`, `1e-400`, `true`, `{"a":1,"a":2}`} {
		f.Add(s)
	}
	var programs []*Program
	for _, src := range []string{`true ? item : 0`, `[item][0]`, `{"a": item}.a`, `[item].map(i, i)[0]`, `dyn(item)`, `optional.of(item).orValue(1)`, `[item].filter(i, true)[0]`} {
		p, err := Compile(src, known())
		if err != nil {
			f.Fatal(err)
		}
		programs = append(programs, p)
	}
	same, err := Compile(`item == [item][0] && [item] == [item] && item in [item]`, known())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, err := document.Parse([]byte(text), document.Limits{})
		if err != nil {
			return
		}
		x := exchange()
		x.Item = []byte(text)
		for _, p := range programs {
			if out, ok := p.AppendJSON(nil, x); !ok || string(out) != string(v.Raw()) {
				t.Fatalf("%q came back as %q, %v", text, out, ok)
			}
		}
		if !same.True(x) {
			t.Fatalf("%q does not equal itself", text)
		}
	})
}
