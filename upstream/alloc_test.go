//go:build !race

package upstream

import (
	"net/netip"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
)

// twoPieces is a client's body that can be used again.
type twoPieces struct{ left int }

func (b *twoPieces) Next() ([]byte, error) { b.left--; return onePiece, nil }
func (*twoPieces) Close() error            { return nil }

var onePiece = pattern(3000)

// TestDoDoesNotAllocate is the gate of the hot path: an exchange without trouble, with and without a body, with metrics.
func TestDoDoesNotAllocate(t *testing.T) {
	for _, algorithm := range []string{"round_robin", "random", "least_request"} {
		for _, pieces := range []int{0, 1, 2} {
			g := newGroup(t, func(o *Options) { o.Algorithm = algorithm }, pull, pull, pull)
			for _, ep := range g.endpoints {
				ep.metrics.open(metric.NewRegistry(metric.Options{}), ep)
			}
			f, x := &Flight{Shard: 3}, newExchange("PUT")
			body := &twoPieces{}
			if got := testing.AllocsPerRun(500, func() {
				x.Outcome = message.Outcome{}
				body.left = pieces
				x.Request.Body, x.Request.Length = body, int64(pieces*len(onePiece))
				if failure := g.Do(x, f); failure != nil {
					t.Fatal(failure)
				}
				f.Finish(x)
			}); got != 0 {
				t.Errorf("%s with a body of %d pieces allocates %v times", algorithm, pieces, got)
			}
		}
	}
}

// TestFeaturesDoNotAllocate: what is switched on, but not met, costs no allocation: a bound that is not reached, a second attempt that is not sent,
// a PROXY header.
func TestFeaturesDoNotAllocate(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"bound":            func(o *Options) { o.MaxInFlight = 2 },
		"hedge":            func(o *Options) { o.Hedge = &HedgeOptions{After: time.Hour, Budget: 0.05} },
		"hedge percentile": func(o *Options) { o.Hedge = &HedgeOptions{Percentile: 95, Budget: 0.05} },
		"proxy header":     func(o *Options) { o.ProxyProtocol = 2 },
	} {
		g := newGroup(t, change, pull, pull, pull)
		f, x := &Flight{}, newExchange("GET")
		x.Client = message.Client{Peer: netip.MustParseAddrPort("192.0.2.1:1000"), Local: netip.MustParseAddrPort("192.0.2.9:443")}
		send := func() {
			x.Outcome = message.Outcome{}
			x.Times = message.Times{Start: message.Now()}
			if failure := g.Do(x, f); failure != nil {
				t.Fatal(failure)
			}
			f.Finish(x)
		}
		for range 2 * enoughTimes { // until there is a percentile
			send()
		}
		if h := g.hedging; h != nil && h.recent != nil {
			h.recent.look(message.Now())
			if h.delay() == 0 {
				t.Fatal("no percentile is known")
			}
		}
		if got := testing.AllocsPerRun(500, send); got != 0 {
			t.Errorf("%s allocates %v times", name, got)
		}
	}
}

// pull is a transport that takes the whole body and answers 200.
func pull(x *message.Exchange, _ *Call) *message.Failure {
	for n := x.Request.Length; n > 0; {
		piece, err := x.Request.Body.Next()
		if err != nil {
			return &clientFailure
		}
		n -= int64(len(piece))
	}
	x.Response.Status = 200
	x.Times.FirstByte = x.Times.Start + 1
	return nil
}
