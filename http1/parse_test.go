package http1

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/message"
)

// headTest is a request head and what becomes of it.
type headTest struct {
	name   string
	head   string
	reason message.Reason
	is     string // summary of an accepted request
}

// summary tells what was read of a request.
func summary(x *message.Exchange, p *requestParser) string {
	r := &x.Request
	s := fmt.Sprintf("%s %s host=%s", r.Method.Text(), r.Path, r.Host)
	if len(r.Port) > 0 {
		s += ":" + string(r.Port)
	}
	if r.Query != nil {
		s += fmt.Sprintf(" query=%s", r.Query)
	}
	if r.Protocol != message.HTTP11 {
		s += " " + r.Protocol.String()
	}
	if r.Length != 0 {
		s += fmt.Sprintf(" length=%d", r.Length)
	}
	if r.Upgrade != nil {
		s += fmt.Sprintf(" upgrade=%s", r.Upgrade)
	}
	for _, flag := range []struct {
		set  bool
		name string
	}{{p.connection.close, "close"}, {p.connection.keepAlive, "keep-alive"}, {p.expect, "expect"}, {r.WantsTrailers, "trailers"}} {
		if flag.set {
			s += " " + flag.name
		}
	}
	for i := range r.Header.Len() {
		f := r.Header.At(i)
		if f.ID == message.Host || f.ID.Flags()&(message.FlagHop|message.FlagFraming) != 0 {
			continue
		}
		s += fmt.Sprintf(" [%s=%s]", f.Name, f.Value)
	}
	return s
}

// readHead reads head as it arrives in pieces that end at the given offsets, and at its end.
func readHead(o *ServerOptions, head string, cuts ...int) (x *message.Exchange, p *requestParser, done bool, reason message.Reason) {
	x, p = &message.Exchange{}, &requestParser{}
	x.Reset()
	for _, cut := range append(cuts, len(head)) {
		b := []byte(head[:cut])
		if done, reason = p.parse(b, x, o); done {
			reason = p.finish(b, x, o)
		}
		if done || reason != message.ReasonNone {
			return x, p, done, reason
		}
	}
	return x, p, false, reason
}

// The key of RFC 6455 section 1.3.
const webSocket = "GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"

func startLine(l string) string  { return l + "\r\nHost: a\r\n\r\n" }
func withFields(f string) string { return "GET / HTTP/1.1\r\nHost: a\r\n" + f + "\r\n\r\n" }

var acceptedHeads = []headTest{
	{"simple", startLine("GET / HTTP/1.1"), 0, "GET / host=a"},
	{"query", startLine("GET /a/b?x=1&y HTTP/1.1"), 0, "GET /a/b host=a query=x=1&y"},
	{"empty query", startLine("GET /a? HTTP/1.1"), 0, "GET /a host=a query="},
	{"unknown method", startLine("PURGE /a HTTP/1.1"), 0, "PURGE /a host=a"},
	{"method in lower case is another", startLine("get /a HTTP/1.1"), 0, "get /a host=a"},
	{"asterisk", startLine("OPTIONS * HTTP/1.1"), 0, "OPTIONS * host=a"},
	{"absolute form wins over Host", "GET http://B.Example:81/x?y HTTP/1.1\r\nHost: a\r\n\r\n", 0, "GET /x host=b.example:81 query=y"},
	{"absolute form without Host field", "GET HTTP://b/x HTTP/1.1\r\n\r\n", 0, "GET /x host=b"},
	{"absolute form without path", startLine("GET https://b HTTP/1.1"), 0, "GET / host=b"},
	{"absolute form with query only", startLine("GET http://b?q HTTP/1.1"), 0, "GET / host=b query=q"},
	{"empty lines before", "\r\n\r\n" + startLine("GET / HTTP/1.1"), 0, "GET / host=a"},
	{"later minor version", startLine("GET / HTTP/1.2"), 0, "GET / host=a"},
	{"1.0 without Host", "GET / HTTP/1.0\r\n\r\n", 0, "GET / host= HTTP/1.0"},
	{"1.0 keep-alive", "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", 0, "GET / host= HTTP/1.0 keep-alive"},
	{"host in lower case", "GET / HTTP/1.1\r\nHOST:  WWW.Example.COM.:8080 \r\n\r\n", 0, "GET / host=www.example.com:8080"},
	{"IPv6 host", "GET / HTTP/1.1\r\nHost: [2001:DB8:0::1]\r\n\r\n", 0, "GET / host=[2001:db8::1]"},
	{"length", withFields("Content-Length: 42"), 0, "GET / host=a length=42"},
	{"length with zeros", withFields("Content-Length: 0042"), 0, "GET / host=a length=42"},
	{"chunked", withFields("Transfer-Encoding: chunked"), 0, "GET / host=a length=-1"},
	{"chunked in capitals", withFields("transfer-ENCODING:  CHUNKED "), 0, "GET / host=a length=-1"},
	{"close", withFields("Connection: close"), 0, "GET / host=a close"},
	{"connection twice", withFields("Connection: x\r\nX: 1\r\nConnection: foo, Close"), 0, "GET / host=a close"},
	{"expect", withFields("Expect: 100-Continue\r\nContent-Length: 1"), 0, "GET / host=a length=1 expect"},
	{"trailers", withFields("TE: gzip, trailers"), 0, "GET / host=a trailers"},
	{"empty value", withFields("X:\r\nY: "), 0, "GET / host=a [X=] [Y=]"},
	{"tab and high bytes in a value", withFields("X: a\tb\x80\xff"), 0, "GET / host=a [X=a\tb\x80\xff]"},
	{"every token byte", withFields("!#$%&'*+-.^_`|~0aZ: v"), 0, "GET / host=a [!#$%&'*+-.^_`|~0aZ=v]"},
	{"colons in a value", withFields("X: :a:"), 0, "GET / host=a [X=:a:]"},
	{"connection takes fields away", withFields("X-Auth: 1\r\nKeep: 2\r\nConnection: x-auth, X-Auth\r\nX-AUTH: 3"), 0, "GET / host=a [Keep=2]"},
	{"connection cannot take framing away", withFields("Content-Length: 3\r\nConnection: content-length, host"), 0, "GET / host=a length=3"},
	{"identity is removed", withFields("X-Consumer: me\r\nx_consumer: me\r\nX.Forwarded.For: 1\r\nSluice-Anything: 1\r\nX_Other: 2"), 0, "GET / host=a [X_Other=2]"},
	{"websocket", webSocket, 0, "GET /chat host=a upgrade=websocket [Sec-WebSocket-Key=dGhlIHNhbXBsZSBub25jZQ==] [Sec-WebSocket-Version=13]"},
	{"upgrade not listed by Connection", strings.Replace(webSocket, "Connection: Upgrade\r\n", "", 1), 0,
		"GET /chat host=a [Sec-WebSocket-Key=dGhlIHNhbXBsZSBub25jZQ==] [Sec-WebSocket-Version=13]"},
	{"h2c is dropped", withFields("Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nConnection: Upgrade, HTTP2-Settings"), 0, "GET / host=a"},
	{"upgrade with a body is none", withFields("Upgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 1"), 0, "GET / host=a length=1"},
	{"upgrade in 1.0 is none", strings.Replace(webSocket, "HTTP/1.1", "HTTP/1.0", 1), 0,
		"GET /chat host=a HTTP/1.0 [Sec-WebSocket-Key=dGhlIHNhbXBsZSBub25jZQ==] [Sec-WebSocket-Version=13]"},
}

var refusedHeads = []headTest{
	{"no target", startLine("GET HTTP/1.1"), message.RequestLineInvalid, ""},
	{"no version", startLine("GET /"), message.RequestLineInvalid, ""},
	{"two spaces", startLine("GET  / HTTP/1.1"), message.RequestLineInvalid, ""},
	{"two spaces before the version", startLine("GET /  HTTP/1.1"), message.RequestLineInvalid, ""},
	{"space in the target", startLine("GET /a b HTTP/1.1"), message.RequestLineInvalid, ""},
	{"space at the start", startLine(" GET / HTTP/1.1"), message.RequestLineInvalid, ""},
	{"space at the end", startLine("GET / HTTP/1.1 "), message.RequestLineInvalid, ""},
	{"tab as separator", startLine("GET\t/ HTTP/1.1"), message.RequestLineInvalid, ""},
	{"CR at the end", startLine("GET / HTTP/1.1\r"), message.RequestLineInvalid, ""},
	{"version in lower case", startLine("GET / http/1.1"), message.RequestLineInvalid, ""},
	{"version with three digits", startLine("GET / HTTP/1.10"), message.RequestLineInvalid, ""},
	{"other protocol", startLine("GET / ICY/1.1"), message.RequestLineInvalid, ""},
	{"other scheme", startLine("GET ftp://a/ HTTP/1.1"), message.RequestLineInvalid, ""},
	{"authority form", startLine("GET a:80 HTTP/1.1"), message.RequestLineInvalid, ""},
	{"three empty lines", "\r\n\r\n\r\n" + startLine("GET / HTTP/1.1"), message.RequestLineInvalid, ""},
	{"HTTP/2", startLine("PRI * HTTP/2.0"), message.VersionUnsupported, ""},
	{"HTTP/0.9", startLine("GET / HTTP/0.9"), message.VersionUnsupported, ""},
	{"method with a delimiter", startLine("GE(T / HTTP/1.1"), message.MethodInvalid, ""},
	{"method with a control byte", startLine("GE\x00T / HTTP/1.1"), message.MethodInvalid, ""},
	{"method of 33 bytes", startLine(strings.Repeat("M", 33) + " / HTTP/1.1"), message.MethodInvalid, ""},
	{"CONNECT", startLine("CONNECT a:443 HTTP/1.1"), message.MethodNotSupported, ""},
	{"asterisk with GET", startLine("GET * HTTP/1.1"), message.PathInvalid, ""},
	{"control byte in the path", startLine("GET /\x01 HTTP/1.1"), message.PathInvalid, ""},
	{"CR in the path", startLine("GET /\rx HTTP/1.1"), message.PathInvalid, ""},
	{"fragment", startLine("GET /#f HTTP/1.1"), message.PathInvalid, ""},
	{"high byte in the path", startLine("GET /\xc3\xa4 HTTP/1.1"), message.PathInvalid, ""},
	{"control byte in the query", startLine("GET /?\x7f HTTP/1.1"), message.PathInvalid, ""},
	{"disguised dot segment", startLine("GET /%2e%2e/a HTTP/1.1"), message.PathAmbiguous, ""},
	{"no Host", "GET / HTTP/1.1\r\nX: 1\r\n\r\n", message.HostInvalid, ""},
	{"empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", message.HostInvalid, ""},
	{"two Hosts", withFields("Host: b"), message.HostInvalid, ""},
	{"two equal Hosts", withFields("Host: a"), message.HostInvalid, ""},
	{"two Hosts and an absolute form", "GET http://c/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", message.HostInvalid, ""},
	{"Host with userinfo", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", message.HostInvalid, ""},
	{"Host with a comma", "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", message.HostInvalid, ""},
	{"authority with userinfo", startLine("GET http://u@a/ HTTP/1.1"), message.HostInvalid, ""},
	{"empty authority", startLine("GET http:///a HTTP/1.1"), message.HostInvalid, ""},
	{"LF alone after the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", message.LineEndInvalid, ""},
	{"LF alone after a field", "GET / HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n", message.LineEndInvalid, ""},
	{"LF alone at the end", "GET / HTTP/1.1\r\nHost: a\r\n\n", message.LineEndInvalid, ""},
	{"folded", withFields("X: a\r\n b"), message.HeaderFolded, ""},
	{"folded with a tab", withFields("X: a\r\n\tb"), message.HeaderFolded, ""},
	{"space before the first field", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", message.HeaderFolded, ""},
	{"no colon", withFields("X"), message.HeaderInvalid, ""},
	{"space before the colon", withFields("X : 1"), message.HeaderInvalid, ""},
	{"space before the colon of a length", withFields("Content-Length : 1"), message.HeaderInvalid, ""},
	{"empty name", withFields(": 1"), message.HeaderNameInvalid, ""},
	{"delimiter in a name", withFields("X(Y): 1"), message.HeaderNameInvalid, ""},
	{"NUL in a name", withFields("X\x00Y: 1"), message.HeaderNameInvalid, ""},
	{"high byte in a name", withFields("X\xe4: 1"), message.HeaderNameInvalid, ""},
	{"vertical tab behind a name", withFields("Transfer-Encoding\x0b: chunked"), message.HeaderNameInvalid, ""},
	{"very long name", withFields(strings.Repeat("n", 1025) + ": 1"), message.HeaderNameInvalid, ""},
	{"NUL in a value", withFields("X: a\x00b"), message.HeaderValueInvalid, ""},
	{"CR in a value", withFields("X: a\rb"), message.HeaderValueInvalid, ""},
	{"CR at the end of a value", withFields("X: a\r"), message.HeaderValueInvalid, ""},
	{"escape in a long value", withFields("X: 0123456789abcdef\x1b0123456789"), message.HeaderValueInvalid, ""},
	{"DEL in a value", withFields("X: 0123456\x7f"), message.HeaderValueInvalid, ""},
	{"length and chunked", withFields("Content-Length: 1\r\nTransfer-Encoding: chunked"), message.LengthConflict, ""},
	{"chunked and length", withFields("Transfer-Encoding: chunked\r\nContent-Length: 1"), message.LengthConflict, ""},
	{"two lengths", withFields("Content-Length: 1\r\nContent-Length: 2"), message.LengthConflict, ""},
	{"two equal lengths", withFields("Content-Length: 1\r\nContent-Length: 1"), message.LengthConflict, ""},
	{"chunked in 1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", message.TransferEncodingInvalid, ""},
	{"chunked behind a tab", withFields("Transfer-Encoding:\tchunked"), message.TransferEncodingInvalid, ""},
	{"chunked twice", withFields("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), message.TransferEncodingInvalid, ""},
	{"other expectation", withFields("Expect: 200-ok"), message.ExpectationUnsupported, ""},
	{"too many connection tokens", withFields("Connection: " + strings.Repeat("a,", 33)), message.HeaderTooMany, ""},
	{"101 fields", withFields(strings.Repeat("X: 1\r\n", 99) + "Y: 1"), message.HeaderTooMany, ""},
	{"websocket key missing", strings.Replace(webSocket, "Sec-WebSocket-Key", "X-Key", 1), message.UpgradeInvalid, ""},
	{"websocket key too short", strings.Replace(webSocket, "dGhl", "", 1), message.UpgradeInvalid, ""},
	{"websocket key not base64", strings.Replace(webSocket, "dGhl", "d*hl", 1), message.UpgradeInvalid, ""},
	{"websocket version", strings.Replace(webSocket, "13", "8", 1), message.UpgradeInvalid, ""},
	{"websocket by POST", strings.Replace(webSocket, "GET", "POST", 1), message.UpgradeInvalid, ""},
	{"two upgrades", strings.Replace(webSocket, "Upgrade: ", "Upgrade: websocket\r\nUpgrade: ", 1), message.UpgradeInvalid, ""},
}

// badLengths and badEncodings are security cases 3 and 4. Read-only.
var (
	badLengths   = []string{"", "+5", "-1", "0x5", "5,5", "5, 5", "5 6", "5;", "5.0", "1e3", "\u0665", "18446744073709551616", "9223372036854775808", "1000000000000000000"}
	badEncodings = []string{"", "xchunked", "chunked, chunked", "gzip, chunked", "chunked, gzip", "gzip", "identity", "chunked;x", "\"chunked\"", "chunked,", ",chunked", "chunked\x0b", "cow"}
)

func requestHeads() []headTest {
	all := append([]headTest(nil), acceptedHeads...)
	all = append(all, refusedHeads...)
	for _, v := range badLengths {
		all = append(all, headTest{fmt.Sprintf("length %q", v), withFields("Content-Length: " + v), message.LengthInvalid, ""})
	}
	for _, v := range badEncodings {
		reason := message.TransferEncodingInvalid
		if strings.Contains(v, "\x0b") {
			reason = message.HeaderValueInvalid
		}
		all = append(all, headTest{fmt.Sprintf("encoding %q", v), withFields("Transfer-Encoding: " + v), reason, ""})
	}
	return all
}

func TestRequestHeads(t *testing.T) {
	for _, test := range requestHeads() {
		t.Run(test.name, func(t *testing.T) {
			x, p, done, reason := readHead(serverOptions(), test.head)
			if reason != test.reason {
				t.Fatalf("reason %q, want %q", reason, test.reason)
			}
			if reason == message.ReasonNone && !done {
				t.Fatal("the head was not recognised as complete")
			}
			if test.reason == message.ReasonNone {
				if got := summary(x, p); got != test.is || p.end != len(test.head) {
					t.Fatalf("read %q (%d bytes), want %q (%d bytes)", got, p.end, test.is, len(test.head))
				}
			}
		})
	}
}

// However a head is cut into pieces, it is read as if it came at once.
func TestRequestHeadsInPieces(t *testing.T) {
	for _, test := range requestHeads() {
		want, wantParser, _, wantReason := readHead(serverOptions(), test.head)
		check := func(cuts ...int) {
			x, p, _, reason := readHead(serverOptions(), test.head, cuts...)
			if reason != wantReason || reason == message.ReasonNone && summary(x, p) != summary(want, wantParser) {
				t.Fatalf("%s cut at %v: %q %s, want %q %s", test.name, cuts, reason, summary(x, p), wantReason, summary(want, wantParser))
			}
		}
		var all []int
		for cut := range len(test.head) {
			check(cut)
			all = append(all, cut)
		}
		check(all...)
	}
}

// Every alias of a field that the proxy sets is counted.
func TestAliasesAreCounted(t *testing.T) {
	_, p, _, _ := readHead(serverOptions(), withFields("X_Forwarded_For: 1\r\nX-Forwarded-For: 2\r\nX.Real.Ip: 3\r\nX_Y: 4"))
	if p.aliases != 2 {
		t.Errorf("%d aliases, want 2", p.aliases)
	}
}

func TestLimitsOfHeads(t *testing.T) {
	o := serverOptions()
	o.MaxRequestLine, o.MaxHeader, o.MaxHeaderCount = 100, 300, 3
	lineOf := func(n int) string { return "GET /" + strings.Repeat("a", n-len("GET / HTTP/1.1")) + " HTTP/1.1" }
	headOf := func(n int) string {
		const frame = "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n"
		return strings.Replace(frame, "X: ", "X: "+strings.Repeat("v", n-len(frame)), 1)
	}
	for _, test := range []struct {
		name, head string
		reason     message.Reason
		done       bool
	}{
		{"line that fits", startLine(lineOf(100)), 0, true},
		{"line too long", startLine(lineOf(101)), message.RequestLineTooLong, false},
		{"line without end that may still fit", strings.Repeat("a", 100), 0, false},
		{"line without end", strings.Repeat("a", 101), message.RequestLineTooLong, false},
		{"head that fits", headOf(300), 0, true},
		{"head too large", headOf(301), message.HeaderTooLarge, false},
		{"head without end that may still fit", headOf(300)[:299], 0, false},
		{"head without end", headOf(400)[:300], message.HeaderTooLarge, false},
		{"count that fits", withFields("A: 1\r\nB: 2"), 0, true},
		{"count too large", withFields("A: 1\r\nB: 2\r\nC: 3"), message.HeaderTooMany, false},
	} {
		if _, _, done, reason := readHead(o, test.head); done != test.done || reason != test.reason {
			t.Errorf("%s: done %v, reason %q; want %v, %q", test.name, done, reason, test.done, test.reason)
		}
	}
}

// In warn mode a request passes that the rules for paths and hosts refuse, if it can be forwarded,
// and is counted.
func TestWarnMode(t *testing.T) {
	for _, test := range []struct {
		name, head string
		reason     message.Reason
		warned     message.Reason
	}{
		{"ambiguous path", startLine("GET /a%2e%2e/b HTTP/1.1"), 0, message.ReasonNone},
		{"dot segment", startLine("GET /a/%2e%2e/b HTTP/1.1"), 0, message.PathAmbiguous},
		{"odd host", "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", 0, message.HostInvalid},
		{"control byte", startLine("GET /\x01 HTTP/1.1"), message.PathInvalid, 0},
		{"broken host", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", message.HostInvalid, 0},
		{"framing", withFields("Content-Length: 1\r\nTransfer-Encoding: chunked"), message.LengthConflict, 0},
	} {
		o := serverOptions()
		o.Warn = true
		var warned message.Reason
		o.OnWarn = func(r message.Reason) { warned = r }
		if _, _, _, reason := readHead(o, test.head); reason != test.reason || warned != test.warned {
			t.Errorf("%s: refused %q, warned %q; want %q, %q", test.name, reason, warned, test.reason, test.warned)
		}
	}
}
