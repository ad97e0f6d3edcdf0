package policy

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/expr"
	"github.com/sluice-gateway/sluice/internal/leak"
	"github.com/sluice-gateway/sluice/message"
)

func TestMain(m *testing.M) { leak.Main(m) }

// file returns a configuration with a route over /items/{id}/* with these policies.
func file(policies string) []byte {
	return []byte(`version: 1
listeners: {web: {address: "127.0.0.1:8080", protocol: http}}
policies:
  shared: {request: {headers: {set: {X-Shared: "yes"}}}}
routes:
  - name: items
    match: {path: "/items/{id}/*"}
    policies: ` + policies + `
    respond: {status: 204}
`)
}

// load returns the policies of the route in a configuration, or the errors of reading it.
func load(policies string) (*config.Config, config.PolicyList, error) {
	cfg, err := config.Load("test.yaml", file(policies), config.Options{Kinds: Kinds()})
	if err != nil {
		return nil, nil, err
	}
	return cfg, cfg.Routes[0].Policies, nil
}

// context returns what the policies of the route are built with.
func context(cfg *config.Config) BuildContext {
	return BuildContext{Route: "items", Env: expr.Env{Captures: []string{"id", "rest"}, Rest: "rest"}, Report: cfg.Reporter(), Config: cfg, Consumers: NewConsumers(cfg)}
}

// chain builds the policies of the route in a configuration.
func chain(t testing.TB, policies string) *Chain {
	t.Helper()
	cfg, list, err := load(policies)
	if err != nil {
		t.Fatalf("policies: %s\n%v", policies, err)
	}
	c := context(cfg)
	built, _ := Compile(list, c)
	if err := c.Report.Err(); err != nil {
		t.Fatalf("policies: %s\n%v", policies, err)
	}
	return built
}

// exchange returns one whose request has the query and the header lines.
func exchange(query string, lines ...string) *message.Exchange {
	x := new(message.Exchange)
	x.Reset()
	fill(x, query, lines...)
	return x
}

func fill(x *message.Exchange, query string, lines ...string) {
	x.Request.Protocol = message.HTTP11
	x.Request.Method = message.MethodOf([]byte("GET"))
	x.Request.Scheme = "http"
	x.Request.Host = []byte("shop.example")
	x.Request.Path = []byte("/items/7/a/b")
	if query != "-" {
		x.Request.Query = []byte(query)
	}
	x.Client.Addr = netip.AddrFrom4([4]byte{192, 0, 2, 7})
	x.Captures = append(x.Captures[:0], message.Capture{Name: "id", Value: []byte("7")}, message.Capture{Name: "rest", Value: []byte("a/b")})
	for _, l := range lines {
		addLine(&x.Request.Header, l)
	}
}

func addLine(h *message.Header, line string) {
	name, value, _ := strings.Cut(line, ": ")
	h.Add(message.NameOf(name), []byte(value))
}

// dump returns the lines of a header.
func dump(h *message.Header) string {
	var lines []string
	for i := range h.Len() {
		f := h.At(i)
		lines = append(lines, string(f.Name)+": "+string(f.Value))
	}
	return strings.Join(lines, "\n")
}

// text returns a query as a test writes it: "-" if there is none.
func text(query []byte) string {
	if query == nil {
		return "-"
	}
	return string(query)
}
