package policy

import (
	"slices"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/expr"
)

// BuildContext is what a policy may know of the place where it runs, and where it reports what is wrong.
type BuildContext struct {
	// Route is the name of the route.
	Route string
	// Captures are the names that the route's path pattern captures, and Rest that one of them which takes several segments, or "".
	Captures []string
	Rest     string
	// Report takes errors with their places. Whoever builds looks at it when everything has been built.
	Report *config.Reporter

	// Name of the policy that is being built, as logs write it, and its place. Compile sets them.
	Name string
	Pos  config.Pos
}

// Compile builds the policies of one route. What is wrong goes to c.Report; the chain then lacks the policies that are, and must not be
// used.
func Compile(list config.PolicyList, c BuildContext) *Chain {
	if len(list) == 0 {
		return nil
	}
	rows := table()
	chain := &Chain{steps: make([]step, 0, len(list))}
	for _, p := range list {
		c.Name, c.Pos = p.Name, p.Pos
		i := slices.IndexFunc(rows, func(k Kind) bool { return k.Word == p.Kind })
		if i < 0 {
			c.Report.Add(p.Pos, "policy %q: there is no kind %q", p.Name, p.Kind)
			continue
		}
		built := rows[i].build(p.Options, &c)
		if built == nil {
			continue
		}
		s := step{name: p.Name}
		s.request, _ = built.(Request)
		s.response, _ = built.(Response)
		chain.steps = append(chain.steps, s)
	}
	return chain
}

// env returns what expressions of the policy may use.
func (c *BuildContext) env(response bool) expr.Env {
	return expr.Env{Captures: c.Captures, Rest: c.Rest, Response: response}
}

// template compiles a value of the configuration, which stands at value, as it is on the route. Errors that do not depend on the route
// were found when the options were checked.
func (c *BuildContext) template(value *string, response bool) *expr.Template {
	t, err := expr.CompileTemplate(*value, c.env(response))
	if err != nil {
		c.Report.AddSuggest(c.Report.At(value), err.Suggestion, "on the route %q: %s", c.Route, err.Message)
		return nil
	}
	return t
}
