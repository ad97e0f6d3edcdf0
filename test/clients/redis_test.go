package clients

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/test/rig"
)

// TestRedis: redis-cli works with a redis-server behind a listener for tcp as it does without one.
func TestRedis(t *testing.T) {
	t.Parallel()
	programs := need(t, "redis-server", "redis-cli")
	port := freePort(t)
	launch(t, programs["redis-server"], "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no", "--logfile", "")
	accepts(t, port)
	g := rig.Start(t, fmt.Sprintf(`version: 1
access_log: stdout
listeners: {redis: {address: "127.0.0.1:0", protocol: tcp, backend: redis}}
backends: {redis: {endpoints: ["127.0.0.1:%s"], balance: least_connections, health: {active: {tcp: true}}}}
`, port))
	_, own, _ := strings.Cut(g.Address("redis"), ":")
	cli := func(stdin []byte, args ...string) string {
		t.Helper()
		return run(t, stdin, programs["redis-cli"], append([]string{"-h", "127.0.0.1", "-p", own}, args...)...)
	}
	if got := cli(nil, "SET", "name", "value") + cli(nil, "GET", "name"); got != "OK\nvalue\n" {
		t.Errorf("SET and GET: %q", got)
	}

	// 10,000 commands in one go, as RESP.
	var commands bytes.Buffer
	for i := range 10_000 {
		key, value := fmt.Sprint("key", i), fmt.Sprint("value", i)
		fmt.Fprintf(&commands, "*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(key), key, len(value), value)
	}
	if got := cli(commands.Bytes(), "--pipe"); !strings.Contains(got, "errors: 0, replies: 10000") {
		t.Errorf("pipeline: %q", got)
	}
	if got := cli(nil, "GET", "key9999") + cli(nil, "DBSIZE"); got != "value9999\n10001\n" {
		t.Errorf("behind the pipeline: %q", got)
	}

	// A value of 10 MB, there and back.
	large := bytes.Repeat([]byte("0123456789abcdef"), 10<<20/16)
	if got := cli(large, "-x", "SET", "large"); got != "OK\n" {
		t.Errorf("SET of 10 MB: %.100q", got)
	}
	if got := cli(nil, "GET", "large"); got != string(large)+"\n" {
		t.Errorf("GET of 10 MB: %d bytes", len(got))
	}

	// Two streams from the server: what is published, and every command that anybody sends.
	news := launch(t, programs["redis-cli"], "-h", "127.0.0.1", "-p", own, "SUBSCRIBE", "news")
	monitor := launch(t, programs["redis-cli"], "-h", "127.0.0.1", "-p", own, "MONITOR")
	testnet.Eventually(t, "the subscription", func() bool {
		return strings.Contains(news.String(), "subscribe") && strings.Contains(monitor.String(), "OK")
	})
	for i := range 20 {
		if got := cli(nil, "PUBLISH", "news", fmt.Sprint("item", i)); got != "1\n" {
			t.Errorf("PUBLISH: %q", got)
		}
	}
	testnet.Eventually(t, "the last item", func() bool {
		return strings.Contains(news.String(), "item19\n") && strings.Contains(monitor.String(), `"item19"`)
	})
	for i := range 20 {
		if item := fmt.Sprintf("message\nnews\nitem%d\n", i); strings.Count(news.String(), item) != 1 {
			t.Errorf("not one %q in %q", item, news.String())
		}
		if command := fmt.Sprintf(`"PUBLISH" "news" "item%d"`, i); strings.Count(monitor.String(), command) != 1 {
			t.Errorf("not one %s in %q", command, monitor.String())
		}
	}
	if got := g.Metric(`sluice_sessions_total{listener="redis",reason="upstream_reset"}`); got != "0" && got != "" {
		t.Errorf("%s sessions were reset", got)
	}
	for _, line := range g.Log(20) {
		if line["reason"] != nil {
			t.Errorf("a session that did not end in order: %v", line)
		}
	}
}
