package stream

import (
	"encoding/binary"
	"iter"
)

const (
	// MaxClientHello bounds the handshake message that is waited for. Hellos with post-quantum key
	// shares have about 1,800 bytes, with a session ticket some thousand more.
	MaxClientHello = 32 << 10

	// maxHelloBytes bounds it with its records, which may be of any size: each new one may mean
	// that all of it is looked at again, and it must fit into the buffer of a socket.
	maxHelloBytes = MaxClientHello + 16<<10

	recordHeader  = 5
	messageHeader = 4
	recordMax     = 16 << 10 // RFC 8446 section 5.1; a ClientHello is never encrypted

	recordAlert     = 21
	recordHandshake = 22
	helloMessage    = 1

	maxServerName = 253
	maxHelloALPN  = 255
)

// The faults of a ClientHello.
var (
	errHelloRecord    = &FormatError{"ClientHello: length of a record"}
	errHelloSplit     = &FormatError{"ClientHello: another record within"}
	errHelloMessage   = &FormatError{"ClientHello: another message"}
	errHelloTooLong   = &FormatError{"ClientHello: longer than 32,768 bytes"}
	errHelloLength    = &FormatError{"ClientHello: a length within"}
	errHelloDuplicate = &FormatError{"ClientHello: an extension stands twice"}
)

// The TLS versions that ClientHello tells apart, as on the wire.
const (
	VersionTLS10 = 0x0301
	VersionTLS11 = 0x0302
	VersionTLS12 = 0x0303
	VersionTLS13 = 0x0304
)

// The extensions that are read.
const (
	extensionServerName        = 0
	extensionALPN              = 16
	extensionSupportedVersions = 43
)

// ServerNameState tells what a ClientHello says about the server's name.
type ServerNameState uint8

// The states.
const (
	NameAbsent  ServerNameState = iota
	NameValid                   // ClientHello.ServerName has it
	NameInvalid                 // something that RFC 6066 section 3 does not allow: two names, an address, a trailing dot, odd bytes
)

// ClientHello is what a client says before TLS begins: enough to choose a backend without ending
// TLS. It holds copies, so it outlives the bytes that were parsed.
type ClientHello struct {
	Name ServerNameState

	// ALPNCut says that protocols are missing because the list has more than 255 bytes.
	ALPNCut bool

	versions uint8 // bit n: TLS 1.n
	nameLen  uint8
	alpnLen  uint8
	name     [maxServerName]byte
	alpn     [maxHelloALPN]byte // as on the wire: each with its length before it
}

// ServerName returns the name in lower case, empty unless it is valid: letters, digits, hyphens and
// underscores in labels of 1 to 63 bytes, at most 253 in all. It lies in h.
func (h *ClientHello) ServerName() []byte { return h.name[:h.nameLen] }

// Protocols goes through the ALPN protocols in the client's order. They lie in h.
func (h *ClientHello) Protocols() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for rest := h.alpn[:h.alpnLen]; len(rest) > 0; {
			end := 1 + int(rest[0])
			if !yield(rest[1:end:end]) {
				return
			}
			rest = rest[end:]
		}
	}
}

// OffersProtocol reports whether the client offers an ALPN protocol.
func (h *ClientHello) OffersProtocol(name string) bool {
	for rest := h.alpn[:h.alpnLen]; len(rest) > 0; {
		end := 1 + int(rest[0])
		if string(rest[1:end]) == name {
			return true
		}
		rest = rest[end:]
	}
	return false
}

// OffersVersion reports whether the client offers a TLS version, VersionTLS10 to VersionTLS13.
func (h *ClientHello) OffersVersion(version uint16) bool {
	return version >= VersionTLS10 && version <= VersionTLS13 && h.versions&(1<<(version-VersionTLS10)) != 0
}

// ParseClientHello reads the TLS records at the beginning of b up to the end of the ClientHello in
// them. n is where it ends. With ErrMoreNeeded n is the least number of bytes that b must have
// in all; with ErrNotTLS and a *FormatError it is 0. It reads the outer hello where there is an
// encrypted one (ECH), and allocates nothing.
func ParseClientHello(b []byte) (h ClientHello, n int, err error) {
	r := helloReader{b: b}
	n, err = r.message()
	if err != nil {
		return h, n, err
	}
	if !h.read(&r) {
		if r.err == nil {
			r.err = errHelloLength
		}
		return ClientHello{}, 0, r.err
	}
	return h, n, nil
}

// AppendAlert appends a TLS alert in plaintext, which is how a connection is refused before its
// handshake: level 2 is fatal; 80 internal_error, 112 unrecognized_name, 120
// no_application_protocol (RFC 8446 section 6).
func AppendAlert(dst []byte, level, description byte) []byte {
	return append(dst, recordAlert, 3, 3, 0, 2, level, description)
}

// helloReader reads a handshake message that lies in one or more records, and steps over the
// headers between them. Once message has found it whole, no read goes beyond b.
type helloReader struct {
	b    []byte
	at   int // of the next byte
	end  int // of the record that at lies in
	left int // of the message
	err  *FormatError
}

// message finds the message whole, and leaves r behind its header. n and err are those of
// ParseClientHello.
func (r *helloReader) message() (n int, err error) {
	have := 0    // bytes of the message and its header
	want := -1   // the same, of all of it, when that is known
	var head int // the header, as far as it is there
	for at := 0; ; {
		size, n, err := r.record(at)
		if err != nil {
			return n, err
		}
		body := r.b[at+recordHeader : min(at+recordHeader+size, len(r.b))]
		for i := 0; i < len(body) && have+i < messageHeader; i++ {
			if head = head<<8 | int(body[i]); have+i == 0 && head != helloMessage {
				return 0, errHelloMessage
			}
		}
		if want < 0 && have+len(body) >= messageHeader {
			want = head&0xffffff + messageHeader
			if want-messageHeader > MaxClientHello {
				return 0, errHelloTooLong
			}
		}
		last := want >= 0 && have+size >= want // the message ends within this record
		need := at + recordHeader + size
		if last {
			need = at + recordHeader + want - have
		} else if want < 0 {
			// Its length may come before the end of the record does.
			need = min(need, at+recordHeader+messageHeader-have)
		}
		switch {
		case need > maxHelloBytes:
			return 0, errHelloTooLong
		case len(r.b) < need:
			return need, ErrMoreNeeded
		case last:
			r.left = want
			r.pass(messageHeader)
			return need, nil
		}
		have += size
		at += recordHeader + size
	}
}

// record reads the header of the record at at, as far as it is there. n and err are as in message.
func (r *helloReader) record(at int) (size, n int, err error) {
	b := r.b[min(at, len(r.b)):]
	switch {
	case len(b) > 0 && b[0] != recordHandshake, len(b) > 1 && b[1] != 3:
		if at == 0 {
			return 0, 0, ErrNotTLS
		}
		return 0, 0, errHelloSplit
	case len(b) < recordHeader:
		return 0, at + recordHeader, ErrMoreNeeded
	}
	size = int(binary.BigEndian.Uint16(b[3:]))
	if size == 0 || size > recordMax {
		return 0, 0, errHelloRecord
	}
	return size, 0, nil
}

// pass steps over n bytes of the message.
func (r *helloReader) pass(n int) bool {
	if n > r.left {
		return false
	}
	r.left -= n
	for n > 0 {
		if r.at == r.end {
			size := int(binary.BigEndian.Uint16(r.b[r.at+3:]))
			r.at += recordHeader
			r.end = r.at + size
		}
		step := min(n, r.end-r.at)
		r.at += step
		n -= step
	}
	return true
}

// number reads a number of size bytes.
func (r *helloReader) number(size int) (n int, ok bool) {
	for range size {
		if !r.pass(1) {
			return 0, false
		}
		n = n<<8 | int(r.b[r.at-1])
	}
	return n, true
}

// copy reads len(p) bytes.
func (r *helloReader) copy(p []byte) bool {
	for i := range p {
		if !r.pass(1) {
			return false
		}
		p[i] = r.b[r.at-1]
	}
	return true
}

// vector reads a length of size bytes and returns what is left of the message behind what it
// spans, which must lie between least and all that is left.
func (r *helloReader) vector(size, least int) (rest int, ok bool) {
	n, ok := r.number(size)
	if !ok || n < least || n > r.left {
		return 0, false
	}
	return r.left - n, true
}

// skip steps over a vector.
func (r *helloReader) skip(size, least int) bool {
	rest, ok := r.vector(size, least)
	return ok && r.pass(r.left-rest)
}
