package stream

// read reads a ClientHello (RFC 8446 section 4.1.2) behind its message header. It returns false
// if a length in it is wrong, or with r.err set.
func (h *ClientHello) read(r *helloReader) bool {
	version, ok := r.number(2)
	if !ok {
		return false
	}
	for v := VersionTLS10; v <= min(version, VersionTLS12); v++ {
		h.versions |= 1 << (v - VersionTLS10)
	}
	if !r.pass(32) { // random
		return false
	}
	if !r.skip(1, 0) { // session id
		return false
	}
	suites, ok := r.vector(2, 0)
	if !ok || (r.left-suites)%2 != 0 || !r.pass(r.left-suites) {
		return false
	}
	if !r.skip(1, 0) { // compression methods; these three are for the endpoint to judge
		return false
	}
	if r.left == 0 {
		return true // before TLS 1.2 extensions were an extension
	}
	end, ok := r.vector(2, 0)
	if !ok || end != 0 {
		return false
	}
	return h.readExtensions(r)
}

func (h *ClientHello) readExtensions(r *helloReader) bool {
	var seen [3]bool
	for r.left > 0 {
		typ, ok := r.number(2)
		if !ok {
			return false
		}
		rest, ok := r.vector(2, 0)
		if !ok {
			return false
		}
		// Calls by name and not through a table: h and r then stay on the stack.
		slot := 0
		switch typ {
		case extensionServerName:
			ok = h.readServerNames(r, rest)
		case extensionALPN:
			slot, ok = 1, h.readALPN(r, rest)
		case extensionSupportedVersions:
			slot, ok = 2, h.readVersions(r, rest)
		default:
			r.pass(r.left - rest)
			continue
		}
		// Two views of one hello are how a name is smuggled past a router.
		if seen[slot] {
			r.err = errHelloDuplicate
			return false
		}
		seen[slot] = true
		if !ok || r.left != rest {
			return false
		}
	}
	return true
}

// readServerNames reads the names of RFC 6066 section 3.
func (h *ClientHello) readServerNames(r *helloReader, rest int) bool {
	if end, ok := r.vector(2, 1); !ok || end != rest {
		return false
	}
	for r.left > rest {
		typ, ok := r.number(1)
		if !ok || r.left < rest {
			return false
		}
		behind, ok := r.vector(2, 1)
		if !ok || behind < rest {
			return false
		}
		size := r.left - behind
		switch {
		case typ != 0: // no other type than host_name was ever defined
			ok = r.pass(size)
		case h.Name != NameAbsent || size > maxServerName:
			h.Name, h.nameLen = NameInvalid, 0
			ok = r.pass(size)
		default:
			h.Name = NameInvalid
			if ok = r.copy(h.name[:size]); ok && normalizeName(h.name[:size]) {
				h.Name, h.nameLen = NameValid, uint8(size)
			}
		}
		if !ok {
			return false
		}
	}
	return true
}

// normalizeName makes name lower case and reports whether it is one: a host name, not an address.
func normalizeName(name []byte) bool {
	label, digits := 0, true // length of the label, and whether it has digits only
	for i, c := range name {
		switch {
		case c >= 'A' && c <= 'Z':
			name[i] = c + 'a' - 'A'
			digits = false
		case c >= 'a' && c <= 'z', c == '-', c == '_':
			digits = false
		case c >= '0' && c <= '9':
		case c == '.' && label > 0:
			label, digits = -1, true
		default:
			return false
		}
		if label++; label > 63 {
			return false
		}
	}
	// No top-level domain is a number, and resolvers take what ends in one for an address.
	return label > 0 && !digits
}

// readALPN reads the protocols of RFC 7301.
func (h *ClientHello) readALPN(r *helloReader, rest int) bool {
	if end, ok := r.vector(2, 2); !ok || end != rest {
		return false
	}
	for r.left > rest {
		size, ok := r.number(1)
		if !ok || size == 0 || r.left-size < rest {
			return false
		}
		at := int(h.alpnLen)
		if h.ALPNCut || at+1+size > maxHelloALPN {
			h.ALPNCut = true
			ok = r.pass(size)
		} else {
			h.alpn[at] = byte(size)
			ok = r.copy(h.alpn[at+1 : at+1+size])
			h.alpnLen += uint8(1 + size)
		}
		if !ok {
			return false
		}
	}
	return true
}

// readVersions reads the list that replaces the version of the hello (RFC 8446 section 4.2.1).
func (h *ClientHello) readVersions(r *helloReader, rest int) bool {
	if end, ok := r.vector(1, 2); !ok || end != rest || (r.left-rest)%2 != 0 {
		return false
	}
	h.versions = 0
	for r.left > rest {
		v, ok := r.number(2)
		if !ok {
			return false
		}
		if v >= VersionTLS10 && v <= VersionTLS13 {
			h.versions |= 1 << (v - VersionTLS10)
		}
	}
	return true
}
