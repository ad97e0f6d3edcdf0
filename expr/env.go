package expr

import "slices"

// Env says which variables an expression may use: where it stands decides what is known when it runs.
type Env struct {
	// Captures are the names that the route's path pattern captures, as they stand after "path.".
	Captures []string
	// Rest is that one of Captures which takes several segments ({name...}, or rest for a final "*"), "" if none does.
	Rest string
	// AnyCapture accepts every name after "path.", for a first check of a text that several routes share.
	AnyCapture bool
	// Response is set where there is a response: response.status and response.headers are known.
	Response bool
	// Claims is set behind an identity policy that may bring a token, Consumer behind one that may recognise a consumer.
	Claims   bool
	Consumer bool
	// Version is set where the route has an API with versions.
	Version bool
	// Any accepts claims, consumer, version and every capture, for a first check of a text that several routes share: what is known is checked
	// again where the route is. Steps, Item and Response are as they stand here, because they do not depend on the route.
	Any bool
	// Steps are the names of the parts of a composition, by their place in Exchange.Steps. All names satisfy CheckName.
	Steps []string
	// Item is the name of the element that a step is being made for, "" where there is none. It satisfies CheckName.
	Item string
}

// The variables.
const (
	varRequest  = "request"
	varClient   = "client"
	varPath     = "path"
	varClaims   = "claims"
	varConsumer = "consumer"
	varVersion  = "version"
	varResponse = "response"
)

// knows reports whether the environment has a variable, other than steps and item.
func (e *Env) knows(name string) bool {
	switch name {
	case varRequest, varClient:
		return true
	case varPath:
		return len(e.Captures) > 0 || e.AnyCapture || e.Any
	case varClaims:
		return e.Claims || e.Any
	case varConsumer:
		return e.Consumer || e.Any
	case varVersion:
		return e.Version || e.Any
	case varResponse:
		return e.Response
	}
	return false
}

// step returns the place of the step of that name, or -1.
func (e *Env) step(name string) int { return slices.Index(e.Steps, name) }

// captures reports whether path.NAME is known.
func (e *Env) captures(name string) bool {
	return e.AnyCapture || e.Any || slices.Contains(e.Captures, name)
}

// roots returns the variables that the environment has, in the order in which they are suggested.
func (e *Env) roots() []string {
	roots := make([]string, 0, len(variables)+len(e.Steps)+1)
	for _, name := range variables {
		if e.knows(name) {
			roots = append(roots, name)
		}
	}
	roots = append(roots, e.Steps...)
	if e.Item != "" {
		roots = append(roots, e.Item)
	}
	return roots
}

// variables are all variables but steps and item, in the order in which they are suggested.
var variables = []string{varRequest, varClient, varPath, varClaims, varConsumer, varVersion, varResponse}

// Members of the variables, in the order in which they are suggested.
var (
	requestMembers     = []string{"method", "scheme", "host", "path", "query", "headers", "cookies", "size", "id", "query_all"}
	clientMembers      = []string{"ip", "port", "cert"}
	certificateMembers = []string{"subject", "issuer", "serial", "fingerprint", "san"}
	consumerMembers    = []string{"name", "plan"}
	responseMembers    = []string{"status", "headers"}
	stepMembers        = []string{"status", "headers", "body"}
)

// words are names that stand for something else in an expression, so that no step and no element can have them: the words that CEL keeps for
// itself, its types, and the first parts of the names of functions.
var words = []string{
	"as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let", "loop", "namespace", "null", "package",
	"return", "true", "var", "void", "while",
	"bool", "bytes", "double", "duration", "dyn", "int", "list", "map", "null_type", "optional", "optional_type", "string", "timestamp", "type", "uint",
	"base64", "cel", "concat", "env", "file", "has", "json", "lists", "math", "merge", "sets", "size", "strings",
}

// CheckName reports why a step, or the element of for_each, cannot be called name, or nil if it can: its name must be an identifier of
// expressions that means nothing else.
func CheckName(name string) *Error {
	s := scanner{src: name}
	switch {
	case name == "" || s.identifier() != name:
		return &Error{Offset: min(s.at, len(name)), Message: quote(name) + " cannot be a name in expressions",
			Suggestion: "use letters, digits and _, and begin with a letter or _"}
	case len(name) > maxIdentifier:
		return &Error{Message: "the name is longer than 64 bytes"}
	case slices.Contains(variables, name):
		return &Error{Message: quote(name) + " is a variable of all expressions", Suggestion: "choose another name"}
	case slices.Contains(words, name):
		return &Error{Message: quote(name) + " has a meaning of its own in expressions", Suggestion: "choose another name"}
	}
	return nil
}

// maxIdentifier bounds the names of steps and elements.
const maxIdentifier = 64
