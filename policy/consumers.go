package policy

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/identity"
	"github.com/sluice-gateway/sluice/message"
)

// Consumers are the consumers of a configuration. It is immutable.
type Consumers struct {
	all     []*config.Consumer
	keys    *identity.KeySet
	known   [sha256.Size]byte  // a sum over what callers are recognised by
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
	out.keys = newKeySet(c.Consumers)
	h := sha256.New()
	for _, consumer := range c.Consumers {
		fmt.Fprintf(h, "%q %q", consumer.Name, consumer.Plan)
		for _, claim := range consumer.Claims {
			fmt.Fprintf(h, " %q=%q", claim.Name, claim.Value)
		}
		h.Write([]byte{'\n'})
	}
	h.Sum(out.known[:0])
	return out
}

// newKeySet returns the keys of all consumers. Which occurs twice the configuration has reported.
func newKeySet(all []*config.Consumer) *identity.KeySet {
	var hashes []identity.KeyHash
	var ids []*message.Identity
	seen := make(map[identity.KeyHash]bool)
	for _, consumer := range all {
		id := &message.Identity{Consumer: consumer.Name, Plan: consumer.Plan}
		for _, k := range consumer.APIKeys {
			if hash := identity.KeyHash(k); !seen[hash] {
				seen[hash] = true
				hashes, ids = append(hashes, hash), append(ids, id)
			}
		}
	}
	set, err := identity.NewKeySet(hashes, ids)
	if err != nil {
		set, _ = identity.NewKeySet(nil, nil) // not reached: no hash stands there twice
	}
	return set
}

// keySet returns the keys of all consumers.
func (c *Consumers) keySet() *identity.KeySet {
	if c == nil {
		return newKeySet(nil)
	}
	return c.keys
}

// sum is the same for consumers that callers are recognised as in the same way, but for API keys.
func (c *Consumers) sum() (sum [sha256.Size]byte) {
	if c != nil {
		sum = c.known
	}
	return sum
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
		if claim == nil || !hasValue(claim, want[i].Value) {
			return false
		}
	}
	return true
}

// hasValue reports whether a claim is the value, or a list that holds it: aud of a token and the names in a certificate are lists.
func hasValue(claim *message.Claim, want string) bool {
	switch {
	case claim.Text != nil:
		return string(claim.Text) == want
	case len(claim.Raw) == 0:
		return false
	case claim.Raw[0] != '[':
		return string(claim.Raw) == want // a number or a truth value stands in the configuration as its text
	}
	var list []any
	if json.Unmarshal(claim.Raw, &list) != nil {
		return false
	}
	return slices.ContainsFunc(list, func(v any) bool { return v == any(want) })
}

// ByName sets the consumer of an identity whose claim sub is the consumer's name.
func (c *Consumers) ByName(id *message.Identity) {
	c.named(id, id.Claim("sub"))
}

// ByCertificate sets the consumer of an identity that was made of a certificate: by its claims, or by the common name of its subject.
func (c *Consumers) ByCertificate(id *message.Identity) {
	c.ByClaims(id)
	if id.Consumer == "" {
		c.named(id, id.Claim("cn"))
	}
}

func (c *Consumers) named(id *message.Identity, claim *message.Claim) {
	if c == nil || claim == nil {
		return
	}
	for _, consumer := range c.all {
		if consumer.Name == string(claim.Text) {
			id.Consumer, id.Plan = consumer.Name, consumer.Plan
			return
		}
	}
}
