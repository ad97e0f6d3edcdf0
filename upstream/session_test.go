package upstream

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/message"
)

// visit sends a request with a cookie, if there is one, and returns the endpoint's number and the cookie that the answer sets.
func (g *group) visit(t *testing.T, cookie, scheme string) (endpoint int, set string) {
	t.Helper()
	var f Flight
	x := newExchange("GET")
	x.Request.Scheme = scheme
	if cookie != "" {
		x.Request.Header.Add(message.Cookie.Name(), []byte("other=1; "+cookie+"; more=2"))
	}
	if failure := g.Do(x, &f); failure != nil {
		t.Fatal(failure)
	}
	f.Finish(x)
	if _, err := fmt.Sscanf(x.Outcome.Endpoint, "127.0.0.1:%d", &endpoint); err != nil {
		t.Fatal(err)
	}
	return endpoint - 9000, string(x.Response.Header.Get(message.SetCookie))
}

func sessions(secret string) func(*Options) {
	return func(o *Options) { o.Session = &SessionOptions{Cookie: "shop", Secret: []byte(secret)} }
}

func fourEndpoints(t *testing.T, change func(*Options)) *group {
	return newGroup(t, change, answers(200), answers(200), answers(200), answers(200))
}

func TestSessionKeepsTheEndpoint(t *testing.T) {
	g := fourEndpoints(t, sessions("sixteen bytes or more"))
	g.Start()
	first, set := g.visit(t, "", "https")
	cookie, attributes, _ := strings.Cut(set, ";")
	if attributes != " Path=/; HttpOnly; SameSite=Lax; Secure" || !strings.HasPrefix(cookie, "shop=") || len(cookie) != len("shop=")+24 {
		t.Fatalf("Set-Cookie %q", set)
	}
	if strings.Contains(cookie, fmt.Sprint(9000+first)) {
		t.Errorf("the cookie %q tells the endpoint", cookie)
	}
	for range 20 {
		if at, again := g.visit(t, cookie, "http"); at != first || again != "" {
			t.Fatalf("endpoint %d and cookie %q, want %d and none", at, again, first)
		}
	}
	if _, set := g.visit(t, "", "http"); strings.Contains(set, "Secure") {
		t.Errorf("without TLS: %q", set)
	}
}

func TestSessionIsStable(t *testing.T) {
	g := fourEndpoints(t, sessions("sixteen bytes or more"))
	first, set := g.visit(t, "", "http")
	cookie, _, _ := strings.Cut(set, ";")
	// Another instance with the same secret, endpoints in another order and some of them gone, knows the client.
	other := fourEndpoints(t, func(o *Options) {
		sessions("sixteen bytes or more")(o)
		o.Endpoints[0], o.Endpoints[3] = o.Endpoints[3], o.Endpoints[0]
		for i := range o.Endpoints {
			if o.Endpoints[i].Address != fmt.Sprintf("127.0.0.1:%d", 9000+first) {
				o.Endpoints[i].Weight = 1 + i
			}
		}
	})
	for range 10 {
		if at, _ := other.visit(t, cookie, "http"); at != first {
			t.Fatalf("endpoint %d, want %d", at, first)
		}
	}
	// With another secret, or for another backend, the cookie means nothing, and a new one is set.
	stranger := fourEndpoints(t, sessions("another sixteen bytes"))
	if _, set := stranger.visit(t, cookie, "http"); !strings.HasPrefix(set, "shop=") || strings.HasPrefix(set, cookie) {
		t.Errorf("with another secret: %q", set)
	}
}

func TestSessionMovesOn(t *testing.T) {
	for _, test := range []struct {
		name  string
		stop  func(g *group, first int)
		moves bool
	}{
		{"down", func(g *group, first int) { g.endpoints[first].checked(errors.New("down"), 1, 1, 1) }, true},
		{"ejected", func(g *group, first int) {
			g.endpoints[first].ejectedUntil.Store(message.Now() + 1e12)
		}, true},
		{"maint", func(g *group, first int) { g.endpoints[first].SetOverride(&Override{StateMaint, -1}) }, true},
		{"drain", func(g *group, first int) { g.endpoints[first].SetOverride(&Override{StateDrain, -1}) }, false},
		{"weight 0", func(g *group, first int) { g.endpoints[first].SetOverride(&Override{StateReady, 0}) }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := fourEndpoints(t, func(o *Options) {
				sessions("sixteen bytes or more")(o)
				o.Check = &CheckOptions{Kind: "tcp", Interval: time.Hour, Timeout: time.Second, Rise: 1, Fall: 1}
			})
			first, set := g.visit(t, "", "http")
			cookie, _, _ := strings.Cut(set, ";")
			test.stop(g, first)
			g.refresh(message.Now())
			at, set := g.visit(t, cookie, "http")
			if moved := at != first; moved != test.moves || moved != (set != "") {
				t.Fatalf("endpoint %d after %d, cookie %q", at, first, set)
			}
			if test.moves {
				next, _, _ := strings.Cut(set, ";")
				if again, set := g.visit(t, next, "http"); again != at || set != "" {
					t.Errorf("the new cookie leads to %d and not %d, and sets %q", again, at, set)
				}
			} else if at, set := g.visit(t, "", "http"); at == first {
				t.Errorf("a new client was sent to %d, %q", at, set)
			}
		})
	}
}

// TestForgedSession: a value that nobody has signed leads nowhere, and does no harm.
func TestForgedSession(t *testing.T) {
	g := fourEndpoints(t, sessions("sixteen bytes or more"))
	for _, value := range []string{"", "127.0.0.1:9000", "0", strings.Repeat("A", 24), strings.Repeat("x", 10000), `"quoted"`, "%00"} {
		if _, set := g.visit(t, "shop="+value, "http"); !strings.HasPrefix(set, "shop=") {
			t.Errorf("%.30q: no new cookie", value)
		}
	}
}
