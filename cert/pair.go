package cert

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"
)

// maxFileSize bounds what is read of one file. A chain of ten certificates has 20 KiB.
const maxFileSize = 1 << 20

// Files names the files of one certificate. Both may be the same file.
type Files struct {
	Cert string // the certificate, then the intermediate certificates in the order of the chain; PEM
	Key  string // the private key of the certificate; PEM, not encrypted
}

// Error says what is wrong with one file, and what to do about it.
type Error struct {
	Index   int    // which of the Files, counted from 0
	File    string // the path as it was given
	Problem string
	Advice  string
	Err     error // the cause, or nil
}

// Error implements error: file, problem, advice.
func (e *Error) Error() string {
	text := e.File + ": " + e.Problem
	if e.Advice != "" {
		text += "; " + e.Advice
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Check reads the files and tells what is wrong with them, without starting anything. Problems keep a [Store] from opening; warnings
// (an expired certificate, a chain in the wrong order, no usable name) do not.
func Check(files []Files, now time.Time) (problems, warnings []*Error) {
	for i, f := range files {
		l, problem := load(i, f)
		if problem != nil {
			problems = append(problems, problem)
			continue
		}
		warnings = append(warnings, l.warnings...)
		if w := l.age(now); w != nil {
			warnings = append(warnings, w)
		}
	}
	return problems, warnings
}

// loaded is one certificate with its key as read from its files. Immutable.
type loaded struct {
	index    int
	files    Files
	cert     tls.Certificate
	names    []string // lower case; a wildcard begins with "*."
	warnings []*Error // about what does not change with time
}

// load reads and checks both files of a certificate.
func load(index int, f Files) (*loaded, *Error) {
	certPEM, problem := readFile(index, f.Cert)
	if problem != nil {
		return nil, problem
	}
	keyPEM, problem := readFile(index, f.Key)
	if problem != nil {
		return nil, problem
	}
	chain, problem := parseChain(index, f.Cert, certPEM)
	if problem != nil {
		return nil, problem
	}
	if problem := checkKey(index, f.Key, keyPEM); problem != nil {
		return nil, problem
	}
	l := &loaded{index: index, files: f}
	var err error
	if l.cert, err = tls.X509KeyPair(certPEM, keyPEM); err != nil {
		return nil, explainPair(index, f, chain, keyPEM, err)
	}
	l.cert.Leaf = chain[0]
	if problem := l.readNames(); problem != nil {
		return nil, problem
	}
	l.checkOrder(chain)
	return l, nil
}

// readFile reads a whole small file.
func readFile(index int, path string) ([]byte, *Error) {
	fail := func(problem, advice string, err error) ([]byte, *Error) {
		return nil, &Error{Index: index, File: path, Problem: problem, Advice: advice, Err: err}
	}
	file, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fail("there is no such file", "correct the path or put the file there", err)
	case errors.Is(err, fs.ErrPermission):
		return fail("it may not be read", "let the user that runs sluice read it", err)
	case err != nil:
		return fail("it cannot be opened: "+cause(err), "", err)
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && !info.Mode().IsRegular() {
		return fail("it is no regular file", "name a PEM file", nil)
	}
	data, err := io.ReadAll(io.LimitReader(file, maxFileSize+1))
	switch {
	case err != nil:
		return fail("it cannot be read: "+cause(err), "", err)
	case len(data) > maxFileSize:
		return fail("it is larger than 1 MiB", "name a PEM file that holds only the certificate and its chain, or the key", nil)
	case len(bytes.TrimSpace(data)) == 0:
		return fail("it is empty", "put the PEM text into it", nil)
	}
	return data, nil
}

// cause returns the text of a file error without its path, which stands before it anyway.
func cause(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err.Error()
	}
	return err.Error()
}

// parseChain returns the certificates of a PEM file, at least one.
func parseChain(index int, path string, data []byte) ([]*x509.Certificate, *Error) {
	var chain []*x509.Certificate
	var other []string
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			other = append(other, block.Type)
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, &Error{Index: index, File: path, Problem: fmt.Sprintf("certificate %d of the file is damaged: %v", len(chain)+1, err),
				Advice: "fetch or export it again", Err: err}
		}
		chain = append(chain, c)
	}
	switch {
	case len(chain) > 0:
		return chain, nil
	case len(other) == 0:
		return nil, &Error{Index: index, File: path, Problem: "it holds no PEM block",
			Advice: "if it is DER, convert it: openssl x509 -inform der -in FILE -out FILE.pem"}
	case strings.HasSuffix(other[0], "PRIVATE KEY"):
		return nil, &Error{Index: index, File: path, Problem: "it holds a private key and no certificate",
			Advice: "cert and key seem to be exchanged"}
	}
	return nil, &Error{Index: index, File: path, Problem: fmt.Sprintf("it holds a PEM block %q but no CERTIFICATE", other[0]),
		Advice: "name the file with the certificate"}
}

// checkKey finds out why a key file cannot work, for a clearer message than the parser's.
func checkKey(index int, path string, data []byte) *Error {
	certs := false
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		switch {
		case block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED"):
			return &Error{Index: index, File: path, Problem: "the private key is encrypted",
				Advice: "decrypt it (openssl pkey -in FILE -out FILE.key) and protect the file by its permissions"}
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			return nil
		case block.Type == "CERTIFICATE":
			certs = true
		}
	}
	if certs {
		return &Error{Index: index, File: path, Problem: "it holds a certificate and no private key", Advice: "cert and key seem to be exchanged"}
	}
	return &Error{Index: index, File: path, Problem: "it holds no PRIVATE KEY block", Advice: "name a PEM file with the key of the certificate"}
}

// explainPair turns the refusal of a pair into what its owner can act upon.
func explainPair(index int, f Files, chain []*x509.Certificate, keyPEM []byte, err error) *Error {
	for i, c := range chain {
		alone := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
		if _, pairErr := tls.X509KeyPair(alone, keyPEM); pairErr == nil {
			return &Error{Index: index, File: f.Cert, Problem: fmt.Sprintf("the key belongs to certificate %d of the file", i+1),
				Advice: "put the server's own certificate first, then its issuers", Err: err}
		}
	}
	if strings.Contains(err.Error(), "does not match") {
		return &Error{Index: index, File: f.Key, Problem: "the key does not match the certificate in " + f.Cert,
			Advice: "name the key that the certificate was requested with", Err: err}
	}
	return &Error{Index: index, File: f.Key, Problem: strings.TrimPrefix(err.Error(), "tls: "), Advice: "use an ECDSA, Ed25519 or RSA key in PKCS #8, SEC 1 or PKCS #1 form", Err: err}
}

// checkOrder warns of a chain that clients may not be able to follow (RFC 8446 section 4.4.2 wants each certificate to certify the one before it).
func (l *loaded) checkOrder(chain []*x509.Certificate) {
	for i := 1; i < len(chain); i++ {
		if !bytes.Equal(chain[i-1].RawIssuer, chain[i].RawSubject) {
			l.warn(fmt.Sprintf("certificate %d of the file is not the issuer of certificate %d", i+1, i), "order the file: server, its issuer, the issuer's issuer")
			return
		}
	}
}

// readNames fills l.names with the names that the certificate is for.
func (l *loaded) readNames() *Error {
	leaf := l.cert.Leaf
	for _, name := range leaf.DNSNames {
		lower, kind := classify(name)
		switch kind {
		case nameBroken:
			// A name with a NUL or a blank is an attack or an accident; the readers that see a part of it would disagree about whose it is.
			return &Error{Index: l.index, File: l.files.Cert, Problem: fmt.Sprintf("it names %q, which no host can have", name), Advice: "have it issued again for valid names"}
		case nameUnusable:
			l.warn(fmt.Sprintf("its name %q never matches a client's", name), "use a host name, or *. before one")
		default:
			l.names = append(l.names, lower)
		}
	}
	if len(l.names) > 0 {
		return nil
	}
	// Old in-house certificates carry the host only here. Clients that insist on the standard refuse them whatever is chosen.
	if lower, kind := classify(leaf.Subject.CommonName); kind == nameUsable && strings.Contains(lower, ".") {
		l.names = append(l.names, lower)
	}
	if len(leaf.DNSNames) == 0 && len(leaf.IPAddresses) == 0 {
		l.warn("it has no subject alternative name, so that today's clients refuse it", "have it issued for its host names")
	}
	return nil
}

func (l *loaded) warn(problem, advice string) {
	l.warnings = append(l.warnings, &Error{Index: l.index, File: l.files.Cert, Problem: problem, Advice: advice})
}

// age returns a warning if the certificate is not valid at now or will not be for long, else nil.
func (l *loaded) age(now time.Time) *Error {
	leaf := l.cert.Leaf
	const renew = "renew it; the changed files are picked up by themselves"
	day := func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }
	e := &Error{Index: l.index, File: l.files.Cert, Advice: renew}
	switch {
	case now.After(leaf.NotAfter):
		e.Problem = "the certificate expired on " + day(leaf.NotAfter)
	case now.Before(leaf.NotBefore):
		e.Problem, e.Advice = "the certificate is not valid before "+day(leaf.NotBefore), "check the clock of this machine"
	case leaf.NotAfter.Sub(now) < margin(leaf):
		e.Problem = "the certificate expires on " + day(leaf.NotAfter)
	default:
		return nil
	}
	return e
}

// margin is how long before its end a certificate is reported: a week, less for those that live only a few weeks themselves.
func margin(leaf *x509.Certificate) time.Duration {
	return min(7*24*time.Hour, leaf.NotAfter.Sub(leaf.NotBefore)/6)
}
