package peer

import (
	"bytes"
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
)

// Kind is a proxy and its way of being configured.
type Kind string

// The proxies. The variants of NGINX are for those who ask what a header or a log line costs there.
const (
	NGINX        Kind = "nginx"
	NGINXForward Kind = "nginx-forward" // sets the forwarding headers that Sluice always sets
	NGINXLog     Kind = "nginx-log"     // writes an access log with a buffer
	HAProxy      Kind = "haproxy"
	ReverseProxy Kind = "reverseproxy" // net/http/httputil, tuned
	Sluice       Kind = "sluice"
)

// Kinds lists every Kind that ParseKind knows, the four of a default run first.
func Kinds() []Kind {
	return []Kind{NGINX, HAProxy, ReverseProxy, Sluice, NGINXForward, NGINXLog}
}

// ParseKind reads a Kind as a flag spells it.
func ParseKind(name string) (Kind, error) {
	if k := Kind(name); slices.Contains(Kinds(), k) {
		return k, nil
	}
	return "", fmt.Errorf("peer %q is not known; known are %v", name, Kinds())
}

// IsNGINX tells whether k runs the nginx program.
func (k Kind) IsNGINX() bool { return k == NGINX || k == NGINXForward || k == NGINXLog }

// CanRelay tells whether the kind has a layer 4 mode for a protocol: ProtocolTCP or ProtocolUDP.
func (k Kind) CanRelay(protocol string) bool {
	return k == NGINX || k == Sluice || k == HAProxy && protocol == ProtocolTCP
}

// CanReload tells whether the proxy can take a new configuration while it runs.
func (k Kind) CanReload() bool { return k != ReverseProxy }

// Plan is what a proxy is to serve, in terms that all of them know.
type Plan struct {
	Dir         string   // a directory of its own for configuration, sockets and logs
	Address     string   // host:port to listen on
	Admin       string   // host:port of Sluice's admin listener
	Backends    []string // host:port of the two backends
	Certificate string   // PEM file; with Key it makes the listener an https one
	Key         string   // PEM file
	Combined    string   // PEM file with both, which is how HAProxy takes them
	Routes      int      // 0: one route for everything; otherwise that many, see Routes
	Marker      string   // when set, MarkerPath answers this text, so that a reload can be seen
	Protocol    string   // ProtocolTCP or ProtocolUDP: a layer 4 listener, for which of the fields above only the first four count
	Idle        string   // idle_timeout of a layer 4 listener, as Sluice, HAProxy and NGINX all spell it: "10s"
	Single      bool     // a UDP session is one question and one answer, for proxies that can be told so
	Module      string   // file of NGINX's stream module; empty where it is built in
	Reload      bool     // HAProxy runs with a master process, which costs nothing but is needed to reload
	Connections int      // most client connections at once
	Root        bool     // the benchmark runs as root, so nginx's worker must be told to stay it
	Gateway     Gateway  // what else is done with each request; see Gateway
	Steps       []string // of GatewayCompose: host:port of its three services
	Consumers   []Consumer
	KeySet      string // of GatewayJWT: file with the issuer's keys
	Forward     bool   // set by the kind
	AccessLog   bool   // set by the kind
}

// MarkerPath is where a Plan with a Marker answers it.
const MarkerPath = "/marker"

// The protocols of a layer 4 listener.
const (
	ProtocolTCP = "tcp"
	ProtocolUDP = "udp"
)

// Gateway is what a proxy does with each request beside passing it on. "" is nothing; the others have a configuration of their own, gateway-NAME.
type Gateway string

// The work of API gateways.
const (
	GatewayAPIKey    Gateway = "api-key"      // a key of one of the Consumers in X-API-Key
	GatewayRate      Gateway = "rate"         // a limit by client, kept in memory
	GatewayBoth      Gateway = "api-key-rate" // a key, and a limit by consumer
	GatewayJWT       Gateway = "jwt"          // a token of Issuer, signed by a key of KeySet
	GatewayRateKeys  Gateway = "rate-keys"    // a limit by the field X-Client, which FillPath counts without a backend
	GatewayTransform Gateway = "transform"    // JSON changed in both directions
	GatewayCompose   Gateway = "compose"      // one answer made of those of three services
	GatewayCache     Gateway = "cache"        // answers kept
)

// What the configurations of gateways take for granted.
const (
	Issuer   = "https://id.bank.example"
	Audience = "bank-api"
	FillPath = "/fill" // of GatewayRateKeys: answered FillText by the proxy itself, under the limit of the other route
	FillText = "ok"
)

// Consumer is who has an API key.
type Consumer struct {
	Name string
	Hash string // SHA-256 of the key, in hex
}

// CanServe tells whether the kind has a configuration for the work of a gateway.
func (k Kind) CanServe(g Gateway) bool {
	return g == "" || k == Sluice || g == GatewayCache && k.IsNGINX()
}

// TLS tells whether the plan has an https listener.
func (p Plan) TLS() bool { return p.Certificate != "" }

// Route is one of the many routes of the 10,000-route rows. Every second one is an exact path, the others are prefixes.
type Route struct {
	Exact bool
	Path  string // of an exact route the path, of a prefix the part before the rest, with its slash
}

// RouteList is the plan's routes in file order.
func (p Plan) RouteList() []Route { return Routes(p.Routes) }

// Routes makes n routes. All paths are equally long, so that 10 and 10,000 routes compare the same number of bytes.
func Routes(n int) []Route {
	list := make([]Route, n)
	for i := range list {
		list[i] = Route{Exact: i%2 == 1, Path: fmt.Sprintf("/r/%05d/", i)}
		if list[i].Exact {
			list[i].Path = RoutePath(i)
		}
	}
	return list
}

// RoutePath is a request path that only route i matches.
func RoutePath(i int) string { return fmt.Sprintf("/r/%05d/item", i) }

//go:embed templates/*.tmpl
var templateFiles embed.FS

// Files renders the configuration of a proxy: file names relative to the plan's directory, and their contents. The first name
// in order of the kind's own is the main one, see MainFile.
func (p Plan) Files(k Kind) (map[string][]byte, error) {
	p.Forward, p.AccessLog = k == NGINXForward, k == NGINXLog
	files := map[string][]byte{}
	if p.Protocol != "" {
		if !k.CanRelay(p.Protocol) {
			return nil, fmt.Errorf("%s has no %s listeners", k, p.Protocol)
		}
		return files, p.render(files, MainFile(k), "relay-"+MainFile(k))
	}
	if !k.CanServe(p.Gateway) {
		return nil, fmt.Errorf("%s has no configuration for %s", k, p.Gateway)
	}
	switch {
	case k == Sluice && p.Gateway != "":
		return files, p.render(files, MainFile(k), "gateway-"+string(p.Gateway)+".yaml")
	case k.IsNGINX():
		return files, p.render(files, "nginx.conf", "nginx.conf")
	case k == HAProxy:
		if p.Routes > 0 {
			if err := p.render(files, "routes.map", "routes.map"); err != nil {
				return nil, err
			}
		}
		return files, p.render(files, "haproxy.cfg", "haproxy.cfg")
	case k == Sluice:
		return files, p.render(files, "sluice.yaml", "sluice.yaml")
	}
	return files, nil
}

// MainFile is the name of the file that the proxy's command line names, or "".
func MainFile(k Kind) string {
	switch {
	case k.IsNGINX():
		return "nginx.conf"
	case k == HAProxy:
		return "haproxy.cfg"
	case k == Sluice:
		return "sluice.yaml"
	}
	return ""
}

// render adds the file name, which is made from a template.
func (p Plan) render(files map[string][]byte, name, source string) error {
	t, err := template.New(source+".tmpl").Option("missingkey=error").ParseFS(templateFiles, "templates/"+source+".tmpl")
	if err != nil {
		return fmt.Errorf("template of %s: %w", source, err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, p); err != nil {
		return fmt.Errorf("template of %s: %w", source, err)
	}
	files[name] = b.Bytes()
	return nil
}

// Write renders the configuration into the plan's directory. Each file is put in place by a rename, so that a program that
// watches it never reads half of one.
func (p Plan) Write(k Kind) error {
	if strings.ContainsAny(p.Dir, " \t\"'{};") {
		return fmt.Errorf("the directory %q has characters that configuration files give a meaning", p.Dir)
	}
	files, err := p.Files(k)
	if err != nil {
		return err
	}
	for name, text := range files {
		path := filepath.Join(p.Dir, name)
		if err := os.WriteFile(path+".new", text, 0o644); err != nil {
			return err
		}
		if err := os.Rename(path+".new", path); err != nil {
			return err
		}
	}
	return nil
}

// FileLimit is the descriptors that a worker needs: one for each client, and room for its backend connections, which are
// no more than the requests underway.
func (p Plan) FileLimit() int { return p.Connections + 1000 }

// Caches tells whether answers are kept.
func (p Plan) Caches() bool { return p.Gateway == GatewayCache }

// RelayFileLimit is the descriptors that a worker needs at layer 4: two for each client, and for each direction a pipe, which has two ends.
func (p Plan) RelayFileLimit() int { return 6*p.Connections + 1000 }
