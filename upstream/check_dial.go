package upstream

import (
	"context"
	"crypto/tls"
	"net"
	"time"

	"github.com/sluice-gateway/sluice/stream"
)

// Target is an endpoint as a check sees it.
type Target struct {
	Address string      // host:port
	TLS     *tls.Config // how its connections are encrypted; nil for not
}

// checkDialer opens the connections of checks, in the way that requests do.
type checkDialer struct {
	dialer net.Dialer
	proxy  int // version of the PROXY header that connections begin with; 0 for none
}

func newCheckDialer(o *CheckOptions) checkDialer {
	return checkDialer{net.Dialer{Timeout: o.Timeout}, o.ProxyProtocol}
}

// dial opens a connection that ends in time, and with ctx. done is called when it is used no more.
func (d *checkDialer) dial(ctx context.Context, t *Target, secure bool) (conn net.Conn, done func(), err error) {
	plain, err := d.dialer.DialContext(ctx, "tcp", t.Address)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = plain.SetDeadline(time.Unix(1, 0)) })
	done = func() {
		stop()
		_ = plain.Close()
	}
	// The deadline ends reads and writes in time; the end of ctx before that ends them at once.
	if deadline, ok := ctx.Deadline(); ok {
		err = plain.SetDeadline(deadline)
	}
	if err == nil && d.proxy > 0 {
		var header []byte
		if header, err = stream.AppendProxyHeader(nil, d.proxy, &stream.ProxyHeader{Local: true}); err == nil {
			_, err = plain.Write(header)
		}
	}
	conn = plain
	if err == nil && secure {
		secured := tls.Client(plain, t.TLS)
		conn, err = secured, secured.HandshakeContext(ctx)
	}
	if err != nil {
		done()
		return nil, nil, err
	}
	return conn, done, nil
}
