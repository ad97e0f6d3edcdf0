package config

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Backend is a named group of interchangeable endpoints.
type Backend struct {
	// Name under which the backend stands in the file.
	Name string `yaml:",key" check:"name"`
	// Pos is the place of the name.
	Pos Pos `yaml:"-"`

	// Balance is how an endpoint is picked for a request.
	Balance Balance `yaml:"balance"`
	// Endpoints are the addresses of the backend, each as `host:port` or as a map.
	Endpoints []Endpoint `yaml:"endpoints,required" max:"100000"`
	// Health sets how failing endpoints are found and left out.
	Health Health `yaml:"health"`
	// Connections to the endpoints, and the queue for when they are all taken.
	Connections Connections `yaml:"connections"`
	// Session sends a client that comes back to the endpoint that it had before, by a cookie. It comes before `balance`.
	Session *Session `yaml:"session"`
	// TLS encrypts the connections to the endpoints.
	TLS *BackendTLS `yaml:"tls"`
	// ProxyProtocol tells each endpoint the client's address in a PROXY protocol header of this version, at the begin of every connection. An
	// HTTP connection then serves one client only.
	ProxyProtocol string `yaml:"proxy_protocol" default:"off" enum:"off v1 v2"`
	// Timeouts of a request to an endpoint.
	Timeouts BackendTimeouts `yaml:"timeouts"`
	// Limits of an answer.
	Limits BackendLimits `yaml:"limits"`
	// Retries sets when a failed request is sent once more.
	Retries Retries `yaml:"retries"`
	// Hedge sends a slow request a second time, to another endpoint, and takes the answer that comes first.
	Hedge *Hedge `yaml:"hedge"`
	// Panic is the share of endpoints that must be down for all of them to be used again, in the hope that the checks are wrong.
	// With `0%` a backend without a healthy endpoint answers 503.
	Panic Share `yaml:"panic" default:"50%"`
}

// Check reports endpoints that occur twice, a backend that can get no traffic, and settings that contradict each other.
func (b *Backend) Check(r *Reporter) {
	seen := make(map[string]int, len(b.Endpoints))
	weight := 0
	for i := range b.Endpoints {
		e := &b.Endpoints[i]
		weight += e.Weight
		id, at := e.identity()
		if id == "" {
			continue // reported where it stands
		}
		if first, ok := seen[id]; ok {
			r.AddSuggest(r.At(at), "use weight to send it more", "endpoint %s is written twice, first on line %d", id, b.Endpoints[first].Pos.Line)
			continue
		}
		seen[id] = i
	}
	switch {
	case len(b.Endpoints) == 0 && r.Set(&b.Endpoints):
		r.Warn(r.At(&b.Endpoints), "backend %q has no endpoint: every request to it is answered 503", b.Name)
	case len(b.Endpoints) > 0 && weight == 0:
		r.Add(r.At(&b.Endpoints), "all endpoints of backend %q have weight 0, so none can be picked", b.Name)
	}
}

// Algorithms of Balance.
const (
	BalanceRoundRobin       = "round_robin"
	BalanceRandom           = "random"
	BalanceLeastRequest     = "least_request"
	BalanceLeastConnections = "least_connections"
	BalanceLeastLatency     = "least_latency"
	BalanceRingHash         = "ring_hash"
	BalanceMaglev           = "maglev"
	BalanceRendezvous       = "rendezvous"
)

// Balance is how an endpoint is picked for a request.
type Balance struct {
	// Algorithm: `round_robin` takes turns by weight, `random` draws by weight, `least_request` takes the endpoint with the fewest requests
	// in flight for its weight, `least_connections` that with the fewest connections (layer 4), `least_latency` that with the least expected
	// time to answer; `ring_hash`, `maglev` and `rendezvous` send equal keys to the same endpoint.
	Algorithm string `yaml:"algorithm,short" default:"least_request" enum:"round_robin random least_request least_connections least_latency ring_hash maglev rendezvous"`
	// Key is the expression whose value the hashing algorithms go by, such as `client.ip`, `request.path` or `request.headers["x-user"]`. A
	// request without the value is sent to an endpoint drawn by weight. On TCP, TLS and UDP listeners only `client.ip` is known.
	Key string `yaml:"key"`
	// BoundedLoad is how much more than the mean of all an endpoint may have in flight; what a hashing algorithm would send beyond goes to the
	// next endpoint in the key's order. Without it a popular key can overload its endpoint.
	BoundedLoad Share `yaml:"bounded_load,none" default:"none" min:"1%"`
	// SlowStart is the time over which the weight of an endpoint grows from a tenth to all of it, after it became healthy or was added to a
	// backend that is running.
	SlowStart time.Duration `yaml:"slow_start,none" default:"none" min:"1ms"`
}

// Hashes reports whether the algorithm goes by the key.
func (b *Balance) Hashes() bool {
	return b.Algorithm == BalanceRingHash || b.Algorithm == BalanceMaglev || b.Algorithm == BalanceRendezvous
}

// Check reports a key that is missing, or without a meaning.
func (b *Balance) Check(r *Reporter) {
	switch {
	case b.Hashes() && b.Key == "" && !r.Set(&b.Key):
		r.AddSuggest(r.At(&b.Algorithm), "add key: client.ip", "algorithm: %s needs a key to go by", b.Algorithm)
	case b.Hashes() && b.Key == "":
		r.AddSuggest(r.At(&b.Key), "write key: client.ip", "key: the expression is empty")
	case !b.Hashes() && r.Set(&b.Key):
		r.AddSuggest(r.At(&b.Key), "use ring_hash, maglev or rendezvous", "key: the algorithm %s goes by no key", b.Algorithm)
	}
	if !b.Hashes() && b.BoundedLoad > 0 {
		r.AddSuggest(r.At(&b.BoundedLoad), "use ring_hash, maglev or rendezvous", "bounded_load: the algorithm %s needs no bound", b.Algorithm)
	}
}

// Endpoint is one address of a backend, or a name under which addresses are looked up. Exactly one of `address`, `dns` and `srv` is there.
type Endpoint struct {
	// Address as `host:port`.
	Address Address `yaml:"address,short"`
	// Pos is the place of the endpoint.
	Pos Pos `yaml:"-"`
	// DNS is a name whose A and AAAA records are all endpoints, with `port`. It is looked up anew when its records expire. The last good
	// answer stays in force while there is no other.
	DNS string `yaml:"dns" check:"dnsname"`
	// Port of the addresses found by `dns`.
	Port int `yaml:"port" min:"1" max:"65535"`
	// SRV is a name whose SRV records are endpoints, as `_https._tcp.shop.example`, with their ports, priorities and weights.
	SRV string `yaml:"srv" check:"dnsname"`
	// Resolver is the `host:port` of the DNS server that is asked. The default is the system's.
	Resolver Address `yaml:"resolver"`
	// MinTTL is the shortest time that an answer of the resolver is used for, whatever its own time.
	MinTTL time.Duration `yaml:"min_ttl" default:"1s" min:"100ms"`
	// MaxTTL is the longest.
	MaxTTL time.Duration `yaml:"max_ttl" default:"5m" min:"100ms"`
	// Weight is the endpoint's part of the traffic against the others'. With 0 it gets none. Weights of SRV records are multiplied by it.
	Weight int `yaml:"weight" default:"1" min:"0" max:"65535"`
	// Priority 0 is used first; the next one gets what is missing when less than 70 % of the endpoints of one are healthy. Priorities of SRV
	// records are counted from it.
	Priority int `yaml:"priority" default:"0" min:"0" max:"15"`
}

// identity is what no other endpoint of the backend may be, and where it stands.
func (e *Endpoint) identity() (id string, at any) {
	switch {
	case e.Address != "":
		return string(e.Address), &e.Address
	case e.DNS != "" && e.Port != 0:
		return fmt.Sprintf("%s:%d", e.DNS, e.Port), &e.DNS
	case e.SRV != "":
		return e.SRV, &e.SRV
	}
	return "", nil
}

// Check reports an address that cannot be connected to, and what does not belong together.
func (e *Endpoint) Check(r *Reporter) {
	kinds := 0
	for _, at := range []any{&e.Address, &e.DNS, &e.SRV} {
		if r.Set(at) {
			kinds++
		}
	}
	switch {
	case kinds == 0:
		r.AddSuggest(e.Pos, "add address: HOST:PORT", "an endpoint needs one of address, dns, srv")
	case kinds > 1:
		r.AddSuggest(e.Pos, "write an endpoint of its own for each", "an endpoint has one of address, dns, srv, and not %d", kinds)
	}
	e.checkAddress(r)
	if e.DNS != "" && e.Port == 0 && !r.Set(&e.Port) {
		r.AddSuggest(r.At(&e.DNS), "add port: 8080", "dns: the port of the addresses is missing")
	}
	if !r.Set(&e.DNS) && r.Set(&e.Port) {
		r.Add(r.At(&e.Port), "port: belongs to dns")
	}
	if !r.Set(&e.DNS) && !r.Set(&e.SRV) {
		for _, f := range []struct {
			at   any
			name string
		}{{&e.Resolver, "resolver"}, {&e.MinTTL, "min_ttl"}, {&e.MaxTTL, "max_ttl"}} {
			if r.Set(f.at) {
				r.Add(r.At(f.at), "%s: belongs to dns and srv", f.name)
			}
		}
	}
	if e.Resolver != "" && (e.Resolver.Host() == "" || e.Resolver.Port() == 0) {
		r.AddSuggest(r.At(&e.Resolver), "write 127.0.0.1:53", "resolver: a resolver needs a host and a port")
	}
	if e.MinTTL > e.MaxTTL {
		r.Add(r.At(e.ttlAt(r)), "min_ttl (%s) is more than max_ttl (%s)", e.MinTTL, e.MaxTTL)
	}
}

func (e *Endpoint) ttlAt(r *Reporter) any {
	if r.Set(&e.MinTTL) {
		return &e.MinTTL
	}
	return &e.MaxTTL
}

// checkAddress reports an address that can never work.
func (e *Endpoint) checkAddress(r *Reporter) {
	if e.Address == "" {
		return
	}
	host := e.Address.Host()
	ip, err := netip.ParseAddr(host)
	switch {
	case host == "":
		r.AddSuggest(r.At(&e.Address), "write 127.0.0.1"+string(e.Address), "address: an endpoint needs a host")
	case e.Address.Port() == 0:
		r.Add(r.At(&e.Address), "address: port 0 cannot be connected to")
	case err != nil: // a name
	case ip.IsUnspecified():
		r.AddSuggest(r.At(&e.Address), fmt.Sprintf("write 127.0.0.1:%d", e.Address.Port()), "address: %s stands for all addresses of a machine, and cannot be connected to", host)
	case ip.IsMulticast(), ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		r.Add(r.At(&e.Address), "address: %s is an address of many machines, and cannot be connected to", host)
	}
}

// Connections bound what the endpoints have to do at once, and keep unused connections to them.
type Connections struct {
	// Max is how many requests (layer 4: connections) may be in flight to one endpoint. Further ones wait in the queue.
	Max int `yaml:"max,none" default:"none" min:"1" max:"10000000"`
	// Queue is how many requests may wait for an endpoint of the backend as a whole. With 0 none waits. A further one is answered 503.
	Queue int `yaml:"queue" default:"100" min:"0" max:"1000000"`
	// QueueTimeout is how long a request may wait. Under lasting overload it is less: then the newest are served first, and those that have
	// waited for long are answered 503 early.
	QueueTimeout time.Duration `yaml:"queue_timeout" default:"1s" min:"1ms"`
	// Idle is how long an unused connection is kept. One that its endpoint is about to close is not used for requests that cannot be repeated.
	Idle time.Duration `yaml:"idle" default:"60s" min:"1ms"`
	// MaxIdle is how many unused connections are kept for each endpoint. With 0 every request has its own.
	MaxIdle int `yaml:"max_idle" default:"1024" min:"0" max:"1000000"`
}

// Check reports a queue that nothing can ever wait in.
func (c *Connections) Check(r *Reporter) {
	if c.Max == 0 && (r.Set(&c.Queue) || r.Set(&c.QueueTimeout)) && !r.Set(&c.Max) {
		r.AddSuggest(r.At(c), "add max: 500", "connections: nothing waits in a queue while the endpoints have no max")
	}
}

// Session sends a client that comes back to the endpoint that it had before. The cookie's value is opaque; it stays valid over reloads and when
// other endpoints come and go. A client whose endpoint is gone or down gets another one, and a new cookie.
type Session struct {
	// Cookie is the name of the cookie.
	Cookie string `yaml:"cookie,required,short" check:"token"`
	// Secret is what the values are made from; instances with the same secret know each other's cookies. The default is a secret in the
	// directory `state`, or, without that, one that is made when the program starts.
	Secret string `yaml:"secret"`
}

// Check reports a secret that can be guessed.
func (s *Session) Check(r *Reporter) {
	if r.Set(&s.Secret) && len(s.Secret) < 16 {
		r.AddSuggest(r.At(&s.Secret), "write secret: ${file:PATH} or ${env:NAME} with at least 16 bytes", "secret: it is shorter than 16 bytes")
	}
}

// BackendTLS encrypts the connections to the endpoints and makes sure who they are.
type BackendTLS struct {
	// ServerName is the name that an endpoint's certificate must have, and that it is asked for by SNI. The default is the host of the
	// endpoint's address, or the name that it was looked up under.
	ServerName string `yaml:"server_name" check:"dnsname"`
	// CA is a file with the certificates that sign those of the endpoints, PEM. The default are the system's.
	CA FilePath `yaml:"ca"`
	// Cert is a file with the certificate that endpoints are shown if they ask for one, PEM. Changes of the three files are taken over by a
	// reload.
	Cert FilePath `yaml:"cert"`
	// Key is a file with the key of `cert`, PEM.
	Key FilePath `yaml:"key"`
	// Verify is false for endpoints whose certificates are not looked at: then anyone on the way can be the endpoint.
	Verify bool `yaml:"verify" default:"true"`
	// MinVersion is the oldest version of TLS that is accepted.
	MinVersion string `yaml:"min_version" default:"1.2" enum:"1.2 1.3"`
}

// Check reports half a certificate, and warns of endpoints that are not verified.
func (t *BackendTLS) Check(r *Reporter) {
	switch {
	case t.Cert != "" && t.Key == "" && !r.Set(&t.Key):
		r.AddSuggest(r.At(&t.Cert), "add key: FILE", "cert: its key is missing")
	case t.Key != "" && t.Cert == "" && !r.Set(&t.Cert):
		r.AddSuggest(r.At(&t.Key), "add cert: FILE", "key: its cert is missing")
	}
	if !t.Verify {
		r.Warn(r.At(&t.Verify), "verify: false lets anyone on the way stand in for the endpoints")
		if r.Set(&t.CA) {
			r.Add(r.At(&t.CA), "ca: has no meaning with verify: false")
		}
	}
}

// Hedge sends a slow request a second time. Only GET, HEAD and OPTIONS without a body are; the slower of the two is cancelled.
type Hedge struct {
	// After is when: a duration, or a percentile from `p50` to `p99` of the times to first byte that the backend had recently, and never
	// less than 5ms.
	After HedgeDelay `yaml:"after,required,short"`
	// Budget bounds the second requests in flight, as a share of the backend's requests in flight; one may always be.
	Budget Share `yaml:"budget" default:"5%" min:"0.1%"`
}

// BackendTimeouts are the bounds on how long a request to an endpoint may wait.
type BackendTimeouts struct {
	// Connect bounds the time to open a connection.
	Connect time.Duration `yaml:"connect" default:"1s" min:"1ms"`
	// FirstByte bounds the time from the end of the sent request to the first byte of the answer.
	FirstByte time.Duration `yaml:"first_byte" default:"30s" min:"1ms"`
	// Idle bounds the time without progress of a running exchange.
	Idle time.Duration `yaml:"idle" default:"5m" min:"1ms"`
}

// BackendLimits are the bounds on the header of an endpoint's answer. What is beyond them is answered 502.
type BackendLimits struct {
	// Headers is the size of an answer's header with its status line.
	Headers Size `yaml:"headers" default:"64KiB" min:"1KiB" max:"16MiB"`
	// HeaderCount is the number of fields of an answer's header.
	HeaderCount int `yaml:"header_count" default:"100" min:"1" max:"10000"`
}

// Retries sets when a failed request is sent once more, to another endpoint if there is one.
type Retries struct {
	// Attempts is how many tries there are besides the first. With 0 there are no retries.
	Attempts int `yaml:"attempts" default:"1" min:"0" max:"10"`
	// On lists what is retried: `connect` (nothing was sent), `reset` (closed before any byte of an answer), `timeout` (no first byte in
	// time), and statuses as `503` or `5xx`. Anything but `connect` only for GET, HEAD, OPTIONS, PUT, DELETE and what `methods` adds.
	On []RetryCause `yaml:"on,single" default:"connect,reset"`
	// PerTryTimeout bounds the time to the first byte of the answer to one try.
	PerTryTimeout time.Duration `yaml:"per_try_timeout,none" default:"none" min:"1ms"`
	// Budget bounds the retries in flight, as a share of the backend's requests in flight.
	Budget Share `yaml:"budget" default:"20%"`
	// Floor is the number of retries that may be in flight whatever the budget.
	Floor int `yaml:"floor" default:"3" min:"0" max:"10000"`
	// Backoff is waited before the second retry and later ones: a random time up to this one, which doubles each time, to ten times at most.
	// The first retry, to another endpoint, goes at once.
	Backoff time.Duration `yaml:"backoff" default:"25ms" min:"0s" max:"10s"`
	// Methods that may be repeated besides GET, HEAD, OPTIONS, PUT and DELETE.
	Methods []string `yaml:"methods,single" check:"method"`
	// MaxBody is how much of a request body is kept for a retry. A request whose body is larger is sent once.
	MaxBody Size `yaml:"max_body" default:"64KiB" min:"0" max:"16MiB"`
}

// Health sets how failing endpoints are found and left out.
type Health struct {
	// Active asks each endpoint at an interval. Without it only requests show what is wrong.
	Active *ActiveHealth `yaml:"active"`
	// Outlier leaves an endpoint out for a while that fails requests.
	Outlier Outlier `yaml:"outlier"`
}

// ActiveHealth asks each endpoint at an interval. Exactly one of `http`, `tcp`, `tls` and `udp` is there.
type ActiveHealth struct {
	// HTTP is the path of a GET request whose answer shows whether the endpoint is well. It goes over TLS if the backend does.
	HTTP string `yaml:"http,short" check:"target"`
	// TCP only opens a connection.
	TCP bool `yaml:"tcp"`
	// TLS opens a connection and shakes hands, as the backend's `tls` says; without that no certificate is verified.
	TLS bool `yaml:"tls"`
	// UDP sends a datagram and waits for an answer.
	UDP *UDPHealth `yaml:"udp"`
	// Interval between two checks of an endpoint.
	Interval time.Duration `yaml:"interval" default:"5s" min:"10ms"`
	// DownInterval is the time between two checks of an endpoint that is down or changing. The default is the interval, but at most 1s.
	DownInterval time.Duration `yaml:"down_interval" min:"10ms"`
	// Timeout bounds one check as a whole.
	Timeout time.Duration `yaml:"timeout" default:"1s" min:"1ms"`
	// Rise is how many checks in a row must pass before an endpoint is used again.
	Rise int `yaml:"rise" default:"2" min:"1" max:"1000"`
	// Fall is how many checks in a row must fail before an endpoint is left out; requests that could not connect count as well.
	Fall int `yaml:"fall" default:"3" min:"1" max:"1000"`
	// Status lists the answers that are good: `200`, `2xx` or `200-299`.
	Status []StatusRange `yaml:"status,single" default:"2xx" min:"1"`
	// Body is a text that the first 64 KiB of the answer must contain.
	Body string `yaml:"body"`
	// Host is sent as the field `Host`. The default is the endpoint's address.
	Host string `yaml:"host" check:"authority"`
	// Jitter spreads the checks: the interval varies by this share.
	Jitter Share `yaml:"jitter" default:"10%"`
}

// Kind returns the word of the check's kind: http, tcp, tls or udp.
func (a *ActiveHealth) Kind() string {
	switch {
	case a.TCP:
		return "tcp"
	case a.TLS:
		return "tls"
	case a.UDP != nil:
		return "udp"
	}
	return "http"
}

// Check reports a check of no kind or of several, and settings that only http has.
func (a *ActiveHealth) Check(r *Reporter) {
	a.checkKind(r)
	if !r.Set(&a.DownInterval) {
		a.DownInterval = min(a.Interval, time.Second)
	}
	if a.Timeout > a.Interval {
		at := r.At(&a.Timeout)
		if !r.Set(&a.Timeout) {
			at = r.At(&a.Interval)
		}
		r.Warn(at, "a check may take longer (%s) than the interval between checks (%s)", a.Timeout, a.Interval)
	}
}

func (a *ActiveHealth) checkKind(r *Reporter) {
	var kinds []string
	for _, k := range []struct {
		set  bool
		at   any
		name string
	}{{a.HTTP != "", &a.HTTP, "http"}, {a.TCP, &a.TCP, "tcp"}, {a.TLS, &a.TLS, "tls"}, {a.UDP != nil, &a.UDP, "udp"}} {
		if k.set || r.Set(k.at) {
			kinds = append(kinds, k.name)
		}
	}
	switch {
	case len(kinds) > 1:
		r.AddSuggest(r.At(a), "leave one of them", "an active check has one kind, and not %d: %s", len(kinds), strings.Join(kinds, ", "))
		return
	case len(kinds) == 0:
		r.AddSuggest(r.At(a), "add http: PATH or tcp: true", "an active check has none of http, tcp, tls, udp")
		return
	case kinds[0] == "tcp" && !a.TCP:
		r.AddSuggest(r.At(&a.TCP), "leave out active for no checks", "tcp: can only be true")
	case kinds[0] == "tls" && !a.TLS:
		r.AddSuggest(r.At(&a.TLS), "leave out active for no checks", "tls: can only be true")
	}
	if kinds[0] == "http" {
		return
	}
	var only []string
	for _, f := range []struct {
		at   any
		name string
	}{{&a.Status, "status"}, {&a.Body, "body"}, {&a.Host, "host"}} {
		if r.Set(f.at) {
			only = append(only, f.name)
		}
	}
	if len(only) > 0 {
		r.Add(r.At(a), "%s: has a meaning only with http", strings.Join(only, ", "))
	}
}

// UDPHealth is a question to an endpoint that answers datagrams.
type UDPHealth struct {
	// Send is the datagram: a text, or bytes as `0x` and hexadecimal digits, which may be grouped by spaces.
	Send Payload `yaml:"send,required,short"`
	// Expect is what the answer must contain, written as `send` is. Without it any answer will do.
	Expect Payload `yaml:"expect"`
}

// Outlier leaves an endpoint out for a while that fails requests. Failures are connect errors, timeouts, resets before an answer, and
// the statuses 500, 502, 503 and 504. The last endpoint of a backend is never left out.
type Outlier struct {
	// Consecutive is how many failures in a row it takes. With 0 failures in a row do not count.
	Consecutive int `yaml:"consecutive" default:"5" min:"0" max:"10000"`
	// ErrorRate is the share of an endpoint's requests within `window` that must fail for it to be left out.
	ErrorRate Share `yaml:"error_rate,none" default:"none" min:"1%"`
	// Window is the time that `error_rate` looks back.
	Window time.Duration `yaml:"window" default:"10s" min:"100ms" max:"1h"`
	// MinRequests is how many requests there must have been within the window for `error_rate` to say anything.
	MinRequests int `yaml:"min_requests" default:"20" min:"1" max:"1000000"`
	// Eject is how long the endpoint is left out the first time; it grows by each further time up to ten times.
	Eject time.Duration `yaml:"eject" default:"10s" min:"1ms"`
	// MaxEjected is the largest share of the backend's endpoints that may be left out at once.
	MaxEjected Share `yaml:"max_ejected" default:"50%"`
}

// Check reports what belongs to error_rate and stands without it.
func (o *Outlier) Check(r *Reporter) {
	if o.ErrorRate > 0 || r.Set(&o.ErrorRate) {
		return
	}
	for _, f := range []struct {
		at   any
		name string
	}{{&o.Window, "window"}, {&o.MinRequests, "min_requests"}} {
		if r.Set(f.at) {
			r.AddSuggest(r.At(f.at), "add error_rate: 50%", "%s: belongs to error_rate", f.name)
		}
	}
}
