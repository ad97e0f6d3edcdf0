package policy

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/config"
)

// Every row of the table has a word of its own and options that the decoder understands, and builds something that runs.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range table() {
		if seen[k.Word] {
			t.Errorf("%q stands in the table twice", k.Word)
		}
		seen[k.Word] = true
		cfg, list, err := load("[{" + k.Word + ": {}}]")
		if err != nil {
			if !strings.Contains(err.Error(), k.Word) {
				t.Errorf("%s: {}: %v, which does not name it", k.Word, err)
			}
			continue // it needs options
		}
		c := context(cfg)
		built, _ := Compile(list, c)
		if built.Len() == 0 && c.Report.Err() != nil {
			continue // it needs another policy before it, and says so
		}
		if built.Len() != 1 || built.steps[0].request == nil && built.steps[0].around == nil && built.steps[0].response == nil {
			t.Errorf("%s builds neither a Request nor a Response: %+v", k.Word, built)
		}
		if got := Kinds()[k.Word]; got == nil {
			t.Errorf("Kinds does not know %s", k.Word)
		}
	}
	if len(Kinds()) != len(seen) || len(seen) < 2 {
		t.Errorf("Kinds has %d entries, the table %d", len(Kinds()), len(seen))
	}
}

// A decoder that knows other kinds than the table, or options of another kind, is a fault that must not become a route without its policy.
func TestCompileUnknown(t *testing.T) {
	cfg, _, err := load("[{request: {}}]")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []*config.Policy{{Name: "x", Kind: "nothing", Options: new(RequestOptions)}, {Name: "x", Kind: "request", Options: new(ResponseOptions)}} {
		c := context(cfg)
		if built, _ := Compile(config.PolicyList{p}, c); built.Len() != 0 || c.Report.Err() == nil {
			t.Errorf("%s with %T: %d policies and no error", p.Kind, p.Options, built.Len())
		}
	}
}

// at returns the first line of each error, without the file.
func at(err error) []string {
	var list config.Errors
	if !errors.As(err, &list) {
		return []string{fmt.Sprint(err)}
	}
	var out []string
	for _, e := range list {
		out = append(out, fmt.Sprintf("%d:%d %s; %s", e.Line, e.Column, e.Message, e.Suggestion))
	}
	return out
}

func TestOptionErrors(t *testing.T) {
	// The list of policies begins in line 8, column 15.
	for _, c := range []struct{ policies, want string }{
		{`[{request: {headers: {set: {"a b": x}}}}]`, `8:43 set: "a b" is not the name of a header field`},
		{`[{request: {headers: {set: {X: "a\nb"}}}}]`, `8:46 X: a header cannot hold a line break`},
		{`[{request: {headers: {set: {X: "${request.pth}"}}}}]`, `8:46 "pth" is not a member of request; did you mean "path"?`},
		{`[{request: {headers: {set: {X: "${request"}}}}]`, `8:46 the ${ is not closed`},
		{`[{request: {headers: {set: {X: "${response.status}"}}}}]`, `there is no response yet`},
		{`[{request: {headers: {set: {X-A: a, x-a: b}}}}]`, `8:51 set: "x-a" is written twice`},
		{`[{request: {headers: {remove: [X-A, x-a]}}}]`, `8:51 remove: "x-a" is written twice`},

		{`[{request: {headers: {set: {Content-Length: "0"}}}}]`, `8:43 set: Content-Length belongs to the connection`},
		{`[{request: {headers: {set: {transfer-encoding: chunked}}}}]`, `transfer-encoding belongs to the connection`},
		{`[{request: {headers: {add: {Connection: X-User}}}}]`, `Connection belongs to the connection`},
		{`[{request: {headers: {remove: [Upgrade]}}}]`, `Upgrade belongs to the connection`},
		{`[{request: {headers: {rename: {X-Length: Content-Length}}}}]`, `8:56 rename: Content-Length belongs to the connection`},
		{`[{request: {headers: {rename: {TE: X-TE}}}}]`, `8:46 rename: TE belongs to the connection`},
		{`[{request: {headers: {set: {Content_Length: "0"}}}}]`, `Content_Length (which backends may read as Content-Length)`},
		{`[{request: {headers: {set: {X.Forwarded.For: a}}}}]`, `X.Forwarded.For (which backends may read as X-Forwarded-For)`},
		{`[{request: {headers: {set: {X-Forwarded-For: a}}}}]`, `X-Forwarded-For is always written by the gateway itself`},
		{`[{request: {headers: {remove: [x-request-id]}}}]`, `x-request-id is always written by the gateway itself`},
		{`[{request: {headers: {set: {Sluice-Reason: a}}}}]`, `Sluice-Reason is always written by the gateway itself`},
		{`[{response: {headers: {set: {sluice_x: a}}}}]`, `sluice_x is always written by the gateway itself`},
		{`[{response: {headers: {remove: [Content-Length]}}}]`, `8:47 remove: Content-Length belongs to the connection`},
		{`[{response: {headers: {set: {Host: a}}}}]`, `Host belongs to the connection`},
		{`[{request: {headers: {add: {Host: a}}}}]`, `Host cannot be missing or occur twice, so it can only be set; write set: {Host: NAME}`},
		{`[{request: {headers: {remove: [host]}}}]`, `host cannot be missing`},
		{`[{request: {headers: {set: {Host: "a b"}}}}]`, `8:49 Host: "a b" is not a host`},
		{`[{request: {headers: {add: {Authorization: a}}}}]`, `add: Authorization can occur only once; use set`},

		{`[{request: {headers: {rename: {X-A: x-a}}}}]`, `rename: "x-a" is the same name`},
		{`[{request: {headers: {rename: {A: B, C: b}}}}]`, `rename: two fields or parameters are to be called "b"`},
		{`[{request: {headers: {rename: {A: B, b: C}}}}]`, `rename: "B" is given a new name by the same policy; write two policies`},
		{`[{request: {query: {rename: {a: ""}}}}]`, `rename: the new name is empty`},
		{`[{request: {query: {rename: {a: a}}}}]`, `rename: "a" is the same name`},
		{`[{request: {query: {set: {"": a}}}}]`, `set: the name of a parameter is empty`},
		{`[{request: {query: {remove: [""]}}}]`, `remove: the name of a parameter is empty`},
		{`[{request: {query: {add: {a: "${x}"}}}}]`, `"x" is not known here`},

		{`[{request: {header: {}}}]`, `did you mean "headers"?`},
		{`[{request: {headers: {delete: [A]}}}]`, `known: rename, remove, set, add`},
		{`[{response: {query: {}}}]`, `query`},
		{`[{reqest: {}}]`, `did you mean "request"?`},
	} {
		_, _, err := load(c.policies)
		if got := strings.Join(at(err), "\n"); err == nil || !strings.Contains(got, c.want) {
			t.Errorf("%s\ngot  %s\nwant %s", c.policies, got, c.want)
		}
	}
}

// All errors of a policy are told at once.
func TestOptionErrorsTogether(t *testing.T) {
	_, _, err := load(`[{request: {headers: {set: {"a b": x, Connection: y, Z: "${x}"}, remove: [TE]}, query: {rename: {a: a}}}}]`)
	if got := at(err); len(got) != 5 {
		t.Errorf("%d errors, want 5:\n%s", len(got), strings.Join(got, "\n"))
	}
}

// Captures depend on the route, so they are checked for each route that names the policy.
func TestCompileCaptures(t *testing.T) {
	for _, c := range []struct{ policies, want string }{
		{`[{request: {headers: {set: {X: "${path.idd}"}}}}]`, `8:46 on the route "items": the path pattern of the route does not capture "idd"; did you mean "id"?`},
		{`[{request: {query: {add: {x: "${path.name}"}}}}]`, `8:44 on the route "items"`},
		{`[{response: {headers: {set: {X: "${path.name}"}}}}]`, `8:47 on the route "items"`},
	} {
		cfg, list, err := load(c.policies)
		if err != nil {
			t.Errorf("%s: %v", c.policies, err)
			continue
		}
		ctx := context(cfg)
		Compile(list, ctx)
		if got := strings.Join(at(ctx.Report.Err()), "\n"); !strings.Contains(got, c.want) {
			t.Errorf("%s\ngot  %s\nwant %s", c.policies, got, c.want)
		}
	}
}

func TestNamesAndWarnings(t *testing.T) {
	cfg, list, err := load(`[shared, {request: {query: {remove: [a]}}}, {request: {}}, {response: {}}]`)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	built, _ := Compile(list, context(cfg))
	for _, s := range built.steps {
		names = append(names, s.name)
	}
	if got := strings.Join(names, " "); got != "shared request#2 request#3 response" {
		t.Errorf("names %s", got)
	}
	var warnings []string
	for _, w := range cfg.Warnings {
		warnings = append(warnings, w.Message)
	}
	if got := strings.Join(warnings, "\n"); strings.Count(got, "changes nothing") != 2 {
		t.Errorf("warnings:\n%s\nwant two of policies that change nothing", got)
	}
}
