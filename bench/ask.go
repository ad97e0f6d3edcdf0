package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// reply is an answer that is looked at as a whole, outside of a measurement.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// The bounds of a request outside of a measurement.
const (
	askLimit = 5 * time.Second
	maxReply = 16 << 20
)

// ask sends the bytes of a request, as the load does, over a connection of its own.
func ask(ctx context.Context, address string, request []byte) (reply, error) {
	c, err := (&net.Dialer{Timeout: askLimit}).DialContext(ctx, "tcp", address)
	if err != nil {
		return reply{}, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(askLimit))
	if _, err := c.Write(request); err != nil {
		return reply{}, err
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return reply{}, err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(io.LimitReader(r.Body, maxReply))
	return reply{r.StatusCode, r.Header, body}, err
}

// expect is nil when the answer has the status and, where it is not nil, the body.
func (r reply) expect(status int, body []byte) error {
	switch {
	case r.status != status:
		return fmt.Errorf("the status is %d, not %d: %.300q", r.status, status, r.body)
	case body != nil && !bytes.Equal(r.body, body):
		return fmt.Errorf("the body is %.2000q, not %.2000q", r.body, body)
	}
	return nil
}

// refused is nil when a request is answered with a problem of this status and reason.
func refused(ctx context.Context, address string, request []byte, status int, reason string) error {
	got, err := ask(ctx, address, request)
	if err != nil {
		return err
	}
	if got.status != status || got.header.Get("Sluice-Reason") != reason {
		return fmt.Errorf("a request that must be refused with %d %s gets %d %s", status, reason, got.status, got.header.Get("Sluice-Reason"))
	}
	return nil
}

// counters reads Sluice's metrics: for each name the sum of the series whose names and labels begin with it. Without names nothing is read.
func counters(ctx context.Context, admin string, names map[string]float64) (map[string]float64, error) {
	if len(names) == 0 {
		return nil, nil
	}
	got, err := readMetrics(ctx, admin)
	if err != nil {
		return nil, err
	}
	return sumCounters(got, names)
}

func readMetrics(ctx context.Context, admin string) ([]byte, error) {
	got, err := ask(ctx, admin, []byte("GET /metrics HTTP/1.1\r\nHost: "+admin+"\r\nConnection: close\r\n\r\n"))
	if err = errors.Join(err, got.expect(http.StatusOK, nil)); err != nil {
		return nil, fmt.Errorf("the metrics cannot be read: %w", err)
	}
	return got.body, nil
}

func sumCounters(text []byte, names map[string]float64) (map[string]float64, error) {
	sums := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		for name := range names {
			if !strings.HasPrefix(line, name) {
				continue
			}
			value, err := strconv.ParseFloat(strings.TrimSpace(line[strings.LastIndexByte(line, ' ')+1:]), 64)
			if err != nil {
				return nil, fmt.Errorf("the metrics have a line %q", line)
			}
			sums[name] += value
		}
	}
	for name := range names {
		if _, ok := sums[name]; !ok {
			return nil, fmt.Errorf("the metrics have no %s", name)
		}
	}
	return sums, nil
}

// scrapeEvery is how often metrics are read under load, far more often than any monitoring does.
const scrapeEvery = time.Second

// scrape reads metrics at once and again and again, until the function that it returns is called, which waits for the last time and tells what went wrong.
func scrape(ctx context.Context, admin string) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		for {
			if _, err := readMetrics(ctx, admin); err != nil {
				done <- err
				return
			}
			select {
			case <-ctx.Done():
				done <- nil
				return
			case <-time.After(scrapeEvery):
			}
		}
	}()
	return func() error {
		cancel()
		err := <-done
		if errors.Is(err, context.Canceled) {
			return nil
		}
		return err
	}
}
