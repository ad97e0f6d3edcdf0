package demo

import (
	"slices"
	"testing"

	"github.com/sluice-gateway/sluice/gateway"
)

func TestConfiguration(t *testing.T) {
	b, err := openBank(bankPlan())
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	c, err := gateway.Parse("demo.yaml", []byte(configuration(b, "127.0.0.1:0", "127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	if err := gateway.Check(c); err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings) > 0 {
		t.Errorf("warnings: %v", c.Warnings)
	}
	want := map[string]int{"accounts": 2, "transactions": 3, "rates": 3}
	for _, backend := range c.Backends {
		if len(backend.Endpoints) != want[backend.Name] {
			t.Errorf("backend %s has %d endpoints, want %d", backend.Name, len(backend.Endpoints), want[backend.Name])
		}
		for _, e := range backend.Endpoints {
			if p := b.find(string(e.Address)); p == nil || !slices.Contains(b.addresses(backend.Name), p.address) {
				t.Errorf("backend %s: %s is no endpoint of this service", backend.Name, e.Address)
			}
		}
	}
	if len(c.Backends) != len(want) {
		t.Errorf("%d backends, want %d", len(c.Backends), len(want))
	}
	if b.find("127.0.0.1:1") != nil || b.addresses("loans") != nil {
		t.Error("the bank has what it cannot have")
	}
}

func TestTries(t *testing.T) {
	lines := tries("127.0.0.1:8080", "127.0.0.1:9900", "x.yaml")
	if n := len(tries("127.0.0.1:8080", "127.0.0.1:9900", "")); n != len(lines)-1 {
		t.Errorf("%d lines without a file, %d with one", n, len(lines))
	}
	for _, l := range lines {
		if len(l)+5 > 80 {
			t.Errorf("%q does not fit 80 columns with its label", l)
		}
	}
}
