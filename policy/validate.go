package policy

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/document"
	"github.com/sluice-gateway/sluice/message"
)

// ValidateOptions looks at the body of a request before anything is forwarded, in this order: its type, its size, whether it is well-formed JSON, its depth
// and members, its schema. What passes goes on with the client's bytes.
type ValidateOptions struct {
	// MaxBody is the largest body that passes. One more byte is refused with 413 `body_too_large`, also where the client did not announce its length.
	MaxBody config.Size `yaml:"max_body" default:"1MiB" min:"1B" max:"64MiB"`
	// ContentType lists the media types that pass, without parameters; `image/*` stands for all of a kind. Others, and a body without a type, are refused
	// with 415 `content_type_unsupported`, and so is a body that is compressed. Without the list all types pass; where there is a schema, JSON.
	ContentType []string `yaml:"content_type,single" max:"32"`
	// JSONSchema is a JSON Schema (draft 2020-12, unless its `$schema` says another), or `{file: PATH}` with the name of a file that holds one. Formats are
	// checked, and regular expressions are those of RE2. References lead to files beside it, and are never fetched from elsewhere. A body that does not
	// follow it is refused with 422 `schema_violated`; the member `errors` of the problem says where.
	JSONSchema config.JSON `yaml:"json_schema"`
	// MaxDepth bounds arrays and objects within each other. A deeper body is refused with 422 `json_too_deep`.
	MaxDepth int `yaml:"max_depth" default:"64" min:"1" max:"1024"`
	// MaxKeys bounds the members of all objects together. A body with more is refused with 422 `json_too_large`.
	MaxKeys int `yaml:"max_keys" default:"10000" min:"1" max:"1000000"`
	// MaxNumber bounds the digits of a number, written without an exponent. A body with a longer one is refused with 422 `json_too_large`.
	MaxNumber int `yaml:"max_number" default:"1000" min:"1" max:"100000"`
}

// Check reports types that are none, and a schema that does not compile.
func (o *ValidateOptions) Check(r *config.Reporter) {
	once := repeats{r: r, key: "content_type", fold: true}
	for i := range o.ContentType {
		at := r.At(&o.ContentType[i])
		kind, sub, ok := strings.Cut(o.ContentType[i], "/")
		if !ok || !message.ValidToken([]byte(kind)) || !message.ValidToken([]byte(sub)) || kind == "*" {
			r.AddSuggest(at, "write application/json", "content_type: %q is no media type without parameters", o.ContentType[i])
		}
		once.see(at, o.ContentType[i])
	}
	if o.JSONSchema == nil {
		return
	}
	if _, ok := schemaFile(o.JSONSchema); ok {
		return // it is read where the file's folder is known
	}
	var reference *jsonschema.LoadURLError // is followed where the folder is known
	if _, err := compileSchema(o.JSONSchema, "schema"); err != nil && !errors.As(err, &reference) {
		r.Add(r.At(&o.JSONSchema), "json_schema: %v", err)
	}
}

// validatePolicy looks at bodies of requests.
type validatePolicy struct {
	max    int64
	types  []string // lower case; nil for all
	schema *schema  // nil for none
	limits document.Limits
	memory *bodyMemory
	errs   bodyErrors

	unsupported, encoding, absent *message.Failure
}

func newValidate(o *ValidateOptions, c *BuildContext) any {
	p := &validatePolicy{
		max:    int64(o.MaxBody),
		limits: document.Limits{Depth: o.MaxDepth, Keys: o.MaxKeys, Digits: o.MaxNumber, Duplicates: true},
		errs:   newBodyErrors(c.Name, ofRequest),
	}
	for _, t := range o.ContentType {
		p.types = append(p.types, strings.ToLower(t))
	}
	refuse := func(reason message.Reason, what string) *message.Failure {
		return &message.Failure{Reason: reason, Side: message.SideClient, Stage: message.StageRoute, Err: fmt.Errorf("policy %s: %s", c.Name, what)}
	}
	p.unsupported = refuse(message.ContentTypeUnsupported, "the type of the body is not among those that pass")
	if accepted := strings.Join(p.types, ", "); accepted != "" {
		p.unsupported.Fields = []message.FieldValue{{Name: message.Accept.Name(), Value: []byte(accepted)}} // RFC 9110 section 15.5.16
	}
	p.encoding = refuse(message.ContentTypeUnsupported, "the body is encoded")
	p.encoding.Fields = p.errs.encoding.Fields
	p.absent = refuse(message.SchemaViolated, "there is no body")
	p.absent.Members = []byte(`,"errors":[{"pointer":"#","detail":"the body is missing"}]`)
	if o.JSONSchema != nil {
		s, err := openSchema(o.JSONSchema, c.Config)
		if err != nil {
			c.Report.Add(c.Report.At(&o.JSONSchema), "json_schema: %v", err)
			return nil
		}
		p.schema = s
	}
	p.memory = c.bodyMemory()
	return p
}

// OnRequest implements Request.
func (p *validatePolicy) OnRequest(x *message.Exchange) (done bool, err error) {
	if f := p.look(x); f != nil {
		return false, f
	}
	return false, nil
}

// OnResponse implements Response: the memory of the body is given back.
func (p *validatePolicy) OnResponse(x *message.Exchange) error {
	p.memory.settle(x, p)
	return nil
}

// look returns why a request does not pass.
func (p *validatePolicy) look(x *message.Exchange) *message.Failure {
	r := &x.Request
	if r.Length == 0 {
		return p.empty()
	}
	t := mediaType(&r.Header)
	if !p.passes(t) {
		return p.unsupported
	}
	if r.Length > p.max {
		return p.errs.size
	}
	isJSON := p.schema != nil || isJSONType(t)
	if isEncoded(&r.Header) && (isJSON || len(p.types) > 0) {
		return p.encoding
	}
	if !isJSON && r.Length != message.LengthUnknown {
		return nil // its length is known, and nothing else is asked for
	}
	c, f := p.memory.ofRequest(x, p, p.max, &p.errs)
	switch {
	case f != nil:
		return f
	case len(c.text) == 0:
		return p.empty()
	case !isJSON:
		return nil
	}
	c.checked = false // by the bounds of another policy
	v, err := c.parse(p.limits)
	if err != nil {
		return p.malformed(x, err)
	}
	return p.follows(x, v)
}

// empty is what becomes of a request without a body.
func (p *validatePolicy) empty() *message.Failure {
	if p.schema != nil {
		return p.absent
	}
	return nil
}

// passes reports whether the type t may pass.
func (p *validatePolicy) passes(t []byte) bool {
	if len(p.types) == 0 {
		return p.schema == nil || isJSONType(t)
	}
	for _, want := range p.types {
		if message.EqualFold(t, want) {
			return true
		}
		if kind, ok := strings.CutSuffix(want, "*"); ok && len(t) > len(kind) && message.EqualFold(t[:len(kind)], kind) {
			return true
		}
	}
	return false
}

// malformed returns the failure for a body that is not JSON within the bounds, with the place.
func (p *validatePolicy) malformed(x *message.Exchange, err error) *message.Failure {
	g := *p.errs.of(err)
	b := append(x.Scratch(), `,"errors":[{"pointer":"#","detail":`...)
	b = document.AppendString(b, []byte(err.Error()))
	g.Members = x.KeepScratch(append(b, "}]"...))
	return &g
}

// follows returns the failure for a document that does not follow the schema.
func (p *validatePolicy) follows(x *message.Exchange, v document.Value) *message.Failure {
	if p.schema == nil {
		return nil
	}
	size := decodedSize(v.Raw())
	if !p.memory.reserve(size) {
		return p.errs.memory
	}
	defer p.memory.free(size)
	list := p.schema.validate(v)
	if len(list) == 0 {
		return nil
	}
	b := append(x.Scratch(), `,"errors":[`...)
	for i := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"pointer":`...)
		b = document.AppendString(b, []byte(list[i].pointer))
		b = append(b, `,"detail":`...)
		b = document.AppendString(b, []byte(list[i].detail))
		b = append(b, '}')
	}
	f := *p.absent
	f.Members = x.KeepScratch(append(b, ']'))
	f.Err = fmt.Errorf("%s: %s", list[0].pointer, list[0].detail)
	return &f
}

// schemaFile returns the name of the file in `{file: NAME}`. No keyword of JSON Schema has that name.
func schemaFile(text []byte) (name string, ok bool) {
	v := document.Of(bytes.TrimSpace(text))
	if v.Kind() != document.Object || v.Len() != 1 {
		return "", false
	}
	file := v.Member("file")
	if file.Kind() != document.String {
		return "", false
	}
	return textOf(file), true
}
