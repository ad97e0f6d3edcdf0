package listen

import (
	"github.com/sluice-gateway/sluice/http1"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/proxy"
	"github.com/sluice-gateway/sluice/upstream"
)

// ConnHandler serves connections in one protocol.
type ConnHandler interface {
	// ServeConn serves c until it has ended, in the goroutine of the connection, and closes c.NetConn(); the listener makes sure of it afterwards.
	// It tells c when it is idle and stops after the running exchange once c is draining; see [Conn].
	ServeConn(c *Conn)
}

// Protocols are the codecs of one listener. A nil one is not offered.
type Protocols struct {
	HTTP1 ConnHandler // also serves plain connections, and TLS clients that offer no protocol
	// Stream serves every connection, whatever it carries. No other is there then.
	Stream ConnHandler
}

// protocols is the table of the codecs, in the order in which TLS clients are offered them. Read-only.
var protocols = [...]struct {
	word  string // of ALPN, RFC 7301 section 6
	codec func(*Protocols) ConnHandler
}{
	{"http/1.1", func(p *Protocols) ConnHandler { return p.HTTP1 }},
}

// Words returns the ALPN words of the codecs that are there, the preferred one first.
func (p *Protocols) Words() []string {
	var words []string
	for i := range protocols {
		if protocols[i].codec(p) != nil {
			words = append(words, protocols[i].word)
		}
	}
	return words
}

// choose returns the codec for what ALPN agreed on, which is nothing for clients that do not use it; nil if there is none.
func (p *Protocols) choose(word string) ConnHandler {
	if p.Stream != nil {
		return p.Stream
	}
	for i := range protocols {
		if protocols[i].word == word {
			return protocols[i].codec(p)
		}
	}
	return p.HTTP1
}

// HTTP1 serves connections with the HTTP/1 codec. It is shared by all connections of a listener.
type HTTP1 struct {
	Options *http1.ServerOptions
	Handler message.Handler
}

// ServeConn implements [ConnHandler].
func (p *HTTP1) ServeConn(c *Conn) {
	peer := http1.Peer{Addr: c.Remote(), Local: c.Local(), Server: c.ServerName(), Life: c, Certificates: c.Certificates()}
	http1.ServeConn(c.NetConn(), peer, p.Options, p.Handler)
}

// Stream passes connections on to endpoints unread. It is shared by all connections of a listener.
type Stream struct{ Handler *proxy.Stream }

// ServeConn implements [ConnHandler]. A session is never idle in the sense of [Conn.Idle]: who drains the listener lets it go on, and cuts it at the end.
func (p *Stream) ServeConn(c *Conn) {
	in := proxy.Inbound{
		Conn:     c.NetConn(),
		Upstream: upstream.Caller{Client: c.Remote(), Server: c.Local(), TLVs: c.proxyTLVs()},
		Shard:    c.Shard(),
		By:       c.by,
	}
	if c.secured != nil {
		in.ServerName, in.ALPN = c.secured.ServerName, c.secured.Protocol
	}
	p.Handler.Serve(&in)
}
