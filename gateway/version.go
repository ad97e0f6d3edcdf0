package gateway

import (
	"time"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/proxy"
	"github.com/sluice-gateway/sluice/route"
)

// compiledAPI is the two sides of an API: how requests name its versions, and what answers tell of them. The zero value is that of a route without
// an API.
type compiledAPI struct {
	requests *route.API
	answers  *proxy.API
}

// compileAPIs compiles the versions of APIs. All listeners share them.
func (k *compiler) compileAPIs() {
	k.apis = make(map[string]compiledAPI, len(k.config.Versions))
	if len(k.config.Versions) == 0 {
		return
	}
	consumers := make([]string, len(k.config.Consumers))
	for i, c := range k.config.Consumers {
		consumers[i] = c.Name
	}
	callers := proxy.NewCallers(consumers)
	now := time.Now()
	for _, c := range k.config.Versions {
		requests := &route.API{Name: c.Name, Default: c.Default}
		for _, s := range c.By {
			requests.By = append(requests.By, route.Selector{Kind: selectorKind(s.Kind), Name: s.Name})
		}
		versions := make([]proxy.Version, len(c.Versions))
		for i, v := range c.Versions {
			requests.Versions = append(requests.Versions, v.Name)
			if ends := v.Sunset.Time; !ends.IsZero() && ends.Before(now) {
				k.report.Warn(k.report.At(&v.Sunset), "the version %q has ended: what asks for it is answered 410", v.Name)
			}
			versions[i] = proxy.Version{Name: v.Name, Deprecated: v.Deprecated.Time, Sunset: v.Sunset.Time, Successor: v.Successor, Link: v.Link}
		}
		k.apis[c.Name] = compiledAPI{requests, proxy.NewAPI(requests, versions, k.scope, callers)}
	}
}

func selectorKind(word string) route.SelectorKind {
	switch word {
	case config.SelectHeader:
		return route.SelectHeader
	case config.SelectQuery:
		return route.SelectQuery
	case config.SelectMediaType:
		return route.SelectMediaType
	}
	return route.SelectPath
}
