package policy

import "github.com/sluice-gateway/sluice/config"

// table returns the kinds of policies: the word in the configuration, and the function that builds one from its options. A new policy is
// one line here.
func table() []Kind {
	return []Kind{
		kind("any_of", newAnyOf).givingBy(anyOfGives),
		kind("api_key", newAPIKey).giving(Known{Consumer: true, Identity: true}),
		kind("authorize", newAuthorize).guarding(),
		kind("basic_auth", newBasicAuth).giving(Known{Claims: true, Consumer: true, Identity: true}),
		kind("cache", newCache),
		kind("compress", newCompress),
		kind("concurrency", newConcurrency),
		kind("cors", newCORS),
		kind("fault", newFault),
		kind("forward_auth", newForwardAuth).giving(Known{Claims: true, Consumer: true, Identity: true}),
		kind("idempotency", newIdempotency),
		kind("ip_filter", newIPFilter).guarding(),
		kind("jwt", newJWT).giving(Known{Claims: true, Consumer: true, Identity: true}),
		kind("mtls", newMTLS).giving(Known{Claims: true, Consumer: true, Identity: true}),
		kind("plan_limit", newPlanLimit),
		kind("rate_limit", newRateLimit),
		kind("request", newRequest),
		kind("response", newResponse),
		kind("validate", newValidate),
	}
}

// Kind is one row of the table of policies.
type Kind struct {
	// Word that the policy has in the configuration.
	Word string
	// New returns a pointer to empty options, for the decoder.
	New func() any

	build func(options any, c *BuildContext) any
	// gives tells what is known behind the policy; nil for nothing new.
	gives func(options any, all *config.Config) Known
	// guards says that the policy decides who may pass, as those do that find out who calls.
	guards bool
}

// guarding returns the row of a policy that decides who may pass.
func (k Kind) guarding() Kind {
	k.guards = true
	return k
}

// giving returns the row of a policy behind which more is known of the caller, whatever its options are.
func (k Kind) giving(known Known) Kind {
	k.gives = func(any, *config.Config) Known { return known }
	return k
}

// givingBy is giving where it depends on the options.
func (k Kind) givingBy(gives func(options any, all *config.Config) Known) Kind {
	k.gives = gives
	return k
}

// kind makes a row. What build returns implements Request, Response or both, and is not changed any more; nil says that it reported why
// there is none.
func kind[O any](word string, build func(o *O, c *BuildContext) any) Kind {
	return Kind{
		Word: word,
		New:  func() any { return new(O) },
		build: func(options any, c *BuildContext) any {
			o, ok := options.(*O)
			if !ok {
				c.Report.Add(c.Pos, "policy %q: its options do not belong to the kind %s", c.Name, word)
				return nil
			}
			return build(o, c)
		},
	}
}

// Kinds returns what the decoder of the configuration has to know of the policies.
func Kinds() config.Kinds {
	rows := table()
	kinds := make(config.Kinds, len(rows))
	for _, k := range rows {
		kinds[k.Word] = k.New
	}
	return kinds
}
