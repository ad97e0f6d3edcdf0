package listen

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
)

// Key is the identity of a listener: what a reload compares to find out that a listener stays.
type Key struct {
	Network string // "tcp" or "udp"
	Address string // canonical host:port; ":8080" for all addresses of the machine
}

// KeyOf returns the key of an address of a network, "tcp" or "udp", as it is written in a configuration: host:port, where the host may be empty, an IP
// address or a name. Spellings of one address have one key. The error says what is wrong with the address.
func KeyOf(network, address string) (Key, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return Key{}, fmt.Errorf("address %q is not host:port; write it as :8080, 127.0.0.1:8080 or [::1]:8080", address)
	}
	n, err := net.LookupPort(network, port)
	if err != nil || port == "" {
		return Key{}, fmt.Errorf("address %q has no valid port; use a number from 0 to 65535", address)
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.Unmap().String()
	}
	if host == "::" {
		host = "" // Go and Linux listen on both families for either
	}
	return Key{Network: network, Address: net.JoinHostPort(strings.ToLower(host), strconv.Itoa(n))}, nil
}

// family returns the network as the net package names it: of one family for a literal IPv4 address.
func (k Key) family() string {
	if host, _, err := net.SplitHostPort(k.Address); err == nil {
		if ip, err := netip.ParseAddr(host); err == nil && ip.Is4() {
			return k.Network + "4"
		}
	}
	return k.Network
}

// Socket is a bound TCP socket that nobody accepts from yet. Connections that clients open meanwhile wait in the system's queue.
type Socket struct {
	key Key
	ln  net.Listener
}

// Open binds a TCP socket to an address. name is the listener's, for the error, which says what to do. A literal IPv4 address listens on IPv4 only; an
// empty host and [::] on both families. Several programs cannot share the port (no SO_REUSEPORT), so that a port that is taken is noticed.
// Whoever opens a Socket either gives it to [Start] or closes it.
func Open(name, address string) (*Socket, error) {
	key, err := KeyOf("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listener %q: %w", name, err)
	}
	// Options that accepted sockets inherit are set once on the listening one where the kernel does that, and by Go on each where not.
	lc := net.ListenConfig{Control: inherited, KeepAliveConfig: keepAlive}
	if !keepAlive.Enable {
		lc.KeepAlive = -1
	}
	lc.SetMultipathTCP(false) // each accept would cost more, for clients that hardly exist
	ln, err := lc.Listen(context.Background(), key.family(), key.Address)
	if err != nil {
		return nil, fmt.Errorf("listener %q: cannot listen on %s: %w", name, address, explain(err, key))
	}
	return &Socket{key: key, ln: ln}, nil
}

// explain adds to a bind error what its reader can do.
func explain(err error, key Key) error {
	_, port, _ := net.SplitHostPort(key.Address)
	reason := err
	var sys syscall.Errno
	if errors.As(err, &sys) {
		reason = sys // without the address again
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w; another listener or program has the port: end it (`%s` shows it) or choose another port", reason, showHolder(key.Network, port))
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return fmt.Errorf("%w; ports below 1024 are for root: choose a higher one%s", reason, orPrivilege)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%w; no interface of this machine has the address: correct it, or leave the host empty to listen on all", reason)
	}
	return reason
}

// Key returns the identity of the socket.
func (s *Socket) Key() Key { return s.key }

// Addr returns the address that the socket is bound to, with the port that the system chose where 0 was asked for.
func (s *Socket) Addr() net.Addr { return s.ln.Addr() }

// Listener returns the socket as what servers other than ours accept from. The Socket must not be given to [Start] then.
func (s *Socket) Listener() net.Listener { return s.ln }

// Close gives the address back. Clients that wait in the queue are reset.
func (s *Socket) Close() error { return s.ln.Close() }
