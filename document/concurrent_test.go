package document

import (
	"sync"
	"testing"
)

// TestShared reads, changes and merges the same documents in several goroutines at once.
func TestShared(t *testing.T) {
	text := ordinary(5000)
	v := Of(text)
	edit, err := NewEdit(first3(parseChanges(t, `account>owner.account -owner.since transactions.3.a.b=1`)))
	if err != nil {
		t.Fatal(err)
	}
	values := [][]byte{[]byte(`{"x":1}`)}
	wantEdit, err := edit.Append(nil, v, values)
	if err != nil {
		t.Fatal(err)
	}
	wantMerge, err := AppendMerged(nil, Deep, v, Of(wantEdit))
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			var edited, merged []byte
			for range 50 {
				if _, err := Parse(text, Limits{Duplicates: true}); err != nil {
					t.Error(err)
				}
				edited, err := edit.Append(edited[:0], v, values)
				if err != nil || string(edited) != string(wantEdit) {
					t.Errorf("%s, %v", edited, err)
				}
				merged, err = AppendMerged(merged[:0], Deep, v, Of(edited))
				if err != nil || string(merged) != string(wantMerge) {
					t.Errorf("%s, %v", merged, err)
				}
			}
		})
	}
	all.Wait()
}
