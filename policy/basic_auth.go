package policy

import (
	"crypto/sha256"
	"time"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/identity"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
)

// BasicAuthOptions lets pass who has a name and a password (RFC 7617). The name is the caller's `claims.sub`, and the consumer of that name, if there is
// one, is the caller.
type BasicAuthOptions struct {
	// File has a line NAME:HASH for each user, as `htpasswd -B` makes them: bcrypt, argon2id, or {SHA256} for passwords that a machine has made. It is
	// read again when it changes.
	File config.FilePath `yaml:"file,required,short"`
	// Realm that is shown to users.
	Realm string `yaml:"realm" default:"sluice" check:"value"`
}

// basicAuthPolicy checks names and passwords.
type basicAuthPolicy struct {
	passwords *identity.Passwords
	word      string
	missing   *message.Failure
	twice     *message.Failure
	refusals  refusals
	clock     wallClock
	tally
	travelling
}

// passwordsKey is what a file of passwords is kept under.
type passwordsKey struct {
	file      string
	consumers [sha256.Size]byte
}

// keptPasswords are passwords as a keep-pool wants them.
type keptPasswords struct {
	*identity.Passwords
	series remembering
}

// Close implements io.Closer.
func (k keptPasswords) Close() error { k.Passwords.Close(); k.series.scope.Release(); return nil }

// openPasswords reads a file of passwords, with a memory of its own.
func openPasswords(file string, o identity.PasswordsOptions, c *BuildContext) (keptPasswords, error) {
	series, counts := newRemembering(c)
	o.Cache, o.Refused, o.Report = counts, series.scope.Counter(metric.Authentications, c.Name, "crowded"), c.Program.Reporter()
	p, err := identity.OpenPasswords(file, o)
	if err != nil {
		series.scope.Release()
		return keptPasswords{}, err
	}
	series.measure(c.Name, p.Stats)
	return keptPasswords{p, series}, nil
}

// Degraded implements Degraded.
func (k keptPasswords) Degraded() string {
	if k.Passwords.Degraded() {
		return "passwords_stale"
	}
	return ""
}

func newBasicAuth(o *BasicAuthOptions, c *BuildContext) any {
	p := &basicAuthPolicy{word: `Basic realm="` + quoteRealm(o.Realm) + `", charset="UTF-8"`}
	p.missing = newRefusal(c.Name, p.word, message.CredentialsMissing)
	p.twice = repeatedCredentials(c.Name, p.word)
	p.refusals = newRefusals(c.Name, p.word, message.CredentialsWrong, message.AuthUnavailable)
	options := identity.PasswordsOptions{Attach: c.Consumers.ByName}
	if c.Program == nil {
		options.Interval = -1
		pw, err := identity.OpenPasswords(string(o.File), options)
		if err != nil {
			c.Report.Add(c.Report.At(&o.File), "policy %q: %v", c.Name, err)
			return nil
		}
		pw.Close()
		return p
	}
	k, ok := kept(c, passwordsKey{string(o.File), c.Consumers.sum()}, func() (keptPasswords, error) {
		return openPasswords(string(o.File), options, c)
	})
	if !ok {
		return nil
	}
	p.passwords, p.tally = k.Passwords, newTally(c)
	return p
}

// quoteRealm makes a text fit for a quoted-string.
func quoteRealm(text string) string {
	out := make([]byte, 0, len(text))
	for i := range len(text) {
		if c := text[i]; c == '"' || c == '\\' {
			out = append(out, '\\')
		}
		out = append(out, text[i])
	}
	return string(out)
}

// challenge implements identifier.
func (p *basicAuthPolicy) challenge() string { return p.word }

// OnRequest implements Request.
func (p *basicAuthPolicy) OnRequest(x *message.Exchange) (done bool, err error) {
	id, failure := p.identify(x)
	return p.settle(x, id, failure)
}

// identify implements identifier.
func (p *basicAuthPolicy) identify(x *message.Exchange) (id *message.Identity, failure *message.Failure) {
	text, more := credentialOf(&x.Request.Header, message.Authorization.Name(), "Basic")
	if more {
		return nil, p.twice
	}
	if len(text) == 0 {
		return nil, p.missing
	}
	name, password, ok := identity.ParseBasic(text, append(x.Scratch(), text...))
	if !ok {
		return nil, p.refusals.of(message.CredentialsWrong, "the field is malformed")
	}
	now := p.clock.at(x.Times.Read)
	if id = p.passwords.Cached(name, password, now); id != nil {
		return id, nil
	}
	id, refusal := p.check(x, name, password, now)
	if refusal != nil {
		return nil, p.refusals.of(refusal.Reason, refusal.Detail)
	}
	return id, nil
}

// check works a hash out, which takes a processor for a while.
func (p *basicAuthPolicy) check(x *message.Exchange, name, password []byte, now time.Time) (id *message.Identity, refusal *identity.Refusal) {
	x.Await(func() { id, refusal = p.passwords.Check(name, password, now) })
	return id, refusal
}
