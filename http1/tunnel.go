package http1

import (
	"errors"
	"time"

	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/stream"
)

// tunnel is the endpoint's side of an upgraded connection.
type tunnel struct {
	cc *clientConn
}

// Run moves bytes both ways until both directions have ended. What the endpoint sent behind
// its 101 goes to the client first, early to the endpoint. An error is a *message.Failure.
func (t *tunnel) Run(client message.Stream, early []byte) (received, sent int64, err error) {
	cc := t.cc
	rest := append([]byte(nil), cc.rd.buf[cc.rd.r:cc.rd.w]...)
	cc.rd.release()
	_ = cc.nc.SetReadDeadline(time.Time{})
	_ = cc.nc.SetWriteDeadline(time.Time{})
	r := stream.Relay(client, cc.nc, stream.RelayOptions{Idle: cc.pool.o.ProgressTimeout, EarlyA: early, EarlyB: rest})
	if f := tunnelFailure(r.Last); f != nil {
		err = f
	}
	return r.AB, r.BA, err
}

// errStuck says that a side of a tunnel took nothing of what was waiting for it.
var errStuck = errors.New("no byte was taken for the idle time")

// tunnelFailure makes a failure of what ended a tunnel as a whole, or nil: a peer that resets its connection is an ordinary end.
func tunnelFailure(end stream.RelayEnd) *message.Failure {
	f := &message.Failure{Reason: message.UpstreamTimeoutIdle, Side: message.SideUpstream, Stage: message.StageReceive, Err: stream.ErrIdle}
	switch {
	case end.How == stream.EndIdle:
	case end.How == stream.EndStuck && end.Side == stream.SideA:
		f.Reason, f.Side, f.Stage, f.Err = message.ClientTimeout, message.SideClient, message.StageWrite, errStuck
	case end.How == stream.EndStuck:
		f.Stage, f.Err = message.StageSend, errStuck
	default:
		return nil
	}
	return f
}

// Close ends the tunnel's connection.
func (t *tunnel) Close() error {
	t.cc.rd.release()
	return t.cc.nc.Close()
}

// tunnel writes the 101 and hands both connections to the tunnel. Only bytes that came after
// the request head, and only now, reach the endpoint.
func (c *serverConn) tunnel() {
	x := &c.s.x
	r := &x.Response
	defer func() { _ = r.Tunnel.Close() }()
	buf, err := appendFields(appendStatusLine(c.s.wbuf[:0], 101), &r.Header, 0)
	if err != nil {
		x.Fail(&message.Failure{Reason: message.Internal, Side: message.SideInternal, Stage: message.StageWrite, Err: err})
		return
	}
	buf = append(buf, "Connection: upgrade\r\nUpgrade: "...)
	buf = append(buf, x.Request.Upgrade...)
	if !c.flush(append(buf, "\r\n\r\n"...)) {
		return
	}
	rd := &c.s.rd
	early := append([]byte(nil), rd.buf[rd.r:rd.w]...)
	rd.release() // a tunnel lives long
	_ = c.nc.SetReadDeadline(time.Time{})
	_ = c.nc.SetWriteDeadline(time.Time{})
	received, sent, err := r.Tunnel.Run(c.nc, early)
	x.Outcome.Received, x.Outcome.Sent = received, sent
	if err == nil {
		return
	}
	var f *message.Failure
	if !errors.As(err, &f) { // of another protocol's tunnel
		f = &message.Failure{Reason: message.UpstreamTimeoutIdle, Side: message.SideUpstream, Stage: message.StageReceive, Err: err}
	}
	x.Fail(f)
}
