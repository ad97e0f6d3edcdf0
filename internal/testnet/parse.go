package testnet

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Field is one header line.
type Field struct{ Name, Value string }

// Fields is a header or trailer section in the order of the wire.
type Fields []Field

// Get returns the value of the first field called name, in any case, or "".
func (f Fields) Get(name string) string {
	for _, x := range f {
		if strings.EqualFold(x.Name, name) {
			return x.Value
		}
	}
	return ""
}

// All returns the values of the fields called name, in any case.
func (f Fields) All(name string) []string {
	var all []string
	for _, x := range f {
		if strings.EqualFold(x.Name, name) {
			all = append(all, x.Value)
		}
	}
	return all
}

// Framing says how the end of a body was marked.
type Framing string

// The framings.
const (
	FramedNone    Framing = "none"    // there is no body
	FramedLength  Framing = "length"  // Content-Length
	FramedChunked Framing = "chunked" // Transfer-Encoding: chunked
	FramedClose   Framing = "close"   // the end of the connection
)

// Message is what requests and responses have in common.
type Message struct {
	Header  Fields
	Framing Framing
	Body    []byte
	Chunks  int    // how many chunks the body came in
	Trailer Fields // of a chunked body
}

// Response is a response as it came.
type Response struct {
	Message
	Proto  string
	Status int
	Phrase string
}

// Request is a request as it came.
type Request struct {
	Message
	Method, Target, Proto string
}

// The bounds of the parser: what a test sends is smaller.
const (
	maxHeadLine = 256 << 10
	maxBody     = 64 << 20
)

// ReadRequest reads one request, strictly: anything that a careful proxy would not write is an
// error. io.EOF says that there was none.
func ReadRequest(br *bufio.Reader) (*Request, error) {
	l, err := readLine(br)
	if err != nil {
		return nil, err
	}
	parts := strings.Split(l, " ")
	if len(parts) != 3 || parts[2] != "HTTP/1.1" && parts[2] != "HTTP/1.0" {
		return nil, fmt.Errorf("request line %q", l)
	}
	r := &Request{Method: parts[0], Target: parts[1], Proto: parts[2]}
	for _, c := range r.Target {
		if c <= ' ' || c >= 0x7F {
			return r, fmt.Errorf("target %q", r.Target)
		}
	}
	if !isToken(r.Method) || r.Target == "" {
		return r, fmt.Errorf("request line %q", l)
	}
	if r.Header, err = readFields(br); err != nil {
		return r, err
	}
	if hosts := r.Header.All("Host"); len(hosts) != 1 {
		return r, fmt.Errorf("%d Host fields", len(hosts))
	}
	return r, r.readBody(br, true)
}

// ReadResponse reads one response, interim or final, to a request of the given method. It is
// strict: anything that a careful proxy would not write is an error. A body that ends early gives
// io.ErrUnexpectedEOF and what came of it.
func ReadResponse(br *bufio.Reader, method string) (*Response, error) {
	l, err := readLine(br)
	if err != nil {
		return nil, err
	}
	if len(l) < 13 || l[8] != ' ' || l[12] != ' ' || l[:8] != "HTTP/1.1" && l[:8] != "HTTP/1.0" {
		return nil, fmt.Errorf("status line %q", l)
	}
	r := &Response{Proto: l[:8], Phrase: l[13:]}
	if r.Status, err = strconv.Atoi(l[9:12]); err != nil || r.Status < 100 {
		return nil, fmt.Errorf("status line %q", l)
	}
	if r.Header, err = readFields(br); err != nil {
		return r, err
	}
	if r.Status < 200 || r.Status == 204 {
		if r.Header.Get("Transfer-Encoding") != "" || r.Header.Get("Content-Length") != "" {
			return r, fmt.Errorf("a framing field in a %d", r.Status)
		}
	}
	if method == "HEAD" || r.Status < 200 || r.Status == 204 || r.Status == 304 {
		r.Framing = FramedNone
		return r, nil
	}
	return r, r.readBody(br, false)
}

// readBody reads the body of a message whose header is there.
func (m *Message) readBody(br *bufio.Reader, request bool) error {
	lengths, encodings := m.Header.All("Content-Length"), m.Header.All("Transfer-Encoding")
	switch {
	case len(lengths)+len(encodings) > 1:
		return fmt.Errorf("lengths %q and encodings %q", lengths, encodings)
	case len(encodings) == 1:
		if encodings[0] != "chunked" {
			return fmt.Errorf("transfer encoding %q", encodings[0])
		}
		m.Framing = FramedChunked
		return m.readChunks(br)
	case len(lengths) == 1:
		n, err := strconv.ParseUint(lengths[0], 10, 62)
		if err != nil || n > maxBody || lengths[0] != strconv.FormatUint(n, 10) {
			return fmt.Errorf("length %q", lengths[0])
		}
		m.Framing = FramedLength
		m.Body = make([]byte, n)
		k, err := io.ReadFull(br, m.Body)
		m.Body = m.Body[:k]
		return cutShort(err)
	case request:
		m.Framing = FramedNone
		return nil
	}
	m.Framing = FramedClose
	var err error
	m.Body, err = io.ReadAll(io.LimitReader(br, maxBody))
	return err
}

func (m *Message) readChunks(br *bufio.Reader) error {
	for {
		l, err := readLine(br)
		if err != nil {
			return cutShort(err)
		}
		n, err := strconv.ParseUint(l, 16, 62)
		if err != nil || n > maxBody || strings.ToLower(l) != strconv.FormatUint(n, 16) {
			return fmt.Errorf("chunk size %q", l)
		}
		if n == 0 {
			m.Trailer, err = readFields(br)
			return cutShort(err)
		}
		at := len(m.Body)
		m.Body = append(m.Body, make([]byte, n)...)
		k, err := io.ReadFull(br, m.Body[at:])
		if m.Body = m.Body[:at+k]; err != nil {
			return cutShort(err)
		}
		m.Chunks++
		if l, err := readLine(br); err != nil || l != "" {
			return errors.Join(fmt.Errorf("%q behind a chunk", l), cutShort(err))
		}
	}
}

func cutShort(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// readLine reads a line that ends with CR LF and returns it without. io.EOF says that there was
// none.
func readLine(br *bufio.Reader) (string, error) {
	var l []byte
	for {
		c, err := br.ReadByte()
		if err == io.EOF && len(l) > 0 {
			return string(l), io.ErrUnexpectedEOF
		}
		if err != nil {
			return string(l), err
		}
		l = append(l, c)
		n := len(l)
		switch {
		case n > maxHeadLine:
			return "", errors.New("a line without end")
		case n >= 2 && l[n-2] == '\r':
			if c != '\n' {
				return "", fmt.Errorf("bare CR in line %q", l)
			}
			return string(l[:n-2]), nil
		case c == '\n' || c == 0:
			return "", fmt.Errorf("byte %q in line %q", c, l)
		}
	}
}

// readFields reads fields up to the empty line.
func readFields(br *bufio.Reader) (Fields, error) {
	var all Fields
	for {
		l, err := readLine(br)
		if err != nil {
			return all, cutShort(err)
		}
		if l == "" {
			return all, nil
		}
		name, value, ok := strings.Cut(l, ":")
		if !ok || !isToken(name) {
			return all, fmt.Errorf("field line %q", l)
		}
		value = strings.TrimPrefix(value, " ")
		if strings.TrimSpace(value) != value {
			return all, fmt.Errorf("space around the value in %q", l)
		}
		all = append(all, Field{name, value})
	}
}

func isToken(s string) bool {
	for _, c := range s {
		if c <= ' ' || c >= 0x7F || strings.ContainsRune("\"(),/:;<=>?@[\\]{}", c) {
			return false
		}
	}
	return s != ""
}
