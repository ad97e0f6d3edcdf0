package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"regexp/syntax"

	"github.com/santhosh-tekuri/jsonschema/v6"
	keyword "github.com/santhosh-tekuri/jsonschema/v6/kind"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/document"
)

// The bounds of a schema.
const (
	maxSchemaFile = 4 << 20
	maxPattern    = 4 << 10  // bytes of a regular expression
	maxPatternRun = 16 << 10 // instructions that it compiles to
)

// schema is a compiled JSON Schema. It is immutable, and may be used by many goroutines at once.
type schema struct{ root *jsonschema.Schema }

// openSchema compiles the schema of a configuration, which may be in a file.
func openSchema(text config.JSON, c *config.Config) (*schema, error) {
	dir := ""
	if c != nil && c.Source != nil {
		dir = filepath.Dir(c.Source.File)
	}
	name, ok := schemaFile(text)
	if !ok {
		return compileSchema(text, filepath.Join(dir, "schema"))
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(dir, name)
	}
	data, err := readSchema(name)
	if err != nil {
		return nil, fmt.Errorf("the file %s: %w", name, plainError(err))
	}
	s, err := compileSchema(data, name)
	if err != nil {
		return nil, fmt.Errorf("the file %s: %w", name, err)
	}
	return s, nil
}

// plainError leaves out what the caller says already.
func plainError(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// readSchema reads a file of bounded size.
func readSchema(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // read only: nothing to lose
	data, err := io.ReadAll(io.LimitReader(f, maxSchemaFile+1))
	if err == nil && len(data) > maxSchemaFile {
		err = fmt.Errorf("it is larger than %d MiB", maxSchemaFile>>20)
	}
	return data, err
}

// compileSchema compiles a schema that stands at a place, which its references are relative to.
func compileSchema(text []byte, place string) (*schema, error) {
	if _, err := document.Parse(text, document.Limits{Depth: 256, Keys: 1 << 20, Digits: 1 << 10}); err != nil {
		return nil, err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	place, err = filepath.Abs(place)
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	c.UseRegexpEngine(compilePattern)
	c.UseLoader(&schemaLoader{filepath.Dir(place)})
	if err := c.AddResource(place, doc); err != nil {
		return nil, err
	}
	root, err := c.Compile(place)
	if err != nil {
		return nil, schemaError(err)
	}
	return &schema{root}, nil
}

// schemaError says in one line what is wrong with a schema, and where.
func schemaError(err error) error {
	var invalid *jsonschema.SchemaValidationError
	var violated *jsonschema.ValidationError
	if !errors.As(err, &invalid) || !errors.As(invalid.Err, &violated) {
		return err
	}
	if at, why := badPattern(violated); why != nil {
		return fmt.Errorf("it is no schema: %s: the regular expression is not one of RE2, or too large: %w", at, why)
	}
	c := violationList{alternatives: true}
	c.collect(violated)
	list := c.sorted()
	if len(list) == 0 {
		return err
	}
	what := list[0].detail
	for _, v := range list[1:] {
		if v.pointer == list[0].pointer {
			what += ", or " + v.detail
		}
	}
	return fmt.Errorf("it is no schema: %s: %s", list[0].pointer, what)
}

// badPattern looks for a regular expression among what is wrong with a schema.
func badPattern(err *jsonschema.ValidationError) (at string, why error) {
	if k, ok := err.ErrorKind.(*keyword.Format); ok && k.Want == "regex" {
		return pointerOf(err.InstanceLocation), k.Err
	}
	for _, cause := range err.Causes {
		if at, why = badPattern(cause); why != nil {
			return at, why
		}
	}
	return "", nil
}

// schemaLoader reads the schemas that another one refers to.
type schemaLoader struct{ dir string }

// errElsewhere is why a reference is not followed.
var errElsewhere = errors.New("references lead only to files beside the schema: put a copy there")

// Load implements jsonschema.URLLoader.
func (l *schemaLoader) Load(from string) (any, error) {
	u, err := url.Parse(from)
	if err != nil || u.Scheme != "file" || u.Host != "" {
		return nil, errElsewhere
	}
	name := filepath.FromSlash(u.Path)
	if inside, err := filepath.Rel(l.dir, name); err != nil || !filepath.IsLocal(inside) {
		return nil, errElsewhere
	}
	data, err := readSchema(name)
	if err != nil {
		return nil, plainError(err)
	}
	return jsonschema.UnmarshalJSON(bytes.NewReader(data))
}

// compilePattern compiles a regular expression of a schema. RE2 takes time in proportion to the text, and to the size that is bounded here.
func compilePattern(text string) (jsonschema.Regexp, error) {
	if len(text) > maxPattern {
		return nil, fmt.Errorf("it is longer than %d bytes", maxPattern)
	}
	tree, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, err
	}
	program, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return nil, err
	}
	if len(program.Inst) > maxPatternRun {
		return nil, fmt.Errorf("it compiles to more than %d steps", maxPatternRun)
	}
	return regexp.Compile(text)
}

// validate returns how a document does not follow the schema, at most maxViolations things.
func (s *schema) validate(v document.Value) []violation {
	err := s.root.Validate(v.Decode())
	if err == nil {
		return nil
	}
	var violated *jsonschema.ValidationError
	if errors.As(err, &violated) {
		if list := violations(violated); len(list) > 0 {
			return list
		}
	}
	return []violation{{"#", "the body does not follow the schema"}}
}
