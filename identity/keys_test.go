package identity

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
)

// since returns when the issuer was asked, from the start of the bubble.
func (s *scripted) since(start time.Time) []time.Duration {
	var list []time.Duration
	for _, moment := range s.asked() {
		list = append(list, moment.Sub(start))
	}
	return list
}

func equalTimes(t *testing.T, got []time.Duration, want ...time.Duration) {
	t.Helper()
	same := len(got) == len(want)
	for i := 0; same && i < len(want); i++ {
		same = got[i] == want[i]
	}
	if !same {
		t.Errorf("asked at %v, want %v", got, want)
	}
}

const ms = time.Millisecond

// Keys are got again before they are old, and the jitter only ever makes that earlier.
func TestRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		e := newES256("e")
		s := &scripted{document: setFrom(e)}
		fetched := metric.NewCounter(1)
		o := KeysOptions{URL: "https://id.bank.example/jwks", Fetched: fetched}.withDefaults()
		random := 0.0
		k, err := openKeys(o.URL, o, s.load, nil, func() float64 { random += 0.5; return random - 0.5 })
		if err != nil {
			t.Fatal(err)
		}
		defer k.Close()
		pass(30 * time.Minute)
		equalTimes(t, s.since(start), 0, 10*time.Minute, 19*time.Minute+30*time.Second, 28*time.Minute+30*time.Second)
		if fetched.Value() != 4 || k.Degraded() != "" || k.Status().Keys != 1 {
			t.Errorf("%d, %q, %+v", fetched.Value(), k.Degraded(), k.Status())
		}
	})
}

// An issuer that is away at the start: no token is accepted, the fetch is tried again after 0.5 s, doubling to 30 s, and it recovers alone.
func TestIssuerAwayAtStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		e := newES256("e")
		s := &scripted{}
		var out lines
		failed := metric.NewCounter(1)
		k := s.open(t, KeysOptions{Report: out.add, Failed: failed})
		defer k.Close()
		v := newVerifier(t, bankOptions(k))
		token := e.token(claimsText(nil))
		expect(t, v, token, at, message.JWKSUnavailable)
		expect(t, v, []byte("garbage"), at, message.JWKSUnavailable)
		expect(t, v, nil, at, message.TokenMissing)
		if k.Available() || k.Degraded() != KeysUnavailable || v.Degraded() != KeysUnavailable {
			t.Errorf("available %v, degraded %q", k.Available(), k.Degraded())
		}
		if time.Since(start) != 0 {
			t.Error("a request waited for an issuer that has answered already")
		}
		pass(95 * time.Second)
		equalTimes(t, s.since(start), 0, 500*ms, 1500*ms, 3500*ms, 7500*ms, 15500*ms, 31500*ms, 61500*ms, 91500*ms)
		if failed.Value() != 9 {
			t.Errorf("%d failures", failed.Value())
		}
		s.set(setFrom(e))
		expect(t, v, token, at, message.JWKSUnavailable)
		pass(30 * time.Second)
		expect(t, v, token, at, message.ReasonNone)
		if k.Degraded() != "" || !k.Available() {
			t.Errorf("degraded %q", k.Degraded())
		}
		all := out.all()
		if len(all) != 3 || !strings.Contains(all[0], "no keys are known yet") || !strings.Contains(all[2], "got again (keys: 1)") {
			t.Errorf("reports %q", all)
		}
	})
}

// The requests of the first moment wait for the first fetch, at most for its timeout.
func TestFirstFetchIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newES256("e")
		for _, test := range []struct {
			delay, want time.Duration
			reason      message.Reason
		}{{time.Second, time.Second, message.ReasonNone}, {time.Hour, 2 * time.Second, message.JWKSUnavailable}} {
			start := time.Now()
			s := &scripted{document: setFrom(e), delay: test.delay}
			k := s.open(t, KeysOptions{})
			v := newVerifier(t, bankOptions(k))
			expect(t, v, e.token(claimsText(nil)), at, test.reason)
			if took := time.Since(start); took != test.want {
				t.Errorf("waited for %v", took)
			}
			k.Close()
		}
	})
}

// Once keys are there an issuer that is away changes nothing but what is told about it.
func TestStaleKeysStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		e := newES256("e")
		s := &scripted{document: setFrom(e)}
		var out lines
		k := s.open(t, KeysOptions{Report: out.add})
		defer k.Close()
		v := newVerifier(t, bankOptions(k))
		expect(t, v, e.token(claimsText(nil)), at, message.ReasonNone)
		s.set(`{"keys":[{"kty":"RSA"}]}`) // as bad as none
		pass(24 * time.Hour)
		expect(t, v, e.token(claimsText(nil)), at, message.ReasonNone)
		if k.Degraded() != KeysStale || !k.Available() || !strings.Contains(k.Status().LastError, "none of the 1 keys") {
			t.Errorf("degraded %q, %+v", k.Degraded(), k.Status())
		}
		if n := len(s.since(start)); n < 2800 || n > 2900 {
			t.Errorf("asked %d times in a day", n)
		}
		if n := len(out.all()); n < 1400 || n > 1450 {
			t.Errorf("%d lines in a day, which is not one a minute", n)
		}
		s.set(setFrom(e))
		pass(time.Minute)
		if k.Degraded() != "" {
			t.Errorf("degraded %q", k.Degraded())
		}
	})
}

// An unknown kid begins one fetch when the last one began MinInterval ago, and the request waits for it; all others are decided at once.
func TestUnknownKid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		e, next := newES256("e"), newES256("next")
		s := &scripted{document: setFrom(e)}
		k := s.open(t, KeysOptions{})
		defer k.Close()
		v := newVerifier(t, bankOptions(k))
		<-k.First()
		s.mu.Lock()
		s.delay = time.Second
		s.mu.Unlock()

		pass(5*time.Second - 1)
		for range 100 {
			expect(t, v, next.token(claimsText(nil)), at, message.KeyUnknown)
		}
		if took := time.Since(start); took != 5*time.Second-1 {
			t.Errorf("decided after %v", took)
		}
		equalTimes(t, s.since(start), 0)

		pass(time.Nanosecond)
		s.set(setFrom(e, next))
		began := time.Now()
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				expect(t, v, next.token(claimsText(nil)), at, message.ReasonNone)
				if took := time.Since(began); took != time.Second {
					t.Errorf("waited for %v", took)
				}
			})
		}
		all.Wait()
		equalTimes(t, s.since(start), 0, 5*time.Second)

		// Keys that nobody has: one fetch per MinInterval, however many tokens come.
		for range 100 {
			v.Verify(newEd25519("x").token(claimsText(nil)), at)
			expect(t, v, e.token(claimsText(nil)), at, message.ReasonNone)
			pass(100 * ms)
		}
		if n := len(s.asked()); n != 4 {
			t.Errorf("asked %d times", n)
		}
		if s.most != 1 {
			t.Errorf("%d fetches at the same time", s.most)
		}
		// The next refresh counts from the end of the last fetch.
		last := s.asked()[3]
		pass(time.Until(last.Add(DefaultRefresh + time.Second - 1)))
		if n := len(s.asked()); n != 4 {
			t.Errorf("asked %d times", n)
		}
		pass(time.Nanosecond)
		if n := len(s.asked()); n != 5 {
			t.Errorf("asked %d times", n)
		}
	})
}

// While the issuer is away a token with an unknown kid waits no longer than the timeout, and is refused.
func TestUnknownKidWhileAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newES256("e")
		s := &scripted{document: setFrom(e)}
		k := s.open(t, KeysOptions{})
		defer k.Close()
		v := newVerifier(t, bankOptions(k))
		<-k.First()
		pass(time.Minute)
		s.mu.Lock()
		s.delay = time.Hour
		s.mu.Unlock()
		began := time.Now()
		expect(t, v, newES256("x").token(claimsText(nil)), at, message.KeyUnknown)
		if took := time.Since(began); took != DefaultTimeout {
			t.Errorf("waited for %v", took)
		}
		synctest.Wait()
		if k.Degraded() != KeysStale {
			t.Errorf("degraded %q", k.Degraded())
		}
		expect(t, v, e.token(claimsText(nil)), at, message.ReasonNone)
	})
}

// A token without a kid that no key fits may be that of a new key, and counts like one with an unknown kid.
func TestRotationWithoutKid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, next := newES256(""), newES256("")
		s := &scripted{document: setFrom(e)}
		k := s.open(t, KeysOptions{})
		defer k.Close()
		v := newVerifier(t, bankOptions(k))
		expect(t, v, e.token(claimsText(nil)), at, message.ReasonNone)
		s.set(setFrom(next))
		pass(time.Second)
		expect(t, v, next.token(claimsText(nil)), at, message.TokenInvalid)
		pass(4 * time.Second)
		expect(t, v, next.token(claimsText(nil)), at, message.ReasonNone)
		expect(t, v, e.token(claimsText(nil)), at, message.TokenInvalid)
		if n := len(s.asked()); n != 2 {
			t.Errorf("asked %d times", n)
		}
	})
}

// A key that leaves the set takes the tokens with it that it has verified, at once; those of the others stay.
func TestRemovedKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, f := newES256("e"), newES256("f")
		s := &scripted{document: setFrom(e, f)}
		k := s.open(t, KeysOptions{})
		defer k.Close()
		v := newVerifier(t, bankOptions(k))
		ofE, ofF := e.token(claimsText(nil)), f.token(claimsText(nil))
		first := expect(t, v, ofE, at, message.ReasonNone)
		expect(t, v, ofF, at, message.ReasonNone)
		s.set(setFrom(f, e)) // another order is no change
		pass(DefaultRefresh)
		if v.Cached(ofE, at) != first || v.Cached(ofF, at) == nil {
			t.Error("keys that stayed have lost their tokens")
		}
		s.set(setFrom(e, newES256("g")))
		pass(DefaultRefresh)
		if v.Cached(ofE, at) != first || v.Cached(ofF, at) != nil {
			t.Error("the tokens of the key that left are still known")
		}
		expect(t, v, ofF, at, message.KeyUnknown)
		// A key that comes back under its kid, but is another one.
		s.set(jwks(newES256("e").public(nil)))
		pass(DefaultRefresh)
		expect(t, v, ofE, at, message.TokenInvalid)
		// All keys are revoked.
		s.set(`{"keys":[]}`)
		pass(DefaultRefresh)
		expect(t, v, ofE, at, message.KeyUnknown)
		if k.Degraded() != "" {
			t.Errorf("degraded %q", k.Degraded())
		}
	})
}

// Close ends a fetch that is under way, and nobody waits for it any more.
func TestCloseDuringFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{delay: time.Hour}
		k := s.open(t, KeysOptions{Timeout: 100 * time.Hour})
		v := newVerifier(t, bankOptions(k))
		start := time.Now()
		var all sync.WaitGroup
		all.Go(func() { expect(t, v, newES256("e").token(claimsText(nil)), at, message.JWKSUnavailable) })
		synctest.Wait()
		k.Close()
		all.Wait()
		k.Close()
		<-k.First()
		if took := time.Since(start); took != 0 {
			t.Errorf("it took %v", took)
		}
		if s := k.Status(); s.Failures != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// A key that is not used is told of once, until that changes.
func TestLeftOutReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newES256("e")
		var out lines
		s := &scripted{document: jwks(e.public(nil), `{"kty":"oct","k":"AAAA"}`)}
		k := s.open(t, KeysOptions{Report: out.add})
		defer k.Close()
		pass(time.Hour)
		if all := out.all(); len(all) != 1 || !strings.Contains(all[0], "key 2 of the set is not used: a symmetric key") || strings.Contains(all[0], "AAAA") {
			t.Errorf("reports %q", all)
		}
	})
}

func TestOpenKeysRefuses(t *testing.T) {
	for _, test := range []struct {
		o    KeysOptions
		want string
	}{
		{KeysOptions{}, "one of them"},
		{KeysOptions{File: "a", URL: "http://b/"}, "one of them"},
		{KeysOptions{URL: "ftp://b/"}, "not absolute"},
		{KeysOptions{URL: "/jwks"}, "not absolute"},
		{KeysOptions{URL: "https:jwks"}, "not absolute"},
		{KeysOptions{URL: "https://"}, "not absolute"},
		{KeysOptions{URL: "https://a:secret@b/"}, "password"},
		{KeysOptions{URL: "https://b\x7f/"}, "cannot be read"},
		{KeysOptions{File: tempFile(t, "{")}, "well-formed"},
		{KeysOptions{File: tempFile(t, "") + ".not"}, "no such file"},
		{KeysOptions{File: t.TempDir()}, "no regular file"},
		{KeysOptions{File: tempFile(t, strings.Repeat(" ", maxDocument+1))}, "larger than"},
	} {
		k, err := OpenKeys(test.o)
		if err == nil {
			k.Close()
		}
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%+v: %v", test.o, err)
		}
	}
}

// A token that asks for the keys in the moment in which they are got anyway brings on no second fetch.
func TestUnknownKidAtRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newES256("e")
		s := &scripted{document: setFrom(e)}
		k := s.open(t, KeysOptions{})
		defer k.Close()
		v := newVerifier(t, bankOptions(k))
		<-k.First()
		token := newES256("x").token(claimsText(nil))
		const rounds = 40
		for range rounds {
			timer := time.NewTimer(DefaultRefresh)
			<-timer.C
			expect(t, v, token, at, message.KeyUnknown)
		}
		synctest.Wait()
		asked := s.asked()
		if len(asked) > rounds+1 {
			t.Errorf("asked %d times in %d rounds", len(asked), rounds)
		}
		for i := range asked[1:] {
			if pause := asked[i+1].Sub(asked[i]); pause < DefaultMinInterval {
				t.Fatalf("asked twice within %v", pause)
			}
		}
	})
}
