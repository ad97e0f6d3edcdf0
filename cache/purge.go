package cache

import (
	"strings"

	"github.com/sluice-gateway/sluice/message"
)

// Purge drops the answers that are stored under a URL, in all namespaces, versions and variants, and returns how many there were. A version that
// stands in the path, as in https://bank.example/v2/accounts, is understood as one, too. What is on its way is not stored.
func (s *Store) Purge(url string) (int, error) {
	uri, err := parseURL(url, false)
	if err != nil {
		return 0, err
	}
	n := s.dropURI([]byte(uri), "", Purged)
	if version, plain, ok := cutVersion(uri); ok {
		n += s.dropURI([]byte(plain), version, Purged)
	}
	return n, nil
}

// PurgePrefix drops the answers whose URLs begin with prefix, and returns how many there were. The prefix has a scheme and a whole host.
func (s *Store) PurgePrefix(prefix string) (int, error) {
	uri, err := parseURL(prefix, true)
	if err != nil {
		return 0, err
	}
	version, plain, versioned := cutVersion(uri)
	return s.purge(func(res *resource) bool {
		return strings.HasPrefix(res.uri, uri) || versioned && res.version == version && strings.HasPrefix(res.uri, plain)
	}, Purged), nil
}

// PurgeTag drops the answers whose services have given them the tag in Cache-Tag, and returns how many there were. Those that are on
// their way are not stored.
func (s *Store) PurgeTag(tag string) int {
	tag = strings.TrimSpace(tag)
	if tag == "" || len(tag) > maxTag {
		return 0
	}
	n := 0
	for _, e := range s.tags.purge(tag, s.clock()) {
		if s.drop(e) {
			e.res.ns.count(Purged, e.hash)
			n++
		}
	}
	return n
}

// cutVersion takes the first segment of a URI's path off, as if it were a version.
func cutVersion(uri string) (version, plain string, ok bool) {
	_, authority, path := splitURI([]byte(uri))
	if len(path) < 2 {
		return "", "", false
	}
	start := strings.Index(uri, "://") + 3 + len(authority)
	end := strings.IndexAny(uri[start+1:], "/?")
	if end <= 0 || uri[start+1+end] != '/' {
		return "", "", false
	}
	end += start + 1
	return uri[start+1 : end], uri[:start] + uri[end:], true
}

// dropURI drops everything under a URI, or what is stored for one version of it.
func (s *Store) dropURI(uri []byte, version string, event Event) int {
	sh, _ := s.shardOf(uri)
	var out []*Entry
	sh.mu.Lock()
	for res := sh.uris[string(uri)]; res != nil; {
		next := res.nextURI
		if version == "" || res.version == version {
			out = append(out, res.clear()...)
		}
		res = next
	}
	sh.mu.Unlock()
	return s.forgetAll(out, event)
}

// clear empties the resource and keeps what is on its way from being stored. The caller holds the lock.
func (res *resource) clear() []*Entry {
	out := res.entries
	res.entries, res.spec = nil, nil
	for _, f := range res.flights {
		f.doomed, f.joinable = true, false
	}
	res.settle()
	return out
}

// forgetAll ends what was taken out of the index, and returns how many answers there were.
func (s *Store) forgetAll(out []*Entry, event Event) (n int) {
	for _, e := range out {
		s.forget(e)
		if !e.isMark() {
			e.res.ns.count(event, e.hash)
			n++
		}
	}
	return n
}

// purge drops what is stored under all resources that are wanted. It takes one shard after another.
func (s *Store) purge(wanted func(*resource) bool, event Event) (n int) {
	for i := range s.shards {
		sh := &s.shards[i]
		var out []*Entry
		sh.mu.Lock()
		var found []*resource
		for _, res := range sh.resources {
			if wanted(res) {
				found = append(found, res)
			}
		}
		for _, res := range found {
			out = append(out, res.clear()...)
		}
		sh.mu.Unlock()
		n += s.forgetAll(out, event)
	}
	return n
}

// Invalidate drops what an answer to an unsafe request makes out of date (RFC 9111 section 4.4): everything that is stored under the request's URI, as
// AppendURI has written it, and under those of Location and Content-Location on the same host. It returns how many answers there were.
//
// The caller has found that the client's method is not safe, and that the answer is no error.
func (s *Store) Invalidate(uri []byte, response *message.Header) int {
	n := s.dropURI(uri, "", Invalidated)
	for _, id := range [...]message.ID{message.Location, message.ContentLocation} {
		if !response.Has(id) {
			continue
		}
		if other := resolve(uri, response.Get(id)); other != nil {
			n += s.dropURI(other, "", Invalidated)
			if version, plain, ok := cutVersion(string(other)); ok {
				n += s.dropURI([]byte(plain), version, Invalidated)
			}
		}
	}
	return n
}
