package metric

import (
	"os"
	"testing"
)

func TestProcessLinux(t *testing.T) {
	var before, after readings
	readProcess(&before)
	for _, id := range []ID{ProcessCPU, ProcessOpenFDs, ProcessMaxFDs, ProcessResident, ProcessVirtual} {
		if !before[id].known || before[id].value < 0 {
			t.Errorf("%s is %+v", table[id].name, before[id])
		}
	}
	if before[ProcessResident].value < 1<<20 || before[ProcessResident].value > before[ProcessVirtual].value {
		t.Errorf("resident %g, virtual %g", before[ProcessResident].value, before[ProcessVirtual].value)
	}
	const more = 50
	for range more {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
	}
	readProcess(&after)
	// Other descriptors may come and go meanwhile, but not so many.
	if d := after[ProcessOpenFDs].value - before[ProcessOpenFDs].value; d < more-10 || d > more+10 {
		t.Errorf("open descriptors grew by %g, want about %d", d, more)
	}
}
