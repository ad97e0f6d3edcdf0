package lint

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"path"
	"regexp"
	"strings"
)

// maxLines is the length of a file that can still be read at one sitting.
const maxLines = 600

func checkLength(f *goFile, report reporter) {
	if n := bytes.Count(f.src, []byte("\n")); n > maxLines && !f.generated {
		report(f.ast.Package, "%d lines, and %d is the limit: split it by responsibility (conn_read.go, conn_write.go)", n, maxLines)
	}
}

// isFormatted reports whether src is what gofmt would write.
func isFormatted(src []byte) bool {
	want, err := format.Source(src)
	return err == nil && bytes.Equal(src, want)
}

// unfinished finds the marks of work left for later. It is put together from pieces so that it does not find itself.
var unfinished = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X|HA` + `CK)\b`)

const whyUnfinished = "do it now, or open an issue and describe what is, not what should be"

// checkUnfinished looks at the comments of Go files only: the words may well be data.
func checkUnfinished(f *goFile, report reporter) {
	for _, group := range f.ast.Comments {
		for _, c := range group.List {
			if word := unfinished.FindString(c.Text); word != "" {
				report(c.Pos(), "no %s: %s", word, whyUnfinished)
			}
		}
	}
}

// checkUnfinishedText looks at scripts and configuration files. Prose may speak about the words.
func checkUnfinishedText(t *tree) []finding {
	var all []finding
	for _, f := range t.texts {
		switch path.Ext(f.path) {
		case ".go", ".md", ".sum":
			continue
		}
		if path.Base(f.path) == "LICENSE" || strings.Contains(f.path, "testdata/") {
			continue
		}
		eachLine(f.src, func(n int, line []byte) {
			if word := unfinished.Find(line); word != nil {
				all = append(all, finding{f.path, n, "unfinished-text", fmt.Sprintf("no %s: %s", word, whyUnfinished)})
			}
		})
	}
	return all
}

// machineWord is something that is true on one machine only. The patterns are put together from pieces so that they do not find themselves.
type machineWord struct {
	pattern *regexp.Regexp
	instead string
}

// machineWords are looked for in every text file. Read-only.
var machineWords = []machineWord{
	// Only where the path begins: the same word inside a longer path or a URL is somebody else's folder.
	{regexp.MustCompile(`(^|[^\w.~%/}-])/(wo` + `rk|ro` + `ot|ho` + `me|Us` + `ers)/`), "a path of one machine; use a path relative to the repository, t.TempDir(), or a variable"},
	{regexp.MustCompile(`(?i)\b(proxy\.gol` + `ang\.org|sum\.gol` + `ang\.org|gop` + `roxy\.|arti` + `factory|registry\.np` + `mjs|py` + `pi\.org|deb\.deb` + `ian\.org|archive\.ub` + `untu\.com)`),
		"a registry's host; the package manager's own settings name it"},
}

// checkMachineWords keeps out what is true on one machine only.
func checkMachineWords(t *tree) []finding {
	var all []finding
	for _, f := range t.texts {
		eachLine(f.src, func(n int, line []byte) {
			for _, w := range machineWords {
				if word := w.pattern.Find(line); word != nil {
					all = append(all, finding{f.path, n, "machine", fmt.Sprintf("%q is %s", bytes.TrimSpace(word), w.instead)})
				}
			}
		})
	}
	return all
}

// eachLine calls visit with each line of src and its number, from 1.
func eachLine(src []byte, visit func(n int, line []byte)) {
	n := 0
	for line := range bytes.Lines(src) {
		n++
		visit(n, line)
	}
}

// checkPackageDocs wants one comment per package that says what the package is.
func checkPackageDocs(t *tree) []finding {
	first := make(map[string]*goFile)
	documented := make(map[string]bool)
	for _, f := range t.gos {
		// A program in the folder of a package (a generator) is a package of its own.
		key := f.dir() + " " + f.ast.Name.Name
		if f.test {
			continue
		}
		if first[key] == nil {
			first[key] = f
		}
		documented[key] = documented[key] || hasText(f.ast.Doc)
	}
	var all []finding
	for key, f := range first {
		if !documented[key] {
			all = append(all, finding{f.path, f.line(f.ast.Package), "package-doc",
				fmt.Sprintf("package %s needs a comment in one of its files: what it is for, and what it does not do", f.ast.Name.Name)})
		}
	}
	return all
}

func hasText(doc *ast.CommentGroup) bool { return doc != nil && strings.TrimSpace(doc.Text()) != "" }
