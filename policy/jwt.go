package policy

import (
	"crypto/sha256"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/identity"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
)

// JWTOptions lets pass who has a signed token (JWT, RFC 7519) of an issuer. Its claims are known to expressions behind it as `claims`.
type JWTOptions struct {
	// Issuer that the token must be of, its claim iss.
	Issuer string `yaml:"issuer"`
	// Audience lists for whom the token may be, its claim aud; one of them has to be there.
	Audience []string `yaml:"audience,single" max:"100"`
	// JWKS is where the keys of the issuer are.
	JWKS *JWKS `yaml:"jwks"`
	// Secret that issuer and gateway share, for HS256, HS384 and HS512. Write it as `${env:NAME}` or `${file:PATH}`.
	Secret string `yaml:"secret"`
	// Algorithms that signatures may have. The default is RS256, PS256, ES256 and EdDSA with `jwks`, and HS256 with `secret`.
	Algorithms []string `yaml:"algorithms,single" enum:"RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA Ed25519 HS256 HS384 HS512"`
	// Leeway is by how much the clocks of the issuer and of the gateway may differ.
	Leeway time.Duration `yaml:"leeway" default:"30s" max:"1h"`
	// Require lists claims that have to be there.
	Require []string `yaml:"require,single" default:"exp" max:"100"`
	// From says where the token is.
	From TokenSource `yaml:"from"`
}

// JWKS is where the keys of an issuer are: a file or an address.
type JWKS struct {
	// File with a JSON Web Key Set (RFC 7517). It is read again when it changes.
	File config.FilePath `yaml:"file"`
	// URL of a JSON Web Key Set. It is fetched in the background, and again before it is old.
	URL string `yaml:"url,short"`
	// Refresh is how old the keys may become.
	Refresh time.Duration `yaml:"refresh" default:"10m" min:"1s"`
	// Timeout of a fetch. A request whose key is not known waits no longer.
	Timeout time.Duration `yaml:"timeout" default:"2s" min:"10ms" max:"1m"`
	// MinInterval is the least time between two fetches for keys that are not known.
	MinInterval time.Duration `yaml:"min_interval" default:"5s" min:"10ms"`
}

// Check reports a set that has no source, or two.
func (j *JWKS) Check(r *config.Reporter) {
	switch {
	case j.File == "" && j.URL == "" && !r.Set(&j.File) && !r.Set(&j.URL):
		r.AddSuggest(r.At(j), "write {file: PATH} or {url: URL}", "jwks: there is neither a file nor a url")
	case j.File != "" && j.URL != "":
		r.AddSuggest(r.At(j), "leave one of them", "jwks: there are a file and a url")
	case j.URL != "":
		u, err := url.Parse(j.URL)
		switch {
		case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Opaque != "":
			r.AddSuggest(r.At(&j.URL), "write https://HOST/PATH, or {file: PATH}", "url: it is no address of HTTP")
		case u.User != nil:
			r.AddSuggest(r.At(&j.URL), "leave it out: key sets are public", "url: it has a name or a password in it")
		}
	}
}

// TokenSource is where a token is in a request.
type TokenSource struct {
	// Header that holds the token.
	Header string `yaml:"header" default:"Authorization" check:"header"`
	// Scheme that stands before the token; empty if nothing does.
	Scheme string `yaml:"scheme" default:"Bearer"`
}

// Check reports a policy that could verify nothing.
func (o *JWTOptions) Check(r *config.Reporter) {
	if o.JWKS == nil && o.Secret == "" && !r.Set(&o.JWKS) && !r.Set(&o.Secret) {
		r.AddSuggest(r.At(o), "add jwks: {url: URL}", "jwt: there are no keys to verify tokens with")
	}
	for i, name := range o.Algorithms {
		a, err := identity.ParseAlgorithm(name)
		switch {
		case err != nil:
			r.Add(r.At(&o.Algorithms[i]), "algorithms: %v", err)
		case a.Symmetric() && o.Secret == "":
			r.AddSuggest(r.At(&o.Algorithms[i]), "add a secret, or leave it out", "algorithms: %s needs a secret, and there is none", name)
		case !a.Symmetric() && o.JWKS == nil:
			r.AddSuggest(r.At(&o.Algorithms[i]), "add jwks, or leave it out", "algorithms: %s needs keys, and there is no jwks", name)
		}
	}
}

// jwtPolicy verifies tokens.
type jwtPolicy struct {
	verifier *identity.Verifier
	header   message.Name
	scheme   string
	word     string
	missing  *message.Failure
	twice    *message.Failure
	invalid  refusals
	clock    wallClock
	tally
	travelling
}

// keptKeys are keys as a keep-pool wants them.
type keptKeys struct {
	*identity.Keys
	scope *metric.Scope
}

// Close implements io.Closer.
func (k keptKeys) Close() error { k.Keys.Close(); k.scope.Release(); return nil }

// openKeys begins to get keys. The series live as long as they do.
func openKeys(j *JWKS, c *BuildContext) (keptKeys, error) {
	s := c.Program.Registry().Scope()
	k, err := identity.OpenKeys(identity.KeysOptions{
		File: string(j.File), URL: j.URL, Refresh: j.Refresh, Timeout: j.Timeout, MinInterval: j.MinInterval, Report: c.Program.Reporter(),
		Fetched: s.Counter(metric.KeyFetches, c.Name, "ok"), Failed: s.Counter(metric.KeyFetches, c.Name, "failed"),
	})
	if err != nil {
		s.Release()
	}
	return keptKeys{k, s}, err
}

// keptVerifier is a verifier as a keep-pool wants it.
type keptVerifier struct {
	*identity.Verifier
	series remembering
}

// Close implements io.Closer.
func (k keptVerifier) Close() error { k.series.scope.Release(); return nil }

// openVerifier makes a verifier with a memory of its own.
func openVerifier(o identity.VerifierOptions, c *BuildContext) (keptVerifier, error) {
	series, counts := newRemembering(c)
	o.Cache = counts
	v, err := identity.NewVerifier(o)
	if err != nil {
		series.scope.Release()
		return keptVerifier{}, err
	}
	series.measure(c.Name, v.Stats)
	return keptVerifier{v, series}, nil
}

// keysKey is what keys are kept under: their source.
type keysKey struct {
	file, url                     string
	refresh, timeout, minInterval time.Duration
}

// verifierKey is what a verifier is kept under with the tokens that it has verified.
type verifierKey struct {
	keys      keysKey
	options   string
	secret    [sha256.Size]byte
	consumers [sha256.Size]byte
}

func newJWT(o *JWTOptions, c *BuildContext) any {
	scheme := o.From.Scheme
	word := scheme
	if word == "" {
		word = "Bearer"
	}
	p := &jwtPolicy{header: message.NameOf(o.From.Header), scheme: scheme, word: word}
	p.missing = newRefusal(c.Name, word, message.TokenMissing)
	invalid := word + ` error="invalid_token"`
	p.twice = repeatedCredentials(c.Name, invalid)
	p.invalid = newRefusals(c.Name, invalid, message.TokenInvalid, message.TokenExpired, message.TokenNotYetValid, message.IssuerWrong,
		message.AudienceWrong, message.KeyUnknown, message.JWKSUnavailable)
	p.tally = newTally(c)
	if !p.open(o, c) {
		return nil
	}
	return p
}

// open gets the verifier, or reports why there is none. Where nothing is served there is none and it is well.
func (p *jwtPolicy) open(o *JWTOptions, c *BuildContext) bool {
	v := identity.VerifierOptions{
		Issuer: o.Issuer, Audiences: slices.Clone(o.Audience), Leeway: o.Leeway, Require: slices.Clone(o.Require), Attach: c.Consumers.ByClaims,
	}
	if o.Leeway == 0 {
		v.Leeway = -1
	}
	if v.Require == nil {
		v.Require = []string{}
	}
	for _, name := range o.Algorithms {
		a, err := identity.ParseAlgorithm(name)
		if err != nil {
			return true // reported by Check
		}
		v.Algorithms = append(v.Algorithms, a)
	}
	key := verifierKey{options: fmt.Sprintf("%q %q %v %q %v", o.Issuer, o.Audience, o.Leeway, o.Require, o.Algorithms), consumers: c.Consumers.sum()}
	if o.Secret != "" {
		v.Secret = []byte(o.Secret)
		key.secret = sha256.Sum256(v.Secret)
	}
	if o.JWKS != nil {
		j := o.JWKS
		key.keys = keysKey{string(j.File), j.URL, j.Refresh, j.Timeout, j.MinInterval}
		keys, ok := kept(c, key.keys, func() (keptKeys, error) { return openKeys(j, c) })
		switch {
		case ok:
			v.Keys = keys.Keys
		case c.Program != nil || !checkKeys(j, c):
			return false
		default:
			v.Keys = new(identity.Keys) // only to check the other options
		}
	}
	if c.Program == nil {
		if _, err := identity.NewVerifier(v); err != nil {
			c.Report.Add(c.Pos, "policy %q: %v", c.Name, err)
		}
		return true
	}
	verifier, ok := kept(c, key, func() (keptVerifier, error) { return openVerifier(v, c) })
	p.verifier = verifier.Verifier
	return ok
}

// checkKeys reports a file that holds no keys, where nothing is served.
func checkKeys(j *JWKS, c *BuildContext) bool {
	if j.File == "" {
		return true
	}
	k, err := identity.OpenKeys(identity.KeysOptions{File: string(j.File)})
	if err != nil {
		c.Report.Add(c.Report.At(&j.File), "policy %q: %v", c.Name, err)
		return false
	}
	k.Close()
	return true
}

// challenge implements identifier.
func (p *jwtPolicy) challenge() string { return p.word }

// OnRequest implements Request.
func (p *jwtPolicy) OnRequest(x *message.Exchange) (done bool, err error) {
	id, failure := p.identify(x)
	return p.settle(x, id, failure)
}

// identify implements identifier.
func (p *jwtPolicy) identify(x *message.Exchange) (*message.Identity, *message.Failure) {
	token, more := credentialOf(&x.Request.Header, p.header, p.scheme)
	switch {
	case more:
		return nil, p.twice
	case len(token) == 0:
		return nil, p.missing
	}
	now := p.clock.at(x.Times.Read)
	if id := p.verifier.Cached(token, now); id != nil {
		return id, nil
	}
	id, refusal := p.verify(x, token, now)
	if refusal != nil {
		return nil, p.invalid.of(refusal.Reason, refusal.Detail)
	}
	return id, nil
}

// verify verifies a token that was not seen before, which may wait for the issuer.
func (p *jwtPolicy) verify(x *message.Exchange, token []byte, now time.Time) (id *message.Identity, refusal *identity.Refusal) {
	x.Await(func() { id, refusal = p.verifier.Verify(token, now) })
	return id, refusal
}
