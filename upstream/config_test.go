package upstream

import (
	"reflect"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/balance"
	"github.com/sluice-gateway/sluice/config"
)

func loadBackend(t *testing.T, text string) *config.Backend {
	t.Helper()
	c, err := config.Load("test.yaml", []byte("version: 1\nlisteners: {web: {address: \"127.0.0.1:8080\", protocol: http}}\n"+
		"routes: [{name: all, match: {path: \"/*\"}, backend: app}]\nbackends:\n  app: "+text+"\n"), config.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c.Backends[0]
}

// TestFromConfigDefaults: what a configuration leaves out is what Default says.
func TestFromConfigDefaults(t *testing.T) {
	want := Default()
	want.Name = "app"
	want.Endpoints = []EndpointOptions{{Address: "127.0.0.1:9001", Weight: 1}, {Address: "127.0.0.1:9002", Weight: 3}}
	got := fromConfig(t, loadBackend(t, `{endpoints: ["127.0.0.1:9001", {address: "127.0.0.1:9002", weight: 3}]}`))
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestFromConfig(t *testing.T) {
	got := fromConfig(t, loadBackend(t, `
    balance: round_robin
    endpoints: ["127.0.0.1:9001"]
    panic: 0%
    health:
      active: {http: "/healthz", interval: 2s, timeout: 500ms, rise: 1, fall: 4, status: [2xx, 404], body: ok, host: app.example, jitter: 0%}
      outlier: {consecutive: 7, eject: 30s, max_ejected: 25%}
    timeouts: {connect: 2s, first_byte: 3s, idle: 4m}
    connections: {idle: 5s, max_idle: 6}
    limits: {headers: 8KiB, header_count: 7}
    retries: {attempts: 2, on: [timeout, 502, 5xx], per_try_timeout: 2s, budget: 10%, floor: 1, methods: [POST], max_body: 1KiB}`))
	want := Options{
		Name: "app", Protocol: "http1", Algorithm: "round_robin", Endpoints: []EndpointOptions{{Address: "127.0.0.1:9001", Weight: 1}},
		Check: &CheckOptions{
			Kind: "http", Path: "/healthz", Host: "app.example", Body: "ok", Statuses: []StatusRange{{200, 299}, {404, 404}},
			Interval: 2 * time.Second, DownInterval: time.Second, Timeout: 500 * time.Millisecond, Rise: 1, Fall: 4,
		},
		Outlier: OutlierOptions{Consecutive: 7, Window: 10 * time.Second, MinRequests: 20, Eject: 30 * time.Second, MaxEjected: 0.25},
		Retry: RetryOptions{
			Attempts: 2, Timeout: true, Statuses: []StatusRange{{502, 502}, {500, 599}}, PerTry: 2 * time.Second,
			Budget: 0.1, Floor: 1, Backoff: 25 * time.Millisecond, Methods: []string{"POST"}, MaxBody: 1024, MaxKept: DefaultMaxKept,
		},
		Connect: 2 * time.Second, FirstByte: 3 * time.Second, Progress: 4 * time.Minute, Idle: 5 * time.Second, MaxIdle: 6,
		Queue: 100, QueueTimeout: time.Second,
		MaxHeader: 8 << 10, MaxHeaderCount: 7,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v, check %+v\nwant %+v, check %+v", got, got.Check, want, want.Check)
	}
	if got := fromConfig(t, loadBackend(t, `{endpoints: ["127.0.0.1:9001"], health: {active: {tcp: true}}}`)).Check; got == nil || got.Kind != "tcp" || got.Interval != 5*time.Second || got.Rise != 2 || got.Fall != 3 {
		t.Errorf("check by tcp: %+v", got)
	}
}

// TestWordsAgree: every algorithm that a configuration may name is there.
func TestWordsAgree(t *testing.T) {
	for _, word := range balance.Names() {
		key := ""
		if word == config.BalanceMaglev || word == config.BalanceRendezvous || word == config.BalanceRingHash {
			key = ", key: client.ip"
		}
		if o := fromConfig(t, loadBackend(t, `{endpoints: ["127.0.0.1:9001"], balance: {algorithm: `+word+key+`}}`)); o.Algorithm != word {
			t.Errorf("balance: %s became %s", word, o.Algorithm)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*Options)
	}{
		{"twice", func(o *Options) { o.Endpoints = append(o.Endpoints, o.Endpoints[0]) }},
		{"weight", func(o *Options) { o.Endpoints[0].Weight = -1 }},
		{"algorithm", func(o *Options) { o.Algorithm = "best" }},
		{"protocol", func(o *Options) { o.Protocol = "gopher" }},
		{"kind of check", func(o *Options) {
			o.Check = &CheckOptions{Kind: "smtp", Interval: 1, Timeout: 1, Rise: 1, Fall: 1}
		}},
		{"interval", func(o *Options) { o.Check = &CheckOptions{Kind: "tcp", Timeout: 1, Rise: 1, Fall: 1} }},
	} {
		o := Default()
		o.Name, o.Endpoints = "app", []EndpointOptions{{Address: "127.0.0.1:1", Weight: 1}}
		test.change(&o)
		k := newKeeper()
		if _, err := New(o, k, nil); err == nil {
			t.Errorf("%s: accepted", test.name)
		}
		for address, n := range k.users {
			if n != 0 {
				t.Errorf("%s: endpoint %s was not given back", test.name, address)
			}
		}
	}
	if _, err := NewEndpoint("app", TransportOptions{Protocol: "gopher"}, nil); err == nil {
		t.Error("an endpoint of an unknown protocol was accepted")
	}
}

// fromConfig is FromConfig for a backend whose files are there.
func fromConfig(t *testing.T, c *config.Backend) Options {
	t.Helper()
	o, err := FromConfig(c)
	if err != nil {
		t.Fatal(err)
	}
	return o
}
