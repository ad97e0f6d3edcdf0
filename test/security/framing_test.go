package security

import (
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/test/rig"
)

// post is a POST with these field lines, and a body behind them.
func post(fields, body string) string {
	return "POST /x HTTP/1.1\r\nHost: a.test\r\n" + fields + "\r\n" + body
}

const hello = "5\r\nhello\r\n0\r\n\r\n"

func TestCase01LengthAndEncoding(t *testing.T) {
	t.Parallel()
	smuggled := "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n"
	runAll(t, []attempt{
		refused("length first", post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", hello), 400, "length_conflict"),
		refused("encoding first", post("Transfer-Encoding: chunked\r\nContent-Length: 15\r\n", hello), 400, "length_conflict"),
		refused("length of the chunked body", post("Content-Length: 15\r\nTransfer-Encoding: chunked\r\n", hello), 400, "length_conflict"),
		refused("length 0", post("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", smuggled), 400, "length_conflict"),
		refused("length beyond the chunks", post("Content-Length: 100\r\nTransfer-Encoding: chunked\r\n", smuggled), 400, "length_conflict"),
		refused("other case", post("content-length: 5\r\ntransfer-ENCODING: Chunked\r\n", hello), 400, "length_conflict"),
		refused("in a GET", "GET / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"+hello, 400, "length_conflict"),
		refused("far apart", post("Content-Length: 5\r\n"+strings.Repeat("X-A: b\r\n", 50)+"Transfer-Encoding: chunked\r\n", hello), 400, "length_conflict"),
		refused("length is to be forgotten", post("Connection: Content-Length\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n", hello), 400, "length_conflict"),
		refused("encoding is to be forgotten", post("Connection: Transfer-Encoding\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n", hello), 400, "length_conflict"),
	})
}

func TestCase02SeveralLengths(t *testing.T) {
	t.Parallel()
	runAll(t, []attempt{
		refused("different", post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello!"), 400, "length_conflict"),
		refused("different, 0 first", post("Content-Length: 0\r\nContent-Length: 5\r\n", "hello"), 400, "length_conflict"),
		refused("equal", post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"), 400, "length_conflict"),
		refused("equal, far apart", post("Content-Length: 5\r\nX-A: b\r\ncontent-length: 5\r\n", "hello"), 400, "length_conflict"),
		refused("equal values, different spelling", post("Content-Length: 5\r\nContent-Length: 05\r\n", "hello"), 400, "length_conflict"),
	})
}

func TestCase03BadLength(t *testing.T) {
	t.Parallel()
	var all []attempt
	for _, value := range []string{
		"", " ", "+5", "-1", "-0", "0x5", "5,5", "5, 5", "5 6", "5;", "5.0", "5e0", "1_0", "five", "\"5\"", "5\t6", "５",
		"18446744073709551616", "18446744073709551621", "9223372036854775808", "99999999999999999999999999999999",
	} {
		all = append(all, refused(value, post("Content-Length: "+value+"\r\n", "hello"), 400, "length_invalid"))
	}
	all = append(all, refused("control byte", post("Content-Length: 5\x00\r\n", "hello"), 400, "header_value_invalid"),
		refused("vertical tab", post("Content-Length:\x0b5\r\n", "hello"), 400, "header_value_invalid"),
		passes("white space around", post("Content-Length:  5  \r\n", "hello"), `POST /x "hello"`))
	runAll(t, all)
}

func TestCase04BadEncoding(t *testing.T) {
	t.Parallel()
	var all []attempt
	for _, value := range []string{
		"xchunked", "chunkedx", "chunked, chunked", "chunked,", ",chunked", "gzip, chunked", "chunked, gzip", "gzip", "identity", "identity, chunked", "",
		"chunked;q=1", "\"chunked\"", "'chunked'", "chunked chunked", "chunk ed", "x chunked", "chunked\t,", "ſhunked",
	} {
		all = append(all, refused(value, post("Transfer-Encoding: "+value+"\r\n", hello), 400, "transfer_encoding_invalid"))
	}
	all = append(all,
		refused("twice", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", hello), 400, "transfer_encoding_invalid"),
		refused("twice, identity first", post("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", hello), 400, "transfer_encoding_invalid"),
		refused("twice, other second", post("Transfer-Encoding: chunked\r\nTransfer-encoding: x\r\n", hello), 400, "transfer_encoding_invalid"),
		refused("tab before", post("Transfer-Encoding:\tchunked\r\n", hello), 400, "transfer_encoding_invalid"),
		refused("tab behind", post("Transfer-Encoding: chunked\t\r\n", hello), 400, "transfer_encoding_invalid"),
		refused("vertical tab", post("Transfer-Encoding:\x0bchunked\r\n", hello), 400, "header_value_invalid"),
		refused("form feed", post("Transfer-Encoding: chunked\x0c\r\n", hello), 400, "header_value_invalid"),
		refused("NUL", post("Transfer-Encoding: chunked\x00\r\n", hello), 400, "header_value_invalid"),
		refused("folded", post("Transfer-Encoding:\r\n chunked\r\n", hello), 400, "transfer_encoding_invalid"),
		refused("folded with a tab", post("Transfer-Encoding: x\r\n\tchunked\r\n", hello), 400, "transfer_encoding_invalid"),
		refused("folded behind another", post("X-A: b\r\n Transfer-Encoding: chunked\r\n", hello), 400, "header_folded"),
		refused("space before the colon", post("Transfer-Encoding : chunked\r\n", hello), 400, "header_invalid"),
		refused("tab before the colon", post("Transfer-Encoding\t: chunked\r\n", hello), 400, "header_invalid"),
		refused("behind a bare CR", post("X-A: b\rTransfer-Encoding: chunked\r\n", hello), 400, "header_value_invalid"),
		refused("behind a bare LF", post("X-A: b\nTransfer-Encoding: chunked\r\n", hello), 400, "line_end_invalid"),
		passes("exactly", post("Transfer-Encoding: chunked\r\n", hello), `POST /x "hello"`),
		passes("other case", post("tRANSFER-eNCODING: CHUNKED\r\n", hello), `POST /x "hello"`),
		// Whoever reads _ as - would find a second framing in it; nothing else may.
		attempt{name: "with an underscore", raw: post("Transfer_Encoding: chunked\r\nContent-Length: 5\r\n", "hello"), open: true, want: []answer{{status: 200}},
			backend: []string{`POST /x "hello"`}, check: func(t *testing.T, r *result) {
				if f := r.requests[0].Header; len(f.All("Transfer_Encoding")) > 0 {
					t.Errorf("forwarded: %v", f)
				}
			}},
	)
	runAll(t, all)
}

func TestCase05EncodingInOldVersion(t *testing.T) {
	t.Parallel()
	runAll(t, []attempt{
		refused("plain", "POST /x HTTP/1.0\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n"+hello, 400, "transfer_encoding_invalid"),
		refused("kept alive", "POST /x HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n"+hello, 400, "transfer_encoding_invalid"),
		refused("with a length", "POST /x HTTP/1.0\r\nHost: a.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"+hello, 400, "length_conflict"),
		refused("without a host", "POST /x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"+hello, 400, "transfer_encoding_invalid"),
	})
}

func TestCase06LinesAndChunks(t *testing.T) {
	t.Parallel()
	const te = "Transfer-Encoding: chunked\r\n"
	all := []attempt{
		refused("LF behind the request line", "GET / HTTP/1.1\nHost: a.test\r\n\r\n", 400, "line_end_invalid"),
		refused("LF behind a field", "GET / HTTP/1.1\r\nHost: a.test\n\r\n", 400, "line_end_invalid"),
		refused("LF for the empty line", "GET / HTTP/1.1\r\nHost: a.test\r\n\n", 400, "line_end_invalid"),
		refused("LF only", "GET / HTTP/1.1\nHost: a.test\n\n", 400, "line_end_invalid"),
		refused("LF LF inside", "GET / HTTP/1.1\r\nHost: a.test\r\nX: y\n\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n", 400, "line_end_invalid"),
		refused("CR CR LF", "GET / HTTP/1.1\r\nHost: a.test\r\r\n\r\n", 400, "header_value_invalid"),
		refused("CR behind the request line", "GET / HTTP/1.1\rHost: a.test\r\n\r\n", 400, "request_line_invalid"),
		refused("the end of a trailer without its last CR LF", post(te, "5\r\nhello\r\n0\r\nGET / HTTP/1.1\r\n\r\n"), 400, "header_invalid"),
	}
	for name, body := range map[string]string{
		"LF behind the size":          "5\nhello\r\n0\r\n\r\n",
		"LF in an extension":          "5;a=\nb\r\nhello\r\n0\r\n\r\n",
		"LF behind an extension":      "5;a\nhello\r\n0\r\n\r\n",
		"CR in an extension":          "5;a\rb\r\nhello\r\n0\r\n\r\n",
		"NUL in an extension":         "5;a\x00\r\nhello\r\n0\r\n\r\n",
		"space behind the size":       "5 \r\nhello\r\n0\r\n\r\n",
		"space before the size":       " 5\r\nhello\r\n0\r\n\r\n",
		"tab behind the size":         "5\t\r\nhello\r\n0\r\n\r\n",
		"space before the extension":  "5 ;a\r\nhello\r\n0\r\n\r\n",
		"0x":                          "0x5\r\nhello\r\n0\r\n\r\n",
		"sign":                        "+5\r\nhello\r\n0\r\n\r\n",
		"negative":                    "-5\r\nhello\r\n0\r\n\r\n",
		"underscore":                  "0_5\r\nhello\r\n0\r\n\r\n",
		"no size":                     "\r\nhello\r\n0\r\n\r\n",
		"no digits":                   "g\r\nhello\r\n0\r\n\r\n",
		"extension only":              ";a\r\nhello\r\n0\r\n\r\n",
		"2 to the 64":                 "10000000000000005\r\nhello\r\n0\r\n\r\n",
		"2 to the 63":                 "8000000000000005\r\nhello\r\n0\r\n\r\n",
		"many zeros":                  strings.Repeat("0", 20) + "5\r\nhello\r\n0\r\n\r\n",
		"too short":                   "4\r\nhello\r\n0\r\n\r\n",
		"too long":                    "6\r\nhello\r\n0\r\n\r\n",
		"no line end behind the data": "5\r\nhello0\r\n\r\n",
		"LF behind the data":          "5\r\nhello\n0\r\n\r\n",
		"CR behind the data":          "5\r\nhello\r0\r\n\r\n",
		"two bytes for the line end":  "5\r\nhelloab0\r\n\r\n",
		"long extension":              "5;" + strings.Repeat("a", 300) + "\r\nhello\r\n0\r\n\r\n",
		"LF for the last line":        "5\r\nhello\r\n0\r\n\n",
		"LF behind the last size":     "5\r\nhello\r\n0\n\r\n",
	} {
		all = append(all, refused(name, post(te, body), 400, "chunk_invalid"))
	}
	all = append(all,
		passes("extension", post(te, "5;a=b;c=\"d\"\r\nhello\r\n0;e\r\n\r\n"), `POST /x "hello"`),
		passes("digits of both cases", post(te, "00A\r\n0123456789\r\n0b\r\n0123456789a\r\n000\r\n\r\n"), `POST /x "01234567890123456789a"`),
	)
	for i := range all {
		if strings.HasPrefix(all[i].raw, "POST") && !all[i].open {
			all[i].want[0].method = "POST"
		}
	}
	runAll(t, all)
}

// What is wrong with a body may come after its beginning was forwarded. The backend must then see a request that breaks off, and never one that is whole.
func TestCase06BrokenBodyUnderWay(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, fields, first, second, reason string }{
		{"chunk size", "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n", "0x0\r\n\r\n", "chunk_invalid"},
		{"trailer", "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n", "0\r\nBad Name: x\r\n\r\n", "header_invalid"},
		{"end of the connection", "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n", "", "client_closed"},
		{"end of the connection, with a length", "Content-Length: 10\r\n", "hello", "", "client_closed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := rig.NewOrigin(t, "app", nil)
			g := rig.Start(t, site(o, ""))
			cl := g.Dial("web")
			cl.Send(post(c.fields, c.first))
			testnet.Eventually(t, "the beginning of the body", func() bool { return strings.Contains(o.Received(), "hello") })
			if c.second != "" {
				cl.Send(c.second)
				r := cl.Response("POST")
				if r.Status != 400 || r.Reason() != c.reason || !r.Closes() {
					t.Errorf("answer %d %q, want 400 %q and the end", r.Status, r.Reason(), c.reason)
				}
				cl.WantClosed()
			} else {
				cl.CloseWrite()
				cl.Rest() // an answer to somebody who has left does no harm
			}
			if line := g.Log(1)[0]; line["reason"] != c.reason {
				t.Errorf("reason %v in the log, want %s", line["reason"], c.reason)
			}
			cl.Close()
			g.Close()
			o.WaitEnd()
			if all, err := o.Requests(); err == nil || len(all) != 0 {
				t.Errorf("the backend saw %d whole requests (%v): %q", len(all), err, o.Received())
			}
		})
	}
}

func TestCase07FieldLines(t *testing.T) {
	t.Parallel()
	get := func(line string) string { return "GET / HTTP/1.1\r\nHost: a.test\r\n" + line + "\r\n\r\n" }
	all := []attempt{
		refused("folded", get("X-A: b\r\n c"), 400, "header_folded"),
		refused("folded with a tab", get("X-A: b\r\n\tc"), 400, "header_folded"),
		refused("folded first line", "GET / HTTP/1.1\r\n Host: a.test\r\n\r\n", 400, "header_folded"),
		refused("folded empty line", get("X-A: b\r\n \r\nX-B: c"), 400, "header_folded"),
		refused("space before the colon", get("X-A : b"), 400, "header_invalid"),
		refused("tab before the colon", get("X-A\t: b"), 400, "header_invalid"),
		refused("space before the colon of Host", "GET / HTTP/1.1\r\nHost : a.test\r\n\r\n", 400, "header_invalid"),
		refused("space in a name", get("X A: b"), 400, "header_invalid"),
		refused("no colon", get("X-A"), 400, "header_invalid"),
		refused("empty name", get(": b"), 400, "header_name_invalid"),
	}
	for _, c := range []byte("\x00\x01\x08\x0b\x0c\x1b\x7f\"(),/;<=>?@[\\]{}\x80\xff") {
		all = append(all, refused("name with "+hex(c), get("X"+string([]byte{c})+"A: b"), 400, "header_name_invalid"))
	}
	for _, c := range []byte("\x00\x01\x08\x0b\x0c\x0d\x1b\x7f") {
		all = append(all,
			refused("value with "+hex(c), get("X-A: b"+string([]byte{c})+"c"), 400, "header_value_invalid"),
			refused("value of eight and more with "+hex(c), get("X-A: 0123456789"+string([]byte{c})+"0123456789"), 400, "header_value_invalid"))
	}
	all = append(all,
		refused("value with 0a", get("X-A: b\nc"), 400, "line_end_invalid"),
		passes("empty value", get("X-A:"), `GET / ""`),
		passes("tab in a value", get("X-A: b\tc"), `GET / ""`),
	)
	runAll(t, all)
}

func hex(c byte) string {
	const digits = "0123456789abcdef"
	return string([]byte{digits[c>>4], digits[c&15]})
}
