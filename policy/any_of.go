package policy

import (
	"strings"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/message"
)

// AnyOfOptions lets pass whom one of several identity policies recognises. They are asked in the order written; the first that finds credentials of its
// kind decides what the caller is told if none lets it pass.
type AnyOfOptions struct {
	// Policies are names of identity policies, at least two.
	Policies []string `yaml:"policies,required,short" min:"2" max:"16"`
}

// PolicyNames implements config.Referrer.
func (o *AnyOfOptions) PolicyNames() []*string {
	names := make([]*string, len(o.Policies))
	for i := range o.Policies {
		names[i] = &o.Policies[i]
	}
	return names
}

// anyOfPolicy asks several identity policies.
type anyOfPolicy struct {
	parts   []identifier
	missing *message.Failure
	words   []message.FieldValue // the challenges of all parts
}

func newAnyOf(o *AnyOfOptions, c *BuildContext) any {
	p := new(anyOfPolicy)
	rows := table()
	var challenges []string
	for i := range o.Policies {
		named := findPolicy(c.Config, o.Policies[i])
		if named == nil {
			return nil // reported where the configuration was linked
		}
		part := *c
		part.Name, part.Pos, part.InPlace = named.Name, c.Report.At(&o.Policies[i]), false
		k := findKind(rows, named.Kind)
		if k == nil || named.Kind == "any_of" {
			c.Report.Add(part.Pos, "any_of: %q is no identity policy", named.Name)
			continue
		}
		built := k.build(named.Options, &part)
		one, ok := built.(identifier)
		if !ok {
			if built != nil {
				c.Report.AddSuggest(part.Pos, "name policies such as jwt or api_key", "any_of: %q is no identity policy", named.Name)
			}
			continue
		}
		p.parts = append(p.parts, one)
		if word := one.challenge(); word != "" {
			challenges = append(challenges, word)
		}
	}
	p.words = []message.FieldValue{{Name: wwwAuthenticate, Value: []byte(strings.Join(challenges, ", "))}}
	p.missing = newRefusal(c.Name, string(p.words[0].Value), message.CredentialsMissing)
	return p
}

// findPolicy returns the policy of a name under `policies`, or nil.
func findPolicy(all *config.Config, name string) *config.Policy {
	if all == nil {
		return nil
	}
	for _, p := range all.Policies {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// anyOfGives is what is known behind any_of: what all its parts find out.
func anyOfGives(options any, all *config.Config) Known {
	o, ok := options.(*AnyOfOptions)
	if !ok || len(o.Policies) == 0 {
		return Known{}
	}
	// Each of them may have let the caller pass. What only one of them brings has no value for callers of the others, which expressions have rules for.
	known := Known{}
	rows := table()
	for _, name := range o.Policies {
		named := findPolicy(all, name)
		if named == nil {
			continue
		}
		if k := findKind(rows, named.Kind); k != nil && k.gives != nil && named.Kind != "any_of" {
			known = known.and(k.gives(named.Options, all))
		}
	}
	return known
}

// challenge implements identifier.
func (p *anyOfPolicy) challenge() string { return string(p.words[0].Value) }

// OnRequest implements Request.
func (p *anyOfPolicy) OnRequest(x *message.Exchange) (done bool, err error) {
	var told *message.Failure
	for _, part := range p.parts {
		done, err := part.OnRequest(x)
		if done || err == nil {
			return done, nil
		}
		f := failureOf(err)
		if told == nil && !isMissing(f.Reason) || told != nil && told.Reason.Status() == 401 && f.Reason.Status() == 503 {
			told = f // that it cannot be decided says more than that others did not know the caller
		}
	}
	if told == nil {
		return false, p.missing
	}
	if told.Reason.Status() != 401 && told.Status != 401 {
		return false, told
	}
	with := *told
	with.Fields = p.words
	return false, &with
}

// isMissing reports whether a request had no credentials of a kind at all.
func isMissing(r message.Reason) bool {
	switch r {
	case message.TokenMissing, message.APIKeyMissing, message.CredentialsMissing, message.ClientCertMissing:
		return true
	}
	return false
}
