package upstream

import "context"

// tcpCheck passes if a connection can be opened.
type tcpCheck struct{ checkDialer }

func newTCPCheck(o *CheckOptions) Check { return &tcpCheck{newCheckDialer(o)} }

// Run implements Check.
func (c *tcpCheck) Run(ctx context.Context, t *Target) error {
	_, done, err := c.dial(ctx, t, false)
	if err == nil {
		done()
	}
	return err
}
