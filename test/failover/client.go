package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// verdict is what became of a request, as its client sees it.
type verdict uint8

const (
	right  verdict = iota // the whole, expected answer with status 200
	failed                // anything that a client notices: no answer, another status, a message that was cut
	wrong                 // what a client does not notice: 200, complete by its framing, and not the answer
)

// result is one request.
type result struct {
	due     time.Duration // since the start
	late    time.Duration // how long after that the client got round to it, which is not the proxy's doing
	latency time.Duration // from due to the end of the answer, or of the hope for one
	verdict verdict
	post    bool
	from    string // endpoint that answered
	detail  string // what was not right
}

const (
	// clientPatience is how long a client waits for an answer.
	clientPatience = 5 * time.Second
	// mostUnderway bounds the requests that wait for their answers. Those beyond it are failed at once: the proxy is stuck.
	mostUnderway = 2000
)

// client sends requests by a timetable over kept-alive connections. Which of them is used is no matter of the timetable: one that is free, else a new one.
type client struct {
	address string
	posts   bool // every second request is a POST

	mu   sync.Mutex
	free []*link // the last used is used first
}

// link is a connection of the client. One request at a time uses it.
type link struct {
	net.Conn
	br *bufio.Reader
}

// run sends what is due and returns when each request has its answer or has failed; results stand in the order of the timetable. When ctx ends, what was not sent
// is left out.
func (c *client) run(ctx context.Context, t timetable, start time.Time) []result {
	results := make([]result, len(t))
	underway := make(chan struct{}, mostUnderway)
	var wg sync.WaitGroup
	defer c.close()
	defer wg.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i, due := range t {
		timer.Reset(time.Until(start.Add(due)))
		select {
		case <-ctx.Done():
			return results[:i]
		case <-timer.C:
		}
		r := &results[i]
		r.due, r.late, r.post = due, time.Since(start)-due, c.posts && isPost(i)
		select {
		case underway <- struct{}{}:
		default:
			r.verdict, r.detail = failed, "too many requests wait for their answers"
			continue
		}
		wg.Go(func() {
			c.ask(i, r)
			r.latency = time.Since(start) - due
			<-underway
		})
	}
	return results
}

// ask does one request.
func (c *client) ask(id int, r *result) {
	l, err := c.link()
	if err != nil {
		r.verdict, r.detail = failed, "connect: "+cause(err)
		return
	}
	method := "GET"
	if r.post {
		method = "POST"
	}
	_ = l.SetDeadline(time.Now().Add(clientPatience))
	_, sent := l.Write(requestText(id, r.post))
	// An answer may be there although the request was not taken whole.
	answer, err := testnet.ReadResponse(l.br, method)
	r.verdict, r.detail = judge(id, answer, errors.Join(err, sent))
	if answer != nil {
		r.from = answer.Header.Get("X-Endpoint")
	}
	if err != nil || sent != nil || strings.EqualFold(answer.Header.Get("Connection"), "close") {
		_ = l.Close()
		return
	}
	c.mu.Lock()
	c.free = append(c.free, l)
	c.mu.Unlock()
}

// link returns a connection on which nothing is under way and nothing has come.
func (c *client) link() (*link, error) {
	for {
		c.mu.Lock()
		n := len(c.free)
		var l *link
		if n > 0 {
			l = c.free[n-1]
			c.free = c.free[:n-1]
		}
		c.mu.Unlock()
		if l == nil {
			break
		}
		if nc, ok := l.Conn.(*net.TCPConn); ok && quiet(nc) {
			return l, nil
		}
		_ = l.Close()
	}
	nc, err := (&net.Dialer{Timeout: clientPatience}).Dial("tcp", c.address)
	if err != nil {
		return nil, err
	}
	return &link{nc, bufio.NewReader(nc)}, nil
}

func (c *client) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.free {
		_ = l.Close()
	}
	c.free = nil
}

// judge looks at an answer to request id, whole or not.
func judge(id int, answer *testnet.Response, err error) (verdict, string) {
	switch {
	case err != nil && answer == nil:
		return failed, "no answer: " + cause(err)
	case err != nil:
		return failed, fmt.Sprintf("answer %d cut after %d bytes of body: %s", answer.Status, len(answer.Body), cause(err))
	case answer.Status != 200:
		detail := fmt.Sprintf("status %d", answer.Status)
		if reason := answer.Header.Get("Sluice-Reason"); reason != "" {
			detail += " " + reason
		}
		return failed, detail
	case answer.Framing == testnet.FramedClose:
		return wrong, "the body ends with the connection, so that its end cannot be told from a cut"
	}
	want := answerBody(id, answer.Header.Get("X-Endpoint"))
	if !bytes.Equal(answer.Body, want) {
		return wrong, fmt.Sprintf("a complete answer to request %d with %d bytes that are not the expected %d: %.60q", id, len(answer.Body), len(want), answer.Body)
	}
	return right, ""
}

// cause is an error in a word, so that equal ones can be counted.
func cause(err error) string {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return "closed"
	}
	return err.Error()
}
