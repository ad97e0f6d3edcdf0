package discovery

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// These tests ask a scripted resolver on loopback. Lookups come every few milliseconds, so that nothing needs to wait for a time to live.

func onLoopback(address string) Target {
	return Target{Name: "shop.example", Port: 80, Resolver: address, MinTTL: time.Millisecond, MaxTTL: 5 * time.Millisecond}
}

func eventually(t testing.TB, w *Watcher, want string) {
	t.Helper()
	testnet.Eventually(t, fmt.Sprintf("the set %q", want), func() bool {
		found, _ := w.Current()
		return addressesOf(found) == want
	})
}

func TestNetwork(t *testing.T) {
	many := make([]string, 500)
	for i := range many {
		many[i] = fmt.Sprintf("shop.example. 1 IN A 10.1.%d.%d", i/250, i%250)
	}
	forgedWith := func(change func(m *dns.Msg)) func(m *dns.Msg) []byte {
		return func(m *dns.Msg) []byte {
			change(m)
			m.Rcode = dns.RcodeSuccess
			m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: m.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: net.IPv4(6, 6, 6, 6)}}
			packed, err := m.Pack()
			if err != nil {
				t.Error(err)
			}
			return packed
		}
	}
	good := []string{"shop.example. 1 IN A 10.0.0.2"}
	for _, test := range []struct {
		name  string
		reply reply
		want  int // addresses
	}{
		{"udp", reply{answer: good}, 1},
		{"tcp, because it does not fit", reply{answer: many, truncated: true}, 500},
		{"without EDNS", reply{answer: good, noEDNS: true}, 1},
		{"a forged id before the answer", reply{answer: good, forged: forgedWith(func(m *dns.Msg) { m.Id++ })}, 1},
		{"a forged question before the answer", reply{answer: good, forged: forgedWith(func(m *dns.Msg) { m.Question[0].Name = "evil.example." })}, 1},
		{"another type before the answer", reply{answer: good, forged: forgedWith(func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeTXT })}, 1},
		{"garbage before the answer", reply{answer: good, forged: func(*dns.Msg) []byte { return []byte("nonsense") }}, 1},
		{"a header before the answer", reply{answer: good, forged: func(m *dns.Msg) []byte {
			return append(binary.BigEndian.AppendUint16(nil, m.Id+1), 0x80, 0, 0, 1, 0, 1, 0, 0, 0, 0)
		}}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newResolver(t)
			r.set("A shop.example", test.reply)
			r.set("AAAA shop.example", reply{})
			w := watch(t, onLoopback(r.serve()), Options{Timeout: testnet.Patience})
			testnet.Receive(t, "the first lookup", w.First())
			found, _ := w.Current()
			if len(found) != test.want || strings.Contains(addressesOf(found), "6.6.6.6") {
				t.Errorf("found %s (%s)", addressesOf(found), w.Status().LastError)
			}
		})
	}
}

// The set follows the resolver, stays while it is away, and follows it again.
func TestNetworkAwayAndBack(t *testing.T) {
	r := newResolver(t)
	r.addresses("shop.example", 1, "10.0.0.1")
	report := new(lines)
	w := watch(t, onLoopback(r.serve()), Options{Report: report.add, Timeout: 200 * time.Millisecond})
	eventually(t, w, "10.0.0.1")
	r.addresses("shop.example", 1, "10.0.0.1", "10.0.0.2", "fd00::1")
	eventually(t, w, "10.0.0.1 10.0.0.2 fd00::1")
	for _, away := range []reply{{silent: true}, {rcode: dns.RcodeServerFailure}, {truncated: true, tcp: &reply{silent: true}},
		{broken: func([]byte) []byte { return []byte("nonsense") }}} {
		before := w.Status()
		r.both("shop.example", away)
		testnet.Eventually(t, "two failures", func() bool { return w.Status().Failures >= before.Failures+2 })
		if found, _ := w.Current(); addressesOf(found) != "10.0.0.1 10.0.0.2 fd00::1" {
			t.Errorf("the resolver is away, and the set is %q", addressesOf(found))
		}
	}
	r.addresses("shop.example", 1, "10.0.0.3")
	eventually(t, w, "10.0.0.3")
	testnet.Eventually(t, "the line that it works again", func() bool { return len(report.all()) == 2 })
}

// A port that nobody listens on is known at once.
func TestNetworkRefused(t *testing.T) {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := c.LocalAddr().String()
	c.Close()
	w := watch(t, onLoopback(address), Options{Timeout: testnet.Patience})
	testnet.Receive(t, "the first failure", w.First())
	if s := w.Status(); !strings.Contains(s.LastError, "refused") {
		t.Errorf("%+v", s)
	}
}

// Close does not wait for a resolver that is silent, by UDP or TCP.
func TestNetworkClose(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	r := newResolver(t)
	r.both("shop.example", reply{silent: true})
	for _, target := range []string{r.serve(), silent.Addr().String()} {
		ask := askNetwork
		if target == silent.Addr().String() {
			ask = func(ctx context.Context, _, server string, query []byte, accept func([]byte) error) error {
				return askNetwork(ctx, "tcp", server, query, accept)
			}
		}
		w := Watch(onLoopback(target), Options{Timeout: time.Hour, ask: ask})
		if target == silent.Addr().String() {
			conn, err := silent.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
		} else {
			testnet.Eventually(t, "the questions", func() bool { return len(r.asked()) == 2 })
		}
		closed := make(chan struct{})
		go func() { w.Close(); close(closed) }()
		testnet.Receive(t, "the end of Close", closed)
		testnet.Receive(t, "First after Close", w.First())
	}
}

// The system's servers are asked in turn, and a name without a dot in the domains of the search list. The file is read for each lookup.
func TestSystem(t *testing.T) {
	r := newResolver(t)
	path := filepath.Join(t.TempDir(), "resolv.conf")
	conf := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	conf("# comment\nsearch one.example two.example\nnameserver 192.0.2.1\nnameserver 2001:db8::1\nnameserver 192.0.2.3\nnameserver 192.0.2.4\n")
	r.addresses("db.two.example", 1, "10.0.0.1")
	r.down["192.0.2.1:53"] = true
	w := watch(t, Target{Name: "db", Port: 5432, MinTTL: time.Millisecond, MaxTTL: 2 * time.Millisecond},
		Options{resolvConf: path, ask: r.ask, Timeout: 20 * time.Millisecond})
	eventually(t, w, "10.0.0.1")
	r.mu.Lock()
	r.down = nil
	r.mu.Unlock()
	found, _ := w.Current()
	if got := write(found); got != "0/1 10.0.0.1:5432 db" {
		t.Errorf("found %s", got)
	}
	var order []string
	for _, a := range r.asked()[:6] {
		if a.qtype == dns.TypeA {
			order = append(order, a.server+" "+a.name)
		}
	}
	if got := strings.Join(order, ", "); got != "192.0.2.1:53 db.one.example., [2001:db8::1]:53 db.one.example., [2001:db8::1]:53 db.two.example." {
		t.Errorf("asked %s", got)
	}
	for _, a := range r.asked() {
		if a.server == "192.0.2.4:53" {
			t.Error("the fourth server was asked")
		}
	}
	r.addresses("db.two.example", 1, "10.0.0.2")
	conf("search two.example\nnameserver 192.0.2.77\n")
	eventually(t, w, "10.0.0.2")
	testnet.Eventually(t, "a question to the new server", func() bool {
		all := r.asked()
		return all[len(all)-1].server == "192.0.2.77:53"
	})
}

func TestSystemConfig(t *testing.T) {
	for _, test := range []struct{ name, file, target, servers, names string }{
		{"no file", "", "shop.example", "127.0.0.1:53", "shop.example."},
		{"search is for single labels only", "nameserver 10.0.0.53\nsearch a.example", "Shop.example", "10.0.0.53:53", "shop.example."},
		{"single label", "nameserver fe80::1%eth0\nsearch a.example . B.example.", "db", "[fe80::1%eth0]:53", "db.a.example. db.b.example. db."},
		{"absolute name", "nameserver 10.0.0.53\nsearch a.example", "db.", "10.0.0.53:53", "db."},
		{"domain", "nameserver 10.0.0.53\ndomain a.example", "db", "10.0.0.53:53", "db.a.example. db."},
		{"a label that cannot be", "nameserver 10.0.0.53\nsearch a..example", "db", "10.0.0.53:53", "db."},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "resolv.conf")
			if test.file != "" {
				if err := os.WriteFile(path, []byte(test.file), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			servers, names := systemConfig(path, test.target)
			if got := strings.Join(servers, " "); got != test.servers {
				t.Errorf("servers %s", got)
			}
			if got := strings.Join(names, " "); got != test.names {
				t.Errorf("names %s", got)
			}
		})
	}
}
