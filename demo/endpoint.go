package demo

import (
	"context"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// span is a range of durations, of which each request gets one at random.
type span struct{ least, most time.Duration }

func (s span) pick() time.Duration {
	if s.most <= s.least {
		return s.least
	}
	return s.least + rand.N(s.most-s.least)
}

func (s span) String() string {
	return fmt.Sprintf("%d to %d ms", s.least.Milliseconds(), s.most.Milliseconds())
}

// An endpoint that is flaky resets this many requests in each round of so many. One reset alone could be the end of an idle connection, after which
// the gateway sends the request again as if nothing had been; the second in a row is a failure, and the request goes elsewhere.
const flakyRound, flakyResets = 8, 2

// sluggishPace is how long answers of a sluggish endpoint take: more than the 150 ms that /overview gives a part that it can do without, and less
// than what a client of /rates would call a failure. Read-only.
var sluggishPace = span{200 * time.Millisecond, 400 * time.Millisecond}

// endpoint is one process of a service, so to speak: a server on its own port. Only mood may be read by others: the server belongs to whoever
// runs the script, and to the bank before and after.
type endpoint struct {
	api     http.Handler
	pace    span
	slow    bool
	address string

	mood   atomic.Int32
	turn   atomic.Uint32 // how many requests there were
	server *http.Server  // nil while nobody listens
	served chan struct{} // closed when the accept loop of server has ended
}

// open listens at an address and serves.
func (e *endpoint) open(ctx context.Context, address string) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	if e.address == "" { // reopened, it has the one from before, which others read
		e.address = l.Addr().String()
	}
	s := &http.Server{
		Handler:           e,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute, // longer than the proxy keeps connections, so that it is the one who closes
		ErrorLog:          log.New(io.Discard, "", 0),
	}
	e.server, e.served = s, make(chan struct{})
	go func(done chan struct{}) {
		defer close(done)
		_ = s.Serve(l) // always an error, which says that the server was closed
	}(e.served)
	return nil
}

// crash ends the server as the end of a process does: what is in flight is cut.
func (e *endpoint) crash() {
	if e.server == nil {
		return
	}
	_ = e.server.Close() // the listener is closed in any case
	<-e.served
	e.server = nil
}

// close ends the server; requests that are being answered have a second.
func (e *endpoint) close() {
	if e.server == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = e.server.Shutdown(ctx) // crash does the rest
	e.crash()
}

// trouble is what is wrong with an endpoint, told in three lengths; all are "" if nothing is.
type trouble struct{ word, phrase, story string }

// trouble may be called at any time.
func (e *endpoint) trouble() trouble {
	switch mood(e.mood.Load()) {
	case flaky:
		return trouble{"flaky", "resets two of eight requests", "resets two of eight requests"}
	case failing:
		return trouble{"resets", "resets all requests", "resets all requests, yet says that it is well"}
	case refusing:
		return trouble{"stopped", "refuses connections", "stops, and its port refuses connections"}
	case sluggish:
		return trouble{"slow", "slow, " + sluggishPace.String(), "is slow: " + sluggishPace.String()}
	}
	if e.slow {
		return trouble{"slow", "slow, " + e.pace.String(), "is slow: " + e.pace.String()}
	}
	return trouble{}
}

// ServeHTTP answers as the service does, unless the endpoint is in a mood.
func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Server", "bank/1.0")
	w.Header().Set("X-Served-By", e.address)
	if r.URL.Path == "/healthz" {
		answer(w, http.StatusOK, map[string]any{"status": "ok"})
		return
	}
	m, turn := mood(e.mood.Load()), e.turn.Add(1)
	if (m == failing || m == flaky && turn%flakyRound < flakyResets) && reset(w) {
		return
	}
	pace := e.pace
	if m == sluggish {
		pace = sluggishPace
	}
	if pause(r.Context(), pace.pick()) {
		e.api.ServeHTTP(w, r)
	}
}

// reset closes the connection with a TCP reset and reports whether it did.
func reset(w http.ResponseWriter) bool {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return false
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // without it the client sees an orderly end, which is a failure as well
	}
	_ = conn.Close()
	return true
}

// pause waits, and reports false if ctx ended before.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
