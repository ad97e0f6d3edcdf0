package cert

import (
	"crypto/tls"
	"strings"
)

// maxName is the longest host name, without the final dot (RFC 1035 section 2.3.4).
const maxName = 253

// nameKind says what a name in a certificate is good for.
type nameKind uint8

const (
	nameUsable   nameKind = iota
	nameUnusable          // well-formed, but never what a client asks for
	nameBroken            // holds bytes that no host name may hold
)

// classify returns name in lower case and says whether it is a host name, or "*." and one.
func classify(name string) (string, nameKind) {
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c >= 0x7f {
			return "", nameBroken
		}
	}
	lower := lowerASCII(name)
	if host := strings.TrimPrefix(lower, "*."); !isHost(host) {
		return "", nameUnusable
	}
	return lower, nameUsable
}

// isHost reports whether name is made of labels of letters, digits, hyphens and underscores (which RFC 1123 does not allow in host names, but
// which are in use).
func isHost(name string) bool {
	if name == "" || len(name) > maxName {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for i := range len(label) {
			c := label[i]
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}

// lowerASCII returns s with its ASCII letters in lower case. Other bytes stay as they are: case folding of Unicode would make
// names equal that are different names. It allocates only if something changes.
func lowerASCII(s string) string {
	for i := range len(s) {
		if c := s[i]; 'A' <= c && c <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if c := b[i]; 'A' <= c && c <= 'Z' {
					b[i] = c + ('a' - 'A')
				}
			}
			return string(b)
		}
	}
	return s
}

// set answers which certificate to show. Immutable; replaced as a whole.
type set struct {
	exact map[string][]*tls.Certificate // by name
	wild  map[string][]*tls.Certificate // "*.example.com" by "example.com"
	first []*tls.Certificate            // for clients that ask for no name, or for one that nothing matches
	all   []*loaded
}

// newSet makes a set of at least one certificate. Those that share a name stand in the order given.
func newSet(all []*loaded) *set {
	s := &set{
		exact: make(map[string][]*tls.Certificate),
		wild:  make(map[string][]*tls.Certificate),
		first: []*tls.Certificate{&all[0].cert},
		all:   all,
	}
	for _, l := range all {
		for _, name := range l.names {
			if suffix, ok := strings.CutPrefix(name, "*."); ok {
				s.wild[suffix] = add(s.wild[suffix], &l.cert)
			} else {
				s.exact[name] = add(s.exact[name], &l.cert)
			}
		}
	}
	// The default may exist with two kinds of keys as well.
	if names := all[0].names; len(names) > 0 {
		s.first = s.find(names[0])
	}
	return s
}

// add appends c unless it is there already because the certificate repeats a name.
func add(list []*tls.Certificate, c *tls.Certificate) []*tls.Certificate {
	if n := len(list); n > 0 && list[n-1] == c {
		return list
	}
	return append(list, c)
}

// find returns the certificates for a name as a client sent it: those for exactly this name, else those for a wildcard in place of its first
// label, else the default. Never empty. It does not allocate for names in lower case.
func (s *set) find(name string) []*tls.Certificate {
	if name == "" || len(name) > maxName {
		return s.first
	}
	name = lowerASCII(name)
	if list, ok := s.exact[name]; ok {
		return list
	}
	// A wildcard stands for exactly one label (RFC 9525 section 6.3).
	if dot := strings.IndexByte(name, '.'); dot > 0 {
		if list, ok := s.wild[name[dot+1:]]; ok {
			return list
		}
	}
	return s.first
}

// choose returns the certificate for a handshake. Of several with the name it is the first that the client can verify.
func (s *set) choose(hello *tls.ClientHelloInfo) *tls.Certificate {
	list := s.find(hello.ServerName)
	if len(list) > 1 {
		// Only keys and algorithms are to be compared: the name has been, and the default is for names that it does not have.
		able := *hello
		able.ServerName = ""
		for _, c := range list {
			if able.SupportsCertificate(c) == nil {
				return c
			}
		}
	}
	return list[0]
}
