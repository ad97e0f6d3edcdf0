package peer

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/policy"
)

func plan(t *testing.T) Plan {
	return Plan{
		Dir: t.TempDir(), Address: "127.0.0.1:20001", Admin: "127.0.0.1:20002",
		Backends: []string{"127.0.0.1:20003", "127.0.0.1:20004"}, Connections: 1000,
	}
}

func render(t *testing.T, p Plan, k Kind) string {
	t.Helper()
	files, err := p.Files(k)
	if err != nil {
		t.Fatal(err)
	}
	text, ok := files[MainFile(k)]
	if !ok {
		t.Fatalf("%s: no main file among %d", k, len(files))
	}
	if strings.Contains(string(text), "<no value>") {
		t.Fatalf("%s: a template names a field that does not exist:\n%s", k, text)
	}
	return string(text)
}

func TestEveryConfigurationNamesWhatItServes(t *testing.T) {
	for _, k := range Kinds() {
		if k == ReverseProxy {
			continue
		}
		text := render(t, plan(t), k)
		for _, want := range []string{"127.0.0.1:20001", "127.0.0.1:20003", "127.0.0.1:20004"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %s is missing in\n%s", k, want, text)
			}
		}
	}
}

func TestVariants(t *testing.T) {
	p := plan(t)
	p.Certificate, p.Key, p.Combined = "/c.pem", "/k.pem", "/both.pem"
	p.Marker = "gen1"
	p.Reload = true
	p.Root = true
	cases := []struct {
		kind         Kind
		want, forbid []string
	}{
		{NGINX, []string{"listen 127.0.0.1:20001 ssl", "ssl_session_tickets off", "X25519", "gen1", "user root", "access_log off"},
			[]string{"X-Forwarded", "access.log"}},
		{NGINXForward, []string{"X-Forwarded-For", "access_log off"}, nil},
		{NGINXLog, []string{"access.log"}, []string{"access_log off"}},
		{HAProxy, []string{"crt /both.pem", "no-tls-tickets", "gen1", "expose-fd", "http-reuse always"}, []string{"routes.map"}},
		{Sluice, []string{"protocol: https", "/c.pem", "/k.pem", "gen1"}, nil},
	}
	for _, c := range cases {
		text := render(t, p, c.kind)
		for _, want := range c.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %q is missing in\n%s", c.kind, want, text)
			}
		}
		for _, forbid := range c.forbid {
			if strings.Contains(text, forbid) {
				t.Errorf("%s: %q does not belong in\n%s", c.kind, forbid, text)
			}
		}
	}
}

func TestPlainSluiceFileIsTheContractsBenchFile(t *testing.T) {
	// The contract's smallest file, with the addresses of the plan and the admin listener of the benchmark.
	const contract = `
version: 1
admin: {address: "127.0.0.1:20002"}
listeners:
  web: {address: "127.0.0.1:20001", protocol: http}
routes:
  - {name: all, match: {path: "/*"}, backend: app}
backends:
  app: {endpoints: ["127.0.0.1:20003", "127.0.0.1:20004"]}
`
	if got, want := canonical(t, render(t, plan(t), Sluice)), canonical(t, contract); got != want {
		t.Errorf("the template says\n%s\nthe contract says\n%s", got, want)
	}
}

// canonical is the YAML text without comments and style: only what it means.
func canonical(t *testing.T, text string) string {
	t.Helper()
	var value any
	if err := yaml.Unmarshal([]byte(text), &value); err != nil {
		t.Fatal(err)
	}
	out, err := yaml.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestRoutes(t *testing.T) {
	p := plan(t)
	p.Routes = 100
	for _, k := range []Kind{NGINX, Sluice} {
		text := render(t, p, k)
		for i, want := range []string{"/r/00000/", RoutePath(1), "/r/00098/", RoutePath(99)} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: route %d (%s) is missing", k, i, want)
			}
		}
		if strings.Contains(text, "/r/00100/") {
			t.Errorf("%s: there is one route too many", k)
		}
	}
	files, err := p.Files(HAProxy)
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Fields(string(files["routes.map"])); len(lines) != 200 {
		t.Errorf("haproxy: the map has %d words, want 200", len(lines))
	}
	routes := Routes(4)
	for i, r := range routes {
		path := RoutePath(i)
		if r.Exact && r.Path != path || !r.Exact && (!strings.HasPrefix(path, r.Path) || !strings.HasSuffix(r.Path, "/")) {
			t.Errorf("route %d %+v does not match its path %s", i, r, path)
		}
	}
}

func TestWritePutsFilesInPlace(t *testing.T) {
	p := plan(t)
	p.Routes = 2
	for range 2 { // the second time replaces
		if err := p.Write(HAProxy); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(p.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 2 {
		t.Errorf("%d files, want the configuration and its map", len(entries))
	}
	p.Dir = filepath.Join(p.Dir, "a b")
	if err := p.Write(NGINX); err == nil {
		t.Error("a directory with a blank was accepted")
	}
}

func TestParseKind(t *testing.T) {
	for _, k := range Kinds() {
		if got, err := ParseKind(string(k)); err != nil || got != k {
			t.Errorf("%s: %v %v", k, got, err)
		}
	}
	if _, err := ParseKind("apache"); err == nil {
		t.Error("apache was accepted")
	}
}

// TestSluiceAcceptsItsConfigurations asks the real loader, also for the warnings that a reader of the output would stumble over.
func TestSluiceAcceptsItsConfigurations(t *testing.T) {
	secure, many := plan(t), plan(t)
	secure.Certificate, secure.Key = "cert.pem", "key.pem"
	many.Routes, many.Marker, many.Reload = 1000, "old", true
	single := relay(t, ProtocolUDP)
	single.Single = true
	for name, p := range map[string]Plan{"plain": plan(t), "secure": secure, "many": many,
		"tcp": relay(t, ProtocolTCP), "udp": relay(t, ProtocolUDP), "single": single} {
		c, err := config.Load("sluice.yaml", []byte(render(t, p, Sluice)), config.Options{Kinds: policy.Kinds()})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(c.Warnings) > 0 {
			t.Errorf("%s: warnings: %v", name, c.Warnings)
		}
	}
}

// gateways are all the work that there is a configuration for.
func gateways() []Gateway {
	return []Gateway{GatewayAPIKey, GatewayRate, GatewayBoth, GatewayJWT, GatewayRateKeys, GatewayTransform, GatewayCompose, GatewayCache}
}

// gateway is a plan with everything that the work needs.
func gateway(t *testing.T, g Gateway) Plan {
	p := plan(t)
	p.Gateway, p.KeySet = g, "jwks.json"
	p.Steps = []string{"127.0.0.1:20005", "127.0.0.1:20006", "127.0.0.1:20007"}
	p.Consumers = []Consumer{{"app-0", strings.Repeat("0a", 32)}, {"app-1", strings.Repeat("0b", 32)}}
	return p
}

func TestSluiceAcceptsItsGateways(t *testing.T) {
	for _, g := range gateways() {
		p := gateway(t, g)
		text := render(t, p, Sluice)
		c, err := config.Load("sluice.yaml", []byte(text), config.Options{Kinds: policy.Kinds()})
		switch {
		case err != nil:
			t.Errorf("%s: %v", g, err)
		case len(c.Warnings) > 0:
			t.Errorf("%s: warnings: %v", g, c.Warnings)
		}
		want := p.Backends
		if g == GatewayCompose {
			want = p.Steps
		}
		for _, address := range want {
			if !strings.Contains(text, address) {
				t.Errorf("%s: %s is missing in\n%s", g, address, text)
			}
		}
	}
	if text := render(t, gateway(t, GatewayJWT), Sluice); !strings.Contains(text, Issuer) || !strings.Contains(text, Audience) {
		t.Errorf("the tokens are of another issuer or for another audience than\n%s", text)
	}
	if text := render(t, gateway(t, GatewayRateKeys), Sluice); !strings.Contains(text, FillPath+"}") || !strings.Contains(text, "text: "+FillText+"}") {
		t.Errorf("the table cannot be filled through\n%s", text)
	}
}

// TestOnlyNGINXHasACache: what a proxy has no configuration for is an error, not a bare proxy.
func TestOnlyNGINXHasACache(t *testing.T) {
	for _, k := range Kinds() {
		for _, g := range append(gateways(), "") {
			want := g == "" || k == Sluice || g == GatewayCache && k.IsNGINX()
			_, err := gateway(t, g).Files(k)
			if k.CanServe(g) != want || (err == nil) != want {
				t.Errorf("%s, %q: can %v, %v; want %v", k, g, k.CanServe(g), err, want)
			}
		}
	}
	if text := render(t, gateway(t, GatewayCache), NGINX); !strings.Contains(text, "proxy_cache_path") || !strings.Contains(text, "open_file_cache ") {
		t.Errorf("NGINX does not cache:\n%s", text)
	}
	if text := render(t, plan(t), NGINX); strings.Contains(text, "cache") {
		t.Errorf("NGINX caches:\n%s", text)
	}
}

func relay(t *testing.T, protocol string) Plan {
	p := plan(t)
	p.Protocol, p.Idle = protocol, "10s"
	return p
}

func TestRelayVariants(t *testing.T) {
	udp, tcp := relay(t, ProtocolUDP), relay(t, ProtocolTCP)
	single := udp
	single.Single = true
	module := tcp
	module.Module, module.Root = "/modules/stream.so", true
	all := []string{"127.0.0.1:20001", "127.0.0.1:20003", "127.0.0.1:20004", "10s"}
	cases := []struct {
		plan         Plan
		kind         Kind
		want, forbid []string
	}{
		{tcp, NGINX, []string{"stream {", "proxy_buffer_size"}, []string{"udp", "load_module", "user root", "http {"}},
		{module, NGINX, []string{"load_module /modules/stream.so;", "user root;"}, nil},
		{udp, NGINX, []string{" udp rcvbuf"}, []string{"proxy_responses"}},
		{single, NGINX, []string{" udp rcvbuf", "proxy_responses 1;"}, nil},
		{tcp, HAProxy, []string{"mode tcp", "splice-auto", "splice-request", "splice-response", "nbthread 1", "tune.pipesize 1048576"}, []string{"mode http"}},
		{tcp, Sluice, []string{"protocol: tcp"}, []string{"routes"}},
		{udp, Sluice, []string{"protocol: udp"}, []string{"routes", "responses"}},
		{single, Sluice, []string{"protocol: udp", "responses: 1"}, nil},
	}
	for _, c := range cases {
		text := render(t, c.plan, c.kind)
		for _, want := range append(c.want, all...) {
			if !strings.Contains(text, want) {
				t.Errorf("%s %s: %q is missing in\n%s", c.kind, c.plan.Protocol, want, text)
			}
		}
		for _, forbid := range c.forbid {
			if strings.Contains(text, forbid) {
				t.Errorf("%s %s: %q does not belong in\n%s", c.kind, c.plan.Protocol, forbid, text)
			}
		}
	}
}

func TestWhoCanRelay(t *testing.T) {
	tcp, udp := []Kind{NGINX, HAProxy, Sluice}, []Kind{NGINX, Sluice}
	for _, k := range Kinds() {
		for protocol, able := range map[string][]Kind{ProtocolTCP: tcp, ProtocolUDP: udp} {
			want := slices.Contains(able, k)
			_, err := relay(t, protocol).Files(k)
			if k.CanRelay(protocol) != want || (err == nil) != want {
				t.Errorf("%s %s: can %v, error %v, want %v", k, protocol, k.CanRelay(protocol), err, want)
			}
		}
	}
}
