package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Bounds of what is read from files and the environment: one value, all values, and their number.
const (
	maxOutside    = 1 << 20
	maxOutsideAll = 16 << 20
	maxReferences = 1000
)

// expand replaces `${env:NAME}` and `${file:PATH}` in a text. Other `${…}` stay for those who evaluate them. Nothing is expanded twice: a value that
// brings a `${`, by itself or with what stands beside it, is refused. The values are remembered, so that no message repeats them. outside says that
// something was replaced.
func (d *decoder) expand(n *yaml.Node, f *field) (text string, outside, ok bool) {
	rest := n.Value
	if !strings.Contains(rest, "${env:") && !strings.Contains(rest, "${file:") {
		return rest, false, true
	}
	var b strings.Builder
	for reference := ""; ; outside = true {
		at := firstReference(rest)
		before := rest
		if at >= 0 {
			before = rest[:at]
		}
		if begins(b.String(), before) {
			d.failReference(n, f, reference, errExpanded)
			return "", false, false
		}
		b.WriteString(before)
		if at < 0 {
			return b.String(), outside, true
		}
		end := strings.IndexByte(rest[at:], '}')
		if end < 0 {
			d.fail(posOf(n), "", "%s: the reference %s has no closing brace", f.name, quote(rest[at:]))
			return "", false, false
		}
		reference = rest[at : at+end+1]
		rest = rest[at+end+1:]
		value, err := d.lookup(reference)
		if err == nil && (strings.Contains(value, "${") || begins(b.String(), value)) {
			err = errExpanded
		}
		if err != nil {
			d.failReference(n, f, reference, err)
			return "", false, false
		}
		if value != "" {
			d.src.remember(value, reference)
		}
		b.WriteString(value)
		if b.Len() > maxOutside {
			d.fail(posOf(n), "", "%s: the value has more than %d bytes", f.name, maxOutside)
			return "", false, false
		}
	}
}

// errExpanded says that a value from outside would be expanded again. Whoever can write it could otherwise read what the configuration does not
// name, or make expressions.
var errExpanded = errors.New("with its value the text has a ${ that is not in the file; values from outside cannot hold references or expressions")

// begins reports whether a and b together have a `${` that neither has alone.
func begins(a, b string) bool { return strings.HasSuffix(a, "$") && strings.HasPrefix(b, "{") }

func (d *decoder) failReference(n *yaml.Node, f *field, reference string, err error) {
	d.fail(posOf(n), "", "%s: %s: %s", f.name, reference, err)
}

func firstReference(s string) int {
	env, file := strings.Index(s, "${env:"), strings.Index(s, "${file:")
	if env < 0 || file >= 0 && file < env {
		return file
	}
	return env
}

// lookup reads the value of a reference. Its errors name the reference only, never a value.
func (d *decoder) lookup(reference string) (string, error) {
	if d.references++; d.references > maxReferences {
		return "", fmt.Errorf("the configuration has more than %d references", maxReferences)
	}
	if d.src.outside > maxOutsideAll {
		return "", fmt.Errorf("all references together have more than %d MiB", maxOutsideAll>>20)
	}
	in := reference[2 : len(reference)-1]
	kind, name, _ := strings.Cut(in, ":")
	if name == "" {
		return "", errors.New("the name is missing")
	}
	if kind == "env" {
		value, ok := d.options.Getenv(name)
		if !ok {
			return "", errors.New("the environment has no such variable")
		}
		return value, nil
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(d.dir, name)
	}
	return readSecret(name)
}

// readSecret reads a file without its final line break.
func readSecret(name string) (string, error) {
	if info, err := os.Stat(name); err != nil { // before opening: opening a pipe would wait for its writer
		return "", fileProblem(err)
	} else if !info.Mode().IsRegular() {
		return "", errors.New("it is not a regular file")
	}
	f, err := os.Open(name)
	if err != nil {
		return "", fileProblem(err)
	}
	defer func() { _ = f.Close() }() // read only: nothing to lose
	data, err := io.ReadAll(io.LimitReader(f, maxOutside+1))
	if err != nil {
		return "", fileProblem(err)
	}
	if len(data) > maxOutside {
		return "", fmt.Errorf("the file has more than %d bytes", maxOutside)
	}
	if !utf8.Valid(data) {
		return "", errors.New("the file is not UTF-8 text")
	}
	text := strings.TrimSuffix(string(data), "\n")
	return strings.TrimSuffix(text, "\r"), nil
}

// fileProblem says in the same words on every system why a file cannot be read.
func fileProblem(err error) error {
	var p *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("the file does not exist")
	case errors.Is(err, fs.ErrPermission):
		return errors.New("the file may not be read")
	case errors.As(err, &p):
		return p.Err
	}
	return err
}
