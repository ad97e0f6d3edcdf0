package policy

import (
	"crypto/sha256"
	"slices"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/identity"
	"github.com/sluice-gateway/sluice/message"
)

// MTLSOptions lets pass who has shown a certificate of an authority in the TLS handshake. What it says is known as `claims`: sub and iss (the names of
// subject and issuer), cn, serial, fingerprint, dns, email, uri and ip. The consumer of the name cn, or with fitting claims, is the caller. Listeners
// for https ask all clients for a certificate where a route has this policy, and serve those without on other routes.
type MTLSOptions struct {
	// CA is a file with the certificates of the authorities. It is read again when it changes.
	CA config.FilePath `yaml:"ca,required,short"`
}

// mtlsPolicy verifies client certificates.
type mtlsPolicy struct {
	authorities *identity.Authorities
	missing     *message.Failure
	refusals    refusals
	clock       wallClock
	tally
	travelling
}

// authoritiesKey is what authorities are kept under.
type authoritiesKey struct {
	file      string
	consumers [sha256.Size]byte
}

// keptAuthorities are authorities as a keep-pool wants them.
type keptAuthorities struct {
	*identity.Authorities
	series remembering
}

// Close implements io.Closer.
func (k keptAuthorities) Close() error { k.Authorities.Close(); k.series.scope.Release(); return nil }

// openAuthorities reads a file of authorities, with a memory of its own.
func openAuthorities(file string, o identity.AuthoritiesOptions, c *BuildContext) (keptAuthorities, error) {
	series, counts := newRemembering(c)
	o.Cache, o.Report = counts, c.Program.Reporter()
	a, err := identity.OpenAuthorities(file, o)
	if err != nil {
		series.scope.Release()
		return keptAuthorities{}, err
	}
	series.measure(c.Name, a.Stats)
	return keptAuthorities{a, series}, nil
}

// Degraded implements Degraded.
func (k keptAuthorities) Degraded() string {
	if k.Authorities.Degraded() {
		return "authorities_stale"
	}
	return ""
}

func newMTLS(o *MTLSOptions, c *BuildContext) any {
	p := &mtlsPolicy{missing: newRefusal(c.Name, certificateChallenge, message.ClientCertMissing)}
	p.refusals = newRefusals(c.Name, certificateChallenge, message.ClientCertInvalid)
	if !c.encrypted() {
		c.Report.WarnSuggest(c.Pos, "give it a listener with protocol: https", "policy %q: no listener of the route %q has TLS, so no client can show a certificate", c.Name, c.Route)
	}
	options := identity.AuthoritiesOptions{Attach: c.Consumers.ByCertificate}
	if c.Program == nil {
		options.Interval = -1
		a, err := identity.OpenAuthorities(string(o.CA), options)
		if err != nil {
			c.Report.Add(c.Report.At(&o.CA), "policy %q: %v", c.Name, err)
			return nil
		}
		a.Close()
		return p
	}
	k, ok := kept(c, authoritiesKey{string(o.CA), c.Consumers.sum()}, func() (keptAuthorities, error) {
		return openAuthorities(string(o.CA), options, c)
	})
	if !ok {
		return nil
	}
	p.authorities, p.tally = k.Authorities, newTally(c)
	return p
}

// certificateChallenge is what WWW-Authenticate says where a certificate is wanted. No scheme is registered for it, since it is not shown within HTTP, but
// every 401 has a challenge (RFC 9110 section 15.5.2).
const certificateChallenge = "ClientCertificate"

// challenge implements identifier.
func (p *mtlsPolicy) challenge() string { return certificateChallenge }

// OnRequest implements Request.
func (p *mtlsPolicy) OnRequest(x *message.Exchange) (done bool, err error) {
	id, failure := p.identify(x)
	return p.settle(x, id, failure)
}

// identify implements identifier.
func (p *mtlsPolicy) identify(x *message.Exchange) (*message.Identity, *message.Failure) {
	if len(x.Client.Certificates) == 0 {
		return nil, p.missing
	}
	id, refusal := p.authorities.Verify(x.Client.Certificates, p.clock.at(x.Times.Read))
	if refusal != nil {
		return nil, p.refusals.of(refusal.Reason, refusal.Detail)
	}
	return id, nil
}

// WantsCertificate reports whether one of the policies looks at certificates of clients, itself or by a policy that it names.
func WantsCertificate(list config.PolicyList, all *config.Config) bool {
	for _, p := range list {
		switch o := p.Options.(type) {
		case *MTLSOptions:
			return true
		case *AnyOfOptions:
			for _, name := range o.Policies {
				if named := findPolicy(all, name); named != nil && named.Kind == "mtls" {
					return true
				}
			}
		}
	}
	return false
}

// encrypted reports whether a listener of the route speaks https. Where it is not known, it does.
func (c *BuildContext) encrypted() bool {
	if c.Config == nil {
		return true
	}
	i := slices.IndexFunc(c.Config.Routes, func(r *config.Route) bool { return r.Name == c.Route })
	if i < 0 {
		return true
	}
	on := c.Config.Routes[i].Listeners
	return slices.ContainsFunc(c.Config.Listeners, func(l *config.Listener) bool {
		return l.Protocol == config.ProtocolHTTPS && (len(on) == 0 || slices.Contains(on, l.Name))
	})
}
