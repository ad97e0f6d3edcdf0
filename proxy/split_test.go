package proxy

import (
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/balance"
	"github.com/sluice-gateway/sluice/expr"
	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
	"github.com/sluice-gateway/sluice/upstream"
)

// part is a part of a split in a test: a backend that nobody asks.
type part struct {
	name   string
	weight uint64
}

// splitOf makes a split by key, which may be empty.
func splitOf(t testing.TB, key string, parts ...part) *Split {
	t.Helper()
	a := &Split{}
	if key != "" {
		a.Key = program(t, key)
	}
	for _, p := range parts {
		a.Parts = append(a.Parts, SplitPart{backend(t, "127.0.0.1:1", func(o *upstream.Options) { o.Name = p.name }, nil), p.weight})
	}
	a.Seal()
	return a
}

func program(t testing.TB, src string) *expr.Program {
	t.Helper()
	p, err := expr.Compile(src, expr.Env{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// wantShares compares counts with what the weights of the parts would have them be, by Pearson's chi-square test. The bound is exceeded by chance
// less than once in 10^11 runs for up to four parts.
func wantShares(t *testing.T, a *Split, got map[string]int) {
	t.Helper()
	n := 0
	for _, c := range got {
		n += c
	}
	sum := 0.0
	for _, p := range a.Parts {
		c, name := float64(got[p.Backend.Name()]), p.Backend.Name()
		if p.Weight == 0 {
			if c != 0 {
				t.Errorf("%s has weight 0 and got %v", name, c)
			}
			continue
		}
		want := float64(n) * float64(p.Weight) / float64(a.total)
		sum += (c - want) * (c - want) / want
	}
	if sum > 55 {
		t.Errorf("shares %v are not those of the weights: chi-square %.1f", got, sum)
	}
}

// keyOf is the i-th key of a test, as a client's address might be.
func keyOf(i int) []byte { return fmt.Appendf(nil, "10.%d.%d.%d", i>>16&255, i>>8&255, i&255) }

// keyedAll returns where each of n keys goes.
func keyedAll(a *Split, n int) []string {
	x := new(message.Exchange)
	x.Reset()
	to := make([]string, n)
	for i := range to {
		to[i] = a.keyed(x, balance.Hash(keyOf(i))).Name()
	}
	return to
}

func tally(to []string) map[string]int {
	got := map[string]int{}
	for _, name := range to {
		got[name]++
	}
	return got
}

var splits = [][]part{ // read-only
	{{"a", 95}, {"b", 5}},
	{{"a", 1}, {"b", 1}, {"c", 1}},
	{{"off", 0}, {"a", 3}, {"gone", 0}, {"b", 2}, {"last", 0}},
	{{"a", 65535}, {"b", 1000}, {"c", 300}, {"d", 65535}},
	{{"only", 7}},
}

func TestSplitDrawsByWeight(t *testing.T) {
	for _, parts := range splits {
		a := splitOf(t, "", parts...)
		x := request("192.0.2.7:1", "a", "/")
		got := map[string]int{}
		for range 30_000 {
			got[a.choose(x).Name()]++
		}
		wantShares(t, a, got)
	}
}

// TestSplitLine: the numbers from 0 to 2^64 are cut exactly as the weights say.
func TestSplitLine(t *testing.T) {
	for _, parts := range splits {
		a := splitOf(t, "", parts...)
		at := uint64(0)
		for _, p := range a.Parts {
			if p.Weight == 0 {
				continue
			}
			first, last := border(at, a.total), border(at+p.Weight, a.total)-1
			for _, random := range []uint64{first, last, first + (last-first)/2} {
				if got := a.drawn(random); got != p.Backend {
					t.Errorf("%v: %#x goes to %s, want %s", parts, random, got.Name(), p.Backend.Name())
				}
			}
			at += p.Weight
		}
	}
}

// border is the least number of which total parts make at least at parts of 2^64; that of total itself is 2^64, written 0.
func border(at, total uint64) uint64 {
	if at == total {
		return 0
	}
	q, rest := bits.Div64(at, 0, total)
	if rest > 0 {
		q++
	}
	return q
}

func TestSplitKeyed(t *testing.T) {
	const n = 10_000
	for _, parts := range splits {
		a := splitOf(t, "request.path", parts...)
		first := keyedAll(a, n)
		wantShares(t, a, tally(first))
		if !slices.Equal(first, keyedAll(a, n)) {
			t.Errorf("%v: the same keys went elsewhere the second time", parts)
		}
		// What the file says in another order says the same.
		turned := slices.Clone(parts)
		slices.Reverse(turned)
		if !slices.Equal(first, keyedAll(splitOf(t, "request.path", turned...), n)) {
			t.Errorf("%v: keys move when the order changes", parts)
		}
	}
}

// TestSplitMovesWhatItMust: of a change of weights or parts, keys move only to what has gained, or only away from what has lost, and no more of
// them than the shares say.
func TestSplitMovesWhatItMust(t *testing.T) {
	const n = 20_000
	for _, tc := range []struct {
		name          string
		before, after []part
		changed       string  // the part that gains or loses
		share         float64 // of all keys that move
	}{
		{"a canary grows", []part{{"a", 95}, {"b", 5}}, []part{{"a", 90}, {"b", 10}}, "b", 0.05},
		{"a canary begins", []part{{"a", 1}, {"b", 0}}, []part{{"a", 99}, {"b", 1}}, "b", 0.01},
		{"a canary is taken back", []part{{"a", 80}, {"b", 20}}, []part{{"a", 100}, {"b", 0}}, "b", 0.2},
		{"one of three grows", []part{{"a", 1}, {"b", 1}, {"c", 1}}, []part{{"a", 1}, {"b", 2}, {"c", 1}}, "b", 1.0/2 - 1.0/3},
		{"one of three shrinks", []part{{"a", 4}, {"b", 4}, {"c", 4}}, []part{{"a", 4}, {"b", 1}, {"c", 4}}, "b", 4.0/12 - 1.0/9},
		{"one comes, at the begin", []part{{"a", 1}, {"b", 1}}, []part{{"new", 1}, {"a", 1}, {"b", 1}}, "new", 1.0 / 3},
		{"one goes, from the middle", []part{{"a", 5}, {"gone", 2}, {"b", 3}}, []part{{"a", 5}, {"b", 3}}, "gone", 0.2},
		{"all double", []part{{"a", 1}, {"b", 2}}, []part{{"a", 2}, {"b", 4}}, "", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := splitOf(t, "request.path", tc.after...)
			before, after := keyedAll(splitOf(t, "request.path", tc.before...), n), keyedAll(a, n)
			moved, in, out := 0, 0, 0
			for i := range before {
				if before[i] == after[i] {
					continue
				}
				moved++
				switch tc.changed {
				case after[i]:
					in++
				case before[i]:
					out++
				default:
					t.Fatalf("a key moves from %s to %s", before[i], after[i])
				}
			}
			if in > 0 && out > 0 {
				t.Errorf("%d keys move to %s and %d away from it", in, tc.changed, out)
			}
			want := tc.share * n
			if d := math.Abs(float64(moved) - want); d > 6*math.Sqrt(want)+1e-9 {
				t.Errorf("%d keys move, want %.0f", moved, want)
			}
			wantShares(t, a, tally(after))
		})
	}
}

// TestSplitIsNotTheBackendsHash: the keys of a small part are still spread over all of what a backend may hash the same key by.
func TestSplitIsNotTheBackendsHash(t *testing.T) {
	a := splitOf(t, "request.path", part{"a", 97}, part{"b", 3})
	x := request("192.0.2.7:1", "a", "/")
	var top, low [16]int
	n := 0
	for i := range 60_000 {
		if h := balance.Hash(keyOf(i)); a.keyed(x, h).Name() == "b" {
			top[h>>60]++
			low[h&15]++
			n++
		}
	}
	for _, counts := range [][16]int{top, low} {
		sum, want := 0.0, float64(n)/16
		for _, c := range counts {
			sum += (float64(c) - want) * (float64(c) - want) / want
		}
		if sum > 85 { // 15 degrees of freedom
			t.Errorf("the hashes of a part's keys are not spread: %v, chi-square %.1f", counts, sum)
		}
	}
}

// TestSplitKeyMissing: who does not say where to go is drawn, each time anew.
func TestSplitKeyMissing(t *testing.T) {
	a := splitOf(t, `request.headers["x-user"]`, part{"a", 1}, part{"b", 1}, part{"off", 0})
	seen := map[string]int{}
	for range 2000 {
		seen[a.choose(request("192.0.2.7:1", "a", "/")).Name()]++
	}
	wantShares(t, a, seen)
	for _, user := range []string{"", "ann", "bob", strings.Repeat("x", 5000)} { // a value that is empty is one
		first := a.choose(request("192.0.2.7:1", "a", "/", "X-User: "+user))
		for range 100 {
			if got := a.choose(request(fmt.Sprintf("192.0.2.7:%d", 1+rand.IntN(60000)), "b", "/other", "X-User: "+user)); got != first {
				t.Fatalf("user %.10q goes to %s and to %s", user, first.Name(), got.Name())
			}
		}
	}
}

// TestSplitServes: a whole exchange through each part, with what follows from it: log, counters, a failure that stays with its part.
func TestSplitServes(t *testing.T) {
	answer := func(name string) *testnet.Origin {
		return testnet.NewOrigin(t, testnet.Answer(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(name), name)))
	}
	reg := metric.NewRegistry(metric.Options{})
	a := &Split{Key: program(t, `request.headers["x-user"]`)}
	names := map[string]int{}
	for i, name := range []string{"old", "new"} {
		o := answer(name)
		b := backend(t, o.Addr, func(o *upstream.Options) { o.Name = name }, reg)
		a.Parts = append(a.Parts, SplitPart{b, uint64(2 - i)})
	}
	a.Seal()
	l, text := openLog(t)
	s := site(t, func(s *Site) { s.Log = l }, at("/*", &Route{Action: a}))
	c := connect(t, NewHTTP(s), serverOptions(), "192.0.2.7:1")
	for i := range 60 {
		user := fmt.Sprintf("X-User: %d", i)
		r := c.Do("GET", get("/", user))
		again := c.Do("GET", get("/", user))
		if r.Status != 200 || string(r.Body) != string(again.Body) {
			t.Fatalf("answers %d %s, %d %s", r.Status, r.Body, again.Status, again.Body)
		}
		names[string(r.Body)] += 2
	}
	if names["old"]+names["new"] != 120 || names["old"] <= names["new"] || names["new"] == 0 {
		t.Errorf("answers %v", names)
	}
	lines := text()
	for name, n := range names {
		if got := strings.Count(lines, fmt.Sprintf(`"backend":%q`, name)); got != n {
			t.Errorf("the log has %d lines of %s, want %d", got, name, n)
		}
	}
}
