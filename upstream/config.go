package upstream

import "github.com/sluice-gateway/sluice/config"

// FromConfig returns the options that a configured backend stands for.
func FromConfig(c *config.Backend) Options {
	o := Default()
	o.Name = c.Name
	o.Algorithm = c.Balance.Algorithm
	o.Endpoints = make([]EndpointOptions, len(c.Endpoints))
	for i := range c.Endpoints {
		o.Endpoints[i] = EndpointOptions{Address: string(c.Endpoints[i].Address), Weight: c.Endpoints[i].Weight}
	}
	o.Panic = float64(c.Panic)
	o.Check = checkFromConfig(c.Health.Active)
	o.Outlier = OutlierOptions{
		Consecutive: c.Health.Outlier.Consecutive,
		Eject:       c.Health.Outlier.Eject,
		MaxEjected:  float64(c.Health.Outlier.MaxEjected),
	}
	o.Retry = retryFromConfig(&c.Retries)
	o.Connect, o.FirstByte, o.Progress = c.Timeouts.Connect, c.Timeouts.FirstByte, c.Timeouts.Idle
	o.Idle, o.MaxIdle = c.Connections.Idle, c.Connections.MaxIdle
	o.MaxHeader, o.MaxHeaderCount = int(c.Limits.Headers), c.Limits.HeaderCount
	return o
}

func checkFromConfig(a *config.ActiveHealth) *CheckOptions {
	if a == nil {
		return nil
	}
	o := &CheckOptions{
		Kind: "http", Path: a.HTTP, Host: a.Host, Body: a.Body,
		Interval: a.Interval, Timeout: a.Timeout, Rise: a.Rise, Fall: a.Fall, Jitter: float64(a.Jitter),
	}
	if a.TCP {
		o.Kind = "tcp"
	}
	for _, s := range a.Status {
		o.Statuses = append(o.Statuses, StatusRange{s.Low, s.High})
	}
	return o
}

func retryFromConfig(r *config.Retries) RetryOptions {
	o := RetryOptions{
		Attempts: r.Attempts, PerTry: r.PerTryTimeout, Budget: float64(r.Budget), Floor: r.Floor,
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
