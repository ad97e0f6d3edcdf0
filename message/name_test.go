package message

import (
	"bytes"
	"strings"
	"testing"
)

func TestLookup(t *testing.T) {
	seen := make(map[string]bool)
	for id := range Known {
		name := id.String()
		if seen[strings.ToLower(name)] {
			t.Errorf("%s stands twice in the table", name)
		}
		seen[strings.ToLower(name)] = true
		for _, text := range []string{name, strings.ToLower(name), strings.ToUpper(name)} {
			if got := Lookup([]byte(text)); got != id {
				t.Errorf("%q is %d, want %d", text, got, id)
			}
		}
		for i := range name {
			near := []byte(name)
			near[i] ^= 1
			if got := Lookup(near); got == id || got != 0 && !EqualFold(near, got.String()) {
				t.Errorf("%q is taken for %s", near, got)
			}
			if got := Lookup([]byte(name[:i])); got != 0 && !strings.EqualFold(name[:i], got.String()) {
				t.Errorf("%q is taken for %s", name[:i], got)
			}
		}
	}
	if len(seen) != int(knownNames) {
		t.Errorf("%d names, want %d", len(seen), knownNames)
	}
	for _, text := range []string{"", "x", "X-Unknown", "Host ", " Host", "\u017Fet-Cookie", "Hos\x94"} {
		if got := Lookup([]byte(text)); got != 0 {
			t.Errorf("%q is %s", text, got)
		}
	}
}

func TestNames(t *testing.T) {
	if n := NameOf("hOsT"); n.ID() != Host || n.String() != "hOsT" {
		t.Errorf("%+v", n)
	}
	if n := NameOf("X-Mine"); n.ID() != 0 || n.String() != "X-Mine" {
		t.Errorf("%+v", n)
	}
	if n := ContentType.Name(); n.ID() != ContentType || n.String() != "Content-Type" {
		t.Errorf("%+v", n)
	}
	if ID(255).String() != "" || ID(0).String() != "" {
		t.Error("a number without a name has one")
	}
	// RFC 7541 appendix A and RFC 9204 appendix A.
	for id, want := range map[ID][2]uint8{Accept: {19, 29}, ContentType: {31, 44}, SetCookie: {55, 14}, XForwardedFor: {0, 96}, Host: {38, 0}} {
		if h, q := id.StaticIndex(); h != want[0] || q != want[1] {
			t.Errorf("%s: %d, %d; want %v", id, h, q, want)
		}
	}
}

// The flags on which safety rests.
func TestFlags(t *testing.T) {
	for _, test := range []struct {
		flag Flag
		ids  []ID
	}{
		{FlagHop, []ID{Connection, KeepAlive, ProxyConnection, TE, Trailer, TransferEncoding, Upgrade, Expect, HTTP2Settings, ProxyAuthorization, ProxyAuthenticate, Proxy}},
		{FlagFraming, []ID{ContentLength, TransferEncoding, Host, Connection, TE, Trailer, Upgrade, Expect}},
		{FlagManaged, []ID{XForwardedFor, XForwardedHost, XForwardedProto, XForwardedPort, XForwardedPrefix, XForwardedServer, XRealIP, Forwarded}},
		{FlagIdentity, []ID{XConsumer, XConsumerPlan, XAuthenticatedSubject, XClientCert}},
		{FlagSensitive, []ID{Authorization, ProxyAuthorization, Cookie, SetCookie, XAPIKey}},
	} {
		for _, id := range test.ids {
			if id.Flags()&test.flag == 0 {
				t.Errorf("%s lacks flag %d", id, test.flag)
			}
		}
	}
}

func TestEqualFold(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want bool
	}{
		{"", "", true}, {"Host", "hOST", true}, {"a-b_1", "A-B_1", true}, {"a", "b", false}, {"a", "ab", false},
		{"@", "`", false}, {"[", "{", false}, {"\\", "|", false}, {"^", "~", false}, {"k", "\u212a", false}, {"\xc3", "\xe3", false}, {"-", "\r", false},
	} {
		if got := EqualFold([]byte(test.a), test.b); got != test.want || EqualFold([]byte(test.b), test.a) != test.want {
			t.Errorf("%q, %q: %v, want %v", test.a, test.b, got, test.want)
		}
	}
}

// What a client may not say, in all its disguises; what looks alike and is harmless passes.
func TestClientMayNotSend(t *testing.T) {
	for _, name := range []string{
		"X-Consumer", "x-consumer-plan", "X-Authenticated-Subject", "X-Client-Cert", "Sluice-Reason", "Sluice-Partial", "sluice-anything", "SLUICE-", "X-Sluice-Debug", "x_sluice.a", "Sluice_" + strings.Repeat("y", 100),
		"X_Forwarded_For", "X.Forwarded.For", "x-forwarded_for", "X_Real_IP", "X_Consumer", "Content_Length", "Transfer.Encoding", "sluice_reason", "X_Request_Id",
	} {
		if !ClientMayNotSend(Lookup([]byte(name)), []byte(name)) {
			t.Errorf("%s passes", name)
		}
	}
	for _, name := range []string{"Host", "X-Forwarded-For", "Accept", "X_Custom", "a.b", "X-Mine", "Sluic-Reason", "X-Sluic-A", "XX-Sluice-A", "X-X-Sluice-A", "X-Sluice", "Accept_Language", "X_" + strings.Repeat("y", 100), "", "_"} {
		if ClientMayNotSend(Lookup([]byte(name)), []byte(name)) {
			t.Errorf("%s is refused", name)
		}
	}
}

func TestMethods(t *testing.T) {
	for id := GET; id <= CONNECT; id++ {
		m := MethodOf([]byte(id.String()))
		if m.Known != id || m.Text() != id.String() || !m.Is(id.String()) || string(m.AppendTo(nil)) != id.String() {
			t.Errorf("%s is read as %+v", id, m)
		}
	}
	for _, text := range []string{"get", "GETS", "GE", "", "PURGE", "\xff"} {
		m := MethodOf([]byte(text))
		if m.Known != MethodOther || m.Text() != text || !m.Is(text) || m.Is("GET") || string(m.AppendTo([]byte("x"))) != "x"+text || m.Safe() || m.Idempotent() {
			t.Errorf("%q is read as %+v", text, m)
		}
	}
	for _, test := range []struct {
		methods          string
		safe, idempotent bool
	}{{"GET HEAD OPTIONS TRACE", true, true}, {"PUT DELETE", false, true}, {"POST PATCH CONNECT", false, false}} {
		for _, text := range strings.Fields(test.methods) {
			if m := MethodOf([]byte(text)); m.Safe() != test.safe || m.Idempotent() != test.idempotent {
				t.Errorf("%s: safe %v, idempotent %v", text, m.Safe(), m.Idempotent())
			}
		}
	}
}

func TestBytesOfTokensAndValues(t *testing.T) {
	const tokens = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	for c := range 256 {
		b := byte(c)
		if got, want := IsTokenByte(b), strings.IndexByte(tokens, b) >= 0; got != want || ValidToken([]byte{b}) != want || ValidToken([]byte{'a', b}) != want {
			t.Errorf("%q in a token: %v, want %v", b, got, want)
		}
		legal := b == '\t' || b >= ' ' && b != 0x7F
		// At every place of a value, so that words and what is left of them are both looked at.
		for _, n := range []int{1, 7, 8, 9, 24, 31} {
			for i := range n {
				v := bytes.Repeat([]byte{0xFF}, n)
				v[i] = b
				want := -1
				if !legal {
					want = i
				}
				if IndexInvalidValue(v) != want || LegalValue(v) != legal {
					t.Fatalf("%q at %d of %d: index %d, legal %v", b, i, n, IndexInvalidValue(v), LegalValue(v))
				}
			}
		}
		blank := b == ' ' || b == '\t'
		if got := ValidValue([]byte{'x', b}); got != (legal && !blank) || ValidValue([]byte{b, 'x'}) != got {
			t.Errorf("a value with %q at its end: %v", b, got)
		}
		if got := ValidValue([]byte{'x', b, 'x'}); got != legal {
			t.Errorf("a value with %q: %v, want %v", b, got, legal)
		}
	}
	if ValidToken(nil) || !ValidValue(nil) || !LegalValue(nil) {
		t.Error("an empty value is legal, an empty token is not")
	}
}

func TestElements(t *testing.T) {
	for list, want := range map[string]string{
		"": "", "a": "[a]", "a,b": "[a][b]", " a ,\tb\t": "[a][b]", ",,a,, ,b,": "[a][b]", "a b": "[a b]", ",": "", " ": "", "\"a,b\"": "[\"a][b\"]",
	} {
		got, rest := "", []byte(list)
		for {
			e, r, ok := NextElement(rest)
			if !ok {
				break
			}
			got += "[" + string(e) + "]"
			rest = r
		}
		if got != want {
			t.Errorf("%q: %s, want %s", list, got, want)
		}
	}
	for text, want := range map[string]string{"": "", " ": "", "\t a b \t": "a b", "a": "a", "\va\v": "\va\v"} {
		if got := TrimSpace([]byte(text)); string(got) != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// LegalValue looks at eight bytes at a time, and IndexInvalidValue at one.
func FuzzLegalValue(f *testing.F) {
	f.Add([]byte("plain value"))
	f.Add([]byte("a tab\tis legal, \x7f is not"))
	f.Add([]byte("0123456\n"))
	f.Add([]byte("\x80\x80\x80\x80\x80\x80\x80\x1f"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, want := LegalValue(b), IndexInvalidValue(b) < 0; got != want {
			t.Errorf("%q: %v, want %v", b, got, want)
		}
	})
}
