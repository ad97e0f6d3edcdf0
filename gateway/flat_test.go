package gateway

import (
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// forgetful is an origin that keeps nothing of what it has seen.
func forgetful(t *testing.T) (address string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { testnet.Respond(nc, []byte(ok("x"))) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		wg.Wait() // whoever is connected has closed before: the gateway was made later
	})
	return ln.Addr().String()
}

// TestReloadsLeaveNothingBehind takes over 300 configurations that change everything, and compares
// what is left with what was there after the first few.
func TestReloadsLeaveNothingBehind(t *testing.T) {
	o, p := forgetful(t), forgetful(t)
	dir := t.TempDir()
	crt, key := certificate(t, dir, "a.test")
	text := func(i int) string {
		var b strings.Builder
		fmt.Fprintf(&b, "version: 1\nadmin: {address: \"%s:0\"}\naccess_log: {path: %q}\n", []string{"127.0.0.1", "localhost"}[i/3%2], fmt.Sprintf("%s/%d.log", dir, i%2))
		fmt.Fprintf(&b, "listeners:\n  web: {address: \"127.0.0.1:0\", protocol: http}\n  l%d: {address: \"127.0.0.1:0\", protocol: http}\n", i%5)
		fmt.Fprintf(&b, "  tls: {address: \"127.0.0.1:0\", protocol: https, tls: {min_version: %q, certificates: [{cert: %q, key: %q}]}}\n",
			[]string{"1.2", "1.3"}[i%2], crt, key)
		b.WriteString("routes:\n")
		for r := range 20 {
			fmt.Fprintf(&b, "  - {name: r%d-%d, match: {path: /%d/*}, backend: b%d, policies: [{request: {headers: {set: {X-A: \"${request.path}\"}}}}]}\n", i, r, r, i%7)
		}
		fmt.Fprintf(&b, "backends:\n  b%d: {endpoints: [%q, %q], health: {active: {tcp: true}}}\n", i%7, o, []string{p, "127.0.0.1:1"}[i%2])
		return b.String()
	}
	g := start(t, "")
	type counts struct{ goroutines, heap, series, endpoints, stores, logs int }
	var c *testnet.Client
	measure := func() counts {
		g.leaving.Wait() // listeners that are gone
		for range 2 {
			g.sweep() // logs that are not owed anything any more
		}
		n := counts{endpoints: len(g.endpoints.kept), stores: len(g.stores.kept), logs: len(g.logs.kept) + len(g.owing)}
		var page strings.Builder
		if _, err := g.Registry().WriteTo(&page); err != nil {
			t.Fatal(err)
		}
		n.series = strings.Count(page.String(), "\n")
		n.goroutines = runtime.NumGoroutine()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		n.heap = int(m.HeapObjects)
		return n
	}
	var seen []counts
	for i := range 300 {
		g.take(text(i))
		if c == nil {
			c = g.dial("web")
		}
		want(t, c, fmt.Sprintf("/%d/x", i%20), 200, "x")
		if i%30 == 29 { // the same place in the cycles of everything that changes
			seen = append(seen, measure())
		}
	}
	first, last := seen[1], seen[len(seen)-1] // pools have their size by then
	t.Logf("%+v", seen)
	if last.series > first.series+10 || last.endpoints != first.endpoints || last.stores != first.stores || last.logs != first.logs {
		t.Errorf("after 60 reloads %+v, after 300 %+v", first, last)
	}
	heaps := make([]int, 0, len(seen))
	for _, n := range seen[1:] {
		heaps = append(heaps, n.heap)
	}
	// Every configuration is some thousands of objects: keeping even a part of each would show.
	if slices.Min(heaps[len(heaps)/2:]) > slices.Max(heaps[:len(heaps)/2])+500 {
		t.Errorf("objects on the heap: %v", heaps)
	}
	if goroutines := last.goroutines; goroutines > first.goroutines+3 {
		t.Errorf("%d goroutines after 60 reloads, %d after 300", first.goroutines, goroutines)
	}
}
