package upstream

import (
	"context"
	"fmt"
)

// Check asks an endpoint whether it is well. It is safe for any number of goroutines.
type Check interface {
	// Run returns nil if the endpoint is well, or what is wrong with it. It ends when ctx does.
	Run(ctx context.Context, t *Target) error
}

// checks is read-only: the kinds of active health checks.
var checks = []struct {
	kind string
	make func(*CheckOptions) Check
}{
	{"http", newHTTPCheck},
	{"tcp", newTCPCheck},
	{"tls", newTLSCheck},
	{"udp", newUDPCheck},
}

func newCheck(o *CheckOptions) (Check, error) {
	for _, c := range checks {
		if c.kind == o.Kind {
			return c.make(o), nil
		}
	}
	return nil, fmt.Errorf("no health check of kind %q", o.Kind)
}
