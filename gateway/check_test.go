package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// TestCheckFindsAll: everything that is wrong is told at once, each at its place, as Apply tells it.
func TestCheckFindsAll(t *testing.T) {
	dir := t.TempDir()
	crt, key := certificate(t, dir, "a.test")
	_, other := certificate(t, dir, "b.test")
	broken := filepath.Join(dir, "broken.key")
	write(t, broken, "no key")
	text := fmt.Sprintf(`version: 1
admin: {address: "[::]:8443"}
listeners:
  web:
    address: "127.0.0.1:0"
    protocol: https
    tls:
      certificates:
        - {cert: %q, key: %q}
        - {cert: %q, key: %q}
        - {cert: %q, key: %q}
policies:
  tag: {request: {headers: {set: {X-A: "${path.id}"}}}}
routes:
  - {match: {path: "/a/{id}"}, policies: [tag], redirect: "/b/${path.id}"}
  - {match: {path: /c}, policies: [tag], redirect: "/b/${path.idd}"}
  - {match: {path: /d}, policies: [{response: {headers: {set: {X-A: "${path.id}"}}}}], redirect: "/b/${path.id}"}
`, crt, key, crt, other, crt, broken)
	c := parse(t, text)
	err := Check(c)
	if err == nil {
		t.Fatal("nothing found")
	}
	var at []string
	for line := range strings.Lines(err.Error()) {
		if rest, ok := strings.CutPrefix(line, "test.yaml:"); ok {
			place, _, _ := strings.Cut(rest, ": ")
			at = append(at, place)
		}
	}
	if got := strings.Join(at, " "); got != "10:"+column(text, 10, other)+" 11:"+column(text, 11, broken)+" 13:40 16:52 17:69 17:98" {
		t.Errorf("errors at %s:\n%v", got, err)
	}
	g := start(t, "")
	if refused := g.Apply(c); refused == nil || refused.Error() != err.Error() {
		t.Errorf("Apply says\n%v\nand Check\n%v", refused, err)
	}
}

// column returns the column of a text in a line.
func column(text string, line int, part string) string {
	return fmt.Sprint(strings.Index(strings.Split(text, "\n")[line-1], `"`+part) + 1)
}

// TestReviewWarns of what is valid and almost surely wrong. What the text alone shows was told when
// it was loaded, and is not told again.
func TestReviewWarns(t *testing.T) {
	c := parse(t, `version: 1
listeners:
  web: {address: "127.0.0.1:0", protocol: http}
  more: {address: "127.0.0.1:0", protocol: http}
routes:
  - {name: first, match: {host: a.test, path: /a}, respond: {}}
  - {name: second, match: {host: a.test, path: /a}, respond: {}}
  - {name: third, listeners: web, match: {host: [a.test, b.test], path: /a}, respond: {}}
`)
	warnings, err := Review(c)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0].Message, `"second"`) {
		t.Errorf("warnings of the text:\n%v", c.Warnings)
	}
	if len(warnings) != 1 || warnings[0].Line != 8 || !strings.Contains(warnings[0].Message, `on the listener "web": route third can never match at a.test`) {
		t.Errorf("further warnings:\n%v", warnings)
	}
}

// TestReviewWarnsOfCertificates that work and should not stay.
func TestReviewWarnsOfCertificates(t *testing.T) {
	crt, key := certificate(t, t.TempDir(), "")
	c := parse(t, fmt.Sprintf("version: 1\nlisteners: {web: {address: \":0\", protocol: https, tls: {certificates: [{cert: %q, key: %q}]}}}\nroutes: [{respond: {}}]\n", crt, key))
	warnings, err := Review(c)
	if err != nil || len(warnings) != 1 || warnings[0].Line != 2 || !strings.Contains(warnings[0].Message, ".crt") {
		t.Errorf("%v, warnings:\n%v", err, warnings)
	}
}

func TestSchemaAndReference(t *testing.T) {
	var schema map[string]any
	if err := json.Unmarshal(Schema(), &schema); err != nil || schema["$schema"] == nil {
		t.Errorf("schema: %v, %v", schema["$schema"], err)
	}
	for _, word := range []string{"listeners", "trusted_proxies", "request", "response"} {
		if !bytes.Contains(Reference(), []byte("`"+word+"`")) || !bytes.Contains(Schema(), []byte(`"`+word+`"`)) {
			t.Errorf("%s is missing", word)
		}
	}
}
