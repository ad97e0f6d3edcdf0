package clients

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/test/rig"
)

// TestDig: dig asks a name server behind a listener for udp, and where an answer does not fit into a datagram, behind one for tcp at the same port.
func TestDig(t *testing.T) {
	t.Parallel()
	programs := need(t, "dig", "dnsmasq")
	port := freePort(t)
	args := []string{
		"--keep-in-foreground", "--conf-file=/dev/null", "--port=" + port, "--listen-address=127.0.0.1", "--bind-interfaces", "--no-resolv", "--no-hosts", "--no-poll",
		"--pid-file=", "--user=" + user(), "--address=/a.test/192.0.2.1", "--local-ttl=60", "--edns-packet-max=4096",
	}
	large := "--txt-record=large.test"
	for i := range 16 {
		large += fmt.Sprintf(",%03d%s", i, strings.Repeat("x", 197))
	}
	launch(t, programs["dnsmasq"], append(args, large)...)
	accepts(t, port) // it listens for both, and for UDP first
	own := freePort(t)
	g := rig.Start(t, fmt.Sprintf(`version: 1
access_log: stdout
listeners:
  dns: {address: "127.0.0.1:%[1]s", protocol: udp, backend: resolvers, udp: {responses: 1}, idle_timeout: 10s}
  dns-tcp: {address: "127.0.0.1:%[1]s", protocol: tcp, backend: resolvers}
backends: {resolvers: {endpoints: ["127.0.0.1:%[2]s"], balance: {algorithm: ring_hash, key: client.ip}}}
`, own, port))
	dig := func(args ...string) string {
		t.Helper()
		return run(t, nil, programs["dig"], append([]string{"@127.0.0.1", "-p", own, "+time=5", "+tries=2"}, args...)...)
	}
	if got := dig("a.test", "A", "+short"); got != "192.0.2.1\n" {
		t.Errorf("A: %q", got)
	}
	if got := dig("a.test", "A"); !strings.Contains(got, "status: NOERROR") || !strings.Contains(got, ";; SERVER: 127.0.0.1#"+own) {
		t.Errorf("A:\n%s", got)
	}
	if n := g.Metric(`sluice_connections_total{listener="dns-tcp"}`); n != "0" {
		t.Errorf("%s questions came by TCP", n)
	}
	// What does not fit is cut, and asked again by TCP.
	if got := dig("large.test", "TXT", "+bufsize=1232", "+ignore"); !strings.Contains(got, " tc") {
		t.Errorf("an answer that does not fit is not cut:\n%s", got)
	}
	got := dig("large.test", "TXT", "+bufsize=1232")
	if !strings.Contains(got, "Truncated, retrying in TCP mode") || !strings.Contains(got, "(TCP)") || strings.Count(got, strings.Repeat("x", 197)) != 16 {
		t.Errorf("an answer that does not fit:\n%.2000s", got)
	}
	// Larger datagrams pass as they are.
	if got := dig("large.test", "TXT", "+bufsize=4096"); strings.Contains(got, "TCP") || strings.Count(got, strings.Repeat("x", 197)) != 16 {
		t.Errorf("an answer of 3 KB by UDP:\n%.2000s", got)
	}
	// 500 questions of one process, as they come.
	questions := filepath.Join(t.TempDir(), "questions")
	if err := os.WriteFile(questions, []byte(strings.Repeat("a.test A\n", 500)), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := dig("+short", "-f", questions); got != strings.Repeat("192.0.2.1\n", 500) {
		t.Errorf("500 questions: %d answers", strings.Count(got, "192.0.2.1\n"))
	}
	testnet.Eventually(t, "the end of the sessions", func() bool { return g.Metric(`sluice_connections{listener="dns"}`) == "0" })
	for series, want := range map[string]string{
		`sluice_sessions_total{listener="dns",reason="none"}`: g.Metric(`sluice_connections_total{listener="dns"}`), `sluice_sessions_total{listener="dns-tcp",reason="none"}`: "1",
	} {
		if got := g.Metric(series); got != want {
			t.Errorf("%s is %q, want %q", series, got, want)
		}
	}
}

// user is who dnsmasq is to run as: whoever runs the test, or it would look for a user of its own.
func user() string {
	if name := os.Getenv("USER"); name != "" && os.Geteuid() != 0 {
		return name
	}
	return "root"
}
