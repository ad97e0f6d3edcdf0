//go:build !race

package upstream

import (
	"testing"

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
