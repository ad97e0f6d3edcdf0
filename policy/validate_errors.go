package policy

import (
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	keyword "github.com/santhosh-tekuri/jsonschema/v6/kind"
)

const (
	maxViolations = 20
	maxToken      = 256 // bytes of a name in a pointer; the place of a longer one is that of its object
	maxQuoted     = 200 // bytes of a text of the schema in a detail
)

// violation is one way in which a document does not follow a schema. The detail says what the schema wants, and nothing of the document but the kinds of
// its values.
type violation struct{ pointer, detail string }

// violations returns what an error is made of, in the order of the pointers. Alternatives count as one.
func violations(err *jsonschema.ValidationError) []violation {
	var c violationList
	c.collect(err)
	return c.sorted()
}

// violationList collects violations, each once.
type violationList struct {
	list         []violation
	seen         map[violation]bool
	alternatives bool // those of one of several schemas count, too
}

// sorted returns the violations in the order of the pointers.
func (c *violationList) sorted() []violation {
	slices.SortFunc(c.list, func(a, b violation) int {
		if n := strings.Compare(a.pointer, b.pointer); n != 0 {
			return n
		}
		return strings.Compare(a.detail, b.detail)
	})
	return c.list[:min(len(c.list), maxViolations)]
}

func (c *violationList) add(at []string, detail string) {
	v := violation{pointerOf(at), detail}
	if c.seen == nil {
		c.seen = make(map[violation]bool)
	}
	if !c.seen[v] {
		c.seen[v] = true
		c.list = append(c.list, v)
	}
}

func (c *violationList) collect(err *jsonschema.ValidationError) {
	at := err.InstanceLocation
	switch k := err.ErrorKind.(type) {
	case *keyword.Schema, *keyword.Group, *keyword.AllOf, *keyword.Reference:
		c.causes(err)
	case *keyword.AnyOf:
		if c.alternatives {
			c.causes(err)
			return
		}
		c.add(at, detailOf(k))
	case *keyword.Required:
		c.missing(at, k.Missing, "the member is missing")
	case *keyword.DependentRequired:
		c.missing(at, k.Missing, "the member is missing, which another one needs")
	case *keyword.Dependency:
		c.missing(at, k.Missing, "the member is missing, which another one needs")
	case *keyword.AdditionalProperties:
		c.missing(at, k.Properties, "the member is not allowed")
	default:
		c.add(at, detailOf(err.ErrorKind))
	}
}

func (c *violationList) causes(err *jsonschema.ValidationError) {
	for _, cause := range err.Causes {
		c.collect(cause)
	}
}

// missing adds one violation for each of several members.
func (c *violationList) missing(at, names []string, detail string) {
	for _, name := range names {
		c.add(append(slices.Clone(at), name), detail)
	}
}

// detailOf says what the schema wants.
func detailOf(k jsonschema.ErrorKind) string {
	switch k := k.(type) {
	case *keyword.Type:
		return "must be " + strings.Join(k.Want, " or ") + ", and is " + k.Got
	case *keyword.Enum:
		return oneOf(k.Want)
	case *keyword.Const:
		return oneOf([]any{k.Want})
	case *keyword.Format:
		return "must have the format " + k.Want
	case *keyword.Pattern:
		return "must match the pattern " + shortened(k.Want)
	case *keyword.AnyOf:
		return "must follow one of several schemas, and follows none"
	case *keyword.OneOf:
		if len(k.Subschemas) > 0 {
			return "must follow exactly one of several schemas, and follows more"
		}
		return "must follow exactly one of several schemas, and follows none"
	case *keyword.Not:
		return "must not follow a schema, and does"
	case *keyword.FalseSchema:
		return "no value is allowed here"
	case *keyword.PropertyNames:
		return "the name of a member is not allowed"
	case *keyword.UniqueItems:
		return fmt.Sprintf("must not have equal elements, and %d and %d are", k.Duplicates[0], k.Duplicates[1])
	case *keyword.AdditionalItems:
		return "has more elements than allowed"
	case *keyword.Contains:
		return "must have an element of a kind that it has not"
	}
	return boundOf(k)
}

// boundOf says what the schema wants of a number or a length.
func boundOf(k jsonschema.ErrorKind) string {
	switch k := k.(type) {
	case *keyword.Minimum:
		return "must be at least " + decimal(k.Want)
	case *keyword.Maximum:
		return "must be at most " + decimal(k.Want)
	case *keyword.ExclusiveMinimum:
		return "must be more than " + decimal(k.Want)
	case *keyword.ExclusiveMaximum:
		return "must be less than " + decimal(k.Want)
	case *keyword.MultipleOf:
		return "must be a multiple of " + decimal(k.Want)
	case *keyword.MinLength:
		return "must have at least " + count(k.Want, "character")
	case *keyword.MaxLength:
		return "must have at most " + count(k.Want, "character")
	case *keyword.MinItems:
		return "must have at least " + count(k.Want, "element")
	case *keyword.MaxItems:
		return "must have at most " + count(k.Want, "element")
	case *keyword.MinProperties:
		return "must have at least " + count(k.Want, "member")
	case *keyword.MaxProperties:
		return "must have at most " + count(k.Want, "member")
	case *keyword.MinContains:
		return "must have at least " + count(k.Want, "element") + " of a kind"
	case *keyword.MaxContains:
		return "must have at most " + count(k.Want, "element") + " of a kind"
	}
	return "is not allowed here"
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return strconv.Itoa(n) + " " + what
}

// decimal writes a number of a schema as it would be written there.
func decimal(n *big.Rat) string {
	if digits, exact := n.FloatPrec(); exact && digits < 50 {
		return shortened(n.FloatString(digits))
	}
	return "a number of the schema"
}

// oneOf lists values of a schema, if they are few and simple.
func oneOf(values []any) string {
	var words []string
	for _, v := range values {
		switch v := v.(type) {
		case []any, map[string]any:
			return "must be one of the values that the schema lists"
		case string:
			words = append(words, strconv.Quote(v))
		case nil:
			words = append(words, "null")
		default:
			words = append(words, fmt.Sprint(v))
		}
	}
	list := strings.Join(words, ", ")
	switch {
	case len(list) > maxQuoted || len(words) == 0:
		return "must be one of the values that the schema lists"
	case len(words) == 1:
		return "must be " + list
	}
	return "must be one of " + list
}

// shortened cuts a text of the schema to a readable length.
func shortened(text string) string {
	if len(text) <= maxQuoted {
		return text
	}
	return strings.ToValidUTF8(text[:maxQuoted], "") + "…"
}

// pointerOf writes the place of a value as a JSON pointer in the form of a fragment (RFC 6901 section 6).
func pointerOf(tokens []string) string {
	const hex = "0123456789ABCDEF"
	b := []byte{'#'}
	for _, token := range tokens {
		if len(token) > maxToken {
			break
		}
		b = append(b, '/')
		for i := range len(token) {
			switch c := token[i]; {
			case c == '~':
				b = append(b, "~0"...)
			case c == '/':
				b = append(b, "~1"...)
			case inFragment(c):
				b = append(b, c)
			default:
				b = append(b, '%', hex[c>>4], hex[c&15])
			}
		}
	}
	return string(b)
}

// inFragment reports whether c stands for itself in a fragment (RFC 3986 section 3.5).
func inFragment(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return strings.IndexByte("-._~!$&'()*+,;=:@/?", c) >= 0
}
