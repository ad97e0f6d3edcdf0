package demo

import (
	"io"
	"os"
	"strings"
)

// screen is where frames are shown. One goroutine uses it: begin, show any number of times, end.
type screen struct {
	out    io.Writer
	file   *os.File // the terminal that is redrawn in place; nil for one line after the other
	colour bool
}

// newScreen looks at what out is. A terminal is redrawn in place unless TERM says that it cannot, with colours unless NO_COLOR is set
// to something (no-color.org).
func newScreen(out io.Writer, getenv func(string) string) *screen {
	s := &screen{out: out}
	file, ok := out.(*os.File)
	if !ok || getenv("TERM") == "" || getenv("TERM") == "dumb" {
		return s
	}
	if _, _, ok := terminalSize(file); ok {
		s.file, s.colour = file, getenv("NO_COLOR") == ""
	}
	return s
}

// Sequences of ECMA-48 and xterm. The alternate screen keeps what stood in the terminal, and a resize cannot garble it.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l" // alternate screen, no cursor
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	home        = "\x1b[H"
	clearLine   = "\x1b[K" // before the text: after a line that fills the width it would eat the last character
	clearBelow  = "\x1b[J"
)

// begin shows the first frame.
func (s *screen) begin(f *frame) error {
	if s.file == nil {
		return s.write(greeting(f))
	}
	if err := s.write(enterScreen); err != nil {
		return err
	}
	return s.show(f)
}

// show shows a frame.
func (s *screen) show(f *frame) error {
	if s.file == nil {
		return s.write(plainLine(f))
	}
	width, height, ok := terminalSize(s.file)
	if !ok || width == 0 || height == 0 {
		width, height = 80, 24
	}
	return s.write(picture(f, width, height, s.colour))
}

// picture is what has to be written to a terminal of the given size to show a frame.
func picture(f *frame, width, height int, colour bool) string {
	var b strings.Builder
	b.WriteString(home)
	for i, l := range layout(f, width, height) {
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString(clearLine)
		l.write(&b, width, colour)
	}
	b.WriteString(clearBelow)
	return b.String()
}

// end gives the terminal back and shows what remains of the run; with f nil nothing does.
func (s *screen) end(f *frame) error {
	text := ""
	if s.file != nil {
		text = leaveScreen
	} else if f != nil {
		text = "\n"
	}
	if f != nil {
		text += summary(f)
	}
	return s.write(text)
}

func (s *screen) write(text string) error {
	_, err := io.WriteString(s.out, text)
	return err
}
