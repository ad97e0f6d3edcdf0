package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const head = "version: 1\nlisteners: {web: {address: \":8080\", protocol: http}}\n"

// accept loads a text that must be valid.
func accept(t *testing.T, text string) *Config {
	t.Helper()
	cfg, err := Load("x.yaml", []byte(text), testOptions())
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// refuse loads a text that must not be valid.
func refuse(t *testing.T, text string) Errors {
	t.Helper()
	cfg, err := Load("x.yaml", []byte(text), testOptions())
	var errs Errors
	if !errors.As(err, &errs) || cfg != nil {
		t.Fatalf("Load = %v, %v; want Errors", cfg, err)
	}
	return errs
}

func TestBenchDefaults(t *testing.T) {
	cfg, err := Read("testdata/good/bench.yaml", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.Warnings) > 0 {
		t.Errorf("warnings: %v", cfg.Warnings)
	}
	l, r, b := cfg.Listener("web"), cfg.Routes[0], cfg.Backend("app")
	for _, tc := range []struct {
		name      string
		got, want any
	}{
		{"header", l.Timeouts.Header, 10 * time.Second},
		{"body progress", l.Timeouts.Body, 30 * time.Second},
		{"idle", l.Timeouts.Idle, time.Minute},
		{"write", l.Timeouts.Write, 30 * time.Second},
		{"headers", l.Limits.Headers, Size(64 << 10)},
		{"body limit", l.Limits.Body, Size(1 << 30)},
		{"connections", l.Limits.Connections, 65536},
		{"upgrade", strings.Join(l.Upgrade, ","), "websocket"},
		{"trailers", len(l.Trailers), 0},
		{"slashes", l.Paths.Slashes, SlashesMerge},
		{"strict", l.Strict, StrictEnforce},
		{"forwarded", l.Forwarded, ForwardedX},
		{"route", r.Name + " " + r.Match.Path + " " + r.Backend, "all /* app"},
		{"route timeout", r.Timeout, time.Duration(0)},
		{"algorithm", b.Balance.Algorithm, BalanceLeastRequest},
		{"endpoints", len(b.Endpoints), 2},
		{"weight", b.Endpoints[1].Weight, 1},
		{"port", b.Endpoints[1].Address.Port(), uint16(9002)},
		{"connect", b.Timeouts.Connect, time.Second},
		{"first byte", b.Timeouts.FirstByte, 30 * time.Second},
		{"backend idle", b.Timeouts.Idle, 5 * time.Minute},
		{"attempts", b.Retries.Attempts, 1},
		{"on", fmt.Sprint(b.Retries.On), fmt.Sprint([]RetryCause{{Word: RetryConnect}, {Word: RetryReset}})},
		{"budget", b.Retries.Budget, Share(0.2)},
		{"floor", b.Retries.Floor, 3},
		{"outlier", b.Health.Outlier, Outlier{Consecutive: 5, Window: 10 * time.Second, MinRequests: 20, Eject: 10 * time.Second, MaxEjected: 0.5}},
		{"active", b.Health.Active, (*ActiveHealth)(nil)},
		{"panic", b.Panic, Share(0.5)},
		{"admin", cfg.Admin, (*Admin)(nil)},
		{"drain", cfg.Shutdown, Shutdown{Timeout: 30 * time.Second}},
		{"problem type", cfg.Problems.Type, "about:blank"},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, tc.got, tc.want)
		}
	}
}

func TestPoliciesAreResolved(t *testing.T) {
	cfg := accept(t, head+`
policies:
  tag: {request: {headers: {set: {X-A: b}}}}
routes:
  - match: {path: /a}
    policies: [tag, {request: {}}, {test: 5}, {request: {}}, {response: {}}]
    respond: {}
  - match: {path: /b}
    policies: [tag, {test: {}}]
    respond: {}
`)
	var names []string
	for _, p := range cfg.Routes[0].Policies {
		names = append(names, fmt.Sprintf("%s/%s/%v", p.Name, p.Kind, p.InPlace))
	}
	want := "tag/request/false request#2/request/true test/test/true request#4/request/true response/response/true"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("policies are %s, want %s", got, want)
	}
	if cfg.Routes[0].Policies[0] != cfg.Policies[0] || cfg.Routes[1].Policies[0] != cfg.Policies[0] {
		t.Error("a named policy is not one value for all its routes")
	}
	if o, ok := cfg.Routes[0].Policies[2].Options.(*limitOptions); !ok || o.Rate != 5 {
		t.Errorf("short form: %#v", cfg.Routes[0].Policies[2].Options)
	}
	if o, ok := cfg.Routes[1].Policies[1].Options.(*limitOptions); !ok || o.Rate != 3 {
		t.Errorf("default: %#v", cfg.Routes[1].Policies[1].Options)
	}
	if got := cfg.Policies[0].Options.(*requestOptions).Headers.Set[0]; got.Name != "X-A" || got.Value != "b" || got.Pos.Line != 5 {
		t.Errorf("pair: %+v", got)
	}
}

func TestFileOrderIsKept(t *testing.T) {
	cfg := accept(t, `
version: 1
listeners: {zz: {address: ":1", protocol: http}, aa: {address: ":2", protocol: http}, mm: {address: ":3", protocol: http}}
backends: {z: {endpoints: ["h:1"]}, a: {endpoints: ["h:1"]}}
`)
	var got []string
	for _, l := range cfg.Listeners {
		got = append(got, l.Name)
	}
	for _, b := range cfg.Backends {
		got = append(got, b.Name)
	}
	if s := strings.Join(got, " "); s != "zz aa mm z a" {
		t.Errorf("order is %s", s)
	}
}

func TestErrorsAreSortedAndComplete(t *testing.T) {
	errs := refuse(t, "routes: [{backend: x}]\nlisteners: {b: {address: 1, protocol: y}, a: {}}\nadmin: {x: 1}\n")
	for i := 1; i < len(errs); i++ {
		a, b := errs[i-1], errs[i]
		if a.Line > b.Line || a.Line == b.Line && a.Column > b.Column {
			t.Errorf("%d:%d stands before %d:%d", a.Line, a.Column, b.Line, b.Column)
		}
	}
	if len(errs) != 8 {
		t.Errorf("%d errors, want 8:\n%v", len(errs), errs)
	}
}

func TestManyErrorsAreBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString(head + "routes:\n")
	for range 3 * maxErrors {
		b.WriteString("  - {nmae: x, respond: {}}\n")
	}
	errs := refuse(t, b.String())
	if len(errs) != maxErrors || !strings.Contains(errs[maxErrors-1].Message, "more errors)") {
		t.Errorf("%d errors, the last %q", len(errs), errs[len(errs)-1].Message)
	}
}

func TestTooLarge(t *testing.T) {
	big := append([]byte(head+"# "), bytes.Repeat([]byte("x"), MaxFile)...)
	_, err := Load("x.yaml", big, testOptions())
	if err == nil || !strings.Contains(err.Error(), "x.yaml:1:1: the file has more than 16 MiB") {
		t.Errorf("Load: %v", err)
	}
	name := filepath.Join(t.TempDir(), "big.yaml")
	if err := os.WriteFile(name, big, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(name, testOptions()); err == nil || !strings.Contains(err.Error(), "more than 16 MiB") {
		t.Errorf("Read: %v", err)
	}
	if _, err := Read(name+"x", testOptions()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Read of nothing: %v", err)
	}
	if _, err := Load("x.yaml", append([]byte(head+"# "), bytes.Repeat([]byte("x"), MaxFile-len(head)-2)...), testOptions()); err != nil {
		t.Errorf("exactly 16 MiB: %v", err)
	}
}

func TestCheckFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.pem"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	text := []byte("version: 1\nlisteners:\n  web: {address: \":1\", protocol: https, tls: {certificates: [{cert: a.pem, key: a.key}, {cert: ., key: a.pem}]}}\n")
	file := filepath.Join(dir, "x.yaml")
	o := testOptions()
	if _, err := Load(file, text, o); err != nil {
		t.Fatalf("without the check: %v", err)
	}
	o.CheckFiles = true
	_, err := Load(file, text, o)
	var errs Errors
	if !errors.As(err, &errs) || len(errs) != 2 {
		t.Fatalf("with the check: %v", err)
	}
	if e := errs[0]; e.Line != 3 || e.Column != 81 || !strings.Contains(e.Message, "a.key") || !strings.HasSuffix(e.Message, "the file does not exist") {
		t.Errorf("first: %v", e)
	}
	if e := errs[1]; !strings.HasSuffix(e.Message, "is a directory") {
		t.Errorf("second: %v", e)
	}
}

func TestOutsideValues(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"word": "open sesame\r\n", "two-lines": "a\nb\n\n", "binary": "\xff", "empty": "", "big": strings.Repeat("x", maxOutside+1)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	o := testOptions()
	o.Getenv = func(name string) (string, bool) {
		v, ok := map[string]string{"PORT": "9000", "N": "7", "D": "5s", "EMPTY": "", "DOLLAR": "$"}[name]
		return v, ok
	}
	load := func(text string) (*Config, error) {
		return Load(filepath.Join(dir, "x.yaml"), []byte(text), o)
	}
	cfg, err := load(`
version: 1
listeners: {web: {address: "127.0.0.1:${env:PORT}", protocol: http, timeouts: {idle: "${env:D}"}, limits: {header_count: "${env:N}"}}}
routes:
  - {match: {path: /1}, respond: {text: "<${file:word}|${file:two-lines}|${file:empty}${env:EMPTY}|${env:DOLLAR}|${request.path}>"}}
  - {match: {path: /2}, respond: {json: {a: ["${file:word}"]}}}
`)
	if err != nil {
		t.Fatal(err)
	}
	if l := cfg.Listeners[0]; l.Address != "127.0.0.1:9000" || l.Timeouts.Idle != 5*time.Second || l.Limits.HeaderCount != 7 {
		t.Errorf("listener: %+v", l)
	}
	if got, want := *cfg.Routes[0].Respond.Text, "<open sesame|a\nb\n||$|${request.path}>"; got != want {
		t.Errorf("text %q, want %q", got, want)
	}
	if got, want := string(cfg.Routes[1].Respond.JSON), `{"a":["open sesame"]}`; got != want {
		t.Errorf("json %s, want %s", got, want)
	}
	for name, want := range map[string]string{
		"${file:binary}": "not UTF-8", "${file:big}": "more than 1048576 bytes", "${file:.}": "not a regular file", "${file:none}": "does not exist",
		"${env:NONE}": "no such variable", "${file:}": "the name is missing", "a${env:N": "no closing brace",
	} {
		_, err := load(head + "routes: [{respond: {text: \"" + name + "\"}}]\n")
		var errs Errors
		if !errors.As(err, &errs) || len(errs) != 1 || errs[0].Line != 3 || errs[0].Column != 27 || !strings.Contains(errs[0].Message, want) {
			t.Errorf("%s: %v, want %q at 3:27", name, err, want)
		}
	}
}

func TestOutsideIsBounded(t *testing.T) {
	o := testOptions()
	o.Getenv = func(name string) (string, bool) {
		if name == "BIG" {
			return strings.Repeat("x", maxOutside), true
		}
		return "x", true
	}
	for _, tc := range []struct {
		reference string
		count     int
		want      string
	}{
		{"${env:SMALL}", maxReferences, ""},
		{"${env:SMALL}", maxReferences + 1, "more than 1000 references"},
		{"${env:BIG}", 17, ""},
		{"${env:BIG}", 18, "all references together have more than 16 MiB"},
	} {
		text := head + "routes:\n" + strings.Repeat("  - {respond: {text: \""+tc.reference+"\"}}\n", tc.count)
		_, err := Load("x.yaml", []byte(text), o)
		if (err != nil) != (tc.want != "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%d times %s: %.300v, want %q", tc.count, tc.reference, err, tc.want)
		}
	}
}

// TestValuesFromOutsideAreNeverPrinted lets later stages complain about such values in every way.
func TestValuesFromOutsideAreNeverPrinted(t *testing.T) {
	o := testOptions()
	o.Getenv = func(string) (string, bool) { return "Hunter2-\"pass\"", true }
	cfg, err := Load("x.yaml", []byte(head+"routes: [{respond: {text: \"Bearer ${env:TOKEN}\"}}]\n"), o)
	if err != nil {
		t.Fatal(err)
	}
	text := cfg.Routes[0].Respond.Text
	r := cfg.Reporter()
	r.Add(r.At(text), "cannot use %s", *text)
	r.AddSuggest(r.At(cfg.Routes[0]), "did you mean "+*text, "cannot parse %q", *text)
	r.Add(Pos{1, 1}, "wrapped: %v", fmt.Errorf("parse %q: bad", *text))
	r.Add(Pos{2, 1}, "lower case %s", strings.ToLower(*text))
	out := r.Err().Error()
	for _, secret := range []string{"unter2", "pass"} {
		if strings.Contains(out, secret) {
			t.Errorf("the value is in the text:\n%s", out)
		}
	}
	if !strings.Contains(out, "${env:TOKEN}") {
		t.Errorf("the reference is not in the text:\n%s", out)
	}
}

func TestJSONKeepsOrderAndDigits(t *testing.T) {
	for _, tc := range []struct{ yaml, want string }{
		{`{b: 1, a: 2}`, `{"b":1,"a":2}`},
		{`1.10`, `1.10`},
		{`1e400`, `1e400`},
		{`123456789012345678901234567890`, `123456789012345678901234567890`},
		{`0x1F`, `31`},
		{`0o17`, `15`},
		{`+5`, `5`},
		{`.5`, `0.5`},
		{`-0.0`, `-0.0`},
		{`~`, `null`},
		{`yes`, `"yes"`},
		{`"<&>"`, `"<&>"`},
		{`"\u2028"`, `"\u2028"`},
		{`2026-01-01`, `"2026-01-01"`},
		{`[{}, [], ""]`, `[{},[],""]`},
		{`{1: a, true: b}`, `{"1":"a","true":"b"}`},
	} {
		cfg := accept(t, head+"routes: [{respond: {json: "+tc.yaml+"}}]\n")
		if got := string(cfg.Routes[0].Respond.JSON); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.yaml, got, tc.want)
		}
	}
}

// TestManyRoutes holds the places and warnings of a large file.
func TestManyRoutes(t *testing.T) {
	const n = 10_000
	cfg := accept(t, manyRoutes(n))
	if len(cfg.Routes) != n || cfg.Routes[n-1].Pos.Line != n+4 || len(cfg.Warnings) != 0 {
		t.Errorf("%d routes, %d warnings", len(cfg.Routes), len(cfg.Warnings))
	}
}
