package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// call runs the command line and returns what it wrote.
func call(args ...string) (code int, out, errs string) {
	var o, e bytes.Buffer
	code = run(args, &o, &e)
	return code, o.String(), e.String()
}

// file writes a configuration.
func file(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "sluice.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

const good = "version: 1\nlisteners: {web: {address: \"127.0.0.1:0\", protocol: http}}\nroutes: [{backend: app}]\nbackends: {app: {endpoints: [\"127.0.0.1:9001\"]}}\n"

func TestCommandLine(t *testing.T) {
	valid := file(t, good)
	doubtful := file(t, good+"policies: {unused: {request: {headers: {remove: [X-A]}}}}\n")
	wrong := file(t, "version: 1\nlisteners: {web: {adress: \":80\", protocol: http}}\nroutes: [{backend: ap}]\nbackends: {app: {endpoints: [\"127.0.0.1:9001\"]}}\n")
	deep := file(t, "version: 1\nlisteners: {web: {address: \":0\", protocol: http}}\nroutes: [{redirect: \"/${path.x}\"}, {respond: {}}]\n")
	for _, tc := range []struct {
		name string
		args []string
		code int
		out  string // what standard output begins with
		errs []string
	}{
		{"nothing", nil, 2, "", []string{"usage:"}},
		{"help", []string{"help"}, 0, "Sluice is", nil},
		{"-h", []string{"-h"}, 0, "Sluice is", nil},
		{"--help", []string{"--help"}, 0, "Sluice is", nil},
		{"help of a command", []string{"run", "--help"}, 0, "Sluice is", nil},
		{"help of check", []string{"check", "-h"}, 0, "Sluice is", nil},
		{"help of schema", []string{"schema", "-h"}, 0, "Sluice is", nil},
		{"unknown", []string{"chek", "x"}, 2, "", []string{`there is no command "chek" (did you mean "check"?)`, "usage:"}},
		{"far off", []string{"frobnicate"}, 2, "", []string{`there is no command "frobnicate"`, "usage:"}},
		{"unknown flag", []string{"run", "--wach", valid}, 2, "", []string{"-wach", "usage:"}},
		{"no file to run", []string{"run"}, 2, "", []string{"sluice run: want 1 argument(s), have 0", "usage:"}},
		{"two files to check", []string{"check", valid, valid}, 2, "", []string{"sluice check: want 1 argument(s), have 2"}},
		{"demo of something", []string{"demo", "x"}, 2, "", []string{"sluice demo: want 0 argument(s), have 1"}},
		{"demo, bad time", []string{"demo", "--for", "soon"}, 2, "", []string{"soon", "usage:"}},
		{"schema of something", []string{"schema", "x"}, 2, "", []string{"sluice schema: want 0 argument(s), have 1"}},
		{"version", []string{"version"}, 0, "sluice ", nil},
		{"version of something", []string{"version", "x"}, 2, "", []string{"have 1"}},
		{"check", []string{"check", valid}, 0, valid + ": ok, 1 listeners, 1 routes, 1 backends\n", nil},
		{"check, warnings", []string{"check", doubtful}, 0, doubtful + ": ok", []string{doubtful + ":5:12: warning: no route uses the policy"}},
		{"check, errors", []string{"check", wrong}, 1, "", []string{wrong + `:2:19: unknown key "adress"`, `did you mean "address"?`, wrong + `:3:20: unknown backend "ap"`, "^"}},
		{"check, expressions", []string{"check", deep}, 1, "", []string{deep + ":3:21: to: "}},
		{"check, no file", []string{"check", valid + ".none"}, 1, "", []string{"sluice: open " + valid + ".none: no such file"}},
		{"run, no file", []string{"run", valid + ".none"}, 1, "", []string{"sluice: open " + valid + ".none: no such file"}},
		{"run, errors", []string{"run", "--watch", wrong}, 1, "", []string{wrong + `:2:19: unknown key "adress"`}},
		{"run, expressions", []string{"run", deep}, 1, "", []string{deep + ":3:21: to: "}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, out, errs := call(tc.args...)
			if code != tc.code || !strings.HasPrefix(out, tc.out) || tc.out == "" && out != "" {
				t.Errorf("code %d, want %d; output\n%s", code, tc.code, out)
			}
			for _, want := range tc.errs {
				if !strings.Contains(errs, want) {
					t.Errorf("no %s in\n%s", want, errs)
				}
			}
			if len(tc.errs) == 0 && errs != "" {
				t.Errorf("on standard error:\n%s", errs)
			}
		})
	}
}

func TestUsageNamesEveryCommand(t *testing.T) {
	for word := range commands {
		if !strings.Contains(usage, "\n  sluice "+word) {
			t.Errorf("the usage does not tell of %s", word)
		}
	}
}

func TestSchemaIsJSON(t *testing.T) {
	code, out, errs := call("schema")
	var schema map[string]any
	if err := json.Unmarshal([]byte(out), &schema); code != 0 || err != nil || errs != "" || schema["properties"] == nil && schema["$ref"] == nil {
		t.Errorf("code %d, %v, %q", code, err, errs)
	}
}

// TestReferenceIsUpToDate compares with docs/configuration.md, which `go generate ./cmd/sluice` writes.
func TestReferenceIsUpToDate(t *testing.T) {
	code, out, _ := call("docs")
	want, err := os.ReadFile("../../docs/configuration.md")
	if err != nil || code != 0 {
		t.Fatal(code, err)
	}
	if out != string(want) {
		t.Error("docs/configuration.md is not what `sluice docs` writes: run make generate")
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestOutputThatFails(t *testing.T) {
	var errs strings.Builder
	if code := run([]string{"docs"}, full{}, &errs); code != 1 || !strings.Contains(errs.String(), "no space left") {
		t.Errorf("code %d, %s", code, errs.String())
	}
}
