package balance

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// keyedNames are the algorithms that place by key.
func keyedNames() []string {
	return slices.DeleteFunc(Names(), func(name string) bool { return !Keyed(name) })
}

// owner returns who owns each place of the table, by slot, and the part of the keys that falls on each place: exactly, so that tests of shares
// need no sampling.
func owner(t testing.TB, p Picker) (slots []int, parts []float64) {
	t.Helper()
	var k *keyed
	switch p := p.(type) {
	case *maglev:
		k = &p.keyed
	case *rendezvous:
		k = &p.keyed
	case *ringHash:
		k = &p.keyed
		for i, point := range p.ring {
			before := p.ring[(i+len(p.ring)-1)%len(p.ring)]
			parts = append(parts, float64(uint32(point>>32)-uint32(before>>32))/(1<<32)) // wraps around at the first
		}
	default:
		t.Fatalf("%T places by no key", p)
	}
	for at := range len(k.owners) + len(k.ring) {
		slots = append(slots, k.members[k.owner(uint64(at))].Slot)
	}
	if parts == nil {
		parts = slices.Repeat([]float64{1 / float64(len(slots))}, len(slots))
	}
	return slots, parts
}

// keyShares returns the part of the keys of each place of a set.
func keyShares(t testing.TB, p Picker, members int) []float64 {
	t.Helper()
	sums := make([]float64, members)
	slots, parts := owner(t, p)
	for i, slot := range slots {
		sums[slot/10] += parts[i]
	}
	return sums
}

// moved returns the part of the keys that two pickers place differently, and how much of it did not belong to the slot that is gone.
func moved(t testing.TB, before, after Picker, gone int) (all, needless float64) {
	t.Helper()
	a, parts := owner(t, before)
	b, _ := owner(t, after)
	if _, ring := before.(*ringHash); ring {
		a, b, parts = nil, nil, slices.Repeat([]float64{1.0 / 40_000}, 40_000)
		rnd := rand.New(rand.NewPCG(1, 2))
		for range parts {
			q := Query{Hash: rnd.Uint64(), Keyed: true}
			a, b = append(a, before.Pick(&q)), append(b, after.Pick(&q))
		}
	}
	for i := range parts {
		if a[i] != b[i] {
			all += parts[i]
			if a[i] != gone {
				needless += parts[i]
			}
		}
	}
	return all, needless
}

// TestShareOfKeys: how uneven the shares of equal members may be.
func TestShareOfKeys(t *testing.T) {
	for _, n := range []int{1, 3, 7, 20, 100, 300, 600} {
		limits := map[string]float64{
			"maglev":     1.02,
			"rendezvous": 1 + 4*math.Sqrt(float64(n)/(2*buckets)), // four standard deviations
			"ring_hash":  1 + 4/math.Sqrt(pointsEach),
		}
		for _, name := range keyedNames() {
			sums := keyShares(t, mustNew(t, name, set(equal(n)...)), n)
			largest := slices.Max(sums) * float64(n)
			t.Logf("%s of %d: largest %.4f, smallest %.4f of the mean", name, n, largest, slices.Min(sums)*float64(n))
			if largest > limits[name] {
				t.Errorf("%s of %d: the largest share is %.4f of the mean, want at most %.4f", name, n, largest, limits[name])
			}
			if smallest := slices.Min(sums) * float64(n); smallest < 0.75 {
				t.Errorf("%s of %d: the smallest share is %.4f of the mean, want at least 0.75", name, n, smallest)
			}
		}
	}
}

// TestMovedKeys: what the loss of one endpoint moves. Its own keys must move. Maglev moves some others; the two that are consistent by
// construction move none.
func TestMovedKeys(t *testing.T) {
	for _, n := range []int{3, 10, 30, 100, 300, 600} {
		for _, name := range keyedNames() {
			worst, worstNeedless := 0.0, 0.0
			before := mustNew(t, name, set(equal(n)...))
			for _, gone := range []int{0, n / 2} {
				members := set(equal(n)...)
				after := mustNew(t, name, slices.Delete(members, gone, gone+1))
				all, needless := moved(t, before, after, 10*gone)
				worst, worstNeedless = max(worst, all*float64(n)), max(worstNeedless, needless)
			}
			t.Logf("%s of %d: moved %.3f of the ideal", name, n, worst)
			if name == "maglev" && worst > 2.2 {
				t.Errorf("%s of %d: the loss of one moved %.2f times as many keys as it had to", name, n, worst)
			}
			if name != "maglev" && worstNeedless > 0 {
				t.Errorf("%s of %d: the loss of one moved %.4f of the keys although they were not its own", name, n, worstNeedless)
			}
		}
	}
}

func TestKeysFollowWeights(t *testing.T) {
	for _, weights := range [][]uint32{{2, 1}, {5, 1, 1}, {100, 100, 10}, {3, 0, 1}, append([]uint32{20}, equal(30)...), {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}} {
		total := 0.0
		for _, w := range weights {
			total += float64(w)
		}
		for _, name := range keyedNames() {
			sums := keyShares(t, mustNew(t, name, set(weights...)), len(weights))
			for i, w := range weights {
				want := float64(w) / total
				tolerance := map[string]float64{
					"maglev":     0.03*want + 2.0/maglevSize,
					"rendezvous": 4 * math.Sqrt(want/buckets),
					"ring_hash":  5 * want / math.Sqrt(pointsEach*float64(w)/float64(slices.Max(weights))),
				}[name]
				if w > 0 && math.Abs(sums[i]-want) > tolerance || w == 0 && sums[i] > 0 {
					t.Errorf("%s of %v: member %d has %.4f of the keys, want %.4f ± %.4f", name, weights, i, sums[i], want, tolerance)
				}
			}
		}
	}
}

// TestPlacingIsStable: places depend on identities and weights, not on slots, on the order of the list, or on the process. The golden numbers change only
// with the algorithm, and then every key of every user moves.
func TestPlacingIsStable(t *testing.T) {
	golden := map[string]string{
		"maglev":     "hfhhedghdbhhhachdhgbehdg",
		"rendezvous": "dhhabhagbfehdhcgachhhdha",
		"ring_hash":  "dbhahadddafcdehchhdagddc",
	}
	for _, name := range keyedNames() {
		members := set(3, 1, 1, 2, 1, 1, 1, 5)
		p := mustNew(t, name, members)
		shuffled := slices.Clone(members)
		for i := range shuffled {
			shuffled[i].Slot += 1000
		}
		rand.New(rand.NewPCG(1, 2)).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		other := mustNew(t, name, shuffled)
		var places []byte
		for i := range 200 {
			q := Query{Hash: Hash(fmt.Appendf(nil, "key %d", i)), Keyed: true, Random: uint64(i) * prime1}
			a, b := p.Pick(&q), other.Pick(&q)
			if a != b-1000 {
				t.Fatalf("%s: key %d is on slot %d, and with other slots in another order on %d", name, i, a, b-1000)
			}
			if i < 24 {
				places = append(places, byte('a'+a/10))
			}
		}
		if string(places) != golden[name] {
			t.Errorf("%s places keys on %s, want %s", name, places, golden[name])
		}
	}
}

// TestRandomDoesNotMoveKeys: with a key, the query's random number means nothing, also when some were tried.
func TestRandomDoesNotMoveKeys(t *testing.T) {
	for _, name := range keyedNames() {
		p := mustNew(t, name, set(1, 60_000, 1, 2, 3))
		rnd := rand.New(rand.NewPCG(3, 4))
		for range 200 {
			q := Query{Hash: rnd.Uint64(), Keyed: true}
			for range 5 {
				want := p.Pick(&q)
				for range 5 {
					q.Random = rnd.Uint64()
					if got := p.Pick(&q); got != want {
						t.Fatalf("%s: the same key was placed on %d and on %d", name, want, got)
					}
				}
				q.Tried.Add(want)
			}
			if got := p.Pick(&q); got != -1 {
				t.Fatalf("%s: all tried, and picked %d", name, got)
			}
		}
	}
}

// TestEqualIdentities: endpoints that nobody told apart share the keys all the same.
func TestEqualIdentities(t *testing.T) {
	for _, name := range keyedNames() {
		for _, id := range []string{"", "same"} {
			members := set(equal(5)...)
			for i := range members {
				members[i].ID = id
			}
			sums := keyShares(t, mustNew(t, name, members), 5)
			if slices.Min(sums) < 0.15 {
				t.Errorf("%s with the identity %q for all: shares %v", name, id, sums)
			}
		}
	}
}

// TestMoreWeightOnlyAttracts: when one gets more weight, no key moves between the others (ring and Maglev round, and are not exact in this).
func TestMoreWeightOnlyAttracts(t *testing.T) {
	before, _ := owner(t, mustNew(t, "rendezvous", set(2, 2, 3, 1)))
	after, _ := owner(t, mustNew(t, "rendezvous", set(2, 4, 3, 1)))
	changed := 0
	for i := range before {
		if before[i] != after[i] {
			changed++
			if after[i] != 10 {
				t.Fatalf("bucket %d moved from %d to %d", i, before[i], after[i])
			}
		}
	}
	if want := buckets * 0.15; math.Abs(float64(changed)-want) > 500 { // 4/10 now, 2/8 before
		t.Errorf("%d buckets moved, want about %.0f", changed, want)
	}
}

func TestWithoutKeyByWeight(t *testing.T) {
	const n = 60_000
	for _, name := range keyedNames() {
		for _, o := range []Options{{Algorithm: name}, {Algorithm: name, BoundedLoad: 1.25}} {
			p, err := New(o, set(2, 1, 1))
			if err != nil {
				t.Fatal(err)
			}
			counts := shares(t, p, 3, n, &Query{Hash: 5})
			for i, want := range []float64{0.5, 0.25, 0.25} {
				if !near(counts[i], n, want) {
					t.Errorf("%+v: member %d got %d of %d requests without a key, want %.0f", o, i, counts[i], n, want*n)
				}
			}
		}
	}
}
