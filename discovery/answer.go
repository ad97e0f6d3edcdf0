package discovery

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// maxAliases bounds the CNAME records that are followed in one answer. Resolvers give up at 8 to 16.
const maxAliases = 16

// errForeign marks a message that does not answer the question: of another query, forged, or no DNS at all. Over UDP it is passed over and the wait
// goes on, because otherwise anybody who can send us a datagram could end a lookup.
var errForeign = errors.New("not an answer to the question")

// question is what a server is asked.
type question struct {
	name  string // canonical: lower case, with the dot at its end
	qtype uint16 // dns.TypeA, dns.TypeAAAA or dns.TypeSRV
}

func (q question) String() string {
	return dns.TypeToString[q.qtype] + " of " + strings.TrimSuffix(q.name, ".")
}

// answer is what is taken of a message. Nothing in it refers to the message.
type answer struct {
	rcode     int
	truncated bool // the rest is empty, and the same is to be asked by TCP

	addresses []netip.Addr // for A and AAAA: usable, without duplicates
	services  []service    // for SRV: usable
	none      bool         // for SRV: the answer is that there is no such service (target ".")
	ttl       time.Duration
	extra     map[string]*[2]addressSet // addresses in the additional section of an SRV answer, by host and family
	refused   string                    // a record that is not used, and why; empty if all are
}

// service is an SRV record.
type service struct {
	host             string // canonical
	port             uint16
	priority, weight uint16
}

// addressSet is what one message says about one family of one host.
type addressSet struct {
	addresses []netip.Addr
	ttl       time.Duration
}

// The families, as indices.
const (
	v4 = iota
	v6
)

// familyTypes are the types of question by family. Read-only.
var familyTypes = [2]uint16{dns.TypeA, dns.TypeAAAA}

// readAnswer takes what answers q out of a message as it came from the network. The error is errForeign if the message is none to a query of this
// id and question; any other error means that the server answers nonsense.
//
// A panic over a message, which would be a mistake of the program or its library, counts as nonsense too: nobody who can send a datagram may end the
// program.
func readAnswer(message []byte, q question, id uint16) (a *answer, err error) {
	defer func() {
		if p := recover(); p != nil {
			a, err = nil, fmt.Errorf("reading the answer panicked: %v", p)
		}
	}()
	var m dns.Msg
	broken := m.Unpack(message)
	if err := belongs(&m, message, q, id, broken); err != nil {
		return nil, err
	}
	a = &answer{rcode: m.Rcode, truncated: m.Truncated}
	switch {
	case a.truncated:
		return a, nil // it may well end in the middle of a record
	case broken != nil:
		return nil, fmt.Errorf("the answer is broken: %w", broken)
	case a.rcode != dns.RcodeSuccess:
		return a, nil
	case len(m.Answer) != int(binary.BigEndian.Uint16(message[6:])):
		return nil, errors.New("the answer is broken: it ends before its last record")
	}
	return a, a.fill(&m, q)
}

// belongs reports whether m answers the query, by id and question (RFC 5452 section 9.1).
func belongs(m *dns.Msg, message []byte, q question, id uint16, broken error) error {
	const header = 12
	switch {
	case len(message) < header:
		return fmt.Errorf("%w: %d bytes are no DNS message", errForeign, len(message))
	case m.Id != id:
		return fmt.Errorf("%w: another id", errForeign)
	case !m.Response || m.Opcode != dns.OpcodeQuery:
		return fmt.Errorf("%w: a query", errForeign)
	case len(m.Question) == 0 && broken == nil && m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError:
		return nil // a server that refuses the query may leave the question away
	case len(m.Question) != 1:
		return fmt.Errorf("%w: it has %d questions", errForeign, len(m.Question))
	}
	if got := m.Question[0]; dns.CanonicalName(got.Name) != q.name || got.Qtype != q.qtype || got.Qclass != dns.ClassINET {
		return fmt.Errorf("%w: another question", errForeign)
	}
	return nil
}

// fill takes the records out of m.
func (a *answer) fill(m *dns.Msg, q question) error {
	owner, ttl, err := followAliases(m.Answer, q)
	if err != nil {
		return err
	}
	a.ttl = ttl
	for _, rr := range m.Answer {
		h := rr.Header()
		if h.Class != dns.ClassINET || h.Rrtype != q.qtype || dns.CanonicalName(h.Name) != owner {
			continue
		}
		a.ttl = min(a.ttl, timeToLive(h))
		switch rr := rr.(type) {
		case *dns.A:
			a.addresses = a.address(a.addresses, rr.A, v4)
		case *dns.AAAA:
			a.addresses = a.address(a.addresses, rr.AAAA, v6)
		case *dns.SRV:
			a.service(rr)
		}
	}
	if len(a.services) > 0 {
		a.none = false // RFC 2782: the target "." stands alone
		a.fillExtra(m.Extra)
	}
	if a.refused != "" && len(a.addresses) == 0 && len(a.services) == 0 {
		return fmt.Errorf("the answer is nonsense: %s", a.refused)
	}
	return nil
}

// followAliases returns the name that the CNAME records of the answer lead to from the question's name, and the smallest time to live on the way.
func followAliases(records []dns.RR, q question) (owner string, ttl time.Duration, err error) {
	owner, ttl = q.name, math.MaxInt64
	for range maxAliases {
		next := ""
		for _, rr := range records {
			h := rr.Header()
			if h.Class != dns.ClassINET || dns.CanonicalName(h.Name) != owner {
				continue
			}
			if h.Rrtype == q.qtype {
				return owner, ttl, nil
			}
			if alias, ok := rr.(*dns.CNAME); ok && next == "" {
				next, ttl = dns.CanonicalName(alias.Target), min(ttl, timeToLive(h))
			}
		}
		if next == "" {
			return owner, ttl, nil
		}
		owner = next
	}
	return "", 0, fmt.Errorf("the answer is nonsense: more than %d CNAME records lead from %s, or in a circle", maxAliases, q.name)
}

// address appends ip to list if it is usable and new.
func (a *answer) address(list []netip.Addr, ip net.IP, family int) []netip.Addr {
	addr, ok := netip.AddrFromSlice(ip)
	if family == v6 && len(ip) != net.IPv6len {
		ok = false
	}
	// The library holds IPv4 addresses in either form; an IPv6 record with an IPv4 address in it means that address.
	addr = addr.Unmap()
	if !ok || !usable(addr) {
		a.refuse("the address %s cannot be an endpoint's", addr)
		return list
	}
	// Answers are at most 64 KiB, so that looking through the list is quick enough.
	for _, other := range list {
		if other == addr {
			return list
		}
	}
	return append(list, addr)
}

// usable reports whether addr can be the address of an endpoint. Loopback is: a resolver on the same host has every right to name it.
func usable(addr netip.Addr) bool {
	if !addr.IsValid() || addr.IsUnspecified() || addr.IsMulticast() || addr.Zone() != "" {
		return false
	}
	if addr.Is4() {
		b := addr.As4()
		return b[0] != 0 && b[0] < 240 // "this network" and the reserved block with the broadcast address: RFC 6890
	}
	return !addr.IsLinkLocalUnicast() // means nothing without a zone, which DNS does not have
}

// service takes an SRV record.
func (a *answer) service(rr *dns.SRV) {
	host := dns.CanonicalName(rr.Target)
	switch {
	case host == ".":
		a.none = true
	case rr.Port == 0:
		a.refuse("the SRV record for %s has port 0", host)
	case !isHostName(host):
		a.refuse("the SRV target %q is not a host name", rr.Target)
	default:
		a.services = append(a.services, service{host: host, port: rr.Port, priority: rr.Priority, weight: rr.Weight})
	}
}

// isHostName reports whether a canonical name has only what host names are made of. It goes into TLS handshakes and Host fields.
func isHostName(name string) bool {
	for i := range len(name) {
		c := name[i]
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.') {
			return false
		}
	}
	return name != ""
}

// fillExtra takes the addresses of the SRV targets out of the additional section, so that they need not be asked for.
func (a *answer) fillExtra(records []dns.RR) {
	a.extra = make(map[string]*[2]addressSet)
	for _, s := range a.services {
		a.extra[s.host] = nil
	}
	for _, rr := range records {
		h := rr.Header()
		host := dns.CanonicalName(h.Name)
		sets, wanted := a.extra[host]
		if !wanted || h.Class != dns.ClassINET {
			continue
		}
		var ip net.IP
		var family int
		switch rr := rr.(type) {
		case *dns.A:
			ip, family = rr.A, v4
		case *dns.AAAA:
			ip, family = rr.AAAA, v6
		default:
			continue
		}
		if sets == nil {
			sets = &[2]addressSet{{ttl: math.MaxInt64}, {ttl: math.MaxInt64}}
			a.extra[host] = sets
		}
		s := &sets[family]
		s.addresses, s.ttl = a.address(s.addresses, ip, family), min(s.ttl, timeToLive(h))
	}
}

// refuse notes the first record that is not used.
func (a *answer) refuse(format string, args ...any) {
	if a.refused == "" {
		a.refused = fmt.Sprintf(format, args...)
	}
}

// timeToLive returns a record's time to live. One with the highest bit set counts as 0 (RFC 2181 section 8).
func timeToLive(h *dns.RR_Header) time.Duration {
	if h.Ttl > math.MaxInt32 {
		return 0
	}
	return time.Duration(h.Ttl) * time.Second
}
