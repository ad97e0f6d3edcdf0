package upstream

import (
	"fmt"
	"time"

	"github.com/sluice-gateway/sluice/balance"
)

// Options are the settings of one generation of a backend. FromConfig makes them from a configuration; Default has the defaults.
type Options struct {
	Name      string
	Protocol  string // a word of transports.go
	Algorithm string // a word of balance.Names
	Endpoints []EndpointOptions
	// Panic is the share of endpoints, 0 to 1, above which so many are down that the checks are doubted and all endpoints are used;
	// they are used as well when all are down. With 0 only healthy endpoints ever are.
	Panic   float64
	Check   *CheckOptions // nil: no active checks
	Outlier OutlierOptions
	Retry   RetryOptions

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
	Address string // host:port
	Weight  int    // 0 to 65535; with 0 the endpoint gets nothing
}

// CheckOptions are the settings of active health checks.
type CheckOptions struct {
	Kind     string // a word of checks.go
	Path     string // http: target of the GET request
	Host     string // http: the field Host; "" means the endpoint's address
	Statuses []StatusRange
	Body     string // http: what the first 64 KiB of the answer must contain; "" means anything
	Interval time.Duration
	Timeout  time.Duration // bounds one check as a whole
	Rise     int           // checks in a row that must pass before an endpoint is used again
	Fall     int           // checks and connections in a row that must fail before it is left out
	Jitter   float64       // share by which the interval varies to both sides, 0 to 1
}

// StatusRange is a range of status codes, both ends included.
type StatusRange struct{ Low, High int }

// OutlierOptions are the settings of passive ejection.
type OutlierOptions struct {
	Consecutive int           // failures in a row; 0 turns ejection off
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
	Budget  float64
	Floor   int      // retries that may be in flight whatever the budget
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
		Outlier:   OutlierOptions{Consecutive: 5, Eject: 10 * time.Second, MaxEjected: 0.5},
		Retry: RetryOptions{
			Attempts: 1, Connect: true, Reset: true, Budget: 0.2, Floor: 3, MaxBody: 64 << 10, MaxKept: DefaultMaxKept,
		},
		Connect:   time.Second,
		FirstByte: 30 * time.Second,
		Progress:  5 * time.Minute,
		Idle:      time.Minute,
		MaxIdle:   1024,

		MaxHeader: 64 << 10, MaxHeaderCount: 100,
	}
}

// Transport returns the transport settings of the endpoint at index i of o.Endpoints.
func (o *Options) Transport(i int) TransportOptions {
	return TransportOptions{
		Protocol: o.Protocol, Address: o.Endpoints[i].Address,
		Connect: o.Connect, Idle: o.Idle, Progress: o.Progress, MaxIdle: o.MaxIdle,
		MaxHeader: o.MaxHeader, MaxHeaderCount: o.MaxHeaderCount,
	}
}

// validate reports what New cannot work with. A configuration has been checked with better words before it comes here.
func (o *Options) validate(endpoints []*Endpoint) error {
	if len(endpoints) != len(o.Endpoints) {
		return fmt.Errorf("backend %q: %d endpoints for %d addresses", o.Name, len(endpoints), len(o.Endpoints))
	}
	seen := make(map[string]bool, len(endpoints))
	for i, e := range o.Endpoints {
		switch {
		case seen[e.Address]:
			return fmt.Errorf("backend %q: endpoint %s is listed twice; use weight to send it more", o.Name, e.Address)
		case endpoints[i].address != e.Address || endpoints[i].backend != o.Name:
			return fmt.Errorf("backend %q: endpoint %s of backend %q stands for %s", o.Name, endpoints[i].address, endpoints[i].backend, e.Address)
		case e.Weight < 0 || e.Weight > 65535:
			return fmt.Errorf("backend %q: endpoint %s has weight %d; use 0 to 65535", o.Name, e.Address, e.Weight)
		}
		seen[e.Address] = true
	}
	if c := o.Check; c != nil && (c.Interval <= 0 || c.Timeout <= 0 || c.Rise < 1 || c.Fall < 1) {
		return fmt.Errorf("backend %q: an active check needs an interval and a timeout above 0, and rise and fall of at least 1", o.Name)
	}
	return nil
}
