package discovery

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/sluice-gateway/sluice/metric"
)

const (
	// DefaultMinTTL is the shortest time between two lookups of a target that does not say.
	DefaultMinTTL = time.Second
	// DefaultMaxTTL is the longest.
	DefaultMaxTTL = 5 * time.Minute
	// DefaultTimeout is how long one resolver has for one question.
	DefaultTimeout = 2 * time.Second

	// MaxTargets bounds the hosts that are taken of one SRV answer: those of the lowest priorities and, among these, of the highest weights.
	MaxTargets = 256
	// MaxAddresses bounds the addresses of a set: those of the lowest priorities and, among these, the lowest addresses.
	MaxAddresses = 1024
)

// Target says what is looked up, and where. It is comparable, so that it can be the key of a keep-pool; two targets that differ in any field are
// different ones.
type Target struct {
	Service bool   // look up SRV records, and the addresses of the hosts they name; else A and AAAA
	Name    string // the domain name; one without a dot is completed by the system's search list if Resolver is empty
	Port    uint16 // of every address; not used for a Service, whose records have ports
	// Resolver is the host:port that is asked. Empty means the system's: the servers in /etc/resolv.conf, in turn, and no other source of names such
	// as /etc/hosts.
	Resolver string
	// MinTTL and MaxTTL are the bounds for the time to live of an answer; 0 means DefaultMinTTL and DefaultMaxTTL. MinTTL wins over MaxTTL.
	MinTTL, MaxTTL time.Duration
}

// String returns the target as reports and metrics name it: shop.example:8443, or _https._tcp.shop.example, and @resolver if one is set.
func (t Target) String() string {
	name := strings.TrimSuffix(t.Name, ".")
	if !t.Service {
		name += ":" + strconv.Itoa(int(t.Port))
	}
	if t.Resolver != "" {
		name += "@" + t.Resolver
	}
	return name
}

// Check says what makes the target one that can never be found, for instance a name that no server can be asked for.
func (t Target) Check() error {
	if _, ok := dns.IsDomainName(t.Name); !ok || t.Name == "." {
		return fmt.Errorf("%q is not a domain name: write labels of at most 63 characters with dots between them", t.Name)
	}
	if !isHostName(dns.CanonicalName(t.Name)) {
		return fmt.Errorf("%q is not a name that hosts have: write letters, digits, hyphens and dots, and other scripts as xn--", t.Name)
	}
	if _, err := netip.ParseAddr(t.Name); err == nil {
		return fmt.Errorf("%q is an address and needs no lookup: write it as an endpoint of its own", t.Name)
	}
	if !t.Service && t.Port == 0 {
		return errors.New("the port is missing: A and AAAA records have none, give one from 1 to 65535")
	}
	if t.Resolver != "" {
		host, port, err := net.SplitHostPort(t.Resolver)
		if n, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || n == 0 || host == "" {
			return fmt.Errorf("resolver %q: write it as HOST:PORT, for instance 127.0.0.1:53", t.Resolver)
		}
	}
	if t.MinTTL < 0 || t.MaxTTL < 0 {
		return errors.New("a time to live is negative: give durations above 0, or leave them out")
	}
	return nil
}

// ttls returns the bounds with their defaults.
func (t Target) ttls() (lowest, highest time.Duration) {
	lowest, highest = cmp.Or(t.MinTTL, DefaultMinTTL), cmp.Or(t.MaxTTL, DefaultMaxTTL)
	return lowest, max(lowest, highest)
}

// Found is one endpoint that was found.
type Found struct {
	Address  netip.AddrPort // never unspecified, multicast or broadcast; never an IPv4 address written as IPv6
	Weight   uint16         // of the SRV record, as it stands there, 0 too; 1 for a plain name. Each address of a host has the host's weight
	Priority uint16         // of the SRV record, 0 is used first; 0 for a plain name
	Host     string         // the name it was found under, in lower case without the dot at its end, for TLS: the SRV target or the name of the Target
}

// compareFound orders a set: by priority, then by address; of the same address, the heavier first.
func compareFound(a, b Found) int {
	return cmp.Or(cmp.Compare(a.Priority, b.Priority), a.Address.Compare(b.Address), cmp.Compare(b.Weight, a.Weight), cmp.Compare(a.Host, b.Host))
}

// Options of a [Watcher]. The zero value is usable.
type Options struct {
	// Report is given lines for the operator: that a lookup failed, at most once a minute, that it works again, and what was left out of an answer.
	// It is called by the watcher's goroutine and must not call the Watcher. May be nil.
	Report func(line string)
	// Timeout is how long one resolver has for one question; 0 means DefaultTimeout.
	Timeout time.Duration
	// Metrics gets the watcher's series, labelled with [Target.String]. The owner releases it after Close. May be nil.
	Metrics *metric.Scope

	resolvConf string // another file than /etc/resolv.conf, for tests
	ask        asker  // another way to servers than the network, for tests
}

// Status is what a [Watcher] knows about its target at a moment.
type Status struct {
	Known      bool          // something was found, now or before
	Stale      bool          // the last lookup failed or found nothing, and what was found before is still in use
	Endpoints  int           // number of endpoints in the set
	LastAnswer time.Time     // end of the last lookup that found endpoints; zero if there was none
	TTL        time.Duration // how long the set may be relied on without another lookup; 0 if that time is over
	NextLookup time.Time     // when the next lookup begins; in the past while one is under way
	Failures   int           // lookups that failed or found nothing, in a row
	LastError  string        // what was wrong with the last lookup, also with a part of it; empty if nothing
}
