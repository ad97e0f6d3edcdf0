package limit

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// TestShared: a rate of two windows and a quota, counted in the store as in memory.
func TestShared(t *testing.T) {
	r := testnet.StartRedis(t)
	s, _ := openStore(t, StoreOptions{URL: r.URL()})
	available(t, s)
	// Rates so slow that nothing comes back during the test.
	o := SharedOptions{Store: s, Name: "fair-use", Windows: []Window{{Count: 3, Per: 30 * time.Hour, Burst: 3}, {Count: 10, Per: 100 * time.Hour, Burst: 5}},
		Quota: QuotaOptions{Limit: 6, Period: Month}}
	sh := newShared(t, o)
	type step struct {
		key         string
		cost        int64
		verdict     Verdict
		rate, quota int64
		window      int
	}
	for i, want := range []step{
		{"a", 1, Passed, 2, 5, 0},
		{"a", 2, Passed, 0, 3, 0},
		{"a", 1, RateRefused, 0, 3, 0},
		{"b", 4, RateRefused, 3, 6, 0},
		{"b", 3, Passed, 0, 3, 0},
		{"", 1, Passed, 2, 5, 0},
	} {
		got := ask(sh, want.key, want.cost)
		if (step{want.key, want.cost, got.Verdict, got.Rate.State().Remaining, got.Quota.Remaining, got.Rate.Window}) != want || got.Source != FromStore {
			t.Errorf("step %d: %+v\ninstead of %+v", i, got, want)
		}
	}
	got := ask(sh, "a", 1)
	if st := got.Rate.State(); st.Full > 30*3600*s1 || st.Full < 30*3600*s1-60*s1 || got.Rate.Wait > 10*3600*s1 || got.Rate.Wait < 10*3600*s1-60*s1 {
		t.Errorf("%+v", got.Rate)
	}
	if got.Rate.N != 2 || got.Rate.States[1].Remaining != 2 || got.Quota.Limit != 6 || got.Quota.Reset <= 0 {
		t.Errorf("%+v", got)
	}

	// Only a quota, only a rate, and other windows of the same name: the quota is the same, the rate begins anew.
	only := newShared(t, SharedOptions{Store: s, Name: "fair-use", Quota: QuotaOptions{Limit: 4, Period: Month}})
	if got := ask(only, "a", 1); got.Verdict != Passed || got.Quota.Remaining != 0 || got.HasRate {
		t.Errorf("%+v", got)
	}
	if got := ask(only, "a", 1); got.Verdict != QuotaRefused || got.RetryAfter() < 1 {
		t.Errorf("%+v", got)
	}
	other := newShared(t, SharedOptions{Store: s, Name: "fair-use", Windows: []Window{{Count: 1, Per: time.Hour}}})
	if got := ask(other, "a", 1); got.Verdict != Passed || got.HasQuota {
		t.Errorf("%+v", got)
	}
	// A quota that refuses takes nothing of the rate.
	both := newShared(t, SharedOptions{Store: s, Name: "both", Windows: []Window{{Count: 1, Per: time.Hour, Burst: 5}}, Quota: QuotaOptions{Limit: 2, Period: Week}})
	for i, want := range []step{{"k", 2, Passed, 3, 0, 0}, {"k", 1, QuotaRefused, 3, 0, 0}, {"k", 4, RateRefused, 3, 0, 0}} {
		got := ask(both, want.key, want.cost)
		if got.Verdict != want.verdict || got.Rate.State().Remaining != want.rate || got.Quota.Remaining != want.quota {
			t.Errorf("step %d: %+v", i, got)
		}
	}
	// Everything has an end, and no text of a key is in a name.
	for _, key := range strings.Fields(r.Run("KEYS", "*")) {
		if ttl, err := strconv.Atoi(r.Run("TTL", key)); err != nil || ttl <= 0 {
			t.Errorf("%s has the time to live %d", key, ttl)
		}
		if !strings.HasPrefix(key, DefaultStorePrefix+"{") || strings.Contains(key, "fair-use") {
			t.Errorf("the name %q", key)
		}
	}
	if st := s.Stats(); st.Asked == 0 || st.Failed != 0 || st.Outages != 0 {
		t.Errorf("%+v", st)
	}
	if rate, quota := sh.Stats(); rate.Keys != 0 || quota.Keys != 3 {
		t.Errorf("%+v, %+v", rate, quota)
	}
}

// TestSharedGivesTheSameAsMemory: the script decides as the limiter in memory does, request by request. Of each that passed the server has noted the
// moment; one that was refused must have been too early at the last moment before it was sent: server and test share a clock.
func TestSharedGivesTheSameAsMemory(t *testing.T) {
	r := testnet.StartRedis(t)
	s, _ := openStore(t, StoreOptions{URL: r.URL()})
	available(t, s)
	windows := []Window{{Count: 2500, Per: time.Second, Burst: 7}, {Count: 500, Per: 300 * time.Millisecond, Burst: 40}}
	sh := newShared(t, SharedOptions{Store: s, Name: "n", Windows: windows})
	model := newRate(t, windows...)
	l := s.link.Load()
	key := sh.tag(sh.digest([]byte("k"))) + sh.rate
	passed, refused := 0, 0
	for i := range 1500 {
		before := time.Now().UnixNano()
		got := ask(sh, "k", int64(1+i%3))
		var want Decision
		if got.Verdict == RateRefused {
			refused++
			if model.ask([]byte("k"), int64(1+i%3), 1, before, false, &want); want.Allowed {
				t.Fatalf("request %d was refused: %+v\ninstead of %+v", i, got.Rate, want)
			}
			continue
		}
		passed++
		raw, err := l.Do(t.Context(), l.B().Get().Key(key).Build()).AsBytes()
		if err != nil || len(raw) != 24 {
			t.Fatalf("%x, %v", raw, err)
		}
		at := int64(math.Float64frombits(binary.LittleEndian.Uint64(raw))) * 1000
		model.Take([]byte("k"), int64(1+i%3), at, &want)
		if got.Source != FromStore || want != got.Rate {
			t.Fatalf("request %d: %+v\ninstead of %+v", i, got, want)
		}
	}
	if passed < 20 || refused < 20 {
		t.Errorf("%d passed, %d were refused", passed, refused)
	}
}

// TestSharedIsOneLimit: several gateways get together exactly what one would, whatever clocks they have.
func TestSharedIsOneLimit(t *testing.T) {
	r := testnet.StartRedis(t)
	const gateways = 4
	var passed, quota atomic.Int64
	var wg sync.WaitGroup
	var stores []*Store
	for range gateways {
		s, _ := openStore(t, StoreOptions{URL: r.URL(), Timeout: 5 * time.Second})
		stores = append(stores, s)
	}
	available(t, stores...)
	for g, s := range stores {
		rate := newShared(t, SharedOptions{Store: s, Name: "rate", Windows: []Window{{Count: 1, Per: time.Hour, Burst: 300}}})
		month := newShared(t, SharedOptions{Store: s, Name: "quota", Quota: QuotaOptions{Limit: 777, Period: Month}})
		for range 4 {
			wg.Go(func() {
				for range 100 {
					var a, b Result
					wall := time.Now().Add(time.Duration(g-2) * 1000 * time.Hour).UnixNano() // a gateway's own clock does not matter
					rate.Take([]byte("k"), 1, mono(), wall, &a)
					month.Take([]byte("k"), 1, mono(), wall, &b)
					if a.Source != FromStore || b.Source != FromStore {
						t.Error("the store was not asked")
						return
					}
					if a.Verdict == Passed {
						passed.Add(1)
					}
					if b.Verdict == Passed {
						quota.Add(1)
					}
				}
			})
		}
	}
	wg.Wait()
	if passed.Load() != 300 || quota.Load() != 777 {
		t.Errorf("%d of 300 and %d of 777 have passed", passed.Load(), quota.Load())
	}
	testnet.Eventually(t, "all instances", func() bool {
		return stores[0].Instances() == gateways && stores[3].Instances() == gateways
	})
}

// TestSharedPeriods: a quota begins anew with the period, by the server's clock.
func TestSharedPeriods(t *testing.T) {
	r := testnet.StartRedis(t)
	s, _ := openStore(t, StoreOptions{URL: r.URL()})
	available(t, s)
	sh := newShared(t, SharedOptions{Store: s, Name: "n", Quota: QuotaOptions{Limit: 3, Period: Second}})
	passed := map[string]int{}
	refused := 0
	deadline := time.Now().Add(testnet.Patience)
	for len(passed) < 4 && time.Now().Before(deadline) {
		before := r.Run("TIME")
		got := ask(sh, "k", 1)
		after := r.Run("TIME")
		second, _, _ := strings.Cut(before, "\n")
		if other, _, _ := strings.Cut(after, "\n"); other != second {
			passed[second] += 0 // in which of the two is not known
			continue
		}
		if got.Verdict == Passed {
			passed[second]++
		} else {
			refused++
		}
		if passed[second] > 3 {
			t.Fatalf("%d passed in one second", passed[second])
		}
	}
	if len(passed) < 4 || refused == 0 {
		t.Errorf("%v passed, %d were refused", passed, refused)
	}
}

// TestSharedAlone: what each mode does while there is no store.
func TestSharedAlone(t *testing.T) {
	s, lines := openStore(t, StoreOptions{URL: "redis://user:sesame@127.0.0.1:1/3"})
	testnet.Receive(t, "the first attempt", s.First())
	if s.Available() {
		t.Fatal("there is no store")
	}
	o := SharedOptions{Store: s, Name: "n", Windows: []Window{{Count: 1, Per: time.Hour, Burst: 6}}, Quota: QuotaOptions{Limit: 20, Period: Month}}
	count := func(mode FailureMode) (n int, last Result) {
		o.OnFailure = mode
		sh := newShared(t, o)
		for range 30 {
			if last = ask(sh, "k", 1); last.Verdict == Passed {
				n++
			}
		}
		return n, last
	}
	if n, last := count(Open); n != 30 || last.Source != FromNobody || last.Rate.State().Remaining != 6 || last.Quota.Remaining != 20 {
		t.Errorf("open: %d passed, %+v", n, last)
	}
	if n, last := count(Closed); n != 0 || last.Verdict != StoreAway || last.RetryAfter() != 1 {
		t.Errorf("closed: %d passed, %+v", n, last)
	}
	if n, last := count(Share); n != 6 || last.Verdict != RateRefused || last.Source != FromShare || last.Quota.Remaining != 14 {
		t.Errorf("share of one: %d passed, %+v", n, last)
	}
	s.instances.Store(3)
	if n, last := count(Share); n != 2 || last.Verdict != RateRefused || last.Quota.Remaining != 5 || last.Quota.Limit != 20 {
		t.Errorf("share of three: %d passed, %+v", n, last)
	}
	o.Windows = nil
	if n, last := count(Share); n != 7 || last.Verdict != QuotaRefused || last.HasRate {
		t.Errorf("a third of the quota, rounded up: %d passed, %+v", n, last)
	}
	o.Windows = []Window{{Count: 1, Per: time.Hour, Burst: 300}}
	if n, last := count(Share); n != 7 || last.Verdict != QuotaRefused || last.Rate.State().Remaining != 93 {
		t.Errorf("what the quota refuses takes nothing of the rate: %d passed, %+v", n, last)
	}
	all := lines.all()
	if len(all) != 1 || !strings.Contains(all[0], "redis://127.0.0.1:1/3 is away") || strings.Contains(all[0], "sesame") {
		t.Errorf("%q", all)
	}
}

// TestSharedQuotaInAnOutage: without the store each instance spends its part of what was left, and adds it up when the store is back.
func TestSharedQuotaInAnOutage(t *testing.T) {
	r := testnet.StartRedis(t, "--save", "3600 1", "--dir", t.TempDir())
	a, _ := openStore(t, StoreOptions{URL: r.URL()})
	b, _ := openStore(t, StoreOptions{URL: r.URL()})
	available(t, a, b)
	o := SharedOptions{Name: "n", Quota: QuotaOptions{Limit: 100, Period: Month}}
	o.Store = a
	first := newShared(t, o)
	o.Store = b
	second := newShared(t, o)
	for range 20 {
		ask(first, "k", 1)
		ask(second, "k", 1)
	}
	testnet.Eventually(t, "both see both", func() bool { return a.Instances() == 2 && b.Instances() == 2 })
	r.Run("SAVE")
	r.Kill()
	testnet.Eventually(t, "the outage", func() bool { ask(first, "other", 1); ask(second, "other", 1); return !a.Available() && !b.Available() })

	passed := 0
	for range 100 {
		if got := ask(first, "k", 1); got.Verdict == Passed {
			if got.Source != FromShare {
				t.Fatalf("%+v", got)
			}
			passed++
		}
	}
	if passed < 30 || passed > 31 { // 60 or 61 were left when it asked last
		t.Errorf("%d have passed without the store", passed)
	}
	r.Start()
	available(t, a, b)
	got := ask(first, "k", 1)
	if got.Source != FromStore || got.Verdict != Passed || got.Quota.Remaining != 100-40-int64(passed)-1 {
		t.Errorf("with the store again: %+v after %d", got, passed)
	}
	if got := ask(second, "k", 1); got.Quota.Remaining != 100-40-int64(passed)-2 {
		t.Errorf("the other: %+v", got)
	}
	for _, key := range strings.Fields(r.Run("KEYS", "*q*")) {
		if ttl, err := strconv.Atoi(r.Run("TTL", key)); err != nil || ttl <= 0 {
			t.Errorf("%s has the time to live %d", key, ttl)
		}
	}
}

// TestSharedScriptIsForgotten: a server that has lost its scripts gets them again.
func TestSharedScriptIsForgotten(t *testing.T) {
	r := testnet.StartRedis(t)
	s, lines := openStore(t, StoreOptions{URL: r.URL()})
	available(t, s)
	sh := newShared(t, SharedOptions{Store: s, Name: "n", Windows: []Window{{Count: 1, Per: time.Hour, Burst: 6}}})
	for i := range 6 {
		r.Run("SCRIPT", "FLUSH")
		if got := ask(sh, "k", 1); got.Verdict != Passed || got.Source != FromStore || got.Rate.State().Remaining != int64(5-i) {
			t.Errorf("%+v", got)
		}
	}
	if all := lines.all(); len(all) != 0 {
		t.Errorf("%q", all)
	}
}

// TestSharedClockGoesBack: what is owed does not vanish when the server's clock is behind what was written, and does not grow.
func TestSharedClockGoesBack(t *testing.T) {
	r := testnet.StartRedis(t)
	s, _ := openStore(t, StoreOptions{URL: r.URL()})
	available(t, s)
	sh := newShared(t, SharedOptions{Store: s, Name: "n", Windows: []Window{{Count: 1, Per: time.Hour, Burst: 2}}})
	ask(sh, "k", 1)
	key := sh.tag(sh.digest([]byte("k"))) + sh.rate
	// As if the last request had been an hour in the future.
	r.Run("EVAL", `local raw = redis.call('GET', KEYS[1]) local at, owed = struct.unpack('<dd', raw)
		redis.call('SET', KEYS[1], struct.pack('<dd', at + 3600e6, owed))`, "1", key)
	got := ask(sh, "k", 1)
	if got.Verdict != Passed || got.Rate.State().Remaining != 0 || got.Rate.State().Full > 2*3600*s1 {
		t.Errorf("%+v", got)
	}
	if got := ask(sh, "k", 1); got.Verdict != RateRefused || got.Rate.Wait > 3600*s1 {
		t.Errorf("%+v", got)
	}
	r.Run("SET", key, "nonsense")
	if got := ask(sh, "k", 1); got.Verdict != Passed || got.Source != FromStore {
		t.Errorf("with a value that is none: %+v", got)
	}
}

// TestSharedTLSAndPassword: rediss with a private authority, user and password.
func TestSharedTLSAndPassword(t *testing.T) {
	cert, key, trust := authority(t)
	r := testnet.StartRedis(t, "--tls-port", "0", "--requirepass", "sesame-open")
	plain := r.Port
	secure := startRedisTLS(t, cert, key)
	for name, c := range map[string]struct {
		o    StoreOptions
		want bool
	}{
		"password":       {StoreOptions{URL: "redis://:sesame-open@127.0.0.1:" + plain}, true},
		"wrong password": {StoreOptions{URL: "redis://:sesame-shut@127.0.0.1:" + plain}, false},
		"no password":    {StoreOptions{URL: "redis://127.0.0.1:" + plain}, false},
		"TLS":            {StoreOptions{URL: "rediss://127.0.0.1:" + secure.Port, TLS: trust}, true},
		"not trusted":    {StoreOptions{URL: "rediss://127.0.0.1:" + secure.Port}, false},
		"plain to TLS":   {StoreOptions{URL: "redis://127.0.0.1:" + secure.Port}, false},
	} {
		s, lines := openStore(t, c.o)
		testnet.Receive(t, "the first attempt of "+name, s.First())
		if c.want {
			available(t, s)
			sh := newShared(t, SharedOptions{Store: s, Name: name, Windows: []Window{{Count: 1, Per: time.Hour}}})
			if got := ask(sh, "k", 1); got.Source != FromStore || got.Verdict != Passed {
				t.Errorf("%s: %+v", name, got)
			}
			continue
		}
		if s.Available() || len(lines.all()) != 1 {
			t.Errorf("%s: available is %v, %q", name, s.Available(), lines.all())
		}
		if all := strings.Join(lines.all(), "\n"); strings.Contains(all, "sesame") {
			t.Errorf("%s: a password is printed: %s", name, all)
		}
	}
}

func startRedisTLS(t *testing.T, cert, key string) *testnet.Redis {
	t.Helper()
	r := testnet.StartRedis(t)
	r.Kill()
	r.Args = []string{"--tls-port", r.Port, "--port", "0", "--tls-cert-file", cert, "--tls-key-file", key, "--tls-auth-clients", "no"}
	r.Start()
	return r
}

func TestStoreErrors(t *testing.T) {
	for _, url := range []string{"", "127.0.0.1:6379", "http://x:sesame@h/1", "redis://", "redis://x:sesame@h/notanumber", "redis://x:sesame@h:port", "redis://x:ses%zzame@h"} {
		if s, err := OpenStore(StoreOptions{URL: url, Now: mono}); err == nil || strings.Contains(err.Error(), "same") {
			t.Errorf("%q: %v", url, err)
			if s != nil {
				s.Close()
			}
		}
	}
	if _, err := OpenStore(StoreOptions{URL: "redis://h"}); err == nil {
		t.Error("without a clock")
	}
	s, _ := openStore(t, StoreOptions{URL: "redis://127.0.0.1:1"})
	for i, o := range []SharedOptions{
		{Name: "n", Windows: []Window{{Count: 1, Per: 1}}},
		{Store: s}, {Store: s, Windows: []Window{{}}}, {Store: s, Quota: QuotaOptions{Limit: 1}},
	} {
		if _, err := NewShared(o); err == nil {
			t.Errorf("%d: no error", i)
		}
	}
	if s.Address() != "redis://127.0.0.1:1" {
		t.Error(s.Address())
	}
	if got := fmt.Sprint(s.Stats()); got == "" {
		t.Error("no figures")
	}
}
