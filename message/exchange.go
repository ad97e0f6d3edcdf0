package message

import (
	"crypto/x509"
	"net/netip"
	"slices"
	"time"
)

// Protocol is the version of HTTP that a message was read in.
type Protocol uint8

// The protocols.
const (
	ProtocolUnknown Protocol = iota
	HTTP10
	HTTP11
	HTTP2
	HTTP3
)

// String returns the protocol as logs write it.
func (p Protocol) String() string {
	return [...]string{"", "HTTP/1.0", "HTTP/1.1", "HTTP/2", "HTTP/3"}[p]
}

// LengthUnknown is the length of a body that ends where its framing says (chunked, or the end
// of the connection), not after a known number of bytes.
const LengthUnknown = -1

// Request is the request of an exchange, the same for every protocol. All slices are valid
// until Exchange.Reset.
type Request struct {
	Protocol Protocol
	Method   Method
	Scheme   string // "http" or "https": how the client reached the listener

	Host     []byte // lower case, without port and trailing dot; never empty for HTTP/1.1 and later
	Port     []byte // as the client wrote it; empty if it gave none
	Path     []byte // canonical path as it is matched and forwarded; begins with "/", or is "*"
	Query    []byte // without "?", as sent; nil if there was no "?", empty if nothing followed it
	RawPath  []byte // as the client sent it, for routes that keep a form which Path has lost
	HasSlash bool   // Path holds %2F: reading it as a separator could select another route

	Header  Header
	Trailer Header // filled when the body has ended
	Body    Body   // never nil
	Length  int64  // bytes of the body, or LengthUnknown

	WantsTrailers bool   // the client said TE: trailers
	Trailers      []Name // request trailers that are forwarded; the route decides

	Pumping bool // a second goroutine reads Body; only the thread of control writes this

	Upgrade []byte // the protocol of an Upgrade that the listener permits, else nil
}

// Response is the response of an exchange. Whoever answers fills it; the codec writes it.
type Response struct {
	Status  int
	Header  Header
	Trailer Header // filled when the body has ended
	Body    Body   // never nil
	Length  int64  // bytes of the body, or LengthUnknown

	// Tunnel carries both directions after a 101 answer; nil otherwise.
	Tunnel Tunnel
	// Close asks the codec to end the client's connection after this response.
	Close bool
}

// Tunnel is the upstream side of an upgraded connection. The codec that reads the client hands
// its side over with Run, which returns when both directions have ended.
type Tunnel interface {
	// Run moves bytes between the client and the endpoint until both have ended. early holds
	// bytes that the client sent behind its request head; they are forwarded first.
	Run(client Stream, early []byte) (received, sent int64, err error)
	// Close ends the tunnel's connection without moving anything.
	Close() error
}

// Stream is one side of a tunnel: a connection of bytes. net.Conn fits.
type Stream interface {
	Read(p []byte) (int, error)
	Write(p []byte) (int, error)
	Close() error
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
}

// Interim writes interim responses (1xx) to the client.
type Interim interface {
	WriteInterim(status int, h *Header) error
}

// Client is what is known of the caller.
type Client struct {
	Peer    netip.AddrPort // the other end of the connection, or what its PROXY header said
	Local   netip.AddrPort // the address that the client connected to, or what its PROXY header said; not valid if that is not known
	Addr    netip.Addr     // client.ip: rightmost address that is not a trusted proxy
	Trusted bool           // the peer is one of the listener's trusted proxies
	Server  string         // SNI of the TLS connection, lower case; "" without TLS
	// Certificates are what the client has shown in its TLS handshake, its own first. That it has the key is certain, and nothing else is: who
	// trusts them has to verify the chain.
	Certificates []*x509.Certificate
}

// Times are the moments of an exchange in nanoseconds of Now; 0 means that it never came to that.
type Times struct {
	Start     int64 // first byte of the head
	Read      int64 // head complete
	Routed    int64 // request policies done
	Connected int64 // the last attempt has a connection
	FirstByte int64 // head of the answer complete
	End       int64 // last byte written, or given up
}

// Outcome is how the exchange went: what log and metrics tell.
type Outcome struct {
	Route    string // names are strings of the configuration
	Backend  string
	Endpoint string
	Policy   string // the policy that answered, if one did
	Cache    string // what a cache made of the request, if one was asked
	Attempts int    // requests sent or tried towards endpoints
	Reused   bool   // the last attempt used a pooled connection

	Reason Reason
	Side   Side
	Stage  Stage
	Err    error // cause for the log; never shown to a client

	// Status answers in place of that of Reason, unless it is 0; Members and Fields are what the problem tells besides. See Failure.
	Status  int
	Members []byte
	Fields  []FieldValue

	Warning Reason // what an enforcing listener would have refused the request for

	Received int64 // bytes of the request body read
	Sent     int64 // bytes of the response body written
}

// Capture is one value that a path pattern took from the path, percent-decoded.
type Capture struct {
	Name  string
	Value []byte

	// Raw is set for a capture of several segments: the same piece of the path as it was read, where
	// %2F and "/" are still two things.
	Raw []byte
}

// Exchange is one request and its response, for every protocol, on both sides. One thread of
// control owns it from the first byte to the access log; it is then Reset and used again.
type Exchange struct {
	Request  Request
	Response Response
	Client   Client
	Times    Times
	Outcome  Outcome
	Captures []Capture

	// Identity is who calls, as far as policies have found out; nil for nobody. It is immutable and may be shared by exchanges.
	Identity *Identity
	// Version is the version of the route's API that the request means, "" where the route has none.
	Version string
	// Steps are the parts of a composition, by their place in the configuration; those that have not ended are zero. Item is the JSON text of
	// the element that a step is being made for.
	Steps []Step
	Item  []byte

	ID       []byte // request id, made by the proxy or taken over from a trusted peer
	Deadline int64  // moment of Now at which the whole exchange must have ended, 0 if none

	// Interim sends 1xx responses while the exchange is served; nil where there is no way to.
	Interim Interim
	// Bindings belong to the connection that the request came over; nil where requests have none to
	// themselves, as with HTTP/2 or in a copy of an exchange.
	Bindings *Bindings

	notes []note // of policies

	// Fixed is the body of answers that the proxy makes itself.
	Fixed Bytes
	// State belongs to the handler: what it must find again when the exchange finishes. Reset
	// leaves it, so that a handler can use the same memory for the next exchange; what it finds
	// there may be another handler's.
	State any

	scratch []byte
}

// Reset makes x ready for the next request. Every slice that came from x is dead afterwards.
func (x *Exchange) Reset() {
	x.Request.reset()
	x.Response.reset()
	x.Times = Times{}
	x.Outcome = Outcome{}
	if len(x.Captures) > 0 {
		clear(x.Captures)
	}
	x.Captures = x.Captures[:0]
	x.Identity, x.Version = nil, ""
	if len(x.Steps) > 0 {
		clear(x.Steps)
	}
	x.Steps, x.Item = x.Steps[:0], nil
	if len(x.notes) > 0 {
		clear(x.notes)
		x.notes = x.notes[:0]
	}
	x.ID = nil
	x.Deadline = 0
	x.Interim, x.Bindings = nil, nil
	x.Fixed = Bytes{}
	if cap(x.scratch) > 16<<10 {
		x.scratch = nil
	}
	poison(x.scratch)
	x.scratch = x.scratch[:0]
}

// reset empties r field by field: its headers are large, and keep their memory.
func (r *Request) reset() {
	r.Header.Reset()
	r.Trailer.Reset()
	r.Protocol, r.Method, r.Scheme = ProtocolUnknown, Method{}, ""
	r.Host, r.Port, r.Path, r.Query, r.RawPath, r.HasSlash = nil, nil, nil, nil, nil, false
	r.Body, r.Length = NoBody{}, 0
	r.WantsTrailers, r.Trailers, r.Pumping, r.Upgrade = false, nil, false, nil
}

// reset empties r field by field, see Request.reset.
func (r *Response) reset() {
	r.Header.Reset()
	r.Trailer.Reset()
	r.Status, r.Body, r.Length = 0, NoBody{}, 0
	r.Tunnel, r.Close = nil, false
}

// Keep copies b into memory of the exchange, valid until Reset.
func (x *Exchange) Keep(b []byte) []byte {
	n := len(x.scratch)
	x.scratch = append(x.scratch, b...)
	return x.scratch[n:len(x.scratch):len(x.scratch)]
}

// Scratch returns an empty slice over memory of the exchange for building a value by append;
// give the result to KeepScratch before anything else is kept. There is room for scratchRoom bytes, so that
// a short value that is not kept costs no allocation.
func (x *Exchange) Scratch() []byte {
	if cap(x.scratch)-len(x.scratch) < scratchRoom {
		x.scratch = slices.Grow(x.scratch, 2*scratchRoom)
	}
	return x.scratch[len(x.scratch):]
}

const scratchRoom = 256

// KeepScratch keeps what was built on Scratch and returns it, valid until Reset.
func (x *Exchange) KeepScratch(b []byte) []byte {
	if len(b) <= cap(x.scratch)-len(x.scratch) {
		n := len(x.scratch)
		x.scratch = x.scratch[:n+len(b)]
		copy(x.scratch[n:], b) // the same bytes unless b grew elsewhere
		return x.scratch[n:len(x.scratch):len(x.scratch)]
	}
	return x.Keep(b)
}

// Capture returns the value that the route's pattern took under name, or nil.
func (x *Exchange) Capture(name string) []byte {
	for i := range x.Captures {
		if x.Captures[i].Name == name {
			return x.Captures[i].Value
		}
	}
	return nil
}

// RawCapture returns the piece of the path that the route's pattern took under name for several
// segments, as it was read, or nil.
func (x *Exchange) RawCapture(name string) []byte {
	for i := range x.Captures {
		if x.Captures[i].Name == name {
			return x.Captures[i].Raw
		}
	}
	return nil
}

// note is what somebody remembers of an exchange.
type note struct{ owner, value any }

// Note returns what owner remembers of the exchange, or nil. Owners are compared, so they are pointers.
func (x *Exchange) Note(owner any) any {
	for i := range x.notes {
		if x.notes[i].owner == owner {
			return x.notes[i].value
		}
	}
	return nil
}

// SetNote makes owner remember value until Reset, in place of what it remembered. There are few owners: they are searched one by one. A value that
// is a pointer costs no allocation.
func (x *Exchange) SetNote(owner, value any) {
	for i := range x.notes {
		if x.notes[i].owner == owner {
			x.notes[i].value = value
			return
		}
	}
	x.notes = append(x.notes, note{owner, value})
}

// Await runs f, which waits for something other than the exchange's own connections. The
// thread of control is a goroutine, so f is simply called; the caller holds no lock.
func (x *Exchange) Await(f func()) { f() }

// Fail records the first failure of the exchange.
func (x *Exchange) Fail(f *Failure) {
	if x.Outcome.Reason != ReasonNone {
		return
	}
	o := &x.Outcome
	o.Reason, o.Side, o.Stage, o.Err = f.Reason, f.Side, f.Stage, f.Err
	o.Status, o.Members, o.Fields = f.Status, f.Members, f.Fields
}

// Handler answers exchanges. The codec of the client's protocol calls it.
type Handler interface {
	// Serve fills x.Response. It does not fail: a failure is a response too.
	Serve(x *Exchange)
	// Finish is called once for every exchange that was served, after its response was written
	// or could not be: x.Outcome and x.Times are complete. The codec resets x afterwards.
	Finish(x *Exchange)
}

// clockBase is read-only: the moment from which Now counts.
var clockBase = time.Now()

// Now returns nanoseconds of the monotonic clock since the start of the program; never 0.
func Now() int64 { return int64(time.Since(clockBase)) + 1 }

// WallTime returns the wall-clock time of a moment of Now.
func WallTime(now int64) time.Time { return clockBase.Add(time.Duration(now - 1)) }
