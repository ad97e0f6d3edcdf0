package config

import (
	"net/url"
	"strings"
	"time"
)

// Store is where limits and idempotency keys are counted.
type Store struct {
	// Redis is the address of a Redis or Valkey server, `host:port` or `redis://user:password@host:port/database`; `rediss://` for TLS. Programs
	// with the same server count together.
	Redis RedisURL `yaml:"redis,required"`
	// Timeout bounds how long a request waits for the server.
	Timeout time.Duration `yaml:"timeout" default:"5ms" min:"1ms" max:"1s"`
}

// RedisURL is the address of a Redis server. It may hold a password and is never printed.
type RedisURL string

// ParseConfig implements [Scalar].
func (u *RedisURL) ParseConfig(text string) error {
	if !strings.Contains(text, "://") {
		if _, port, err := splitAddress(text); err != nil || port == 0 {
			return &Hint{Problem: "it is no address", Suggestion: "write host:port or redis://user:password@host:port/database"}
		}
		*u = RedisURL("redis://" + text)
		return nil
	}
	parsed, err := url.Parse(text)
	if err != nil || parsed.Host == "" || parsed.Scheme != "redis" && parsed.Scheme != "rediss" {
		return &Hint{Problem: "it is no address of a Redis server", Suggestion: "write redis://user:password@host:port/database"}
	}
	if path := strings.TrimPrefix(parsed.Path, "/"); path != "" && !allDigits(path) {
		return &Hint{Problem: "the database is no number"}
	}
	if parsed.RawQuery != "" || parsed.Fragment != "" {
		return &Hint{Problem: "nothing stands behind the number of the database"}
	}
	*u = RedisURL(text)
	return nil
}

// ConfigFormat implements [Scalar].
func (u *RedisURL) ConfigFormat() Format {
	return Format{Noun: "an address such as 127.0.0.1:6379 or redis://user:password@host/0", Name: "Redis address"}
}

// Words of on_store_failure.
const (
	StoreFailureOpen   = "open"
	StoreFailureClosed = "closed"
	StoreFailureShare  = "share"
)

// Cache bounds what all policies `cache` keep together.
type Cache struct {
	// Memory bounds the bytes of all stored answers, with what is kept to find them.
	Memory Size `yaml:"memory" default:"256MiB" min:"1MiB" max:"1TiB"`
}
