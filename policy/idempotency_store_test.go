package policy

import (
	"bytes"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/limit"
	"github.com/sluice-gateway/sluice/message"
)

// idempotentIn returns the route of a program that keeps answers in a store, once that can be asked.
func idempotentIn(t testing.TB, p *counting, server *testnet.Redis, options string) *Chain {
	t.Helper()
	c := idempotent(t, p, options+"store: {redis: '"+server.Address()+"', timeout: 50ms}")
	testnet.Eventually(t, "the store", func() bool { return p.recordStore().Available() })
	return c
}

func (p *counting) recordStore() *limit.Store {
	for key, thing := range p.things {
		if k, ok := key.(storeKey); ok && k.use == storeOfRecords {
			return thing.(keptStore).Store
		}
	}
	p.t.Fatal("there is no store")
	return nil
}

// TestIdempotencyStore: two programs with one store give the same answers.
func TestIdempotencyStore(t *testing.T) {
	t.Parallel()
	server := testnet.StartRedis(t)
	p, q := newCounting(t), newCounting(t)
	one, two := idempotentIn(t, p, server, ""), idempotentIn(t, q, server, "")
	w := &worker{work: replies(201, "Location: /1", "Date: then", "Set-Cookie: a", "Set-Cookie: b")}
	for i, c := range []struct {
		chain *Chain
		x     *message.Exchange
		want  string
	}{
		{one, post("k", "b"), "201 answer 1 [Location: /1|Date: then|Set-Cookie: a|Set-Cookie: b]"},
		{two, post("k", "b"), "201 answer 1 [Location: /1|Set-Cookie: a|Set-Cookie: b|Idempotent-Replayed: true]"},
		{two, post("k", "b"), "201 answer 1 [Location: /1|Set-Cookie: a|Set-Cookie: b|Idempotent-Replayed: true]"},
		{one, post("k", "b"), "201 answer 1 [Location: /1|Set-Cookie: a|Set-Cookie: b|Idempotent-Replayed: true]"},
		{two, post("k", "c"), "422 idempotency_key_reused"},
		{one, post("k", "c"), "422 idempotency_key_reused"},
	} {
		if got := w.send(c.chain, c.x).String(); got != c.want {
			t.Errorf("%d: got %s, want %s", i, got, c.want)
		}
	}
	if m := q.memoryReplays(); len(m.all) != 0 || m.held != 0 {
		t.Errorf("the answer of another program is kept here: %d", len(m.all))
	}
	// Neither failures nor what is too large are kept, and no claim stays.
	fails := &worker{work: replies(500)}
	large := &worker{work: func(x *message.Exchange, _ int32) {
		x.Response.Status, x.Response.Body, x.Response.Length = 200, split(strings.Repeat("x", maxReplay+1), 9), -1
	}}
	for range 2 {
		fails.send(one, post("fails", "b"))
		fails.send(two, post("fails", "b"))
		large.send(one, post("large", "b"))
		large.send(two, post("large", "b"))
	}
	if fails.calls.Load() != 4 || large.calls.Load() != 4 {
		t.Errorf("the work was done %d and %d times, want 4", fails.calls.Load(), large.calls.Load())
	}
	w.tasks.Wait()
	fails.tasks.Wait()
	large.tasks.Wait()
	if got := server.Run("DBSIZE"); got != "2" { // the instances and one answer
		t.Errorf("%s keys are in the store:\n%s", got, server.Run("KEYS", "*"))
	}
	if ttl := server.Run("EVAL", "local k = redis.call('KEYS', '*record*') return redis.call('PTTL', k[1])", "0"); len(ttl) != 8 { // 24 h
		t.Errorf("it is kept for %s ms", ttl)
	}
}

// TestIdempotencyStoreCrowd: of 100 at once in two programs one does the work; and all the others get its answer.
func TestIdempotencyStoreCrowd(t *testing.T) {
	t.Parallel()
	server := testnet.StartRedis(t)
	p, q := newCounting(t), newCounting(t)
	one, two := idempotentIn(t, p, server, ""), idempotentIn(t, q, server, "")
	open := make(chan struct{})
	w := &worker{work: func(x *message.Exchange, call int32) { <-open; replies(200)(x, call) }}
	got := make(chan string, 100)
	var came atomic.Int32
	for i := range cap(got) {
		go func() {
			x := post("k", "body")
			came.Add(1)
			got <- w.send([]*Chain{one, two}[i%2], x).String()
		}()
	}
	testnet.Eventually(t, "all of them", func() bool { return came.Load() == int32(cap(got)) && w.calls.Load() == 1 })
	for _, chain := range []*Chain{one, two} {
		if got := w.send(chain, post("k", "other")); got.reason != message.IdempotencyKeyReused {
			t.Errorf("another body meanwhile: %s", got)
		}
		late := post("k", "body")
		late.Deadline = message.Now() + int64(60*time.Millisecond)
		if got := w.send(chain, late); got.reason != message.IdempotencyInProgress {
			t.Errorf("not in time: %s", got)
		}
	}
	client := &impatient{}
	client.left.Store(true)
	leaves := post("leaves", "body")
	leaves.Interim = client
	close(open)
	n := map[string]int{}
	for range cap(got) {
		n[testnet.Receive(t, "an answer", got)]++
	}
	if n["200 answer 1 []"] != 1 || n["200 answer 1 [Idempotent-Replayed: true]"] != 99 || w.calls.Load() != 1 {
		t.Errorf("%d calls, answers: %v", w.calls.Load(), n)
	}
	w.tasks.Wait()
	p.settled(t)
	q.settled(t)
}

// TestIdempotencyStoreLost: when the program that works on a request fails, or ends without a word, another does it.
func TestIdempotencyStoreLost(t *testing.T) {
	t.Parallel()
	server := testnet.StartRedis(t)
	p := newCounting(t)
	chain := idempotentIn(t, p, server, "")
	other, err := limit.OpenStore(limit.StoreOptions{URL: server.URL(), Timeout: time.Second, Now: message.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	testnet.Eventually(t, "the other program's store", other.Available)
	records, err := limit.NewRecords(limit.RecordsOptions{Store: other, Name: "idempotency:once", Lease: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	policy := chain.steps[0].around.(*idempotencyPolicy)
	for _, c := range []struct {
		name string
		end  func(limit.Key)
	}{
		{"failed", records.Drop},
		{"ended", func(limit.Key) { records.Close() }},
	} {
		w := &worker{work: replies(200)}
		x := post(c.name, "b")
		key, sum := policy.keyOf(x, []byte(c.name)), sumOf(x, []byte("b"))
		if got := records.Claim(key, sum[:]); got.Found != limit.Nothing {
			t.Fatal(got)
		}
		got := make(chan string, 1)
		go func() { got <- w.send(chain, x).String() }()
		testnet.Eventually(t, "the watch", func() bool {
			m := p.memoryReplays()
			m.mu.Lock()
			defer m.mu.Unlock()
			r := m.all[key]
			return r != nil
		})
		if w.calls.Load() != 0 {
			t.Errorf("%s: the work is done although another is at it", c.name)
		}
		c.end(key)
		if got := testnet.Receive(t, "the answer", got); got != "200 answer 1 []" {
			t.Errorf("%s: %s", c.name, got)
		}
		w.tasks.Wait()
	}
}

// TestIdempotencyStoreAway: without the store each program goes by its memory, without a long wait, and says so; when it is back it is used again.
func TestIdempotencyStoreAway(t *testing.T) {
	t.Parallel()
	server := testnet.StartRedis(t)
	p, q := newCounting(t), newCounting(t)
	one, two := idempotentIn(t, p, server, ""), idempotentIn(t, q, server, "")
	w := &worker{work: replies(200)}
	server.Kill()
	const first, again = "answer 1 []", "answer 1 [Idempotent-Replayed: true]"
	if got := w.send(one, post("k", "b")).String(); got != "200 "+first {
		t.Errorf("got %s", got)
	}
	if got := w.send(one, post("k", "b")).String(); got != "200 "+again {
		t.Errorf("got %s", got)
	}
	if got := w.send(two, post("k", "b")).String(); got != "200 answer 2 []" {
		t.Errorf("the other: %s", got)
	}
	testnet.Eventually(t, "a report", func() bool {
		return strings.Contains(p.reported(), "answers to idempotent requests redis://"+server.Address()+" is away")
	})
	if (keptStore{p.recordStore()}).Degraded() == "" {
		t.Error("it is not shown that the store is away")
	}
	server.Start()
	testnet.Eventually(t, "the store again", func() bool { return p.recordStore().Available() && q.recordStore().Available() })
	if got := w.send(one, post("new", "b")).String(); got != "200 answer 3 []" {
		t.Errorf("got %s", got)
	}
	if got := w.send(two, post("new", "b")).String(); got != "200 answer 3 [Idempotent-Replayed: true]" {
		t.Errorf("the other, with the store: %s", got)
	}
	w.tasks.Wait()
}

func TestAnswerText(t *testing.T) {
	r := newAnswer(sumOfRequest{1, 2, 3})
	r.state, r.status, r.body, r.length = answerThere, 201, bytes.Repeat([]byte{0, 255}, 1000), 2000
	for _, l := range []string{"Content-Type: text/plain", "X-Empty: ", "Set-Cookie: a", "Set-Cookie: b", "x-ODD: 1"} {
		name, value, _ := strings.Cut(l, ": ")
		r.fields = append(r.fields, message.FieldValue{Name: message.NameOf(name), Value: []byte(value)})
	}
	text := appendAnswer(nil, r)
	got, ok := decodeAnswer(text)
	if !ok || fmt.Sprint(got.sum, got.status, got.fields, got.length) != fmt.Sprint(r.sum, r.status, r.fields, r.length) || !bytes.Equal(got.body, r.body) {
		t.Fatalf("%v: %+v", ok, got)
	}
	// What is cut off, too long or not allowed is no answer.
	for i := range 120 {
		if _, ok := decodeAnswer(text[:i]); ok {
			t.Errorf("the first %d bytes are an answer", i)
		}
	}
	for name, change := range map[string]func(r *answer){
		"a status":            func(r *answer) { r.status = 101 },
		"a line in a value":   func(r *answer) { r.fields[0].Value = []byte("a\r\nb: c") },
		"a name":              func(r *answer) { r.fields[0].Name = message.NameOf("a b") },
		"the length":          func(r *answer) { r.length = 1999 },
		"the size":            func(r *answer) { r.body = make([]byte, maxReplay+1); r.length = maxReplay + 1 },
		"the whole":           func(r *answer) { r.fields[0].Value = make([]byte, maxRecord) },
		"the number of names": func(r *answer) { r.fields = make([]message.FieldValue, maxRecordFields+1) },
	} {
		other := *r
		other.fields = append([]message.FieldValue(nil), r.fields...)
		change(&other)
		if _, ok := decodeAnswer(appendAnswer(nil, &other)); ok {
			t.Errorf("%s: it is taken", name)
		}
	}
	// Fields of the connection are left out, whoever wrote them.
	r.fields = []message.FieldValue{{Name: message.NameOf("Connection"), Value: []byte("close")}, {Name: message.NameOf("Transfer-Encoding"), Value: []byte("chunked")},
		{Name: message.NameOf("Content-Length"), Value: []byte("7")}, {Name: message.NameOf("Idempotent-Replayed"), Value: []byte("no")}, {Name: message.NameOf("A"), Value: []byte("1")}}
	if got, ok := decodeAnswer(appendAnswer(nil, r)); !ok || len(got.fields) != 1 || got.fields[0].Name.String() != "A" {
		t.Errorf("%v: %+v", ok, got.fields)
	}
}

// FuzzAnswerText: whatever is in the store, what is read of it can be written to a client, and says the same when it is read again.
func FuzzAnswerText(f *testing.F) {
	r := newAnswer(sumOfRequest{1})
	r.status, r.body, r.length = 200, []byte("body"), 4
	r.fields = []message.FieldValue{{Name: message.NameOf("Content-Type"), Value: []byte("a")}, {Name: message.NameOf("X"), Value: nil}}
	f.Add(appendAnswer(nil, r))
	r.body, r.length, r.fields = nil, 9, nil
	f.Add(appendAnswer(nil, r))
	f.Add([]byte{recordVersion})
	f.Fuzz(func(t *testing.T, text []byte) {
		r, ok := decodeAnswer(text)
		if !ok {
			return
		}
		if r.status < 200 || r.status > 599 || len(r.body) > maxReplay || len(r.body) > 0 && r.length != int64(len(r.body)) || r.length < 0 {
			t.Fatalf("%+v", r)
		}
		for _, field := range r.fields {
			if !message.ValidToken([]byte(field.Name.String())) || message.IndexInvalidValue(field.Value) >= 0 || !carried(field.Name) {
				t.Fatalf("field %q: %q", field.Name, field.Value)
			}
		}
		again, ok := decodeAnswer(appendAnswer(nil, r))
		if !ok || fmt.Sprint(again.sum, again.status, again.fields, again.length) != fmt.Sprint(r.sum, r.status, r.fields, r.length) || !bytes.Equal(again.body, r.body) {
			t.Fatalf("%+v read again is %+v", r, again)
		}
	})
}

// FuzzKeys: whatever a key is, requests with the same are counted together and others are not; and no cost makes an answer that cannot be written.
func FuzzLimitKeys(f *testing.F) {
	f.Add("a", "b", int64(1))
	f.Add("", " ", int64(-5))
	f.Add(strings.Repeat("k", 300), "k", int64(1)<<62)
	p := newCounting(f)
	g := p.generation(limits(`[{rate_limit: {rate: 5/h, key: 'request.query.k', cost: 'int(request.query.c)'}}]`, ""))
	n := 0
	f.Fuzz(func(t *testing.T, a, b string, cost int64) {
		n++
		query := func(key string, cost int64) string {
			return "k=" + string(message.AppendQueryValue(nil, fmt.Append(nil, n, " ", key))) + "&c=" + fmt.Sprint(cost)
		}
		first := g.ask(t, "a", exchange(query(a, cost)))
		want := passed
		if cost > 5 {
			want = message.RateLimited
		}
		if first.reason != want || strings.Contains(first.header, "r=-") || strings.Contains(first.header, "t=-") {
			t.Fatalf("cost %d: %v %s", cost, first.reason, first.header)
		}
		left := 5 - min(5, max(0, cost))
		if want != passed {
			left = 5
		}
		if other := g.ask(t, "a", exchange(query(b, 5))); (other.reason == passed) != (a != b || left == 5) {
			t.Fatalf("%q behind %q, cost %d: %v", b, a, cost, other.reason)
		}
	})
}
