package config

import (
	"strings"
	"testing"
)

func TestPlaces(t *testing.T) {
	cfg := accept(t, `version: 1
listeners:
  web:
    address: ":8080"
    protocol: http
    timeouts:
      idle: 5s
    upgrade: [a, b]
    trusted_proxies: 10.0.0.0/8
routes:
  - match: {headers: {X-A: "1"}}
    respond:
      headers:
        X-B: two
    policies: [{test: {rate: 1}}]
backends:
  app: {endpoints: ["127.0.0.1:1", {weight: 2, address: "127.0.0.1:2"}], health: {active: /up}}
`)
	l, route, b := cfg.Listeners[0], cfg.Routes[0], cfg.Backends[0]
	r := cfg.Reporter()
	options := route.Policies[0].Options.(*limitOptions)
	for _, tc := range []struct {
		name string
		ptr  any
		want Pos
		set  bool
	}{
		{"a key", &l.Address, Pos{4, 14}, true},
		{"a struct", l, Pos{3, 3}, true},
		{"an absent key has the place of its struct", &l.Strict, Pos{3, 3}, false},
		{"a key of an inner struct", &l.Timeouts.Idle, Pos{7, 13}, true},
		{"an absent key of an inner struct", &l.Timeouts.Header, Pos{6, 5}, false},
		{"an absent struct", &l.Limits, Pos{3, 3}, false},
		{"an absent key of an absent struct", &l.Limits.Body, Pos{3, 3}, false},
		{"a list", &l.Upgrade, Pos{8, 14}, true},
		{"an entry of a list", &l.Upgrade[1], Pos{8, 18}, true},
		{"one value as a list", &l.TrustedProxies[0], Pos{9, 22}, true},
		{"a route", route, Pos{11, 5}, true},
		{"a pair", &route.Match.Headers[0], Pos{11, 23}, true},
		{"the value of a pair", &route.Match.Headers[0].Value, Pos{11, 28}, true},
		{"a pair on its own line", &route.Respond.Headers[0].Value, Pos{14, 14}, true},
		{"the name of a pair", &route.Respond.Headers[0].Name, Pos{14, 9}, false},
		{"an option of a policy", &options.Rate, Pos{15, 30}, true},
		{"options of a policy", options, Pos{15, 17}, true},
		{"an endpoint in short form", &b.Endpoints[0].Address, Pos{17, 21}, true},
		{"the weight of that", &b.Endpoints[0].Weight, Pos{17, 21}, false},
		{"an endpoint as a map", &b.Endpoints[1].Weight, Pos{17, 45}, true},
		{"a short form of a pointer", &b.Health.Active.HTTP, Pos{17, 91}, true},
		{"something else", new(int), Pos{}, false},
		{"no pointer", 5, Pos{}, false},
		{"nil", (*Route)(nil), Pos{}, false},
	} {
		if got, set := r.At(tc.ptr), r.Set(tc.ptr); got != tc.want || set != tc.set {
			t.Errorf("%s: %v, %v; want %v, %v", tc.name, got, set, tc.want, tc.set)
		}
	}
	if l.Pos != (Pos{3, 3}) || route.Pos != (Pos{11, 5}) || b.Endpoints[1].Pos != (Pos{17, 36}) {
		t.Errorf("Pos: %v, %v, %v", l.Pos, route.Pos, b.Endpoints[1].Pos)
	}
}

func TestReporter(t *testing.T) {
	cfg := accept(t, head)
	r := cfg.Reporter()
	if r.Err() != nil || len(r.Warnings()) != 0 {
		t.Fatal("a new reporter is not empty")
	}
	r.Add(Pos{2, 3}, "second %d", 2)
	r.AddSuggest(Pos{1, 1}, DidYouMean("vresion", []string{"version", "admin"}), "first")
	r.Add(Pos{2, 3}, "second %d", 2)
	r.Warn(Pos{9, 9}, "beyond the end")
	r.Warn(Pos{}, "nowhere")
	want := `x.yaml:1:1: first
  version: 1
  ^
  did you mean "version"?
x.yaml:2:3: second 2
  listeners: {web: {address: ":8080", protocol: http}}
    ^`
	if got := r.Err().Error(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := r.Warnings().Error(); got != "x.yaml:1:1: nowhere\n  version: 1\n  ^\nx.yaml:9:9: beyond the end" {
		t.Errorf("warnings:\n%s", got)
	}
	if other := cfg.Reporter(); other.Err() != nil {
		t.Error("two reporters share their errors")
	}
}

func TestExcerpt(t *testing.T) {
	long := strings.Repeat("a", 200) + "X" + strings.Repeat("b", 200)
	for _, tc := range []struct {
		line  string
		caret int
		want  string
		at    int
	}{
		{"abc", 1, "abc", 1},
		{"abc  ", 9, "abc", 5},
		{"abc", -1, "abc", 0},
		{"a\x1b[31m\x00", 2, "a?[31m?", 2},
		{"a\u202eb", 2, "a?b", 2},
		{"a\tb", 2, "a\tb", 2},
		{"é☃x", 2, "é☃x", 2},
		{long, 200, "…" + long[140:260] + "…", 61},
		{long, 0, long[:120] + "…", 0},
		{long, 400, "…" + long[281:], 120},
	} {
		if got, at := excerpt(tc.line, tc.caret); got != tc.want || at != tc.at {
			t.Errorf("%q at %d: %q at %d, want %q at %d", tc.line, tc.caret, got, at, tc.want, tc.at)
		}
	}
}

func TestDidYouMean(t *testing.T) {
	keys := []string{"address", "protocol", "timeouts", "trusted_proxies", "max_idle"}
	for _, tc := range []struct {
		word    string
		choices []string
		want    string
	}{
		{"adress", keys, `did you mean "address"?`},
		{"time-out", keys, `did you mean "timeouts"?`},
		{"TrustedProxies", keys, `did you mean "trusted_proxies"?`},
		{"trusted", keys, `did you mean "trusted_proxies"?`},
		{"portocol", keys, `did you mean "protocol"?`},
		{"xyz", keys, "known: address, protocol, timeouts, trusted_proxies, max_idle"},
		{"", keys, "known: address, protocol, timeouts, trusted_proxies, max_idle"},
		{"xyz", nil, ""},
		{"305", []string{"301", "302"}, "known: 301, 302"},
		{"xyz", strings.Fields(strings.Repeat("abcdefgh ", 25)), ""},
		{strings.Repeat("x", 10_000), keys, "known: address, protocol, timeouts, trusted_proxies, max_idle"},
	} {
		if got := DidYouMean(tc.word, tc.choices); got != tc.want {
			t.Errorf("%.20q: %q, want %q", tc.word, got, tc.want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"a", "", 1}, {"", "ab", 2}, {"abc", "abc", 0}, {"abc", "abd", 1}, {"abc", "acb", 1}, {"abc", "ab", 1}, {"kitten", "sitting", 3}, {"é", "e", 1},
	} {
		if got := distance(tc.a, tc.b); got != tc.want {
			t.Errorf("%q, %q: %d, want %d", tc.a, tc.b, got, tc.want)
		}
		if got := distance(tc.b, tc.a); got != tc.want {
			t.Errorf("%q, %q: %d, want %d", tc.b, tc.a, got, tc.want)
		}
	}
}
