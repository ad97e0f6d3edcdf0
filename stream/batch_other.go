//go:build !linux || portable

package stream

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
)

// Datagrams go one by one where the system has no calls for several.

// receiveFrom waits for a datagram. n is more than size if it is longer than that; len(p) > size.
func receiveFrom(conn *net.UDPConn, p []byte) (n int, from netip.AddrPort, err error) {
	n, from, err = conn.ReadFromUDPAddrPort(p)
	return n, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), err
}

// dropOf tells what an error of sending means for the datagram.
func dropOf(err error) UDPDrop {
	switch {
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.ENOBUFS):
		return UDPBlocked
	case errors.Is(err, syscall.EMSGSIZE):
		return UDPOversize
	}
	return UDPUnsent
}

// gone reports whether an error of sending says that the endpoint cannot be reached.
func gone(err error) bool {
	for _, e := range [...]syscall.Errno{syscall.ECONNREFUSED, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.ENETDOWN} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
