package cache

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"

	"github.com/sluice-gateway/sluice/message"
)

// AppendURI appends the target URI of a request as the store knows it: scheme, host, port where it is not the scheme's own, canonical path, query.
// Whoever changes the request before [Store.Invalidate] can be called keeps it.
func AppendURI(dst []byte, r *message.Request) []byte {
	return appendURI(dst, r.Scheme, r.Host, r.Port, r.Path, r.Query)
}

// appendURI appends a URI. query is nil where there is none.
func appendURI(dst []byte, scheme string, host, port, path, query []byte) []byte {
	dst = append(dst, scheme...)
	dst = append(dst, "://"...)
	dst = append(dst, host...)
	if len(port) > 0 && string(port) != defaultPort(scheme) {
		dst = append(append(dst, ':'), port...)
	}
	dst = append(dst, path...)
	if query != nil {
		dst = append(append(dst, '?'), query...)
	}
	return dst
}

func defaultPort(scheme string) string {
	if scheme == "https" {
		return "443"
	}
	return "80"
}

// A key begins with the length of the URI, so that no byte of a query can look like what follows it:
//
//	length of the URI, 4 bytes | URI | namespace, 4 bytes | length of the version | version | extra
const keyHead = 4

// appendKey appends the primary key of a request. uri is the length of the URI in it.
func appendKey(dst []byte, r *message.Request, ns *Namespace, version string, extra []byte) (key []byte, uri int) {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = AppendURI(dst, r)
	uri = len(dst) - start - keyHead
	binary.LittleEndian.PutUint32(dst[start:], uint32(uri))
	dst = binary.LittleEndian.AppendUint32(dst, ns.id)
	dst = binary.AppendUvarint(dst, uint64(len(version)))
	dst = append(dst, version...)
	return append(dst, extra...), uri
}

// BeginValue begins a value of the further part of a key (the extra of [Store.Lookup]): what is appended from there on is the value, until [EndValue]
// ends it. Other values than those that made it never make the same extra.
func BeginValue(extra []byte) (out []byte, at int) {
	return append(extra, 0, 0, 0, 0), len(extra)
}

// EndValue ends the value that BeginValue began, given what that has returned as at.
func EndValue(extra []byte, at int) {
	binary.LittleEndian.PutUint32(extra[at:], uint32(len(extra)-at-4))
}

// splitURI returns the parts of a URI that appendURI has made.
func splitURI(uri []byte) (scheme string, authority, path []byte) {
	scheme = "http"
	rest := bytes.TrimPrefix(uri, []byte("http://"))
	if len(rest) == len(uri) {
		scheme, rest = "https", bytes.TrimPrefix(uri, []byte("https://"))
	}
	slash := bytes.IndexByte(rest, '/')
	if slash < 0 {
		return scheme, rest, nil
	}
	path = rest[slash:]
	if q := bytes.IndexByte(path, '?'); q >= 0 {
		path = path[:q]
	}
	return scheme, rest[:slash], path
}

// resolve returns the URI that a reference in an answer to a request for base means (RFC 3986 section 5.2), or nil if it leads to another host or is
// none. A reference with another scheme is about the same resource: the service need not know how its client came in.
func resolve(base, ref []byte) []byte {
	if i := bytes.IndexByte(ref, '#'); i >= 0 {
		ref = ref[:i]
	}
	scheme, authority, path := splitURI(base)
	if path == nil {
		return nil
	}
	if other, rest, absolute := cutScheme(ref); absolute {
		if rest == nil || !sameAuthority(rest, other, authority) {
			return nil
		}
		ref = afterAuthority(rest)
	} else if bytes.HasPrefix(ref, []byte("//")) {
		if !sameAuthority(ref[2:], scheme, authority) {
			return nil
		}
		ref = afterAuthority(ref[2:])
	}
	var query []byte
	if i := bytes.IndexByte(ref, '?'); i >= 0 {
		ref, query = ref[:i], ref[i+1:]
	} else if len(ref) == 0 {
		return base // the same document
	}
	switch {
	case len(ref) == 0:
		ref = path
	case ref[0] != '/':
		ref = append(bytes.Clone(path[:bytes.LastIndexByte(path, '/')+1]), ref...)
	}
	canonical, _, _ := message.AppendPath(nil, ref, message.PathRules{})
	if canonical == nil {
		return nil
	}
	return appendURI(nil, scheme, authority, nil, canonical, query)
}

// cutScheme splits an absolute URI behind "://". rest is nil for schemes that are not HTTP.
func cutScheme(ref []byte) (scheme string, rest []byte, absolute bool) {
	i := bytes.IndexAny(ref, ":/?")
	if i <= 0 || ref[i] != ':' {
		return "", nil, false
	}
	if scheme = lower(ref[:i]); scheme != "http" && scheme != "https" || !bytes.HasPrefix(ref[i:], []byte("://")) {
		return scheme, nil, true
	}
	return scheme, ref[i+3:], true
}

// afterAuthority returns the path and query of what follows "//"; an empty path is "/".
func afterAuthority(b []byte) []byte {
	i := bytes.IndexAny(b, "/?")
	switch {
	case i < 0:
		return []byte("/")
	case b[i] == '?':
		return append([]byte("/"), b[i:]...)
	}
	return b[i:]
}

// sameAuthority reports whether what follows "//" names the host and port of a stored URI.
func sameAuthority(b []byte, scheme string, authority []byte) bool {
	if i := bytes.IndexAny(b, "/?"); i >= 0 {
		b = b[:i]
	}
	host, port, reason := message.ParseAuthority(nil, b)
	if reason != message.ReasonNone {
		return false
	}
	if len(port) > 0 && string(port) != defaultPort(scheme) {
		host = append(append(host, ':'), port...)
	}
	return bytes.Equal(host, authority)
}

// errURL is what is said of a purge that names nothing.
var errURL = errors.New(`the URL has to begin with "http://" or "https://" and a host, such as https://bank.example/rates/EUR`)

// parseURL reads the URL of a purge into the form of stored URIs. In a prefix the path is taken as it stands.
func parseURL(text string, prefix bool) (string, error) {
	scheme, rest, absolute := cutScheme([]byte(text))
	if !absolute || rest == nil {
		return "", errURL
	}
	end := bytes.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	host, port, reason := message.ParseAuthority(nil, rest[:end])
	if reason != message.ReasonNone {
		return "", errURL
	}
	if len(port) > 0 && string(port) != defaultPort(scheme) {
		host = append(append(host, ':'), port...)
	}
	base := appendURI(nil, scheme, host, nil, []byte("/"), nil)
	path := rest[end:]
	switch {
	case len(path) == 0:
		return string(base), nil
	case prefix && path[0] == '/':
		return strings.TrimSuffix(string(base), "/") + string(path), nil
	}
	if uri := resolve(base, path); uri != nil {
		return string(uri), nil
	}
	return "", errURL
}
