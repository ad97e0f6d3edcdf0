package identity

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"

	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
)

func bcryptOf(password string) string {
	return string(must(bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)))
}

func sha256Of(password string) string {
	sum := sha256.Sum256([]byte(password))
	return "{SHA256}" + hex.EncodeToString(sum[:])
}

func argonOf(password string) string {
	salt := []byte("saltsaltsaltsalt")
	sum := argon2.IDKey([]byte(password), salt, 1, 64, 2, 32)
	raw := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=19$m=64,t=1,p=2$%s$%s", raw.EncodeToString(salt), raw.EncodeToString(sum))
}

func openPasswords(t testing.TB, content string, o PasswordsOptions) (*Passwords, string) {
	t.Helper()
	path := tempFile(t, content)
	if o.Interval == 0 {
		o.Interval = -1
	}
	p, err := OpenPasswords(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p, path
}

// check checks a name and a password and returns the name that was recognised, or the reason.
func check(p *Passwords, name, password string, now time.Time) string {
	id, refusal := p.Check([]byte(name), []byte(password), now)
	if refusal != nil {
		return refusal.Reason.String()
	}
	return string(id.Claim("sub").Text)
}

func TestPasswords(t *testing.T) {
	long := strings.Repeat("x", bcryptLength)
	sum := sha256.Sum256([]byte("token"))
	content := "# users\n\nbcrypt:" + bcryptOf("right") + "\r\n2y:" + strings.Replace(bcryptOf("right"), "$2a$", "$2y$", 1) +
		"\nlong:" + bcryptOf(long) + "\nargon:" + argonOf("right") + "\nsha:" + sha256Of("right") +
		"\nldap:{SHA256}" + base64.StdEncoding.EncodeToString(sum[:]) + "\nempty:" + sha256Of("") + "\nzoë \"q\":" + sha256Of("grün:ja") + "\n" +
		// From the documentation of htpasswd (Apache 2.4), and from the tests of the reference implementation of argon2.
		"apache:$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC\n" +
		"ref:$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc\n"
	p, _ := openPasswords(t, content, PasswordsOptions{CacheBytes: -1})
	for _, test := range []struct{ name, password, want string }{
		{"bcrypt", "right", "bcrypt"}, {"2y", "right", "2y"}, {"argon", "right", "argon"}, {"sha", "right", "sha"}, {"ldap", "token", "ldap"},
		{"empty", "", "empty"}, {"zoë \"q\"", "grün:ja", "zoë \"q\""}, {"long", long, "long"}, {"ref", "password", "ref"}, {"apache", "myPassword", "apache"},
		{"bcrypt", "wrong", "credentials_wrong"}, {"argon", "wrong", "credentials_wrong"}, {"sha", "wrong", "credentials_wrong"},
		{"bcrypt", "", "credentials_wrong"}, {"bcrypt", "right ", "credentials_wrong"}, {"bcrypt", "righ", "credentials_wrong"},
		{"nobody", "right", "credentials_wrong"}, {"", "right", "credentials_missing"}, {"Bcrypt", "right", "credentials_wrong"},
		{"long", long + "y", "credentials_wrong"}, // bcrypt alone would not see the difference
		{"bcrypt", "right\x00", "credentials_wrong"}, {"bcrypt\x00", "right", "credentials_wrong"}, {"bcrypt", "\xff", "credentials_wrong"},
		{strings.Repeat("n", maxUser+1), "right", "credentials_wrong"}, {"sha", strings.Repeat("p", maxPassword+1), "credentials_wrong"},
		{"# users", "", "credentials_wrong"},
	} {
		if got := check(p, test.name, test.password, at); got != test.want {
			t.Errorf("%.20q with %.20q: %s, want %s", test.name, test.password, got, test.want)
		}
	}
	if p.Len() != 10 {
		t.Errorf("%d users", p.Len())
	}
	if id, _ := p.Check([]byte("zoë \"q\""), []byte("grün:ja"), at); string(id.Raw) != `{"sub":"zoë \"q\""}` || string(id.Claim("sub").Raw) != `"zoë \"q\""` {
		t.Errorf("%s", id.Raw)
	}
}

func TestParseUsersRefuses(t *testing.T) {
	good := bcryptOf("x")
	for _, test := range []struct{ content, want string }{
		{"alice", "line 1 has no colon"},
		{"\n#\nalice:" + good + "\nbob", "line 4"},
		{":" + good, "line 1: a name"},
		{"a\tb:" + good, "line 1: a name"},
		{strings.Repeat("n", maxUser+1) + ":" + good, "line 1: a name"},
		{"a:" + good + "\na:" + good, "line 2: the name stands"},
		{"a:secret", "unknown or broken kind"},
		{"a:", "unknown or broken kind"},
		{"a:$apr1$abc$secret", "unknown or broken kind"},
		{"a:{SHA}secret", "unknown or broken kind"},
		{"a:$2x$" + good[4:], "unknown or broken kind"},
		{"a:" + good[:59], "bcrypt hash is broken"},
		{"a:" + good + "x", "bcrypt hash is broken"},
		{"a:" + good[:59] + "!", "bcrypt hash is broken"},
		{"a:$2y$99" + good[6:], "bcrypt hash is broken"},
		{"a:$2y$16" + good[6:], "16, and 15 is the most"},
		{"a:{SHA256}secret", "64 hexadecimal digits"},
		{"a:$argon2id$v=16$m=64,t=1,p=2$c2FsdHNhbHQ$c2VjcmV0c2VjcmV0c2VjcmV0", "argon2id hash is broken"},
		{"a:$argon2id$v=19$m=64,t=1$c2FsdHNhbHQ$c2VjcmV0c2VjcmV0c2VjcmV0", "argon2id hash is broken"},
		{"a:$argon2id$v=19$m=64,t=1,p=2$c2FsdHNhbHQ$c2VjcmV0", "argon2id hash is broken"},
		{"a:$argon2id$v=19$m=9999999,t=1,p=2$c2FsdHNhbHQ$c2VjcmV0c2VjcmV0c2VjcmV0", "out of range"},
		{"a:$argon2id$v=19$m=64,t=0,p=2$c2FsdHNhbHQ$c2VjcmV0c2VjcmV0c2VjcmV0", "out of range"},
		{"a:$argon2id$v=19$m=64,t=1,p=0$c2FsdHNhbHQ$c2VjcmV0c2VjcmV0c2VjcmV0", "out of range"},
		{"a:$argon2id$v=19$m=8,t=1,p=2$c2FsdHNhbHQ$c2VjcmV0c2VjcmV0c2VjcmV0", "out of range"},
	} {
		_, err := parseUsers([]byte(test.content))
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%.60q: %v, want %q", test.content, err, test.want)
		}
	}
}

// counting counts how often it is asked, and may hold up whoever asks.
type counting struct {
	asked   atomic.Int64
	active  atomic.Int64
	most    atomic.Int64
	takes   time.Duration
	correct string
}

func (c *counting) matches(password []byte) bool {
	c.asked.Add(1)
	if n := c.active.Add(1); n > c.most.Load() {
		c.most.Store(n)
	}
	defer c.active.Add(-1)
	if c.takes > 0 {
		timer := time.NewTimer(c.takes)
		<-timer.C
	}
	return string(password) == c.correct
}

// use puts a counting hash in the place of the user's.
func (p *Passwords) use(name string, c *counting) { p.current.Load().byName[name].hash = c }

// An unknown name costs what a known one costs: a check against somebody's hash, the same one each time.
func TestUnknownNameCostsTheSame(t *testing.T) {
	p, _ := openPasswords(t, "a:"+sha256Of("x")+"\nb:"+sha256Of("x"), PasswordsOptions{})
	a, b := &counting{correct: "x"}, &counting{correct: "x"}
	p.use("a", a)
	p.use("b", b)
	for n := range 100 {
		before := a.asked.Load() + b.asked.Load()
		if got := check(p, fmt.Sprintf("nobody-%d", n), "x", at); got != "credentials_wrong" {
			t.Fatalf("a password of somebody else was accepted: %s", got)
		}
		if a.asked.Load()+b.asked.Load() != before+1 {
			t.Fatal("an unknown name was not checked")
		}
	}
	if a.asked.Load() == 0 || b.asked.Load() == 0 {
		t.Errorf("%d and %d: all unknown names cost what one user costs", a.asked.Load(), b.asked.Load())
	}
	first := a.asked.Load()
	for range 10 {
		check(p, "nobody", "x", at)
	}
	if n := a.asked.Load() - first; n != 0 && n != 10 {
		t.Errorf("one unknown name is checked by %d of 10 times a", n)
	}
}

// Right passwords are not checked again for a while; wrong ones always are.
func TestPasswordsAreRemembered(t *testing.T) {
	attached := 0
	p, path := openPasswords(t, "a:"+sha256Of("x")+"\nb:"+sha256Of("y"), PasswordsOptions{Attach: func(id *message.Identity) {
		attached++
		id.Consumer = string(id.Claim("sub").Text)
	}})
	c := &counting{correct: "x"}
	p.use("a", c)
	name, password := []byte("a"), []byte("x")
	if p.Cached(name, password, at) != nil {
		t.Error("known before it was checked")
	}
	for range 5 {
		check(p, "a", "x", at)
		check(p, "a", "wrong", at)
	}
	first := p.Cached(name, password, at.Add(DefaultKeep-1))
	if c.asked.Load() != 6 || first == nil || first.Consumer != "a" || attached != 2 {
		t.Errorf("%d checks, %+v, attached %d", c.asked.Load(), first, attached)
	}
	if p.Cached(name, []byte("wrong"), at) != nil || p.Cached([]byte("ax"), nil, at) != nil || p.Cached(name, password, at.Add(DefaultKeep)) != nil {
		t.Error("known, and should not be")
	}
	if p.Cached(make([]byte, 2*maxUser), password, at) != nil || p.Cached(name, make([]byte, 2*maxPassword), at) != nil {
		t.Error("too long, and known")
	}
	if s := p.Stats(); s.Entries != 1 {
		t.Errorf("%+v", s)
	}
	// Another line of the file changes: what is known of a stays.
	writeFile(t, path, "a:"+sha256Of("x")+"\nb:"+sha256Of("z"))
	p.watch.check()
	if p.Cached(name, password, at) != first || check(p, "b", "z", at) != "b" || check(p, "b", "y", at) != "credentials_wrong" {
		t.Error("the change was not taken over as it should")
	}
	// A file that is broken changes nothing.
	writeFile(t, path, "a:"+sha256Of("x")+"\nb")
	p.watch.check()
	if !p.Degraded() || p.Cached(name, password, at) != first || p.Len() != 2 {
		t.Errorf("degraded %v, %d users", p.Degraded(), p.Len())
	}
	// The password of a changes: the old one is over at once.
	writeFile(t, path, "a:"+sha256Of("new"))
	p.watch.check()
	if p.Degraded() || p.Cached(name, password, at) != nil || check(p, "a", "x", at) != "credentials_wrong" || check(p, "a", "new", at) != "a" {
		t.Error("the old password is still known")
	}
	writeFile(t, path, "")
	p.watch.check()
	if check(p, "a", "new", at) != "credentials_wrong" || p.Len() != 0 {
		t.Error("a user that is gone is still known")
	}
}

// So many passwords are checked at once and no more; those who wait too long, or would be too many, are told to come again; and a crowd with one
// password costs one check.
func TestPasswordsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := metric.NewCounter(1)
		path := tempFile(t, "a:"+sha256Of("x")+"\nb:"+sha256Of("x"))
		p, err := OpenPasswords(path, PasswordsOptions{Interval: -1, Parallel: 2, Waiting: 3, Wait: 250 * ms, Refused: refused})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		c := &counting{correct: "x", takes: 100 * ms}
		p.use("a", c)
		p.use("b", c)
		outcomes := make(chan string, 8)
		var all sync.WaitGroup
		for n := range 8 {
			all.Go(func() { outcomes <- check(p, "a", fmt.Sprint("wrong", n), at) })
			synctest.Wait()
		}
		all.Wait()
		got := map[string]int{}
		for range 8 {
			got[<-outcomes]++
		}
		if c.most.Load() != 2 || got["credentials_wrong"] != 5 || got["auth_unavailable"] != 3 || refused.Value() != 3 {
			t.Errorf("%d at once, %v, %d refused", c.most.Load(), got, refused.Value())
		}
		// One who waits longer than the bound.
		c.takes = 300 * ms
		for n := range 3 {
			all.Go(func() { outcomes <- check(p, "a", fmt.Sprint("wrong", n), at) })
			synctest.Wait()
		}
		start := time.Now()
		all.Wait()
		if got := []string{<-outcomes, <-outcomes, <-outcomes}; got[0] != "auth_unavailable" || time.Since(start) != 300*ms {
			t.Errorf("%v after %v", got, time.Since(start))
		}
		// A crowd.
		c.asked.Store(0)
		c.takes = 100 * ms
		for range 5 {
			all.Go(func() { outcomes <- check(p, "b", "x", at) })
		}
		all.Wait()
		for range 5 {
			if got := <-outcomes; got != "b" {
				t.Error(got)
			}
		}
		if n := c.asked.Load(); n != 2 {
			t.Errorf("%d checks", n)
		}
	})
}

func TestParseBasic(t *testing.T) {
	for _, test := range []struct {
		text, name, password string
		ok                   bool
	}{
		{"QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Aladdin", "open sesame", true}, // RFC 7617 section 2
		{"dGVzdDoxMjPCow==", "test", "123£", true},                       // section 2.1
		{"YTpiOmM=", "a", "b:c", true},
		{"Og==", "", "", true},
		{"YQ==", "", "", false}, // no colon
		{"", "", "", false},     //
		{"QWxhZGRpbjpvcGVu", "Aladdin", "open", true},
		{"Og", "", "", false},                 // no padding
		{"Oh==", "", "", false},               // unused bits
		{"QWxhZGRpbjpv\ncGVu", "", "", false}, // a line end
		{"QWxh ZGRpbjpvcGVu", "", "", false},
		{"_-__", "", "", false},
		{strings.Repeat("YTph", 1000), "", "", false},
	} {
		for _, room := range [][]byte{nil, make([]byte, 0, 2000)} {
			name, password, ok := ParseBasic([]byte(test.text), room)
			if ok != test.ok || ok && (string(name) != test.name || string(password) != test.password) {
				t.Errorf("%.40q: %q %q %v", test.text, name, password, ok)
			}
		}
	}
	longest := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("n", maxUser) + ":" + strings.Repeat("p", maxPassword)))
	if name, password, ok := ParseBasic([]byte(longest), nil); !ok || len(name) != maxUser || len(password) != maxPassword {
		t.Error("the longest name and password are refused")
	}
}
