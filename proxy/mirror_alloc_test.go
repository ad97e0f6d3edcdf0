//go:build !race

package proxy

import (
	"io"
	"testing"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/upstream"
)

// TestMirrorAllocations: who is not copied pays nothing for those who are, on the same connection and with the same memory.
func TestMirrorAllocations(t *testing.T) {
	o := testnet.NewOrigin(t, func(c *testnet.OriginConn) { testnet.Respond(c.Conn, []byte(okAnswer)) })
	app := backend(t, o.Addr, nil, nil)
	next := backend(t, o.Addr, func(o *upstream.Options) { o.Name = "next" }, nil)
	m, none := mirrorTo(t, o.Addr, nil), mirrorTo(t, o.Addr, nil)
	none.Share = 0
	split := &Split{Parts: []SplitPart{{app, 95}, {next, 5}}, Key: program(t, "request.path")}
	split.Seal()
	h := NewHTTP(site(t, nil,
		at("/plain", &Route{Action: &Forward{app}}),
		at("/copied", &Route{Action: &Forward{app}, Mirror: m}),
		at("/share", &Route{Action: split, Mirror: none}),
		at("/split", &Route{Action: split})))
	for _, path := range []string{"/plain", "/share", "/split"} {
		c := connect(t, h, serverOptions(), "192.0.2.7:1")
		before := m.Metrics.Answered.Value()
		c.Do("GET", get("/copied"))
		wantCounts(t, m, before+1, 0, 0, 0, 0)
		sent, got := []byte(get(path)), make([]byte, len(answerText(c.Do("GET", get(path)))))
		if n := testing.AllocsPerRun(300, func() {
			if _, err := c.Conn.Write(sent); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(c.Conn, got); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations for each request, want 0", path, n)
		}
	}
}
