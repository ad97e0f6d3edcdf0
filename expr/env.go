package expr

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
}

// roots returns the variables that the environment has, in the order in which they are suggested.
func (e Env) roots() []string {
	roots := []string{"request", "client"}
	if len(e.Captures) > 0 || e.AnyCapture {
		roots = append(roots, "path")
	}
	if e.Response {
		roots = append(roots, "response")
	}
	return roots
}

// Members of the variables, in the order in which they are suggested.
var (
	requestMembers  = []string{"method", "scheme", "host", "path", "query", "headers", "cookies", "size", "id"}
	clientMembers   = []string{"ip", "port"}
	responseMembers = []string{"status", "headers"}
)
