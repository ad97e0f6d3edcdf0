// Package scenario runs scripts: one file holds a configuration, what the endpoints do and what the clients do, in the way of HAProxy's VTest. README.md tells
// the commands.
package scenario

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios (%v)", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s, err := parse(file, string(text))
			if err != nil {
				t.Fatal(err)
			}
			s.run(t)
		})
	}
}

func TestParse(t *testing.T) {
	const good = "# about\nconfig:\n  version: 1\norigin a:\n  recv\n  answer 200 \"b c\" \"X: y\"\norigin a 2:\n  close\nclient c:\n  get /\n  loop 2\n    recv\n  done\n"
	s, err := parse("x.txt", good)
	if err != nil {
		t.Fatal(err)
	}
	if s.configs[""] != "  version: 1\n" || len(s.origins["a"]) != 2 || len(s.clients) != 1 || len(s.clients[0].steps) != 4 {
		t.Errorf("parsed %+v", s)
	}
	if step := s.origins["a"][1][1]; step.word != "answer" || len(step.args) != 3 || step.args[1] != "b c" || step.line != 6 {
		t.Errorf("parsed the step %+v", step)
	}
	for _, c := range []struct{ text, want string }{
		{"config\n", "x.txt:1"},
		{"  recv\n", "x.txt:1"},
		{"client c:\n  recv\n  nothing\n", "x.txt:3"},
		{"origin a:\n  get /\n", "x.txt:2"},
		{"origin a x:\n", "x.txt:1"},
		{"client c:\n  send \"a\n", "x.txt:2"},
		{"client c:\n  loop 2\n  recv\n", "x.txt:2"},
		{"client c:\n  done\n", "x.txt:2"},
		{"client c:\n  loop x\n  done\n", "x.txt:2"},
		{"config:\n  a: b\n", "no client"},
		{"config:\nconfig:\n", "x.txt:2"},
	} {
		if _, err := parse("x.txt", c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v, want one with %s", c.text, err, c.want)
		}
	}
}
