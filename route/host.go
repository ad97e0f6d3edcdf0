package route

import (
	"fmt"
	"strings"

	"github.com/sluice-gateway/sluice/message"
)

// hostRoutes are the routes of one host level: of a host, of a suffix, or of any host.
type hostRoutes struct {
	exact    map[string]*leaf // by the whole path, in the form of message.AppendMatchPath
	longest  int              // of the keys of exact, in bytes: a longer path is not looked up
	captures *node
	prefixes *node
	unknown  *hostRoutes // those of APIs that have their versions in the path, without them: what an unknown version stood before
}

// add returns the leaf of a pattern.
func (h *hostRoutes) add(p *pattern) *leaf {
	switch p.class {
	case classExact:
		key := p.key()
		if h.exact == nil {
			h.exact = make(map[string]*leaf)
		}
		if h.exact[key] == nil {
			h.exact[key] = &leaf{}
			h.longest = max(h.longest, len(key))
		}
		return h.exact[key]
	case classCaptures:
		if h.captures == nil {
			h.captures = &node{}
		}
		return h.captures.insert(p.segments)
	}
	if h.prefixes == nil {
		h.prefixes = &node{}
	}
	return h.prefixes.insert(p.segments)
}

// visits returns how many nodes a request visits at most.
func (h *hostRoutes) visits() int {
	n := 1
	if h.captures != nil {
		n += h.captures.visits()
	}
	if h.prefixes != nil {
		n += h.prefixes.visits()
	}
	if h.unknown != nil {
		n += h.unknown.visits()
	}
	return n
}

// find returns the best entry at this level, or nil.
func (h *hostRoutes) find(q *query) *entry {
	e := h.best(q)
	if h.unknown != nil {
		return h.findUnknown(q, e)
	}
	return e
}

// best is find without a look at versions that are unknown.
func (h *hostRoutes) best(q *query) *entry {
	if h.exact != nil && len(q.path) <= h.longest {
		// A map, because a tree of ten thousand exact paths is slower; the key is not copied.
		if l := h.exact[string(q.path)]; l != nil {
			if e := q.choose(l); e != nil {
				return e
			}
		}
	}
	if h.captures != nil {
		if e := q.walk(h.captures); e != nil {
			return e
		}
	}
	if h.prefixes != nil {
		return q.walk(h.prefixes)
	}
	return nil
}

// hosts is the first level of a table.
type hosts struct {
	exact    map[string]*hostRoutes
	suffixes map[string]*hostRoutes // by what stands behind "*."
	any      *hostRoutes
	labels   int // the most labels that a suffix has: longer ends of a host are not looked up
}

// parseHost reads a host pattern: a name or address, `*.suffix`, or `*` for any.
func parseHost(text string) (name string, wild bool, err error) {
	if text == "*" {
		return "", true, nil
	}
	name, wild = strings.CutPrefix(text, "*.")
	host, port, reason := message.ParseAuthority(nil, []byte(name))
	switch {
	case reason != message.ReasonNone || wild && host[0] == '[':
		return "", false, fmt.Errorf("%q is no host: write a name in ASCII (xn--… for others), an address, or *.suffix", text)
	case port != nil:
		return "", false, fmt.Errorf("%q: a host has no port here; listeners have", text)
	}
	return string(host), wild, nil
}

// level returns the routes of a host pattern.
func (h *hosts) level(name string, wild bool) *hostRoutes {
	if wild && name == "" {
		if h.any == nil {
			h.any = &hostRoutes{}
		}
		return h.any
	}
	table := &h.exact
	if wild {
		table = &h.suffixes
		h.labels = max(h.labels, strings.Count(name, ".")+1)
	}
	if *table == nil {
		*table = make(map[string]*hostRoutes)
	}
	if (*table)[name] == nil {
		(*table)[name] = &hostRoutes{}
	}
	return (*table)[name]
}

// find returns the best entry for the host and what q holds, or nil: from the most specific host level that has a route which matches.
func (h *hosts) find(q *query, host []byte) *entry {
	if h.exact != nil {
		if r := h.exact[string(host)]; r != nil {
			if e := r.find(q); e != nil {
				return e
			}
		}
	}
	if h.suffixes != nil {
		if e := h.findSuffix(q, host); e != nil {
			return e
		}
	}
	if h.any != nil {
		return h.any.find(q)
	}
	return nil
}

// findSuffix tries the suffixes of host, the longest first, but none of more labels than a pattern has: a host of a hundred labels costs no more.
func (h *hosts) findSuffix(q *query, host []byte) *entry {
	at, labels := len(host), 0
	for i := len(host) - 1; i >= 0 && labels < h.labels; i-- {
		if host[i] == '.' {
			at, labels = i, labels+1
		}
	}
	for at < len(host) {
		suffix := host[at+1:]
		if r := h.suffixes[string(suffix)]; r != nil {
			if e := r.find(q); e != nil {
				return e
			}
		}
		next := at + 1
		for next < len(host) && host[next] != '.' {
			next++
		}
		at = next
	}
	return nil
}
