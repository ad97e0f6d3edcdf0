package cert

import (
	"crypto/tls"
	"net"
	"testing"
)

func TestVersions(t *testing.T) {
	s := open(t, Options{}, save(t, t.TempDir(), "a", issue(t, "a.example")))
	for _, tt := range []struct {
		min, client uint16
		ok          bool
	}{
		{0, tls.VersionTLS13, true},
		{0, tls.VersionTLS12, true},
		{0, tls.VersionTLS11, false},
		{tls.VersionTLS10, tls.VersionTLS11, false},
		{tls.VersionTLS12, tls.VersionTLS12, true},
		{tls.VersionTLS13, tls.VersionTLS13, true},
		{tls.VersionTLS13, tls.VersionTLS12, false},
	} {
		a, b := net.Pipe()
		ended := make(chan error, 1)
		go func() {
			ended <- tls.Server(a, s.Config(tt.min)).Handshake()
			a.Close()
		}()
		c := tls.Client(b, &tls.Config{InsecureSkipVerify: true, ServerName: "a.example", MinVersion: tls.VersionTLS10, MaxVersion: tt.client})
		err := c.Handshake()
		if (err == nil) != tt.ok {
			t.Errorf("minimum %x, client up to %x: %v", tt.min, tt.client, err)
		}
		if err == nil && c.ConnectionState().Version != tt.client {
			t.Errorf("minimum %x, client up to %x: version %x", tt.min, tt.client, c.ConnectionState().Version)
		}
		b.Close()
		<-ended
	}
}

func TestALPN(t *testing.T) {
	s := open(t, Options{}, save(t, t.TempDir(), "a", issue(t, "a.example")))
	for _, tt := range []struct {
		offer []string
		want  string
	}{
		{nil, ""},
		{[]string{"http/1.1"}, "http/1.1"},
		{[]string{"h2", "http/1.1"}, "http/1.1"},
	} {
		_, state := shake(t, s.Config(0, "http/1.1"), &tls.Config{ServerName: "a.example", InsecureSkipVerify: true, NextProtos: tt.offer})
		if state.NegotiatedProtocol != tt.want {
			t.Errorf("offered %q: got %q, want %q", tt.offer, state.NegotiatedProtocol, tt.want)
		}
	}
}

// lastSession is a client's cache that gives its last session to every server, as an attacker would.
type lastSession struct{ state *tls.ClientSessionState }

func (l *lastSession) Get(string) (*tls.ClientSessionState, bool) { return l.state, l.state != nil }
func (l *lastSession) Put(_ string, state *tls.ClientSessionState) {
	if state != nil {
		l.state = state
	}
}

// Security case 42: a session goes on only at the listener and under the name that it began with.
func TestResumption(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{}, save(t, dir, "both", issue(t, "a.example", "b.example", "A.example")))
	one, two := s.Config(0, "http/1.1"), s.Config(0, "http/1.1")
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		tests := []struct {
			name   string
			server *tls.Config
			sni    string
			want   bool
		}{
			{"same listener and name", one, "a.example", true},
			{"name in upper case", one, "A.EXAMPLE", true},
			{"other name", one, "b.example", false},
			{"other listener", two, "a.example", false},
		}
		for _, tt := range tests {
			t.Run(tls.VersionName(version)+" "+tt.name, func(t *testing.T) {
				cache := &lastSession{}
				client := func(sni string) *tls.Config {
					return &tls.Config{ServerName: sni, InsecureSkipVerify: true, ClientSessionCache: cache, MaxVersion: version, NextProtos: []string{"http/1.1"}}
				}
				if state, _ := shake(t, one, client("a.example")); state.DidResume {
					t.Fatal("the first session resumed")
				}
				if cache.state == nil {
					t.Fatal("the server gave no ticket")
				}
				for i := range 3 { // also with the tickets of resumed sessions
					state, _ := shake(t, tt.server, client(tt.sni))
					want := tt.want || i > 0 // the full handshake gave a ticket of its own
					if state.DidResume != want {
						t.Errorf("handshake %d: resumed is %v, want %v", i, state.DidResume, want)
					}
				}
			})
		}
	}
}
