package demo

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestReadmeOfTheBank sends what the curl lines of the README's section "The bank" say to a demonstration, and compares with what stands behind them.
func TestReadmeOfTheBank(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(readme), "\n## The bank\n")
	if ok {
		_, section, ok = strings.Cut(section, "```sh\n")
	}
	section, _, closed := strings.Cut(section, "```\n")
	if !ok || !closed {
		t.Fatal("README.md has no section \"The bank\" with lines to try")
	}
	ports := runForReaders(t)
	sh := &shell{variables: map[string]string{}}
	lines := 0
	for line := range strings.Lines(section) {
		line = strings.TrimSpace(line)
		words, wanted := sh.words(t, ports.Replace(line))
		switch {
		case len(words) == 0:
		case strings.HasPrefix(line, "bin/sluice demo"):
		case words[0] == "curl":
			lines++
			t.Run(strings.Join(strings.Fields(strings.SplitN(line, "#", 2)[0]), " "), func(t *testing.T) { tryLine(t, words[1:], wanted) })
		default:
			name, value, ok := strings.Cut(words[0], "=")
			if !ok || len(words) > 1 {
				t.Fatalf("the test does not understand %s", line)
			}
			sh.variables[name] = value
		}
	}
	if lines < 15 {
		t.Errorf("only %d lines were tried", lines)
	}
}

// runForReaders runs a demonstration without load or trouble until the test ends. It returns what replaces the addresses of bank.yaml by those that
// it says it has instead.
func runForReaders(t *testing.T) *strings.Replacer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), enough)
	o := testOptions(t, well)
	o.Rate, o.Interval = 0, time.Hour
	greeting := make(chan string, 1)
	o.Out = &watcher{see: func(text string) error {
		select {
		case greeting <- text:
		default: // the summary
		}
		return nil
	}}
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, o) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	var text string
	select {
	case text = <-greeting:
	case err := <-ended:
		ended <- nil
		t.Fatalf("the demonstration has ended: %v", err)
	}
	var pairs []string
	for _, m := range regexp.MustCompile(`(:\d+) is (:\d+)`).FindAllStringSubmatch(text, -1) {
		pairs = append(pairs, "127.0.0.1"+m[1], "127.0.0.1"+m[2])
	}
	if len(pairs) != 2*7 { // seven addresses of bank.yaml
		t.Fatalf("not all ports are told in\n%s", text)
	}
	return strings.NewReplacer(pairs...)
}

// shell understands as much of a shell as the README's lines need: quotes, variables, $(cat FILE), and comments.
type shell struct{ variables map[string]string }

var (
	commandInput = regexp.MustCompile(`^\$\(cat ([\w./-]+)\)`)
	variable     = regexp.MustCompile(`^\$([A-Z]+)`)
)

// words returns the words of a line, and the comment behind them.
func (sh *shell) words(t *testing.T, line string) (words []string, comment string) {
	t.Helper()
	var word strings.Builder
	inside, quote := false, byte(0)
	end := func() {
		if inside {
			words = append(words, word.String())
		}
		word.Reset()
		inside = false
	}
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case quote == 0 && c == ' ':
			end()
			continue
		case quote == 0 && c == '#' && !inside:
			return words, strings.TrimSpace(line[i+1:])
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote != 0 && c == quote:
			quote = 0
		case quote != '\'' && c == '$':
			n, text := sh.expand(t, line[i:])
			word.WriteString(text)
			i += n - 1
		default:
			word.WriteByte(c)
		}
		inside = true
	}
	if quote != 0 {
		t.Fatalf("an open quote in %s", line)
	}
	end()
	return words, ""
}

// expand returns what stands for the beginning of text, and how long that beginning is.
func (sh *shell) expand(t *testing.T, text string) (n int, value string) {
	t.Helper()
	if m := commandInput.FindStringSubmatch(text); m != nil {
		content, err := os.ReadFile(filepath.Join("..", m[1])) // the lines are for the root of the repository
		if err != nil {
			t.Fatal(err)
		}
		return len(m[0]), strings.TrimRight(string(content), "\n")
	}
	m := variable.FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("the test does not understand %s", text)
	}
	value, ok := sh.variables[m[1]]
	if !ok {
		t.Fatalf("no value was given to $%s before", m[1])
	}
	return len(m[0]), value
}

// tryLine sends what curl would with these arguments, and compares the answer with what is wanted: a status and, with two spaces between them,
// fields with their values and pieces of the body. A value that ends with … may go on.
func tryLine(t *testing.T, args []string, wanted string) {
	method, url, body := "", "", ""
	fields := http.Header{}
	for i := 0; i < len(args); i++ {
		switch a := args[i]; {
		case a == "-i", a == "-s":
		case strings.HasPrefix(a, "-") && i+1 < len(args):
			i++
			switch name, value, _ := strings.Cut(args[i], ": "); a {
			case "-H":
				fields.Add(name, value)
			case "-d":
				body = args[i]
			case "-X":
				method = args[i]
			default:
				t.Fatalf("the test does not know curl's %s", a)
			}
		default:
			url = a
		}
	}
	switch {
	case body != "":
		if method == "" {
			method = "POST"
		}
		if fields.Get("Content-Type") == "" {
			fields.Set("Content-Type", "application/x-www-form-urlencoded")
		}
	case method == "":
		method = "GET"
	}
	want := regexp.MustCompile(` {2,}`).Split(wanted, -1)
	status, err := strconv.Atoi(want[0])
	if err != nil {
		t.Fatalf("no status stands behind the line, but %q", wanted)
	}
	last := &answered{}
	for _, u := range everyURL(t, url) {
		last = ask(t, method, u, body, fields)
		if len(want) > 1 && last.status == status {
			break // of a range: the first that is as it should be
		}
	}
	if last.status != status {
		t.Fatalf("status %d, want %d: %s\n%s", last.status, status, last.fields, last.body)
	}
	for _, piece := range want[1:] {
		name, value, isField := strings.Cut(piece, ": ")
		switch prefix, more := strings.CutSuffix(value, "…"); {
		case !isField || strings.ContainsAny(name, `{"`):
			if !strings.Contains(last.body, piece) {
				t.Errorf("no %s in %s", piece, last.body)
			}
		case more && !strings.HasPrefix(last.fields.Get(name), prefix), !more && last.fields.Get(name) != value:
			t.Errorf("%s: %q, want %q", name, last.fields.Get(name), value)
		}
	}
	if strings.Contains(last.body, "internal") && last.status < 300 {
		t.Errorf("the customer sees what is internal: %s", last.body)
	}
}

// everyURL returns what curl makes of a range such as [1-60]. A slow machine gets its limit back while it asks, so a range is as long as it needs to
// be here.
func everyURL(t *testing.T, url string) []string {
	t.Helper()
	from := strings.IndexByte(url, '[')
	if from < 0 {
		return []string{url}
	}
	var all []string
	for i := range 10_000 {
		all = append(all, fmt.Sprint(url[:from], i+1))
	}
	return all
}

// answered is an answer that was read.
type answered struct {
	status int
	fields http.Header
	body   string
}

// ask sends one request as curl does: it follows no redirect, and decodes nothing.
func ask(t *testing.T, method, url, body string, fields http.Header) *answered {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader([]byte(body)))
	if err != nil {
		t.Fatal(err)
	}
	q.Header = fields.Clone()
	client := &http.Client{
		Transport:     &http.Transport{DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       enough,
	}
	defer client.CloseIdleConnections()
	a, err := client.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Body.Close() }()
	text, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return &answered{a.StatusCode, a.Header, string(text)}
}
