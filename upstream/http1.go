package upstream

import (
	"crypto/tls"

	"github.com/sluice-gateway/sluice/http1"
)

func newHTTP1(o TransportOptions, secure *tls.Config) Transport {
	return http1.NewPool(http1.PoolOptions{
		Address: o.Address, ConnectTimeout: o.Connect, IdleTimeout: o.Idle, ProgressTimeout: o.Progress, MaxIdle: o.MaxIdle,
		MaxHeader: o.MaxHeader, MaxHeaderCount: o.MaxHeaderCount, TLS: secure,
	})
}
