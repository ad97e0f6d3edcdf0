package proxy

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
	"github.com/sluice-gateway/sluice/stream"
	"github.com/sluice-gateway/sluice/upstream"
)

// StreamSite is one generation of what a listener for tcp or tls serves. It is immutable once it is sealed and given to Stream.
type StreamSite struct {
	Listener string
	Protocol string            // "tcp" or "tls", for the log
	Backend  *upstream.Backend // of all connections; nil where Names decides
	Names    *NameTable        // nil where no server name is looked at
	Hello    time.Duration     // bounds the wait for a ClientHello that Names needs
	Idle     time.Duration     // a session without a byte for so long is ended
	Lifetime time.Duration     // of a session; 0 for no bound
	Log      *Log              // nil for none

	metrics sessionMetrics
}

// Seal completes a site. scope keeps its metrics.
func (s *StreamSite) Seal(scope *metric.Scope) { s.metrics.open(scope, s.Listener) }

// sessionMetrics are the handles of a listener of layer 4.
type sessionMetrics struct {
	Received *metric.Counter    // bytes of clients
	Sent     *metric.Counter    // bytes of endpoints
	Ends     *metric.CounterSet // sessions that have ended, by reason
	Duration *metric.Histogram
}

func (m *sessionMetrics) open(scope *metric.Scope, listener string) {
	m.Received = scope.Counter(metric.BytesReceived, listener)
	m.Sent = scope.Counter(metric.BytesSent, listener)
	m.Ends = scope.CounterSet(metric.Sessions, reasonWords, listener)
	m.Duration = scope.Histogram(metric.SessionDuration, listener)
}

// Inbound is a connection of a client as a listener hands it over. It belongs to the goroutine that serves it.
type Inbound struct {
	Conn       net.Conn // a *net.TCPConn, or a *tls.Conn whose handshake is done
	Upstream   upstream.Caller
	ServerName string    // of the handshake, lower case; "" without one
	ALPN       string    // agreed on in the handshake
	By         time.Time // when what comes before the bytes must be there, a ClientHello included; zero: StreamSite.Hello from now
	Shard      metric.Shard
}

// Stream passes the connections of one listener on. It outlives configurations: each connection takes the site of its moment and keeps it to its end.
type Stream struct {
	site  atomic.Pointer[StreamSite]
	pipes *stream.Pipes

	mu       sync.Mutex
	sessions map[*session]struct{} // that run; guarded by mu
	stopped  chan struct{}         // made by Stop, and closed when no session is left; guarded by mu
}

// maxPipes bounds the pipes that are kept for long transfers of one listener; each may hold up to 1 MiB of the kernel's memory while it is used.
const maxPipes = 64

// NewStream returns the handler of a listener that serves site.
func NewStream(site *StreamSite) *Stream {
	h := &Stream{pipes: stream.NewPipes(maxPipes), sessions: make(map[*session]struct{})}
	h.site.Store(site)
	return h
}

// Swap makes site the one that later connections are passed on by.
func (h *Stream) Swap(site *StreamSite) { h.site.Store(site) }

// Close gives back what is kept for transfers, when the last session has ended.
func (h *Stream) Close() { h.pipes.Close() }

// Pipes returns what is kept for transfers as it stands.
func (h *Stream) Pipes() stream.PipesState { return h.pipes.State() }

// Stop ends all sessions that run, and each that is about to. It returns how many ran when the two sides of each were told by a reset that what they
// have is not whole, or after a second.
func (h *Stream) Stop() (cut int) {
	h.mu.Lock()
	if h.stopped == nil {
		h.stopped = make(chan struct{})
		if len(h.sessions) == 0 {
			close(h.stopped)
		}
	}
	cut = len(h.sessions)
	for s := range h.sessions {
		s.relay.Stop()
	}
	stopped := h.stopped
	h.mu.Unlock()
	t := time.NewTimer(stopTime)
	defer t.Stop()
	select {
	case <-stopped:
	case <-t.C:
	}
	return cut
}

// stopTime bounds how long Stop waits for sessions to notice.
const stopTime = time.Second

// session is one connection with what becomes of it.
type session struct {
	site   *StreamSite
	in     *Inbound
	link   upstream.Link
	relay  stream.RelaySession
	linked bool // link has an endpoint
	// alerted says that the client was told; a reset could overtake that.
	alerted bool

	start   int64 // moments of message.Now
	backend string
	name    string // that the client asked for
	alpn    string // that it offers or has agreed on
	result  stream.RelayResult
	failure message.Failure
	line    metric.Line
}

// Serve passes a connection on to an endpoint until both have ended, and closes it.
func (h *Stream) Serve(in *Inbound) {
	s := &session{site: h.site.Load(), in: in, start: message.Now(), name: in.ServerName, alpn: in.ALPN}
	s.link.Shard = in.Shard
	if s.site.Log != nil {
		s.site.Log.due.Inc(in.Shard)
	}
	if s.connect() {
		h.enter(s)
		s.result = s.relay.Run(in.Conn, s.link.Conn, stream.RelayOptions{Idle: s.site.Idle, Lifetime: s.site.Lifetime, Pipes: h.pipes})
		h.leave(s)
		s.judge()
		s.link.Done(s.blame())
	} else if s.alerted {
		linger(in.Conn)
	} else {
		refuse(in.Conn)
	}
	s.count()
	s.log()
}

func (h *Stream) enter(s *session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopped != nil {
		s.relay.Stop()
		return // nobody waits for it
	}
	h.sessions[s] = struct{}{}
}

func (h *Stream) leave(s *session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, there := h.sessions[s]; !there {
		return
	}
	delete(h.sessions, s)
	if h.stopped != nil && len(h.sessions) == 0 {
		close(h.stopped)
	}
}

// connect finds the backend and opens a connection to one of its endpoints.
func (s *session) connect() bool {
	backend := s.site.Backend
	if s.site.Names != nil {
		if backend = s.named(); backend == nil {
			return false
		}
	}
	s.backend = backend.Name()
	failure := backend.Connect(&s.link, &s.in.Upstream)
	if failure != nil {
		s.failure = *failure
		return false
	}
	s.linked = true
	return true
}

// named finds the backend by the server name that the client asks for.
func (s *session) named() *upstream.Backend {
	if _, ok := s.in.Conn.(*tls.Conn); ok { // the handshake has told the name already
		b, reason := s.site.Names.Lookup(s.name, func(word string) bool { return word == s.alpn })
		if b == nil {
			s.refused(reason, message.StageRoute, nil)
		}
		return b
	}
	return s.peek()
}

// peek reads the ClientHello without taking it from the socket, so that the endpoint gets it as it was sent.
func (s *session) peek() *upstream.Backend {
	plain, ok := s.in.Conn.(*net.TCPConn)
	if !ok {
		s.refused(message.Internal, message.StageRead, errNotPlain)
		return nil
	}
	raw, err := plain.SyscallConn()
	if err != nil {
		s.refused(message.ClientClosed, message.StageRead, err)
		return nil
	}
	p := stream.GetPeeker()
	defer p.Release()
	by := s.in.By // a PROXY header has begun the time
	if by.IsZero() {
		by = time.Now().Add(s.site.Hello)
	}
	_ = plain.SetReadDeadline(by)
	hello, err := p.PeekClientHello(raw)
	_ = plain.SetReadDeadline(time.Time{})
	switch {
	case err == nil && hello.Name == stream.NameInvalid:
		s.refused(message.HelloInvalid, message.StageRead, errName)
	case err == nil:
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.refused(message.HelloTimeout, message.StageRead, nil)
	case isGone(err):
		s.refused(message.ClientClosed, message.StageRead, err)
	default:
		s.refused(message.HelloInvalid, message.StageRead, err)
	}
	if s.failure.Reason != message.ReasonNone {
		return nil
	}
	s.name = string(hello.ServerName())
	for p := range hello.Protocols() {
		s.alpn = string(p) // the first one, which the client wants most
		break
	}
	found, reason := s.site.Names.Lookup(s.name, hello.OffersProtocol)
	if found == nil {
		s.refused(reason, message.StageRoute, nil)
	}
	if found == nil {
		s.alert(plain)
	}
	return found
}

var (
	errNotPlain = errors.New("the connection is no TCP socket")
	errName     = errors.New("the server name is no host name")
)

// refused notes that the connection is not passed on.
func (s *session) refused(reason message.Reason, stage message.Stage, err error) {
	if s.failure.Reason == message.ReasonNone {
		s.failure = message.Failure{Reason: reason, Side: message.SideClient, Stage: stage, Err: err}
	}
}

// Alerts of RFC 8446 section 6.2.
const (
	alertFatal              = 2
	alertInternalError      = 80
	alertUnrecognizedName   = 112
	alertNoApplicationProto = 120
)

// alert tells a TLS client why it is not passed on, before its connection is closed.
func (s *session) alert(nc net.Conn) {
	description := byte(alertInternalError)
	switch s.failure.Reason {
	case message.ServerNameUnknown:
		description = alertUnrecognizedName
	case message.ALPNUnknown:
		description = alertNoApplicationProto
	default:
		return // it is no TLS, or it is gone
	}
	_ = nc.SetWriteDeadline(time.Now().Add(alertTime))
	_, _ = nc.Write(stream.AppendAlert(nil, alertFatal, description)) // it is a courtesy
	if t, ok := nc.(*net.TCPConn); ok {
		_ = t.CloseWrite()
	}
	s.alerted = true
}

// alertTime bounds the sending of an alert, and the wait for the client to have read it.
const alertTime = time.Second

// lingerBytes bounds what is read from a client that was told to go.
const lingerBytes = 64 << 10

// linger closes a connection whose client was told why. What it has sent is read first: closing with unread bytes resets the connection, and a reset
// overtakes the message (RFC 9112 section 9.6 tells the same of HTTP).
func linger(nc net.Conn) {
	_ = nc.SetReadDeadline(time.Now().Add(alertTime))
	_, _ = io.CopyN(io.Discard, nc, lingerBytes)
	_ = nc.Close()
}
