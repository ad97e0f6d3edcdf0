package policy

import (
	"crypto/sha256"
	"time"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/identity"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
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
	refused     refusals
	counts      [2]*metric.Counter
}

// authoritiesKey is what authorities are kept under.
type authoritiesKey struct {
	file      string
	consumers [sha256.Size]byte
}

// keptAuthorities are authorities as a keep-pool wants them.
type keptAuthorities struct{ *identity.Authorities }

// Close implements io.Closer.
func (k keptAuthorities) Close() error { k.Authorities.Close(); return nil }

// Degraded implements Degraded.
func (k keptAuthorities) Degraded() string {
	if k.Authorities.Degraded() {
		return "authorities_stale"
	}
	return ""
}

func newMTLS(o *MTLSOptions, c *BuildContext) any {
	p := &mtlsPolicy{missing: newRefusal(c.Name, "", message.ClientCertMissing)}
	p.refused = newRefusals(c.Name, "", message.ClientCertInvalid)
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
	options.Report = c.Program.Reporter()
	k, ok := kept(c, authoritiesKey{string(o.CA), c.Consumers.sum()}, func() (keptAuthorities, error) {
		a, err := identity.OpenAuthorities(string(o.CA), options)
		return keptAuthorities{a}, err
	})
	if !ok {
		return nil
	}
	p.authorities, p.counts = k.Authorities, authentications(c)
	return p
}

// challenge implements identifier: a certificate cannot be asked for within HTTP.
func (p *mtlsPolicy) challenge() string { return "" }

// OnRequest implements Request.
func (p *mtlsPolicy) OnRequest(x *message.Exchange) (done bool, err error) {
	if len(x.Client.Certificates) == 0 {
		p.counts[1].Inc(0)
		return false, p.missing
	}
	id, refusal := p.verify(x, message.WallTime(x.Times.Read))
	if refusal != nil {
		p.counts[1].Inc(0)
		return false, p.refused.of(refusal.Reason, refusal.Detail)
	}
	p.counts[0].Inc(0)
	x.Identity = id
	return false, nil
}

func (p *mtlsPolicy) verify(x *message.Exchange, now time.Time) (*message.Identity, *identity.Refusal) {
	return p.authorities.Verify(x.Client.Certificates, now)
}
