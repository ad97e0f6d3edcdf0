package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/leak"
	"github.com/sluice-gateway/sluice/message"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestPageIsUpToDate(t *testing.T) {
	want, err := page(root)
	if err != nil {
		t.Fatal(err)
	}
	have, err := os.ReadFile(output)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, want) {
		t.Error("docs/reasons.md is not what message/reason.go says: run go generate ./docs/gen")
	}
	for r := range message.Reasons {
		if n := strings.Count(string(want), "\n| `"+r.String()+"` | "); n != 1 {
			t.Errorf("%s stands in %d rows", r, n)
		}
	}
}

// TestSides compares the sides of the page with those that the code gives.
func TestSides(t *testing.T) {
	groups, err := groupsOf(root + "/message/reason.go")
	if err != nil {
		t.Fatal(err)
	}
	used, err := scan(root)
	if err != nil {
		t.Fatal(err)
	}
	r, compared := message.ReasonNone, 0
	for _, g := range groups {
		for _, ident := range g.idents {
			r++
			for _, side := range used[ident].sides {
				compared++
				if !strings.Contains(sides[r], side) {
					t.Errorf("%s: the page says %s, the code has a failure of the side %s: correct docs/gen/main.go or the failure", r, sides[r], side)
				}
			}
		}
	}
	if compared < 5 {
		t.Errorf("only %d failures of the code were found: the search is broken", compared)
	}
}
