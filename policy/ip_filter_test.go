package policy

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/sluice-gateway/sluice/message"
)

func TestIPFilter(t *testing.T) {
	for _, c := range []struct {
		policy, client string
		refused        bool
	}{
		{`{allow: 192.0.2.0/24}`, "192.0.2.7", false},
		{`{allow: 192.0.2.0/24}`, "192.0.3.0", true},
		{`{allow: 192.0.2.0/24}`, "::ffff:192.0.2.7", false}, // the same address
		{`{allow: 192.0.2.0/24}`, "2001:db8::1", true},
		{`{deny: [192.0.2.7, "2001:db8::/32"]}`, "192.0.2.7", true},
		{`{deny: [192.0.2.7, "2001:db8::/32"]}`, "192.0.2.8", false},
		{`{deny: [192.0.2.7, "2001:db8::/32"]}`, "2001:db8:ffff::1", true},
		{`{allow: 192.0.2.0/24, deny: 192.0.2.128/25}`, "192.0.2.127", false},
		{`{allow: 192.0.2.0/24, deny: 192.0.2.128/25}`, "192.0.2.128", true},
		{`{allow: ["::/0", 0.0.0.0/0]}`, "203.0.113.1", false},
		{`{allow: 0.0.0.0/0}`, "2001:db8::1", true},
		{`{allow: "::/0"}`, "203.0.113.1", true},
	} {
		x := exchange("-")
		x.Client.Addr = netip.MustParseAddr(c.client)
		_, done, f := chain(t, "[{ip_filter: "+c.policy+"}]").Request(x, 0, nil)
		if done || (f != nil) != c.refused || f != nil && f.Reason != message.AddressRefused {
			t.Errorf("%s from %s: %v, want refused %v", c.policy, c.client, f, c.refused)
		}
	}
	if _, _, err := load("[{ip_filter: {}}]"); err == nil {
		t.Error("a filter without lists is accepted")
	}
}

// The set says of every address what its prefixes say.
func TestAddressSet(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		var prefixes []netip.Prefix
		for range random.IntN(20) {
			a := netip.AddrFrom4([4]byte{10, 0, byte(random.IntN(4)), byte(random.IntN(256))})
			bits := 20 + random.IntN(13)
			if random.IntN(3) == 0 {
				a = netip.AddrFrom16([16]byte{0x20, 1, 15: byte(random.IntN(256))})
				bits = 116 + random.IntN(13)
			}
			prefixes = append(prefixes, netip.PrefixFrom(a, bits))
		}
		set := newAddressSet(prefixes)
		for i := range 1024 {
			a := netip.AddrFrom4([4]byte{10, 0, byte(i / 256), byte(i)})
			if i%3 == 0 {
				a = netip.AddrFrom16([16]byte{0x20, 1, 15: byte(i)})
			}
			want := false
			for _, p := range prefixes {
				want = want || p.Contains(a)
			}
			if set.has(a) != want {
				t.Fatalf("%v in %v: %v, want %v", a, prefixes, !want, want)
			}
		}
	}
}
