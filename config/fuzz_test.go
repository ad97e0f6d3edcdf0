package config

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// FuzzLoad feeds any text. Load must end, not panic, and either return a Config or errors that each have a place in the text.
func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"testdata/good/*.yaml", "testdata/bad/*.yaml"} {
		names, err := os.ReadDir(strings.TrimSuffix(pattern, "/*.yaml"))
		if err != nil {
			f.Fatal(err)
		}
		for _, n := range names {
			if !strings.HasSuffix(n.Name(), ".yaml") {
				continue
			}
			data, err := os.ReadFile(strings.TrimSuffix(pattern, "*.yaml") + n.Name())
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	o := testOptions()
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 64<<10 {
			return
		}
		cfg, err := Load("x.yaml", data, o)
		if err == nil {
			if cfg == nil || cfg.Version != 1 || len(cfg.Listeners) == 0 {
				t.Fatalf("accepted as %+v", cfg)
			}
			for _, r := range cfg.Routes {
				if r.Name == "" || !strings.HasPrefix(r.Match.Path, "/") {
					t.Fatalf("route %+v", r)
				}
			}
			return
		}
		var errs Errors
		if !errors.As(err, &errs) || len(errs) == 0 || len(errs) > maxErrors || cfg != nil {
			t.Fatalf("Load = %v, %v", cfg, err)
		}
		for _, e := range errs {
			if e.Line < 1 || e.Column < 1 || e.Message == "" || strings.ContainsAny(e.Source+e.Suggestion, "\n\r\x00\x1b") {
				t.Fatalf("error %+v", e)
			}
		}
	})
}
