package http1

import (
	"bytes"

	"github.com/sluice-gateway/sluice/message"
)

// requestParser reads one request head as it arrives. The zero value is ready.
type requestParser struct {
	at     int // offset of the line to look at next
	lines  int // complete lines so far, the request line included
	end    int // length of the head, 0 while it is incomplete
	target [2]int
	method int // length of the method; the request line begins at skip
	skip   int // leading empty lines (RFC 9112 section 2.2)

	hosts      int
	lengths    int
	length     int64
	encodings  int
	expect     bool
	connection connectionOptions
	te         bool
	aliases    int // fields removed because their name imitates one that the proxy sets
}

// parse looks at the lines of b that are complete. It returns a reason if the head is refused;
// done is true when the head is complete, which is then p.end bytes long.
func (p *requestParser) parse(b []byte, x *message.Exchange, o *ServerOptions) (done bool, reason message.Reason) {
	for {
		end, reason := nextLine(b, p.at)
		if end < 0 {
			return false, p.checkSize(len(b), o)
		}
		if reason != message.ReasonNone {
			return false, reason
		}
		at, cr := p.at, end-1
		p.at = end + 1
		switch {
		case p.lines == 0 && at == cr:
			if p.skip = p.at; p.skip > 4 {
				return false, message.RequestLineInvalid
			}
			continue
		case p.lines == 0:
			reason = p.requestLine(b[at:cr], x, o)
		case at == cr:
			if p.at > o.MaxHeader {
				return false, message.HeaderTooLarge
			}
			p.end = p.at
			x.Request.Header.Append(b[:p.end])
			return true, message.ReasonNone
		default:
			reason = p.field(b, at, cr, x, o)
		}
		if reason != message.ReasonNone {
			return false, reason
		}
		p.lines++
	}
}

// checkSize refuses an incomplete head that is already too large.
func (p *requestParser) checkSize(n int, o *ServerOptions) message.Reason {
	if p.lines == 0 && n-p.at > o.MaxRequestLine {
		return message.RequestLineTooLong
	}
	if n >= o.MaxHeader {
		return message.HeaderTooLarge
	}
	return message.ReasonNone
}

func (p *requestParser) requestLine(l []byte, x *message.Exchange, o *ServerOptions) message.Reason {
	if len(l) > o.MaxRequestLine {
		return message.RequestLineTooLong
	}
	m := bytes.IndexByte(l, ' ')
	if m <= 0 {
		return message.RequestLineInvalid
	}
	t := bytes.IndexByte(l[m+1:], ' ')
	if t <= 0 {
		return message.RequestLineInvalid
	}
	t += m + 1
	proto, ok := parseVersion(l[t+1:])
	if !ok {
		return message.RequestLineInvalid
	}
	if proto == message.ProtocolUnknown {
		return message.VersionUnsupported
	}
	if !message.ValidToken(l[:m]) || m > 32 {
		return message.MethodInvalid
	}
	x.Request.Protocol = proto
	p.method = m
	p.target = [2]int{p.skip + m + 1, p.skip + t}
	return message.ReasonNone
}

// field enters the line b[at:cr] into the header and notes what decides framing.
func (p *requestParser) field(b []byte, at, cr int, x *message.Exchange, o *ServerOptions) message.Reason {
	if p.lines > o.MaxHeaderCount {
		return message.HeaderTooMany
	}
	f, reason := parseField(b, at, cr)
	if reason != message.ReasonNone {
		return reason
	}
	if message.ClientMayNotSend(f.id, b[at:at+f.nameLen]) && (!o.Identity || f.id == 0 || f.id.Flags()&message.FlagIdentity == 0) {
		p.aliases++
		return message.ReasonNone
	}
	if f.id != 0 && f.id.Flags()&(message.FlagFraming|message.FlagSingle) != 0 {
		// A tab beside the value is white space by RFC 9110 section 5.6.3, but some servers take it for a part of the coding and
		// see a body of another length.
		if f.id == message.TransferEncoding && bytes.IndexByte(b[at:cr], '\t') >= 0 {
			return message.TransferEncodingInvalid
		}
		if reason := p.framing(f.id, b[f.value:f.value+f.valueLen]); reason != message.ReasonNone {
			return reason
		}
	}
	f.enter(&x.Request.Header, b, at, cr)
	return message.ReasonNone
}

func (p *requestParser) framing(id message.ID, v []byte) message.Reason {
	switch id {
	case message.Host:
		p.hosts++
		if p.hosts > 1 {
			return message.HostInvalid
		}
	case message.ContentLength:
		n, ok := parseLength(v)
		if !ok {
			return message.LengthInvalid
		}
		if p.lengths++; p.lengths > 1 {
			return message.LengthConflict
		}
		p.length = n
	case message.TransferEncoding:
		if p.encodings++; p.encodings > 1 || !message.EqualFold(v, "chunked") {
			return message.TransferEncodingInvalid
		}
	case message.Connection:
		p.connection.read(v)
	case message.TE:
		for rest := v; ; {
			token, r, ok := message.NextElement(rest)
			if !ok {
				break
			}
			p.te = p.te || message.EqualFold(token, "trailers")
			rest = r
		}
	case message.Expect:
		if !message.EqualFold(v, "100-continue") {
			return message.ExpectationUnsupported
		}
		p.expect = true
	}
	return message.ReasonNone
}

// finish checks the head as a whole and fills x.Request. b is the head.
func (p *requestParser) finish(b []byte, x *message.Exchange, o *ServerOptions) message.Reason {
	r := &x.Request
	head := x.Keep(b[p.skip:p.target[1]]) // method and target outlive the read buffer
	r.Method = message.MethodOf(head[:p.method])
	r.Scheme = o.Scheme
	r.WantsTrailers = p.te
	if reason := p.bodyLength(r); reason != message.ReasonNone {
		return reason
	}
	target := head[p.target[0]-p.skip:]
	if reason := p.readTarget(target, x, o); reason != message.ReasonNone {
		return reason
	}
	if p.connection.fields && !removeConnectionFields(&r.Header) {
		return message.HeaderTooMany
	}
	if p.connection.upgrade && r.Header.Has(message.Upgrade) && r.Length == 0 && r.Protocol == message.HTTP11 {
		return readUpgrade(r, o)
	}
	return message.ReasonNone
}

// bodyLength applies RFC 9112 section 6.3 to a request.
func (p *requestParser) bodyLength(r *message.Request) message.Reason {
	switch {
	case p.encodings > 0 && p.lengths > 0:
		return message.LengthConflict
	case p.encodings > 0:
		if r.Protocol == message.HTTP10 {
			return message.TransferEncodingInvalid
		}
		r.Length = message.LengthUnknown
	default:
		r.Length = p.length
	}
	return message.ReasonNone
}

func (p *requestParser) readTarget(target []byte, x *message.Exchange, o *ServerOptions) message.Reason {
	r := &x.Request
	authority := r.Header.Get(message.Host)
	if r.Method.Known == message.CONNECT {
		return message.MethodNotSupported
	}
	switch {
	case target[0] == '/':
	case len(target) == 1 && target[0] == '*':
		if r.Method.Known != message.OPTIONS {
			return message.PathInvalid
		}
	default:
		var ok bool
		if authority, target, ok = absoluteForm(target); !ok {
			return message.RequestLineInvalid
		}
		r.Header.Remove(message.Host.Name())
		r.Header.Add(message.Host.Name(), authority) // RFC 9112 section 3.2.2: the target wins
	}
	if authority == nil && r.Protocol == message.HTTP11 {
		return message.HostInvalid
	}
	if authority != nil {
		if reason := o.readAuthority(authority, x); reason != message.ReasonNone {
			return reason
		}
	}
	return o.readPath(target, x)
}

// absoluteForm splits "http://authority/path". A missing path is "/" (RFC 9112 section 3.2.1).
func absoluteForm(t []byte) (authority, path []byte, ok bool) {
	n := bytes.Index(t, []byte("://"))
	if n < 0 || !message.EqualFold(t[:n], "http") && !message.EqualFold(t[:n], "https") {
		return nil, nil, false
	}
	rest := t[n+3:]
	if e := bytes.IndexAny(rest, "/?"); e >= 0 {
		authority, path = rest[:e], rest[e:]
	} else {
		authority, path = rest, []byte("/")
	}
	if path[0] == '?' {
		return authority, append([]byte("/"), path...), true // rare: an allocation is fine
	}
	return authority, path, true
}

// readAuthority fills host and port.
func (o *ServerOptions) readAuthority(authority []byte, x *message.Exchange) message.Reason {
	host, port, reason := message.ParseAuthority(x.Scratch(), authority)
	if reason != message.ReasonNone {
		if !o.Warn || host == nil {
			return reason
		}
		o.warned(x, reason)
	}
	if len(host) > 0 {
		x.Request.Host = x.KeepScratch(host)
	}
	x.Request.Port = port
	return message.ReasonNone
}

// readPath makes the one canonical reading of path and query.
func (o *ServerOptions) readPath(target []byte, x *message.Exchange) message.Reason {
	r := &x.Request
	path := target
	if q := bytes.IndexByte(target, '?'); q >= 0 {
		path, r.Query = target[:q], target[q+1:]
		if reason := message.CheckQuery(r.Query); reason != message.ReasonNone {
			return reason
		}
	}
	r.RawPath = path
	if path[0] != '/' {
		r.Path = path // "*"
		return message.ReasonNone
	}
	out, slash, reason := message.AppendPath(x.Scratch(), path, o.Paths)
	if reason != message.ReasonNone {
		if !o.Warn || out == nil {
			return reason
		}
		o.warned(x, reason)
	}
	r.Path, r.HasSlash = x.KeepScratch(out), slash
	return message.ReasonNone
}

// readUpgrade keeps an Upgrade that the listener permits. Others are dropped: the field is
// hop-by-hop, and what a backend does not see it cannot switch to.
func readUpgrade(r *message.Request, o *ServerOptions) message.Reason {
	h := &r.Header
	if h.Count(message.Upgrade) > 1 {
		return message.UpgradeInvalid
	}
	protocol := h.Get(message.Upgrade)
	for _, permitted := range o.Upgrade {
		if !message.EqualFold(protocol, permitted) {
			continue
		}
		if permitted == "websocket" {
			if reason := checkWebSocket(r); reason != message.ReasonNone {
				return reason
			}
		}
		r.Upgrade = protocol
		return message.ReasonNone
	}
	return message.ReasonNone
}

// checkWebSocket checks the client's opening handshake (RFC 6455 section 4.1).
func checkWebSocket(r *message.Request) message.Reason {
	h := &r.Header
	key := h.Get(message.SecWebSocketKey)
	if r.Method.Known != message.GET || h.Count(message.SecWebSocketKey) != 1 || len(key) != 24 ||
		string(key[22:]) != "==" || string(h.Get(message.SecWebSocketVersion)) != "13" {
		return message.UpgradeInvalid
	}
	for _, c := range key[:22] {
		if !(isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'z' || c == '+' || c == '/') {
			return message.UpgradeInvalid
		}
	}
	return message.ReasonNone
}
