package identity

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
)

func keyOf(n, size int) []byte {
	key := make([]byte, size)
	binary.LittleEndian.PutUint64(key, uint64(n))
	return key
}

// However many and however large the entries are, the cache stays within its bound, and what it returns belongs to the key.
func TestCacheBound(t *testing.T) {
	for _, size := range []int{8, 800, 16 << 10} {
		const bound = 1 << 20
		evicted := metric.NewCounter(1)
		c := newCache(bound, CacheMetrics{Evicted: evicted})
		s := &source{}
		ids := make(map[int]*message.Identity)
		for n := range 10_000 {
			ids[n] = &message.Identity{}
			c.put(keyOf(n, size), ids[n], 0, forever, 1, s)
			if got := c.bytes.Load(); got > bound {
				t.Fatalf("%d bytes after %d entries of %d", got, n, size)
			}
		}
		found := int64(0)
		for n, id := range ids {
			if got := c.get(keyOf(n, size), 1); got == id {
				found++
			} else if got != nil {
				t.Fatal("somebody else's identity")
			}
		}
		stats := c.stats()
		if found != stats.Entries || stats.Bytes != stats.Entries*sizeOf(keyOf(0, size), ids[0]) || evicted.Value() != uint64(10_000-found) {
			t.Errorf("size %d: %d found, %+v, %d evicted", size, found, stats, evicted.Value())
		}
		if size > 8 && stats.Bytes < bound*9/10 {
			t.Errorf("size %d: only %d bytes of %d are used", size, stats.Bytes, bound)
		}
	}
}

// What is used stays, and what came once goes.
func TestCacheKeepsWhatIsUsed(t *testing.T) {
	c := newCache(256<<10, CacheMetrics{})
	s := &source{}
	hot := make([]*message.Identity, 20)
	for n := range hot {
		hot[n] = &message.Identity{}
		c.put(keyOf(n, 700), hot[n], 0, forever, 1, s)
	}
	kept := 0
	for n := range 20_000 {
		c.put(keyOf(1000+n, 700), &message.Identity{}, 0, forever, 1, s)
		if key := keyOf(n%len(hot), 700); c.get(key, 1) != nil {
			kept++
		} else {
			c.put(key, hot[n%len(hot)], 0, forever, 1, s)
		}
	}
	if kept < 19_000 {
		t.Errorf("what is used all the time was found %d times of 20000", kept)
	}
}

func TestCacheTimeAndSource(t *testing.T) {
	c := newCache(0, CacheMetrics{})
	s, id := &source{}, &message.Identity{}
	key := keyOf(1, 100)
	c.put(key, id, 10, 20, 15, s)
	for now, want := range map[int64]bool{9: false, 10: true, 19: true, 20: false, -1: false, forever: false} {
		if got := c.get(key, now) == id; got != want {
			t.Errorf("at %d: %v", now, got)
		}
	}
	// The same key again: whoever was first is shared, unless that is over.
	second := &message.Identity{}
	if got := c.put(key, second, 10, 20, 15, s); got != id {
		t.Error("a second identity took the place of one that is good")
	}
	if got := c.put(key, second, 10, 40, 30, s); got != second || c.get(key, 30) != second || c.entries.Load() != 1 {
		t.Error("an identity that is over was kept")
	}
	s.retired.Store(true)
	if c.get(key, 30) != nil {
		t.Error("the source is retired, and the entry is not")
	}
	if c.put(key, id, 10, 40, 30, s); c.entries.Load() != 1 || c.get(key, 30) != nil {
		t.Error("an entry of a retired source was taken")
	}
	key[50] = 1 // the cache has its own copy
	c.put(key, id, 0, 40, 30, &source{})
	key[50] = 2
	if c.get(key, 30) != nil {
		t.Error("the key of an entry has changed")
	}
	if off := newCache(-1, CacheMetrics{}); off.put(key, id, 0, forever, 1, s) != id || off.get(key, 1) != nil {
		t.Error("a cache that is off keeps something")
	}
	if tiny := newCache(100, CacheMetrics{}); tiny.put(key, id, 0, forever, 1, &source{}) != id || tiny.get(key, 1) != nil {
		t.Error("an entry over the bound was taken")
	}
}

// Readers and writers side by side never see what is not theirs.
func TestCacheRace(t *testing.T) {
	c := newCache(64<<10, CacheMetrics{})
	s := &source{}
	ids := make([]message.Identity, 500)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 3000 {
				n := rand.IntN(len(ids))
				key := keyOf(n, 100)
				if id := c.get(key, 1); id == nil {
					c.put(key, &ids[n], 0, forever, 1, s)
				} else if id != &ids[n] {
					t.Error("somebody else's identity")
					return
				}
			}
		})
	}
	all.Wait()
	if b := c.bytes.Load(); b < 0 || b > 64<<10 {
		t.Errorf("%d bytes", b)
	}
}
