package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/message"
)

// worker runs the rest of a route: work fills the response of the copy of a request.
type worker struct {
	calls atomic.Int32
	work  func(x *message.Exchange, call int32)
	tasks sync.WaitGroup
	body  atomic.Pointer[string] // of the last request
}

func (w *worker) Detach(x *message.Exchange, _ int, given Task) (cancel func()) {
	c := new(message.Exchange)
	c.Reset()
	message.CopyRequest(c, x)
	text := string(given.Body)
	w.body.Store(&text)
	w.tasks.Go(func() {
		w.work(c, w.calls.Add(1))
		given.Answer(c)
		_ = c.Response.Body.Close()
	})
	return func() {}
}

// post is a request with a key and a body.
func post(key, body string, lines ...string) *message.Exchange {
	x := exchange("-", lines...)
	x.Request.Method = message.MethodOf([]byte("POST"))
	if key != "" {
		addLine(&x.Request.Header, "Idempotency-Key: "+key)
	}
	if body != "" {
		x.Request.Body, x.Request.Length = split(body, 3), int64(len(body))
	}
	return x
}

// gotten is what a client of an idempotent route got.
type gotten struct {
	status int
	reason message.Reason
	header string
	body   string
	err    error
}

func (a gotten) String() string {
	if a.reason != passed {
		return fmt.Sprint(a.reason.Status(), " ", a.reason)
	}
	return fmt.Sprintf("%d %s [%s]", a.status, a.body, strings.ReplaceAll(a.header, "\n", "|"))
}

// send sends a request through a chain whose last policy is idempotency.
func (w *worker) send(c *Chain, x *message.Exchange) (a gotten) {
	ran, done, f := c.Request(x, 0, w)
	switch {
	case f != nil:
		a.reason = f.Reason
		x.Fail(f)
	case !done: // it passes without a key
		w.work(x, w.calls.Add(1))
	}
	c.Response(x, ran, 0)
	if f != nil {
		return a
	}
	a.status, a.header = x.Response.Status, dump(&x.Response.Header)
	var b []byte
	for {
		piece, err := x.Response.Body.Next()
		if err != nil {
			if err != io.EOF {
				a.err = err
			}
			break
		}
		b = append(b, piece...)
	}
	_ = x.Response.Body.Close()
	a.body = string(b)
	return a
}

// replies answers with a status, a text that counts, and fields.
func replies(status int, lines ...string) func(*message.Exchange, int32) {
	return func(x *message.Exchange, call int32) {
		x.Response.Status = status
		for _, l := range lines {
			addLine(&x.Response.Header, l)
		}
		text := fmt.Sprint("answer ", call)
		x.Response.Body, x.Response.Length = split(text, 2), int64(len(text))
	}
}

func idempotent(t testing.TB, p *counting, options string) *Chain {
	t.Helper()
	return p.generation(limits("[once]", "policies: {once: {idempotency: {"+options+"}}}")).chains["a"]
}

func TestIdempotency(t *testing.T) {
	t.Parallel()
	const first, again = "200 answer 1 []", "200 answer 1 [Idempotent-Replayed: true]"
	type step struct {
		x    *message.Exchange
		want string
	}
	from := func(addr byte, x *message.Exchange) *message.Exchange {
		x.Client.Addr = netip.AddrFrom4([4]byte{192, 0, 2, addr})
		return x
	}
	as := func(id *message.Identity, x *message.Exchange) *message.Exchange { x.Identity = id; return x }
	sub := func(iss, sub string) *message.Identity {
		return &message.Identity{Claims: []message.Claim{{Name: "iss", Raw: []byte(`"` + iss + `"`), Text: []byte(iss)}, {Name: "sub", Raw: []byte(`"` + sub + `"`), Text: []byte(sub)}}}
	}
	with := func(x *message.Exchange, change func(*message.Request)) *message.Exchange {
		change(&x.Request)
		return x
	}
	long := strings.Repeat("k", 255)
	for _, c := range []struct {
		name, options string
		work          func(*message.Exchange, int32)
		steps         []step
		calls         int32
	}{
		{"again", "", replies(200), []step{{post("k", "b"), first}, {post("k", "b"), again}, {post("k", "b"), again}}, 1},
		{"without a key", "", replies(200), []step{{post("", "b"), first}, {post("", "b"), "200 answer 2 []"}}, 2},
		{"a key is needed", "required: true", replies(200), []step{{post("", "b"), "400 idempotency_key_missing"}}, 0},
		{"another header", "header: X-Key", replies(200), []step{{post("", "b", "X-Key: k"), first}, {post("", "b", "X-Key: k"), again}, {post("k", "b"), "200 answer 2 []"}}, 2},
		{"keys", "", replies(200), []step{
			{post(" ", "b"), "400 idempotency_key_invalid"}, {post("a b", "b"), "400 idempotency_key_invalid"}, {post("ä", "b"), "400 idempotency_key_invalid"},
			{post(long+"k", "b"), "400 idempotency_key_invalid"}, {post(long, "b"), first}, {post(long, "b"), again},
			{post(`"8e03978e-40d5-43dd-bc93-6894a57f9324"`, "b"), "200 answer 2 []"}, {post("~!", "b"), "200 answer 3 []"}}, 3},
		{"two keys", "", replies(200), []step{{post("k", "b", "Idempotency-Key: k"), "400 header_repeated"}}, 0},
		{"another body", "", replies(200), []step{{post("k", "b"), first}, {post("k", "c"), "422 idempotency_key_reused"}, {post("k", ""), "422 idempotency_key_reused"}, {post("k", "b"), again}}, 1},
		{"no body", "", replies(200), []step{{post("k", ""), first}, {post("k", ""), again}, {post("k", "b"), "422 idempotency_key_reused"}}, 1},
		{"another path", "", replies(200), []step{{post("k", "b"), first}, {with(post("k", "b"), func(r *message.Request) { r.Path = []byte("/other") }), "422 idempotency_key_reused"}}, 1},
		{"another query", "", replies(200), []step{{post("k", "b"), first}, {with(post("k", "b"), func(r *message.Request) { r.Query = []byte("a=1") }), "422 idempotency_key_reused"}}, 1},
		{"another method", "", replies(200), []step{{post("k", "b"), first}, {with(post("k", "b"), func(r *message.Request) { r.Method = message.MethodOf([]byte("PUT")) }), "422 idempotency_key_reused"}}, 1},
		{"another address", "", replies(200), []step{{post("k", "b"), first}, {from(8, post("k", "b")), "200 answer 2 []"}}, 2},
		{"consumers", "", replies(200), []step{{as(&message.Identity{Consumer: "a"}, post("k", "b")), first}, {as(&message.Identity{Consumer: "a"}, from(8, post("k", "b"))), again},
			{as(&message.Identity{Consumer: "b"}, post("k", "b")), "200 answer 2 []"}, {post("k", "b"), "200 answer 3 []"}}, 3},
		{"subjects", "", replies(200), []step{{as(sub("i", "a"), post("k", "b")), first}, {as(sub("i", "a"), from(8, post("k", "b"))), again},
			{as(sub("i", "b"), post("k", "b")), "200 answer 2 []"}, {as(sub("j", "a"), post("k", "b")), "200 answer 3 []"}}, 3},
		{"what is kept", "", replies(404, "Location: /x", "Set-Cookie: a", "Set-Cookie: b", "Date: then", `RateLimit: "theirs";r=1`, "Retry-After: 3", "Connection: close", "X-Request-Id: 7"), []step{
			{post("k", "b"), `404 answer 1 [Location: /x|Set-Cookie: a|Set-Cookie: b|Date: then|RateLimit: "theirs";r=1|Retry-After: 3]`},
			{post("k", "b"), "404 answer 1 [Location: /x|Set-Cookie: a|Set-Cookie: b|Retry-After: 3|Idempotent-Replayed: true]"}}, 1},
		{"a mark of the service", "", replies(200, "Idempotent-Replayed: true"), []step{{post("k", "b"), first}, {post("k", "b"), again}}, 1},
		{"failures are not kept", "", replies(500, "Retry-After: 9"), []step{{post("k", "b"), "500 answer 1 [Retry-After: 9]"}, {post("k", "b"), "500 answer 2 [Retry-After: 9]"}}, 2},
		{"nor is 408", "", replies(408), []step{{post("k", "b"), "408 answer 1 []"}, {post("k", "b"), "408 answer 2 []"}}, 2},
		{"nor is 425", "", replies(425), []step{{post("k", "b"), "425 answer 1 []"}, {post("k", "b"), "425 answer 2 []"}}, 2},
		{"nor is 429", "", replies(429), []step{{post("k", "b"), "429 answer 1 []"}, {post("k", "c"), "429 answer 2 []"}}, 2},
		{"nor what the gateway says", "", func(x *message.Exchange, call int32) {
			replies(403)(x, call)
			x.Fail(&message.Failure{Reason: message.NotAllowed})
		}, []step{{post("k", "b"), "403 answer 1 []"}, {post("k", "b"), "403 answer 2 []"}}, 2},
		{"a body that breaks off", "", func(x *message.Exchange, call int32) {
			replies(200)(x, call)
			x.Response.Body.(*script).end = errors.New("broken")
		}, []step{{post("k", "b"), "502 upstream_body_broken"}, {post("k", "b"), "502 upstream_body_broken"}}, 2},
		{"a large request", "", replies(200), []step{{post("k", strings.Repeat("x", maxReplay)), first}, {post("k", strings.Repeat("x", maxReplay+1)), "413 body_too_large"},
			{post("k", strings.Repeat("x", maxReplay)), again}}, 1},
		{"an answer to HEAD", "", func(x *message.Exchange, _ int32) { x.Response.Status, x.Response.Length = 200, 77 }, []step{{post("k", ""), "200  []"}, {post("k", ""), "200  [Idempotent-Replayed: true]"}}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newCounting(t)
			chain := idempotent(t, p, c.options)
			w := &worker{work: c.work}
			for i, s := range c.steps {
				if got := w.send(chain, s.x).String(); got != s.want {
					t.Errorf("%d: got %s, want %s", i, got, s.want)
				}
			}
			w.tasks.Wait()
			if n := w.calls.Load(); n != c.calls {
				t.Errorf("the work was done %d times, want %d", n, c.calls)
			}
			p.settled(t)
		})
	}
}

// settled fails the test if memory of bodies is held.
func (p *counting) settled(t testing.TB) {
	t.Helper()
	for _, thing := range p.things {
		if m, ok := thing.(*bodyMemory); ok && m.held.Load() != 0 {
			t.Errorf("%d bytes of bodies are still held", m.held.Load())
		}
	}
}

// TestIdempotencyCrowd: of 100 at once one does the work, and all get the same answer, also when it is a failure.
func TestIdempotencyCrowd(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name         string
		work         func(*message.Exchange, int32)
		first, other string
		later        int32 // calls, when another request comes
	}{
		{"kept", replies(201, "Location: /1"), "201 answer 1 [Location: /1]", "201 answer 1 [Location: /1|Idempotent-Replayed: true]", 1},
		{"not kept", replies(500), "500 answer 1 []", "500 answer 1 [Idempotent-Replayed: true]", 2},
		{"the gateway's own failure", func(x *message.Exchange, call int32) {
			x.Fail(&message.Failure{Reason: message.NoHealthyEndpoint})
			replies(503, "Retry-After: 1")(x, call)
		}, "503 answer 1 [Retry-After: 1]", "503 no_healthy_endpoint", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newCounting(t)
			chain := idempotent(t, p, "")
			open := make(chan struct{})
			w := &worker{work: func(x *message.Exchange, call int32) { <-open; c.work(x, call) }}
			got := make(chan string, 100)
			var came atomic.Int32
			for range cap(got) {
				go func() {
					x := post("k", "body")
					came.Add(1)
					got <- w.send(chain, x).String()
				}()
			}
			testnet.Eventually(t, "all of them", func() bool { return came.Load() == int32(cap(got)) })
			close(open)
			n := map[string]int{}
			for range cap(got) {
				n[testnet.Receive(t, "an answer", got)]++
			}
			// One that comes late, because the machine is busy, may find that nothing is kept.
			if n[c.first] < 1 || c.later == 1 && (n[c.first] != 1 || n[c.other] != 99) || c.later > 1 && n[c.other] == 0 {
				t.Errorf("answers: %v", n)
			}
			calls := w.calls.Load()
			if c.later == 1 && calls != 1 {
				t.Errorf("the work was done %d times", calls)
			}
			w.send(chain, post("k", "body"))
			if now := w.calls.Load() - calls; now != c.later-1 {
				t.Errorf("a later request does the work %d times, want %d", now, c.later-1)
			}
			w.tasks.Wait()
			p.settled(t)
		})
	}
}

// TestIdempotencyInProgress: a duplicate waits for no longer than its route allows, and what it waits for goes on.
func TestIdempotencyInProgress(t *testing.T) {
	t.Parallel()
	p := newCounting(t)
	chain := idempotent(t, p, "")
	open := make(chan struct{})
	w := &worker{work: func(x *message.Exchange, call int32) { <-open; replies(200)(x, call) }}
	first := make(chan string, 1)
	go func() { first <- w.send(chain, post("k", "b")).String() }()
	testnet.Eventually(t, "the first", func() bool { return w.calls.Load() == 1 })
	late := post("k", "b")
	late.Deadline = message.Now() + int64(30*time.Millisecond)
	if got := w.send(chain, late); got.reason != message.IdempotencyInProgress {
		t.Errorf("got %s", got)
	}
	if got := w.send(chain, post("k", "other")); got.reason != message.IdempotencyKeyReused {
		t.Errorf("another body meanwhile: %s", got)
	}
	close(open)
	if got := testnet.Receive(t, "the first answer", first); got != "200 answer 1 []" {
		t.Errorf("got %s", got)
	}
	if got := w.send(chain, post("k", "b")).String(); got != "200 answer 1 [Idempotent-Replayed: true]" {
		t.Errorf("got %s", got)
	}
	w.tasks.Wait()
}

// TestIdempotencyLarge: an answer that is too large to be kept goes through as it comes; who waits for it is told to come again.
func TestIdempotencyLarge(t *testing.T) {
	t.Parallel()
	p := newCounting(t)
	chain := idempotent(t, p, "")
	text := strings.Repeat("0123456789abcdef", (3<<20)/16)
	open := make(chan struct{})
	for _, known := range []bool{true, false} {
		w := &worker{work: func(x *message.Exchange, _ int32) {
			<-open
			x.Response.Status, x.Response.Body, x.Response.Length = 200, split(text, 50), message.LengthUnknown
			if known {
				x.Response.Length = int64(len(text))
			}
		}}
		if !known {
			open = make(chan struct{})
		}
		first, second := make(chan gotten, 1), make(chan gotten, 1)
		go func() { first <- w.send(chain, post("k", "b")) }()
		testnet.Eventually(t, "the first", func() bool { return w.calls.Load() == 1 })
		go func() { second <- w.send(chain, post("k", "b")) }()
		close(open)
		if got := testnet.Receive(t, "the first answer", first); got.status != 200 || got.body != text || got.err != nil {
			t.Errorf("the first gets %d, %d bytes, %v", got.status, len(got.body), got.err)
		}
		// The second came before the end, and is told so, or it came behind, and does the work again.
		if got := testnet.Receive(t, "the second answer", second); got.reason != message.IdempotencyInProgress && got.body != text {
			t.Errorf("the second gets %d %v, %d bytes", got.status, got.reason, len(got.body))
		}
		w.tasks.Wait()
		p.settled(t)
		calls := w.calls.Load()
		if got := w.send(chain, post("k", "b")); got.body != text || w.calls.Load() != calls+1 {
			t.Errorf("a later one gets %d bytes", len(got.body))
		}
		w.tasks.Wait()
	}
	// A client that leaves in the midst ends it.
	w := &worker{work: func(x *message.Exchange, _ int32) {
		x.Response.Status, x.Response.Body, x.Response.Length = 200, split(text, 50), -1
	}}
	x := post("gone", "b")
	if _, done, f := chain.Request(x, 0, w); !done || f != nil {
		t.Fatal(done, f)
	}
	if _, err := x.Response.Body.Next(); err != nil {
		t.Fatal(err)
	}
	_ = x.Response.Body.Close()
	_ = x.Response.Body.Close()
	w.tasks.Wait()
	chain.Response(x, 1, 0)
	p.settled(t)
}

// TestIdempotencyMemory: what is kept is bounded; the oldest goes first, and what is being worked on stays.
func TestIdempotencyMemory(t *testing.T) {
	t.Parallel()
	p := newCounting(t)
	chain := idempotent(t, p, "memory: 1MiB")
	body := strings.Repeat("x", 100<<10)
	w := &worker{work: func(x *message.Exchange, _ int32) {
		x.Response.Status, x.Response.Body, x.Response.Length = 200, split(body, 4), int64(len(body))
	}}
	for i := range 30 {
		if got := w.send(chain, post(fmt.Sprint("k", i), "b")); got.body != body {
			t.Fatal(i, got.status)
		}
	}
	m := p.memoryReplays()
	if m.held > 1<<20 || len(m.all) != 10 || m.evicted != 20 {
		t.Errorf("%d bytes in %d answers are kept, %d evicted", m.held, len(m.all), m.evicted)
	}
	if got := w.send(chain, post("k29", "b")); !strings.Contains(got.header, "Replayed") {
		t.Error("the newest is not kept")
	}
	if got := w.send(chain, post("k0", "b")); strings.Contains(got.header, "Replayed") {
		t.Error("the oldest is still kept")
	}
	w.tasks.Wait()

	// As many requests at once as have room without an answer; the next is refused, and nothing is forgotten.
	open := make(chan struct{})
	w = &worker{work: func(x *message.Exchange, call int32) { <-open; replies(200)(x, call) }}
	const most = 1 << 20 / replayOverhead
	for i := range most {
		go w.send(chain, post(fmt.Sprint("busy", i), ""))
	}
	testnet.Eventually(t, "many at once", func() bool { return w.calls.Load() == most })
	if got := w.send(chain, post("one-more", "")); got.reason != message.LimitStoreUnavailable || m.refused != 1 {
		t.Errorf("one more: %s, %d refused", got, m.refused)
	}
	close(open)
	w.tasks.Wait()
	testnet.Eventually(t, "their answers", func() bool { m.mu.Lock(); defer m.mu.Unlock(); return len(m.order) == len(m.all) })
}

func (p *counting) memoryReplays() *memoryReplays {
	for _, thing := range p.things {
		if m, ok := thing.(*memoryReplays); ok {
			return m
		}
	}
	p.t.Fatal("nothing is kept")
	return nil
}

// TestIdempotencyKeep: answers end, also those that stand behind others which are kept for longer; what is kept outlives a change of the configuration.
func TestIdempotencyKeep(t *testing.T) {
	t.Parallel()
	p := newCounting(t)
	w := &worker{work: replies(200)}
	text := func(keep string) string { return limits("[once]", "policies: {once: {idempotency: {keep: "+keep+"}}}") }
	long := p.generation(text("1h"))
	w.send(long.chains["a"], post("long", "b"))
	short := p.generation(text("1s"))
	p.release(long.keys)
	w.send(short.chains["a"], post("short", "b"))
	for _, key := range []string{"long", "short"} {
		if got := w.send(short.chains["a"], post(key, "b")); !strings.Contains(got.header, "Replayed") {
			t.Errorf("%s: %s", key, got)
		}
	}
	if got := w.send(short.chains["b"], post("long", "b")); strings.Contains(got.header, "Replayed") {
		t.Errorf("another route: %s", got)
	}
	calls := w.calls.Load()
	testnet.Eventually(t, "the end of an answer", func() bool { w.send(short.chains["a"], post("short", "b")); return w.calls.Load() > calls })
	if got := w.send(short.chains["a"], post("long", "b")); !strings.Contains(got.header, "Replayed") {
		t.Errorf("long: %s", got)
	}
	w.tasks.Wait()
}

// TestIdempotencyBody: the work gets the body that was compared, byte for byte.
func TestIdempotencyBody(t *testing.T) {
	t.Parallel()
	p := newCounting(t)
	chain := idempotent(t, p, "")
	w := &worker{work: replies(200)}
	body := string(bytes.Repeat([]byte{0, 1, 255, '\n'}, 50_000))
	x := post("k", body)
	x.Request.Length = message.LengthUnknown
	if got := w.send(chain, x); got.status != 200 || *w.body.Load() != body {
		t.Errorf("%s; the body has %d bytes", got, len(*w.body.Load()))
	}
	if got := w.send(chain, post("k", body)); !strings.Contains(got.header, "Replayed") {
		t.Errorf("with a length: %s", got)
	}
	w.tasks.Wait()
	p.settled(t)
}
