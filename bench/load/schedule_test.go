package load

import (
	"testing"
	"time"
)

func TestScheduleKeepsItsRate(t *testing.T) {
	for _, rate := range []int{1, 3, 7, 1000, 27351, 999_999_937} {
		s, err := NewSchedule(rate)
		if err != nil {
			t.Fatal(err)
		}
		if s.At(0) != 0 {
			t.Errorf("rate %d: the first request is due at %v, want 0", rate, s.At(0))
		}
		if got := s.At(uint64(rate) * 3600); got != time.Hour {
			t.Errorf("rate %d: an hour's requests take %v", rate, got)
		}
		if got := s.Due(time.Second - 1); got != uint64(rate) {
			t.Errorf("rate %d: %d requests due within the first second", rate, got)
		}
	}
}

func TestScheduleDueIsTheInverseOfAt(t *testing.T) {
	s, err := NewSchedule(27351)
	if err != nil {
		t.Fatal(err)
	}
	for i := uint64(0); i < 5000; i++ {
		at := s.At(i)
		if got := s.Due(at); got != i+1 {
			t.Fatalf("at the due time of request %d (%v) %d are due, want %d", i, at, got, i+1)
		}
		if i > 0 {
			if got := s.Due(at - 1); got != i {
				t.Fatalf("1 ns before request %d %d are due, want %d", i, got, i)
			}
		}
	}
	if s.Due(-1) != 0 {
		t.Error("nothing is due before the start")
	}
	if s.At(1<<63) != 1<<63-1 {
		t.Error("a due time beyond the range must saturate")
	}
}

func TestScheduleRefusesRates(t *testing.T) {
	for _, rate := range []int{-1, 0, 1_000_000_001} {
		if _, err := NewSchedule(rate); err == nil {
			t.Errorf("rate %d was accepted", rate)
		}
	}
}
