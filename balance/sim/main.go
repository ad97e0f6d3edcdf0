// Command sim compares the balancing algorithms by simulation, and writes the tables and plots of docs/balancing.md. It simulates endpoints with
// queues, and the requests to them; what picks is the pickers of the package balance as they are.
//
// Everything is drawn from fixed seeds, and all algorithms see the same requests at the same moments with the same work: the same program writes
// the same files again. The tests hold the simulator against the closed forms of queueing theory first.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("sim: ")
	docs := flag.String("docs", "docs", "the folder that has balancing.md")
	flag.Parse()
	if err := write(*docs); err != nil {
		log.Fatal(err)
	}
}

// write runs all comparisons and puts their results into the page and the plots.
func write(docs string) error {
	path := filepath.Join(docs, "balancing.md")
	page, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	images := filepath.Join(docs, "balancing")
	if err := os.MkdirAll(images, 0o755); err != nil {
		return err
	}
	for _, c := range comparisons {
		log.Print(c.name)
		table, plots := c.run()
		if page, err = fill(page, c.name, table); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		for _, p := range plots {
			if err := os.WriteFile(filepath.Join(images, p.name+".svg"), p.draw(), 0o644); err != nil {
				return err
			}
		}
	}
	return os.WriteFile(path, page, 0o644)
}

// comparison is one part of the page: a table, and plots beside it.
type comparison struct {
	name string
	run  func() (table string, plots []plot)
}

// comparisons are in the order of the page. Read-only.
var comparisons = []comparison{
	{"theory", theory},
	{"homogeneous", homogeneous},
	{"mixed-work", mixedWork},
	{"heterogeneous", heterogeneous},
	{"one-slow", oneSlow},
	{"one-failing", oneFailing},
	{"ramp", ramp},
	{"several-proxies", severalProxies},
	{"hot-keys", hotKeys},
	{"keys", keysMoved},
}
