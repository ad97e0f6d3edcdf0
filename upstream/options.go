package upstream

import (
	"crypto/tls"
	"fmt"
	"net"
	"time"

	"github.com/sluice-gateway/sluice/balance"
	"github.com/sluice-gateway/sluice/discovery"
	"github.com/sluice-gateway/sluice/expr"
)

// Options are the settings of one generation of a backend. FromConfig makes them from a configuration; Default has the defaults.
type Options struct {
	Name      string
	Protocol  string // a word of transports.go
	Algorithm string // a word of balance.Names
	// Key is what hashing algorithms go by; nil for the address of a client of layer 4, and for algorithms that hash nothing.
	Key *expr.Program
	// BoundedLoad is how much of the mean load an endpoint may have under a hashing algorithm, 1.25 for a quarter more; 0 for no bound.
	BoundedLoad float64
	// SlowStart is the time over which the weight of an endpoint grows that has come to a running backend, or become well; 0 for none.
	SlowStart time.Duration
	Endpoints []EndpointOptions
	// Running says that the generation before had a backend of the name: endpoints that this one adds are new to their work.
	Running bool
	// Session keeps clients at their endpoints; nil for not.
	Session *SessionOptions
	// Panic is the share of endpoints, 0 to 1, above which so many are down that the checks are doubted and all endpoints are used;
	// they are used as well when all are down. With 0 only healthy endpoints ever are.
	Panic   float64
	Check   *CheckOptions // nil: no active checks
	Outlier OutlierOptions
	Retry   RetryOptions
	Hedge   *HedgeOptions // nil: no request is sent twice because it is slow

	// MaxInFlight bounds the requests (layer 4: connections) of one endpoint, and Queue those that wait for the backend as a whole, each no longer
	// than QueueTimeout. With MaxInFlight 0 there is no bound, and nothing waits.
	MaxInFlight  int
	Queue        int
	QueueTimeout time.Duration

	TLS           *TLSOptions // nil: plain connections
	ProxyProtocol int         // version of the header that connections begin with, 1 or 2; 0 for none

	Connect   time.Duration // bounds the opening of a connection
	FirstByte time.Duration // bounds the wait for an answer to a request that was sent
	Progress  time.Duration // bounds the time without a byte in a running exchange
	Idle      time.Duration // how long an unused connection is kept
	MaxIdle   int           // how many unused connections are kept for each endpoint

	MaxHeader      int // bytes of the head of an answer
	MaxHeaderCount int // fields of the head of an answer
}

// EndpointOptions are an endpoint's own settings.
type EndpointOptions struct {
	Address  string // host:port; "" where Source is set
	Weight   int    // 0 to 65535; with 0 the endpoint gets nothing. Weights that Source finds are multiplied by it.
	Priority int    // 0 is used first; priorities that Source finds are counted from it
	Source   Source // finds the addresses; nil for the one in Address
}

// Source finds the addresses of endpoints while the program runs. *discovery.Watcher is one.
type Source interface {
	// Current returns what was found last; false if nothing ever was.
	Current() (found []discovery.Found, known bool)
	// Subscribe calls f for every change from now on, one after the other. f has returned for the last time when cancel returns.
	Subscribe(f func(found []discovery.Found)) (cancel func())
	// First is closed after the first answer, or the first failure.
	First() <-chan struct{}
}

// SessionOptions are the settings of session cookies.
type SessionOptions struct {
	Cookie string // its name
	Secret []byte // the values are made from it and the endpoint's address
}

// HedgeOptions are the settings of hedged requests.
type HedgeOptions struct {
	After      time.Duration // 0 for Percentile
	Percentile int           // of the recent times to first byte, 50 to 99
	Budget     float64       // share of the requests in flight; one may always be
}

// TLSOptions are the settings of TLS towards endpoints. Two that are equal make equal connections.
type TLSOptions struct {
	ServerName string // "" for the host of the endpoint, or the name it was found under
	CA         string // file; "" for the system's
	Cert, Key  string // files of the certificate that endpoints are shown; "" for none
	Insecure   bool   // nothing is verified
	TLS13      bool   // nothing older is accepted
	// Digest is of the content of the files, so that a reload notices new ones.
	Digest [32]byte
	// Files is what the files hold, read once for all endpoints; nil for endpoints to read them.
	Files *tls.Config
}

// CheckOptions are the settings of active health checks.
type CheckOptions struct {
	Kind     string // a word of checks.go
	Send     string // udp: the datagram
	Expect   string // udp: what the answer must contain; "" means anything
	Path     string // http: target of the GET request
	Host     string // http: the field Host; "" means the endpoint's address
	Statuses []StatusRange
	Body     string // http: what the first 64 KiB of the answer must contain; "" means anything
	// ProxyProtocol is the version of the header that the check's connections begin with, 0 for none.
	ProxyProtocol int
	Interval      time.Duration
	// DownInterval is the time between checks of an endpoint that is down, or about to change.
	DownInterval time.Duration
	Timeout      time.Duration // bounds one check as a whole
	Rise         int           // checks in a row that must pass before an endpoint is used again
	Fall         int           // checks and connections in a row that must fail before it is left out
	Jitter       float64       // share by which the interval varies to both sides, 0 to 1
}

// StatusRange is a range of status codes, both ends included.
type StatusRange struct{ Low, High int }

// OutlierOptions are the settings of passive ejection.
type OutlierOptions struct {
	Consecutive int           // failures in a row; 0: they do not count
	ErrorRate   float64       // share of the requests within Window that must fail, 0 to 1; 0: it does not count
	Window      time.Duration // that ErrorRate looks back
	MinRequests int           // within Window, for ErrorRate to say anything
	Eject       time.Duration // how long the first time; the n-th time in a row n times as long, up to ten
	MaxEjected  float64       // largest share of endpoints ejected at once, 0 to 1; one may always be, the last usable one never
}

// RetryOptions say when a failed request is sent again.
type RetryOptions struct {
	Attempts int  // besides the first; 0 turns retries off
	Connect  bool // nothing was sent
	Reset    bool // closed before any byte of an answer
	Timeout  bool // no first byte in time
	Statuses []StatusRange
	PerTry   time.Duration // bounds one try up to the head of the answer; 0 means no bound
	// Budget bounds the retries under way as a share of the backend's requests in flight. Retries of requests of which nothing was sent,
	// because no connection could be made, cost nothing.
	Budget float64
	Floor  int // retries that may be in flight whatever the budget
	// Backoff is waited before the second retry and later ones: a random time up to it, doubling each time, to ten times at most.
	Backoff time.Duration
	Methods []string // may be repeated besides GET, HEAD, OPTIONS, PUT and DELETE
	MaxBody int64    // bytes of a request body that are kept for a retry
	// MaxKept bounds the bytes of request bodies that the backend keeps for retries, all requests together.
	MaxKept int64
}

// DefaultMaxKept is the memory that one backend may use for request bodies that could be repeated.
const DefaultMaxKept = 64 << 20

// Default returns the defaults of a backend, without a name and endpoints.
func Default() Options {
	return Options{
		Protocol:  "http1",
		Algorithm: balance.Default,
		Panic:     0.5,
		Outlier:   OutlierOptions{Consecutive: 5, Window: 10 * time.Second, MinRequests: 20, Eject: 10 * time.Second, MaxEjected: 0.5},
		Retry: RetryOptions{
			Attempts: 1, Connect: true, Reset: true, Budget: 0.2, Floor: 3, Backoff: 25 * time.Millisecond, MaxBody: 64 << 10, MaxKept: DefaultMaxKept,
		},
		Queue: 100, QueueTimeout: time.Second,
		Connect:   time.Second,
		FirstByte: 30 * time.Second,
		Progress:  5 * time.Minute,
		Idle:      time.Minute,
		MaxIdle:   1024,

		MaxHeader: 64 << 10, MaxHeaderCount: 100,
	}
}

// Transport returns the transport settings of an endpoint at an address that was found under host, which may be "".
func (o *Options) Transport(address, host string) TransportOptions {
	t := TransportOptions{
		Protocol: o.Protocol, Address: address,
		Connect: o.Connect, Idle: o.Idle, Progress: o.Progress, MaxIdle: o.MaxIdle,
		MaxHeader: o.MaxHeader, MaxHeaderCount: o.MaxHeaderCount,
	}
	if o.TLS != nil {
		t.Secure, t.TLS = true, *o.TLS
		if t.TLS.ServerName == "" {
			if t.TLS.ServerName = host; host == "" {
				t.TLS.ServerName, _, _ = net.SplitHostPort(address)
			}
		}
	}
	return t
}

// validate reports what New cannot work with. A configuration has been checked with better words before it comes here.
func (o *Options) validate() error {
	seen := make(map[string]bool, len(o.Endpoints))
	for _, e := range o.Endpoints {
		switch {
		case e.Source == nil && seen[e.Address]:
			return fmt.Errorf("backend %q: endpoint %s is listed twice; use weight to send it more", o.Name, e.Address)
		case e.Weight < 0 || e.Weight > MaxWeight:
			return fmt.Errorf("backend %q: endpoint %s has weight %d; use 0 to %d", o.Name, e.Address, e.Weight, MaxWeight)
		}
		seen[e.Address] = true
	}
	if c := o.Check; c != nil && (c.Interval <= 0 || c.Timeout <= 0 || c.Rise < 1 || c.Fall < 1) {
		return fmt.Errorf("backend %q: an active check needs an interval and a timeout above 0, and rise and fall of at least 1", o.Name)
	}
	return nil
}

// MaxWeight is the largest weight of an endpoint.
const MaxWeight = 65535
