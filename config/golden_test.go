package config

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files instead of comparing with them")

// fields, requestOptions and limitOptions stand for the options of policies, which belong to a package above.
type fields struct {
	Set    []Pair   `yaml:"set"`
	Remove []string `yaml:"remove" check:"header"`
}

func (f *fields) Check(r *Reporter) { checkFields(r, f.Set, "this policy") }

type requestOptions struct {
	Headers fields `yaml:"headers"`
}

type limitOptions struct {
	Rate int `yaml:"rate,short" default:"3"`
}

func (o *limitOptions) Check(r *Reporter) {
	if o.Rate == 7 || o.Rate == 13 {
		r.Add(r.At(&o.Rate), "rate: %d is unlucky", o.Rate)
	}
}

func testOptions() Options {
	env := map[string]string{
		"SECRET_WORD": "xyzzy-open", "SHORT": "a", "EMPTY": "",
		"NESTED": "xyzzy-${env:SECRET_WORD}", "EXPRESSION": "xyzzy-${request.path}", "DOLLAR": "xyzzy-$", "BRACE": "{request.xyzzy}",
	}
	return Options{
		Kinds: Kinds{
			"request":  func() any { return new(requestOptions) },
			"response": func() any { return new(requestOptions) },
			"test":     func() any { return new(limitOptions) },
		},
		Getenv: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
	}
}

// golden compares a text with a file, or writes the file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	if *rewrite {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got == string(want) {
		return
	}
	g, w := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	i := 0
	for i < len(g)-1 && i < len(w)-1 && g[i] == w[i] {
		i++
	}
	t.Errorf("%s differs from line %d on (go test ./config -run '%s' -rewrite)\n got %s\nwant %s", name, i+1, t.Name(), g[i], w[i])
}

func inputs(t *testing.T, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		t.Fatalf("no files %s (%v)", pattern, err)
	}
	return names
}

// TestErrors holds the exact text of every class of error.
func TestErrors(t *testing.T) {
	for _, name := range inputs(t, "testdata/bad/*.yaml") {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			cfg, err := loadFile("testdata/bad/x.yaml", data)
			if err == nil || cfg != nil {
				t.Fatalf("accepted: %v, %v", cfg, err)
			}
			for _, word := range []string{"xyzzy", `"a"`} {
				if strings.HasSuffix(name, "outside.yaml") && strings.Contains(err.Error(), word) {
					t.Errorf("the value %s from the environment is in the text", word)
				}
			}
			golden(t, strings.TrimSuffix(name, ".yaml")+".txt", strings.ReplaceAll(err.Error(), "testdata/bad/x.yaml", "x.yaml")+"\n")
		})
	}
}

// TestAccepted holds what files without errors are decoded to, and their warnings.
func TestAccepted(t *testing.T) {
	for _, name := range inputs(t, "testdata/good/*.yaml") {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".yaml"), func(t *testing.T) {
			cfg, err := Read(name, testOptions())
			if err != nil {
				t.Fatal(err)
			}
			d := dump{planner: planner{plans: map[reflect.Type]*plan{}}, r: cfg.Reporter()}
			d.value("", reflect.ValueOf(cfg).Elem())
			golden(t, strings.TrimSuffix(name, ".yaml")+".txt", cfg.Warnings.Error()+"\n\n"+d.out.String())
		})
	}
}

// dump writes the values of the keys that stand in the file, so that a new key changes only the files that use it. What absent keys are is the
// subject of TestBenchDefaults.
type dump struct {
	planner
	r    *Reporter
	out  strings.Builder
	seen map[string]bool // struct and key of what was written, if not nil
}

// TestFullFileHasEveryKey keeps testdata/good/full.yaml complete.
func TestFullFileHasEveryKey(t *testing.T) {
	cfg, err := Read("testdata/good/full.yaml", testOptions())
	if err != nil {
		t.Fatal(err)
	}
	d := dump{planner: planner{plans: map[reflect.Type]*plan{}}, r: cfg.Reporter(), seen: map[string]bool{}}
	d.value("", reflect.ValueOf(cfg).Elem())
	all := &schemaBuilder{planner: d.planner, defs: object{}}
	all.structBody(reflect.TypeFor[Config]()) // plans every struct
	for typ, pl := range all.plans {
		for _, f := range pl.fields {
			if typ.PkgPath() == reflect.TypeFor[Config]().PkgPath() && !d.seen[typeName(typ)+"."+f.name] {
				t.Errorf("the key %s of %s is not in testdata/good/full.yaml: add it there", f.name, typ)
			}
		}
	}
}

func (d *dump) value(at string, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			d.value(at, v.Elem())
		}
		return
	case reflect.Slice:
		if e := v.Type().Elem(); e.Kind() == reflect.Pointer || isPlainStruct(e) {
			for i := range v.Len() {
				d.value(fmt.Sprintf("%s[%d]", at, i), v.Index(i))
			}
			return
		}
	case reflect.Struct:
		if p, ok := v.Addr().Interface().(*Policy); ok {
			fmt.Fprintf(&d.out, "%s = %s %s in place: %v\n", at, p.Name, p.Kind, p.InPlace)
			d.value(at, reflect.ValueOf(p.Options))
			return
		}
		if a, ok := v.Addr().Interface().(*API); ok {
			fmt.Fprintf(&d.out, "%s = %s by %v default %q\n", at, a.Name, a.By, a.Default)
			for i, version := range a.Versions {
				d.value(fmt.Sprintf("%s[%d]", at, i), reflect.ValueOf(version))
			}
			return
		}
		if t, ok := v.Addr().Interface().(*Tree); ok {
			fmt.Fprintf(&d.out, "%s = %s texts at %v\n", at, t.Text, t.Places)
			return
		}
		if isPlainStruct(v.Type()) {
			d.fields(at, v)
			return
		}
	}
	format := "%s = %+v\n"
	if v.Kind() == reflect.String || v.Type() == jsonType {
		format = "%s = %q\n"
	}
	fmt.Fprintf(&d.out, format, at, v.Interface())
}

func (d *dump) fields(at string, v reflect.Value) {
	pl := d.plan(v.Type())
	if pl.key != nil {
		at += "." + v.Field(pl.key.index).String()
		if pl.value != nil {
			d.value(at, v.Field(pl.value.index))
		}
	}
	for _, f := range pl.fields {
		if field := v.Field(f.index); d.r.Set(field.Addr().Interface()) {
			if d.seen != nil {
				d.seen[typeName(v.Type())+"."+f.name] = true
			}
			d.value(at+"."+f.name, field)
		}
	}
}

func loadFile(name string, data []byte) (*Config, error) { return Load(name, data, testOptions()) }
