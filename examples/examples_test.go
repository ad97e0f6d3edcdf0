package examples

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/sluice-gateway/sluice/gateway"
	"github.com/sluice-gateway/sluice/internal/leak"
	"github.com/sluice-gateway/sluice/internal/testnet"
)

func TestMain(m *testing.M) { leak.Main(m) }

// doubts are what `sluice check` may say of an example without refusing it. Read-only.
var doubts = map[string][]string{
	// The file is the contract's as it stands: it names neither state nor a store.
	"bank/bank.yaml": {
		`the quota of the plan "standard" begins anew with each start of the program`,
		`the quota of the plan "partner" begins anew with each start of the program`,
	},
}

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
			var told []string
			for _, w := range append(c.Warnings, warnings...) {
				told = append(told, w.Message)
			}
			if !slices.Equal(told, doubts[filepath.ToSlash(path)]) {
				t.Errorf("warnings: %q", told)
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

// address returns a free address. Its port is below those that the system gives to connections and to sockets that ask for any.
func address(t *testing.T) string {
	t.Helper()
	for range 1000 {
		at := fmt.Sprintf("127.0.0.1:%d", 20_000+rand.IntN(10_000))
		if ln, err := net.Listen("tcp", at); err == nil {
			_ = ln.Close()
			return at
		}
	}
	t.Fatal("no free port")
	return ""
}

// get asks over a connection of its own and follows no redirect.
func get(t *testing.T, url string) (*http.Response, string) {
	t.Helper()
	q, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return do(t, q)
}

// do sends a request as get does.
func do(t *testing.T, q *http.Request) (*http.Response, string) {
	t.Helper()
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       testnet.Patience,
	}
	r, err := client.Do(q)
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

// nameServer answers questions over UDP by what answer says until the test ends, and returns its address.
func nameServer(t *testing.T, answer func(q dns.Question) []dns.RR) string {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		m.Answer = answer(q.Question[0])
		_ = w.WriteMsg(m)
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.ActivateAndServe()
	}()
	t.Cleanup(func() {
		_ = pc.Close()
		<-done
	})
	return pc.LocalAddr().String()
}

func record(q dns.Question, rr string) []dns.RR {
	r, err := dns.NewRR(q.Name + " 60 IN " + rr)
	if err != nil {
		return nil
	}
	return []dns.RR{r}
}

// TestEdge runs the example of a load balancer at the edge of a shop, with its services, and shows each of its listeners at work.
func TestEdge(t *testing.T) {
	cert, err := tls.LoadX509KeyPair("edge/certs/shop.pem", "edge/certs/shop.key")
	if err != nil {
		t.Fatal(err)
	}
	// What no service of the project stands in for: two servers of the shop that end TLS, two name servers, and the one that knows the shop's servers.
	var shops []string
	for range 2 {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "shop by TLS for "+r.TLS.ServerName)
		}))
		s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
		s.StartTLS()
		t.Cleanup(s.Close)
		shops = append(shops, s.Listener.Addr().String())
	}
	one, two := shops[0][strings.LastIndexByte(shops[0], ':')+1:], shops[1][strings.LastIndexByte(shops[1], ':')+1:]
	internal := nameServer(t, func(q dns.Question) []dns.RR {
		switch {
		case q.Qtype == dns.TypeSRV && q.Name == "_https._tcp.shop.internal.example.":
			return record(q, "SRV 1 1 "+two+" second.shop.internal.example.")
		case q.Qtype == dns.TypeA && strings.HasSuffix(q.Name, "shop.internal.example."):
			return record(q, "A 127.0.0.1")
		}
		return nil
	})
	resolver := func(name string) string {
		return nameServer(t, func(q dns.Question) []dns.RR { return record(q, "TXT "+name) })
	}
	pairs := []string{
		"127.0.0.1:5300", internal, "127.0.0.1:5354", resolver("first"), "127.0.0.1:5355", resolver("second"), "port: 8443", "port: " + one,
		`":8080"`, `"127.0.0.1:0"`, `":8443"`, `"127.0.0.1:0"`, `":5432"`, `"127.0.0.1:0"`, `":5353"`, `"127.0.0.1:0"`, `":9443"`, `"127.0.0.1:0"`, "127.0.0.1:9900", "127.0.0.1:0",
	}
	for _, port := range []string{"9001", "9002", "9003", "9011", "9021", "9022", "9023", "5433", "5434", "9993"} {
		pairs = append(pairs, "127.0.0.1:"+port, address(t))
	}
	ports := strings.NewReplacer(pairs...)
	start(t, ports, "edge/services.yaml")
	g := start(t, ports, "edge/edge.yaml")
	web := "http://" + g.Addr("web").String()
	ask := func(host, path, cookie string) (*http.Response, string) {
		t.Helper()
		q, err := http.NewRequest("GET", web+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if q.Host = host; cookie != "" {
			q.Header.Set("Cookie", cookie)
		}
		return do(t, q)
	}

	// Routes by host and path; a session stays where it began.
	seen := map[string]bool{}
	for range 20 {
		r, first := ask("shop.example", "/", "")
		cookie, _, _ := strings.Cut(r.Header.Get("Set-Cookie"), ";")
		if !strings.HasPrefix(cookie, "shop_session=") {
			t.Fatalf("no session: %v", r.Header)
		}
		if _, again := ask("shop.example", "/checkout/cart", cookie); again != first {
			t.Errorf("a session began at %q and went on at %q", first, again)
		}
		seen[first] = true
	}
	if len(seen) != 2 || !seen["shop 1\n"] || !seen["shop 2\n"] {
		t.Errorf("sessions began at %v", seen)
	}
	for _, path := range []string{"/images/a", "/images/b", "/images/c", "/images/d"} {
		_, first := ask("cdn.shop.example", path, "")
		if _, again := ask("cdn.shop.example", path, ""); again != first || !strings.HasPrefix(first, "images ") {
			t.Errorf("%s is answered by %q, then by %q", path, first, again)
		}
	}
	if _, body := ask("shop.example", "/beta/x", ""); !strings.HasPrefix(body, "shop ") && body != "the next version of the shop\n" {
		t.Errorf("/beta/x is answered by %q", body)
	}

	// The certificate of the shop, for HTTPS.
	roots := x509.NewCertPool()
	pem, err := os.ReadFile("edge/certs/shop.pem")
	if err != nil || !roots.AppendCertsFromPEM(pem) {
		t.Fatalf("no certificate in edge/certs/shop.pem: %v", err)
	}
	secure := func(listener, name string) string {
		t.Helper()
		client := &http.Client{Timeout: testnet.Patience, Transport: &http.Transport{
			DisableKeepAlives: true, TLSClientConfig: &tls.Config{ServerName: name, RootCAs: roots},
		}}
		r, err := client.Get("https://" + g.Addr(listener).String() + "/")
		if err != nil {
			t.Fatalf("%s as %s: %v", listener, name, err)
		}
		defer func() { _ = r.Body.Close() }()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	if body := secure("web-tls", "shop.example"); !strings.HasPrefix(body, "shop ") {
		t.Errorf("web-tls: %q", body)
	}

	// TLS that is passed on, by name. The endpoints of the shop are looked up.
	if body := secure("passthrough", "mail.shop.example"); body != "mail\n" {
		t.Errorf("passthrough to mail: %q", body)
	}
	for range 4 {
		if body := secure("passthrough", "shop.example"); body != "shop by TLS for shop.example" {
			t.Errorf("passthrough to the shop: %q", body)
		}
	}

	// The database: what stands in for it insists on a PROXY header and speaks HTTP. Its second endpoint is away.
	for range 4 {
		if _, body := get(t, "http://"+g.Addr("database").String()+"/"); body != "shop 1\n" {
			t.Errorf("database: %q", body)
		}
	}

	// Name servers: a client stays with one.
	seen = map[string]bool{}
	for range 4 {
		q := new(dns.Msg)
		q.SetQuestion("shop.example.", dns.TypeTXT)
		client := &dns.Client{Timeout: testnet.Patience}
		m, _, err := client.Exchange(q, g.Addr("dns").String())
		if err != nil || len(m.Answer) != 1 {
			t.Fatalf("dns: %v, %v", m, err)
		}
		seen[m.Answer[0].(*dns.TXT).Txt[0]] = true
	}
	if len(seen) != 1 || !seen["first"] && !seen["second"] {
		t.Errorf("one client was answered by %v", seen)
	}

	// When the two servers of priority 0 are out of service, the third is used.
	admin := "http://" + g.AdminAddr().String()
	for _, port := range []string{"9001", "9002"} {
		q, err := http.NewRequest("PATCH", admin+"/backends/shop/endpoints/"+ports.Replace("127.0.0.1:"+port), strings.NewReader(`{"state": "maint"}`))
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Content-Type", "application/json")
		if r, body := do(t, q); r.StatusCode != 200 {
			t.Fatalf("PATCH: %d %s", r.StatusCode, body)
		}
	}
	if _, body := ask("shop.example", "/", ""); body != "shop 3, which is used when the others are down\n" {
		t.Errorf("with two endpoints out of service: %q", body)
	}
	if r, body := get(t, admin+"/backends"); r.StatusCode != 200 || !strings.Contains(body, "maint") {
		t.Errorf("/backends: %d %s", r.StatusCode, body)
	}
}
