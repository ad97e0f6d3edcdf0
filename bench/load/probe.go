package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// Fetch makes one GET request on a new connection and returns the status code and the body, whose end is the end of the
// connection. With secure it goes through the same handshake as the TLS client. It is for readiness and markers, not
// for measuring.
func Fetch(ctx context.Context, address, path string, secure bool) (status int, body []byte, err error) {
	return fetch(ctx, address, path, -1, secure)
}

// FetchExact is Fetch for a server that does not close the connection: it is content once size bytes of body are there.
func FetchExact(ctx context.Context, address, path string, size int, secure bool) (status int, body []byte, err error) {
	return fetch(ctx, address, path, size, secure)
}

func fetch(ctx context.Context, address, path string, size int, secure bool) (status int, body []byte, err error) {
	var c net.Conn
	if secure {
		c, err = dialTLS(ctx, address)
	} else {
		c, err = (&net.Dialer{Timeout: answerTimeout}).DialContext(ctx, "tcp", address)
	}
	if err != nil {
		return 0, nil, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(answerTimeout))
	if _, err := c.Write(Request(address, path, true)); err != nil {
		return 0, nil, err
	}
	text, err := readAnswerText(c, size)
	head, body, ok := bytes.Cut(text, headEnd)
	if !ok {
		return 0, nil, errors.Join(errors.New("load: the answer has no head"), err)
	}
	if _, err := fmt.Sscanf(string(head), "HTTP/1.1 %d", &status); err != nil {
		return 0, nil, fmt.Errorf("load: the answer has no status line: %.80q", head)
	}
	return status, body, nil
}

// maxFetch bounds an answer that is fetched.
const maxFetch = 1 << 20

// readAnswerText reads until the connection ends or size bytes of body have come.
func readAnswerText(r io.Reader, size int) ([]byte, error) {
	var text []byte
	buf := make([]byte, 4096)
	for len(text) < maxFetch {
		n, err := r.Read(buf)
		text = append(text, buf[:n]...)
		if end := bytes.Index(text, headEnd); size >= 0 && end >= 0 && len(text) >= end+len(headEnd)+size {
			return text, nil
		}
		if err == io.EOF {
			return text, nil
		}
		if err != nil {
			return text, err
		}
	}
	return text, errors.New("load: the answer is too long")
}

// Marker watches for the moment at which a new configuration is live.
type Marker struct {
	Address, Path string
	Want          string        // body that only the new configuration answers
	Old           string        // body of the old one; anything else is a failed request
	Every         time.Duration // pause between two requests
	Streak        int           // how many new answers in a row, each on a new connection, mean that the old one is gone
}

// Sighting is what a Marker saw.
type Sighting struct {
	Live   time.Time // start of the request that began the streak of new answers
	Failed int       // requests that got neither the old nor the new answer
	First  error     // the first of those
}

// Watch polls until the streak is whole. It ends with an error when ctx does; the Sighting counts the failures even then.
func (m Marker) Watch(ctx context.Context) (Sighting, error) {
	var s Sighting
	streak := 0
	for {
		from := time.Now()
		status, body, err := Fetch(ctx, m.Address, m.Path, false)
		if ctx.Err() != nil {
			return s, fmt.Errorf("load: %s did not answer %q in time", m.Path, m.Want)
		}
		switch text := string(bytes.TrimSpace(body)); {
		case err == nil && status == 200 && text == m.Want:
			if streak++; streak == 1 {
				s.Live = from
			}
			if streak >= m.Streak {
				return s, nil
			}
		case err == nil && status == 200 && text == m.Old:
			streak = 0
		default:
			streak = 0
			if s.Failed++; s.First == nil {
				s.First = errors.Join(fmt.Errorf("load: %s: status %d, body %.80q", m.Path, status, text), err)
			}
		}
		if !pause(ctx, m.Every) {
			return s, fmt.Errorf("load: %s did not answer %q in time", m.Path, m.Want)
		}
	}
}
