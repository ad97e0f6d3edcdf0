package lint

import (
	"sync"
	"testing"

	"github.com/sluice-gateway/sluice/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// house loads the repository once for all tests of this package.
var house = sync.OnceValues(func() (*tree, error) {
	root, err := findRoot()
	if err != nil {
		return nil, err
	}
	return loadTree(root)
})

// TestHouse applies every rule to the repository.
func TestHouse(t *testing.T) {
	tree, err := house()
	if err != nil {
		t.Fatal(err)
	}
	if len(tree.gos) == 0 {
		t.Fatal("no Go files found: the rules looked at nothing")
	}
	byRule := make(map[string][]finding)
	for _, f := range run(tree) {
		byRule[f.rule] = append(byRule[f.rule], f)
	}
	for _, rule := range append(ruleNames(), "allow") {
		t.Run(rule, func(t *testing.T) {
			for _, f := range byRule[rule] {
				t.Error(f)
			}
		})
		delete(byRule, rule)
	}
	for rule := range byRule {
		t.Errorf("findings under %q, which is no rule's name: %v", rule, byRule[rule])
	}
}

func ruleNames() []string {
	var names []string
	for _, r := range goRules {
		names = append(names, r.name)
	}
	for _, r := range treeRules {
		names = append(names, r.name)
	}
	return names
}
