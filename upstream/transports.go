package upstream

import (
	"crypto/tls"
	"time"

	"github.com/sluice-gateway/sluice/http1"
	"github.com/sluice-gateway/sluice/message"
)

// Call is what one attempt may take, and what it says of itself.
type Call = http1.Call

// Transport is the connections to one endpoint, in one protocol. It is safe for any number of goroutines.
type Transport interface {
	// Do sends x.Request and reads the head of the answer into x.Response, whose body borrows from the transport until it is closed. A
	// failure says whether the request may have been received. Once Do has returned a failure, and once the body of an answer was
	// closed, the transport does not pull x.Request.Body any more.
	Do(x *message.Exchange, c *Call) *message.Failure
	// Sweep closes connections that were unused for too long, or that the endpoint has closed.
	Sweep()
	// Close closes unused connections. Those in use are closed when they would come back.
	Close()
}

// TransportOptions are the settings of a transport. Two that are the same make equal transports.
type TransportOptions struct {
	Protocol string // a word of the table below
	Address  string // host:port
	Connect  time.Duration
	Idle     time.Duration // how long an unused connection is kept
	Progress time.Duration // bounds the time without a byte in a running exchange
	MaxIdle  int

	Secure bool       // TLS says how
	TLS    TLSOptions // its ServerName is set

	MaxHeader      int // bytes of the head of an answer
	MaxHeaderCount int // fields of the head of an answer
}

// same reports whether o and p are the same settings: files are compared by what is in them, whoever has read them.
func (o TransportOptions) same(p TransportOptions) bool {
	o.TLS.Files, p.TLS.Files = nil, nil
	return o == p
}

// transports is read-only: the protocols that a backend may be spoken to in. A constructor gets the configuration of TLS if the settings have
// some, else nil; several transports share it.
var transports = []struct {
	protocol string
	make     func(TransportOptions, *tls.Config) Transport
}{
	{"http1", newHTTP1},
}

// transportOf returns the constructor for a protocol, or nil.
func transportOf(protocol string) func(TransportOptions, *tls.Config) Transport {
	for _, t := range transports {
		if t.protocol == protocol {
			return t.make
		}
	}
	return nil
}
