package http1

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/message"
)

// pieces is a connection that gives its pieces one by one, then the end.
type pieces struct {
	net.Conn
	left [][]byte
}

func (p *pieces) Read(b []byte) (int, error) {
	for len(p.left) > 0 && len(p.left[0]) == 0 {
		p.left = p.left[1:]
	}
	if len(p.left) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.left[0])
	p.left[0] = p.left[0][n:]
	return n, nil
}

func cut(text string, cuts ...int) (all [][]byte) {
	from := 0
	for _, c := range append(cuts, len(text)) {
		all = append(all, []byte(text[from:c]))
		from = c
	}
	return all
}

// decoded is what came of a body.
type decoded struct {
	payload string
	end     string // reason, "" for the end of the body, "cut" for an end of the connection before it
	trailer string
	rest    string // bytes behind the body
}

// decode reads a body from pieces of a connection.
func decode(f framing, length int64, left [][]byte) decoded {
	var c conn
	var trailer message.Header
	c.init(&pieces{left: left})
	rd := &reader{c: &c}
	rd.take(new([bufferSize]byte))
	b := &body{rd: rd, framing: f, remain: length, request: true, trailer: &trailer, tlimit: maxTrailers}
	var d decoded
	var payload bytes.Buffer
	for {
		piece, err := b.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			d.end = err.(*message.Failure).Reason.String()
			if d.end == message.ClientClosed.String() {
				d.end = "cut"
			}
			break
		}
		payload.Write(piece)
	}
	d.payload = payload.String()
	for i := range trailer.Len() {
		f := trailer.At(i)
		d.trailer += fmt.Sprintf("[%s=%s]", f.Name, f.Value)
	}
	if d.end == "" {
		d.rest = string(rd.buf[rd.r:rd.w])
		for _, p := range c.nc.(*pieces).left {
			d.rest += string(p)
		}
	} else {
		d.payload, d.trailer = "", "" // how much came before a fault depends on how it came
	}
	rd.release()
	return d
}

// The largest extension that a size line of one digit may have.
var longExtension = ";" + strings.Repeat("e", maxChunkLine-2)

var chunkTests = []struct {
	name, text string
	want       decoded
}{
	{"empty", "0\r\n\r\n", decoded{}},
	{"one", "5\r\nhello\r\n0\r\n\r\n", decoded{payload: "hello"}},
	{"two", "3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", decoded{payload: "hello"}},
	{"digits of both cases", "a\r\n0123456789\r\nB\r\n0123456789a\r\n0\r\n\r\n", decoded{payload: "01234567890123456789a"}},
	{"leading zeros", "0005\r\nhello\r\n000\r\n\r\n", decoded{payload: "hello"}},
	{"sixteen digits", "0000000000000005\r\nhello\r\n0\r\n\r\n", decoded{payload: "hello"}},
	{"line ends in the data", "4\r\n\r\n\r\n\r\n0\r\n\r\n", decoded{payload: "\r\n\r\n"}},
	{"extension", "5;a=b;c=\"d\"\r\nhello\r\n0;x\r\n\r\n", decoded{payload: "hello"}},
	{"longest extension", "1" + longExtension + "\r\nx\r\n0\r\n\r\n", decoded{payload: "x"}},
	{"trailers", "0\r\nA: 1\r\nb:2\r\n\r\n", decoded{trailer: "[A=1][b=2]"}},
	{"trailers that frame, manage or identify", "0\r\nContent-Length: 5\r\nTransfer-Encoding: x\r\nHost: b\r\nX-Forwarded-For: 1\r\nX_Forwarded_For: 1\r\n" +
		"X-Consumer: me\r\nAuthorization: x\r\nConnection: x\r\nSluice-X: 1\r\nOk: 1\r\n\r\n", decoded{trailer: "[Ok=1]"}},
	{"bytes behind", "1\r\nx\r\n0\r\n\r\nGET /", decoded{payload: "x", rest: "GET /"}},
	{"no size", "\r\nhello", decoded{end: "chunk_invalid"}},
	{"no hex", "x\r\nhello\r\n", decoded{end: "chunk_invalid"}},
	{"prefix", "0x5\r\nhello\r\n0\r\n\r\n", decoded{end: "chunk_invalid"}},
	{"sign", "+5\r\nhello\r\n0\r\n\r\n", decoded{end: "chunk_invalid"}},
	{"negative", "-5\r\nhello\r\n0\r\n\r\n", decoded{end: "chunk_invalid"}},
	{"space before", " 5\r\nhello\r\n0\r\n\r\n", decoded{end: "chunk_invalid"}},
	{"space behind", "5 \r\nhello\r\n0\r\n\r\n", decoded{end: "chunk_invalid"}},
	{"tab before an extension", "5\t;a\r\nhello\r\n0\r\n\r\n", decoded{end: "chunk_invalid"}},
	{"underscore", "1_0\r\n", decoded{end: "chunk_invalid"}},
	{"overflow", "10000000000000000\r\n", decoded{end: "chunk_invalid"}},
	{"nearly overflow", "ffffffffffffffff\r\n", decoded{end: "chunk_invalid"}},
	{"seventeen digits", "00000000000000005\r\nhello\r\n", decoded{end: "chunk_invalid"}},
	{"LF alone behind the size", "5\nhello\r\n0\r\n\r\n", decoded{end: "chunk_invalid"}},
	{"LF in an extension", "5;a\nb\r\nhello\r\n0\r\n\r\n", decoded{end: "chunk_invalid"}},
	{"CR in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n", decoded{end: "chunk_invalid"}},
	{"NUL in an extension", "5;a\x00\r\nhello\r\n0\r\n\r\n", decoded{end: "chunk_invalid"}},
	{"extension too long", "1" + longExtension + "e\r\nx\r\n0\r\n\r\n", decoded{end: "chunk_invalid"}},
	{"size line without end", strings.Repeat("0", 400), decoded{end: "chunk_invalid"}},
	{"no line end behind the data", "5\r\nhelloX\r\n0\r\n\r\n", decoded{end: "chunk_invalid"}},
	{"LF alone behind the data", "5\r\nhello\n0\r\n\r\n", decoded{end: "chunk_invalid"}},
	{"CR alone behind the data", "5\r\nhello\rX0\r\n\r\n", decoded{end: "chunk_invalid"}},
	{"LF alone at the end", "0\r\n\n", decoded{end: "chunk_invalid"}},
	{"bad trailer name", "0\r\nA(B: 1\r\n\r\n", decoded{end: "header_name_invalid"}},
	{"bad trailer value", "0\r\nA: \x00\r\n\r\n", decoded{end: "header_value_invalid"}},
	{"folded trailer", "0\r\nA: 1\r\n 2\r\n\r\n", decoded{end: "header_folded"}},
	{"trailers too large", "0\r\n" + strings.Repeat("A: "+strings.Repeat("v", 1000)+"\r\n", 9) + "\r\n", decoded{end: "header_too_large"}},
	{"trailer line too long", "0\r\nA: " + strings.Repeat("v", maxTrailers) + "\r\n\r\n", decoded{end: "chunk_invalid"}},
	{"cut in the size", "5", decoded{end: "cut"}},
	{"cut in the data", "5\r\nhel", decoded{end: "cut"}},
	{"cut behind the data", "5\r\nhello", decoded{end: "cut"}},
	{"cut before the last chunk", "5\r\nhello\r\n", decoded{end: "cut"}},
	{"cut in the last chunk", "5\r\nhello\r\n0\r\n", decoded{end: "cut"}},
}

func TestChunkedBodies(t *testing.T) {
	for _, test := range chunkTests {
		if got := decode(frameChunked, 0, cut(test.text)); got != test.want {
			t.Errorf("%s: %.300v, want %.300v", test.name, got, test.want)
		}
	}
}

// However a body is cut into pieces, the same comes of it: byte by byte, in two pieces and, for
// short ones, in three.
func TestChunkedBodiesInPieces(t *testing.T) {
	for _, test := range chunkTests {
		var all []int
		for i := range len(test.text) {
			all = append(all, i)
		}
		check := func(cuts ...int) {
			if got := decode(frameChunked, 0, cut(test.text, cuts...)); got != test.want {
				t.Fatalf("%s cut at %v: %+v, want %+v", test.name, cuts, got, test.want)
			}
		}
		check(all...)
		step := max(1, len(test.text)/1000)
		for i := 0; i < len(test.text); i += step {
			check(i)
			for j := i; len(test.text) < 60 && j < len(test.text); j++ {
				check(i, j)
			}
		}
	}
}

// chunked encodes body in random chunks.
func chunked(r *rand.Rand, body string) string {
	var b strings.Builder
	for len(body) > 0 {
		n := 1 + r.IntN(min(len(body), 1+r.IntN(20000)))
		b.WriteString(strconv.FormatInt(int64(n), 16) + "\r\n" + body[:n] + "\r\n")
		body = body[n:]
	}
	return b.String() + "0\r\n\r\n"
}

func TestRandomBodies(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		text := randomText(r, r.IntN(100<<10))
		encoded := chunked(r, text)
		var cuts []int
		for at := 0; at < len(encoded); at += 1 + r.IntN(1+r.IntN(30000)) {
			cuts = append(cuts, at)
		}
		if got := decode(frameChunked, 0, cut(encoded, cuts...)); got.payload != text || got.end != "" {
			t.Fatalf("a body of %d bytes, cut at %v: %d bytes, end %q", len(text), cuts, len(got.payload), got.end)
		}
	}
}

func randomText(r *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return string(b)
}

// Security case 54: bytes wrapped in chunks of their own are accepted as long as what they cost is
// in proportion, and come in pieces as large as if they had come in one chunk.
func TestTinyChunks(t *testing.T) {
	const n = 1 << 20
	tiny := strings.Repeat("1\r\nx\r\n", n) + "0\r\n\r\n"
	var c conn
	c.init(&pieces{left: cut(tiny)})
	rd := &reader{c: &c}
	rd.take(new([bufferSize]byte))
	defer rd.release()
	b := &body{rd: rd, framing: frameChunked, request: true}
	count, got := 0, 0
	for {
		piece, err := b.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		count++
		got += len(piece)
	}
	if got != n || count > 6*n/bufferSize+10 {
		t.Errorf("%d bytes in %d pieces, want %d in about %d", got, count, n, 6*n/bufferSize)
	}
	wasteful := strings.Repeat("1;"+strings.Repeat("e", 200)+"\r\nx\r\n", 1000) + "0\r\n\r\n"
	if d := decode(frameChunked, 0, cut(wasteful)); d.end != "chunk_invalid" {
		t.Errorf("1000 bytes in lines of 200 bytes each: end %q, want it refused", d.end)
	}
}

func TestBodiesOfKnownLength(t *testing.T) {
	if d := decode(frameLength, 5, cut("helloGET /", 1, 2, 7)); d != (decoded{payload: "hello", rest: "GET /"}) {
		t.Errorf("%+v", d)
	}
	if d := decode(frameLength, 5, cut("hell")); d != (decoded{end: "cut"}) {
		t.Errorf("cut short: %+v", d)
	}
	if d := decode(frameClose, 0, cut("hello", 2)); d != (decoded{payload: "hello"}) {
		t.Errorf("until the end: %+v", d)
	}
}

func TestBodyLimitCountsDecodedBytes(t *testing.T) {
	for _, test := range []struct {
		max  int64
		text string
		ok   bool
	}{{5, "3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", true}, {4, "3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", false}} {
		var c conn
		c.init(&pieces{left: cut(test.text, 3, 8, 10)})
		rd := &reader{c: &c}
		rd.take(new([bufferSize]byte))
		b := &body{rd: rd, framing: frameChunked, request: true, max: test.max}
		got := 0
		var err error
		for err == nil {
			var piece []byte
			piece, err = b.Next()
			got += len(piece)
		}
		f, _ := err.(*message.Failure)
		if test.ok != (err == io.EOF) || !test.ok && f.Reason != message.BodyTooLarge || int64(got) > test.max {
			t.Errorf("at most %d: %d bytes, %v", test.max, got, err)
		}
		rd.release()
	}
}

// A read that was interrupted fails at once, before it and after it, until resume.
func TestInterrupt(t *testing.T) {
	a, _ := testnet.Pipe(16)
	var c conn
	c.init(a)
	failed := make(chan error)
	go func() {
		_, err := c.read(make([]byte, 1), 0)
		failed <- err
	}()
	c.interrupt()
	if err := testnet.Receive(t, "the end of the read", failed); err != os.ErrDeadlineExceeded {
		t.Errorf("an interrupted read ended with %v", err)
	}
	if _, err := c.read(make([]byte, 1), message.Now()+int64(testnet.Patience)); err != os.ErrDeadlineExceeded {
		t.Errorf("a read after an interrupt ended with %v", err)
	}
	c.resume()
	_ = a.CloseWrite()
	_ = a.Close()
	if _, err := c.read(make([]byte, 1), 0); err != net.ErrClosed {
		t.Errorf("a read after resume ended with %v", err)
	}
}
