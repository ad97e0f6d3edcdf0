package upstream

import (
	"crypto/sha256"
	"fmt"
	"os"

	"github.com/sluice-gateway/sluice/config"
)

// FromConfig returns the options that a configured backend stands for, but for Key, Running, the Sources of endpoints that are looked up, and the
// secret of sessions if the configuration has none. The error is that of a file that cannot be read.
func FromConfig(c *config.Backend) (Options, error) {
	o := Default()
	o.Name = c.Name
	o.Algorithm = c.Balance.Algorithm
	if c.Balance.BoundedLoad > 0 {
		o.BoundedLoad = 1 + float64(c.Balance.BoundedLoad)
	}
	o.SlowStart = c.Balance.SlowStart
	o.Endpoints = make([]EndpointOptions, len(c.Endpoints))
	for i := range c.Endpoints {
		e := &c.Endpoints[i]
		o.Endpoints[i] = EndpointOptions{Address: string(e.Address), Weight: e.Weight, Priority: e.Priority}
	}
	o.Panic = float64(c.Panic)
	o.Check = checkFromConfig(c.Health.Active)
	out := &c.Health.Outlier
	o.Outlier = OutlierOptions{
		Consecutive: out.Consecutive, ErrorRate: float64(out.ErrorRate), Window: out.Window, MinRequests: out.MinRequests,
		Eject: out.Eject, MaxEjected: float64(out.MaxEjected),
	}
	o.Retry = retryFromConfig(&c.Retries)
	if h := c.Hedge; h != nil {
		o.Hedge = &HedgeOptions{After: h.After.Delay, Percentile: h.After.Percentile, Budget: float64(h.Budget)}
	}
	if s := c.Session; s != nil {
		o.Session = &SessionOptions{Cookie: s.Cookie}
		if s.Secret != "" {
			o.Session.Secret = []byte(s.Secret)
		}
	}
	switch c.ProxyProtocol {
	case "v1":
		o.ProxyProtocol = 1
	case "v2":
		o.ProxyProtocol = 2
	}
	o.Connect, o.FirstByte, o.Progress = c.Timeouts.Connect, c.Timeouts.FirstByte, c.Timeouts.Idle
	o.MaxInFlight, o.Queue, o.QueueTimeout = c.Connections.Max, c.Connections.Queue, c.Connections.QueueTimeout
	o.Idle, o.MaxIdle = c.Connections.Idle, c.Connections.MaxIdle
	o.MaxHeader, o.MaxHeaderCount = int(c.Limits.Headers), c.Limits.HeaderCount
	if o.Check != nil {
		o.Check.ProxyProtocol = o.ProxyProtocol
	}
	var err error
	if o.TLS, err = tlsFromConfig(c.TLS); err != nil {
		return o, fmt.Errorf("backend %q: tls: %w", c.Name, err)
	}
	return o, nil
}

// tlsFromConfig reads the files for their digest. What is in them is understood when the transports are made.
func tlsFromConfig(c *config.BackendTLS) (*TLSOptions, error) {
	if c == nil {
		return nil, nil
	}
	o := &TLSOptions{
		ServerName: c.ServerName, CA: string(c.CA), Cert: string(c.Cert), Key: string(c.Key),
		Insecure: !c.Verify, TLS13: c.MinVersion == "1.3",
	}
	digest := sha256.New()
	for _, name := range []string{o.CA, o.Cert, o.Key} {
		if name == "" {
			continue
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(data)
		_, _ = digest.Write(sum[:])
	}
	digest.Sum(o.Digest[:0])
	return o, nil
}

func checkFromConfig(a *config.ActiveHealth) *CheckOptions {
	if a == nil {
		return nil
	}
	o := &CheckOptions{
		Kind: a.Kind(), Path: a.HTTP, Host: a.Host, Body: a.Body,
		Interval: a.Interval, DownInterval: a.DownInterval, Timeout: a.Timeout, Rise: a.Rise, Fall: a.Fall, Jitter: float64(a.Jitter),
	}
	if a.UDP != nil {
		o.Send, o.Expect = string(a.UDP.Send), string(a.UDP.Expect)
	}
	for _, s := range a.Status {
		o.Statuses = append(o.Statuses, StatusRange{s.Low, s.High})
	}
	return o
}

func retryFromConfig(r *config.Retries) RetryOptions {
	o := RetryOptions{
		Attempts: r.Attempts, PerTry: r.PerTryTimeout, Budget: float64(r.Budget), Floor: r.Floor, Backoff: r.Backoff,
		Methods: r.Methods, MaxBody: int64(r.MaxBody), MaxKept: DefaultMaxKept,
	}
	for _, cause := range r.On {
		switch cause.Word {
		case config.RetryConnect:
			o.Connect = true
		case config.RetryReset:
			o.Reset = true
		case config.RetryTimeout:
			o.Timeout = true
		default:
			o.Statuses = append(o.Statuses, StatusRange{cause.Status.Low, cause.Status.High})
		}
	}
	return o
}
