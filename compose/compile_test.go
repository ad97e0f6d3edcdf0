package compose

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/expr"
)

// TestCompileErrors: what is wrong with a composition is said where it stands, all of it.
func TestCompileErrors(t *testing.T) {
	lines := strings.Count(configuration("", ""), "\n")
	for _, tc := range []struct{ name, compose, want string }{
		{"unknown step in path", `
steps:
  a: {backend: app, path: "/${b.body}"}
body: {}`, `3:27 path: "b" is not known here`},
		{"unknown step in query", `
steps:
  a: {backend: app, path: /, query: {x: "${c.body}"}}
body: {}`, `query: x: "c" is not known here`},
		{"unknown step in body", `
steps:
  a: {backend: app, path: /}
body:
  x: 1
  y: [a, "${c.body}"]`, `6:10 body: "c" is not known here`},
		{"unknown step in the body of a step", `
steps:
  a: {backend: app, path: /, method: POST, body: {x: "${c.body}"}}
body: {}`, `3:54 body: "c" is not known here`},
		{"unknown step in when", `
steps:
  a: {backend: app, path: /, when: c.status == 1}
body: {}`, `3:36 when: `},
		{"itself", `
steps:
  a: {backend: app, path: "/${a.body}"}
body: {}`, `3:27 the step "a" needs its own answer`},
		{"itself in a header", `
steps:
  a: {backend: app, path: /, headers: {X-A: "${a.status}"}}
body: {}`, `the step "a" needs its own answer`},
		{"circle", `
steps:
  a: {backend: app, path: "/${b.body}"}
  b: {backend: app, path: /, query: {x: "${c.body}"}}
  c: {backend: app, path: /, when: a.status == 200}
body: {}`, `3:3 the steps need each other's answers: a → b → c → a`},
		{"two circles", `
steps:
  a: {backend: app, path: "/${b.body}"}
  b: {backend: app, path: "/${a.body}"}
  c: {backend: app, path: "/${d.body}"}
  d: {backend: app, path: "/${c.body}"}
body: {}`, "3:3 the steps need each other's answers: a → b → a\n5:3 the steps need each other's answers: c → d → c"},
		{"member of a step", `
steps:
  a: {backend: app, path: /}
body: "${a.boby}"`, `4:7 body: "boby" is not a member of a`},
		{"name", `
steps:
  a-b: {backend: app, path: /}
  request: {backend: app, path: /}
  if: {backend: app, path: /}
body: {}`, "3:3 steps: \"a-b\" cannot be a name in expressions\n4:3 steps: \"request\" is a variable of all expressions\n5:3 steps: \"if\" has a meaning of its own in expressions"},
		{"name of the element", `
steps:
  a: {backend: app, path: /, for_each: "[1]", as: client}
  b: {backend: app, path: /, for_each: "[1]", as: a}
body: {}`, "3:51 as: \"client\" is a variable of all expressions\n4:51 as: \"a\" is a step"},
		{"element outside of its step", `
steps:
  a: {backend: app, path: /, for_each: "[1]"}
  b: {backend: app, path: "/${item}"}
body: {}`, `4:27 path: "item" is not known here`},
		{"element in when", `
steps:
  a: {backend: app, path: /, for_each: "[1]", when: item == 1}
body: {}`, `3:53 when: `},
		{"line break in a header", `
steps:
  a: {backend: app, path: /, headers: {X-A: "${\"a\\nb\"}"}}
body: {}`, `headers: X-A: `},
		{"hop by hop", `
steps:
  a: {backend: app, path: /, headers: [Connection]}
body: {}`, `headers: Connection belongs to the connection of the client and is not passed on`},
		{"query in the path", `
steps:
  a: {backend: app, path: "/x?y=${path.id}"}
body: {}`, `3:27 path: parameters are not part of it`},
		{"space in the path", `
steps:
  a: {backend: app, path: "/x y/${path.id}"}
body: {}`, `3:27 path: it cannot hold ' '`},
		{"letter in the path", `
steps:
  a: {backend: app, path: "/${path.id}/é"}
body: {}`, `3:27 path: it cannot hold 'é'`},
		{"fragment in the path", `
steps:
  a: {backend: app, path: "/a#b"}
body: {}`, `3:27 path: a fragment is not sent`},
		{"broken escape in the path", `
steps:
  a: {backend: app, path: "/a%zz/${path.id}"}
body: {}`, `3:27 path: it holds a broken escape, or could be read in two ways`},
		{"dots in the path", `
steps:
  a: {backend: app, path: "/a/../b"}
body: {}`, `3:27 path: it is not in the form that is matched and forwarded`},
		{"status that does not compile", `
steps:
  a: {backend: app, path: /}
status: ${b.status}
body: {}`, `4:9 status: `},
		{"braces within expressions", `
steps:
  a: {backend: app, path: "/x/${{\"a?\": path.id}[\"a?\"]}/y"}
body: {}`, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, r := load(t, strings.TrimPrefix(tc.compose, "\n"))
			p := Compile(c, environment, r)
			err := r.Err()
			if tc.want == "" {
				if err != nil || p == nil {
					t.Fatal(err)
				}
				return
			}
			if p != nil || err == nil {
				t.Fatalf("plan %v, error %v; want an error", p, err)
			}
			var got []string
			for _, e := range err.(config.Errors) {
				got = append(got, fmt.Sprintf("%d:%d %s", e.Line-lines+2, e.Column-6, e.Message)) // as if the composition were all of the file
			}
			for _, want := range strings.Split(tc.want, "\n") {
				found := false
				for _, g := range got {
					found = found || strings.Contains(g, want)
				}
				if !found {
					t.Errorf("errors:\n%s\nwant:\n%s", strings.Join(got, "\n"), want)
				}
			}
			if n := strings.Count(tc.want, "\n") + 1; len(got) != n {
				t.Errorf("%d errors, want %d:\n%s", len(got), n, strings.Join(got, "\n"))
			}
		})
	}
}

// TestNotKnown: what the route does not bring is not known in its composition.
func TestNotKnown(t *testing.T) {
	c, r := load(t, "steps:\n  a: {backend: app, path: \"/${claims.sub}\"}\nbody: {}\n")
	if p := Compile(c, expr.Env{}, r); p != nil || r.Err() == nil || !strings.Contains(r.Err().Error(), "claims") {
		t.Errorf("plan %v, error %v", p, r.Err())
	}
}
