package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

func TestJudge(t *testing.T) {
	whole := string(itemAnswer(0, "a"))
	chunked := string(itemAnswer(1, "a"))
	half := answerBody(0, "a")[:answerBytes/2]
	for name, c := range map[string]struct {
		id   int
		text string
		want verdict
	}{
		"whole":              {0, whole, right},
		"whole, chunked":     {1, chunked, right},
		"of somebody else":   {2, whole, wrong},
		"of another one":     {0, strings.Replace(whole, "X-Endpoint: a", "X-Endpoint: b", 1), wrong},
		"half, cut":          {0, whole[:len(whole)/2], failed},
		"half, chunked, cut": {1, chunked[:len(chunked)/2], failed},
		"without last chunk": {1, strings.TrimSuffix(chunked, "0\r\n\r\n"), failed},
		"half, ended":        {0, fmt.Sprintf("HTTP/1.1 200 OK\r\nX-Endpoint: a\r\nContent-Length: %d\r\n\r\n%s", len(half), half), wrong},
		"half, last chunk":   {0, fmt.Sprintf("HTTP/1.1 200 OK\r\nX-Endpoint: a\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(half), half), wrong},
		"ended by close":     {0, "HTTP/1.1 200 OK\r\nX-Endpoint: a\r\n\r\n" + string(half), wrong},
		"whole, by close":    {0, "HTTP/1.1 200 OK\r\nX-Endpoint: a\r\n\r\n" + string(answerBody(0, "a")), wrong},
		"error":              {0, "HTTP/1.1 502 Bad\r\nSluice-Reason: upstream_reset\r\nContent-Length: 0\r\n\r\n", failed},
		"nothing":            {0, "", failed},
		"no HTTP":            {0, "hello\r\n\r\n", failed},
	} {
		answer, err := testnet.ReadResponse(bufio.NewReader(strings.NewReader(c.text)), "GET")
		got, detail := judge(c.id, answer, err)
		if got != c.want || (got == right) != (detail == "") {
			t.Errorf("%s: %v %q, want %v", name, got, detail, c.want)
		}
	}
	if _, detail := judge(0, &testnet.Response{Status: 504, Message: testnet.Message{Header: testnet.Fields{{Name: "Sluice-Reason", Value: "upstream_timeout_per_try"}}}},
		nil); detail != "status 504 upstream_timeout_per_try" {
		t.Errorf("detail %q", detail)
	}
}

// serveTCP serves each connection to an address by a function of its own.
func serveTCP(t *testing.T, serve func(nc net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer nc.Close()
				serve(nc)
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		wg.Wait()
	})
	return ln.Addr().String()
}

func TestClientAgainstOrigin(t *testing.T) {
	o, r := startOrigin(t)
	table, err := steady(200, 200*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	c := &client{address: o.Address(), posts: true}
	results := c.run(t.Context(), table, time.Now())
	if len(results) != 40 {
		t.Fatalf("%d results", len(results))
	}
	for id, r := range results {
		if r.verdict != right || r.from != "c" || r.post != isPost(id) || r.due != table[id] || r.latency < serviceTime {
			t.Errorf("request %d: %+v", id, r)
		}
	}
	if n := strings.Count(r.String(), sayGot); n != 40 {
		t.Errorf("%d requests arrived", n)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.conns) == 40 {
		t.Error("each request had a connection of its own")
	}
}

// A server that holds everything up for a while must not make the client wait with the requests that come after: each has its time from when it was due.
func TestClientIsOpenLoop(t *testing.T) {
	release := make(chan struct{})
	var once sync.Once
	var mu sync.Mutex
	arrived := 0
	address := serveTCP(t, func(nc net.Conn) {
		br := bufio.NewReader(nc)
		for {
			r, err := testnet.ReadRequest(br)
			if err != nil {
				return
			}
			mu.Lock()
			arrived++
			mu.Unlock()
			<-release
			id, _ := itemOf(r.Target)
			if _, err := nc.Write(itemAnswer(id, "x")); err != nil {
				return
			}
		}
	})
	table := timetable{0, 0, time.Millisecond, 20 * time.Millisecond, 20 * time.Millisecond}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer once.Do(func() { close(release) })
	wg.Go(func() {
		// All come although none has an answer.
		deadline := time.Now().Add(testnet.Patience)
		for time.Now().Before(deadline) {
			mu.Lock()
			n := arrived
			mu.Unlock()
			if n == len(table) {
				break
			}
			time.Sleep(time.Millisecond)
		}
		once.Do(func() { close(release) })
	})
	start := time.Now()
	results := (&client{address: address}).run(t.Context(), table, start)
	for id, r := range results {
		if r.verdict != right {
			t.Errorf("request %d: %+v", id, r)
		}
	}
	// Nothing was answered before the last request was sent, so the first one has waited for as long as that.
	if results[0].latency < 20*time.Millisecond {
		t.Errorf("the first request took %v", results[0].latency)
	}
	if arrived != len(table) {
		t.Errorf("%d requests arrived", arrived)
	}
}

func TestClientMakesNewConnections(t *testing.T) {
	// One answer for each connection: by turns with the field that says so, and without.
	n := 0
	var mu sync.Mutex
	address := serveTCP(t, func(nc net.Conn) {
		r, err := testnet.ReadRequest(bufio.NewReader(nc))
		if err != nil {
			return
		}
		id, _ := itemOf(r.Target)
		text := itemAnswer(id, "x")
		mu.Lock()
		if n++; n%2 == 0 {
			text = bytes.Replace(text, []byte("\r\n"), []byte("\r\nConnection: close\r\n"), 1)
		}
		mu.Unlock()
		_, _ = nc.Write(text)
	})
	c := &client{address: address}
	for id := range 6 {
		var r result
		c.ask(id, &r)
		if r.verdict != right {
			t.Errorf("request %d: %+v", id, r)
		}
		// Without the field the end of the connection is all there is to see; wait for it.
		testnet.Eventually(t, "the connection has ended", func() bool {
			return len(c.free) == 0 || !quiet(c.free[0].Conn.(*net.TCPConn))
		})
	}
	c.close()
}

func TestClientFails(t *testing.T) {
	refused, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = refused.Close()
	closing := serveTCP(t, func(nc net.Conn) { _, _ = io.ReadFull(nc, make([]byte, 10)) })
	for address, want := range map[string]string{refused.Addr().String(): "connect: refused", closing: "no answer: "} {
		var r result
		(&client{address: address}).ask(0, &r)
		if r.verdict != failed || !strings.HasPrefix(r.detail, want) {
			t.Errorf("%s: %+v, want %q", address, r, want)
		}
	}
}

func TestClientEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if results := (&client{address: "127.0.0.1:1"}).run(ctx, timetable{0, time.Hour}, time.Now()); len(results) > 1 {
		t.Errorf("%d results", len(results))
	}
}

func TestCause(t *testing.T) {
	for err, want := range map[error]string{io.EOF: "closed", io.ErrUnexpectedEOF: "closed", errors.New("x"): "x"} {
		if got := cause(fmt.Errorf("reading: %w", err)); got != want && got != "reading: "+want {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
}
