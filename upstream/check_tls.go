package upstream

import (
	"context"
	"crypto/tls"
)

// tlsCheck passes if a TLS handshake succeeds.
type tlsCheck struct{ checkDialer }

func newTLSCheck(o *CheckOptions) Check { return &tlsCheck{newCheckDialer(o)} }

// Run implements Check. Where the connections to the endpoint are not encrypted by this program, as behind a listener that passes TLS on, it
// asks for no name and believes every certificate: whom clients find there is for them to verify.
func (c *tlsCheck) Run(ctx context.Context, t *Target) error {
	secured := *t
	if secured.TLS == nil {
		secured.TLS = &tls.Config{InsecureSkipVerify: true}
	}
	_, done, err := c.dial(ctx, &secured, true)
	if err == nil {
		done()
	}
	return err
}
