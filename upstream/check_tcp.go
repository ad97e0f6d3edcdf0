package upstream

import (
	"context"
	"net"
)

// tcpCheck passes if a connection can be opened.
type tcpCheck struct{ dialer net.Dialer }

func newTCPCheck(o *CheckOptions) Check { return &tcpCheck{net.Dialer{Timeout: o.Timeout}} }

// Run implements Check.
func (c *tcpCheck) Run(ctx context.Context, address string) error {
	conn, err := c.dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}
