package identity

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"hash/maphash"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
)

// The defaults of [PasswordsOptions].
const (
	DefaultKeep        = time.Minute
	DefaultHashWait    = 2 * time.Second
	DefaultHashWaiting = 256
)

// PasswordsOptions say how passwords are checked. The zero value is usable.
type PasswordsOptions struct {
	// Interval between two looks at the file; 0 means a second, a negative one never.
	Interval time.Duration
	// Report takes lines for the operator, one call at a time; nil for nobody.
	Report func(line string)
	// Keep is how long a name and a password that were right are not checked again; 0 means DefaultKeep. CacheBytes bounds the memory for that; 0
	// means 32 MiB, a negative number none.
	Keep       time.Duration
	CacheBytes int64
	Cache      CacheMetrics
	// Parallel is how many passwords are checked at the same time, since each takes a processor for tens of milliseconds; 0 means half of the processors.
	// Waiting is how many wait for that, 0 means DefaultHashWaiting, and Wait how long, 0 means DefaultHashWait.
	Parallel int
	Waiting  int
	Wait     time.Duration
	// Refused counts those that were not checked because too many were waiting. May be nil.
	Refused *metric.Counter
	// Attach is given the identity of each user when the file is read, before anybody else sees it: it may set Consumer and Plan. May be nil.
	Attach func(*message.Identity)
}

// Passwords checks names and passwords by a file, which is read again when it changes. All methods may be called by any goroutine.
type Passwords struct {
	options PasswordsOptions
	watch   *watch
	current atomic.Pointer[userSet]
	seed    maphash.Seed
	pepper  [sha256.Size]byte // what credentials are hashed with for the cache
	cache   *cache
	slots   chan struct{}
	waiting atomic.Int64
}

// userSet is what a file says. It is immutable.
type userSet struct {
	byName map[string]*user
	list   []*user // in the order of their names
}

// The refusals. Read-only.
var (
	refusedPassword = &Refusal{message.CredentialsWrong, "there is no such name, or the password is another one"}
	refusedNoName   = &Refusal{message.CredentialsMissing, "there is no name"}
	refusedBusy     = &Refusal{message.AuthUnavailable, "too many passwords are being checked"}
)

// OpenPasswords reads a file with lines NAME:HASH, which must be right, and begins to watch it. A hash is bcrypt as `htpasswd -B` prints it, argon2id, or
// {SHA256} with the hash of a password that a machine has made. Close ends the watching.
func OpenPasswords(path string, o PasswordsOptions) (*Passwords, error) {
	if o.Keep <= 0 {
		o.Keep = DefaultKeep
	}
	if o.Parallel <= 0 {
		o.Parallel = max(1, runtime.GOMAXPROCS(0)/2)
	}
	if o.Waiting <= 0 {
		o.Waiting = DefaultHashWaiting
	}
	if o.Wait <= 0 {
		o.Wait = DefaultHashWait
	}
	p := &Passwords{options: o, seed: maphash.MakeSeed(), cache: newCache(o.CacheBytes, o.Cache), slots: make(chan struct{}, o.Parallel)}
	_, _ = rand.Read(p.pepper[:]) // never fails
	var err error
	p.watch, err = openWatch(path, maxPasswords, o.Interval, o.Report, p.apply)
	if err != nil {
		return nil, err
	}
	return p, nil
}

// apply takes over a new content of the file.
func (p *Passwords) apply(content []byte) error {
	users, err := parseUsers(content)
	if err != nil {
		return err
	}
	old := p.current.Load()
	for name, u := range users {
		if old != nil && old.byName[name] != nil && old.byName[name].line == u.line {
			users[name] = old.byName[name]
		} else if p.options.Attach != nil {
			p.options.Attach(u.identity)
		}
	}
	next := &userSet{byName: users, list: make([]*user, 0, len(users))}
	for _, u := range users {
		next.list = append(next.list, u)
	}
	slices.SortFunc(next.list, func(a, b *user) int { return bytes.Compare(a.identity.Raw, b.identity.Raw) })
	p.current.Store(next)
	if old != nil {
		for name, u := range old.byName {
			if users[name] != u {
				u.retired.Store(true)
			}
		}
	}
	return nil
}

// Close ends the watching of the file and waits for its goroutine. Passwords go on to be checked.
func (p *Passwords) Close() { p.watch.close() }

// Degraded reports whether the file as it is is broken, and what was read before is in use.
func (p *Passwords) Degraded() bool { return p.watch.degraded() }

// Len returns the number of users.
func (p *Passwords) Len() int { return len(p.current.Load().list) }

// Stats returns what is remembered of right passwords.
func (p *Passwords) Stats() CacheStats { return p.cache.stats() }

// Cached returns who has shown this name and password a short time ago, if they were right, or nil. It neither waits nor allocates.
func (p *Passwords) Cached(name, password []byte, now time.Time) *message.Identity {
	if len(name) > maxUser || len(password) > maxPassword {
		return nil
	}
	digest := p.digest(name, password)
	return p.cache.get(digest[:], now.UnixNano())
}

// digest returns what the cache keeps in place of a name and a password: a hash over them and a secret of this process, so that no password lies in
// memory, and what does lie there is of no use elsewhere.
func (p *Passwords) digest(name, password []byte) [sha256.Size]byte {
	var room [sha256.Size + maxUser + 1 + maxPassword]byte
	text := append(room[:0], p.pepper[:]...)
	text = append(text, name...)
	text = append(text, 0) // stands in neither
	text = append(text, password...)
	return sha256.Sum256(text)
}

// Check returns who has this name and password, or why nobody has. It takes tens of milliseconds of a processor and may wait for one, so an exchange
// calls it within Await.
//
// How long it takes does not tell whether there is somebody of that name: an unknown name is checked by the hash of somebody else, always the same
// one for the same name.
func (p *Passwords) Check(name, password []byte, now time.Time) (*message.Identity, *Refusal) {
	switch {
	case len(name) == 0:
		return nil, refusedNoName
	case len(name) > maxUser || len(password) > maxPassword || !isPrintable(name) || !isPrintable(password):
		return nil, refusedPassword
	}
	digest := p.digest(name, password)
	at := now.UnixNano()
	if id := p.cache.get(digest[:], at); id != nil {
		return id, nil
	}
	if !p.enter() {
		p.options.Refused.Inc(0)
		return nil, refusedBusy
	}
	defer func() { <-p.slots }()
	if id := p.cache.get(digest[:], at); id != nil { // of a request that had the slot before
		return id, nil
	}
	u := p.check(name, password)
	if u == nil {
		return nil, refusedPassword
	}
	return p.cache.put(digest[:], u.identity, at, later(at, int64(p.options.Keep)), at, &u.source), nil
}

// check returns the user of that name and password, or nil.
func (p *Passwords) check(name, password []byte) *user {
	set := p.current.Load()
	if len(set.list) == 0 {
		return nil
	}
	u, known := set.byName[string(name)]
	if !known {
		u = set.list[maphash.Bytes(p.seed, name)%uint64(len(set.list))]
	}
	if matches := u.hash.matches(password); !matches || !known {
		return nil
	}
	return u
}

// enter takes a slot, and reports false when it could not have one in time.
func (p *Passwords) enter() bool {
	select {
	case p.slots <- struct{}{}:
		return true
	default:
	}
	defer p.waiting.Add(-1)
	if p.waiting.Add(1) > int64(p.options.Waiting) {
		return false
	}
	timer := time.NewTimer(p.options.Wait)
	defer timer.Stop()
	select {
	case p.slots <- struct{}{}:
		return true
	case <-timer.C:
		return false
	}
}

// ParseBasic reads what stands behind the scheme Basic in an Authorization field (RFC 7617 section 2): a name and a password, decoded into room, which
// is as large as the text if nothing is to be allocated. ok is false if it is not base64 in its only form, or has no colon.
func ParseBasic(text, room []byte) (name, password []byte, ok bool) {
	size := basicEncoding.DecodedLen(len(text))
	if size > maxUser+1+maxPassword+2 || bytes.IndexByte(text, '\r') >= 0 || bytes.IndexByte(text, '\n') >= 0 {
		return nil, nil, false
	}
	if cap(room) < size {
		room = make([]byte, size)
	}
	room = room[:size]
	n, err := basicEncoding.Decode(room, text)
	if err != nil {
		return nil, nil, false
	}
	return bytes.Cut(room[:n:n], []byte{':'})
}

// basicEncoding is base64 with padding, whose unused bits are zero. Read-only.
var basicEncoding = base64.StdEncoding.Strict()
