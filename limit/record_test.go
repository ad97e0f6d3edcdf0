package limit

import (
	"bytes"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

func newRecords(t testing.TB, s *Store, lease time.Duration) *Records {
	t.Helper()
	r, err := NewRecords(RecordsOptions{Store: s, Name: "test", Lease: lease})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// TestRecords: one of two instances claims a key; the other finds the claim, then the value, until its time is over.
func TestRecords(t *testing.T) {
	t.Parallel()
	server := testnet.StartRedis(t)
	s, _ := openStore(t, StoreOptions{URL: server.URL()})
	u, _ := openStore(t, StoreOptions{URL: server.URL()})
	available(t, s, u)
	a, b := newRecords(t, s, 0), newRecords(t, u, 0)
	key, about := Key{1}, []byte("about\x00it")
	if got := a.Claim(key, about); got.Found != Nothing {
		t.Fatalf("the first claim finds %+v", got)
	}
	claim := b.Claim(key, []byte("other"))
	if claim.Found != Claimed || !bytes.Equal(claim.Value, about) || claim.By == "" {
		t.Fatalf("the second claim finds %+v", claim)
	}
	if got := b.Look(key); got.Found != Claimed || got.By != claim.By {
		t.Fatalf("a look finds %+v", got)
	}
	if b.Keep(key, []byte("mine"), time.Minute) {
		t.Error("a value in place of another's claim was kept")
	}
	b.Drop(key) // nothing of its own
	value := bytes.Repeat([]byte{0, 1, 255}, 300_000)
	if !a.Keep(key, value, time.Minute) {
		t.Fatal("the value was not kept")
	}
	for _, r := range []*Records{a, b} {
		if got := r.Claim(key, about); got.Found != Valued || !bytes.Equal(got.Value, value) {
			t.Errorf("a claim finds %d, %d bytes", got.Found, len(got.Value))
		}
	}
	if ttl := server.Run("PTTL", a.name(key)); ttl == "-1" || ttl == "-2" {
		t.Errorf("the value is kept without an end: %s", ttl)
	}
	if a.Keep(key, []byte("another"), time.Minute) {
		t.Error("a value was replaced")
	}

	if got := a.Claim(Key{2}, nil); got.Found != Nothing {
		t.Fatal(got)
	}
	a.Drop(Key{2})
	if got := b.Claim(Key{2}, nil); got.Found != Nothing {
		t.Errorf("behind a claim that was dropped: %+v", got)
	}
	server.Run("SET", a.name(Key{3}), "nonsense")
	if got := a.Claim(Key{3}, nil); got.Found != Unknown || !s.Available() {
		t.Errorf("what is none of ours: %+v", got)
	}
}

// TestRecordsLease: a claim lasts as long as its program renews it, and little longer; and it comes back when the server has forgotten it.
func TestRecordsLease(t *testing.T) {
	t.Parallel()
	server := testnet.StartRedis(t)
	s, _ := openStore(t, StoreOptions{URL: server.URL()})
	u, _ := openStore(t, StoreOptions{URL: server.URL()})
	available(t, s, u)
	const lease = 300 * time.Millisecond
	a, b := newRecords(t, s, lease), newRecords(t, u, lease)
	if got := a.Claim(Key{1}, nil); got.Found != Nothing {
		t.Fatal(got)
	}
	server.Run("DEL", a.name(Key{1}))
	testnet.Eventually(t, "the claim is there again", func() bool { return b.Look(Key{1}).Found == Claimed })
	a.Close()
	testnet.Eventually(t, "the end of the claim", func() bool { return b.Claim(Key{1}, nil).Found == Nothing })
}

// TestRecordsDropRace: claims that are dropped while they are renewed do not come back.
func TestRecordsDropRace(t *testing.T) {
	t.Parallel()
	server := testnet.StartRedis(t)
	s, _ := openStore(t, StoreOptions{URL: server.URL()})
	available(t, s)
	r := newRecords(t, s, time.Hour)
	var left atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for !left.Load() {
			r.renew()
		}
	})
	var claims sync.WaitGroup
	for g := range 8 {
		claims.Go(func() {
			for i := range 150 {
				key := Key{byte(g), byte(i)}
				if got := r.Claim(key, nil); got.Found != Nothing {
					t.Errorf("claim %d finds %+v", i, got)
				}
				r.Drop(key)
			}
		})
	}
	claims.Wait()
	left.Store(true)
	wg.Wait()
	r.renew()
	if got := server.Run("KEYS", "*record*"); got != "" {
		t.Errorf("claims are left: %s", got)
	}
}

// TestRecordsOutage: while the store is away nothing waits, and a claim that it did not get it has when it is back.
func TestRecordsOutage(t *testing.T) {
	t.Parallel()
	server := testnet.StartRedis(t)
	s, _ := openStore(t, StoreOptions{URL: server.URL()})
	available(t, s)
	r := newRecords(t, s, 600*time.Millisecond)
	server.Kill()
	if got := r.Claim(Key{1}, []byte("a")); got.Found != Unknown {
		t.Fatalf("without a server: %+v", got)
	}
	if r.Keep(Key{2}, nil, time.Minute) || r.Look(Key{1}).Found != Unknown {
		t.Error("something was kept or found without a server")
	}
	server.Start()
	testnet.Eventually(t, "the claim", func() bool { return r.Look(Key{1}).Found == Claimed })
	if !r.Keep(Key{1}, []byte("v"), time.Minute) {
		t.Error("the value was not kept")
	}
	if got := r.Look(Key{1}); got.Found != Valued || string(got.Value) != "v" {
		t.Errorf("found %+v", got)
	}
	r.Close()
	r.Close() // once more does nothing
}

// TestRecordsCrowd: of many claims at once, in two instances, one wins.
func TestRecordsCrowd(t *testing.T) {
	t.Parallel()
	server := testnet.StartRedis(t)
	s, _ := openStore(t, StoreOptions{URL: server.URL()})
	u, _ := openStore(t, StoreOptions{URL: server.URL()})
	available(t, s, u)
	all := []*Records{newRecords(t, s, 0), newRecords(t, u, 0)}
	for round := range 5 {
		var won, lost atomic.Int32
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				switch got := all[i%2].Claim(Key{9, byte(round)}, []byte(fmt.Sprint(i))); got.Found {
				case Nothing:
					won.Add(1)
				case Claimed:
					lost.Add(1)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 || lost.Load() != 49 {
			t.Errorf("round %d: %d won, %d lost", round, won.Load(), lost.Load())
		}
	}
}

func TestRecordsErrors(t *testing.T) {
	if _, err := NewRecords(RecordsOptions{}); err == nil {
		t.Error("records without a store")
	}
}
