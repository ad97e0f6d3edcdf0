package upstream

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"
)

// readFiles reads the files that o names, once for all endpoints of a backend.
func (o *TLSOptions) readFiles() (err error) {
	if o.Files == nil {
		o.Files, err = ClientTLS(*o)
	}
	return err
}

// ClientTLS returns the configuration of TLS towards an endpoint, with the protocols alpn to choose from, the most wanted first. It reads the
// files, unless o.Files has them already; an error names the one that cannot be used. The configuration may be used by any number of connections, and is not to be changed.
func ClientTLS(o TLSOptions, alpn ...string) (*tls.Config, error) {
	if o.Files != nil {
		c := o.Files.Clone()
		c.ServerName, c.NextProtos = o.ServerName, alpn
		return c, nil
	}
	c := &tls.Config{ServerName: o.ServerName, NextProtos: alpn, MinVersion: tls.VersionTLS12}
	if o.TLS13 {
		c.MinVersion = tls.VersionTLS13
	}
	// Only what the configuration says in these words turns verification off: not a name that is missing, nor a file that is empty.
	c.InsecureSkipVerify = o.Insecure
	if o.CA != "" {
		var err error
		if c.RootCAs, err = readCA(o.CA); err != nil {
			return nil, fmt.Errorf("tls: ca: %w", err)
		}
	}
	if (o.Cert == "") != (o.Key == "") {
		return nil, errors.New("tls: cert and key belong together, and one of them is missing")
	}
	if o.Cert != "" {
		own, err := tls.LoadX509KeyPair(o.Cert, o.Key)
		if err != nil {
			return nil, fmt.Errorf("tls: cert %s with key %s: %w", o.Cert, o.Key, err)
		}
		c.Certificates = []tls.Certificate{own}
	}
	return c, nil
}

// readCA reads the certificates that sign those of endpoints. A file that holds anything but certificates, or a broken one, is refused as a whole:
// who leaves one out because it is damaged finds out when an endpoint gets its certificate from there.
func readCA(name string) (*x509.CertPool, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	certificates, err := parseCertificates(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	pool := x509.NewCertPool()
	for _, c := range certificates {
		pool.AddCert(c)
	}
	return pool, nil
}

// parseCertificates returns the certificates of a text in PEM, at least one.
func parseCertificates(data []byte) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		data = rest
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("it holds a %s where only certificates belong", strings.ToLower(block.Type))
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(all)+1, err)
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return nil, errors.New("it holds no certificate; write certificates in PEM")
	}
	return all, nil
}
