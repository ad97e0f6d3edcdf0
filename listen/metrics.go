package listen

import "github.com/sluice-gateway/sluice/metric"

// Metrics are the handles that a listener counts with. A nil handle counts nothing.
type Metrics struct {
	Open     *metric.Gauge   // connections open now
	Accepted *metric.Counter // connections accepted, those refused at once not counted

	TooMany       *metric.Counter // refused because Options.MaxConnections were open
	TooManySource *metric.Counter // refused because Options.MaxPerSource of one client were open
	AcceptFailed  *metric.Counter // the system could not give the connection, as for lack of file descriptors

	ProxyAccepted  *metric.Counter // PROXY headers taken over
	ProxyUntrusted *metric.Counter // refused because the sender of a PROXY header is not trusted
	ProxyMissing   *metric.Counter // refused because there was no PROXY header
	ProxyInvalid   *metric.Counter // refused because the PROXY header was malformed
	ProxyTimeout   *metric.Counter // ended because the first bytes, or the PROXY header, did not come in time

	Handshakes       *metric.Counter // TLS handshakes completed anew
	Resumed          *metric.Counter // TLS handshakes that resumed a session
	HandshakeFailed  *metric.Counter // the two sides did not agree, or the client does not speak TLS
	HandshakeTimeout *metric.Counter // Options.HandshakeTimeout ran out
	HandshakeClosed  *metric.Counter // the client left, as port scanners and TCP health checks do

	Reclaimed *metric.Counter // idle connections closed early to make room for new ones
	Panicked  *metric.Counter // connections ended by a panic, which is a bug
}

// NewMetrics resolves the handles of a listener by its name. Reclaimed and Panicked belong to no family; whoever wants to show them reads
// their values. A nil scope counts nothing but these two.
func NewMetrics(scope *metric.Scope, listener string) *Metrics {
	return &Metrics{
		Open:             scope.Gauge(metric.Connections, listener),
		Accepted:         scope.Counter(metric.ConnectionsTotal, listener),
		TooMany:          scope.Counter(metric.ConnectionsRefused, listener, "too_many_connections"),
		TooManySource:    scope.Counter(metric.ConnectionsRefused, listener, "too_many_from_source"),
		AcceptFailed:     scope.Counter(metric.ConnectionsRefused, listener, "accept_failed"),
		ProxyAccepted:    scope.Counter(metric.ProxyHeaders, listener),
		ProxyUntrusted:   scope.Counter(metric.ConnectionsRefused, listener, "proxy_header_untrusted"),
		ProxyMissing:     scope.Counter(metric.ConnectionsRefused, listener, "proxy_header_missing"),
		ProxyInvalid:     scope.Counter(metric.ConnectionsRefused, listener, "proxy_header_invalid"),
		ProxyTimeout:     scope.Counter(metric.ConnectionsRefused, listener, "proxy_header_timeout"),
		Handshakes:       scope.Counter(metric.TLSHandshakes, listener, "ok"),
		Resumed:          scope.Counter(metric.TLSHandshakes, listener, "resumed"),
		HandshakeFailed:  scope.Counter(metric.TLSHandshakes, listener, "failed"),
		HandshakeTimeout: scope.Counter(metric.TLSHandshakes, listener, "timeout"),
		HandshakeClosed:  scope.Counter(metric.TLSHandshakes, listener, "closed"),
		Reclaimed:        metric.NewCounter(1),
		Panicked:         metric.NewCounter(1),
	}
}
