//go:build !race

package bank

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/test/rig"
)

// The race detector keeps several bytes for each byte of memory, so that what is counted here says nothing with it.

// heap returns the bytes of the heap that are in use, garbage left out.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Case 57 of the security checklist: bodies that wait for their end in a policy are bounded together, not only each. What finds no room is refused with a
// reason, nothing of it comes to a backend, and there is room again as soon as somebody leaves.
func TestCase57BodiesTogether(t *testing.T) {
	b := start(t, options{replace: []string{"max_body: 64KiB", "max_body: 8MiB"}})
	const clients, size = 60, 8 << 20 // 480 MiB; there is room for 256
	head := fmt.Sprintf("POST /transfers HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n\r\n", size, bearer(b.customer("7")))
	text := `{"to":"` + strings.Repeat("x", size-8) // all but the last bytes
	before := heap()
	all := make([]*rig.Client, clients)
	answers := make(chan *rig.Response, clients)
	for i := range all {
		all[i] = b.Dial("public")
		go func() {
			all[i].Push(head)
			all[i].Push(text)
			r, err := all[i].Try("POST")
			if err != nil {
				r = nil // it was let in, and left
			}
			answers <- r
		}()
	}
	refused := 0
	for refused < clients/4 {
		r := testnet.Receive(t, "a refusal", answers)
		if r == nil {
			t.Fatal("a client was cut off without an answer")
		}
		b.search("POST /transfers HTTP/1.1\r\n", r)
		if r.Status != 503 || r.Reason() != "concurrency_exceeded" || r.Header.Get("Retry-After") == "" {
			t.Fatalf("answer %d %s", r.Status, r.Reason())
		}
		refused++
	}
	if got := heap() - before; got > 384<<20 {
		t.Errorf("%d MiB are in use", got>>20)
	}
	// What needs no room is served meanwhile.
	if r := b.ask(get("/v2/accounts/7", bearer(b.customer("7")))); r.Status != 200 {
		t.Errorf("an account: %d %s", r.Status, r.Reason())
	}
	for _, c := range all {
		c.Close()
	}
	for range clients - refused {
		testnet.Receive(t, "the end of a client", answers)
	}
	testnet.Eventually(t, "room for others", func() bool {
		r := b.ask(post("/transfers", `{"to":"DE1","amount":"10.50","currency":"EUR","from":"`+strings.Repeat("x", 4<<20)+`"}`, bearer(b.customer("7"))))
		return r.Status == 413 || r.Status == 201 // beyond what idempotency or the change of bodies take, but no longer 503
	})
	if n := len(b.transactions.requests(t)); n > 1 {
		t.Errorf("the service got %d transfers", n)
	}
}

// The same of answers that compositions keep until the last part has come.
func TestCase57CompositionsTogether(t *testing.T) {
	b := start(t, options{replace: []string{"timeout: 500ms", "timeout: 30s", "rate: 10/s, burst: 20", "rate: 1000000/s"}})
	large := jsonOf(200, `{"id":"7","currency":"EUR","x":"`+strings.Repeat("x", 1<<20-64)+`"}`)
	b.accounts.always(large)
	open := make(chan struct{})
	b.transactions.holds(open)
	const clients = 400 // 400 MiB; there is room for 256
	before := heap()
	all := make([]*rig.Client, clients)
	for i := range all {
		all[i] = b.Dial("public")
		all[i].Send(get("/overview", bearer(b.customer(fmt.Sprint("c", i)))))
	}
	testnet.Eventually(t, "all accounts to be asked for", func() bool { return len(b.accounts.requests(t)) >= clients })
	series := `sluice_steps_crowded_total{route="overview"}`
	testnet.Eventually(t, "steps that find no room", func() bool { return b.Metric(series) != "" && b.Metric(series) != "0" })
	if got := heap() - before; got > 500<<20 {
		t.Errorf("%d MiB are in use", got>>20)
	}
	held := `sluice_step_bytes{route="overview"}`
	if n, err := strconv.ParseInt(b.Metric(held), 10, 64); err != nil || n < 200<<20 || n > 256<<20 {
		t.Errorf("%s is %q, want nearly 256 MiB", held, b.Metric(held))
	}
	close(open)
	served, crowded := 0, 0
	for _, c := range all {
		r := c.Response("GET")
		switch {
		case r.Status == 200:
			served++
		case r.Status == 502 && strings.Contains(string(r.Body), `"reason":"memory"`), r.Status == 503 && r.Reason() == "concurrency_exceeded": // a part; the whole
			crowded++
		default:
			t.Errorf("answer %d %.300s", r.Status, r.Body)
		}
	}
	if served == 0 || crowded == 0 {
		t.Errorf("%d were served, %d found no room", served, crowded)
	}
	b.accounts.answers(account)
	if r := b.ask(get("/overview", bearer(b.customer("later")))); r.Status != 200 || r.Header.Get("Sluice-Partial") != "" {
		t.Errorf("afterwards: %d %s", r.Status, r.Reason())
	}
}

// Answers that are read whole before the first byte of them is told are bounded together, too.
func TestCase57AnswersTogether(t *testing.T) {
	b := start(t, options{})
	const clients, size = 500, 1 << 20 // 500 MiB
	open := make(chan struct{})
	begun := make(chan struct{}, 2*clients)
	head := fmt.Sprintf("HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", size)
	text := `{"id":"` + strings.Repeat("x", size-9-1000)
	rest := strings.Repeat("x", 1000) + `"}`
	b.transactions.answers(func(*rig.Request) string { return rest })
	b.transactions.when(func(c *rig.OriginConn) bool {
		c.Send(head + text)
		begun <- struct{}{}
		return c.Wait(open)
	})
	before := heap()
	all := make([]*rig.Client, clients)
	for i := range all {
		all[i] = b.Dial("public")
		all[i].Send(post("/transfers", `{"to":"DE1","amount":"10.50","currency":"EUR"}`, bearer(b.customer("7")), fmt.Sprint("Idempotency-Key: k", i)))
	}
	for range clients {
		testnet.Receive(t, "an answer to begin", begun)
	}
	if got := heap() - before; got > 400<<20 {
		t.Errorf("%d MiB are in use", got>>20)
	}
	close(open)
	served, refused := 0, 0
	for _, c := range all {
		switch r := c.Response("POST"); {
		case r.Status == 201:
			served++
		case r.Status == 503 && r.Reason() == "concurrency_exceeded":
			refused++
		default:
			t.Errorf("answer %d %.300s", r.Status, r.Body)
		}
	}
	if served == 0 || refused == 0 {
		t.Errorf("%d were served, %d found no room", served, refused)
	}
	b.transactions.holds(open)
	b.transactions.answers(transactions)
	if r := b.ask(post("/transfers", `{"to":"DE1","amount":"10.50","currency":"EUR"}`, bearer(b.customer("7")))); r.Status != 201 {
		t.Errorf("afterwards: %d %s", r.Status, r.Reason())
	}
}

// What is kept for replays is bounded: old answers make room for new ones, and those are replayed.
func TestCase57Replays(t *testing.T) {
	b := start(t, options{replace: []string{"keep: 24h}", "keep: 24h, memory: 16MiB}"}})
	answer := `{"x":"` + strings.Repeat("x", 900<<10) + `"}`
	b.transactions.always(jsonOf(201, answer))
	ask := func(i int) string {
		return post("/transfers", `{"to":"DE1","amount":"10.50","currency":"EUR"}`, bearer(b.customer("7")), fmt.Sprint("Idempotency-Key: k", i))
	}
	before := heap()
	const n = 60 // 54 MiB
	for i := range n {
		wants(t, b.ask(ask(i)), 201, answer, "Idempotent-Replayed")
	}
	if got := heap() - before; got > 40<<20 {
		t.Errorf("%d MiB are kept, 16 may be", got>>20)
	}
	wants(t, b.ask(ask(n-1)), 201, answer, "Idempotent-Replayed: true")
	wants(t, b.ask(ask(0)), 201, answer, "Idempotent-Replayed")
}
