package rig

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-gateway/sluice/gateway"
	"github.com/sluice-gateway/sluice/internal/testnet"
)

// Gateway is a whole gateway in the process of the test.
type Gateway struct {
	*gateway.Gateway
	// Out is where an access log with the path stdout goes, Reports the lines for operators.
	Out, Reports Buffer

	t testing.TB
}

// Start runs a gateway with a configuration text and waits until it is ready. It is closed at the end of the test.
func Start(t testing.TB, text string) *Gateway {
	t.Helper()
	g := &Gateway{t: t}
	g.Gateway = gateway.New(gateway.Options{
		Version: "test", Stdout: &g.Out, Stderr: &g.Out,
		Report: func(line string) { _, _ = g.Reports.Write([]byte(line + "\n")) },
	})
	t.Cleanup(g.Close)
	if err := g.Reload(text); err != nil {
		t.Fatalf("configuration:\n%s\n%v", text, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), testnet.Patience)
	defer cancel()
	if err := g.WaitReady(ctx); err != nil {
		t.Fatalf("not ready: %v", err)
	}
	return g
}

// Reload makes a text the configuration that is served.
func (g *Gateway) Reload(text string) error {
	c, err := gateway.Parse("test.yaml", []byte(text))
	if err != nil {
		return err
	}
	return g.Apply(c)
}

// Address returns the address of a listener.
func (g *Gateway) Address(listener string) string {
	g.t.Helper()
	a := g.Addr(listener)
	if a == nil {
		g.t.Fatalf("there is no listener %q", listener)
	}
	return a.String()
}

// Dial connects to a listener.
func (g *Gateway) Dial(listener string) *Client {
	g.t.Helper()
	return Dial(g.t, g.Address(listener))
}

// Log waits until the access log has at least n lines and returns them, decoded.
func (g *Gateway) Log(n int) []map[string]any {
	g.t.Helper()
	testnet.Eventually(g.t, "lines of the access log", func() bool { return strings.Count(g.Out.String(), "\n") >= n })
	var all []map[string]any
	for line := range strings.Lines(g.Out.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			g.t.Fatalf("line %q of the access log: %v", line, err)
		}
		all = append(all, fields)
	}
	return all
}

// Metrics returns the metrics as a scraper gets them.
func (g *Gateway) Metrics() string {
	g.t.Helper()
	var b bytes.Buffer
	if _, err := g.Registry().WriteTo(&b); err != nil {
		g.t.Fatalf("metrics: %v", err)
	}
	return b.String()
}

// Metric returns the value of one series, written as /metrics shows it without its value, or "" if there is none.
func (g *Gateway) Metric(series string) string {
	g.t.Helper()
	for line := range strings.Lines(g.Metrics()) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// Buffer is a bytes.Buffer for several goroutines.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write appends p.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// String returns everything so far.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
