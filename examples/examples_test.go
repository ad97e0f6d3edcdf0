package examples

import (
	"context"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/gateway"
	"github.com/sluice-gateway/sluice/internal/leak"
	"github.com/sluice-gateway/sluice/internal/testnet"
)

func TestMain(m *testing.M) { leak.Main(m) }

// TestExamplesAreAccepted does with every example what `sluice check` does.
func TestExamplesAreAccepted(t *testing.T) {
	n := 0
	err := filepath.WalkDir(".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Ext(path) != ".yaml" {
			return err
		}
		n++
		t.Run(filepath.ToSlash(path), func(t *testing.T) {
			c, err := gateway.Load(path)
			if err != nil {
				t.Fatal(err)
			}
			warnings, err := gateway.Review(c)
			if err != nil {
				t.Fatal(err)
			}
			if len(c.Warnings)+len(warnings) > 0 {
				t.Errorf("warnings: %v %v", c.Warnings, warnings)
			}
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n < 3 {
		t.Errorf("only %d examples were found", n)
	}
}

// TestReadmeShowsHello holds that the configuration in the README is the one in the file that it names.
func TestReadmeShowsHello(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	hello, err := os.ReadFile("hello/hello.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), "```yaml\n"+string(hello)+"```\n") {
		t.Error("README.md does not show examples/hello/hello.yaml as it is")
	}
}

// TestHello runs the example of the README: both files, and its requests.
func TestHello(t *testing.T) {
	ports := strings.NewReplacer("127.0.0.1:8080", address(t), "127.0.0.1:9001", address(t), "127.0.0.1:9002", address(t), "127.0.0.1:9900", address(t))
	start(t, ports, "hello/services.yaml")
	g := start(t, ports, "hello/hello.yaml")
	base := "http://" + g.Addr("web").String()
	seen := map[string]bool{}
	for range 4 {
		_, body := get(t, base+"/accounts")
		seen[body] = true
	}
	if len(seen) != 2 || !seen["service one\n"] || !seen["service two\n"] {
		t.Errorf("four requests were answered by %v", seen)
	}
	for _, test := range []struct {
		path   string
		status int
		field  string
		value  string
	}{
		{"/accounts", 200, "Cache-Control", "no-store"},
		{"/old/news", 308, "Location", "/news"},
		{"/ping", 200, "Content-Type", "text/plain; charset=utf-8"},
		{"/%2e%2e/etc", 400, "Sluice-Reason", "path_ambiguous"},
	} {
		r, _ := get(t, base+test.path)
		if r.StatusCode != test.status || r.Header.Get(test.field) != test.value {
			t.Errorf("GET %s: status %d, %s: %q; want %d, %q", test.path, r.StatusCode, test.field, r.Header.Get(test.field), test.status, test.value)
		}
	}
	if r, _ := get(t, "http://"+g.AdminAddr().String()+"/readyz"); r.StatusCode != 200 {
		t.Errorf("/readyz: status %d", r.StatusCode)
	}
}

// start serves an example until the test ends. Its fixed addresses are replaced.
func start(t *testing.T, ports *strings.Replacer, file string) *gateway.Gateway {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c, err := gateway.Parse(file, []byte(ports.Replace(string(text))))
	if err != nil {
		t.Fatal(err)
	}
	g := gateway.New(gateway.Options{Version: "test", Stdout: io.Discard, Stderr: io.Discard})
	t.Cleanup(g.Close)
	if err := g.Apply(c); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), testnet.Patience)
	defer cancel()
	if err := g.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	return g
}

// address returns a free address. It is freed again at once, so somebody else could get it; the system hands out others first.
func address(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().String()
}

// get asks over a connection of its own and follows no redirect.
func get(t *testing.T, url string) (*http.Response, string) {
	t.Helper()
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       testnet.Patience,
	}
	r, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r, string(body)
}
