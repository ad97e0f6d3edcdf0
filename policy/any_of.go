package policy

import (
	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/message"
)

// AnyOfOptions lets pass whom one of several identity policies recognises. They are asked in the order written until one lets the caller pass. Credentials
// that one of them does not accept leave the others to be asked; so does a policy that cannot decide at the moment. But a caller whom an auth service has
// recognised and refuses is refused, and so is a request with two copies of a header that would tell who calls. If none lets the caller pass, the first that
// found credentials of its kind decides what the caller is told, with the challenges of all.
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
	tally
}

func newAnyOf(o *AnyOfOptions, c *BuildContext) any {
	p := &anyOfPolicy{tally: newTally(c)}
	rows := table()
	for i := range o.Policies {
		named := findPolicy(c.Config, o.Policies[i])
		if named == nil {
			return nil // reported where the configuration was linked
		}
		part := *c
		part.Name, part.Pos, part.InPlace, part.alternative = named.Name, c.Report.At(&o.Policies[i]), false, true
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
	}
	p.missing = newRefusal(c.Name, string(p.appendChallenges(nil, -1, nil)), message.CredentialsMissing)
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

// OnRequest implements Request.
func (p *anyOfPolicy) OnRequest(x *message.Exchange) (done bool, err error) {
	var told *message.Failure
	by := 0
	for i, part := range p.parts {
		id, failure := part.identify(x)
		if failure == nil {
			p.pass(x, i, id)
			return false, nil
		}
		if final(failure) {
			told, by = failure, i
			break
		}
		// That it cannot be decided says more than that others did not know the caller.
		if told == nil && !isMissing(failure.Reason) || told != nil && statusOf(told) == 401 && statusOf(failure) == 503 {
			told, by = failure, i
		}
		forget(x)
	}
	p.refused.Inc(0)
	switch {
	case told == nil:
		return false, p.missing
	case hasAnswer(x):
		x.Fail(told)
		return true, nil
	case statusOf(told) != 401:
		return false, told
	}
	with := *told
	with.Fields = []message.FieldValue{{Name: wwwAuthenticate, Value: x.KeepScratch(p.appendChallenges(x.Scratch(), by, told))}}
	return false, &with
}

// pass lets the caller pass, whom the part i has recognised.
func (p *anyOfPolicy) pass(x *message.Exchange, i int, id *message.Identity) {
	for other := range p.parts {
		if other != i {
			p.parts[other].conceal(x)
		}
	}
	p.parts[i].counted().passed.Inc(0)
	x.Identity = id
}

// appendChallenges appends the challenges of all parts, that of the part by as its failure has it.
func (p *anyOfPolicy) appendChallenges(b []byte, by int, failure *message.Failure) []byte {
	first := len(b)
	for i, part := range p.parts {
		word := part.challenge()
		if i == by {
			for _, f := range failure.Fields {
				if f.Name == wwwAuthenticate {
					word = string(f.Value)
				}
			}
		}
		if word == "" {
			continue
		}
		if len(b) > first {
			b = append(b, ", "...)
		}
		b = append(b, word...)
	}
	return b
}

// final reports whether a failure of one policy ends the search: the caller is known and refused, or it cannot be said who of two is meant.
func final(f *message.Failure) bool {
	status := statusOf(f)
	return f.Reason == message.HeaderRepeated || status != 401 && status != 503
}

// isMissing reports whether a request had no credentials of a kind at all.
func isMissing(r message.Reason) bool {
	switch r {
	case message.TokenMissing, message.APIKeyMissing, message.CredentialsMissing, message.ClientCertMissing:
		return true
	}
	return false
}
