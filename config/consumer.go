package config

import (
	"strings"
	"time"
)

// Plan is the limits that consumers share: each consumer has them for itself.
type Plan struct {
	// Name that consumers call the plan by.
	Name string `yaml:",key" check:"name"`
	// Pos is the place of the plan.
	Pos Pos `yaml:"-"`
	// Rate bounds how often a consumer may call, evened out over the unit (GCRA).
	Rate Rate `yaml:"rate"`
	// Burst is how many requests pass at once from rest. The default is the number of the rate.
	Burst int64 `yaml:"burst" min:"1" max:"1000000000"`
	// Quota bounds how often a consumer may call in one calendar period, such as 100000/month.
	Quota Rate `yaml:"quota"`
	// Timezone that the periods of the quota begin in, as in `Europe/Berlin`.
	Timezone string `yaml:"timezone" default:"UTC"`
}

// Check reports a plan that limits nothing, a burst without a rate, and a time zone that is not known.
func (p *Plan) Check(r *Reporter) {
	if p.Rate.Count == 0 && p.Quota.Count == 0 && !r.Set(&p.Rate) && !r.Set(&p.Quota) {
		r.AddSuggest(p.Pos, "add a rate or a quota", "the plan %q limits nothing", p.Name)
	}
	if p.Burst > 0 && p.Rate.Count == 0 && !r.Set(&p.Rate) {
		r.Add(r.At(&p.Burst), "burst: belongs to rate, which is missing")
	}
	if p.Timezone == "Local" || p.Timezone == "" {
		r.AddSuggest(r.At(&p.Timezone), "write one such as Europe/Berlin", "timezone: %q means something else on each machine", p.Timezone)
	} else if _, err := time.LoadLocation(p.Timezone); err != nil {
		r.AddSuggest(r.At(&p.Timezone), "write one such as Europe/Berlin", "timezone: there is no time zone %q", p.Timezone)
	}
}

// Consumer is a caller that the gateway knows by name.
type Consumer struct {
	// Name of the consumer in expressions, logs and metrics.
	Name string `yaml:"name,required" check:"name"`
	// Pos is the place of the consumer.
	Pos Pos `yaml:"-"`
	// Plan that limits the consumer.
	Plan string `yaml:"plan"`
	// APIKeys are the keys that the consumer is known by, as `sha256:` and the 64 hexadecimal digits of the SHA-256 hash of the key.
	APIKeys []KeyHash `yaml:"api_keys,single" max:"1000"`
	// Claims of a verified token that the consumer is known by: all of them have to be there with these values.
	Claims []Pair `yaml:"claims" max:"16"`
}

// KeyHash is the SHA-256 hash of an API key. The key itself is never in a configuration.
type KeyHash [32]byte

// ParseConfig implements [Scalar].
func (k *KeyHash) ParseConfig(text string) error {
	digits, ok := strings.CutPrefix(text, "sha256:")
	if !ok {
		return &Hint{Problem: "a key stands here by its hash only", Suggestion: "write sha256: and the hexadecimal SHA-256 of the key, which `printf %s KEY | sha256sum` prints"}
	}
	if len(digits) != 2*len(k) {
		return &Hint{Problem: "behind sha256: stand 64 hexadecimal digits"}
	}
	for i := range k {
		high, low := hexDigit(digits[2*i]), hexDigit(digits[2*i+1])
		if high > 15 || low > 15 {
			return &Hint{Problem: "behind sha256: stand 64 hexadecimal digits"}
		}
		k[i] = high<<4 | low
	}
	return nil
}

func hexDigit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10
	}
	return 255
}

// ConfigFormat implements [Scalar].
func (k *KeyHash) ConfigFormat() Format {
	return Format{Noun: "a hash such as sha256:5f7b…", Name: "hash of a key", Pattern: `^sha256:[0-9a-fA-F]{64}$`}
}

// linkConsumers reports names that occur twice, plans that are not there, and keys that two consumers have.
func (c *Config) linkConsumers(r *Reporter) {
	plans := make(map[string]*Plan, len(c.Plans))
	for _, p := range c.Plans {
		plans[p.Name] = p
	}
	names := make(map[string]*Consumer, len(c.Consumers))
	keys := make(map[KeyHash]*Consumer)
	for _, consumer := range c.Consumers {
		if first := names[consumer.Name]; first != nil && consumer.Name != "" {
			r.Add(r.At(&consumer.Name), "two consumers have the name %q, the first on line %d", consumer.Name, first.Pos.Line)
		}
		names[consumer.Name] = consumer
		if consumer.Plan != "" {
			if plans[consumer.Plan] == nil {
				r.AddSuggest(r.At(&consumer.Plan), DidYouMean(consumer.Plan, sortedKeys(plans)), "unknown plan %s", quote(consumer.Plan))
			}
		}
		for i := range consumer.APIKeys {
			k := &consumer.APIKeys[i]
			if first := keys[*k]; first != nil {
				r.Add(r.At(k), "the consumers %q and %q have the same key", first.Name, consumer.Name)
			}
			keys[*k] = consumer
		}
	}
}
