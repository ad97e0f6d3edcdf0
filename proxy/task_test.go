package proxy

import (
	"io"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
	"github.com/sluice-gateway/sluice/policy"
	"github.com/sluice-gateway/sluice/upstream"
)

// outcome is what a task came to.
type outcome struct {
	status int
	reason message.Reason
	body   string
	err    error
}

// read takes what Answer is given apart.
func read(x *message.Exchange) outcome {
	o := outcome{status: x.Response.Status, reason: x.Outcome.Reason}
	var b strings.Builder
	for {
		piece, err := x.Response.Body.Next()
		if err != nil {
			if err != io.EOF {
				o.err = err
			}
			o.body = b.String()
			return o
		}
		b.Write(piece)
	}
}

// begin serves a request by the state of an exchange, as a policy would find it, and starts the whole route anew beside it.
func begin(t testing.TB, s *Site, x *message.Exchange, task policy.Task) (cancel func()) {
	t.Helper()
	st := &state{site: s}
	s.receive(x)
	if failure := st.choose(x, message.ReasonNone); failure != nil {
		t.Fatal(failure)
	}
	return st.Detach(x, 0, task)
}

func TestTask(t *testing.T) {
	origin, got := recording(t, okAnswer)
	b := backend(t, origin.Addr, nil, metric.NewRegistry(metric.Options{}))
	branches := new(Branches)
	s := site(t, func(s *Site) { s.Branches = branches }, at("/items/{id}", &Route{Action: &Forward{Backend: b}}),
		at("/away", &Route{Action: &Forward{Backend: backend(t, "127.0.0.1:1", nil, metric.NewRegistry(metric.Options{}))}}))
	done := make(chan outcome, 1)
	answer := func(x *message.Exchange) { done <- read(x) }

	x := request("192.0.2.7:1", "example.test", "/items/7", "X-A: 1")
	begin(t, s, x, policy.Task{Answer: answer, Body: []byte("content"), Prepare: func(x *message.Exchange) {
		x.Request.Method = message.MethodOf([]byte("PUT"))
		x.Request.Header.Set(message.NameOf("X-B"), []byte("2"))
	}})
	x.Reset() // the task has a copy of all it needs
	if o := testnet.Receive(t, "the answer", done); o != (outcome{status: 200, body: "ok"}) {
		t.Errorf("answer %+v", o)
	}
	r := testnet.Receive(t, "the request", got)
	if r.Method != "PUT" || r.Target != "/items/7" || string(r.Body) != "content" || r.Header.Get("X-A") != "1" || r.Header.Get("X-B") != "2" {
		t.Errorf("request %s %s %q %v", r.Method, r.Target, r.Body, r.Header)
	}

	begin(t, s, request("192.0.2.7:1", "example.test", "/away"), policy.Task{Answer: answer})
	if o := testnet.Receive(t, "the problem", done); o.status != 502 || o.reason != message.UpstreamConnectRefused || !strings.Contains(o.body, "upstream_connect_refused") {
		t.Errorf("an endpoint that is away: %+v", o)
	}
	branches.Close()
	begin(t, s, request("192.0.2.7:1", "example.test", "/items/7"), policy.Task{Answer: answer})
	if o := testnet.Receive(t, "the end", done); o.reason != message.ShuttingDown {
		t.Errorf("after the end: %+v", o)
	}
}

// A task that waits for an answer, or for the rest of one, ends when it is cancelled, and when the program ends.
func TestTaskCancel(t *testing.T) {
	for _, c := range []struct {
		name, sent string
		close      bool
	}{
		{"before the answer", "", false},
		{"within the answer", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", false},
		{"before the answer, at the end", "", true},
		{"within the answer, at the end", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			arrived := make(chan struct{}, 1)
			origin := testnet.NewOrigin(t, func(oc *testnet.OriginConn) {
				if _, read := oc.ReadRequest(); read {
					oc.Send(c.sent)
					arrived <- struct{}{}
					oc.ReadRequest() // until the connection ends
				}
			})
			b := backend(t, origin.Addr, nil, metric.NewRegistry(metric.Options{}))
			branches := new(Branches)
			s := site(t, func(s *Site) { s.Branches = branches }, at("/", &Route{Action: &Forward{Backend: b}}))
			done, reading := make(chan outcome, 1), make(chan struct{}, 1)
			cancel := begin(t, s, request("192.0.2.7:1", "example.test", "/"), policy.Task{Answer: func(x *message.Exchange) {
				reading <- struct{}{}
				done <- read(x)
			}})
			testnet.Receive(t, "the request", arrived)
			if c.sent != "" {
				testnet.Receive(t, "the begin of the answer", reading)
			}
			if c.close {
				branches.Close()
			} else {
				cancel()
			}
			o := testnet.Receive(t, "the end", done)
			if c.sent == "" && o.reason == message.ReasonNone || c.sent != "" && (o.err == nil || o.body != "half") {
				t.Errorf("ended with %+v", o)
			}
			branches.Close()
			cancel() // late, for nothing
		})
	}
}

// A panic of a policy's own code ends its task and nothing else, and who waits is told.
func TestTaskPanics(t *testing.T) {
	branches := new(Branches)
	lines := make(chan string, 1)
	branches.Report = func(line string) { lines <- line }
	s := site(t, func(s *Site) { s.Branches = branches }, at("/", &Route{}))
	done := make(chan outcome, 1)
	first := true
	begin(t, s, request("192.0.2.7:1", "example.test", "/"), policy.Task{Answer: func(x *message.Exchange) {
		if first {
			first = false
			panic("a mistake")
		}
		done <- read(x)
	}})
	if o := testnet.Receive(t, "the end", done); o.reason != message.Internal {
		t.Errorf("ended with %+v", o)
	}
	if line := testnet.Receive(t, "the report", lines); !strings.Contains(line, "a mistake") {
		t.Errorf("report %q", line)
	}
	branches.Close()
}

// What waits on behalf of a task is told that nobody wants its answer any more, and gives its place up: here a queue for the only connection there may be.
func TestTaskGone(t *testing.T) {
	arrived, release := make(chan string, 2), make(chan struct{})
	origin := testnet.NewOrigin(t, func(oc *testnet.OriginConn) {
		for {
			r, read := oc.ReadRequest()
			if !read {
				return
			}
			arrived <- r.Target
			<-release
			if !oc.Send(okAnswer) {
				return
			}
		}
	})
	b := backend(t, origin.Addr, func(o *upstream.Options) {
		o.MaxInFlight, o.Queue, o.QueueTimeout = 1, 10, testnet.Patience
	}, metric.NewRegistry(metric.Options{}))
	branches := new(Branches)
	s := site(t, func(s *Site) { s.Branches = branches }, at("/{n}", &Route{Action: &Forward{Backend: b}}))
	first, second := make(chan outcome, 1), make(chan outcome, 1)
	gone := func(x *message.Exchange) bool { return x.Interim.(interface{ Gone() bool }).Gone() }
	begin(t, s, request("192.0.2.7:1", "example.test", "/1"), policy.Task{Answer: func(x *message.Exchange) {
		if gone(x) {
			t.Error("gone before it was cancelled")
		}
		first <- read(x)
	}})
	testnet.Receive(t, "the first request", arrived)
	cancel := begin(t, s, request("192.0.2.7:1", "example.test", "/2"), policy.Task{Answer: func(x *message.Exchange) {
		if !gone(x) {
			t.Error("cancelled, and not gone")
		}
		second <- read(x)
	}})
	testnet.Eventually(t, "the second waits", func() bool { return b.Snapshot().Waiting == 1 })
	cancel()
	if o := testnet.Receive(t, "the end of the second", second); o.reason != message.ClientClosed {
		t.Errorf("cancelled while it waited: %+v", o)
	}
	close(release)
	if o := testnet.Receive(t, "the end of the first", first); o.status != 200 {
		t.Errorf("the first: %+v", o)
	}
	branches.Close()
	if len(arrived) > 0 {
		t.Errorf("sent although it was cancelled: %s", <-arrived)
	}
}
