package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// TestUpToDate fails when a doc comment was changed without `go generate ./config`.
func TestUpToDate(t *testing.T) {
	want, err := generate([]string{"..", "../../policy"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../docs_gen.go")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Error("docs_gen.go is not what the comments say: run go generate ./config")
	}
}

func TestGenerate(t *testing.T) {
	dir := t.TempDir()
	source := "package policy\n\n" +
		"// Limit is a limit\n// of two lines. See [Other].\ntype Limit struct {\n" +
		"\t// Rate bounds \"it\".\n\tRate int `yaml:\"rate\"`\n" +
		"\t// Max of it.\n\tMax int `yaml:\"max\"`\n" +
		"\t// Hidden is not a key.\n\tHidden int `yaml:\"-\"`\n" +
		"\t// Plain is not one either.\n\tPlain int\n}\n\n" +
		"// Other has no keys.\ntype Other struct{ A int }\n"
	if err := os.WriteFile(filepath.Join(dir, "limit.go"), []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "limit_test.go"), []byte("not Go"), 0o600); err != nil {
		t.Fatal(err)
	}
	text, err := generate([]string{dir, filepath.Join(dir, "none")})
	if err != nil {
		t.Fatal(err)
	}
	got := string(text)
	for _, want := range []string{
		`"policy.Limit":`, `"A limit of two lines. See Other."`, `"policy.Limit.Rate":`, `"Bounds \"it\"."`, `"policy.Limit.Max":`, `"Max of it."`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is missing in\n%s", want, got)
		}
	}
	for _, not := range []string{"Hidden", "Plain", "policy.Other"} {
		if strings.Contains(got, not) {
			t.Errorf("%s is there in\n%s", not, got)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "broken.go"), []byte("package"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := generate([]string{dir}); err == nil {
		t.Error("a file that is not Go is accepted")
	}
}
