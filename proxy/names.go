package proxy

import (
	"strings"

	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/upstream"
)

// NameTable finds the backend for the server name of a TLS client: exact before `*.suffix`, of those the longest, before `*`. It is immutable once
// it is given to a site.
type NameTable struct {
	exact  map[string]*NameTarget
	suffix map[string]*NameTarget // by what follows "*."
	any    *NameTarget
}

// NameTarget is where the connections for a name go.
type NameTarget struct {
	Backend *upstream.Backend // nil: only the protocols below are passed on
	ALPN    []ALPNTarget      // in order of preference
}

// ALPNTarget is where the connections go of clients that offer one protocol.
type ALPNTarget struct {
	Protocol string
	Backend  *upstream.Backend
}

// NewNameTable returns a table by patterns, which are in lower case: a name, "*.suffix" or "*".
func NewNameTable(targets map[string]*NameTarget) *NameTable {
	t := &NameTable{exact: map[string]*NameTarget{}, suffix: map[string]*NameTarget{}}
	for pattern, target := range targets {
		if pattern == "*" {
			t.any = target
		} else if rest, ok := strings.CutPrefix(pattern, "*."); ok {
			t.suffix[rest] = target
		} else {
			t.exact[pattern] = target
		}
	}
	return t
}

// Lookup returns the backend for a name in lower case, which is "" if the client named none, or why there is none. offers tells which protocols the
// client offers.
func (t *NameTable) Lookup(name string, offers func(protocol string) bool) (*upstream.Backend, message.Reason) {
	target := t.find(name)
	if target == nil {
		return nil, message.ServerNameUnknown
	}
	for i := range target.ALPN {
		if offers(target.ALPN[i].Protocol) {
			return target.ALPN[i].Backend, message.ReasonNone
		}
	}
	if target.Backend == nil {
		return nil, message.ALPNUnknown
	}
	return target.Backend, message.ReasonNone
}

// Knows reports whether there is anything for a name in lower case, which is "" if the client named none.
func (t *NameTable) Knows(name string) bool { return t.find(name) != nil }

func (t *NameTable) find(name string) *NameTarget {
	if name == "" {
		return t.any
	}
	if target := t.exact[name]; target != nil {
		return target
	}
	for rest := name; ; {
		at := strings.IndexByte(rest, '.')
		if at < 0 {
			return t.any
		}
		rest = rest[at+1:]
		if target := t.suffix[rest]; target != nil {
			return target
		}
	}
}
