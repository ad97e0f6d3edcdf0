package demo

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-gateway/sluice/metric"
)

const (
	// maxInFlight bounds the requests of the load that wait for an answer. When all wait, those that are due are left out and counted.
	maxInFlight = 64
	// maxRate is what a load in the proxy's own process can send without being what is measured.
	maxRate = 10_000
	// farewell is how long requests that are under way at the end may take.
	farewell = time.Second
	// maxAnswer bounds how much of an answer is read.
	maxAnswer = 1 << 20
)

// load sends requests through the proxy at a steady rate, whether the answers keep up or not (an open loop: clients of a bank do not wait
// for each other). start starts it, and stop ends it and waits for its goroutines.
type load struct {
	base   string // http://host:port
	rate   int    // requests/s
	failed func(what string)
	client *http.Client

	latency  *metric.Histogram // of answered requests, from the moment a request was due
	answered *metric.Counter
	failures *metric.Counter
	skipped  atomic.Uint64 // due, but maxInFlight others were waiting

	began   time.Time // when start was called
	ended   time.Time // when stop was
	due     chan time.Time
	halt    context.CancelFunc // ends the pacing
	cut     context.CancelFunc // ends requests that are under way
	pacing  sync.WaitGroup
	workers sync.WaitGroup
}

// newLoad makes a load on the proxy at an address. failed is told of each failure in a few words; any goroutine may call it.
func newLoad(address string, rate int, failed func(string)) *load {
	return &load{
		base: "http://" + address, rate: rate, failed: failed,
		client: &http.Client{
			Transport: &http.Transport{
				MaxIdleConns: maxInFlight, MaxIdleConnsPerHost: maxInFlight, MaxConnsPerHost: maxInFlight, DisableCompression: true,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Timeout:       5 * time.Second,
		},
		latency:  metric.NewHistogram(4),
		answered: metric.NewCounter(4),
		failures: metric.NewCounter(4),
		due:      make(chan time.Time, maxInFlight),
	}
}

// start begins to send. With a rate of 0 nothing is sent.
func (l *load) start() {
	pace, halt := context.WithCancel(context.Background())
	requests, cut := context.WithCancel(context.Background())
	l.halt, l.cut = halt, cut
	l.began = time.Now()
	if l.rate > 0 {
		l.pacing.Go(func() { l.pace(pace) })
	}
	for i := range maxInFlight {
		l.workers.Go(func() { l.work(requests, metric.Shard(i)) })
	}
}

// stop ends the load: nothing more is sent, and what is under way may end within farewell. What is cut then counts neither way.
func (l *load) stop() {
	l.halt()
	l.pacing.Wait()
	l.ended = time.Now()
	close(l.due)
	timer := time.AfterFunc(farewell, l.cut)
	l.workers.Wait()
	timer.Stop()
	l.cut()
	l.client.CloseIdleConnections()
}

// over returns for how long requests have been sent. It is for the goroutine that starts and stops the load.
func (l *load) over(now time.Time) time.Duration {
	switch {
	case l.began.IsZero():
		return 0
	case !l.ended.IsZero():
		return l.ended.Sub(l.began)
	}
	return now.Sub(l.began)
}

// pace hands out requests when they are due. After a stall it catches up, as clients that know nothing of it would.
func (l *load) pace(ctx context.Context) {
	began := time.Now()
	gap := time.Second / time.Duration(l.rate)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for next := time.Duration(0); ; {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		now := time.Since(began)
		for ; next <= now; next += gap {
			select {
			case l.due <- time.Now():
			default:
				l.skipped.Add(1)
			}
		}
		timer.Reset(next - now)
	}
}

// work sends what is due until there is no more.
func (l *load) work(ctx context.Context, shard metric.Shard) {
	for due := range l.due {
		r := nextRequest()
		problem := l.send(ctx, r)
		switch {
		case ctx.Err() != nil: // cut, or not begun
		case problem != "":
			l.failures.Inc(shard)
			l.failed(r.method + " " + r.path + ": " + problem)
		default:
			l.answered.Inc(shard)
			l.latency.Observe(shard, time.Since(due))
		}
	}
}

// request is one that the load sends, with the status that it wants.
type request struct {
	method, path, body string
	want               int
}

// nextRequest returns a request as a client of the bank would send it: many look at accounts, few move money.
func nextRequest() request {
	account := func() int { return firstAccount + rand.IntN(lastAccount-firstAccount+1) }
	switch n := rand.IntN(100); {
	case n < 38:
		return request{"GET", fmt.Sprintf("/accounts/%d", account()), "", http.StatusOK}
	case n < 64:
		return request{"GET", fmt.Sprintf("/transactions?account=%d&limit=5", account()), "", http.StatusOK}
	case n < 92:
		return request{"GET", "/rates/" + currencies[rand.IntN(len(currencies))].code, "", http.StatusOK}
	case n < 96:
		body := fmt.Sprintf(`{"from":"1001","to":"%d","amount":"%d.50"}`, firstAccount+1+rand.IntN(50), 1+rand.IntN(200))
		return request{"POST", "/transfers", body, http.StatusCreated}
	case n < 98:
		return request{"GET", "/status", "", http.StatusOK}
	default:
		return request{"GET", "/old/prices.html", "", http.StatusPermanentRedirect}
	}
}

// send sends one request, reads the answer, and says what is wrong with it; "" is nothing.
func (l *load) send(ctx context.Context, q request) string {
	r, err := http.NewRequestWithContext(ctx, q.method, l.base+q.path, strings.NewReader(q.body))
	if err != nil {
		return err.Error()
	}
	if q.body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("User-Agent", "sluice-demo")
	answer, err := l.client.Do(r)
	if err != nil {
		return err.Error()
	}
	_, err = io.Copy(io.Discard, io.LimitReader(answer.Body, maxAnswer))
	_ = answer.Body.Close() // read, or broken as err says
	switch {
	case err != nil:
		return err.Error()
	case answer.StatusCode != q.want:
		return strings.TrimSpace(fmt.Sprintf("%d %s", answer.StatusCode, answer.Header.Get("Sluice-Reason")))
	}
	return ""
}
