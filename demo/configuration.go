package demo

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/gateway"
)

// What examples/bank has, in the program, so that the demonstration runs from any directory. A test compares.
var (
	//go:embed files/bank.yaml
	bankYAML string
	//go:embed files/jwks.json
	bankKeys string
	//go:embed files/transfer.json
	bankSchema string
)

// partnerKey is the API key whose hash is in bank.yaml.
const partnerKey = "demo-partner-key"

// folder is a directory among other temporary files that holds what the demonstration serves, and what one needs to try it. Whoever opens it
// removes it.
type folder struct{ path string }

// openFolder writes what bank.yaml names and what the lines to try name. bank.yaml itself is written when its addresses are known.
func openFolder(i *issuer) (*folder, error) {
	keys, err := i.join(bankKeys)
	if err != nil {
		return nil, err
	}
	path, err := os.MkdirTemp("", "sluice-demo-")
	if err != nil {
		return nil, err
	}
	f := &folder{path}
	customer := "Authorization: " + i.token(firstAccount) + "\n"
	for _, file := range []struct{ name, text string }{
		{"certs/jwks.json", keys},
		{"schemas/transfer.json", bankSchema},
		{"customer", customer},
		{"partner", "X-API-Key: " + partnerKey + "\n"},
		{"transfer", customer + "Content-Type: application/json\nIdempotency-Key: my-first-transfer\n"},
		{"transfer.json", `{"to": "1002", "amount": "25.00", "currency": "EUR"}` + "\n"},
	} {
		if err := f.write(file.name, file.text); err != nil {
			f.remove()
			return nil, err
		}
	}
	return f, nil
}

// at returns the path of a file of the folder.
func (f *folder) at(name string) string { return filepath.Join(f.path, filepath.FromSlash(name)) }

// write writes a file, for this user's eyes: tokens are among them.
func (f *folder) write(name, text string) error {
	if err := os.MkdirAll(filepath.Dir(f.at(name)), 0o700); err != nil {
		return err
	}
	return os.WriteFile(f.at(name), []byte(text), 0o600)
}

func (f *folder) remove() { _ = os.RemoveAll(f.path) } // it lies among other temporary files, which are cleared anyway

// places are the addresses of a configuration of the bank.
type places struct {
	public, admin string
	endpoints     map[string][]string // by the name of the backend
}

// read reads a text of bank.yaml that is, or will be, in the folder.
func (f *folder) read(text string) (*config.Config, *places, error) {
	c, err := gateway.Parse(f.at("bank.yaml"), []byte(text))
	if err != nil {
		return nil, nil, err
	}
	p := &places{endpoints: make(map[string][]string)}
	for _, l := range c.Listeners {
		if l.Name == listenerName {
			p.public = string(l.Address)
		}
	}
	if c.Admin != nil {
		p.admin = string(c.Admin.Address)
	}
	for _, b := range c.Backends {
		for _, e := range b.Endpoints {
			p.endpoints[b.Name] = append(p.endpoints[b.Name], string(e.Address))
		}
	}
	return c, p, nil
}

// rewrite returns a text of bank.yaml with addresses replaced: those of p by those of q. Nothing else changes, and nothing at all where they are
// the same.
func (p *places) rewrite(text string, q *places) string {
	var pairs []string
	p.each(q, func(_, old, now string) { pairs = append(pairs, strconv.Quote(old), strconv.Quote(now)) })
	return strings.NewReplacer(pairs...).Replace(text)
}

// each calls visit with each address of p and what it is in q, in the order of the bank.
func (p *places) each(q *places, visit func(what, old, now string)) {
	visit("the gateway", p.public, q.public)
	visit("the admin listener", p.admin, q.admin)
	for _, name := range sortedNames(p.endpoints) {
		for i, old := range p.endpoints[name] {
			visit(name, old, q.endpoints[name][i])
		}
	}
}

func sortedNames(m map[string][]string) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// provenance says in one line how the configuration that is served differs from the file of examples/bank.
func (p *places) provenance(q *places) string {
	var moved []string
	p.each(q, func(_, old, now string) {
		if old != now {
			moved = append(moved, fmt.Sprintf("%s is %s", port(old), port(now)))
		}
	})
	if len(moved) == 0 {
		return "examples/bank/bank.yaml as it stands"
	}
	return "examples/bank/bank.yaml; for taken ports others: " + strings.Join(moved, ", ")
}

// tries are command lines for whoever wants to look closer. dir is the folder that they are for.
func tries(public, admin, dir string) []string {
	return []string{
		"cd " + dir + " && less bank.yaml",
		"curl -i -H @customer " + public + "/overview",
		"curl -i -H @customer " + public + "/v1/accounts/1001",
		"curl -i -H @transfer -d @transfer.json " + public + "/transfers",
		"curl -i -H @partner " + public + "/rates/USD",
		"curl -s " + admin + "/metrics",
	}
}
