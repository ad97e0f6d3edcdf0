package listen

import (
	"net"
	"syscall"
)

// keepAlive is left out of what Go does at each accept: see inherited. Read-only.
var keepAlive = net.KeepAliveConfig{}

// showHolder returns the command that shows who has a port.
func showHolder(network, port string) string {
	return "ss -l" + network[:1] + "np 'sport = :" + port + "'"
}

// orPrivilege is the other way to a low port.
const orPrivilege = ", or give the program CAP_NET_BIND_SERVICE (`setcap cap_net_bind_service=+ep`)"

// TCP keep-alive finds clients that vanished during long exchanges: after a minute of silence, four probes in another minute.
const (
	keepAliveIdle     = 60 // seconds
	keepAliveInterval = 15 // seconds
	keepAliveProbes   = 4
)

// inherited sets the options of the listening socket that Linux copies to accepted ones, which saves four system calls per connection.
func inherited(_, _ string, raw syscall.RawConn) error {
	var err error
	if controlErr := raw.Control(func(fd uintptr) {
		for _, o := range [...]struct{ level, option, value int }{
			{syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1},
			{syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, keepAliveIdle},
			{syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, keepAliveInterval},
			{syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT, keepAliveProbes},
		} {
			if err = syscall.SetsockoptInt(int(fd), o.level, o.option, o.value); err != nil {
				return
			}
		}
	}); controlErr != nil {
		return controlErr
	}
	return err
}
