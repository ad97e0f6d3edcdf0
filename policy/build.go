package policy

import (
	"io"
	"slices"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/expr"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
)

// BuildContext is what a policy may know of the place where it runs, and where it reports what is wrong.
type BuildContext struct {
	// Route is the name of the route.
	Route string
	// Env is what expressions of the route may use, but for what policies find out.
	Env expr.Env
	// Report takes errors with their places. Whoever builds looks at it when everything has been built.
	Report *config.Reporter
	// Config is the whole configuration.
	Config *config.Config
	// Consumers are those of the configuration, made for finding them.
	Consumers *Consumers
	// Program is what serves; nil where nothing is served, and the policies are only checked.
	Program Program

	// Name of the policy that is being built, as logs write it, its place, and whether it stands on this route only. Compile sets them.
	Name    string
	Pos     config.Pos
	InPlace bool
	// Known is what the policies before it have found out, Behind what those behind it will. Compile sets them.
	Known, Behind Known
	// Guards are the names of the policies behind it that decide who may pass. Compile sets it.
	Guards []string

	alternative bool // any_of builds it as one of several
}

// Known is what is known of the caller at a place on a route.
type Known struct {
	Claims   bool // there is a verified token
	Consumer bool // the consumer was looked for
	Identity bool // the caller was authenticated in some way
}

// Program is what policies need of the program that serves them.
type Program interface {
	// Keep returns what is kept under key, made by open if nothing is. It outlives the configuration as long as the next one keeps it too, and is
	// closed when none does. The key is comparable and belongs to the package that made it.
	// policy is the name of the one that asks. What is kept may be used for a while after it was closed, by requests that began before.
	Keep(policy string, key any, open func() (io.Closer, error)) (io.Closer, error)
	// Service returns the backend that policies send requests of their own to, by the origin of its address: `http://host:port` or `https://…`.
	Service(origin string) (Service, error)
	// Caches says where stored answers are dropped when a request may have changed what they are of.
	Caches(i Invalidator)
	// Registry and Scope keep series: one for what is kept, the other for the configuration.
	Registry() *metric.Registry
	Scope() *metric.Scope
	// State is the directory for what outlives the program, "" for none.
	State() string
	// Reporter returns what tells the operator, one line at a time. It may be kept: it holds nothing of the configuration.
	Reporter() func(line string)
}

// Invalidator drops stored answers.
type Invalidator interface {
	// Invalidate is told of an answer, without an error, to a request that may have changed what its target is (RFC 9111 section 4.4). The target is
	// that of the client's request.
	Invalidate(x *message.Exchange, host, port, path, query []byte)
}

// Service sends requests of policies.
type Service interface {
	// Do sends x.Request and fills x.Response. done gives back what the answer borrows; it is to be called when the answer was read, and nil with a
	// failure.
	Do(x *message.Exchange) (done func(), failure *message.Failure)
}

// Degraded is what a kept thing implements that may be unable to do its work for a while.
type Degraded interface {
	// Degraded returns the reason in one word, "" if nothing is wrong.
	Degraded() string
}

// kept keeps a thing of a known type; it reports why there is none. ok is false where nothing is served, too.
func kept[T io.Closer](c *BuildContext, key any, open func() (T, error)) (value T, ok bool) {
	if c.Program == nil {
		return value, false
	}
	thing, err := c.Program.Keep(c.Name, key, func() (io.Closer, error) { return open() })
	if err != nil {
		c.Report.Add(c.Pos, "policy %q: %v", c.Name, err)
		return value, false
	}
	value, ok = thing.(T)
	return value, ok
}

// scopeOf is the part of a key that tells policies apart whose state is their own: a policy written in place has one for each route, a named one
// is the same wherever it stands.
func (c *BuildContext) scopeOf() string {
	if c.InPlace {
		return c.Route + "\x00" + c.Name
	}
	return "\x00" + c.Name
}

// Compile builds the policies of one route. What is wrong goes to c.Report; the chain then lacks the policies that are, and must not be
// used.
func Compile(list config.PolicyList, c BuildContext) (*Chain, Known) {
	c.Known = Known{}
	if len(list) == 0 {
		return nil, c.Known
	}
	rows := table()
	chain := &Chain{steps: make([]step, 0, len(list))}
	for i, p := range list {
		k := findKind(rows, p.Kind)
		if k == nil {
			c.Report.Add(p.Pos, "policy %q: there is no kind %q", p.Name, p.Kind)
			continue
		}
		c.Name, c.Pos, c.InPlace = p.Name, p.Pos, p.InPlace
		c.lookBehind(rows, list[i+1:])
		built := k.build(p.Options, &c)
		if k.gives != nil {
			c.Known = c.Known.and(k.gives(p.Options, c.Config))
		}
		if built == nil {
			continue
		}
		s := step{name: p.Name}
		s.request, _ = built.(Request)
		s.around, _ = built.(Around)
		s.response, _ = built.(Response)
		if early, ok := built.(Preflighter); ok {
			if chain.preflight != nil {
				c.Report.Add(p.Pos, "policy %q: the route has another one that answers preflight requests", p.Name)
			}
			chain.preflight = early
			chain.steps = slices.Insert(chain.steps, 0, s)
			continue
		}
		chain.steps = append(chain.steps, s)
	}
	return chain, c.Known
}

// lookBehind sets what the context tells of the policies behind the one that is being built.
func (c *BuildContext) lookBehind(rows []Kind, rest config.PolicyList) {
	c.Behind, c.Guards = Known{}, nil
	for _, p := range rest {
		k := findKind(rows, p.Kind)
		if k == nil {
			continue
		}
		guards := k.guards
		if k.gives != nil {
			gives := k.gives(p.Options, c.Config)
			c.Behind = c.Behind.and(gives)
			guards = guards || gives.Identity
		}
		if guards {
			c.Guards = append(c.Guards, p.Name)
		}
	}
}

func findKind(rows []Kind, word string) *Kind {
	i := slices.IndexFunc(rows, func(k Kind) bool { return k.Word == word })
	if i < 0 {
		return nil
	}
	return &rows[i]
}

// and returns what is known if both are.
func (k Known) and(other Known) Known {
	return Known{Claims: k.Claims || other.Claims, Consumer: k.Consumer || other.Consumer, Identity: k.Identity || other.Identity}
}

// env returns what expressions of the policy may use.
func (c *BuildContext) env(response bool) expr.Env {
	env := c.Known.Env(c.Env)
	env.Response = response
	return env
}

// Env returns env with what is known of the caller.
func (k Known) Env(env expr.Env) expr.Env {
	env.Claims, env.Consumer = k.Claims, k.Consumer
	return env
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
