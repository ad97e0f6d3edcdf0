package gateway

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// TestBasicAuth: names and passwords of a file, which is read again when it changes.
func TestBasicAuth(t *testing.T) {
	name := filepath.Join(t.TempDir(), "users")
	line := func(user, password string) string {
		sum := sha256.Sum256([]byte(password))
		return user + ":{SHA256}" + base64.StdEncoding.EncodeToString(sum[:]) + "\n"
	}
	write(t, name, line("jane", "one"))
	g := start(t, fmt.Sprintf(`version: 1
listeners: {public: {address: "127.0.0.1:0", protocol: http}}
consumers: [{name: jane}]
routes: [{policies: [{basic_auth: {file: %q, realm: staff}}, {request: {headers: {set: {X-Name: "${claims.sub}"}}}}], backend: app}]
backends: {app: {endpoints: [%q]}}
`, name, telling(t).Addr))
	c := g.dial("public")
	ask := func(user, password string) string {
		r := c.Do("GET", with("/", "Authorization: Basic "+base64.StdEncoding.EncodeToString([]byte(user+":"+password))))
		if r.Status == 200 {
			return lines(r.Body, "X-Name", "X-Consumer")
		}
		return told(r)
	}
	const refused = `401 credentials_wrong; WWW-Authenticate: Basic realm="staff", charset="UTF-8"`
	if got := ask("jane", "one"); got != "GET /\nX-Name: jane\nX-Consumer: jane" {
		t.Error(got)
	}
	if got := ask("jane", "two"); got != refused {
		t.Error(got)
	}
	if got := told(c.Do("GET", with("/"))); got != `401 credentials_missing; WWW-Authenticate: Basic realm="staff", charset="UTF-8"` {
		t.Error(got)
	}
	write(t, name, line("joe", "one")+line("jane", "two"))
	testnet.Eventually(t, "the new password", func() bool { return ask("jane", "two") == "GET /\nX-Name: jane\nX-Consumer: jane" })
	if got := ask("jane", "one"); got != refused {
		t.Errorf("the old password: %s", got)
	}
	if got := ask("joe", "one"); got != "GET /\nX-Name: joe" {
		t.Error(got)
	}
}
