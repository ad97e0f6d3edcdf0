//go:build !linux

package listen

import (
	"net"
	"syscall"
	"time"
)

// keepAlive is set by Go at each accept. It finds clients that vanished during long exchanges: after a minute of silence, four probes in
// another minute. Read-only.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 15 * time.Second, Count: 4}

// showHolder returns the command that shows who has a port.
func showHolder(network, port string) string {
	if network == "udp" {
		return "lsof -nP -iUDP:" + port
	}
	return "lsof -nP -iTCP:" + port + " -sTCP:LISTEN"
}

// orPrivilege is the other way to a low port.
const orPrivilege = ""

// inherited sets nothing: which options accepted sockets inherit differs between systems.
func inherited(_, _ string, _ syscall.RawConn) error { return nil }
