package lint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// findRoot returns the folder of the repository: the nearest one above the working directory that holds go.mod.
func findRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("no go.mod above the working directory: run the lint inside the repository")
		}
		dir = up
	}
}

// loadTree reads the repository at root: every file that git would track, and the imports of every package.
func loadTree(root string) (*tree, error) {
	paths, err := listFiles(root)
	if err != nil {
		return nil, err
	}
	t := &tree{root: root}
	for _, path := range paths {
		src, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(path)))
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed between the listing and the reading
		}
		if err != nil {
			return nil, err
		}
		if bytes.IndexByte(src, 0) >= 0 {
			continue // not text
		}
		t.texts = append(t.texts, textFile{path, src})
		if strings.HasSuffix(path, ".go") && !goIgnores(path) {
			f, err := parseFile(path, src)
			if err != nil {
				return nil, err
			}
			t.gos = append(t.gos, f)
		}
	}
	t.deps, err = loadDeps(root)
	return t, err
}

// listFiles returns the paths of all files below root that git does not ignore, in lexical order. It walks the folders itself instead of asking
// git for the list: the go command then sees what was looked at, and does not answer from its test cache when a file is new.
func listFiles(root string) ([]string, error) {
	ignored := ignoredPaths(root)
	var paths []string
	err := filepath.WalkDir(root, func(full string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, full)
		if err != nil {
			return err
		}
		path := filepath.ToSlash(rel)
		switch {
		case d.IsDir() && (d.Name() == ".git" || ignored[path+"/"]):
			return filepath.SkipDir
		case d.Type().IsRegular() && !ignored[path]:
			paths = append(paths, path)
		}
		return nil
	})
	return paths, err
}

// ignoredPaths returns the files and (with a slash at the end) folders that git ignores. Outside a git work tree, as in an unpacked archive, it is
// empty: nothing has been built there yet.
func ignoredPaths(root string) map[string]bool {
	cmd := exec.Command("git", "ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--directory")
	cmd.Dir = root
	out, err := cmd.Output()
	ignored := make(map[string]bool)
	if err != nil {
		return ignored
	}
	for path := range strings.SplitSeq(string(out), "\x00") {
		ignored[path] = true
	}
	return ignored
}

// goIgnores reports whether the go command leaves path out of every package.
func goIgnores(path string) bool {
	for elem := range strings.SplitSeq(path, "/") {
		if elem == "testdata" || strings.HasPrefix(elem, "_") || strings.HasPrefix(elem, ".") {
			return true
		}
	}
	return false
}

// parseFile parses one Go file.
func parseFile(path string, src []byte) (*goFile, error) {
	fset := token.NewFileSet()
	tree, err := parser.ParseFile(fset, path, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	return &goFile{
		path: path, src: src, fset: fset, ast: tree,
		test:      strings.HasSuffix(path, "_test.go"),
		generated: ast.IsGenerated(tree),
		invariant: needsTag(tree, "invariants"),
	}, nil
}

// needsTag reports whether the file is built only when tag is set.
func needsTag(f *ast.File, tag string) bool {
	for _, group := range f.Comments {
		if group.Pos() > f.Package {
			break
		}
		for _, c := range group.List {
			if !constraint.IsGoBuild(c.Text) {
				continue
			}
			expr, err := constraint.Parse(c.Text)
			if err != nil {
				continue
			}
			return !expr.Eval(func(t string) bool { return t != tag })
		}
	}
	return false
}

// loadDeps asks the go command for the imports of every package of the module and of all packages that they reach, without those of tests.
func loadDeps(root string) (map[string][]string, error) {
	// -e: a package that does not build is the compiler's finding, not one of these rules'.
	cmd := exec.Command("go", "list", "-e", "-deps", "-json=ImportPath,Imports", "./...")
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w\n%s", err, stderr.Bytes())
	}
	deps := make(map[string][]string)
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return deps, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		deps[p.ImportPath] = p.Imports
	}
}
