package message

import "testing"

// shelf is a keeper that counts what it keeps.
type shelf struct{ kept, forgot int }

func (s *shelf) Forget(*Bindings) { s.kept, s.forgot = 0, s.forgot+1 }

func TestBindings(t *testing.T) {
	var none *Bindings
	var b Bindings
	if none.Any() || b.Any() {
		t.Error("nothing was bound")
	}
	shelves := make([]shelf, maxKeepers+1)
	for i := range shelves {
		for range 2 { // twice is once
			if !b.Bind(&shelves[i]) {
				t.Fatalf("keeper %d was refused", i)
			}
		}
		shelves[i].kept = 1
	}
	for i := range shelves {
		if want := min(i, 1); shelves[i].kept != want {
			t.Errorf("keeper %d keeps %d, want %d: the first has to make room for the last", i, shelves[i].kept, want)
		}
	}
	if !b.Any() {
		t.Error("something was bound")
	}
	b.Close()
	b.Close()
	for i := range shelves {
		if shelves[i].kept != 0 || shelves[i].forgot != 1 {
			t.Errorf("keeper %d keeps %d and has forgotten %d times", i, shelves[i].kept, shelves[i].forgot)
		}
	}
	if b.Any() || b.Bind(&shelves[0]) {
		t.Error("something was bound to a connection that has ended")
	}
}
