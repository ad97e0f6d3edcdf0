package identity

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"

	"github.com/sluice-gateway/sluice/document"
	"github.com/sluice-gateway/sluice/message"
)

const (
	// maxPasswords bounds a file with passwords, and maxUsers its lines.
	maxPasswords = 16 << 20
	maxUsers     = 100_000
	// maxUser and maxPassword bound what somebody may send.
	maxUser     = 255
	maxPassword = 1024
	// bcryptLength is how much of a password bcrypt looks at. A longer one is refused: what agrees in its first part is not the same.
	bcryptLength = 72
	// maxBcryptCost bounds one check to about two seconds.
	maxBcryptCost = 15
)

// The bounds of argon2id, by which one check takes about a second and 256 MiB at the most.
const (
	maxArgonMemory  = 256 << 10 // KiB
	maxArgonTime    = 16
	maxArgonThreads = 16
)

// user is one line of a file. It stays the same value while its line stays the same.
type user struct {
	source
	line     string
	identity *message.Identity
	hash     passwordHash
}

// passwordHash is a password as it is stored.
type passwordHash interface {
	// matches may take long; it takes equally long for right and wrong passwords.
	matches(password []byte) bool
}

// parseUsers reads lines of the form NAME:HASH, as htpasswd writes them. Empty lines and those that begin with # count for nothing. Errors name the
// line and never what stands in it.
func parseUsers(content []byte) (map[string]*user, error) {
	users := make(map[string]*user)
	n := 0
	for line := range bytes.Lines(content) {
		n++
		line = bytes.TrimRight(line, "\r\n")
		if len(bytes.TrimSpace(line)) == 0 || line[0] == '#' {
			continue
		}
		name, stored, ok := strings.Cut(string(line), ":")
		switch {
		case !ok:
			return nil, fmt.Errorf("line %d has no colon: write NAME:HASH, as htpasswd -B prints it", n)
		case name == "" || len(name) > maxUser || !isPrintable([]byte(name)):
			return nil, fmt.Errorf("line %d: a name has 1 to %d bytes, and no control characters", n, maxUser)
		case users[name] != nil:
			return nil, fmt.Errorf("line %d: the name stands on an earlier line already", n)
		case len(users) == maxUsers:
			return nil, fmt.Errorf("line %d: there are more than %d users", n, maxUsers)
		}
		hash, err := parseHash(stored)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		users[name] = &user{line: string(line), identity: nameOnly(name), hash: hash}
	}
	return users, nil
}

// isPrintable reports whether text may be a name or a password: RFC 7617 section 2 allows no control characters.
func isPrintable(text []byte) bool {
	for _, c := range text {
		if c < ' ' || c == 0x7f {
			return false
		}
	}
	return utf8.Valid(text)
}

// parseHash reads the hash of a password.
func parseHash(stored string) (passwordHash, error) {
	switch {
	case strings.HasPrefix(stored, "$2a$"), strings.HasPrefix(stored, "$2b$"), strings.HasPrefix(stored, "$2y$"):
		return parseBcrypt(stored)
	case strings.HasPrefix(stored, "$argon2id$"):
		return parseArgon(stored)
	case strings.HasPrefix(stored, "{SHA256}"):
		return parseSHA256(strings.TrimPrefix(stored, "{SHA256}"))
	}
	return nil, errors.New("the hash is of an unknown or broken kind: use bcrypt ($2y$, as htpasswd -B prints it), $argon2id$ or {SHA256}")
}

type bcryptHash []byte

func parseBcrypt(stored string) (passwordHash, error) {
	cost, err := bcrypt.Cost([]byte(stored))
	switch {
	case err != nil || len(stored) != 60 || strings.ContainsFunc(stored[7:], notBcrypt):
		return nil, errors.New("the bcrypt hash is broken")
	case cost > maxBcryptCost:
		return nil, fmt.Errorf("the bcrypt hash has the cost %d, and %d is the most", cost, maxBcryptCost)
	}
	return bcryptHash(stored), nil
}

// notBcrypt reports whether r is not in the alphabet that bcrypt writes salt and hash in.
func notBcrypt(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '.' || r == '/')
}

func (h bcryptHash) matches(password []byte) bool {
	long := len(password) > bcryptLength
	if long {
		password = password[:bcryptLength]
	}
	return bcrypt.CompareHashAndPassword(h, password) == nil && !long
}

type argonHash struct {
	time, memory uint32
	threads      uint8
	salt, sum    []byte
}

// parseArgon reads $argon2id$v=19$m=KIB,t=PASSES,p=LANES$SALT$HASH, the form of the reference implementation.
func parseArgon(stored string) (passwordHash, error) {
	broken := errors.New("the argon2id hash is broken: it is of the form $argon2id$v=19$m=65536,t=3,p=4$SALT$HASH")
	parts := strings.Split(stored, "$")
	if len(parts) != 6 || parts[2] != "v=19" {
		return nil, broken
	}
	var h argonHash
	var values [3]uint64
	parameters := strings.Split(parts[3], ",")
	if len(parameters) != len(values) {
		return nil, broken
	}
	for i, prefix := range []string{"m=", "t=", "p="} {
		text, ok := strings.CutPrefix(parameters[i], prefix)
		var err error
		if values[i], err = strconv.ParseUint(text, 10, 32); err != nil || !ok {
			return nil, broken
		}
	}
	if values[0] < 8*values[2] || values[0] > maxArgonMemory || values[1] < 1 || values[1] > maxArgonTime || values[2] < 1 || values[2] > maxArgonThreads {
		return nil, fmt.Errorf("the parameters of the argon2id hash are out of range: m is 8 times p to %d, t 1 to %d, p 1 to %d",
			maxArgonMemory, maxArgonTime, maxArgonThreads)
	}
	h.memory, h.time, h.threads = uint32(values[0]), uint32(values[1]), uint8(values[2])
	var errSalt, errSum error
	h.salt, errSalt = base64.RawStdEncoding.Strict().DecodeString(parts[4])
	h.sum, errSum = base64.RawStdEncoding.Strict().DecodeString(parts[5])
	if errSalt != nil || errSum != nil || len(h.salt) < 8 || len(h.salt) > 64 || len(h.sum) < 16 || len(h.sum) > 64 {
		return nil, broken
	}
	return &h, nil
}

func (h *argonHash) matches(password []byte) bool {
	sum := argon2.IDKey(password, h.salt, h.time, h.memory, h.threads, uint32(len(h.sum)))
	return subtle.ConstantTimeCompare(sum, h.sum) == 1
}

// sha256Hash is for passwords that a machine has made: it is not salted and quick to try through.
type sha256Hash [sha256.Size]byte

// parseSHA256 reads a SHA-256 in hexadecimal digits, or in base64 as LDAP servers write it.
func parseSHA256(text string) (passwordHash, error) {
	sum, err := hex.DecodeString(text)
	if err != nil {
		sum, err = base64.StdEncoding.Strict().DecodeString(text)
	}
	if err != nil || len(sum) != sha256.Size {
		return nil, errors.New("behind {SHA256} stand the 64 hexadecimal digits of a SHA-256, or its base64")
	}
	return sha256Hash(sum), nil
}

func (h sha256Hash) matches(password []byte) bool {
	sum := sha256.Sum256(password)
	return subtle.ConstantTimeCompare(sum[:], h[:]) == 1
}

// nameOnly returns the identity of somebody of whom only the name is known: it is the claim sub.
func nameOnly(name string) *message.Identity {
	raw := document.AppendString([]byte(`{"sub":`), []byte(name))
	raw = append(raw, '}')
	return &message.Identity{Raw: raw, Claims: []message.Claim{{Name: "sub", Text: []byte(name), Raw: raw[len(`{"sub":`) : len(raw)-1]}}}
}
