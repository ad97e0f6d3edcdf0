package balance

import (
	"math"
	"testing"
)

// FuzzPick builds any algorithm over any set in any state, and holds what every pick must be: a slot of the set that has a weight and was not
// tried; and -1 only if there is none.
func FuzzPick(f *testing.F) {
	names := Names()
	for i := range byte(len(names)) {
		f.Add([]byte{1, 1, 1}, []byte{0}, uint64(1), uint64(2), int64(3), i, byte(0), true)
		f.Add([]byte{0, 0}, []byte{}, uint64(math.MaxUint64), uint64(math.MaxUint64), int64(math.MaxInt64), i, byte(1), true)
		f.Add([]byte{255, 1, 0, 7, 200, 3, 3, 3, 3, 9, 9, 9}, []byte{1, 2, 0, 4}, uint64(0), uint64(0), int64(math.MinInt64), i, byte(2), false)
		f.Add([]byte{220, 251, 1, 3, 252}, []byte{}, uint64(9), uint64(8), int64(7), i, byte(1), true)
		f.Add([]byte{1}, []byte{0, 0, 0}, uint64(5), uint64(1)<<63, int64(1)<<40, i, byte(3), true)
	}
	f.Fuzz(func(t *testing.T, weights, tried []byte, random, hash uint64, now int64, algorithm, how byte, isKeyed bool) {
		members := fuzzMembers(weights, random, now)
		q := Query{Random: random, Hash: hash, Keyed: isKeyed, Now: now}
		left := map[int]bool{}
		for _, m := range members {
			if m.Weight > 0 {
				left[m.Slot] = true
			}
		}
		for _, slot := range tried[:min(len(tried), MaxTried)] {
			q.Tried.Add(int(slot))
			delete(left, int(slot))
		}
		name := names[int(algorithm)%len(names)]
		p := fuzzPicker(t, name, members, how)
		for range 5 {
			slot := p.Pick(&q)
			if slot >= 0 && !left[slot] || slot < 0 && len(left) > 0 {
				t.Fatalf("%s picked %d, and may pick of %v", name, slot, left)
			}
			q.Random = next(q.Random)
		}
	})
}

// fuzzMembers returns at most 40 members, of any weights, in a state that depends on the numbers.
func fuzzMembers(weights []byte, random uint64, now int64) []Member {
	var members []Member
	for i, w := range weights[:min(len(weights), 40)] {
		m := Member{Slot: i, Weight: uint32(w), Load: new(Load)}
		switch {
		case w > 250:
			m.Weight = math.MaxUint32
		case w > 200:
			m.Weight = 1 << ((w - 200) % 32)
		}
		random = next(random)
		for range random % 5 {
			m.Load.Begin()
		}
		if random%7 == 0 {
			m.Load.End() // even a count below 0 must do no harm
			m.Load.End()
		}
		switch random >> 8 & 3 {
		case 0:
			m.Load.Observe(now, int64(random>>20))
		case 1:
			m.Load.Penalize(now-int64(random>>30), int64(random>>40))
		}
		members = append(members, m)
	}
	return members
}

// fuzzPicker builds a picker over one level or over two, with a bound of load or without.
func fuzzPicker(t *testing.T, name string, members []Member, how byte) Picker {
	t.Helper()
	o := Options{Algorithm: name, Start: uint64(how) << 56}
	if how&1 > 0 && Keyed(name) {
		o.BoundedLoad = 1 + float64(how)/256
	}
	p, err := New(o, members)
	if err == nil && how&2 > 0 {
		half := len(members) / 2
		p, _, err = NewLevels(o, []Level{{All: members[:half], Usable: members[:half]}, {All: members[half:], Usable: members[half:]}}, 0.5)
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}
