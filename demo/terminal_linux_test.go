package demo

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal returns one side of a pseudo-terminal of 100 columns and 30 rows, whose size can be asked for like the other's.
func terminal(t *testing.T) *os.File {
	t.Helper()
	f, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatalf("no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { _ = f.Close() })
	if err := unix.IoctlSetWinsize(int(f.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: 100, Row: 30}); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestTerminal(t *testing.T) {
	file := terminal(t)
	for _, test := range []struct {
		name            string
		env             func(string) string
		redraws, colour bool
	}{
		{"colours", env("TERM", "xterm"), true, true},
		{"NO_COLOR", env("TERM", "xterm", "NO_COLOR", "1"), true, false},
		{"empty NO_COLOR", env("TERM", "xterm", "NO_COLOR", ""), true, true},
		{"dumb", env("TERM", "dumb"), false, false},
		{"no TERM", env(), false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if s := newScreen(file, test.env); (s.file != nil) != test.redraws || s.colour != test.colour {
				t.Errorf("redraws %t with colours %t, want %t and %t", s.file != nil, s.colour, test.redraws, test.colour)
			}
		})
	}
	if width, height, ok := terminalSize(file); width != 100 || height != 30 || !ok {
		t.Errorf("size %d x %d, %t; want 100 x 30", width, height, ok)
	}
}

func TestRedraw(t *testing.T) {
	var b bytes.Buffer
	s := &screen{out: &b, file: terminal(t)}
	f := sample()
	for _, err := range []error{s.begin(f), s.show(f), s.end(f)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	p := picture(f, 100, 30, false)
	if want := enterScreen + p + p + leaveScreen + summary(f); b.String() != want {
		t.Errorf("wrote %q", b.String())
	}
	b.Reset()
	if err := s.end(nil); err != nil || !strings.HasSuffix(b.String(), leaveScreen) {
		t.Errorf("without a summary the terminal is left with %q, %v", b.String(), err)
	}
}
