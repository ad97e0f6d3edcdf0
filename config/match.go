package config

// Match says which requests a route is for. All parts must fit.
type Match struct {
	// Host is one name or several, in any case: exact, or `*.suffix` for every name below the suffix. Without it every host fits.
	Host []string `yaml:"host,single" check:"host" min:"1" max:"1000"`
	// Path is a pattern of segments: literal, `{name}` for one segment, `{name...}` or a final `*` for the rest.
	Path string `yaml:"path" default:"/*" check:"path"`
	// Method is one method or several. GET also fits HEAD unless another route does. Without it every method fits.
	Method []string `yaml:"method,single" check:"method" min:"1" max:"100"`
	// Headers are fields that the request must have: the exact value, or `"*"` for any value.
	Headers []Pair `yaml:"headers" max:"100"`
	// Query are parameters that the request must have: the exact value, or `"*"` for any value.
	Query []Pair `yaml:"query" max:"100"`
}

// AnyValue is the value of a [Match] entry that fits every value.
const AnyValue = "*"

// Check reports header names that are no names or occur twice in different spelling.
func (m *Match) Check(r *Reporter) {
	checkFieldNames(r, m.Headers)
	for i := range m.Query {
		if m.Query[i].Name == "" {
			r.Add(m.Query[i].Pos, "query: the name of a parameter is empty")
		}
	}
	checkRepeated(r, m.Host, "host")
	checkRepeated(r, m.Method, "method")
}

// checkRepeated reports entries of a list that stand in it twice.
func checkRepeated(r *Reporter, list []string, what string) {
	if len(list) < 2 {
		return
	}
	seen := make(map[string]bool, len(list))
	for i := range list {
		if list[i] != "" && seen[list[i]] {
			r.Add(r.At(&list[i]), "%s: %q is written twice", what, list[i])
		}
		seen[list[i]] = true
	}
}
