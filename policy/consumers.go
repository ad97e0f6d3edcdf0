package policy

import (
	"bytes"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/message"
)

// Consumers are the consumers of a configuration. It is immutable.
type Consumers struct {
	all     []*config.Consumer
	byClaim []*config.Consumer // those that tokens are known by, in the order of the file
}

// NewConsumers makes the consumers of a configuration ready to be found.
func NewConsumers(c *config.Config) *Consumers {
	out := &Consumers{all: c.Consumers}
	for _, consumer := range c.Consumers {
		if len(consumer.Claims) > 0 {
			out.byClaim = append(out.byClaim, consumer)
		}
	}
	return out
}

// ByClaims sets the consumer of an identity that was made of a verified token: the first whose claims are all there.
func (c *Consumers) ByClaims(id *message.Identity) {
	if c == nil {
		return
	}
	for _, consumer := range c.byClaim {
		if hasClaims(id, consumer.Claims) {
			id.Consumer, id.Plan = consumer.Name, consumer.Plan
			return
		}
	}
}

func hasClaims(id *message.Identity, want []config.Pair) bool {
	for i := range want {
		claim := id.Claim(want[i].Name)
		if claim == nil {
			return false
		}
		have := claim.Text
		if have == nil {
			have = claim.Raw // a number or a truth value stands in the configuration as its text
		}
		if !bytes.Equal(have, []byte(want[i].Value)) {
			return false
		}
	}
	return true
}
