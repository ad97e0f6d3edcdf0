package proxy

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/message"
)

// trusting makes a site that trusts networks.
func trusting(t testing.TB, networks ...string) *Site {
	return site(t, func(s *Site) {
		for _, n := range networks {
			s.TrustedProxies = append(s.TrustedProxies, netip.MustParsePrefix(n))
		}
	}, at("/*", &Route{}))
}

func TestClientAddress(t *testing.T) {
	s := trusting(t, "10.0.0.0/8", "192.168.1.1/32", "2001:db8:ff::/48", "fe80::/10")
	for _, tc := range []struct {
		name, peer string
		lists      []string
		want       string
	}{
		{"nobody between", "192.0.2.7:1", nil, "192.0.2.7"},
		{"untrusted peer claims", "192.0.2.7:1", []string{"203.0.113.1"}, "192.0.2.7"},
		{"trusted peer says nothing", "10.0.0.1:1", nil, "10.0.0.1"},
		{"trusted peer says an empty list", "10.0.0.1:1", []string{""}, "10.0.0.1"},
		{"one proxy", "10.0.0.1:1", []string{"203.0.113.1"}, "203.0.113.1"},
		{"the client's own claim stands left", "10.0.0.1:1", []string{"8.8.8.8, 203.0.113.1"}, "203.0.113.1"},
		{"two proxies", "10.0.0.1:1", []string{"203.0.113.1, 10.0.0.2"}, "203.0.113.1"},
		{"a proxy of another network is the client", "10.0.0.1:1", []string{"203.0.113.1, 192.168.1.2"}, "192.168.1.2"},
		{"a single address is trusted", "10.0.0.1:1", []string{"203.0.113.1,192.168.1.1"}, "203.0.113.1"},
		{"all are proxies: the leftmost", "10.0.0.1:1", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		{"several lines are one list", "10.0.0.1:1", []string{"8.8.8.8", "203.0.113.1, 10.0.0.3", "10.0.0.2"}, "203.0.113.1"},
		{"empty entries", "10.0.0.1:1", []string{" , 203.0.113.1, ,", ""}, "203.0.113.1"},
		{"tabs and spaces", "10.0.0.1:1", []string{"203.0.113.1\t,  10.0.0.2 "}, "203.0.113.1"},
		{"a port", "10.0.0.1:1", []string{"203.0.113.1:8080"}, "203.0.113.1"},
		{"IPv6", "10.0.0.1:1", []string{"2001:db8::1"}, "2001:db8::1"},
		{"IPv6 in brackets", "10.0.0.1:1", []string{"[2001:DB8::1]"}, "2001:db8::1"},
		{"IPv6 in brackets with a port", "10.0.0.1:1", []string{"[2001:db8::1]:443"}, "2001:db8::1"},
		{"IPv6 proxies", "[2001:db8:ff::1]:1", []string{"2001:db8::1, 2001:db8:ff::2"}, "2001:db8::1"},
		{"IPv4 in IPv6", "10.0.0.1:1", []string{"::ffff:203.0.113.1"}, "203.0.113.1"},
		{"IPv4 proxy in IPv6", "[::ffff:10.0.0.1]:1", []string{"203.0.113.1, ::ffff:10.0.0.2"}, "203.0.113.1"},
		{"peer with a zone", "[fe80::1%eth0]:1", []string{"203.0.113.1"}, "203.0.113.1"},
		{"peer with a zone, alone", "[fe80::1%eth0]:1", nil, "fe80::1"},
		{"garbage ends the walk", "10.0.0.1:1", []string{"203.0.113.1, unknown"}, "10.0.0.1"},
		{"garbage behind a proxy", "10.0.0.1:1", []string{"203.0.113.1, _hidden, 10.0.0.2"}, "10.0.0.2"},
		{"a zone is garbage", "10.0.0.1:1", []string{"203.0.113.1, fe80::1%eth0"}, "10.0.0.1"},
		{"quotes are garbage", "10.0.0.1:1", []string{`"203.0.113.1"`}, "10.0.0.1"},
		{"a long entry is garbage", "10.0.0.1:1", []string{strings.Repeat("1", 5000)}, "10.0.0.1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			x := request(tc.peer, "example.test", "/")
			for _, l := range tc.lists {
				x.Request.Header.Add(message.XForwardedFor.Name(), []byte(l))
			}
			s.receive(x)
			if got := x.Client.Addr.String(); got != tc.want {
				t.Errorf("client.ip of %s behind %q is %s, want %s", tc.peer, tc.lists, got, tc.want)
			}
		})
	}
}

func TestForwardingFields(t *testing.T) {
	const claims = "X-Forwarded-For: 8.8.8.8|X-Forwarded-Host: evil|X-Forwarded-Proto: gopher|X-Forwarded-Port: 1|X-Forwarded-Prefix: /p|" +
		"X-Forwarded-Server: s|X-Real-IP: 8.8.8.8|Forwarded: for=8.8.8.8|X-Request-Id: mine"
	for _, tc := range []struct {
		name, peer, scheme, host, port string
		rfc7239                        bool
		fields                         string // what the client sends
		want                           string // what the backend gets besides Host and X-Request-Id
	}{
		{
			"untrusted", "192.0.2.7:1", "http", "example.test", "", false, "",
			"X-Forwarded-For: 192.0.2.7|X-Forwarded-Proto: http|X-Forwarded-Host: example.test",
		},
		{
			"untrusted claims are removed", "192.0.2.7:1", "https", "example.test", "8443", false, claims,
			"X-Forwarded-For: 192.0.2.7|X-Forwarded-Proto: https|X-Forwarded-Host: example.test:8443",
		},
		{
			"other fields stay", "192.0.2.7:1", "http", "example.test", "", false, "Accept: a|X-Forwarded: b|Via: c",
			"Accept: a|X-Forwarded: b|Via: c|X-Forwarded-For: 192.0.2.7|X-Forwarded-Proto: http|X-Forwarded-Host: example.test",
		},
		{
			"trusted is continued", "10.0.0.1:1", "http", "example.test", "", false,
			"X-Forwarded-For: 203.0.113.1|X-Forwarded-Proto: https|X-Forwarded-Host: shop.test|X-Forwarded-Port: 443|X-Real-IP: 203.0.113.1",
			"X-Forwarded-For: 203.0.113.1, 10.0.0.1|X-Forwarded-Proto: https|X-Forwarded-Host: shop.test|X-Forwarded-Port: 443|X-Real-IP: 203.0.113.1",
		},
		{
			"trusted lines are joined", "10.0.0.1:1", "http", "example.test", "", false,
			"X-Forwarded-For: 203.0.113.1|A: b|X-Forwarded-For: |X-Forwarded-For: 10.0.0.2|X-Forwarded-Host: h|X-Forwarded-Proto: https",
			"X-Forwarded-For: 203.0.113.1, 10.0.0.2, 10.0.0.1|A: b|X-Forwarded-Host: h|X-Forwarded-Proto: https",
		},
		{
			"trusted that says nothing", "10.0.0.1:1", "https", "example.test", "8443", false, "",
			"X-Forwarded-For: 10.0.0.1|X-Forwarded-Proto: https|X-Forwarded-Host: example.test:8443",
		},
		{
			"no host", "192.0.2.7:1", "http", "", "", true, "",
			"X-Forwarded-For: 192.0.2.7|X-Forwarded-Proto: http|Forwarded: for=192.0.2.7;proto=http",
		},
		{
			"Forwarded, untrusted", "192.0.2.7:1", "http", "example.test", "8080", true, claims,
			`X-Forwarded-For: 192.0.2.7|X-Forwarded-Proto: http|X-Forwarded-Host: example.test:8080|Forwarded: for=192.0.2.7;proto=http;host="example.test:8080"`,
		},
		{
			"Forwarded, trusted", "10.0.0.1:1", "http", "example.test", "", true,
			`Forwarded: for="[2001:db8::1]";by=_x, for=203.0.113.1|X-Forwarded-For: 203.0.113.1|Forwarded: for=10.0.0.2`,
			`Forwarded: for="[2001:db8::1]";by=_x, for=203.0.113.1, for=10.0.0.2, for=10.0.0.1;proto=http;host="example.test"|` +
				`X-Forwarded-For: 203.0.113.1, 10.0.0.1|X-Forwarded-Proto: http|X-Forwarded-Host: example.test`,
		},
		{
			"Forwarded, IPv6", "[2001:db8::7%eth0]:1", "https", "[2001:db8::80]", "443", true, "",
			`X-Forwarded-For: 2001:db8::7|X-Forwarded-Proto: https|X-Forwarded-Host: [2001:db8::80]:443|` +
				`Forwarded: for="[2001:db8::7]";proto=https;host="[2001:db8::80]:443"`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := trusting(t, "10.0.0.0/8")
			s.RFC7239 = tc.rfc7239
			var fields []string
			if tc.fields != "" {
				fields = strings.Split(tc.fields, "|")
			}
			x := request(tc.peer, tc.host, "/", fields...)
			x.Request.Scheme = tc.scheme
			if tc.port != "" {
				x.Request.Port = []byte(tc.port)
			}
			s.receive(x)
			h := &x.Request.Header
			if id := h.Get(message.XRequestId); h.Count(message.XRequestId) != 1 || string(id) != string(x.ID) {
				t.Errorf("the backend gets the id %q, and the exchange has %q", id, x.ID)
			}
			h.Remove(message.XRequestId.Name())
			h.Remove(message.Host.Name())
			if got := strings.ReplaceAll(strings.TrimSuffix(dump(h), "\n"), "\n", "|"); got != tc.want {
				t.Errorf("the backend gets\n %s\nwant\n %s", got, tc.want)
			}
		})
	}
}

func TestRequestID(t *testing.T) {
	s := trusting(t, "10.0.0.0/8")
	for _, tc := range []struct {
		name, peer, id string
		kept           bool
	}{
		{"untrusted", "192.0.2.7:1", "abc", false},
		{"trusted", "10.0.0.1:1", "0f8fad5b-d9cb-469f-a165-70867728950e", true},
		{"trusted, none", "10.0.0.1:1", "", false},
		{"longest", "10.0.0.1:1", strings.Repeat("x", 128), true},
		{"too long", "10.0.0.1:1", strings.Repeat("x", 129), false},
		{"a space", "10.0.0.1:1", "a b", false},
		{"a quote", "10.0.0.1:1", `a"b`, false},
		{"a backslash", "10.0.0.1:1", `a\b`, false},
		{"a tag", "10.0.0.1:1", `<script>`, false},
		{"a control byte", "10.0.0.1:1", "a\tb", false},
		{"not ASCII", "10.0.0.1:1", "ä", false},
		{"DEL", "10.0.0.1:1", "a\x7f", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			x := request(tc.peer, "example.test", "/", "X-Request-Id: "+tc.id, "X-Request-Id: second")
			s.receive(x)
			if kept := string(x.ID) == tc.id; kept != tc.kept {
				t.Fatalf("the id %q became %q, want kept: %v", tc.id, x.ID, tc.kept)
			}
			if !tc.kept && (len(x.ID) != 32 || strings.Trim(string(x.ID), "0123456789abcdef") != "") {
				t.Errorf("made the id %q, want 32 hexadecimal digits", x.ID)
			}
			if h := &x.Request.Header; h.Count(message.XRequestId) != 1 || string(h.Get(message.XRequestId)) != string(x.ID) {
				t.Errorf("the backend gets %d ids, the first %q", h.Count(message.XRequestId), h.Get(message.XRequestId))
			}
		})
	}
	seen := map[string]bool{}
	for range 1000 {
		x := request("192.0.2.7:1", "example.test", "/")
		s.receive(x)
		seen[string(x.ID)] = true
	}
	if len(seen) != 1000 {
		t.Errorf("1000 requests got %d ids", len(seen))
	}
}

// TestManagedFieldsAreKnown keeps the table of names and what the proxy sets together.
func TestManagedFieldsAreKnown(t *testing.T) {
	managed := map[message.ID]bool{}
	for _, id := range managedIDs {
		managed[id] = true
	}
	for _, id := range []message.ID{message.XForwardedFor, message.XForwardedHost, message.XForwardedProto, message.Forwarded, message.XRequestId} {
		if !managed[id] {
			t.Errorf("%s is set by the proxy, and a client's copy is not removed", id)
		}
	}
}

// addresses are what FuzzParseAddr begins with and TestParseAddr checks; "" is garbage.
var addresses = map[string]string{
	"192.0.2.1": "192.0.2.1", "192.0.2.1:80": "192.0.2.1", "0.0.0.0": "0.0.0.0", "255.255.255.255:65535": "255.255.255.255",
	"2001:db8::1": "2001:db8::1", "[2001:db8::1]": "2001:db8::1", "[2001:db8::1]:1": "2001:db8::1", "::ffff:192.0.2.1": "192.0.2.1",
	"[::ffff:192.0.2.1]:1": "192.0.2.1", "::": "::", "1:2:3:4:5:6:1.2.3.4": "1:2:3:4:5:6:102:304",
	"": "", "unknown": "", "_x": "", "192.0.2": "", "192.0.2.1.1": "", "192.0.2.256": "", "192.0.2.01": "", "192.0.2.1:": "", "192.0.2.1:x": "",
	"192.0.2.1:65536": "", "192.0.2.1 ": "", "[192.0.2.1]": "", "[192.0.2.1]:1": "", "[": "", "[]": "", "[]:1": "", "[::1": "", "[::1]x": "", "[::1]:": "",
	"[::1]]": "", "::1]": "", "[::1%lo]": "", "fe80::1%eth0": "", "2001:db8::1:80000": "", ":80": "", "192.0.2.1:080": "",
}

func TestParseAddr(t *testing.T) {
	for text, want := range addresses {
		a, ok := parseAddr([]byte(text))
		if ok != (want != "") || ok && a.String() != want {
			t.Errorf("%q: %s, %v, want %q", text, a, ok, want)
		}
	}
}

// FuzzParseAddr compares with net/netip, which is more lenient with leading zeros of ports only.
func FuzzParseAddr(f *testing.F) {
	for text := range addresses {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		want, err := netip.ParseAddr(text)
		if err != nil {
			var ap netip.AddrPort
			ap, err = netip.ParseAddrPort(text)
			want = ap.Addr()
			if _, port, _ := strings.Cut(text[strings.LastIndexByte(text, ']')+1:], ":"); err == nil && port != "0" && strings.HasPrefix(port, "0") {
				return
			}
		}
		if in, ok := strings.CutSuffix(text, "]"); err != nil && ok && strings.HasPrefix(in, "[") {
			if want, err = netip.ParseAddr(in[1:]); err == nil && want.Is4() {
				return // brackets are for IPv6
			}
		}
		got, ok := parseAddr([]byte(text))
		if legal := err == nil && want.Zone() == ""; ok != legal || ok && got != want.Unmap() {
			t.Fatalf("%q: %s, %v; netip says %s, %v", text, got, ok, want, err)
		}
	})
}
