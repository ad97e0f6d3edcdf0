// Package bad is what go vet and staticcheck must find fault with; the tests of lint show that they do.
package bad

import "fmt"

func unused() {}

// Print has a verb too many.
func Print() { fmt.Printf("%d\n") }
