package http1

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"

	"github.com/sluice-gateway/sluice/message"
)

// dial makes a connection for c, within the connect timeout and the call's deadline.
func (p *Pool) dial(c *Call) (*clientConn, *message.Failure) {
	until := message.Now() + int64(p.o.ConnectTimeout)
	if c.Deadline > 0 {
		until = min(until, c.Deadline)
	}
	//house:allow call a dial is rare where connections are kept, and net.Dialer takes its deadline so
	ctx, cancel := context.WithDeadline(context.Background(), message.WallTime(until))
	defer cancel()
	if c.Cancel != nil && !c.Cancel.wait(cancel, nil) {
		return nil, canceled(message.StageConnect)
	}
	nc, err := p.o.Dial(ctx, p.o.Address)
	if err != nil {
		return nil, connectFailure(err, message.UpstreamConnectFailed)
	}
	cc := &clientConn{pool: p}
	cc.onReply = cc.reply
	if len(c.Prelude) > 0 {
		cc.prelude = append([]byte(nil), c.Prelude...)
		if err := sendPrelude(nc, cc.prelude, until); err != nil {
			_ = nc.Close()
			return nil, connectFailure(err, message.UpstreamConnectFailed)
		}
	}
	if p.o.TLS != nil {
		if cc.secure, err = handshake(ctx, nc, p.o.TLS); err != nil {
			return nil, connectFailure(err, message.UpstreamTLSFailed)
		}
		nc = cc.secure
	}
	cc.init(nc)
	return cc, nil
}

// sendPrelude writes what stands before everything else on a connection, by the moment until.
func sendPrelude(nc net.Conn, prelude []byte, until int64) error {
	_ = nc.SetWriteDeadline(message.WallTime(until))
	_, err := nc.Write(prelude)
	_ = nc.SetWriteDeadline(time.Time{})
	return err
}

// connectFailure is the failure of a connection that was not made. reason is for an error that has
// no reason of its own.
func connectFailure(err error, reason message.Reason) *message.Failure {
	f := &message.Failure{Reason: reason, Side: message.SideUpstream, Stage: message.StageConnect, Retry: message.RetryUnsent, Err: err}
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		f.Reason = message.UpstreamConnectRefused
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		f.Reason = message.UpstreamConnectTimeout
	}
	return f
}
