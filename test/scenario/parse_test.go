package scenario

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// scenario is one file.
type scenario struct {
	file    string
	configs map[string]string         // by name, "" is the first
	origins map[string]map[int][]step // by name, then by the number of the connection from which on the script holds
	names   []string                  // of the origins, in the order of the file
	clients []script
}

// script is what one client does.
type script struct {
	name  string
	steps []step
}

// step is one command.
type step struct {
	line int
	word string
	args []string
}

var sectionLine = regexp.MustCompile(`^(config|origin|client)((?: \w+)*):$`)

// parse reads the text of a scenario.
func parse(file, text string) (*scenario, error) {
	s := &scenario{file: file, configs: map[string]string{}, origins: map[string]map[int][]step{}}
	fail := func(n int, format string, args ...any) error {
		return fmt.Errorf("%s:%d: %s", file, n, fmt.Sprintf(format, args...))
	}
	var add func(n int, line string) error // to the section that was begun last
	for i, line := range strings.Split(text, "\n") {
		n := i + 1
		m := sectionLine.FindStringSubmatch(line)
		switch {
		case m != nil:
			var err error
			if add, err = s.section(m[1], strings.Fields(m[2])); err != nil {
				return nil, fail(n, "%v", err)
			}
		case strings.TrimSpace(line) == "", strings.HasPrefix(line, "#"):
		case add == nil || line[0] != ' ':
			return nil, fail(n, "%q is neither a section nor in one", line)
		default:
			if err := add(n, line); err != nil {
				return nil, fail(n, "%v", err)
			}
		}
	}
	if len(s.clients) == 0 {
		return nil, fmt.Errorf("%s: there is no client", file)
	}
	for _, c := range s.clients {
		if n := unbalanced(c.steps); n != 0 {
			return nil, fail(n, "loop and done do not fit")
		}
	}
	return s, nil
}

// section begins a section and returns what takes its lines.
func (s *scenario) section(kind string, args []string) (func(n int, line string) error, error) {
	switch {
	case kind == "config" && len(args) < 2:
		name := strings.Join(args, "")
		if _, twice := s.configs[name]; twice {
			return nil, fmt.Errorf("there are two of these")
		}
		s.configs[name] = ""
		return func(_ int, line string) error {
			s.configs[name] += line + "\n"
			return nil
		}, nil
	case kind == "origin" && (len(args) == 1 || len(args) == 2):
		from := 1
		if len(args) == 2 {
			var err error
			if from, err = strconv.Atoi(args[1]); err != nil || from < 1 {
				return nil, fmt.Errorf("%q is no number of a connection", args[1])
			}
		}
		name := args[0]
		if s.origins[name] == nil {
			s.origins[name] = map[int][]step{}
			s.names = append(s.names, name)
		}
		s.origins[name][from] = []step{}
		return func(n int, line string) error {
			st, err := command(n, line, originCommands)
			s.origins[name][from] = append(s.origins[name][from], st)
			return err
		}, nil
	case kind == "client" && len(args) == 1:
		s.clients = append(s.clients, script{name: args[0]})
		at := len(s.clients) - 1
		return func(n int, line string) error {
			st, err := command(n, line, clientCommands)
			s.clients[at].steps = append(s.clients[at].steps, st)
			return err
		}, nil
	}
	return nil, fmt.Errorf("a section is: config [NAME], origin NAME [CONNECTION], or client NAME")
}

// command reads one line.
func command(n int, line string, known []string) (step, error) {
	words, err := split(line)
	if err != nil {
		return step{}, err
	}
	st := step{line: n, word: words[0], args: words[1:]}
	if !slices.Contains(known, st.word) {
		return st, fmt.Errorf("%q is no command here", st.word)
	}
	if st.word == "loop" {
		if _, err := strconv.Atoi(strings.Join(st.args, " ")); err != nil {
			return st, fmt.Errorf("loop needs a number")
		}
	}
	return st, nil
}

// split cuts a line into words; a word in quotes is a Go string.
func split(line string) (words []string, err error) {
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimSpace(line) {
		if line[0] != '"' {
			word, rest, _ := strings.Cut(line, " ")
			words, line = append(words, word), rest
			continue
		}
		quoted, err := strconv.QuotedPrefix(line)
		if err != nil {
			return nil, fmt.Errorf("a string without its end: %s", line)
		}
		word, err := strconv.Unquote(quoted)
		if err != nil {
			return nil, err
		}
		words, line = append(words, word), line[len(quoted):]
	}
	return words, nil
}

// unbalanced returns the line of a loop or done without its other half, or 0.
func unbalanced(steps []step) int {
	var open []int
	for _, st := range steps {
		switch {
		case st.word == "loop":
			open = append(open, st.line)
		case st.word == "done" && len(open) == 0:
			return st.line
		case st.word == "done":
			open = open[:len(open)-1]
		}
	}
	if len(open) > 0 {
		return open[0]
	}
	return 0
}
