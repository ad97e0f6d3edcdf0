package lint

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// long turns on the checks that take tens of seconds. `make lint` sets it.
var long = flag.Bool("long", false, "also run go vet, staticcheck, go mod tidy, the generators and the macOS build")

// check is one run of a tool over the repository: it must succeed and say nothing.
type check struct {
	name string
	env  []string
	args []string
	bad  string // a package that the same tool must find fault with; empty when it takes no package
	says string // part of what it says about that package
}

// checks are the tools of the house. The last argument is replaced by the bad package to show that the tool works.
var checks = []check{
	{"tidy", nil, []string{"mod", "tidy", "-diff"}, "", ""},
	{"vet", nil, []string{"vet", "./..."}, "./internal/lint/testdata/bad", "Printf format %d"},
	{"vet-invariants", nil, []string{"vet", "-tags", "invariants", "./..."}, "./internal/lint/testdata/bad", "Printf format %d"},
	{"vet-darwin", []string{"GOOS=darwin", "GOARCH=arm64"}, []string{"vet", "./..."}, "./internal/lint/testdata/linuxonly", "EpollCreate1"},
	{"staticcheck", nil, []string{"tool", "staticcheck", "./..."}, "./internal/lint/testdata/bad", "U1000"},
	{"staticcheck-invariants", nil, []string{"tool", "staticcheck", "-tags", "invariants", "./..."}, "./internal/lint/testdata/bad", "U1000"},
}

// goTool runs the go command at root. What it printed is part of the error.
func goTool(root string, env []string, args ...string) error {
	cmd := exec.Command("go", args...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("go %v: %w\n%s", args, err, out)
	}
	return nil
}

func TestLongTools(t *testing.T) {
	if !*long {
		t.Skip("only with -long: make lint")
	}
	root, err := findRoot()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			if err := goTool(root, c.env, c.args...); err != nil {
				t.Error(err)
			}
			if c.bad == "" {
				return
			}
			args := append(slices.Clone(c.args[:len(c.args)-1]), c.bad)
			if err := goTool(root, c.env, args...); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("go %v: error = %v, want one with %q", args, err, c.says)
			}
		})
	}
}

// TestGenerated runs the generators in a copy of the repository and compares: what is checked in must be what they write.
func TestLongGenerated(t *testing.T) {
	if !*long {
		t.Skip("only with -long: make lint")
	}
	root, err := findRoot()
	if err != nil {
		t.Fatal(err)
	}
	scratch := t.TempDir()
	if err := copyTree(scratch, root); err != nil {
		t.Fatal(err)
	}
	if err := goTool(scratch, nil, "generate", "./..."); err != nil {
		t.Fatal(err)
	}
	changed, err := differences(root, scratch)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range changed {
		t.Errorf("%s is not what its generator writes: run make generate", path)
	}
}

// copyTree copies the files of the repository at from, without what git ignores, to the empty folder to.
func copyTree(to, from string) error {
	paths, err := listFiles(from)
	if err != nil {
		return err
	}
	for _, path := range paths {
		src, err := os.ReadFile(filepath.Join(from, path))
		if err != nil {
			return err
		}
		dst := filepath.Join(to, path)
		if err := os.MkdirAll(filepath.Dir(dst), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(dst, src, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// differences returns the paths of the files that differ between the repository at a and the folder b, or are in one of them only.
func differences(a, b string) ([]string, error) {
	var changed []string
	seen := make(map[string]bool)
	for i, dir := range []string{a, b} {
		paths, err := listFiles(dir)
		if err != nil {
			return nil, err
		}
		other := []string{b, a}[i]
		for _, path := range paths {
			if seen[path] {
				continue
			}
			seen[path] = true
			one, err := os.ReadFile(filepath.Join(dir, path))
			if err != nil {
				return nil, err
			}
			two, err := os.ReadFile(filepath.Join(other, path))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			if err != nil || !bytes.Equal(one, two) {
				changed = append(changed, path)
			}
		}
	}
	return changed, nil
}

func TestDifferences(t *testing.T) {
	a, b := t.TempDir(), filepath.Join(t.TempDir(), "b")
	write := func(dir, path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(path)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, path), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(a, "same", "1")
	write(a, "sub/changed", "1")
	write(a, "gone", "1")
	if err := copyTree(b, a); err != nil {
		t.Fatal(err)
	}
	if got, err := differences(a, b); err != nil || len(got) != 0 {
		t.Fatalf("right after the copy: %v, %v; want no difference", got, err)
	}
	write(b, "sub/changed", "2")
	write(b, "sub/new", "1")
	if err := os.Remove(filepath.Join(b, "gone")); err != nil {
		t.Fatal(err)
	}
	got, err := differences(a, b)
	slices.Sort(got)
	if want := []string{"gone", "sub/changed", "sub/new"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("differences = %v, %v; want %v", got, err, want)
	}
}
