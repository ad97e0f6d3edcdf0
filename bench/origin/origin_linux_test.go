package origin

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
)

// free returns n addresses whose ports are free. They lie below those of outgoing connections, none of which can therefore take
// one before the server does.
func free(t *testing.T, n int) []string {
	t.Helper()
	var list []string
	for try := 0; len(list) < n; try++ {
		address := fmt.Sprintf("127.0.0.1:%d", 12000+rand.IntN(8000))
		socket, err := net.Listen("tcp4", address)
		if err != nil && try < 1000 {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		defer socket.Close() // held until all are found, so that none is found twice
		list = append(list, address)
	}
	return list
}

// start serves on two addresses until the test ends.
func start(t *testing.T, size int) []string {
	t.Helper()
	addresses := free(t, 2)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, addresses, size) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return addresses
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	for try := 0; ; try++ {
		c, err := net.Dial("tcp", address)
		if err == nil {
			t.Cleanup(func() { _ = c.Close() })
			return c
		}
		if try > 10000 {
			t.Fatal(err)
		}
	}
}

func TestOriginAnswersKeptAliveAndPipelined(t *testing.T) {
	for _, address := range start(t, 1024) {
		c := dial(t, address)
		in := bufio.NewReader(c)
		// One whole request, then two at once of which the second comes in pieces.
		for _, text := range []string{"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET /1 HTTP/1.1\r\n\r\nGET /2 HTT", "P/1.1\r\nHost: a\r\n\r\n"} {
			if _, err := io.WriteString(c, text); err != nil {
				t.Fatal(err)
			}
		}
		for n := range 3 {
			r, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(n, err)
			}
			got, err := io.ReadAll(r.Body)
			if err != nil || r.StatusCode != 200 || !bytes.Equal(got, Body(1024)) {
				t.Errorf("answer %d: %d, %d bytes, %v", n, r.StatusCode, len(got), err)
			}
		}
	}
}

func TestOriginClosesEndlessHeads(t *testing.T) {
	c := dial(t, start(t, 1)[0])
	_, _ = io.WriteString(c, strings.Repeat("x", maxHead+1))
	if _, err := io.ReadAll(c); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Error(err)
	}
}

func TestServeRefusesBadAddresses(t *testing.T) {
	for _, address := range []string{"nowhere", "[::1]:1", start(t, 1)[0]} {
		if address[0] == '1' {
			dial(t, address) // it listens: a busy port
		}
		if err := Serve(t.Context(), []string{address}, 1); err == nil {
			t.Errorf("%s was accepted", address)
		}
	}
}
