package cache

import (
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// keep stores an answer under a URL.
func keep(t *testing.T, s *Store, r *Rules, url, version, fields string) {
	t.Helper()
	x := request("GET "+url, "")
	x.Version = version
	if got := get(t, s, r, x, at(0), says(answer{fields: "Cache-Control: max-age=60\n" + fields, body: "x"})); !got.fetched {
		t.Fatalf("%s is there already", url)
	}
}

// stored reports whether an answer is there.
func stored(s *Store, r *Rules, url, version string) bool {
	x := request("GET "+url, "")
	x.Version = version
	u := new(Use)
	u.tries = 0
	x.Request.Header.CopyFrom(fieldsOf("Cache-Control: only-if-cached"))
	return s.Lookup(u, x, r, nil, at(1)) == Hit
}

// TestPurge is row 8.10.
func TestPurge(t *testing.T) {
	s, r := newTestStore(Rules{})
	other := *r
	other.Namespace = s.NewNamespace(nil)
	fill := func() {
		t.Helper()
		s.purge(func(*resource) bool { return true }, eventCount)
		keep(t, s, r, "http://bank.example/a", "", "Cache-Tag: red, blue")
		keep(t, s, r, "http://bank.example/a?x=1", "", "Cache-Tag: red\nCache-Tag: red, green")
		keep(t, s, r, "http://bank.example/ab", "", "")
		keep(t, s, r, "http://bank.example/a/b", "v1", "Cache-Tag: blue")
		keep(t, s, r, "http://bank.example/a/b", "v2", "")
		keep(t, s, &other, "http://bank.example/a", "", "Cache-Tag: red")
		keep(t, s, r, "http://bank.example.evil/a", "", "")
		keep(t, s, r, "https://bank.example/a", "", "")
	}
	for _, c := range []struct {
		what  string
		purge func() (int, error)
		want  int
	}{
		{"a URL in all namespaces", func() (int, error) { return s.Purge("http://bank.example:80/a") }, 2},
		{"a URL with its query", func() (int, error) { return s.Purge("http://bank.example/a?x=1") }, 1},
		{"a URL in all versions", func() (int, error) { return s.Purge("http://bank.example/a/b") }, 2},
		{"a URL with its version", func() (int, error) { return s.Purge("http://bank.example/v1/a/b") }, 1},
		{"a URL that is not stored", func() (int, error) { return s.Purge("http://bank.example/zz") }, 0},
		{"a prefix", func() (int, error) { return s.PurgePrefix("http://bank.example/a") }, 6},
		{"a prefix with a slash", func() (int, error) { return s.PurgePrefix("http://bank.example/a/") }, 2},
		{"a host", func() (int, error) { return s.PurgePrefix("http://bank.example") }, 6},
		{"a prefix with a version", func() (int, error) { return s.PurgePrefix("http://bank.example/v2/a") }, 1},
		{"a tag", func() (int, error) { return s.PurgeTag("red"), nil }, 3},
		{"another tag", func() (int, error) { return s.PurgeTag(" green "), nil }, 1},
		{"a tag in another case", func() (int, error) { return s.PurgeTag("RED"), nil }, 0},
		{"no URL", func() (int, error) { n, err := s.Purge("/a"); return n, notNil(t, err) }, 0},
		{"no prefix", func() (int, error) { n, err := s.PurgePrefix("bank.example"); return n, notNil(t, err) }, 0},
	} {
		fill()
		before := s.Objects()
		n, err := c.purge()
		if n != c.want || err != nil || before-s.Objects() != int64(c.want) {
			t.Errorf("%s: %d, %v, and %d are gone; want %d", c.what, n, err, before-s.Objects(), c.want)
		}
		audit(t, s)
	}
	fill()
	if s.PurgeTag("blue") != 2 || stored(s, r, "http://bank.example/a", "") || stored(s, r, "http://bank.example/a/b", "v1") ||
		!stored(s, r, "http://bank.example/a/b", "v2") {
		t.Error("other answers were purged than those with the tag")
	}
	if n := r.Namespace.Count(Purged); n == 0 {
		t.Error("purges are not counted")
	}
}

// notNil wants an error, and returns none.
func notNil(t *testing.T, err error) error {
	t.Helper()
	if err == nil {
		t.Error("no error")
	}
	return nil
}

func TestDrop(t *testing.T) {
	s, r := newTestStore(Rules{})
	other := *r
	other.Namespace = s.NewNamespace(nil)
	keep(t, s, r, "http://bank.example/a", "", "")
	keep(t, s, &other, "http://bank.example/a", "", "")
	u, _ := lookup(t, s, r, "", Lead)
	s.Drop(r.Namespace)
	if stored(s, r, "http://bank.example/a", "") || !stored(s, &other, "http://bank.example/a", "") {
		t.Error("another namespace was dropped than the one that is not wanted")
	}
	_, ended := takeoff(u.Flight(), 200, "Cache-Control: max-age=60", &pieces{rest: []byte("late")})
	testnet.Receive(t, "end of the fetch", ended)
	if n := s.Objects(); n != 1 {
		t.Errorf("%d answers: one came into a namespace that was dropped", n)
	}
	audit(t, s)
}

// TestVersionsAndCallers: what is in the key keeps answers apart (rows 3.7 and 8.4), and a change ends all of them (8.6).
func TestVersionsAndCallers(t *testing.T) {
	s, r := newTestStore(Rules{BehindIdentity: true, PerCaller: true, TTL: time.Minute})
	ask := func(version, caller string) string {
		x := request("GET "+page, "Authorization: Bearer "+caller)
		x.Version = version
		var u Use
		switch s.Lookup(&u, x, r, extraOf(caller), at(0)) {
		case Hit:
			return readBody(t, x.Response.Body)
		case Lead:
			_, ended := takeoff(u.Flight(), 200, "Cache-Control: private", &pieces{rest: []byte(version + caller)})
			wait(t, &u, x, Served)
			body := readBody(t, x.Response.Body)
			<-ended
			return "new " + body
		}
		return "?"
	}
	s.clock = func() int64 { return at(0) }
	for _, turn := range []struct{ version, caller, want string }{
		{"v1", "ann", "new v1ann"}, {"v1", "bob", "new v1bob"}, {"v2", "ann", "new v2ann"}, {"v1", "ann", "v1ann"}, {"v1", "bob", "v1bob"}, {"v2", "ann", "v2ann"},
	} {
		if got := ask(turn.version, turn.caller); got != turn.want {
			t.Errorf("%s for %s: %q, want %q", turn.version, turn.caller, got, turn.want)
		}
	}
	if n := s.dropURI([]byte(page), "", Invalidated); n != 3 {
		t.Errorf("a change drops %d answers, want 3", n)
	}
	if got := ask("v1", "ann"); got != "new v1ann" {
		t.Errorf("after the change: %q", got)
	}
}
