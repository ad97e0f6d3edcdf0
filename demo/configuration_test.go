package demo

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What the program holds is what lies in examples/bank, byte for byte.
func TestEmbeddedFiles(t *testing.T) {
	for file, text := range map[string]string{"bank.yaml": bankYAML, "certs/jwks.json": bankKeys, "schemas/transfer.json": bankSchema} {
		want, err := os.ReadFile(filepath.Join("../examples/bank", filepath.FromSlash(file)))
		if err != nil {
			t.Fatal(err)
		}
		if text != string(want) {
			t.Errorf("demo/files/%s is not examples/bank/%s: copy it", filepath.Base(file), file)
		}
	}
}

// bankFolder is a folder that ends with the test.
func bankFolder(t *testing.T) *folder {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	i, err := newIssuer()
	if err != nil {
		t.Fatal(err)
	}
	f, err := openFolder(i)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.remove)
	return f
}

func TestConfiguration(t *testing.T) {
	f := bankFolder(t)
	c, file, err := f.read(bankYAML)
	if err != nil {
		t.Fatal(err)
	}
	if file.public != "127.0.0.1:8080" || file.admin != "127.0.0.1:9900" || len(c.Backends) != 3 {
		t.Errorf("the file is read as %+v", file)
	}
	b, err := openBank(bankPlan(), file.starts(true))
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	if same := file.rewrite(bankYAML, file); same != bankYAML {
		t.Error("the text changes although no address does")
	}
	if got := file.provenance(file); got != "examples/bank/bank.yaml as it stands" {
		t.Errorf("of a text that is as it stands: %s", got)
	}
	want := &places{public: "127.0.0.1:41000", admin: "127.0.0.1:9900", endpoints: b.addresses()}
	text := file.rewrite(bankYAML, want)
	if n := strings.Count(text, "\n"); n != strings.Count(bankYAML, "\n") {
		t.Errorf("%d lines", n)
	}
	_, got, err := f.read(text)
	if err != nil {
		t.Fatal(err)
	}
	want.each(got, func(what, want, got string) {
		if got != want {
			t.Errorf("%s is at %s, want %s", what, got, want)
		}
	})
	told := file.provenance(want)
	if !strings.HasPrefix(told, "examples/bank/bank.yaml; for taken ports others: :8080 is :41000, :9101 is :") || strings.Contains(told, "9900") {
		t.Errorf("of a text with other ports: %s", told)
	}
	for name, n := range map[string]int{"accounts": 2, "transactions": 2, "rates": 1} {
		if len(got.endpoints[name]) != n {
			t.Errorf("backend %s has %d endpoints, want %d", name, len(got.endpoints[name]), n)
		}
		for _, address := range got.endpoints[name] {
			if b.find(address) == nil {
				t.Errorf("backend %s: %s is no endpoint of this service", name, address)
			}
		}
	}
	if b.find("127.0.0.1:1") != nil {
		t.Error("the bank has what it cannot have")
	}
}

// An endpoint whose port is taken goes elsewhere.
func TestBankAtTakenPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	taken := l.Addr().String()
	b, err := openBank(bankPlan(), map[string][]string{"rates": {taken}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	if got := b.addresses()["rates"]; len(got) != 1 || got[0] == taken {
		t.Errorf("the endpoint is at %v, want it at another port", got)
	}
	if _, err := openBank(bankPlan(), map[string][]string{"rates": {"nowhere"}}); err == nil || !strings.Contains(err.Error(), "service rates") {
		t.Errorf("an endpoint at no address: %v", err)
	}
}

func TestFolderThatCannotBe(t *testing.T) {
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "missing"))
	i, err := newIssuer()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openFolder(i); err == nil {
		t.Error("a folder where there can be none")
	}
}

func TestTries(t *testing.T) {
	for _, l := range tries("127.0.0.1:8080", "127.0.0.1:9900", "/tmp/sluice-demo-1234567890") {
		if len(l)+5 > 80 {
			t.Errorf("%q does not fit 80 columns with its label", l)
		}
	}
}
