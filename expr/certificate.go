package expr

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"

	"github.com/sluice-gateway/sluice/document"
	"github.com/sluice-gateway/sluice/message"
)

// certificateOf returns the certificate that the client itself has shown, or nil.
func certificateOf(x *message.Exchange) *x509.Certificate {
	if len(x.Client.Certificates) == 0 {
		return nil
	}
	return x.Client.Certificates[0]
}

// appendCertificate appends what a certificate says. Names and serial number cost allocations.
func appendCertificate(dst []byte, x *message.Exchange, op op) ([]byte, bool) {
	c := certificateOf(x)
	if c == nil {
		return dst, false
	}
	switch op {
	case opSubject:
		return append(dst, c.Subject.String()...), true
	case opIssuer:
		return append(dst, c.Issuer.String()...), true
	case opSerial:
		if c.SerialNumber == nil {
			return dst, false
		}
		return c.SerialNumber.Append(dst, 16), true
	case opFingerprint:
		sum := sha256.Sum256(c.Raw)
		return hex.AppendEncode(dst, sum[:]), true
	}
	return dst, false
}

// altNames calls yield with the names that a certificate is for (RFC 5280 section 4.2.1.6): domains, addresses of mail, of hosts, and URIs.
func altNames(c *x509.Certificate, yield func(name string)) {
	for _, name := range c.DNSNames {
		yield(name)
	}
	for _, name := range c.EmailAddresses {
		yield(name)
	}
	for _, ip := range c.IPAddresses {
		yield(ip.String())
	}
	for _, uri := range c.URIs {
		yield(uri.String())
	}
}

// appendAltNames appends the alternative names of the client's certificate as a list.
func appendAltNames(dst []byte, x *message.Exchange) ([]byte, bool) {
	c := certificateOf(x)
	if c == nil {
		return dst, false
	}
	dst = append(dst, '[')
	n := len(dst)
	altNames(c, func(name string) {
		if len(dst) > n {
			dst = append(dst, ',')
		}
		dst = document.AppendString(dst, []byte(name))
	})
	return append(dst, ']'), true
}
