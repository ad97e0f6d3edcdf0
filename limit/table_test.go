package limit

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// numbered returns the digest of a number.
func numbered(s seed, i int) digest {
	return s.of(binary.LittleEndian.AppendUint64(nil, uint64(i)))
}

// TestTable compares a table with a map, under random insertions and deletions that make shards grow, shrink and wrap around.
func TestTable(t *testing.T) {
	for _, words := range []int{1, 3} {
		random := rand.New(rand.NewPCG(1, uint64(words)))
		tb := newTable(9000, words, newSeed(), func(p []uint64, _ int64) int64 { return int64(p[0]) })
		model := make(map[digest]uint64)
		for step := range 60_000 {
			d := numbered(tb.seed, random.IntN(4000))
			s, _ := tb.shard(d)
			want, known := model[d]
			p := tb.find(s, d)
			if (p != nil) != known || known && (p[0] != want || p[words-1] != want) {
				t.Fatalf("step %d: found %v, and %v, %v was put there", step, p, want, known)
			}
			switch {
			case !known:
				p, gone := tb.insert(s, d, 0)
				if gone != (digest{}) {
					t.Fatalf("step %d: a key had to go although there was room", step)
				}
				value := uint64(1 + random.IntN(1000))
				p[0], p[words-1], model[d] = value, value, value
			case random.IntN(3) > 0:
				tb.delete(s, d)
				delete(model, d)
			}
			if got := tb.stats().Keys; got != int64(len(model)) {
				t.Fatalf("step %d: %d keys instead of %d", step, got, len(model))
			}
		}
		for d, want := range model {
			s, _ := tb.shard(d)
			if p := tb.find(s, d); p == nil || p[0] != want {
				t.Fatalf("at the end: %v instead of %d", p, want)
			}
		}
	}
}

// TestTableIsBounded: no more keys than were asked for, and what is worth nothing goes first.
func TestTableIsBounded(t *testing.T) {
	for _, max := range []int{1, 2, 10, 5000, 20_000} {
		tb := newTable(max, 1, newSeed(), func(p []uint64, now int64) int64 { return int64(p[0]) - now })
		add := func(i int, value uint64, now int64) (gone bool) {
			d := numbered(tb.seed, i)
			s, _ := tb.shard(d)
			p, victim := tb.insert(s, d, now)
			p[0] = value
			return victim != digest{}
		}
		for i := range 3 * max {
			add(i, 100, 0)
			if got := tb.stats().Keys; got > int64(max) {
				t.Fatalf("%d keys of %d", got, max)
			}
		}
		if got := tb.stats(); got.Evicted == 0 || got.Keys < int64(max)*9/10 {
			t.Errorf("table for %d: %+v", max, got)
		}
		// Now all that is there is over, and as many new keys find room with hardly one that matters having to go. As shards do not fill evenly, not quite as
		// many. Until the new keys have earned a sweep, a victim is the least worth of eight: with up to a quarter of the shard new, all eight matter in one
		// of 65,000 cases at most.
		before, pushed := tb.stats().Evicted, 0
		for i := range max * 9 / 10 {
			if add(10*max+i, 300, 200) {
				pushed++
			}
		}
		if got := tb.stats(); pushed > max/1000 || got.Evicted != before+uint64(pushed) {
			t.Errorf("table for %d: %d keys that mattered were pushed out; %+v", max, pushed, got)
		}
	}
}

// TestTableGivesMemoryBack: when a flood of keys is over, the memory for them goes with time.
func TestTableGivesMemoryBack(t *testing.T) {
	tb := newTable(100_000, 1, newSeed(), func(p []uint64, now int64) int64 { return int64(p[0]) - now })
	fill := func(from, n int, now int64) {
		for i := range n {
			d := numbered(tb.seed, from+i)
			s, _ := tb.shard(d)
			p, _ := tb.insert(s, d, now)
			p[0] = uint64(now + 100)
		}
	}
	fill(0, 100_000, 0)
	high := tb.stats().Bytes
	for round := range 200 {
		fill(1_000_000+round*1000, 1000, int64(200*(round+1)))
	}
	if low := tb.stats().Bytes; low > high/4 {
		t.Errorf("%d bytes in the flood, %d bytes long after it", high, low)
	}
}

// TestTableKeepsWhatMatters: a flood of keys that were used once does not push out those that have used up their limit.
func TestTableKeepsWhatMatters(t *testing.T) {
	const size = 10_000
	tb := newTable(size, 1, newSeed(), func(p []uint64, now int64) int64 { return int64(p[0]) - now })
	put := func(i int, value uint64) digest {
		d := numbered(tb.seed, i)
		s, _ := tb.shard(d)
		p, _ := tb.insert(s, d, 0)
		p[0] = value
		return d
	}
	var limited []digest
	for i := range 100 {
		limited = append(limited, put(i, 1_000_000))
	}
	for i := range 10 * size {
		put(1000+i, 1000)
	}
	for i, d := range limited {
		s, _ := tb.shard(d)
		if tb.find(s, d) == nil {
			t.Errorf("the limited key %d was forgotten", i)
		}
	}
}
