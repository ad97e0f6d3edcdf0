package message

// ID is a small integer for a field name that the proxy knows; 0 stands for any other name.
// The known names and their columns are generated from names.txt.
type ID uint8

// Flag says what a known field is, as the columns of names.txt explain.
type Flag uint8

// The flags of a known name.
const (
	FlagHop       Flag = 1 << iota // belongs to one connection (RFC 9110 section 7.6.1)
	FlagFraming                    // decides message boundaries or destination; never in trailers
	FlagList                       // comma separated list
	FlagSingle                     // at most one is legal
	FlagSensitive                  // never logged, never indexed by a header compressor
	FlagManaged                    // set by the proxy, a client's copy is not believed
	FlagIdentity                   // set after authentication, removed from every client request
)

type nameRow struct {
	text  string
	flags Flag
	hpack uint8 // index in the HPACK static table (RFC 7541 appendix A), 0 if none
	qpack uint8 // index in the QPACK static table (RFC 9204 appendix A), 0 if none
}

// Name is a field name ready for use on the request path: known names by ID, others by text.
// Make it once, when the configuration is compiled.
type Name struct {
	id   ID
	text string
}

// NameOf returns the Name of text, whose case does not matter. The spelling of text is what
// is written when the field is added.
func NameOf(text string) Name { return Name{id: Lookup([]byte(text)), text: text} }

// ID returns the name's number, or 0 if it is not a known name.
func (n Name) ID() ID { return n.id }

// String returns the name as it is written.
func (n Name) String() string { return n.text }

// Name returns the known name in its usual spelling.
func (id ID) Name() Name { return Name{id: id, text: nameTable[id].text} }

// String returns the usual spelling, or "" for 0.
func (id ID) String() string {
	if int(id) >= len(nameTable) {
		return ""
	}
	return nameTable[id].text
}

// Flags returns what is known of the field.
func (id ID) Flags() Flag { return nameTable[id].flags }

// StaticIndex returns the index of the name in the static tables of HPACK and QPACK, 0 if it has none.
func (id ID) StaticIndex() (hpack, qpack uint8) { return nameTable[id].hpack, nameTable[id].qpack }

// Known calls yield with every known ID in the order of the table.
func Known(yield func(ID) bool) {
	for id := ID(1); id <= knownNames; id++ {
		if !yield(id) {
			return
		}
	}
}

// Lookup returns the ID of a field name in any case, or 0. It does not allocate.
func Lookup(name []byte) ID {
	if len(name) < 2 {
		return 0
	}
	id := nameSlots[nameHash(name)]
	if id != 0 && (string(name) == nameTable[id].text || EqualFold(name, nameTable[id].text)) {
		return id
	}
	return 0
}

// EqualFold reports whether b and s are equal but for the case of ASCII letters. Other bytes
// are compared as they are: Unicode folding would let two names meet that differ on the wire.
func EqualFold[S ~string | ~[]byte](b []byte, s S) bool {
	if len(b) != len(s) {
		return false
	}
	for i := range len(b) {
		x, y := b[i], s[i]
		if x == y {
			continue
		}
		if x|0x20 != y|0x20 || x|0x20 < 'a' || x|0x20 > 'z' {
			return false
		}
	}
	return true
}

// ClientMayNotSend reports whether a field of a client's request is dropped before anything
// reads it: identity fields, fields of the proxy's own (Sluice-…), and names with "_" or "."
// that some backends read as a name that the proxy sets (X_Forwarded_For).
func ClientMayNotSend(id ID, name []byte) bool {
	if id != 0 {
		return nameTable[id].flags&FlagIdentity != 0 || id == SluiceReason || id == SluicePartial
	}
	if ProxyOwn(name) {
		return true
	}
	alias := false
	for _, c := range name {
		if c == '_' || c == '.' {
			alias = true
			break
		}
	}
	return alias && imitates(name)
}

func imitates(name []byte) bool {
	var b [32]byte // no name that matters is longer
	n := b[:copy(b[:], name)]
	for i, c := range n {
		if c == '_' || c == '.' {
			n[i] = '-'
		}
	}
	if ProxyOwn(n) {
		return true
	}
	if len(name) > len(b) {
		return false
	}
	id := Lookup(n)
	return id != 0 && nameTable[id].flags&(FlagManaged|FlagIdentity|FlagFraming) != 0
}

// ProxyOwn reports whether a name begins with "Sluice-" or "X-Sluice-": what the proxy says of itself, and
// neither clients nor services may say.
func ProxyOwn(name []byte) bool {
	if len(name) >= 2 && name[0]|0x20 == 'x' && name[1] == '-' {
		name = name[2:]
	}
	return len(name) >= 7 && EqualFold(name[:7], "sluice-")
}
