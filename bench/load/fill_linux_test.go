package load

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// listener answers each numbered request by what answer makes of its number, on one connection after the other, until the test ends. It tells the numbers.
func listener(t *testing.T, answer func(number string) string) (address string, seen chan string) {
	t.Helper()
	socket, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	seen = make(chan string, 10000)
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer close(done)
		for {
			c, err := socket.Accept()
			if err != nil {
				return
			}
			stop := context.AfterFunc(ctx, func() { _ = c.Close() })
			for in := bufio.NewReader(c); ; {
				r, err := http.ReadRequest(in)
				if err != nil {
					break
				}
				seen <- r.Header.Get("X-Number")
				if _, err := io.WriteString(c, answer(r.Header.Get("X-Number"))); err != nil {
					break
				}
			}
			stop()
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		cancel()
		_ = socket.Close()
		<-done
	})
	return socket.Addr().String(), seen
}

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func numberRequest() []byte { return RequestWith("GET", "h", "/", nil, "X-Number: "+NumberPlace) }

func TestFillMakesEachRequestOnce(t *testing.T) {
	address, seen := listener(t, func(string) string { return okAnswer })
	const count = 3*fillBatch + 7
	f := Fill{Address: address, Request: numberRequest(), Numbers: Numbers{Count: count}, Body: []byte("ok")}
	if err := f.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range count {
		if got := <-seen; got != fmt.Sprintf("%08d", i) {
			t.Fatalf("request %d has the number %s", i, got)
		}
	}
	if len(seen) != 0 {
		t.Errorf("%d requests too many", len(seen))
	}
}

func TestFillEndsAtAWrongAnswer(t *testing.T) {
	for want, wrong := range map[string]string{
		"wrong status":  "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 2\r\n\r\nok",
		"wrong content": "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno",
		"wrong framing": "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
		"EOF":           "HTTP/1.1 200 OK\r\nContent-Le",
	} {
		address, _ := listener(t, func(number string) string {
			switch {
			case number == "00000100":
				return wrong
			case number > "00000100" && want == "EOF":
				return strings.Repeat("x", 2*maxHead)
			}
			return okAnswer
		})
		f := Fill{Address: address, Request: numberRequest(), Numbers: Numbers{Count: 120}, Body: []byte("ok")}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		err := f.Run(ctx)
		cancel()
		if err == nil || want != "EOF" && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if err := (Fill{Address: "127.0.0.1:1", Request: []byte("no place"), Numbers: Numbers{Count: 1}}).Run(t.Context()); err == nil {
		t.Error("a request without a place was accepted")
	}
}

func TestFillEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	address, _ := listener(t, func(string) string { cancel(); return "" })
	f := Fill{Address: address, Request: numberRequest(), Numbers: Numbers{Count: 10}, Body: []byte("ok")}
	if err := f.Run(ctx); err == nil || ctx.Err() == nil {
		t.Errorf("ended with %v", err)
	}
}

// TestPlainNumbersItsRequests also goes on where it has stopped.
func TestPlainNumbersItsRequests(t *testing.T) {
	address, seen := listener(t, func(string) string { return okAnswer })
	numbers := &Numbers{Count: 5}
	p := Plain{Address: address, Connections: 1, Requests: [][]byte{numberRequest()}, Numbers: numbers, Body: []byte("ok"), Rate: 100, Window: Window{Measure: 70 * time.Millisecond}}
	next := 0
	for range 2 {
		result, err := p.Run(t.Context())
		if err != nil || result.Err() != nil {
			t.Fatal(err, result.Err())
		}
		for ; len(seen) > 0; next++ {
			if got := <-seen; got != fmt.Sprintf("%08d", next%5) {
				t.Errorf("request %d has the number %s", next, got)
			}
		}
	}
	if next < 10 {
		t.Errorf("there were %d requests", next)
	}
	one, two := RequestWith("GET", "h", "/", nil, "X-Number: one"), RequestWith("GET", "h", "/", nil, "X-Number: two")
	from := 1
	p.Numbers, p.Requests, p.Next = nil, [][]byte{one, two}, &from
	for range 2 {
		want := []string{"one", "two"}[from]
		first := from
		if _, err := p.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		count := len(seen)
		for n := range count {
			if got := <-seen; n == 0 && got != want {
				t.Errorf("the first request is %s, want %s", got, want)
			}
		}
		if from != (first+count)%2 {
			t.Errorf("after %d requests, of which the first was %d, %d is the next", count, first, from)
		}
	}
	from = 2
	if _, err := p.Run(t.Context()); err == nil {
		t.Error("a request behind the last was accepted as the first")
	}
	p.Next, p.Numbers = nil, numbers
	p.Echo = true
	if _, err := p.Run(t.Context()); err == nil {
		t.Error("numbers and echo were accepted together")
	}
}
