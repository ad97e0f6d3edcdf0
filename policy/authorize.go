package policy

import (
	"fmt"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/expr"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
)

// AuthorizeOptions refuses requests that an expression does not allow, with 403 `not_allowed`; the problem names the policy.
type AuthorizeOptions struct {
	// Allow is an expression: the request goes on if it is true. A value that is missing makes it false.
	Allow string `yaml:"allow,required,short"`
}

// Check reports an expression that compiles on no route.
func (o *AuthorizeOptions) Check(r *config.Reporter) {
	if o.Allow == "" {
		return
	}
	if _, err := expr.CompileCondition(o.Allow, expr.Env{Any: true, AnyCapture: true}); err != nil {
		r.AddSuggest(r.At(&o.Allow), err.Suggestion, "allow: %s", err.Message)
	}
}

// authorizePolicy lets pass what an expression allows.
type authorizePolicy struct {
	allow   *expr.Program
	refused message.Failure
}

func newAuthorize(o *AuthorizeOptions, c *BuildContext) any {
	p := &authorizePolicy{allow: c.condition(&o.Allow)}
	members := metric.AppendString([]byte(`,"policy":`), c.Name)
	p.refused = message.Failure{Reason: message.NotAllowed, Side: message.SideClient, Stage: message.StageRoute,
		Err: fmt.Errorf("policy %s: allow is not true", c.Name), Members: members}
	if p.allow == nil {
		return nil
	}
	return p
}

// OnRequest implements Request.
func (p *authorizePolicy) OnRequest(x *message.Exchange) (done bool, err error) {
	if p.allow.True(x) {
		return false, nil
	}
	return false, &p.refused
}

// condition compiles an expression of the configuration that is true or not, as it is on the route.
func (c *BuildContext) condition(src *string) *expr.Program {
	p, err := expr.CompileCondition(*src, c.env(false))
	return c.program(src, p, err)
}

// expression compiles an expression of the configuration, as it is on the route.
func (c *BuildContext) expression(src *string) *expr.Program {
	p, err := expr.Compile(*src, c.env(false))
	return c.program(src, p, err)
}

func (c *BuildContext) program(src *string, p *expr.Program, err *expr.Error) *expr.Program {
	if err != nil {
		at := c.Report.At(src)
		if at == (config.Pos{}) {
			at = c.Pos // it is a default
		}
		c.Report.AddSuggest(at, err.Suggestion, "on the route %q: %s", c.Route, err.Message)
		return nil
	}
	return p
}
