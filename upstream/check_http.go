package upstream

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// checkBytes bounds what a check reads of an answer, head and body together.
const checkBytes = 64 << 10

// httpCheck passes if GET of a path is answered with an expected status and, if one is wanted, a text in the body. It speaks HTTP/1.1 on a connection
// of its own, so that it also shows whether the endpoint still accepts connections, and it reads less strictly than the codec does: the
// answer goes to nobody.
type httpCheck struct {
	checkDialer
	path     string
	host     string
	statuses []StatusRange
	body     []byte
}

func newHTTPCheck(o *CheckOptions) Check {
	c := &httpCheck{checkDialer: newCheckDialer(o), path: o.Path, host: o.Host, statuses: o.Statuses, body: []byte(o.Body)}
	if len(c.statuses) == 0 {
		c.statuses = []StatusRange{{200, 299}}
	}
	return c
}

// Run implements Check.
func (c *httpCheck) Run(ctx context.Context, t *Target) error {
	conn, done, err := c.dial(ctx, t, t.TLS != nil)
	if err != nil {
		return err
	}
	defer done()
	host := c.host
	if host == "" {
		host = t.Address
	}
	request := "GET " + c.path + " HTTP/1.1\r\nHost: " + host + "\r\nUser-Agent: Sluice-Health\r\nAccept: */*\r\nConnection: close\r\n\r\n"
	if _, err := io.WriteString(conn, request); err != nil {
		return err
	}
	return c.judge(conn)
}

// judge reads an answer and says what is wrong with it.
func (c *httpCheck) judge(answer io.Reader) error {
	r := bufio.NewReader(io.LimitReader(answer, checkBytes))
	status, chunked, length, err := readHead(r)
	if err != nil {
		return err
	}
	good := false
	for _, s := range c.statuses {
		good = good || s.Low <= status && status <= s.High
	}
	if !good {
		return fmt.Errorf("answered with status %d", status)
	}
	if len(c.body) == 0 {
		// What is left is read all the same: closing a connection with unread bytes resets it, and endpoints log that.
		_, _ = readBody(r, chunked, length)
		return nil
	}
	// An answer that breaks off, or is longer than is read, may hold the text all the same.
	body, err := readBody(r, chunked, length)
	switch {
	case bytes.Contains(body, c.body):
		return nil
	case err != nil:
		return fmt.Errorf("the body broke off: %w", err)
	default:
		return errors.New("the body does not contain the expected text")
	}
}

// readHead reads the head of the final answer: its status, and how its body is framed (length -1: until the end of the connection).
func readHead(r *bufio.Reader) (status int, chunked bool, length int64, err error) {
	for {
		line, err := readLine(r)
		if err != nil {
			return 0, false, 0, fmt.Errorf("no answer: %w", err)
		}
		status, err = parseStatusLine(line)
		if err != nil {
			return 0, false, 0, err
		}
		length, chunked = -1, false
		for {
			line, err := readLine(r)
			if err != nil {
				return 0, false, 0, fmt.Errorf("the head broke off: %w", err)
			}
			if line == "" {
				break
			}
			name, value, _ := strings.Cut(line, ":")
			value = strings.TrimSpace(value)
			switch {
			case strings.EqualFold(name, "Transfer-Encoding"):
				chunked = strings.EqualFold(value, "chunked")
			case strings.EqualFold(name, "Content-Length"):
				if n, err := strconv.ParseUint(value, 10, 62); err == nil {
					length = int64(n)
				}
			}
		}
		if status == 204 || status == 304 {
			chunked, length = false, 0
		}
		if status >= 200 || status == 101 {
			return status, chunked, length, nil
		}
	}
}

// readLine returns the next line without its end.
func readLine(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return "", err
	}
	return strings.TrimRight(line, "\r\n"), nil
}

func parseStatusLine(line string) (int, error) {
	rest, ok := strings.CutPrefix(line, "HTTP/1.")
	if ok && len(rest) >= 5 && rest[1] == ' ' && (len(rest) == 5 || rest[5] == ' ') {
		if n, err := strconv.ParseUint(rest[2:5], 10, 16); err == nil && n >= 100 && n <= 599 {
			return int(n), nil
		}
	}
	if len(line) > 40 {
		line = line[:40]
	}
	return 0, fmt.Errorf("the answer is not HTTP/1: it begins with %q", line)
}

// readBody returns the body, or the part of it that came before the error.
func readBody(r *bufio.Reader, chunked bool, length int64) ([]byte, error) {
	if !chunked {
		if length >= 0 {
			return io.ReadAll(io.LimitReader(r, length))
		}
		return io.ReadAll(r)
	}
	var body []byte
	for {
		line, err := readLine(r)
		if err != nil {
			return body, err
		}
		digits, _, _ := strings.Cut(line, ";")
		size, err := strconv.ParseUint(strings.TrimSpace(digits), 16, 31)
		if err != nil {
			return body, fmt.Errorf("chunk size %.20q", digits)
		}
		if size == 0 {
			return body, nil
		}
		chunk, err := io.ReadAll(io.LimitReader(r, int64(size)))
		body = append(body, chunk...)
		if err != nil {
			return body, err
		}
		if _, err := readLine(r); err != nil {
			return body, err
		}
	}
}
