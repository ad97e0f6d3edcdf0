package policy

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/message"
)

// transfer is the schema of the bank's transfers.
const transfer = `{"type": "object", "required": ["to", "amount", "currency"], "additionalProperties": false, "properties": {
  "to": {"type": "string", "minLength": 1, "maxLength": 34, "pattern": "^[A-Z0-9]+$"},
  "amount": {"type": "number", "exclusiveMinimum": 0, "maximum": 10000.50, "multipleOf": 0.01},
  "currency": {"enum": ["EUR", "USD"]},
  "day": {"type": "string", "format": "date"},
  "tags": {"type": "array", "maxItems": 3, "uniqueItems": true, "items": {"type": "string"}},
  "mode": {"oneOf": [{"const": "now"}, {"const": "later"}]}}}`

// problemErrors returns the errors of a problem, one a line.
func problemErrors(t *testing.T, f *message.Failure) string {
	t.Helper()
	if len(f.Members) == 0 {
		return ""
	}
	var problem struct {
		Errors []struct{ Pointer, Detail string }
	}
	if err := json.Unmarshal([]byte(`{"status":422`+string(f.Members)+`}`), &problem); err != nil {
		t.Fatalf("%s: %v", f.Members, err)
	}
	var lines []string
	for _, e := range problem.Errors {
		lines = append(lines, e.Pointer+" "+e.Detail)
	}
	return strings.Join(lines, "\n")
}

func TestValidate(t *testing.T) {
	const js = "application/json"
	good := `{"to":"DE1","amount":10.50,"currency":"EUR"}`
	bank := `{max_body: 64KiB, content_type: [application/json], json_schema: ` + strings.ReplaceAll(transfer, "\n", " ") + `}`
	deep := strings.Repeat("[", 65) + strings.Repeat("]", 65)
	for _, c := range []struct{ name, options, kind, body, want, errors string }{
		{"good", bank, js, good, "", ""},
		{"good, with parameters", bank, "Application/JSON; charset=utf-8", good, "", ""},
		{"type", bank, "text/plain", good, "415 content_type_unsupported", ""},
		{"no type", bank, "", good, "415 content_type_unsupported", ""},
		{"a type that is not listed", bank, "application/problem+json", good, "415 content_type_unsupported", ""},
		{"type before size", bank, "text/plain", strings.Repeat(" ", 70<<10), "415 content_type_unsupported", ""},
		{"at the size", bank, js, good + strings.Repeat(" ", 64<<10-len(good)), "", ""},
		{"over the size", bank, js, good + strings.Repeat(" ", 64<<10-len(good)+1), "413 body_too_large", ""},
		{"size before JSON", bank, js, strings.Repeat("{", 64<<10+1), "413 body_too_large", ""},
		{"broken", bank, js, `{"to":`, "400 json_invalid", "# not valid JSON at byte 6"},
		{"JSON before schema", bank, js, `{"amount":-1,}`, "400 json_invalid", "# not valid JSON at byte 13"},
		{"depth", bank, js, deep, "422 json_too_deep", "# more arrays and objects within each other than allowed at byte 64"},
		{"depth at the bound", `{max_depth: 2}`, js, `[[1]]`, "", ""},
		{"depth over it", `{max_depth: 2}`, js, `[[[]]]`, "422 json_too_deep", "# more arrays and objects within each other than allowed at byte 2"},
		{"a member twice", bank, js, `{"to":"A","t\u006f":"B"}`, "422 json_duplicate_key", "# a second member of the same name at byte 10"},
		{"keys", `{max_keys: 2}`, js, `{"a":{"b":1,"c":2}}`, "422 json_too_large", "# more members than allowed at byte 12"},
		{"digits", `{max_number: 5}`, js, `[1e5]`, "422 json_too_large", "# a number with more digits than allowed at byte 1"},
		{"digits at the bound", `{max_number: 5}`, js, `[123.45]`, "", ""},
		{"empty", bank, "", "", "422 schema_violated", "# the body is missing"},
		{"empty, of a type", bank, js, "", "422 schema_violated", "# the body is missing"},
		{"empty without a schema", `{content_type: [application/json]}`, "", "", "", ""},
		{"schema: missing", bank, js, `{}`, "422 schema_violated",
			"#/amount the member is missing\n#/currency the member is missing\n#/to the member is missing"},
		{"schema: several", bank, js, `{"to":"a b","amount":-1,"currency":"GBP","x/y~z é":1,"tags":["a","a",3,4]}`, "422 schema_violated",
			"#/amount must be more than 0\n#/currency must be one of \"EUR\", \"USD\"\n#/tags must have at most 3 elements\n#/tags must not have equal elements, and 0 and 1 are\n" +
				"#/tags/2 must be string, and is number\n#/tags/3 must be string, and is number\n#/to must match the pattern ^[A-Z0-9]+$\n#/x~1y~0z%20%C3%A9 the member is not allowed"},
		{"schema: digits count", bank, js, `{"to":"A","amount":10000.500000000000001,"currency":"EUR"}`, "422 schema_violated",
			"#/amount must be a multiple of 0.01\n#/amount must be at most 10000.5"},
		{"schema: formats are checked", bank, js, `{"to":"A","amount":1,"currency":"EUR","day":"2026-02-30"}`, "422 schema_violated", "#/day must have the format date"},
		{"schema: alternatives count as one", bank, js, `{"to":"A","amount":1,"currency":"EUR","mode":"never"}`, "422 schema_violated",
			"#/mode must follow exactly one of several schemas, and follows none"},
		{"schema: another kind", bank, js, `[1]`, "422 schema_violated", "# must be object, and is array"},
		{"schema without a list of types", `{json_schema: {type: object}}`, "application/vnd.x+json", `{}`, "", ""},
		{"the same, not JSON", `{json_schema: {type: object}}`, "text/plain", `{}`, "415 content_type_unsupported", ""},
		{"a schema for any listed type", `{content_type: [text/plain], json_schema: {type: object}}`, "text/plain", `[]`, "422 schema_violated", "# must be object, and is array"},
		{"any type", `{}`, "image/png", "\x89PNG", "", ""},
		{"no type at all", `{}`, "", "whatever", "", ""},
		{"JSON is looked at without a schema", `{}`, js, "whatever", "400 json_invalid", "# not valid JSON at byte 0"},
		{"a kind of types", `{content_type: "image/*"}`, "image/png", "\x89PNG", "", ""},
		{"another kind of types", `{content_type: "image/*"}`, "imagex/png", "\x89PNG", "415 content_type_unsupported", ""},
		{"size of what is not JSON", `{max_body: 3B, content_type: "image/*"}`, "image/png", "1234", "413 body_too_large", ""},
	} {
		for _, chunked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/chunked=%v", c.name, chunked), func(t *testing.T) {
				if chunked && c.body == "" && c.kind == "" {
					return // it is a body, if an empty one
				}
				m := newBodyMemory(4 << 20)
				p := keptChain(t, "[{validate: "+c.options+"}]", m)
				x := posted(c.kind, c.body, chunked)
				ran, done, f := p.Request(x, 0, nil)
				got, errors := "", ""
				if f != nil {
					got, errors = told(f), problemErrors(t, f)
				} else if body := outcome(t, x, nil); body != c.body {
					t.Errorf("the body has become %q", body)
				}
				if got != c.want || errors != c.errors || done {
					t.Errorf("got %s\n%s\nwant %s\n%s", got, errors, c.want, c.errors)
				}
				p.Response(x, ran, 0)
				if m.held.Load() != 0 {
					t.Errorf("%d bytes are held", m.held.Load())
				}
			})
		}
	}
}

// A compressed body cannot be looked at, so it does not pass.
func TestValidateEncoded(t *testing.T) {
	p := chain(t, `[{validate: {content_type: application/json}}]`)
	x := posted("application/json", zipped(`{}`), false)
	addLine(&x.Request.Header, "Content-Encoding: gzip")
	_, _, f := p.Request(x, 0, nil)
	if f == nil || told(f) != "415 content_type_unsupported" || len(f.Fields) != 1 || string(f.Fields[0].Value) != "identity" {
		t.Errorf("%+v", f)
	}
	x = posted("text/plain", `a`, false)
	if _, _, f := p.Request(x, 0, nil); f == nil || len(f.Fields) != 1 || string(f.Fields[0].Value) != "application/json" {
		t.Errorf("a 415 does not say what is accepted: %+v", f)
	}
}

// Two types are none: who reads the other one is not known.
func TestValidateTypeTwice(t *testing.T) {
	p := chain(t, `[{validate: {content_type: application/json}}]`)
	x := posted("application/json", `{}`, false)
	addLine(&x.Request.Header, "Content-Type: text/xml")
	if _, _, f := p.Request(x, 0, nil); f == nil || told(f) != "415 content_type_unsupported" {
		t.Errorf("%v", f)
	}
}

// At most 20 errors are told, and nothing of the values.
func TestValidateManyErrors(t *testing.T) {
	p := chain(t, `[{validate: {json_schema: {items: {type: string, format: email, pattern: "^a"}, additionalProperties: false}}}]`)
	x := posted("application/json", "["+strings.Repeat(`"secret",`, 100)+`5]`, false)
	_, _, f := p.Request(x, 0, nil)
	if f == nil || strings.Contains(string(f.Members), "secret") || strings.Count(problemErrors(t, f), "\n") != 19 {
		t.Errorf("%+v", f)
	}
	x = posted("application/json", `{"`+strings.Repeat("x", 1000)+`":1}`, false)
	if _, _, f := p.Request(x, 0, nil); f == nil || problemErrors(t, f) != "# the member is not allowed" {
		t.Errorf("%v", problemErrors(t, f))
	}
}

// validated builds a validate policy of a configuration in a folder, and returns the errors.
func validated(t *testing.T, dir, options string) ([]string, *Chain) {
	t.Helper()
	cfg, err := config.Load(filepath.Join(dir, "test.yaml"), file("[{validate: "+options+"}]"), config.Options{Kinds: Kinds()})
	if err != nil {
		return at(err), nil
	}
	c := context(cfg)
	built, _ := Compile(cfg.Routes[0].Policies, c)
	if err := c.Report.Err(); err != nil {
		return at(err), nil
	}
	return nil, built
}

func TestValidateFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "schemas"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"schemas/transfer.json": transfer,
		"schemas/list.json":     `{"type": "array", "items": {"$ref": "transfer.json"}}`,
		"schemas/up.json":       `{"$ref": "../outside.json"}`,
		"schemas/web.json":      `{"$ref": "https://schemas.example/a.json"}`,
		"schemas/broken.json":   `{"type": `,
		"schemas/wrong.json":    `{"type": "strin", "properties": {"a": {"minLength": -1}}}`,
		"schemas/ref.json":      `{"$ref": "#/$defs/nothing"}`,
		"schemas/look.json":     `{"properties": {"a": {"pattern": "(?=a)"}}}`,
		"schemas/old.json":      `{"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"n": {"type": "number"}}, "items": [{"$ref": "#/definitions/n"}]}`,
		"outside.json":          `{}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ options, body, want string }{
		{`{json_schema: {file: schemas/transfer.json}}`, `{"to":"DE1","amount":10.50,"currency":"EUR"}`, ""},
		{`{json_schema: {file: ` + filepath.Join(dir, "schemas/transfer.json") + `}}`, `{}`, "422 schema_violated"},
		{`{json_schema: {file: schemas/list.json}}`, `[{"to":"DE1","amount":10.50,"currency":"EUR"}]`, ""},
		{`{json_schema: {file: schemas/list.json}}`, `[{}]`, "422 schema_violated"},
		{`{json_schema: {$ref: schemas/transfer.json}}`, `{}`, "422 schema_violated"},
		{`{json_schema: {file: schemas/old.json}}`, `["a"]`, "422 schema_violated"},
		{`{json_schema: true}`, `{}`, ""},
		{`{json_schema: {properties: {file: {type: string}}}}`, `{"file":1}`, "422 schema_violated"},
	} {
		errs, p := validated(t, dir, c.options)
		if errs != nil {
			t.Errorf("%s: %v", c.options, errs)
			continue
		}
		got := ""
		if _, _, f := p.Request(posted("application/json", c.body, false), 0, nil); f != nil {
			got = told(f)
		}
		if got != c.want {
			t.Errorf("%s of %s: got %q, want %q", c.options, c.body, got, c.want)
		}
	}
	for _, c := range []struct{ options, want string }{
		{`{json_schema: {file: schemas/none.json}}`, `8:41 json_schema: the file ` + filepath.Join(dir, "schemas/none.json") + `: no such file`},
		{`{json_schema: {file: schemas/up.json}}`, `references lead only to files beside the schema`},
		{`{json_schema: {file: schemas/web.json}}`, `references lead only to files beside the schema`},
		{`{json_schema: {file: schemas/broken.json}}`, `8:41 json_schema: the file ` + filepath.Join(dir, "schemas/broken.json") + `: not valid JSON at byte 9`},
		{`{json_schema: {file: schemas/wrong.json}}`, `it is no schema: #/`},
		{`{json_schema: {file: schemas/ref.json}}`, `nothing`},
		{`{json_schema: {file: schemas/look.json}}`, `it is no schema: #/properties/a/pattern: the regular expression is not one of RE2`},
		{`{json_schema: {type: strin}}`, `8:41 json_schema: it is no schema: #/type: must be array, and is string, or must be one of "array"`},
		{`{json_schema: {pattern: "` + strings.Repeat("a{1000}", 20) + `"}}`, `it compiles to more than 16384 steps`},
		{`{json_schema: [1]}`, `json_schema: it is no schema`},
		{`{content_type: [json]}`, `8:43 content_type: "json" is no media type without parameters; write application/json`},
		{`{content_type: ["a/b;c=d"]}`, `is no media type without parameters`},
		{`{content_type: [a/b, A/B]}`, `content_type: "a/b" is written twice`},
		{`{max_depth: 0}`, `max_depth`},
	} {
		errs, _ := validated(t, dir, c.options)
		if got := strings.Join(errs, "\n"); !strings.Contains(got, c.want) {
			t.Errorf("%s\ngot  %s\nwant %s", c.options, got, c.want)
		}
	}
}

// A document costs time and memory within bounds, whatever it is.
func TestValidateBombs(t *testing.T) {
	p := chain(t, `[{validate: {max_body: 1MiB, json_schema: {uniqueItems: true, items: {type: [string, number, array], pattern: "^(a+)+$"}}}}]`)
	for _, text := range []string{
		"[" + strings.Repeat("1,", 500_000) + "1]",
		"[" + strings.Repeat("[],", 300_000) + "[]]",
		strings.Repeat("[", 1<<20),
		`{` + strings.Repeat(`"":1,`, 100_000) + `"":1}`,
		`["` + strings.Repeat("a", 1<<20-10) + `!"]`,
		"[" + strings.Repeat("9", 1<<20-2) + "]",
		"[1e999999999]",
	} {
		x := posted("application/json", text, true)
		_, _, f := p.Request(x, 0, nil)
		if f == nil || f.Reason.Status() != 422 && f.Reason.Status() != 400 {
			t.Errorf("%.20s…: %v", text, f)
		}
	}
}

func FuzzValidate(f *testing.F) {
	for _, s := range []string{`{}`, `{"to":"A","amount":1,"currency":"EUR"}`, `[`, `{"tags":["a","a"]}`, `{"a":1e999}`, "{\"\xff\":1}", `{"amount":1.0e-2}`} {
		f.Add(s)
	}
	p := chain(f, `[{validate: {json_schema: `+strings.ReplaceAll(transfer, "\n", " ")+`}}]`)
	f.Fuzz(func(t *testing.T, text string) {
		x := posted("application/json", text, true)
		ran, _, failure := p.Request(x, 0, nil)
		if failure != nil {
			problemErrors(t, failure)
		} else if got := whole(t, x.Request.Body); got != text || !json.Valid([]byte(text)) {
			t.Errorf("%q passed as %q", text, got)
		}
		p.Response(x, ran, 0)
	})
}
