package cache

import (
	"container/list"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-gateway/sluice/message"
)

// item returns the line of a request for the n-th object.
func item(n int) string { return fmt.Sprintf("GET http://bank.example/item/%d", n) }

// visit asks for an object and stores it if it is not there. It reports whether it was.
func visit(t testing.TB, s *Store, r *Rules, n int, body string) bool {
	t.Helper()
	got := get(t, s, r, request(item(n), ""), at(0), says(answer{fields: "Cache-Control: max-age=3600", body: body}))
	if got.body != body {
		t.Fatalf("item %d: body of %d bytes", n, len(got.body))
	}
	return !got.fetched
}

// lru is the plain model: the least recently used leaves.
type lru struct {
	room  int
	order *list.List
	at    map[int]*list.Element
}

func (l *lru) visit(n int) bool {
	if e, ok := l.at[n]; ok {
		l.order.MoveToFront(e)
		return true
	}
	l.at[n] = l.order.PushFront(n)
	if l.order.Len() > l.room {
		last := l.order.Back()
		delete(l.at, last.Value.(int))
		l.order.Remove(last)
	}
	return false
}

// TestScan: a trace of a popular set with scans through it, as of a crawler. What is popular stays, where LRU would lose it with each scan.
func TestScan(t *testing.T) {
	const popular, scan, rounds = 300, 2000, 4
	body := strings.Repeat("b", 4000)
	s, r := newTestStore(Rules{})
	visit(t, s, r, -1, body)
	each, _ := s.Bytes()
	const room = 600
	s = NewStore(each * room)
	r.Namespace = s.NewNamespace(nil)
	old := lru{room: room, order: list.New(), at: make(map[int]*list.Element)}

	rnd := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(rnd, 1.05, 4, popular-1)
	next := popular
	var hits, lruHits, asked int
	for round := range rounds {
		for range 5 * popular {
			n := int(zipf.Uint64())
			mine, theirs := visit(t, s, r, n, body), old.visit(n)
			if round > 0 { // the first round warms both
				asked++
				hits += toInt(mine)
				lruHits += toInt(theirs)
			}
		}
		for range scan {
			visit(t, s, r, next, body)
			old.visit(next)
			next++
		}
	}
	t.Logf("of %d requests for the popular set %d were hits, with LRU %d", asked, hits, lruHits)
	if hits*100 < asked*91 {
		t.Errorf("%d of %d requests for the popular set were hits", hits, asked)
	}
	if 2*(asked-hits) > asked-lruHits {
		t.Errorf("%d misses where LRU has %d", asked-hits, asked-lruHits)
	}
}

func toInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// TestGhosts: who comes back soon after it was evicted enters the main queue at once.
func TestGhosts(t *testing.T) {
	body := strings.Repeat("b", 4000)
	s, r := newTestStore(Rules{})
	visit(t, s, r, 0, body)
	each, _ := s.Bytes()
	s = NewStore(each * 100)
	r.Namespace = s.NewNamespace(nil)
	for i := range 150 {
		visit(t, s, r, i, body)
	}
	const again = 20
	for n := range again {
		if visit(t, s, r, n, body) {
			t.Fatalf("item %d was not evicted", n)
		}
	}
	for i := 1000; i < 1300; i++ {
		visit(t, s, r, i, body)
	}
	stayed := 0
	for n := range again {
		stayed += toInt(visit(t, s, r, n, body))
	}
	if stayed < again*3/4 { // a mark may have given its place to a later one
		t.Errorf("a scan has evicted %d of %d that had come back", again-stayed, again)
	}
}

// audit compares what the store counts with what is in it.
func audit(t testing.TB, s *Store) {
	t.Helper()
	var bytes, objects int64
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.RLock()
		for key, res := range sh.resources {
			if key != res.key || !res.linked || len(res.entries)+len(res.flights) == 0 {
				t.Errorf("resource %q is %q, linked %v, of %d entries and %d flights", key, res.key, res.linked, len(res.entries), len(res.flights))
			}
			for _, e := range res.entries {
				bytes += e.size
				objects++
			}
		}
		listed := 0
		for uri, res := range sh.uris {
			if res.prevURI != nil {
				t.Errorf("%s: the list of resources does not begin with its first", uri)
			}
			for ; res != nil; res = res.nextURI {
				listed++
				if res.uri != uri {
					t.Errorf("%s is listed under %s", res.uri, uri)
				}
			}
		}
		if listed != len(sh.resources) {
			t.Errorf("%d resources, and %d by URI", len(sh.resources), listed)
		}
		sh.mu.RUnlock()
	}
	total, coming := s.Bytes()
	if total-coming != bytes || s.Objects() != objects || s.queue.small.bytes+s.queue.main.bytes != bytes {
		t.Errorf("%d objects of %d bytes are stored, counted as %d of %d, queued %d", objects, bytes, s.Objects(), total-coming, s.queue.small.bytes+s.queue.main.bytes)
	}
	links := 0
	for tag, l := range s.tags.tags {
		for ; l != nil; l = l.next {
			links++
			if l.tag != tag || l.entry.gone {
				t.Errorf("tag %q of %q, gone %v", tag, l.tag, l.entry.gone)
			}
		}
	}
	if int64(links) > maxTags*objects {
		t.Errorf("%d tags of %d objects", links, objects)
	}
}

// TestBound: whatever is stored, of whatever size, and however it goes, the bytes stay within the bound.
func TestBound(t *testing.T) {
	const limit = 1 << 20
	s := NewStore(limit)
	r := NewRules(Rules{Namespace: s.NewNamespace(nil), MaxObject: 200 << 10}, "")
	rnd := rand.New(rand.NewPCG(3, 4))
	high := int64(0)
	for i := range 1500 {
		n := rnd.IntN(400)
		size := rnd.IntN(3000)
		if rnd.IntN(20) == 0 {
			size = rnd.IntN(250 << 10)
		}
		fields := fmt.Sprintf("Cache-Control: max-age=3600\nCache-Tag: t%d, all\nVary: Foo", rnd.IntN(10))
		get(t, s, r, request(item(n), fmt.Sprintf("Foo: %d", rnd.IntN(3))), at(0), says(answer{fields: fields, body: text(size)}))
		switch rnd.IntN(50) {
		case 0:
			s.Invalidate([]byte(strings.TrimPrefix(item(n), "GET ")), new(message.Header))
		case 1:
			s.PurgeTag(fmt.Sprintf("t%d", rnd.IntN(10)))
		}
		total, coming := s.Bytes()
		if high = max(high, total); total > limit || coming != 0 {
			t.Fatalf("after %d: %d bytes, %d of them coming", i, total, coming)
		}
		if i%100 == 0 {
			audit(t, s)
		}
	}
	if high < limit*9/10 {
		t.Errorf("at most %d bytes were used", high)
	}
	s.Resize(200 << 10)
	if total, _ := s.Bytes(); total > 200<<10 || total == 0 {
		t.Errorf("%d bytes after the bound was lowered", total)
	}
	audit(t, s)
	if _, err := s.PurgePrefix("http://bank.example"); err != nil || s.Objects() != 0 {
		t.Errorf("%d objects after everything was purged, %v", s.Objects(), err)
	}
	audit(t, s)
}

// TestComingBytesCount: bodies that are still coming take their room from what is stored, and one for which there is none passes through.
func TestComingBytesCount(t *testing.T) {
	const limit = 256 << 10
	s := NewStore(limit)
	r := NewRules(Rules{Namespace: s.NewNamespace(nil)}, "")
	for i := range 100 {
		visit(t, s, r, i, text(2000))
	}
	before := s.Objects()
	lead, x1 := lookup(t, s, r, "", Lead)
	big := text(400 << 10)
	done := make(chan struct{})
	go func() {
		defer close(done)
		y := new(message.Exchange)
		y.Reset()
		lead.Flight().Start(func() {})
		answer{fields: "Cache-Control: max-age=60"}.put(y)
		y.Response.Body, y.Response.Length = &pieces{rest: []byte(big), size: 4000}, message.LengthUnknown
		lead.Flight().Fill(y, at(0))
	}()
	wait(t, lead, x1, Served)
	read, high := 0, int64(0)
	for read < len(big) {
		p, err := x1.Response.Body.Next()
		if err != nil {
			t.Fatal(err)
		}
		if string(p) != big[read:read+len(p)] {
			t.Fatalf("wrong bytes at %d", read)
		}
		read += len(p)
		total, _ := s.Bytes()
		high = max(high, total)
	}
	readBody(t, x1.Response.Body)
	<-done
	if high > limit {
		t.Errorf("%d bytes of %d", high, limit)
	}
	if s.Objects() >= before || r.Namespace.Count(TooLarge) != 1 {
		t.Errorf("%d objects of %d are left, %d were found too large", s.Objects(), before, r.Namespace.Count(TooLarge))
	}
	audit(t, s)
	clean(t, s, s.Objects())
}

// TestStress: everything at once. Whatever is answered is the answer to what was asked, and the books are right in the end.
func TestStress(t *testing.T) {
	s := NewStore(300 << 10)
	s.clock = message.Now
	r := NewRules(Rules{Namespace: s.NewNamespace(nil), MaxObject: 64 << 10}, "")
	var workers sync.WaitGroup
	for w := range 8 {
		workers.Go(func() {
			rnd := rand.New(rand.NewPCG(5, uint64(w)))
			var flights sync.WaitGroup
			for range 250 {
				n, foo := rnd.IntN(60), rnd.IntN(3)
				switch rnd.IntN(30) {
				case 0:
					s.Invalidate([]byte(strings.TrimPrefix(item(n), "GET ")), new(message.Header))
				case 1:
					s.PurgeTag("even")
				case 2:
					if _, err := s.Purge(strings.TrimPrefix(item(n), "GET ")); err != nil {
						t.Error(err)
					}
				default:
					stressOnce(t, s, r, rnd, &flights, n, foo)
				}
			}
			flights.Wait()
		})
	}
	workers.Wait()
	audit(t, s)
	clean(t, s, s.Objects())
}

// stressOnce is one request of TestStress.
func stressOnce(t *testing.T, s *Store, r *Rules, rnd *rand.Rand, flights *sync.WaitGroup, n, foo int) {
	x := request(item(n), fmt.Sprintf("Foo: %d", foo))
	want := fmt.Sprintf("%d/%d ", n, foo) + text(n*100)
	fill := func(f *Flight) {
		body := &pieces{rest: []byte(want), size: 500}
		fields := "Cache-Control: max-age=3600\nVary: Foo"
		switch n % 5 {
		case 0:
			fields += "\nCache-Tag: even"
		case 1:
			fields = "Cache-Control: private"
		case 2:
			fields = "Cache-Control: max-age=0, stale-while-revalidate=3600\nVary: Foo"
		}
		flights.Go(func() {
			if !f.Start(func() {}) {
				f.Fail(&message.Failure{Reason: message.ClientClosed, Side: message.SideClient}, message.Now())
				return
			}
			y := new(message.Exchange)
			y.Reset()
			f.Prepare(&y.Request.Header)
			answer{fields: fields}.put(y)
			y.Response.Body, y.Response.Length = body, message.LengthUnknown
			f.Fill(y, message.Now())
		})
	}
	leaves := rnd.IntN(10) == 0
	var u Use
	for {
		act := s.Lookup(&u, x, r, nil, message.Now())
		verdict := Served
		switch act {
		case Pass:
			return
		case Lead:
			fill(u.Flight())
			verdict, _ = u.Wait(x)
		case Follow:
			verdict, _ = u.Wait(x)
		case Refresh:
			fill(u.Flight())
		}
		switch verdict {
		case Again:
			continue
		case GoAlone, Failed:
			return
		}
		break
	}
	if leaves {
		x.Response.Body.Close()
		return
	}
	if got, err := drain(x.Response.Body); err != nil || got != want {
		t.Errorf("item %d, Foo %d: %d bytes beginning with %.10q, %v", n, foo, len(got), got, err)
	}
}
