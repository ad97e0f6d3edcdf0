package cert

import (
	"bytes"
	"crypto/tls"
)

// serverNameEntry begins the entry of a session ticket that holds the name which the client asked for.
const serverNameEntry = "sluice/1 sni "

// Config makes the TLS configuration of one listener. minVersion is tls.VersionTLS12 or tls.VersionTLS13 (anything lower means TLS 1.2), protocols are
// the words offered by ALPN (RFC 7301) in order of preference. Cipher suites, curves and signature algorithms are Go's defaults, which
// are all modern.
//
// Sessions resume by tickets under keys that Go makes and changes daily. The keys belong to the returned value: give it to one listener only
// and do not Clone it, or a session that began under one listener's policy resumes under another's. Keep it over reloads as long as the
// policy is the same, and clients resume across them; new certificates reach it by themselves.
func (s *Store) Config(minVersion uint16, protocols ...string) *tls.Config {
	c := &tls.Config{
		GetCertificate: s.GetCertificate,
		MinVersion:     max(minVersion, tls.VersionTLS12),
		NextProtos:     protocols,
		// The small records that crypto/tls begins with help browsers that render while they load, at the price of thirteen
		// system calls in place of one for an answer of 16 KiB.
		DynamicRecordSizingDisabled: true,
	}
	bindSessions(c)
	return c
}

// bindSessions lets a session resume only under the server name that it began under. RFC 6066 section 3 demands it for TLS 1.2; for TLS 1.3
// it is what keeps a ticket from carrying the identity that was checked for one name to another. crypto/tls itself does not look.
func bindSessions(c *tls.Config) {
	c.WrapSession = func(state tls.ConnectionState, session *tls.SessionState) ([]byte, error) {
		session.Extra = append(unbound(session.Extra), append([]byte(serverNameEntry), lowerASCII(state.ServerName)...))
		return c.EncryptTicket(state, session)
	}
	c.UnwrapSession = func(ticket []byte, state tls.ConnectionState) (*tls.SessionState, error) {
		session, err := c.DecryptTicket(ticket, state)
		if err != nil || session == nil {
			return nil, err
		}
		for _, entry := range session.Extra {
			if name, ok := bytes.CutPrefix(entry, []byte(serverNameEntry)); ok && string(name) == lowerASCII(state.ServerName) {
				return session, nil
			}
		}
		return nil, nil // a full handshake follows
	}
}

// unbound returns entries without the one for the server name, which a resumed TLS 1.2 session brings along when its ticket is renewed.
func unbound(entries [][]byte) [][]byte {
	kept := make([][]byte, 0, len(entries)+1)
	for _, e := range entries {
		if !bytes.HasPrefix(e, []byte(serverNameEntry)) {
			kept = append(kept, e)
		}
	}
	return kept
}
