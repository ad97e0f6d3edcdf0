package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// bankVersions are the versions of the contract's bank.yaml, with routes that belong to them.
const bankVersions = `
version: 1
listeners: {public: {address: "127.0.0.1:8080", protocol: http}}
versions:
  bank-api:
    by: [path, header: Accept-Version, media_type: "application/vnd.bank.{version}+json"]
    default: v2
    v1: {deprecated: 2026-01-01, sunset: 2027-01-01, successor: v2}
    v2: {}
routes:
  - {name: account, api: bank-api, versions: [v1, v2], match: {path: "/accounts/{id}", method: GET}, respond: {}}
  - {name: transfer, api: bank-api, versions: [v2], match: {path: /transfers, method: POST}, respond: {}}
`

func TestAPI(t *testing.T) {
	c, err := loadFile("bank.yaml", []byte(bankVersions))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings) > 0 {
		t.Errorf("warnings: %v", c.Warnings)
	}
	a := c.Versions[0]
	var by []string
	for _, s := range a.By {
		by = append(by, s.Kind+" "+s.Name)
	}
	if want := []string{"path ", "header Accept-Version", "media_type application/vnd.bank.{version}+json"}; !slices.Equal(by, want) {
		t.Errorf("by is %q, want %q", by, want)
	}
	if a.Name != "bank-api" || a.Default != "v2" || !slices.Equal(a.names(), []string{"v1", "v2"}) {
		t.Errorf("the API is %+v", a)
	}
	v := a.Version("v1")
	if v == nil || v.Deprecated.Unix() != 1767225600 || v.Sunset.Format(time.RFC1123) != "Fri, 01 Jan 2027 00:00:00 UTC" || v.Successor != "v2" {
		t.Errorf("v1 is %+v", v)
	}
	if v := a.Version("v2"); v == nil || !v.Deprecated.IsZero() || !v.Sunset.IsZero() || v.Successor != "" {
		t.Errorf("v2 is %+v", v)
	}
	if a.Version("v3") != nil || !a.Selects(SelectPath) || !a.Selects(SelectMediaType) || a.Selects(SelectQuery) {
		t.Error("the API has a version or a selector that is not in the file")
	}
}

func TestDate(t *testing.T) {
	for text, want := range map[string]int64{
		"1970-01-02": 86400, "2026-01-01": 1767225600, "2026-01-01T00:00:00Z": 1767225600, "2026-01-01T01:00:00+01:00": 1767225600,
		"2026-1-1": -1, "2026-02-30": -1, "": -1, "2026-01-01 00:00": -1, "tomorrow": -1,
	} {
		var d Date
		err := d.ParseConfig(text)
		if (err == nil) != (want >= 0) || err == nil && d.Unix() != want {
			t.Errorf("%q: %v, %v, want %d", text, d, err, want)
		}
	}
}

// TestSchemaOfVersions: the schema accepts the section as the contract writes it, and refuses what a decoder refuses.
func TestSchemaOfVersions(t *testing.T) {
	v := loadSchema(t)
	check := func(text string) error {
		var x any
		if err := yaml.Unmarshal([]byte(text), &x); err != nil {
			t.Fatal(err)
		}
		return v.check(v.root, plainJSON(x), "file")
	}
	if err := check(bankVersions); err != nil {
		t.Error(err)
	}
	for _, wrong := range []string{
		"{by: paths, v1: {}}", "{by: [], v1: {}}", "{by: [{header: a, query: b}], v1: {}}", "{by: [{cookie: a}], v1: {}}", "{by: path, v1: {sunst: 2026-01-01}}",
		"{by: path, default: [v1], v1: {}}", "{by: path, v 1: {}}", "path",
	} {
		text := strings.Replace(bankVersions, "versions:\n", "versions:\n  wrong: "+wrong+"\n", 1)
		if check(text) == nil {
			t.Errorf("the schema accepts %s", wrong)
		}
		if _, err := loadFile("x.yaml", []byte(text)); err == nil {
			t.Errorf("%s is accepted", wrong)
		}
	}
}

func TestTooManyVersions(t *testing.T) {
	for n := MaxVersions - 1; n <= MaxVersions+1; n++ {
		var b strings.Builder
		for i := 2; i < n; i++ {
			fmt.Fprintf(&b, "    v%d: {}\n", i+1)
		}
		text := strings.Replace(bankVersions, "    v2: {}\n", "    v2: {}\n"+b.String(), 1)
		if _, err := loadFile("x.yaml", []byte(text)); (err == nil) != (n <= MaxVersions) {
			t.Errorf("%d versions: %v", n, err)
		}
	}
}

func TestManualOfVersions(t *testing.T) {
	manual := string(Markdown(Kinds{}))
	for _, want := range []string{"### `versions.NAME`", "| `by` | one or a list of `path`", "| `default` | text |", "### `versions.NAME.VERSION`", "| `sunset` | date |"} {
		if strings.Count(manual, want) != 1 {
			t.Errorf("the manual has %q %d times, want once", want, strings.Count(manual, want))
		}
	}
}
