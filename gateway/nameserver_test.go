package gateway

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// nameserver is a scripted resolver on loopback, by UDP. What it does can be changed at any time.
type nameserver struct {
	t    testing.TB
	addr string

	mu      sync.Mutex
	records map[string][]string                 // by question, as "A app.test", in the form of zone files; others do not exist; guarded by mu
	twist   func(query, answer *dns.Msg) []byte // what is sent in place of the answer; nil for nothing; guarded by mu
	asked   int                                 // questions so far; guarded by mu
}

// newNameserver starts a resolver at an address, 127.0.0.1:0 for any.
func newNameserver(t testing.TB, address string) *nameserver {
	t.Helper()
	n := &nameserver{t: t, records: map[string][]string{}}
	pc, err := net.ListenPacket("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	n.addr = pc.LocalAddr().String()
	var served sync.WaitGroup
	served.Go(func() {
		p := make([]byte, 4096)
		for {
			size, from, err := pc.ReadFrom(p)
			if err != nil {
				return
			}
			if answer := n.answer(p[:size]); answer != nil {
				_, _ = pc.WriteTo(answer, from)
			}
		}
	})
	t.Cleanup(func() { _ = pc.Close(); served.Wait() })
	return n
}

func (n *nameserver) answer(text []byte) []byte {
	query := new(dns.Msg)
	if err := query.Unpack(text); err != nil || len(query.Question) != 1 {
		n.t.Errorf("a query that is none: %x: %v", text, err)
		return nil
	}
	q := query.Question[0]
	n.mu.Lock()
	n.asked++
	lines, exists := n.records[dns.TypeToString[q.Qtype]+" "+strings.TrimSuffix(q.Name, ".")]
	twist := n.twist
	n.mu.Unlock()
	answer := new(dns.Msg).SetReply(query)
	if !exists {
		answer.Rcode = dns.RcodeNameError
	}
	for _, line := range lines {
		rr, err := dns.NewRR(line)
		if err != nil {
			n.t.Error(err)
			return nil
		}
		answer.Answer = append(answer.Answer, rr)
	}
	if twist != nil {
		return twist(query, answer)
	}
	packed, err := answer.Pack()
	if err != nil {
		n.t.Error(err)
	}
	return packed
}

// service makes app.test have these endpoints, each as NAME=HOST:PORT or NAME=HOST:PORT/PRIORITY, by SRV records.
func (n *nameserver) service(endpoints ...string) {
	records := map[string][]string{"SRV _http._tcp.app.test": {}}
	for _, e := range endpoints {
		name, address, _ := strings.Cut(e, "=")
		address, priority, found := strings.Cut(address, "/")
		if !found {
			priority = "0"
		}
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			n.t.Fatal(err)
		}
		records["SRV _http._tcp.app.test"] = append(records["SRV _http._tcp.app.test"],
			fmt.Sprintf("_http._tcp.app.test. 0 IN SRV %s 1 %s %s.app.test.", priority, port, name))
		records["A "+name+".app.test"] = []string{fmt.Sprintf("%s.app.test. 0 IN A %s", name, host)}
		records["AAAA "+name+".app.test"] = nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.records = records
}

// host makes app.test have these addresses.
func (n *nameserver) host(addresses ...string) {
	records := map[string][]string{"A app.test": nil, "AAAA app.test": nil}
	for _, a := range addresses {
		kind := "A"
		if strings.Contains(a, ":") {
			kind = "AAAA"
		}
		records[kind+" app.test"] = append(records[kind+" app.test"], fmt.Sprintf("app.test. 0 IN %s %s", kind, a))
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.records = records
}

// answers sets what is sent in place of answers; nil for the answers themselves.
func (n *nameserver) answers(twist func(query, answer *dns.Msg) []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.twist = twist
}

// questions returns how many came.
func (n *nameserver) questions() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked
}

// nothing is a twist: no answer at all.
func nothing(_, _ *dns.Msg) []byte { return nil }

// failing is a twist: the resolver says that it cannot tell.
func failing(query, _ *dns.Msg) []byte {
	packed, _ := new(dns.Msg).SetRcode(query, dns.RcodeServerFailure).Pack()
	return packed
}
