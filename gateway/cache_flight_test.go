package gateway

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// heldBack is an origin that sends an answer in two parts, each when it is told. asked gets a token for each request.
func heldBack(t testing.TB, head, rest string) (o *testnet.Origin, asked chan struct{}, first, second chan struct{}) {
	asked, first, second = make(chan struct{}, 10_000), make(chan struct{}), make(chan struct{})
	o = testnet.NewOrigin(t, func(c *testnet.OriginConn) {
		for {
			if _, read := c.ReadRequest(); !read {
				return
			}
			asked <- struct{}{}
			if !c.Wait(first) || !c.Send(head) || !c.Wait(second) || !c.Send(rest) {
				return
			}
		}
	})
	return o, asked, first, second
}

// TestCacheCollapses: of 1,000 requests for an answer that is not there one is sent, and all read the answer while it comes.
func TestCacheCollapses(t *testing.T) {
	const crowd = 1000
	half := strings.Repeat("abcdefgh", 512)
	origin, asked, first, second := heldBack(t, fmt.Sprintf("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: %d\r\n\r\n%s", 2*len(half), half), half)
	g := start(t, cached("{}", origin.Addr, ""))
	var begun, done sync.WaitGroup
	begun.Add(crowd)
	collapsed := make(chan string, crowd)
	for range crowd {
		c := g.dial("web")
		done.Go(func() {
			if err := c.TrySend(get("/a")); err != nil {
				t.Error(err)
			}
			got, buf := "", make([]byte, 16<<10)
			for told := false; !strings.HasSuffix(got, half+half); {
				n, err := c.Read(buf)
				if err != nil {
					t.Errorf("after %d bytes: %v", len(got), err)
					break
				}
				if got += string(buf[:n]); !told && strings.HasSuffix(got, "\r\n\r\n"+half) {
					told = true
					begun.Done()
				}
			}
			head, _, _ := strings.Cut(got, "\r\n\r\n")
			_, says, _ := strings.Cut(head, "Cache-Status: ")
			says, _, _ = strings.Cut(says, "\r\n")
			collapsed <- says
		})
	}
	testnet.Receive(t, "the request", asked)
	testnet.Eventually(t, "all to wait for it", func() bool {
		return g.metric(`sluice_cache_requests_total{policy="kept",result="collapsed"}`) == fmt.Sprint(crowd-1)
	})
	close(first)
	begun.Wait() // all have the first half before there is a second
	close(second)
	done.Wait()
	says := map[string]int{}
	for range crowd {
		says[<-collapsed]++
	}
	if len(says) != 2 || says["sluice; fwd=uri-miss; stored"] != 1 || says["sluice; fwd=uri-miss; stored; collapsed"] != crowd-1 {
		t.Errorf("Cache-Status: %v", says)
	}
	if len(asked) != 0 {
		t.Errorf("%d more requests came to the origin", len(asked))
	}
}

// TestCacheLeaderLeaves is row 13.6: the fetch goes on for those who follow, and without them it is cancelled.
func TestCacheLeaderLeaves(t *testing.T) {
	for _, follows := range []bool{true, false} {
		origin, asked, first, second := heldBack(t, "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 8\r\n\r\nhalf", "half")
		if !follows {
			origin = testnet.NewOrigin(t, func(c *testnet.OriginConn) {
				if _, read := c.ReadRequest(); read {
					asked <- struct{}{}
					c.Hang()
				}
			})
		}
		g := start(t, cached("{}", origin.Addr, ""))
		leader, follower := g.dial("web"), g.dial("web")
		leader.Send(get("/a"))
		testnet.Receive(t, "the request", asked)
		if follows {
			follower.Send(get("/a"))
			testnet.Eventually(t, "the follower", func() bool { return g.metric(`sluice_cache_requests_total{policy="kept",result="collapsed"}`) == "1" })
		}
		leader.Close()
		testnet.Eventually(t, "the end of the leader", func() bool { return strings.Contains(g.out.String(), `"cache":"miss"`) })
		if !strings.Contains(g.out.String(), `"reason":"client_closed"`) {
			t.Errorf("log: %s", g.out.String())
		}
		if !follows {
			testnet.Receive(t, "the end of the connection to the origin", origin.Conn(0).Ended())
			if n := g.metric(`sluice_cache_events_total{policy="kept",event="abandoned"}`); n != "1" {
				t.Errorf("%s fetches were given up", n)
			}
			continue
		}
		close(first)
		close(second)
		if r := follower.ReadResponse("GET"); r.Status != 200 || string(r.Body) != "halfhalf" {
			t.Errorf("follower: %d %q", r.Status, r.Body)
		}
		want(t, follower, "/a", 200, "halfhalf")
		if len(asked) != 0 {
			t.Errorf("%d more requests came to the origin", len(asked))
		}
	}
}

// TestCacheLeaderLeavesBody: the same when the head has come already.
func TestCacheLeaderLeavesBody(t *testing.T) {
	origin, _, first, second := heldBack(t, "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 8\r\n\r\nhalf", "half")
	g := start(t, cached("{}", origin.Addr, ""))
	close(first)
	leader, follower := g.dial("web"), g.dial("web")
	leader.Send(get("/a"))
	leader.WantPrefix("HTTP/1.1 200 OK\r\n")
	follower.Send(get("/a"))
	follower.WantPrefix("HTTP/1.1 200 OK\r\n")
	leader.Reset()
	close(second)
	var got strings.Builder
	for buf := make([]byte, 1024); !strings.HasSuffix(got.String(), "halfhalf"); {
		n, err := follower.Read(buf)
		if err != nil {
			t.Fatalf("%q, %v", got.String(), err)
		}
		got.Write(buf[:n])
	}
	want(t, g.dial("web"), "/a", 200, "halfhalf")
}

// TestCachePrivateFollowers is row 8.8: those who have waited for an answer that is one caller's go on their own.
func TestCachePrivateFollowers(t *testing.T) {
	for _, fields := range []string{"Cache-Control: private", "Cache-Control: no-store", "Set-Cookie: id=1"} {
		release := make(chan struct{})
		var all sync.Mutex
		n := 0
		origin := testnet.NewOrigin(t, func(c *testnet.OriginConn) {
			for {
				if _, read := c.ReadRequest(); !read || !c.Wait(release) {
					return
				}
				all.Lock()
				n++
				body := fmt.Sprint("answer ", n)
				all.Unlock()
				if !c.Send(page(body, fields)) {
					return
				}
			}
		})
		g := start(t, cached("{ttl: 1m}", origin.Addr, ""))
		const crowd = 20
		bodies := make(chan string, crowd)
		var done sync.WaitGroup
		for range crowd {
			c := g.dial("web")
			done.Go(func() {
				if err := c.TrySend(get("/a")); err != nil {
					t.Error(err)
				}
				answer, err := c.TryResponse("GET")
				if err != nil {
					t.Error(err)
					return
				}
				bodies <- string(answer.Body)
			})
		}
		testnet.Eventually(t, "all to wait", func() bool {
			return g.metric(`sluice_cache_requests_total{policy="kept",result="collapsed"}`) == fmt.Sprint(crowd-1)
		})
		close(release)
		done.Wait()
		seen := map[string]bool{}
		for range crowd {
			body := <-bodies
			if seen[body] {
				t.Errorf("%s: %q went to two callers", fields, body)
			}
			seen[body] = true
		}
	}
}

// TestCacheBreaksOff: an answer that ends before its end is cut for all who read it, and is not kept.
func TestCacheBreaksOff(t *testing.T) {
	origin, asked := counting(t, func(n int64, r *testnet.Request) string {
		if n == 1 {
			return "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nx\r\n"
		}
		return page("whole", "Cache-Control: max-age=60")
	})
	g := start(t, cached("{}", origin.Addr, ""))
	c := g.dial("web")
	c.Send(get("/a"))
	if r, err := c.TryResponse("GET"); err == nil {
		t.Errorf("an answer that was cut short looks whole: %q", r.Body)
	}
	testnet.Eventually(t, "the log", func() bool { return strings.Contains(g.out.String(), "\n") })
	if !strings.Contains(g.out.String(), `"side":"upstream"`) {
		t.Errorf("log: %s", g.out.String())
	}
	play(t, g.dial("web"), turn{request: "GET /a", body: "whole", says: "sluice; fwd=uri-miss; stored"}, turn{request: "GET /a", body: "whole", says: "sluice; hit; ttl=N"})
	if asked.Load() != 2 {
		t.Errorf("%d requests", asked.Load())
	}
}

// TestCacheFailures: nobody waits a second time for what has failed for all, and a refusal by a policy behind the cache is one caller's.
func TestCacheFailures(t *testing.T) {
	g := start(t, cached("{}", "127.0.0.1:1", ""))
	play(t, g.dial("web"), turn{request: "GET /a", status: 502, field: "Sluice-Reason: upstream_connect_refused", says: "-"})
	testnet.Eventually(t, "the log", func() bool { return strings.Contains(g.out.String(), "\n") })
	for _, part := range []string{`"reason":"upstream_connect_refused","side":"upstream"`, `"backend":"app"`, `"attempts":1`, `"cache":"miss"`} {
		if !strings.Contains(g.out.String(), part) {
			t.Errorf("log: %s, want %s in it", g.out.String(), part)
		}
	}
	origin, asked := counting(t, func(int64, *testnet.Request) string { return page("ok", "Cache-Control: max-age=60") })
	g = start(t, strings.Replace(cached("{ttl: 1m}", origin.Addr, ""), "policies: [kept]", "policies: [kept, {rate_limit: {rate: 1/h}}]", 1))
	play(t, g.dial("web"), turn{request: "GET /a", says: "sluice; fwd=uri-miss; stored"}, turn{request: "GET /a", says: "sluice; hit; ttl=N"},
		turn{request: "GET /b", status: 429, field: "Sluice-Reason: rate_limited", says: "sluice; fwd=uri-miss"}, turn{request: "GET /b", status: 429, field: "Cache-Control: no-store"},
		turn{request: "GET /a", says: "sluice; hit; ttl=N"})
	if asked.Load() != 1 {
		t.Errorf("%d requests", asked.Load())
	}
	testnet.Eventually(t, "the log", func() bool { return strings.Count(g.out.String(), `"reason":"rate_limited","side":"client"`) == 2 })
}
