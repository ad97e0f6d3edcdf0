package config

import (
	"net/netip"
	"time"
)

// Words of the enumerations of a listener.
const (
	ProtocolHTTP  = "http"
	ProtocolHTTPS = "https"
	ProtocolTCP   = "tcp"
	ProtocolUDP   = "udp"
	ProtocolTLS   = "tls"

	ProxyProtocolOff      = "off"
	ProxyProtocolOptional = "optional"
	ProxyProtocolRequired = "required"

	StrictEnforce = "enforce"
	StrictWarn    = "warn"

	ForwardedX       = "x"
	ForwardedRFC7239 = "rfc7239"

	SlashesMerge  = "merge"
	SlashesKeep   = "keep"
	SlashesRefuse = "refuse"

	// Refuse and Keep are the words of Paths.Backslash and Paths.EncodedSlash.
	Refuse = "refuse"
	Keep   = "keep"
)

// Listener is an address and a protocol that clients connect to.
type Listener struct {
	// Name under which the listener stands in the file.
	Name string `yaml:",key" check:"name"`
	// Pos is the place of the name.
	Pos Pos `yaml:"-"`

	// Address to listen on, as `:8080`, `127.0.0.1:8080` or `[::1]:8080`. Port 0 lets the system choose.
	Address Address `yaml:"address,required"`
	// Protocol that clients speak. `http` and `https` go by the routes. `tcp` and `udp` pass everything on to `backend`. `tls` without
	// certificates passes TLS on unread, by the server name that the client asks for (`sni`); with certificates it ends TLS and passes the
	// plain bytes on.
	Protocol string `yaml:"protocol,required" enum:"http https tcp udp tls"`
	// TLS is required with protocol `https`, allowed with `tls`, and nowhere else.
	TLS *TLS `yaml:"tls"`
	// Backend that a `tcp`, `udp` or `tls` listener passes its connections on to.
	Backend string `yaml:"backend"`
	// SNI passes the connections of a `tls` listener on by the server name: a name, `*.suffix` or `*`, which also stands for clients that
	// name none. The most specific one wins. A name that none matches is refused with the alert `unrecognized_name`.
	SNI []*ServerName `yaml:"sni" min:"1"`
	// IdleTimeout ends a `tcp` or `tls` connection, or forgets a `udp` client, after this time without a byte in either direction. The
	// default is 5m, and 30s for `udp`.
	IdleTimeout time.Duration `yaml:"idle_timeout" min:"1ms"`
	// Lifetime bounds a `tcp` or `tls` connection as a whole.
	Lifetime time.Duration `yaml:"lifetime,none" default:"none" min:"1ms"`
	// UDP has what only `udp` listeners have.
	UDP *UDP `yaml:"udp"`
	// TrustedProxies are the networks whose `X-Forwarded-*` fields, `X-Request-Id` and PROXY protocol headers are believed.
	TrustedProxies []netip.Prefix `yaml:"trusted_proxies,single"`
	// TrustedIdentity believes what trusted proxies say of who calls (X-Consumer, X-Consumer-Plan, X-Authenticated-Subject, X-Client-Cert): for a balancer
	// behind a gateway. Only proxies that take these fields out of their clients' requests may be trusted so. Else they are removed from every request.
	TrustedIdentity bool `yaml:"trusted_identity" default:"false"`
	// ProxyProtocol says whether connections of trusted proxies begin with a PROXY protocol header, version 1 or 2: `optional` takes one where it
	// is there, `required` refuses connections without. A header of anyone else is refused. The default is `optional` for `http` and
	// `https` listeners with `trusted_proxies`, else `off`. Where the server speaks first, `optional` would wait for the client in vain: use `required`.
	ProxyProtocol string `yaml:"proxy_protocol" enum:"off optional required"`
	// Timeouts of a client's connection.
	Timeouts ListenerTimeouts `yaml:"timeouts"`
	// Limits of a request and of a connection.
	Limits Limits `yaml:"limits"`
	// Paths says what happens to spellings of a path that programs read differently.
	Paths Paths `yaml:"paths"`
	// Strict says what happens to a request that is not read in one way only. `enforce` refuses it; `warn` counts and logs it, and forwards it where
	// the result is well-formed.
	Strict string `yaml:"strict" default:"enforce" enum:"enforce warn"`
	// Forwarded says which forwarding fields backends get: with `x` the `X-Forwarded-*` fields, with `rfc7239` the field `Forwarded` as well.
	Forwarded string `yaml:"forwarded" default:"x" enum:"x rfc7239"`
	// Upgrade lists the protocols that a client may change to by `Upgrade`; the field is dropped for any other.
	Upgrade []string `yaml:"upgrade,single" default:"websocket" check:"token"`
	// Trailers lists the request trailers that are forwarded. All others are dropped.
	Trailers []string `yaml:"trailers,single" check:"trailer"`
}

// TLS is how a listener encrypts.
type TLS struct {
	// Certificates that clients are shown, chosen by the name they ask for; the first is for those who ask for none. Changed files are
	// picked up without a restart.
	Certificates []Certificate `yaml:"certificates,required" min:"1"`
	// MinVersion is the oldest version of TLS that is accepted.
	MinVersion string `yaml:"min_version" default:"1.2" enum:"1.2 1.3"`
	// SessionTickets lets clients resume a session, which spares both sides most of a handshake. A ticket made for a client that never
	// comes back is work for nothing: 4 percent of a full handshake in a profile.
	SessionTickets bool `yaml:"session_tickets" default:"true"`
}

// Certificate is a certificate with its key.
type Certificate struct {
	// Cert is a file with the certificate and its chain, PEM.
	Cert FilePath `yaml:"cert,required"`
	// Key is a file with the private key, PEM.
	Key FilePath `yaml:"key,required"`
}

// ListenerTimeouts are the bounds on how long a client's connection may wait.
type ListenerTimeouts struct {
	// Header bounds the time from the first byte of a request to the end of its header. It also bounds, as a whole, a PROXY protocol header with what
	// stands behind it: the TLS handshake, or the ClientHello that a `tls` listener reads the server name in.
	Header time.Duration `yaml:"header" default:"10s" min:"1ms"`
	// Body bounds the time without a byte of a request body that is not complete.
	Body time.Duration `yaml:"body" default:"30s" min:"1ms"`
	// Idle bounds the time between two requests of a connection. With `proxy_protocol: optional` it also bounds the wait for the first bytes, if it
	// is more than `header`; `tcp` and `tls` listeners know it only there.
	Idle time.Duration `yaml:"idle" default:"60s" min:"1ms"`
	// Write bounds the time without progress of an answer that the client does not read.
	Write time.Duration `yaml:"write" default:"30s" min:"1ms"`
}

// Limits are the bounds on the size of a request and on what a connection may carry.
type Limits struct {
	// Headers is the size of a request's header with its request line. More is answered 431.
	Headers Size `yaml:"headers" default:"64KiB" min:"1KiB" max:"16MiB"`
	// HeaderCount is the number of fields of a request's header. More is answered 431.
	HeaderCount int `yaml:"header_count" default:"100" min:"1" max:"10000"`
	// RequestLine is the size of the request line. More is answered 414.
	RequestLine Size `yaml:"request_line" default:"16KiB" min:"64" max:"16MiB"`
	// Body is the size of a request body. More is answered 413. Bodies are streamed, so a large one costs time and not memory.
	Body Size `yaml:"body,none" default:"1GiB" min:"1"`
	// MinRate is how many bytes of a request body must come each second, on average, once `timeouts.body` has passed since its begin. It ends a
	// body that arrives byte by byte.
	MinRate Size `yaml:"min_rate,none" default:"240" min:"1"`
	// Connections is how many clients may be connected at once; of a `udp` listener, how many it may remember. A further one takes the place of one that is idle; without an idle one it is
	// refused.
	Connections int `yaml:"connections" default:"65536" min:"1" max:"10000000"`
	// PerSource is how many connections one IPv4 address, or one IPv6 network of 64 bits, may have open at once. More are refused.
	PerSource int `yaml:"connections_per_source,none" default:"none" min:"1" max:"10000000"`
	// Requests is how many requests one connection may carry before it is closed.
	Requests int `yaml:"requests,none" default:"none" min:"1"`
	// DrainBody is how much of a request body that nobody read is read to the end so that the connection can go on.
	DrainBody Size `yaml:"drain_body" default:"256KiB" min:"0" max:"1GiB"`
}

// Check reports limits that contradict each other.
func (l *Limits) Check(r *Reporter) {
	if l.RequestLine > l.Headers {
		at := r.At(&l.RequestLine)
		if !r.Set(&l.RequestLine) {
			at = r.At(&l.Headers)
		}
		r.AddSuggest(at, "raise headers or lower request_line",
			"request_line (%s) is more than headers (%s), which counts the request line too", l.RequestLine, l.Headers)
	}
}

// Paths says what happens to spellings of a path that programs read differently.
type Paths struct {
	// Slashes that follow each other are merged into one, kept, or refused with 400.
	Slashes string `yaml:"slashes" default:"merge" enum:"merge keep refuse"`
	// Backslash and `%5C` in a path are refused with 400 or kept.
	Backslash string `yaml:"backslash" default:"refuse" enum:"refuse keep"`
	// EncodedSlash says what happens to `%2F` where reading it as a slash would select another route: it is refused with 400 or kept.
	EncodedSlash string `yaml:"encoded_slash" default:"refuse" enum:"refuse keep"`
}

// RoutePaths overrides the listener's [Paths] for one route. An empty field leaves the listener's word in force.
type RoutePaths struct {
	// Slashes as on the listener.
	Slashes string `yaml:"slashes" enum:"merge keep refuse"`
	// Backslash as on the listener.
	Backslash string `yaml:"backslash" enum:"refuse keep"`
	// EncodedSlash as on the listener; `keep` trusts the route's backend to read it as it was meant.
	EncodedSlash string `yaml:"encoded_slash" enum:"refuse keep"`
}
