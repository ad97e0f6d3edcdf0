package expr

import (
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/sluice-gateway/sluice/document"
)

// structure is the type of a variable that has members. Its name cannot be written in an expression, so that nobody can make a value of it.
type structure struct {
	name   string
	fields []fieldType
}

// fieldType is a member of a structure.
type fieldType struct {
	name string
	op   op
	typ  *types.Type
}

// The structures; read-only.
var (
	requestStructure = structure{"the request", []fieldType{
		{"method", opMethod, types.StringType},
		{"scheme", opScheme, types.StringType},
		{"host", opHost, types.StringType},
		{"path", opPath, types.StringType},
		{"query", opQuery, textMap},
		{"query_all", opQueryMap, types.NewMapType(types.StringType, types.NewListType(types.StringType))},
		{"headers", opRequestHeaders, textMap},
		{"cookies", opCookies, textMap},
		{"size", opSize, types.IntType},
		{"id", opID, types.StringType},
	}}
	clientStructure = structure{"the client", []fieldType{
		{"ip", opClientIP, types.StringType},
		{"port", opClientPort, types.IntType},
		{"cert", opCertificate, types.NewObjectType("the certificate of the client")},
	}}
	certificateStructure = structure{"the certificate of the client", []fieldType{
		{"subject", opSubject, types.StringType},
		{"issuer", opIssuer, types.StringType},
		{"serial", opSerial, types.StringType},
		{"fingerprint", opFingerprint, types.StringType},
		{"san", opAltNames, types.NewListType(types.StringType)},
	}}
	consumerStructure = structure{"the consumer", []fieldType{
		{"name", opConsumer, types.StringType},
		{"plan", opPlan, types.StringType},
	}}
	responseStructure = structure{"the response", []fieldType{
		{"status", opStatus, types.IntType},
		{"headers", opResponseHeaders, textMap},
	}}
	stepStructure = structure{"the step", []fieldType{
		{"status", opStepStatus, types.IntType},
		{"headers", opStepHeader, textMap},
		{"body", opStepBody, types.DynType},
	}}
	structures = []*structure{&requestStructure, &clientStructure, &certificateStructure, &consumerStructure, &responseStructure, &stepStructure}

	textMap = types.NewMapType(types.StringType, types.StringType)
)

func (s *structure) field(name string) *fieldType {
	for i := range s.fields {
		if s.fields[i].name == name {
			return &s.fields[i]
		}
	}
	return nil
}

// celVariables declares what the environment knows.
func (e *Env) celVariables() []cel.EnvOption {
	var list []cel.EnvOption
	object := func(name string, s *structure) {
		if e.knows(name) {
			list = append(list, cel.Variable(name, cel.ObjectType(s.name)))
		}
	}
	object(varRequest, &requestStructure)
	object(varClient, &clientStructure)
	object(varConsumer, &consumerStructure)
	object(varResponse, &responseStructure)
	if e.knows(varPath) {
		list = append(list, cel.Variable(varPath, textMap))
	}
	if e.knows(varClaims) {
		list = append(list, cel.Variable(varClaims, cel.MapType(cel.StringType, cel.DynType)))
	}
	if e.knows(varVersion) {
		list = append(list, cel.Variable(varVersion, cel.StringType))
	}
	for _, name := range e.Steps {
		list = append(list, cel.Variable(name, cel.ObjectType(stepStructure.name)))
	}
	if e.Item != "" {
		list = append(list, cel.Variable(e.Item, cel.DynType))
	}
	return list
}

// provider adds the structures to the types of CEL. It is immutable.
type provider struct{ types.Provider }

func findStructure(name string) *structure {
	if i := slices.IndexFunc(structures, func(s *structure) bool { return s.name == name }); i >= 0 {
		return structures[i]
	}
	return nil
}

// FindStructType implements types.Provider.
func (p provider) FindStructType(name string) (*types.Type, bool) {
	if findStructure(name) != nil {
		return types.NewTypeTypeWithParam(types.NewObjectType(name)), true
	}
	return p.Provider.FindStructType(name)
}

// FindStructFieldNames implements types.Provider.
func (p provider) FindStructFieldNames(name string) ([]string, bool) {
	s := findStructure(name)
	if s == nil {
		return p.Provider.FindStructFieldNames(name)
	}
	var names []string
	for _, f := range s.fields {
		names = append(names, f.name)
	}
	return names, true
}

// FindStructFieldType implements types.Provider.
func (p provider) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	s := findStructure(name)
	if s == nil {
		return p.Provider.FindStructFieldType(name, field)
	}
	f := s.field(field)
	if f == nil {
		return nil, false
	}
	return &types.FieldType{
		Type: f.typ,
		IsSet: func(target any) bool {
			o, ok := target.(*root)
			return ok && !types.IsError(o.member(f.op))
		},
		GetFrom: func(target any) (any, error) {
			o, ok := target.(*root)
			if !ok {
				return nil, errMissing
			}
			v := o.member(f.op)
			if err, ok := v.(*types.Err); ok {
				return nil, err
			}
			return v, nil
		},
	}, true
}

// root is a variable with members.
type root struct {
	unsupported
	r    *run
	of   *structure
	step int
}

// Type implements ref.Val.
func (o *root) Type() ref.Type { return types.NewObjectType(o.of.name) }

// Value implements ref.Val. It is what the members are read from.
func (o *root) Value() any { return o }

// Equal implements ref.Val.
func (o *root) Equal(other ref.Val) ref.Val {
	p, ok := other.(*root)
	return types.Bool(ok && o.of == p.of && o.step == p.step)
}

// Get implements traits.Indexer, for a variable whose type was lost on the way.
func (o *root) Get(index ref.Val) ref.Val {
	if name, ok := keyText(index); ok {
		if f := o.of.field(name); f != nil {
			return o.member(f.op)
		}
	}
	return types.WrapErr(errMissing)
}

// IsSet implements traits.FieldTester.
func (o *root) IsSet(field ref.Val) ref.Val { return types.Bool(!types.IsError(o.Get(field))) }

// member reads a member, an error where it has no value.
func (o *root) member(op op) ref.Val {
	r := o.r
	r.spend(stepWork)
	switch op {
	case opQuery:
		return &entries{r: r, op: opParameter}
	case opQueryMap:
		return &entries{r: r, op: opParameters}
	case opCookies:
		return &entries{r: r, op: opCookie}
	case opRequestHeaders:
		return &entries{r: r, op: opRequestHeader, header: &r.x.Request.Header}
	case opResponseHeaders:
		return &entries{r: r, op: opResponseHeader, header: &r.x.Response.Header}
	case opCertificate:
		if certificateOf(r.x) != nil {
			return &r.certificate
		}
		return types.WrapErr(errMissing)
	case opAltNames:
		return r.altNames()
	case opStepBody, opStepHeader:
		return o.ofStep(op)
	case opSize, opClientPort, opStatus, opStepStatus:
		p := Program{op: op, step: o.step}
		if n, ok := p.number(r.x); ok {
			return types.Int(n)
		}
		return types.WrapErr(errMissing)
	}
	return r.text(op)
}

// ofStep reads what a step has brought.
func (o *root) ofStep(op op) ref.Val {
	s := stepOf(o.r.x, o.step)
	switch {
	case s == nil:
		return types.WrapErr(errMissing)
	case op == opStepBody:
		return o.r.value(document.Of(s.Body))
	case s.Header == nil:
		return types.NewStringStringMap(types.DefaultTypeAdapter, nil)
	}
	return &entries{r: o.r, op: opStepHeader, header: s.Header}
}

// text reads a text of the exchange, an error where it has no value.
func (r *run) text(op op) ref.Val {
	p := Program{op: op}
	text, ok := p.Append(r.buf[:0], r.x)
	r.buf = text[:0]
	if !ok {
		return types.WrapErr(errMissing)
	}
	return types.String(text)
}

func (r *run) altNames() ref.Val {
	c := certificateOf(r.x)
	if c == nil {
		return types.WrapErr(errMissing)
	}
	names := []string{}
	altNames(c, func(name string) { names = append(names, name) })
	return types.NewStringList(types.DefaultTypeAdapter, names)
}
