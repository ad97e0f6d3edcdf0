package origin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// startSites serves until the test ends.
func startSites(t *testing.T, sites ...Site) []Site {
	t.Helper()
	addresses := free(t, len(sites))
	for i := range sites {
		sites[i].Addresses = addresses[i : i+1]
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- ServeSites(ctx, sites) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return sites
}

// post sends a request in two pieces, cut behind its half, and returns status and body of the answer.
func post(t *testing.T, c net.Conn, in *bufio.Reader, head, body string) (int, string) {
	t.Helper()
	text := []byte("POST / HTTP/1.1\r\nHost: a\r\n" + head + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body)) + body)
	send(t, c, text[:len(text)/2])
	send(t, c, text[len(text)/2:])
	r, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(got)
}

func TestASiteLooksAtItsRequests(t *testing.T) {
	sites := startSites(t, Site{Answer: []byte(`{"a":1}`), Want: []byte("right"), Fields: []string{"X-From: 7"}, Absent: []string{"Authorization"}})
	c := dial(t, sites[0].Addresses[0])
	in := bufio.NewReader(c)
	for _, try := range []struct {
		head, body string
		status     int
	}{
		{"X-From: 7\r\n", "right", 200},
		{"X-From: 7\r\n", "wrong", 400},
		{"X-From: 7\r\n", "", 400},
		{"", "right", 400},
		{"X-From: 77\r\n", "right", 400},
		{"Not-X-From: 7\r\n", "right", 400},
		{"X-From: 7\r\naUTHORIZATION: x\r\n", "right", 400},
		{"X-From: 7\r\nX-More: 8\r\n", "right", 200},
	} {
		status, body := post(t, c, in, try.head, try.body)
		if status != try.status || status == 200 && body != `{"a":1}` {
			t.Errorf("%q %q: %d %q, want %d", try.head, try.body, status, body, try.status)
		}
	}
	send(t, c, []byte("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"))
	if r, err := http.ReadResponse(in, nil); err != nil || r.StatusCode != 400 {
		t.Errorf("chunked: %v, %v", r, err)
	}
}

func TestASiteAnswersPipelinedRequests(t *testing.T) {
	c := dial(t, startSites(t, Site{Answer: []byte("{}")})[0].Addresses[0])
	send(t, c, bytes.Repeat([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), 3))
	in := bufio.NewReader(c)
	for n := range 3 {
		r, err := http.ReadResponse(in, nil)
		if err != nil || r.StatusCode != 200 {
			t.Fatal(n, err)
		}
		_, _ = io.Copy(io.Discard, r.Body)
	}
}

// TestALateSiteTakesItsTime also closes a connection whose answer is underway, and opens another one, which must not get it.
func TestALateSiteTakesItsTime(t *testing.T) {
	const delay = 20 * time.Millisecond
	sites := startSites(t, Site{Answer: []byte("{}"), Delay: delay}, Site{Answer: []byte("[]")})
	for _, site := range sites {
		gone := dial(t, site.Addresses[0])
		send(t, gone, []byte("GET / HTTP/1.1\r\n\r\n"))
		_ = gone.Close()
		for range 3 {
			c := dial(t, site.Addresses[0])
			from := time.Now()
			send(t, c, []byte("GET / HTTP/1.1\r\n\r\n"))
			r, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			if took := time.Since(from); took < site.Delay {
				t.Errorf("the answer came after %v, before its time of %v", took, site.Delay)
			}
			if got, _ := io.ReadAll(r.Body); !bytes.Equal(got, site.Answer) {
				t.Errorf("the answer is %q", got)
			}
		}
	}
}

func TestServeSitesRefusesBadPlans(t *testing.T) {
	for name, sites := range map[string][]Site{
		"address": {{Addresses: []string{"nowhere"}}},
		"delays":  {{Delay: time.Second}, {Delay: time.Minute}},
	} {
		if err := ServeSites(t.Context(), sites); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestDocumentsAreJSONOfTheirSize(t *testing.T) {
	for _, size := range []int{200, 512, 1024, 4096} {
		text := Document("account", size)
		var d struct {
			Name, From string
			Items      []any
		}
		if err := json.Unmarshal(text, &d); err != nil {
			t.Errorf("%d: %v", size, err)
		}
		if len(text) != size || d.Name != "account" || d.From != "nobody" || size > 400 && len(d.Items) < 3 {
			t.Errorf("%d bytes: %d, %+v", size, len(text), d)
		}
	}
}
