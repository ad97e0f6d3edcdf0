package identity

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/sluice-gateway/sluice/document"
	"github.com/sluice-gateway/sluice/message"
)

const (
	// maxAuthorities bounds a file with certificates of authorities.
	maxAuthorities = 4 << 20
	// maxChain bounds how many certificates of a client are looked at.
	maxChain = 10
	// maxLeaf bounds a certificate that is remembered.
	maxLeaf = 32 << 10
)

// AuthoritiesOptions say how client certificates are verified. The zero value is usable.
type AuthoritiesOptions struct {
	// Interval between two looks at the file; 0 means a second, a negative one never.
	Interval time.Duration
	// Report takes lines for the operator, one call at a time; nil for nobody.
	Report func(line string)
	// CacheBytes bounds the memory of verified certificates; 0 means 32 MiB, a negative number none.
	CacheBytes int64
	Cache      CacheMetrics
	// Attach is given the identity of each certificate when it was verified, before anybody else sees it: it may set Consumer and Plan. May be nil; called
	// by any goroutine, several at a time.
	Attach func(*message.Identity)
}

// Authorities verifies client certificates by a file with the certificates of authorities, which is read again when it changes. All methods may be
// called by any goroutine.
type Authorities struct {
	options AuthoritiesOptions
	watch   *watch
	current atomic.Pointer[pool]
	cache   *cache
}

// pool is what a file says. It is immutable.
type pool struct {
	source
	roots *x509.CertPool
	count int
}

// The refusals. Read-only.
var (
	refusedNoCertificate = &Refusal{message.ClientCertMissing, "the client has shown no certificate"}
	refusedCharacters    = &Refusal{message.ClientCertInvalid, "a name in the certificate has characters that no name may have"}
)

// OpenAuthorities reads a PEM file with the certificates of authorities, which must be right, and begins to watch it. Close ends the watching.
func OpenAuthorities(path string, o AuthoritiesOptions) (*Authorities, error) {
	if o.Attach == nil {
		o.Attach = func(*message.Identity) {}
	}
	a := &Authorities{options: o, cache: newCache(o.CacheBytes, o.Cache)}
	var err error
	a.watch, err = openWatch(path, maxAuthorities, o.Interval, o.Report, a.apply)
	if err != nil {
		return nil, err
	}
	return a, nil
}

// apply takes over a new content of the file. All that was verified by the old one is verified anew.
func (a *Authorities) apply(content []byte) error {
	next, err := parsePool(content)
	if err != nil {
		return err
	}
	if old := a.current.Swap(next); old != nil {
		old.retired.Store(true)
	}
	return nil
}

// parsePool reads the certificates of authorities.
func parsePool(content []byte) (*pool, error) {
	p := &pool{roots: x509.NewCertPool()}
	for {
		block, rest := pem.Decode(content)
		if block == nil {
			break
		}
		content = rest
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("block %d is not of the type CERTIFICATE: only certificates of authorities belong here", p.count+1)
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		switch {
		case err != nil:
			return nil, fmt.Errorf("certificate %d cannot be read: %w", p.count+1, err)
		case !certificate.IsCA || !certificate.BasicConstraintsValid:
			return nil, fmt.Errorf("certificate %d is not that of an authority (basic constraints)", p.count+1)
		}
		p.roots.AddCert(certificate)
		p.count++
	}
	if p.count == 0 {
		return nil, errors.New("there is no certificate in it (PEM)")
	}
	return p, nil
}

// Close ends the watching of the file and waits for its goroutine. Certificates go on to be verified.
func (a *Authorities) Close() { a.watch.close() }

// Degraded reports whether the file as it is is broken, and what was read before is in use.
func (a *Authorities) Degraded() bool { return a.watch.degraded() }

// Len returns the number of authorities.
func (a *Authorities) Len() int { return a.current.Load().count }

// Stats returns what is remembered of verified certificates.
func (a *Authorities) Stats() CacheStats { return a.cache.stats() }

// Verify returns who the certificates are of, the client's own first, or why they are refused. That the client has the key is for the handshake to have
// made sure.
//
// The claims of the identity are sub and iss (the distinguished names of subject and issuer as RFC 4514 writes them), cn, serial and fingerprint (SHA-256)
// in hexadecimal digits, and the lists dns, email, uri and ip of the alternative names; what the certificate does not have is not there.
func (a *Authorities) Verify(certificates []*x509.Certificate, now time.Time) (*message.Identity, *Refusal) {
	if len(certificates) == 0 {
		return nil, refusedNoCertificate
	}
	leaf, at := certificates[0], now.UnixNano()
	if id := a.cache.get(leaf.Raw, at); id != nil {
		return id, nil
	}
	p := a.current.Load()
	from, until, err := p.verify(certificates, now)
	if err != nil {
		return nil, &Refusal{message.ClientCertInvalid, err.Error()}
	}
	id, ok := describeCertificate(leaf)
	if !ok {
		return nil, refusedCharacters
	}
	a.options.Attach(id)
	if len(leaf.Raw) > maxLeaf {
		return id, nil
	}
	return a.cache.put(leaf.Raw, id, from, until, at, &p.source), nil
}

// verify returns the time in which the chain that was found is good, so that who is remembered is not remembered for longer than any certificate of
// the chain is valid. Which certificates a client shows beside its own later on does not matter: a chain is there.
func (p *pool) verify(certificates []*x509.Certificate, now time.Time) (from, until int64, err error) {
	if len(certificates) > maxChain {
		return 0, 0, fmt.Errorf("the client has shown more than %d certificates", maxChain)
	}
	between := x509.NewCertPool()
	for _, c := range certificates[1:] {
		between.AddCert(c)
	}
	chains, err := certificates[0].Verify(x509.VerifyOptions{Roots: p.roots, Intermediates: between, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return 0, 0, err
	}
	from, until = math.MinInt64, forever
	for _, c := range chains[0] {
		from = max(from, nanoseconds(c.NotBefore.Unix()))
		until = min(until, nanoseconds(c.NotAfter.Unix()))
	}
	return from, until, nil
}

// describeCertificate makes an identity of a certificate that was verified. It fails on names with control characters: a NUL in one is a lie about
// its end to whoever reads it next.
func describeCertificate(c *x509.Certificate) (*message.Identity, bool) {
	var b claimsBuilder
	b.text("sub", c.Subject.String())
	b.text("iss", c.Issuer.String())
	b.text("cn", c.Subject.CommonName)
	b.list("dns", c.DNSNames)
	b.list("email", c.EmailAddresses)
	var uris, ips []string
	for _, u := range c.URIs {
		uris = append(uris, u.String())
	}
	for _, ip := range c.IPAddresses {
		ips = append(ips, ip.String())
	}
	b.list("uri", uris)
	b.list("ip", ips)
	b.text("serial", c.SerialNumber.Text(16))
	sum := sha256.Sum256(c.Raw)
	b.text("fingerprint", hex.EncodeToString(sum[:]))
	if b.bad {
		return nil, false
	}
	return b.identity(), true
}

// claimsBuilder makes claims and their JSON text.
type claimsBuilder struct {
	raw   []byte
	names []string
	spans [][2]int // of the values in raw
	texts []string // "" for lists
	bad   bool     // a value has characters that it may not have
}

func (b *claimsBuilder) name(name string) {
	if len(b.raw) > 0 {
		b.raw = append(b.raw, ',')
	} else {
		b.raw = append(b.raw, '{')
	}
	b.raw = strconv.AppendQuote(b.raw, name)
	b.raw = append(b.raw, ':')
	b.names = append(b.names, name)
}

func (b *claimsBuilder) text(name, value string) {
	if value == "" {
		return
	}
	b.bad = b.bad || !isPrintable([]byte(value))
	b.name(name)
	from := len(b.raw)
	b.raw = document.AppendString(b.raw, []byte(value))
	b.spans, b.texts = append(b.spans, [2]int{from, len(b.raw)}), append(b.texts, value)
}

func (b *claimsBuilder) list(name string, values []string) {
	if len(values) == 0 {
		return
	}
	b.name(name)
	from := len(b.raw)
	b.raw = append(b.raw, '[')
	for i, v := range values {
		b.bad = b.bad || !isPrintable([]byte(v))
		if i > 0 {
			b.raw = append(b.raw, ',')
		}
		b.raw = document.AppendString(b.raw, []byte(v))
	}
	b.raw = append(b.raw, ']')
	b.spans, b.texts = append(b.spans, [2]int{from, len(b.raw)}), append(b.texts, "")
}

func (b *claimsBuilder) identity() *message.Identity {
	b.raw = append(b.raw, '}')
	id := &message.Identity{Raw: b.raw, Claims: make([]message.Claim, len(b.names))}
	for i, name := range b.names {
		id.Claims[i] = message.Claim{Name: name, Raw: b.raw[b.spans[i][0]:b.spans[i][1]]}
		if b.texts[i] != "" {
			id.Claims[i].Text = []byte(b.texts[i])
		}
	}
	return id
}
