package listen

import (
	"net"
	"syscall"
	"testing"
)

// What accepted sockets have that nobody sets on them is inherited from the listening one.
func TestAcceptedSocketsInheritOptions(t *testing.T) {
	w := &words{waiting: make(chan *Conn, 1)}
	l := start(t, &Options{Protocols: Protocols{HTTP1: w}})
	connect(t, l)
	c := await(t, "a connection", w.waiting)
	raw, err := c.NetConn().(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []struct {
		name          string
		level, option int
		want          int
	}{
		{"SO_KEEPALIVE", syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1},
		{"TCP_KEEPIDLE", syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, keepAliveIdle},
		{"TCP_KEEPINTVL", syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, keepAliveInterval},
		{"TCP_KEEPCNT", syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT, keepAliveProbes},
		{"TCP_NODELAY", syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1},
	} {
		var got int
		var getErr error
		if err := raw.Control(func(fd uintptr) { got, getErr = syscall.GetsockoptInt(int(fd), o.level, o.option) }); err != nil || getErr != nil {
			t.Fatal(err, getErr)
		}
		if got != o.want {
			t.Errorf("%s is %d, want %d", o.name, got, o.want)
		}
	}
}
