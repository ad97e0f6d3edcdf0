package cache

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/message"
)

// feed is a body that comes piece by piece, as the test sends them.
type feed struct {
	pieces chan string
	err    error // after the last piece; io.EOF if nil
	last   []byte
}

func newFeed() *feed { return &feed{pieces: make(chan string)} }

func (f *feed) Next() ([]byte, error) {
	for i := range f.last {
		f.last[i] = 'X'
	}
	p, ok := <-f.pieces
	switch {
	case ok:
		f.last = []byte(p)
		return f.last, nil
	case f.err != nil:
		return nil, f.err
	}
	return nil, io.EOF
}

func (f *feed) Close() error { return nil }

// takeoff runs a flight whose answer has the fields and the body, and returns what is closed when its fetch is cancelled, and when it has ended.
func takeoff(f *Flight, status int, fields string, body message.Body) (cancelled, ended chan struct{}) {
	cancelled, ended = make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		if !f.Start(func() { close(cancelled) }) {
			f.Fail(&message.Failure{Reason: message.ClientClosed, Side: message.SideClient}, at(0))
			return
		}
		y := new(message.Exchange)
		y.Reset()
		f.Prepare(&y.Request.Header)
		y.Response.Status = status
		y.Response.Header.CopyFrom(fieldsOf(fields))
		y.Response.Body, y.Response.Length = body, message.LengthUnknown
		f.Fill(y, at(0))
	}()
	return cancelled, ended
}

// lookup asks for the page, and fails the test if the action is another than want.
func lookup(t testing.TB, s *Store, r *Rules, fields string, want Action) (*Use, *message.Exchange) {
	t.Helper()
	s.clock = func() int64 { return at(0) }
	u, x := new(Use), request("GET "+page, fields)
	if act := s.Lookup(u, x, r, nil, at(0)); act != want {
		t.Fatalf("action %d, want %d", act, want)
	}
	return u, x
}

// wait waits for the head of the answer.
func wait(t testing.TB, u *Use, x *message.Exchange, want Verdict) *message.Failure {
	t.Helper()
	v, failure := u.Wait(x)
	if v != want {
		t.Fatalf("verdict %d (%v), want %d", v, failure, want)
	}
	return failure
}

// clean checks that nothing is left of flights.
func clean(t testing.TB, s *Store, objects int64) {
	t.Helper()
	if n := s.Objects(); n != objects {
		t.Errorf("%d objects are stored, want %d", n, objects)
	}
	if _, coming := s.Bytes(); coming != 0 {
		t.Errorf("%d bytes are still coming", coming)
	}
	for i := range s.shards {
		for _, res := range s.shards[i].resources {
			if len(res.flights) != 0 || len(res.entries) == 0 {
				t.Errorf("%s has %d flights and %d entries", res.uri, len(res.flights), len(res.entries))
			}
		}
	}
}

// TestFanOut: a thousand requests at once, one fetch, and all read it as it grows, each at its own pace.
func TestFanOut(t *testing.T) {
	const crowd = 1000
	s, r := newTestStore(Rules{})
	s.clock = func() int64 { return at(0) }
	var fetches atomic.Int32
	var said sync.Map
	body := newFeed()
	half := make(chan struct{}) // closed when every reader has read the first half
	var readers, halves sync.WaitGroup
	readers.Add(crowd)
	halves.Add(crowd)
	go func() { halves.Wait(); close(half) }()
	for i := range crowd {
		go func() {
			defer readers.Done()
			x := request("GET "+page, "")
			var u Use
			switch act := s.Lookup(&u, x, r, nil, at(0)); act {
			case Lead:
				fetches.Add(1)
				takeoff(u.Flight(), 200, "Cache-Control: max-age=60", body)
			case Follow:
			default:
				t.Errorf("action %d", act)
				halves.Done()
				return
			}
			if v, failure := u.Wait(x); v != Served {
				t.Errorf("reader %d: verdict %d, %v", i, v, failure)
				halves.Done()
				return
			}
			said.Store(string(x.Response.Header.Get(message.CacheStatus)), true)
			var got strings.Builder
			first := true
			for {
				p, err := x.Response.Body.Next()
				if err != nil {
					if err != io.EOF {
						t.Errorf("reader %d: %v", i, err)
					}
					break
				}
				got.Write(p)
				if first && got.Len() >= 6 {
					first = false
					halves.Done()
					<-half
				}
			}
			x.Response.Body.Close()
			if got.String() != "first second" {
				t.Errorf("reader %d: %q", i, got.String())
			}
		}()
	}
	body.pieces <- "first "
	testnet.Receive(t, "all have read what has come", half)
	body.pieces <- "second"
	close(body.pieces)
	readers.Wait()
	if n := fetches.Load(); n != 1 {
		t.Errorf("%d fetches", n)
	}
	for _, want := range []string{"sluice; fwd=uri-miss; stored", "sluice; fwd=uri-miss; stored; collapsed"} {
		if _, ok := said.Load(want); !ok {
			t.Errorf("nobody was told %q", want)
		}
	}
	clean(t, s, 1)
	if got := get(t, s, r, request("GET "+page, ""), at(1), down); got.body != "first second" {
		t.Errorf("stored: %q", got.body)
	}
}

// TestLeaderLeaves is row 13.6: the fetch goes on while anybody reads, and is cancelled when nobody does.
func TestLeaderLeaves(t *testing.T) {
	s, r := newTestStore(Rules{})
	lead, x1 := lookup(t, s, r, "", Lead)
	follow, x2 := lookup(t, s, r, "", Follow)
	body := newFeed()
	cancelled, ended := takeoff(lead.Flight(), 200, "Cache-Control: max-age=60", body)
	wait(t, lead, x1, Served)
	x1.Response.Body.Close()
	x1.Response.Body.Close()
	wait(t, follow, x2, Served)
	body.pieces <- "still here"
	late, x3 := lookup(t, s, r, "", Follow)
	wait(t, late, x3, Served)
	x2.Response.Body.Close()
	close(body.pieces)
	if got := readBody(t, x3.Response.Body); got != "still here" {
		t.Errorf("%q", got)
	}
	testnet.Receive(t, "end of the fetch", ended)
	select {
	case <-cancelled:
		t.Error("the fetch was cancelled")
	default:
	}
	clean(t, s, 1)
}

func TestAllLeave(t *testing.T) {
	for _, headFirst := range []bool{true, false} {
		s, r := newTestStore(Rules{})
		lead, x1 := lookup(t, s, r, "", Lead)
		follow, x2 := lookup(t, s, r, "", Follow)
		body := newFeed()
		if !headFirst {
			cancelled := make(chan struct{})
			lead.Flight().Start(func() { close(cancelled) })
			lead.Leave()
			follow.Leave()
			testnet.Receive(t, "cancellation before the head", cancelled)
			lead.Flight().Fail(&message.Failure{Reason: message.UpstreamReset, Side: message.SideUpstream}, at(0))
		} else {
			cancelled, ended := takeoff(lead.Flight(), 200, "Cache-Control: max-age=60", body)
			wait(t, lead, x1, Served)
			wait(t, follow, x2, Served)
			body.pieces <- "some"
			x1.Response.Body.Close()
			x2.Response.Body.Close()
			testnet.Receive(t, "cancellation", cancelled)
			close(body.pieces)
			testnet.Receive(t, "end of the fetch", ended)
		}
		if n := r.Namespace.Count(Abandoned); n != 1 {
			t.Errorf("%d flights are counted as abandoned", n)
		}
		clean(t, s, 0)
		again, _ := lookup(t, s, r, "", Lead) // who comes now gets a flight of its own
		again.Leave()
		if again.Flight().Start(func() { t.Error("cancelled twice") }) {
			t.Error("a flight that nobody wants was started")
		}
		again.Flight().Fail(&message.Failure{Reason: message.ClientClosed, Side: message.SideClient}, at(0))
		clean(t, s, 0)
	}
}

// TestBreaks: a fetch that breaks in the middle breaks for all who read it.
func TestBreaks(t *testing.T) {
	s, r := newTestStore(Rules{})
	lead, x1 := lookup(t, s, r, "", Lead)
	follow, x2 := lookup(t, s, r, "", Follow)
	body := newFeed()
	body.err = errors.New("reset by the origin")
	_, ended := takeoff(lead.Flight(), 200, "Cache-Control: max-age=60", body)
	wait(t, lead, x1, Served)
	wait(t, follow, x2, Served)
	body.pieces <- "half of"
	close(body.pieces)
	for _, x := range []*message.Exchange{x1, x2} {
		if got, err := drain(x.Response.Body); got != "half of" || !errors.Is(err, body.err) {
			t.Errorf("%q, %v", got, err)
		}
	}
	testnet.Receive(t, "end of the fetch", ended)
	clean(t, s, 0)
}

// TestFailureIsShared: who waits for a fetch that fails gets its failure, but for one that is the leader's own fault.
func TestFailureIsShared(t *testing.T) {
	for _, side := range []message.Side{message.SideUpstream, message.SideClient} {
		s, r := newTestStore(Rules{})
		lead, x1 := lookup(t, s, r, "", Lead)
		follow, x2 := lookup(t, s, r, "", Follow)
		why := &message.Failure{Reason: message.UpstreamTimeoutFirstByte, Side: side, Stage: message.StageWait}
		lead.Flight().Start(func() {})
		lead.Flight().Fail(why, at(0))
		if got := wait(t, lead, x1, Failed); got != why {
			t.Errorf("leader: %v", got)
		}
		if side == message.SideClient {
			wait(t, follow, x2, GoAlone)
		} else if got := wait(t, follow, x2, Failed); got != why {
			t.Errorf("follower: %v", got)
		}
		clean(t, s, 0)
	}
}

// TestNotForOthers is row 8.8.
func TestNotForOthers(t *testing.T) {
	for _, fields := range []string{"Cache-Control: private, max-age=60", "Cache-Control: no-store", "Cache-Control: max-age=60\nSet-Cookie: a=b", ""} {
		s, r := newTestStore(Rules{})
		lead, x1 := lookup(t, s, r, "", Lead)
		follow, x2 := lookup(t, s, r, "", Follow)
		body := newFeed()
		_, ended := takeoff(lead.Flight(), 200, fields, body)
		wait(t, follow, x2, GoAlone)
		wait(t, lead, x1, Served)
		if x2.Response.Header.Len() != 0 {
			t.Errorf("%q: the follower got fields of the leader's answer", fields)
		}
		if strings.Contains(fields, "Set-Cookie") != x1.Response.Header.Has(message.SetCookie) {
			t.Errorf("%q: the leader's cookie", fields)
		}
		// For a moment nobody waits for nothing.
		_, x3 := lookup(t, s, r, "", Pass)
		if x3.Response.Header.Len() != 0 {
			t.Errorf("%q: something is there already", fields)
		}
		body.pieces <- "mine"
		close(body.pieces)
		if got := readBody(t, x1.Response.Body); got != "mine" {
			t.Errorf("%q: %q", fields, got)
		}
		testnet.Receive(t, "end of the fetch", ended)
		u, x := new(Use), request("GET "+page, "")
		if act := s.Lookup(u, x, r, nil, at(3)); act != Lead {
			t.Errorf("%q: later action %d", fields, act)
		}
		u.Leave()
		u.Flight().Fail(&message.Failure{Reason: message.ClientClosed, Side: message.SideClient}, at(3))
	}
}

// TestNotFreshForOthers: an answer that has to be validated each time does not answer those who have waited for it.
func TestNotFreshForOthers(t *testing.T) {
	s, r := newTestStore(Rules{})
	lead, x1 := lookup(t, s, r, "", Lead)
	follow, x2 := lookup(t, s, r, "", Follow)
	_, ended := takeoff(lead.Flight(), 200, "Cache-Control: no-cache\nETag: \"a\"", &pieces{rest: []byte("mine")})
	wait(t, follow, x2, GoAlone)
	wait(t, lead, x1, Served)
	readBody(t, x1.Response.Body)
	testnet.Receive(t, "end of the fetch", ended)
	clean(t, s, 1)
	// Each further request validates for itself, and none waits for another.
	for range 3 {
		u, _ := lookup(t, s, r, "", Lead)
		defer func() {
			u.Leave()
			u.Flight().Fail(&message.Failure{Reason: message.ClientClosed, Side: message.SideClient}, at(0))
		}()
	}
}

// TestVaryInFlight: who waited for what turns out to be another variant asks again, and leads its own flight then.
func TestVaryInFlight(t *testing.T) {
	s, r := newTestStore(Rules{})
	lead, x1 := lookup(t, s, r, "Foo: 1", Lead)
	same, x2 := lookup(t, s, r, "Foo: 1", Follow)
	other, x3 := lookup(t, s, r, "Foo: 2", Follow)
	body := newFeed()
	_, ended := takeoff(lead.Flight(), 200, "Cache-Control: max-age=60\nVary: Foo", body)
	wait(t, lead, x1, Served)
	wait(t, same, x2, Served)
	wait(t, other, x3, Again)
	if act := s.Lookup(other, x3, r, nil, at(0)); act != Lead {
		t.Fatalf("action %d", act)
	}
	more, x4 := lookup(t, s, r, "Foo: 2", Follow)
	if more.Flight() != other.Flight() {
		t.Error("the flight of another variant was joined")
	}
	_, ended2 := takeoff(other.Flight(), 200, "Cache-Control: max-age=60\nVary: Foo", &pieces{rest: []byte("two")})
	wait(t, other, x3, Served)
	wait(t, more, x4, Served)
	close(body.pieces)
	for _, x := range []*message.Exchange{x1, x2} {
		if got := readBody(t, x.Response.Body); got != "" {
			t.Errorf("%q", got)
		}
	}
	for _, x := range []*message.Exchange{x3, x4} {
		if got := readBody(t, x.Response.Body); got != "two" {
			t.Errorf("%q", got)
		}
	}
	testnet.Receive(t, "end of the fetch", ended)
	testnet.Receive(t, "end of the other fetch", ended2)
	clean(t, s, 2)
}

// TestInvalidatedInFlight: what was fetched before a change and comes after it answers those who have waited, and is not stored.
func TestInvalidatedInFlight(t *testing.T) {
	s, r := newTestStore(Rules{})
	lead, x1 := lookup(t, s, r, "", Lead)
	body := newFeed()
	_, ended := takeoff(lead.Flight(), 200, "Cache-Control: max-age=60", body)
	wait(t, lead, x1, Served)
	s.Invalidate([]byte(page), new(message.Header))
	after, _ := lookup(t, s, r, "", Lead)
	body.pieces <- "old"
	close(body.pieces)
	if got := readBody(t, x1.Response.Body); got != "old" {
		t.Errorf("%q", got)
	}
	testnet.Receive(t, "end of the fetch", ended)
	after.Leave()
	after.Flight().Fail(&message.Failure{Reason: message.ClientClosed, Side: message.SideClient}, at(0))
	clean(t, s, 0)
}

// TestPurgedInFlight: the same for a purge by tag, which is not known before the head has come.
func TestPurgedInFlight(t *testing.T) {
	for tag, objects := range map[string]int64{"blue": 0, "green": 1} {
		s, r := newTestStore(Rules{})
		lead, x1 := lookup(t, s, r, "", Lead)
		s.clock = func() int64 { return at(0.1) }
		s.PurgeTag(tag)
		_, ended := takeoff(lead.Flight(), 200, "Cache-Control: max-age=60\nCache-Tag: red, blue", &pieces{rest: []byte("old")})
		wait(t, lead, x1, Served)
		if got := readBody(t, x1.Response.Body); got != "old" {
			t.Errorf("%q", got)
		}
		testnet.Receive(t, "end of the fetch", ended)
		clean(t, s, objects)
		audit(t, s)
	}
	s, r := newTestStore(Rules{})
	lead, x1 := lookup(t, s, r, "", Lead)
	s.clock = func() int64 { return at(0.1) }
	for i := range 2 * maxPurges {
		s.PurgeTag(fmt.Sprint(i))
	}
	_, ended := takeoff(lead.Flight(), 200, "Cache-Control: max-age=60\nCache-Tag: red", &pieces{rest: []byte("old")})
	wait(t, lead, x1, Served)
	readBody(t, x1.Response.Body)
	testnet.Receive(t, "end of the fetch", ended)
	clean(t, s, 0) // nobody remembers what was purged
}

// TestStaleSharesOneRenewal: of many requests for a stale answer one renews it.
func TestStaleSharesOneRenewal(t *testing.T) {
	s, r := newTestStore(Rules{})
	get(t, s, r, request("GET "+page, ""), at(-20), says(answer{fields: "Cache-Control: max-age=10, stale-while-revalidate=60", body: "old"}))
	first, x1 := lookup(t, s, r, "", Refresh)
	if !first.Flight().Background() {
		t.Error("somebody waits for the renewal")
	}
	_, x2 := lookup(t, s, r, "", Hit)
	for _, x := range []*message.Exchange{x1, x2} {
		if got := readBody(t, x.Response.Body); got != "old" {
			t.Errorf("%q", got)
		}
	}
	cancelled, ended := takeoff(first.Flight(), 200, "Cache-Control: max-age=10", &pieces{rest: []byte("new")})
	testnet.Receive(t, "end of the fetch", ended)
	select {
	case <-cancelled:
		t.Error("the renewal was cancelled because nobody waits for it")
	default:
	}
	_, x3 := lookup(t, s, r, "", Hit)
	if got := readBody(t, x3.Response.Body); got != "new" {
		t.Errorf("%q", got)
	}
	clean(t, s, 1)
}

// client is one that leaves when it was looked at some times.
type client struct{ stays int }

func (c *client) Gone() bool { c.stays--; return c.stays < 0 }

func (c *client) WriteInterim(int, *message.Header) error { return nil }

// TestWaitEnds: a wait ends with the client's, and at the deadline.
func TestWaitEnds(t *testing.T) {
	s, r := newTestStore(Rules{})
	lead, x1 := lookup(t, s, r, "", Lead)
	follow, x2 := lookup(t, s, r, "", Follow)
	x2.Interim = &client{stays: 2}
	if v, failure := follow.Wait(x2); v != Failed || failure.Reason != message.ClientClosed {
		t.Errorf("the client has left: %d, %v", v, failure)
	}
	lead.Flight().Start(func() {})
	x1.Interim = &client{stays: 1 << 30}
	x1.Deadline = message.Now() + second/10
	if v, failure := lead.Wait(x1); v != Failed || failure.Reason != message.RouteTimeout {
		t.Errorf("past the deadline: %d, %v", v, failure)
	}
	lead.Flight().Fail(&message.Failure{Reason: message.UpstreamReset, Side: message.SideUpstream}, at(0))
	clean(t, s, 0)
}

// TestReaderDeadline: a body that does not come ends at the deadline of the exchange, for that exchange.
func TestReaderDeadline(t *testing.T) {
	s, r := newTestStore(Rules{})
	u, x := new(Use), request("GET "+page, "")
	s.clock = func() int64 { return at(0) }
	x.Deadline = message.Now() + second/20
	s.Lookup(u, x, r, nil, at(0))
	other, x2 := lookup(t, s, r, "", Follow)
	body := newFeed()
	_, ended := takeoff(u.Flight(), 200, "Cache-Control: max-age=60", body)
	wait(t, other, x2, Served)
	wait(t, u, x, Served)
	if _, err := drain(x.Response.Body); !errors.Is(err, errDeadline) {
		t.Errorf("%v", err)
	}
	body.pieces <- "late"
	close(body.pieces)
	if got := readBody(t, x2.Response.Body); got != "late" {
		t.Errorf("%q", got)
	}
	testnet.Receive(t, "end of the fetch", ended)
}
