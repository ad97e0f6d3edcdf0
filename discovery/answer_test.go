package discovery

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

func TestUsable(t *testing.T) {
	for _, test := range []struct {
		addresses string
		want      bool
	}{
		{"10.0.0.1 127.0.0.1 169.254.1.1 1.1.1.1 223.255.255.255 ::1 fd00::1 2001:db8::1 fec0::1", true},
		{"0.0.0.0 0.1.2.3 224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255 :: ff02::1 ff0e::1 fe80::1 fd00::1%eth0", false},
	} {
		for text := range strings.FieldsSeq(test.addresses) {
			if got := usable(mustAddress(t, text)); got != test.want {
				t.Errorf("usable(%s) = %v", text, got)
			}
		}
	}
	if usable(netip.Addr{}) {
		t.Error("the zero address is usable")
	}
}

func TestTarget(t *testing.T) {
	for _, test := range []struct {
		target Target
		text   string
		fault  string // part of what is wrong; "" if nothing
	}{
		{shop, "shop.example:8443@192.0.2.53:53", ""},
		{bank, "_https._tcp.bank.example@192.0.2.53:53", ""},
		{Target{Name: "shop.example.", Port: 80}, "shop.example:80", ""},
		{Target{Name: "db", Port: 80, Resolver: "[::1]:53"}, "db:80@[::1]:53", ""},
		{Target{Name: "db", Port: 80, Resolver: "dns.example:53"}, "db:80@dns.example:53", ""},
		{Target{Port: 80}, ":80", "is not a domain name"},
		{Target{Name: ".", Port: 80}, ":80", "is not a domain name"},
		{Target{Name: "a..b", Port: 80}, "a..b:80", "is not a domain name"},
		{Target{Name: strings.Repeat("x", 64), Port: 80}, strings.Repeat("x", 64) + ":80", "is not a domain name"},
		{Target{Name: "bücher.example", Port: 80}, "bücher.example:80", "xn--"},
		{Target{Name: "a b.example", Port: 80}, "a b.example:80", "is not a name that hosts have"},
		{Target{Name: "10.0.0.1", Port: 80}, "10.0.0.1:80", "is an address"},
		{Target{Name: "shop.example"}, "shop.example:0", "the port is missing"},
		{Target{Name: "db", Port: 80, Resolver: "127.0.0.1"}, "db:80@127.0.0.1", "write it as HOST:PORT"},
		{Target{Name: "db", Port: 80, Resolver: ":53"}, "db:80@:53", "write it as HOST:PORT"},
		{Target{Name: "db", Port: 80, Resolver: "127.0.0.1:0"}, "db:80@127.0.0.1:0", "write it as HOST:PORT"},
		{Target{Name: "db", Port: 80, Resolver: "127.0.0.1:70000"}, "db:80@127.0.0.1:70000", "write it as HOST:PORT"},
		{Target{Name: "db", Port: 80, MinTTL: -1}, "db:80", "negative"},
	} {
		if got := test.target.String(); got != test.text {
			t.Errorf("%+v is written %q", test.target, got)
		}
		err := test.target.Check()
		if (err == nil) != (test.fault == "") || err != nil && !strings.Contains(err.Error(), test.fault) {
			t.Errorf("%v: %v, and should say %q", test.target, err, test.fault)
		}
	}
}

// message packs an answer to q with the given records.
func message(t testing.TB, q question, id uint16, answer, extra []string) []byte {
	t.Helper()
	r := newResolver(t)
	r.script[q] = reply{answer: answer, extra: extra}
	m := new(dns.Msg).SetQuestion(q.name, q.qtype)
	m.Id = id
	query, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return r.answer("udp", "", query)[0]
}

// Whatever comes from the network, reading it does not panic, and what is taken out of it can be used.
func FuzzAnswer(f *testing.F) {
	const id = 0x1234
	name := "shop.example."
	seeds := []struct {
		qtype         uint16
		answer, extra []string
	}{
		{dns.TypeA, []string{name + " 60 IN A 10.0.0.1", name + " 0 IN A 0.0.0.0"}, nil},
		{dns.TypeAAAA, []string{name + " 60 IN AAAA fd00::1", name + " 60 IN AAAA ::ffff:224.0.0.1", name + " 60 IN AAAA fe80::1"}, nil},
		{dns.TypeA, []string{name + " 60 IN CNAME b.example.", "b.example. 5 IN A 10.0.0.1"}, nil},
		{dns.TypeA, []string{name + " 60 IN CNAME b.example.", "b.example. 5 IN CNAME " + name}, nil},
		{dns.TypeSRV, []string{name + " 60 IN SRV 1 2 80 a.example.", name + ` 60 IN SRV 1 2 80 a\000b.example.`, name + " 60 IN SRV 0 0 0 ."},
			[]string{"a.example. 60 IN A 10.0.0.1", "a.example. 60 IN AAAA ::"}},
		{dns.TypeA, nil, nil},
	}
	for _, s := range seeds {
		whole := message(f, question{name, s.qtype}, id, s.answer, s.extra)
		f.Add(s.qtype, whole)
		f.Add(s.qtype, whole[:len(whole)-2])
		cut := slices.Clone(whole)
		cut[2] |= 2 // truncated
		f.Add(s.qtype, cut)
	}
	f.Add(dns.TypeA, []byte{})
	f.Add(dns.TypeA, []byte{0x12, 0x34, 0x80, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0xc0, 0x0c, 0, 1, 0, 1})
	// An address record without an address, as in dynamic updates.
	empty := message(f, question{name, dns.TypeA}, id, []string{name + " 60 IN A 10.0.0.1"}, nil)
	empty[len(empty)-5] = 0
	f.Add(dns.TypeA, empty[:len(empty)-4])

	f.Fuzz(func(t *testing.T, qtype uint16, message []byte) {
		if qtype != dns.TypeA && qtype != dns.TypeAAAA && qtype != dns.TypeSRV {
			return
		}
		a, err := readAnswer(message, question{name, qtype}, id)
		if err != nil {
			if text := err.Error(); text == "" || strings.ContainsAny(text, "\r\n\x00") {
				t.Errorf("error %q", text)
			}
			return
		}
		if i := strings.IndexFunc(a.refused, func(c rune) bool { return c < ' ' || c > '~' }); i >= 0 {
			t.Errorf("a line with %q in it", a.refused)
		}
		check := func(list []netip.Addr) {
			t.Helper()
			for i, addr := range list {
				if !usable(addr) || addr.Is4In6() || slices.Contains(list[:i], addr) {
					t.Errorf("%v in %v", addr, list)
				}
			}
		}
		check(a.addresses)
		if (a.rcode != dns.RcodeSuccess || a.truncated) && (len(a.addresses) > 0 || len(a.services) > 0) {
			t.Error("records of an answer that has none")
		}
		if a.ttl < 0 || qtype == dns.TypeSRV && len(a.addresses) > 0 || qtype != dns.TypeSRV && (len(a.services) > 0 || a.none) {
			t.Errorf("%+v", a)
		}
		for host, sets := range a.extra {
			if !slices.ContainsFunc(a.services, func(s service) bool { return s.host == host }) {
				t.Errorf("addresses of %q, which is no target", host)
			}
			if sets != nil {
				check(sets[v4].addresses)
				check(sets[v6].addresses)
			}
		}
		for _, s := range a.services {
			if s.port == 0 || !isHostName(s.host) || strings.Trim(s.host, ".") == "" {
				t.Errorf("service %+v", s)
			}
		}
	})
}

// What is not an answer to the question is told from an answer that is broken: the one is passed over, the other ends the question.
func TestForeign(t *testing.T) {
	q := question{"shop.example.", dns.TypeA}
	good := message(t, q, 7, []string{"shop.example. 60 IN A 10.0.0.1"}, nil)
	for _, test := range []struct {
		name    string
		change  func(m []byte) []byte
		foreign bool
		broken  bool
	}{
		{"the answer", func(m []byte) []byte { return m }, false, false},
		{"upper case", func(m []byte) []byte { m[13] = 'S'; return m }, false, false},
		{"id", func(m []byte) []byte { m[1]++; return m }, true, false},
		{"name", func(m []byte) []byte { m[13] = 'x'; return m }, true, false},
		{"class", func(m []byte) []byte { m[28] = 3; return m }, true, false},
		{"no question", func(m []byte) []byte { return append(m[:4:4], make([]byte, 8)...) }, true, false},
		{"no question, refused", func(m []byte) []byte { return append(append(m[:3:3], 5), make([]byte, 8)...) }, false, false},
		{"header only", func(m []byte) []byte { return m[:12] }, true, false},
		{"question only", func(m []byte) []byte { return m[:30] }, false, true},
		{"half a record", func(m []byte) []byte { return m[:40] }, false, true},
		{"half a header", func(m []byte) []byte { return m[:9] }, true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := readAnswer(test.change(slices.Clone(good)), q, 7)
			if errors.Is(err, errForeign) != test.foreign || (err != nil) != (test.foreign || test.broken) {
				t.Errorf("%v", err)
			}
		})
	}
}
