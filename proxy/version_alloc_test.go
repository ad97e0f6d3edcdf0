//go:build !race

package proxy

import (
	"testing"

	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
)

// TestVersionAllocations: versions cost no allocation, whatever they say, once an exchange has its memory.
func TestVersionAllocations(t *testing.T) {
	reg := metric.NewRegistry(metric.Options{})
	scope := reg.Scope()
	requests, answers := bank(scope, byPath, byHeader, byType, byQuery)
	own := &Respond{Status: 200, Headers: []Field{{message.Vary.Name(), []byte("Origin")}, {message.Link.Name(), []byte("</next>; rel=next")}}}
	s := site(t, func(s *Site) { s.Log = quietLog(t) },
		of(requests, answers, at("/a/{id}", &Route{Metrics: NewRouteMetrics(scope, "web", "a")}), "v1", "v3", "v4"),
		of(requests, answers, at("/own", &Route{Action: own, Metrics: NewRouteMetrics(scope, "web", "own")})))
	s.Seal(scope)
	h := NewHTTP(s)
	identity := &message.Identity{Consumer: "alice"}
	for _, c := range []struct{ path, query, field, value string }{
		{"/v1/a/7", "a=b&version=v1", "", ""},
		{"/a/7", "", "Accept-Version", "v1"},
		{"/a/7", "", "Accept", "text/html, application/vnd.bank.v1+json;q=0.5"},
		{"/a/7", "version=v1", "", ""},
		{"/v2/own", "", "", ""},
		{"/a/7", "", "", ""},
		{"/v3/a/7", "", "", ""},
		{"/v2/a/7", "", "", ""},
		{"/v9/a/7", "", "", ""},
		{"/a/7", "", "Accept-Version", "v9"},
	} {
		x := new(message.Exchange)
		like := request("192.0.2.7:1", "example.test", c.path)
		name, value, query := message.NameOf(c.field), []byte(c.value), []byte(c.query)
		serve := func() {
			x.Reset()
			r := &x.Request
			r.Method, r.Protocol, r.Scheme, r.Host = like.Request.Method, message.HTTP11, "http", like.Request.Host
			r.Path, r.RawPath = like.Request.Path, like.Request.RawPath
			if r.Query = query; c.field != "" {
				r.Header.Add(name, value)
			}
			x.Client.Peer = like.Client.Peer
			x.Times.Start, x.Times.Read = 1, 1
			h.Serve(x)
			x.Identity = identity
			x.Times.End = 2
			h.Finish(x)
		}
		serve()
		if n := testing.AllocsPerRun(50, serve); n != 0 {
			t.Errorf("%+v: %v allocations, want 0", c, n)
		}
	}
}
