package cache

import (
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/sluice-gateway/sluice/message"
)

// Store holds the answers of all caches of the program within one bound of bytes. All methods may be called by any number of goroutines. It has
// no goroutine of its own.
type Store struct {
	seed   maphash.Seed
	shards [shardCount]shard
	queue  queue
	tags   tagIndex
	clock  func() int64  // message.Now, but in tests
	nextID atomic.Uint32 // of namespaces
}

// shardCount is how many parts the index has; a URI is in one of them with all that is stored under it.
const shardCount = 64

// leastMemory is the least that a store is given, in bytes.
const leastMemory = 64 << 10

// NewStore makes a store bounded to memory bytes, 64 KiB at least. Bodies, headers, keys and an allowance for the structs around them count, and so
// do bodies that are still coming; 1/128 is needed besides for the marks of what was evicted.
func NewStore(memory int64) *Store {
	s := &Store{seed: maphash.MakeSeed(), clock: message.Now}
	s.queue.init(max(memory, leastMemory))
	s.tags.init()
	for i := range s.shards {
		s.shards[i].resources = make(map[string]*resource)
		s.shards[i].uris = make(map[string]*resource)
	}
	return s
}

// Resize sets the bound to another number of bytes, 64 KiB at least.
func (s *Store) Resize(memory int64) {
	s.bury(s.queue.resize(max(memory, leastMemory)))
}

// Bytes returns how many bytes count towards the bound, and how many of them are of bodies that are still coming.
func (s *Store) Bytes() (total, coming int64) {
	coming = s.queue.growing.Load()
	return s.queue.used.Load() + coming, coming
}

// Objects returns how many answers are stored.
func (s *Store) Objects() int64 { return s.queue.objects.Load() }

// shard is a part of the index.
//
// A lookup takes its lock for reading, some 15 ns on a free cache line, because the maps and the lists of variants have to be read together. A
// hit changes nothing under it.
type shard struct {
	mu        sync.RWMutex         // guards what follows, and what the resources say is guarded by it; nothing waits while it is held
	resources map[string]*resource // by primary key
	uris      map[string]*resource // the first of the resources of a URI
	_         [64]byte             // keeps two locks from sharing a cache line
}

// resource is what is stored under one primary key: answers that differ by Vary, and flights that bring more. It exists while it has one of them.
// What is not guarded by the shard's mu does not change.
type resource struct {
	shard   *shard
	key     string
	uri     string // part of key
	ns      *Namespace
	version string // part of key

	nextURI, prevURI *resource // others of the same URI
	linked           bool

	spec    *vary // of the last answer
	entries []*Entry
	flights []*Flight
}

// maxVariants bounds how many answers are stored under one primary key. The oldest makes room.
const maxVariants = 64

// version returns the version in a primary key.
func versionOf(key string, uri int) (version string) {
	rest := key[keyHead+uri+4:]
	n, shift := 0, 0
	for i := range len(rest) {
		n |= int(rest[i]&0x7F) << shift
		if rest[i] < 0x80 {
			return rest[i+1 : i+1+n]
		}
		shift += 7
	}
	return ""
}

// shardOf returns the shard of a URI, and the hash of it.
func (s *Store) shardOf(uri []byte) (*shard, uint64) {
	h := maphash.Bytes(s.seed, uri)
	return &s.shards[h%shardCount], h
}

// resourceAt returns the resource under key, made if there is none. The caller holds the lock.
func (sh *shard) resourceAt(key []byte, uri int, ns *Namespace) *resource {
	if res := sh.resources[string(key)]; res != nil {
		return res
	}
	res := &resource{shard: sh, key: string(key), ns: ns, linked: true}
	res.uri = res.key[keyHead : keyHead+uri]
	res.version = versionOf(res.key, uri)
	sh.resources[res.key] = res
	if first := sh.uris[res.uri]; first != nil {
		res.nextURI, res.prevURI = first.nextURI, first
		if first.nextURI != nil {
			first.nextURI.prevURI = res
		}
		first.nextURI = res
	} else {
		sh.uris[res.uri] = res
	}
	return res
}

// settle removes the resource from the index if nothing is left of it. The caller holds the lock.
func (res *resource) settle() {
	if len(res.entries) > 0 || len(res.flights) > 0 || !res.linked {
		return
	}
	sh := res.shard
	res.linked = false
	delete(sh.resources, res.key)
	if res.nextURI != nil {
		res.nextURI.prevURI = res.prevURI
	}
	switch {
	case res.prevURI != nil:
		res.prevURI.nextURI = res.nextURI
	case res.nextURI != nil:
		// The key of a map entry keeps the memory of the resource that it was made of, so it is made of the one that stays.
		delete(sh.uris, res.uri)
		sh.uris[res.nextURI.uri] = res.nextURI
	default:
		delete(sh.uris, res.uri)
	}
	res.nextURI, res.prevURI = nil, nil
}

// find returns the stored answer that the request selects (RFC 9111 section 4.1), the newest of several, or nil. A mark counts only where nothing else
// is found. room is scratch memory. The caller holds the lock.
func (res *resource) find(h *message.Header, now int64, room []byte) *Entry {
	var mark *Entry
	var spec *vary
	var values []byte
	for i := len(res.entries) - 1; i >= 0; i-- {
		e := res.entries[i]
		switch {
		case e.isMark():
			if now < e.terms.fresh {
				mark = e
			}
			continue
		case e.spec == nil:
			return e
		case values == nil || !e.spec.same(spec):
			spec = e.spec
			values = spec.appendValues(room[:0], h, nil)
		}
		if e.values == string(values) {
			return e
		}
	}
	if e := res.findNative(h, room); e != nil {
		return e
	}
	return mark
}

// findNative returns an answer in the language that the request wants most, or nil.
func (res *resource) findNative(h *message.Header, room []byte) *Entry {
	if !h.Has(message.AcceptLanguage) {
		return nil
	}
	var language, values []byte
	var spec *vary
	for i := len(res.entries) - 1; i >= 0; i-- {
		e := res.entries[i]
		if e.native == "" {
			continue
		}
		if language == nil {
			if language = favourite(h); language == nil {
				return nil
			}
		}
		if values == nil || !e.spec.same(spec) {
			spec = e.spec
			values = spec.appendValues(room[:0], h, language)
		}
		if e.native == string(values) {
			return e
		}
	}
	return nil
}

// insert puts e in the place of the entry that the same requests select, or of the oldest one. What had to go is returned. The caller holds the lock.
func (res *resource) insert(e *Entry) (old *Entry) {
	for i, o := range res.entries {
		if o.isMark() == e.isMark() && o.values == e.values && o.spec.same(e.spec) {
			res.entries = slices.Delete(res.entries, i, i+1)
			old = o
			break
		}
	}
	if old == nil && len(res.entries) >= maxVariants {
		old = res.entries[0]
		res.entries = slices.Delete(res.entries, 0, 1)
	}
	res.entries = append(res.entries, e)
	return old
}

// unlink takes e out of the index and reports whether it was there.
func (s *Store) unlink(e *Entry) bool {
	res := e.res
	sh := res.shard
	sh.mu.Lock()
	defer sh.mu.Unlock()
	i := slices.Index(res.entries, e)
	if i < 0 {
		return false
	}
	res.entries = slices.Delete(res.entries, i, i+1)
	res.settle()
	return true
}

// forget ends what the store keeps of an entry that the index has let go.
func (s *Store) forget(e *Entry) {
	if e == nil {
		return
	}
	s.queue.remove(e)
	s.tags.remove(e)
}

// drop removes an entry and reports whether it was still there.
func (s *Store) drop(e *Entry) bool {
	if !s.unlink(e) {
		return false
	}
	s.forget(e)
	return true
}

// bury takes what the queue has evicted out of the index.
func (s *Store) bury(victims *Entry) {
	for e := victims; e != nil; {
		next := e.next
		e.next = nil
		if s.unlink(e) && !e.isMark() {
			e.res.ns.count(Evicted, e.hash)
		}
		s.tags.remove(e)
		e = next
	}
}

// keep puts a complete entry into the store, in place of what the same requests select. grown is what its body has occupied of the bytes
// for what is coming. f is the flight that has brought it, if one has; one that was invalidated or purged meanwhile leaves nothing.
func (s *Store) keep(e *Entry, grown int64, f *Flight) {
	res := e.res
	sh := res.shard
	// The tags come first: who finds e in the index takes them out again.
	s.tags.add(e)
	purged := f != nil && s.tags.purgedSince(e, f.began)
	sh.mu.Lock()
	doomed := res.ns.dropped.Load()
	if f != nil { // not listed is one that everybody has left just before the end
		doomed = doomed || f.doomed || purged || !f.listed
	}
	var old *Entry
	if !doomed {
		if !res.linked { // only marks come so late: nobody else has seen e yet
			res = sh.resourceAt([]byte(res.key), len(res.uri), res.ns)
			e.res = res
		}
		if old = res.insert(e); !e.isMark() {
			res.spec = e.spec
		}
	}
	if f != nil {
		f.unlist()
	}
	sh.mu.Unlock()
	s.forget(old)
	if doomed {
		s.tags.remove(e)
		s.release(grown)
		return
	}
	s.bury(s.queue.add(e, grown))
	if !e.isMark() {
		res.ns.count(Stored, e.hash)
	}
}

// reserve takes n bytes for a body that is coming.
func (s *Store) reserve(n int64) bool {
	victims, ok := s.queue.grow(n)
	s.bury(victims)
	return ok
}

// release gives back bytes of a body that was coming.
func (s *Store) release(n int64) {
	if n != 0 {
		s.queue.grow(-n)
	}
}

// replace puts e in the place of old, if that is still there.
func (s *Store) replace(old, e *Entry) {
	s.tags.add(e)
	sh := old.res.shard
	sh.mu.Lock()
	i := slices.Index(old.res.entries, old)
	if i >= 0 {
		old.res.entries[i] = e
	}
	sh.mu.Unlock()
	if i < 0 {
		s.tags.remove(e)
		return
	}
	s.forget(old)
	s.bury(s.queue.add(e, 0))
}
