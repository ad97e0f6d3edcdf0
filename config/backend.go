package config

import (
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
	// Connections to the endpoints.
	Connections Connections `yaml:"connections"`
	// Timeouts of a request to an endpoint.
	Timeouts BackendTimeouts `yaml:"timeouts"`
	// Limits of an answer.
	Limits BackendLimits `yaml:"limits"`
	// Retries sets when a failed request is sent once more.
	Retries Retries `yaml:"retries"`
	// Panic is the share of endpoints that must be down for all of them to be used again, in the hope that the checks are wrong.
	// With `0%` a backend without a healthy endpoint answers 503.
	Panic Share `yaml:"panic" default:"50%"`
}

// Check reports endpoints that occur twice and a backend that can get no traffic.
func (b *Backend) Check(r *Reporter) {
	seen := make(map[Address]int, len(b.Endpoints))
	weight := 0
	for i := range b.Endpoints {
		e := &b.Endpoints[i]
		weight += e.Weight
		if e.Address == "" {
			continue // reported where it stands
		}
		if first, ok := seen[e.Address]; ok {
			r.AddSuggest(r.At(&e.Address), "use weight to send it more", "endpoint %s is written twice, first on line %d", e.Address, b.Endpoints[first].Pos.Line)
			continue
		}
		seen[e.Address] = i
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
	BalanceRoundRobin   = "round_robin"
	BalanceRandom       = "random"
	BalanceLeastRequest = "least_request"
)

// Balance is how an endpoint is picked for a request.
type Balance struct {
	// Algorithm: `round_robin` takes turns by weight, `random` draws by weight, `least_request` takes the endpoint with the fewest requests
	// in flight for its weight.
	Algorithm string `yaml:"algorithm,short" default:"least_request" enum:"round_robin random least_request"`
}

// Endpoint is one address of a backend.
type Endpoint struct {
	// Address as `host:port`.
	Address Address `yaml:"address,required,short"`
	// Pos is the place of the endpoint.
	Pos Pos `yaml:"-"`
	// Weight is the endpoint's part of the traffic against the others'. With 0 it gets none.
	Weight int `yaml:"weight" default:"1" min:"0" max:"65535"`
}

// Check reports an address that cannot be connected to.
func (e *Endpoint) Check(r *Reporter) {
	if e.Address == "" {
		return
	}
	if e.Address.Host() == "" {
		r.AddSuggest(r.At(&e.Address), "write 127.0.0.1"+string(e.Address), "address: an endpoint needs a host")
	} else if e.Address.Port() == 0 {
		r.Add(r.At(&e.Address), "address: port 0 cannot be connected to")
	}
}

// Connections are how many connections to the endpoints are kept, and how long.
type Connections struct {
	// Idle is how long an unused connection is kept.
	Idle time.Duration `yaml:"idle" default:"60s" min:"1ms"`
	// MaxIdle is how many unused connections are kept for each endpoint. With 0 every request has its own.
	MaxIdle int `yaml:"max_idle" default:"1024" min:"0" max:"1000000"`
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

// ActiveHealth asks each endpoint at an interval. Exactly one of `http` and `tcp` is there.
type ActiveHealth struct {
	// HTTP is the path of a GET request whose answer shows whether the endpoint is well.
	HTTP string `yaml:"http,short" check:"target"`
	// TCP only opens a connection.
	TCP bool `yaml:"tcp"`
	// Interval between two checks of an endpoint.
	Interval time.Duration `yaml:"interval" default:"5s" min:"10ms"`
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

// Check reports a check of no kind or of both, and settings that only http has.
func (a *ActiveHealth) Check(r *Reporter) {
	http, tcp := a.HTTP != "" || r.Set(&a.HTTP), a.TCP || r.Set(&a.TCP)
	switch {
	case http && tcp:
		r.AddSuggest(r.At(&a.TCP), "leave one of http and tcp", "an active check has both http and tcp")
	case !http && !tcp:
		r.AddSuggest(r.At(a), "add http: PATH or tcp: true", "an active check has neither http nor tcp")
	case tcp && !a.TCP:
		r.AddSuggest(r.At(&a.TCP), "leave out active for no checks", "tcp: can only be true")
	}
	if tcp && !http {
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
	if a.Timeout > a.Interval {
		at := r.At(&a.Timeout)
		if !r.Set(&a.Timeout) {
			at = r.At(&a.Interval)
		}
		r.Warn(at, "a check may take longer (%s) than the interval between checks (%s)", a.Timeout, a.Interval)
	}
}

// Outlier leaves an endpoint out for a while that fails requests. Failures are connect errors, timeouts, resets before an answer, and
// the statuses 500, 502, 503 and 504. The last endpoint of a backend is never left out.
type Outlier struct {
	// Consecutive is how many failures in a row it takes. With 0 no endpoint is ever left out.
	Consecutive int `yaml:"consecutive" default:"5" min:"0" max:"10000"`
	// Eject is how long the endpoint is left out the first time; it grows by each further time up to ten times.
	Eject time.Duration `yaml:"eject" default:"10s" min:"1ms"`
	// MaxEjected is the largest share of the backend's endpoints that may be left out at once.
	MaxEjected Share `yaml:"max_ejected" default:"50%"`
}
