package expr

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
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
		{`account.body.balance - 0.5 == 10`, `true`},
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
		{`list.body.map(e, e.n)`, `[2,10]`},
		{`list.headers == {}`, `true`},
		{`account.status == 200 ? account.body.id : "none"`, `"a\/1"`[:0] + `"a/1"`},

		// Merges.
		{`merge.deep({"a": {"x": 1}}, {"a": {"y": claims.amount}})`, `{"a":{"x":1,"y":1.50}}`},
		{`merge.first({"a": 1}, {"a": 2, "b": 3})`, `{"a":1,"b":3}`},
		{`merge.last({"a": 1}, {"a": 2, "b": 3})`, `{"a":2,"b":3}`},
		{`merge.error({"a": 1}, {"b": 3})`, `{"a":1,"b":3}`},
		{`merge.error({"a": 1}, {"a": 3})`, refusedValue},
		{`merge.deep(account.body, failed.body)`, accountBody},
		{`merge.deep(item, {"id": 8}).id`, `8`},
		{`concat(list.body, failed.body, item.tags)`, `[{"id":"x","n":2},{"id":"y","n":10},"a","b"]`},
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
		{`true ? null : 1`, noValue},
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
		`failed.headers.x`, `list.body[1].n`, `later.status`, `later.body`, `later.headers.x`, `item`, `item.id`, `item.tags[1]`, `item.tags[-1]`,
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

func TestCELErrors(t *testing.T) {
	for _, c := range []struct {
		src    string
		offset int
		want   string
	}{
		{`request.pth == "x"`, 8, `"pth" is not a member of request; did you mean "path"?`},
		{`reqest.path == "x"`, 0, `did you mean "request"?`},
		{`claims.sub == "a" && request.mthod == "GET"`, 29, `did you mean "method"?`},
		{"request.path ==\n request.pth", 25, `did you mean "path"?`},
		{`"ü" + request.pth + 1`, 15, `did you mean "path"?`},
		{`request.?pth`, 9, `did you mean "path"?`},
		{`request["pth"] + "a"`, 8, `did you mean "path"?`},
		{`path.ix == "a"`, 5, `does not capture "ix"; did you mean "id"?`},
		{`path["ix"] == "a"`, 5, `does not capture "ix"`},
		{`has(path.ix)`, 9, `does not capture "ix"`},
		{`request.headers["a b"] == "x"`, 16, "cannot be the name of a header"},
		{`request.headers.x-name == "x"`, 17, `write request.headers["x-name"]`},
		{`request.path.x == 1`, 13, `"path" has no members`},
		{`client.cert.subjct == ""`, 12, `did you mean "subject"?`},
		{`consumer.nme == "x"`, 9, `did you mean "name"?`},
		{`account.bdy == 1`, 8, `did you mean "body"?`},
		{`claims.all(k, v, k == j)`, 22, `"j" is not known here`},
		{`[1].map(path, path.x) == [path.ix]`, 31, `does not capture "ix"`}, // the loop's own path is another one
		{`request.headers[x]`, 16, `write ["x"]`},

		{`request.path == 1`, 13, `"==" cannot be used with (string, int); convert`},
		{`request.size == "5"`, 13, `"==" cannot be used with (int, string); convert`},
		{`"a" + 1`, 4, `"+" cannot be used with (string, int)`},
		{`request.query == "a"`, 14, `name one entry`},
		{`"a" in request.path`, 4, `write TEXT.contains(PART)`},
		{`request.headers[1]`, 16, `write ["name"]`},
		{`request.headers[1 + 1]`, 15, `an index cannot be used with (map(string, string), int)`},
		{`true && 1`, 8, `expected type 'bool' but found 'int'`},
		{`request == client`, 8, `(the request, the client)`},
		{`size()`, 4, `"size" cannot be used with ()`},

		{`claims.sub.strtsWith("a")`, 11, `there is no function "strtsWith"; did you mean "startsWith"?`},
		{`merge.depp(claims, claims)`, 0, `there is no function "merge.depp"; did you mean "merge.deep"?`},
		{`1 + whatever(claims.sub)`, 4, `there is no function "whatever"`},
		{`merge.deep()`, 10, `"merge.deep" cannot be used with ()`},

		{`claims.sub.matches("(")`, 19, "missing closing )"},
		{`claims.sub.matches(claims.sub)`, 25, "a regular expression is a text in quotes"},
		{`claims.sub.matches("(a{100}){11}")`, 19, "instructions"},
		{`int("abc") + 1`, 0, "the expression has no value"},

		{`request.path = "x"`, 13, `"=" means nothing in expressions; write == to compare`},
		{`true and false`, 5, `write && for and`},
		{`true or false`, 5, `write || for or`},
		{`not true`, 4, `write ! for not`},
		{`[1,2`, 4, `ends too early`},
		{`1 +`, 3, `ends too early`},
		{`1 2`, 2, `cannot be read`},
		{`request.path; 1`, 12, `cannot be read`},
		{`Foo{a: 1}`, 3, "values of named types cannot be made here"},
		{`"\xZZ"`, 1, "unknown escape"},
		{`__result__ + 1`, 0, "is not known here"},

		{`[1].map(a, [1].map(b, [1].map(c, [1].map(d, [1].map(e, 1)))))`, 51, "more than 4 loops"},
		{`lists.range(10000).map(a, lists.range(10000).map(b, a + b))`, 0, "more work than one may"},
		{strings.Repeat("(", 300) + "1" + strings.Repeat(")", 300), 0, ""},
		{strings.Repeat("1+", 8000) + "1", 0, ""},
		{strings.Repeat(" ", maxExpression) + "1+1", 0, "longer than 16 KiB"},
		{strings.Repeat("-", 1000) + "claims.level", 0, ""},
		{strings.Repeat("[", 1000), 0, ""},
	} {
		_, err := Compile(c.src, known())
		if err == nil {
			t.Errorf("%.60s: compiled, want an error with %q", c.src, c.want)
			continue
		}
		if c.want != "" && err.Offset != c.offset || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60s: error at %d: %v; want %q at %d", c.src, err.Offset, err, c.want, c.offset)
		}
		if err.Leaf != -1 {
			t.Errorf("%.60s: leaf %d, want -1", c.src, err.Leaf)
		}
	}
}

func TestCompileAs(t *testing.T) {
	condition := func(src string, env Env) (*Program, *Error) { return CompileCondition(src, env) }
	list := func(src string, env Env) (*Program, *Error) { return CompileList(src, env) }
	number := func(src string, env Env) (*Program, *Error) { return CompileNumber(src, env) }
	for _, c := range []struct {
		kind    string
		compile func(string, Env) (*Program, *Error)
		good    []string
		bad     []string
	}{
		{"condition", condition, []string{`true`, `claims.admin`, `claims.level == 3`, `"a" in claims.roles`, `item.ok`, `account.body.ok`, `claims.?admin`},
			[]string{`request.path`, `"true"`, `1`, `request.size`, ` request.size + 1`, `claims.sub + "x"`, `client.cert.san`, `null`, `[true]`, `{}`, `1.5`, `duration("1s")`}},
		{"list", list, []string{`account.body.items`, `[1]`, `claims`, `request.query_all["q"]`, `client.cert.san`, `lists.range(3)`, `item`},
			[]string{`request.path`, `true`, `{}`, `1`, `request.size`, `account.status`}},
		{"number", number, []string{`1`, `request.size`, `request.size + 1`, `claims.level`, `account.status`, `size(claims.roles)`, `item.n`, `1u`},
			[]string{`request.path`, `true`, `1.5`, `[1]`, `1.5 + 1.0`, `null`}},
	} {
		for _, src := range c.good {
			if _, err := c.compile(src, known()); err != nil {
				t.Errorf("%s as a %s: %v", src, c.kind, err)
			}
		}
		for _, src := range c.bad {
			if _, err := c.compile(src, known()); err == nil || err.Suggestion == "" || err.Offset != len(src)-len(strings.TrimLeft(src, " ")) {
				t.Errorf("%s as a %s: error %+v, want one with a suggestion at its beginning", src, c.kind, err)
			}
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
		{`list.status`, "[2] [list]", "[list]"},
		{`list.body.map(account, account.id)`, "[2] [list]", "[list]"}, // the loop's own account is another one
		{`list.body.map(e, account.body.id) + [failed.status, claims.sub]`, "[0 1 2] [account failed list]", "[list account failed claims]"},
		{`later.?body.orValue(item)`, "[3] [later]", "[later item]"},
		{`merge.deep(account.body, list.body)`, "[0 2] [account list]", "[account list]"},
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
	tmpl, err := CompileTemplate("/x/${list.body[0].id}/${account.body.id + 'a'}", known())
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(tmpl.Steps(), tmpl.Uses()); got != "[0 2] [account list]" {
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

// A program that would run for ever, or fill the memory, ends without a value.
func TestLimits(t *testing.T) {
	x := exchange()
	x.Steps[0].Body = []byte(`{"n":[` + strings.Repeat("1,", 200_000) + `1],"text":"` + strings.Repeat("a", 1<<20) + `","names":{` + manyMembers(5000) + `}}`)
	x.Steps[2].Body = []byte(`{"n":[` + strings.Repeat(`"x",`, 5000) + `"x"],"small":[` + strings.Repeat("1,", 30) + `1]}`)
	for _, src := range []string{
		`account.body.n.all(a, account.body.n.all(b, a == b))`,
		`account.body.n.map(a, account.body.text)`,
		`account.body.n.all(a, a in account.body.n)`,
		`account.body.n.exists(a, a == 2) || account.body.n.all(a, account.body.n.exists(b, b == a + 1))`,
		`list.body.n.all(a, account.body.text.contains(a))`,
		`list.body.n.map(a, account.body.text + a).size()`,
		`account.body.text.replace("", account.body.text)`,
		`account.body.n.map(a, "x").join(account.body.text)`,
		`account.body.text.matches("(a?){100}a{100}b")`,
		`account.body.n.map(a, a + 1).distinct() == account.body.n || sets.contains(account.body.n.map(a, 1), account.body.n.map(a, a + 1)) || account.body.n.sort() == []`,
		`list.body.small.map(a, [a, a]).map(a, [a, a]).map(a, list.body.small.map(b, [a, b])).map(a, list.body.small.map(b, [a, b])).map(a, list.body.small.map(b, [a, b]))`,
		`cel.bind(a, account.body.text + account.body.text, cel.bind(b, a + a, cel.bind(c, b + b, c + c + c)))`,
		`list.body.n.map(a, merge.deep(account.body, list.body)).size()`,
		`account.body.names.all(a, account.body.names.exists(b, account.body.names[b] == account.body.names[a]))`,
		`lists.range(10000).all(a, account.body.text != "b")`,
	} {
		p, err := Compile(src, known())
		if err != nil {
			t.Errorf("%s: %v", src, err)
			continue
		}
		out, how := p.appendJSON(nil, x)
		if how != refused {
			t.Errorf("%s gives %.40q (%d), want it to be refused", src, out, how)
		}
		if p.True(x) {
			t.Errorf("%s is true", src)
		}
	}
	// What is within the bounds is not disturbed by what was not.
	if got := evaluate(t, `account.body.n.size() == 200001 && account.body.n.all(a, a == 1)`, x); got != "true" {
		t.Errorf("a list of 200,001 elements: %s", got)
	}
	if got := evaluate(t, `lists.range(20000)`, x); got != noValue {
		t.Errorf("a range of 20,000: %.40s", got)
	}
}

func manyMembers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `%c"m%d":%d`, " ,"[min(i, 1)], i, i)
	}
	return b.String()
}

// One program is used by many goroutines at once.
func TestConcurrent(t *testing.T) {
	for _, src := range []string{
		`account.body.items.map(i, {"price": i.price, "who": claims.sub})`, `merge.deep(account.body, {"a": 1})`, `claims.absent == 1`,
		`claims.roles.exists(r, r.matches("^a"))`, `{"a": 1, "b": [2]}`, `"x" + string(claims.amount)`, `1 / (claims.level - 3)`, `"a" in 1 + claims.level`[:0] + `claims.level in [3]`,
	} {
		p, err := Compile(src, known())
		if err != nil {
			t.Fatalf("%s: %v", src, err)
		}
		want := valueOf(t, p, src, exchange())
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				x := exchange()
				for range 50 {
					if got := valueOf(t, p, src, x); got != want {
						t.Errorf("%s = %s, want %s", src, got, want)
						return
					}
				}
			})
		}
		all.Wait()
	}
}

// What an expression has appended stays when the exchange is used for another request.
func TestValuesAreCopies(t *testing.T) {
	x := exchange()
	body := []byte(`{"a":"bytes"}`)
	x.Steps[0].Body = body
	p, err := Compile(`[account.body.a, account.body.a + "!"]`, known())
	if err != nil {
		t.Fatal(err)
	}
	out, _ := p.AppendJSON(nil, x)
	for i := range body {
		body[i] = '#'
	}
	x.Reset()
	if string(out) != `["bytes","bytes!"]` {
		t.Errorf("the value became %s", out)
	}
}

// Values of an evaluation that has ended are not kept: the next one sees its own exchange.
func TestRunsAreFresh(t *testing.T) {
	p, err := Compile(`claims.sub + account.body.id`, known())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		x := exchange()
		x.Identity = identity(fmt.Sprintf(`{"sub":"s%d"}`, i))
		x.Steps[0].Body = fmt.Appendf(nil, `{"id":"b%d"}`, i)
		if got, want := valueOf(t, p, "", x), fmt.Sprintf(`"s%db%d"`, i, i); got != want {
			t.Errorf("run %d gives %s, want %s", i, got, want)
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
