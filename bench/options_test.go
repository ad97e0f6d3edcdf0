package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/bench/peer"
)

func TestParseOptions(t *testing.T) {
	cases := []struct {
		args string
		fail string // part of the error; empty: accepted
	}{
		{"", ""},
		{"-quick -only small,idle -peers sluice,nginx-log -cpus 0,1", ""},
		{"-cpus 0,1,2", ""},
		{"-only tcp-bulk,tcp-rr,tcp-connections,udp,pick", ""},
		{"-rows ^(jwt|compose)", ""},
		{"-only small -rows cache -keys 5000", ""},
		{"-rows tiny", `"tiny" matches none`},
		{"-rows (", "-rows"},
		{"-keys 10", "-keys 10"},
		{"-only tiny", `"tiny" is not known`},
		{"-peers apache", `"apache" is not known`},
		{"-peers nginx,nginx", "twice"},
		{"-peers ,", "names no proxy"},
		{"-cpus 0", "2 or 3"},
		{"-cpus 1,1", "different"},
		{"-cpus a,b", "different"},
		{"-rounds 0", "-rounds 0"},
		{"-seconds 1000", "-seconds 1000"},
		{"-idle 1", "-idle 1"},
		{"-routes 1000000", "-routes"},
		{"more", `"more"`},
		{"-nonsense", "nonsense"},
	}
	for _, c := range cases {
		var out bytes.Buffer
		_, err := parseOptions(strings.Fields(c.args), &out)
		switch {
		case c.fail == "" && err != nil:
			t.Errorf("%q: %v", c.args, err)
		case c.fail != "" && (err == nil || !strings.Contains(err.Error(), c.fail)):
			t.Errorf("%q: error %v, want one with %q", c.args, err, c.fail)
		}
	}
}

func TestQuickLeavesGivenFlagsAlone(t *testing.T) {
	o, err := parseOptions([]string{"-quick", "-rounds", "7"}, &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	if o.rounds != 7 || o.measure() != time.Second || o.idle != 2000 || o.keys != 200000 {
		t.Errorf("rounds %d, measure %v, idle %d, keys %d", o.rounds, o.measure(), o.idle, o.keys)
	}
	if !slices.Equal(o.peers, []peer.Kind{peer.NGINX, peer.HAProxy, peer.ReverseProxy, peer.Sluice}) {
		t.Errorf("peers %v", o.peers)
	}
}

func TestRowsAreChosenByNameAndByExpression(t *testing.T) {
	o, err := parseOptions([]string{"-only", "small", "-rows", "^(rate|compose)"}, &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range rowNames() {
		want := slices.Contains([]string{rowSmall, rowRateKeys, rowCompose, rowComposeHalf}, name)
		if o.wants(name) != want {
			t.Errorf("row %s: %v, want %v", name, !want, want)
		}
	}
}

func TestEveryRowHasATitleAndALine(t *testing.T) {
	o, err := parseOptions(nil, &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	lines := map[string]int{}
	for _, line := range tableLines(o) {
		lines[line.Row]++
		if !slices.Contains(rowNames(), line.Row) {
			t.Errorf("line %q belongs to no row", line.Title)
		}
	}
	for _, name := range rowNames() {
		if rowTitle(name) == "" || lines[name] == 0 || !o.wants(name) {
			t.Errorf("row %s: title %q, %d lines", name, rowTitle(name), lines[name])
		}
	}
	o.only = []string{rowIdle}
	if o.wants(rowSmall) || !o.wants(rowIdle) {
		t.Error("-only is not obeyed")
	}
}

func TestGroupThousands(t *testing.T) {
	for n, want := range map[int]string{7: "7", 999: "999", 10000: "10,000", 1002003: "1,002,003"} {
		if got := groupThousands(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
}
