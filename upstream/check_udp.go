package upstream

import (
	"bytes"
	"context"
	"errors"
	"net"
	"time"
)

// udpCheck passes if a datagram is answered, and the answer contains what is expected. An endpoint that does not answer is down, though the datagram may
// have been lost on the way: fall says how often that may happen.
type udpCheck struct {
	dialer net.Dialer
	send   []byte
	expect []byte
}

func newUDPCheck(o *CheckOptions) Check {
	return &udpCheck{net.Dialer{Timeout: o.Timeout}, []byte(o.Send), []byte(o.Expect)}
}

// longestAnswer is the longest datagram that there can be.
const longestAnswer = 64 << 10

// Run implements Check.
func (c *udpCheck) Run(ctx context.Context, t *Target) error {
	conn, err := c.dialer.DialContext(ctx, "udp", t.Address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := conn.Write(c.send); err != nil {
		return err
	}
	answer := make([]byte, longestAnswer)
	n, err := conn.Read(answer)
	if err != nil {
		return err
	}
	if !bytes.Contains(answer[:n], c.expect) {
		return errors.New("the answer does not contain what is expected")
	}
	return nil
}
