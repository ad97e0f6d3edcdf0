package policy

import (
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/message"
)

func TestAuthorize(t *testing.T) {
	for _, c := range []struct {
		allow   string
		allowed bool
	}{
		{`path.id == "7"`, true},
		{`path.id == "8"`, false},
		{`request.headers["x-role"] == "admin"`, true},
		{`request.headers["x-none"] == "admin"`, false}, // what is missing allows nothing
		{`!(request.headers["x-none"] == "admin")`, false},
		{`client.ip in ["192.0.2.7", "192.0.2.8"]`, true},
	} {
		x := exchange("-", "X-Role: admin")
		_, done, f := chain(t, `[{authorize: {allow: '`+c.allow+`'}}]`).Request(x, 0, nil)
		if done || (f == nil) != c.allowed {
			t.Errorf("%s: %v, want allowed %v", c.allow, f, c.allowed)
		}
		if f != nil && (f.Reason != message.NotAllowed || string(f.Members) != `,"policy":"authorize"`) {
			t.Errorf("%s: %s %s", c.allow, f.Reason, f.Members)
		}
	}
}

func TestAuthorizeOptions(t *testing.T) {
	for _, c := range []struct{ policy, want string }{
		{`{authorize: {}}`, `the key "allow" is missing`},
		{`{authorize: {allow: request.path}}`, "true or false"},
		{`{authorize: {allow: 'request.pth == "a"'}}`, `did you mean "path"?`},
		{`{authorize: {allow: 'claims.sub == "a"'}}`, "identity policy"}, // nobody has looked for a token before it
	} {
		cfg, list, err := load("[" + c.policy + "]")
		if err == nil {
			ctx := context(cfg)
			Compile(list, ctx)
			err = ctx.Report.Err()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.policy, err, c.want)
		}
	}
}
