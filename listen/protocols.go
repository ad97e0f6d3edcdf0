package listen

import (
	"github.com/sluice-gateway/sluice/http1"
	"github.com/sluice-gateway/sluice/message"
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
	http1.ServeConn(c.NetConn(), http1.Peer{Addr: c.Remote(), Server: c.ServerName(), Life: c}, p.Options, p.Handler)
}
