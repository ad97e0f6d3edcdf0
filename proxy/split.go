package proxy

import (
	"encoding/binary"
	"math"
	"math/bits"
	"math/rand/v2"

	"github.com/sluice-gateway/sluice/balance"
	"github.com/sluice-gateway/sluice/expr"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/upstream"
)

// Split sends each request to one of several backends, by weight.
type Split struct {
	Parts []SplitPart
	Key   *expr.Program // requests with the same value go the same way; nil to draw for each

	total uint64
}

// SplitPart is one backend with its weight against the others'.
type SplitPart struct {
	Backend *upstream.Backend
	Weight  uint64
}

// Seal completes a split. At least one weight is above 0.
func (a *Split) Seal() {
	a.total = 0
	for _, p := range a.Parts {
		a.total += p.Weight
	}
}

func (a *Split) serve(x *message.Exchange, s *state) *message.Failure {
	s.flying = true
	return a.choose(x).Do(x, &s.flight)
}

// choose returns the backend of a request. One without the key's value is drawn.
func (a *Split) choose(x *message.Exchange) *upstream.Backend {
	if a.Key != nil {
		if value, ok := a.Key.Append(x.Scratch(), x); ok {
			return a.keyed(x, balance.Hash(value))
		}
	}
	return a.drawn(rand.Uint64())
}

// drawn returns the backend of a random number that is uniform over all values.
func (a *Split) drawn(random uint64) *upstream.Backend {
	place, _ := bits.Mul64(random, a.total)
	for i := range a.Parts {
		if place < a.Parts[i].Weight {
			return a.Parts[i].Backend
		}
		place -= a.Parts[i].Weight
	}
	return a.Parts[len(a.Parts)-1].Backend // the weights add up to total: not reached
}

// keyed returns the backend of a hash: weighted rendezvous hashing by the backends' names (Schindelhauer, Schomaker, 2005). Each backend draws a
// time, exponentially distributed with its weight as the rate, from nothing but the hash and its name, and the first has the key. So more weight
// for one takes keys from the others in proportion and moves none between them, and the order in the file means nothing. The name is in the hash
// for another reason too: what a backend hashes by may be the same key, and must not be cut into the same pieces.
func (a *Split) keyed(x *message.Exchange, hash uint64) *upstream.Backend {
	b := binary.LittleEndian.AppendUint64(x.Scratch(), hash)
	n := len(b)
	best, first := 0, math.Inf(1)
	for i := range a.Parts {
		p := &a.Parts[i]
		if p.Weight == 0 {
			continue
		}
		b = append(b[:n], p.Backend.Name()...)
		uniform := (float64(balance.Hash(b)>>11) + 0.5) / (1 << 53) // above 0 and at most 1
		if time := -math.Log(uniform) / float64(p.Weight); time < first {
			best, first = i, time
		}
	}
	return a.Parts[best].Backend
}
