package proxy

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/upstream"
)

// TestMirrorClose: copies that hang end with Close, wherever they hang, and none begins afterwards.
func TestMirrorClose(t *testing.T) {
	full := strings.Repeat("f", 64<<10)
	hang := func(first string) func(c *testnet.OriginConn) {
		return func(c *testnet.OriginConn) {
			if _, read := c.ReadHead(); read && c.Send(first) {
				c.Hang()
			}
		}
	}
	for _, tc := range []struct {
		name, request string
		shadow        func(c *testnet.OriginConn)
		reading       bool
	}{
		{"before the answer", get("/"), hang(""), false},
		{"in the head of the answer", get("/"), hang("HTTP/1.1 200 O"), false},
		{"behind an interim answer", get("/"), hang("HTTP/1.1 103 Early Hints\r\n\r\n"), false},
		{"in the body", get("/"), hang("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"), true},
		{"in a chunk", get("/"), hang("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhal"), true},
		{"with a body that is not taken", fmt.Sprintf("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(full), full),
			func(c *testnet.OriginConn) { c.ReadHead(); <-c.TestEnds() }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			real := testnet.NewOrigin(t, testnet.Answer(okAnswer))
			shadow := testnet.NewOrigin(t, tc.shadow)
			m := mirrorTo(t, shadow.Addr, func(o *upstream.Options) { o.FirstByte, o.Progress = time.Hour, time.Hour })
			h := NewHTTP(site(t, nil, at("/*", &Route{Action: &Forward{backend(t, real.Addr, nil, nil)}, Mirror: m})))
			c := connect(t, h, serverOptions(), "192.0.2.7:1")
			for range 3 {
				if r := c.Do("GET", tc.request); r.Status != 200 {
					t.Fatalf("answer %+v", r)
				}
			}
			for i := range 3 {
				sc := shadow.Conn(i)
				testnet.Eventually(t, "the copy at the mirror", func() bool { return strings.Contains(sc.Received(), "\r\n\r\n") })
			}
			if tc.reading { // all of them, not one before its answer
				testnet.Eventually(t, "the copies reading", func() bool {
					m.Branches.mu.Lock()
					defer m.Branches.mu.Unlock()
					n := 0
					for d := range m.Branches.all {
						if d.answer != nil {
							n++
						}
					}
					return n == 3
				})
			}
			began := message.Now()
			m.Branches.Close()
			if took := time.Duration(message.Now() - began); took > copyTime/2 {
				t.Errorf("Close took %v: the copies were waited for", took)
			}
			if got := m.Metrics.counts(); got != [5]uint64{1: 3} || m.underWay.Load() != 0 {
				t.Errorf("outcomes %v, %d under way", got, m.underWay.Load())
			}
			if r := c.Do("GET", get("/")); r.Status != 200 {
				t.Errorf("answer after Close %+v", r)
			}
			if m.underWay.Load() != 0 || len(m.Branches.all) != 0 || shadow.Conns() != 3 {
				t.Error("a copy after Close")
			}
			m.Branches.Close()
		})
	}
}

// TestMirrorStress: many clients, bodies of all sorts, a mirror that does what it likes, and an end in the middle. The race detector and the
// leak gate look on; every answer and every copy is whole.
func TestMirrorStress(t *testing.T) {
	echo := func(c *testnet.OriginConn) {
		for {
			r, read := c.ReadRequest()
			if !read || !c.Send(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(r.Body), r.Body)) {
				return
			}
		}
	}
	real := testnet.NewOrigin(t, echo)
	var mu sync.Mutex
	copies := 0
	shadow := testnet.NewOrigin(t, func(c *testnet.OriginConn) {
		for n := 0; ; n++ {
			r, read := c.ReadRequest()
			if !read {
				return
			}
			id, size := 0, 0
			if _, err := fmt.Sscanf(r.Target, "/%d/%d", &id, &size); err != nil || string(r.Body) != bodyOf(id, size) {
				t.Errorf("%s: a copy with a body of %d bytes that is not its own", r.Target, len(r.Body))
			}
			mu.Lock()
			copies++
			mu.Unlock()
			switch (c.Number + n) % 5 {
			case 0:
				c.Reset()
				return
			case 1:
				c.Send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
				return
			}
			if !c.Send(okAnswer) {
				return
			}
		}
	})
	m := mirrorTo(t, shadow.Addr, nil)
	h := NewHTTP(site(t, nil, at("/*", &Route{Action: &Forward{backend(t, real.Addr, nil, nil)}, Mirror: m})))
	var clients sync.WaitGroup
	half := make(chan struct{}, 8)
	const each = 60
	for i := range 8 {
		c := connect(t, h, serverOptions(), "192.0.2.7:1")
		clients.Go(func() {
			for n := range each {
				id := i*each + n
				size := []int{0, 1, 500, 9000, 40000}[id%5]
				body := bodyOf(id, size)
				text := fmt.Sprintf("PUT /%d/%d HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", id, size, size, body)
				if n%3 == 1 && size > 1 {
					text = fmt.Sprintf("PUT /%d/%d HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", id, size, size/2, body[:size/2], size-size/2, body[size/2:])
				}
				if c.TrySend(text) != nil {
					t.Error("the client could not send")
					return
				}
				if r, err := c.TryResponse("PUT"); err != nil || r.Status != 200 || string(r.Body) != body {
					t.Errorf("%d: answer %d with %d bytes, want %d (%v)", id, r.Status, len(r.Body), size, err)
					return
				}
				if n == each/2 {
					half <- struct{}{}
				}
			}
		})
	}
	for range 8 {
		testnet.Receive(t, "the first half", half)
	}
	m.Branches.Close()
	clients.Wait()
	got := m.Metrics.counts()
	mu.Lock()
	defer mu.Unlock()
	if got[0] == 0 || got[1] == 0 || got[3]+got[4] != 0 || m.underWay.Load() != 0 || copies == 0 {
		t.Errorf("outcomes %v, %d under way, %d copies", got, m.underWay.Load(), copies)
	}
}

// bodyOf is a body that no other exchange of a test has.
func bodyOf(id, size int) string {
	return strings.Repeat(fmt.Sprintf("%08d", id), size/8+1)[:size]
}
