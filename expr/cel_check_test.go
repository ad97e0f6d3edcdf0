package expr

import (
	"strings"
	"testing"
)

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
		{`claims.sub.matches("a{1000}b")`, 19, "instructions"},
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
		{`lists.range(10000).map(a, lists.range(10000).map(b, a + b))`, 48, "takes more work"},
		{strings.Repeat("(", 300) + "1" + strings.Repeat(")", 300), 0, ""},
		{strings.Repeat("1+", 8000) + "1", 0, ""},
		{strings.Repeat(" ", maxExpression) + "1+1", 0, "longer than 16 KiB"},
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
