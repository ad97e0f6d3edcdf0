package demo

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
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

// load sends requests of the bank's customers through the gateway at a steady rate, whether the answers keep up or not (an open loop: clients of a bank do not wait
// for each other). start starts it, and stop ends it and waits for its goroutines.
type load struct {
	base      string // http://host:port
	rate      int    // requests/s
	journal   *journal
	client    *http.Client
	customers []customer
	run       int64         // tells the idempotency keys of this run from those of others
	transfers atomic.Uint64 // sent so far

	latency  *metric.Histogram // of answered requests, from the moment a request was due
	answered *metric.Counter
	failures *metric.Counter
	cached   *metric.Counter // answers that the gateway had kept
	partial  *metric.Counter // answers that lack an optional part
	skipped  atomic.Uint64   // due, but maxInFlight others were waiting

	began   time.Time // when start was called
	ended   time.Time // when stop was
	due     chan time.Time
	halt    context.CancelFunc // ends the pacing
	cut     context.CancelFunc // ends requests that are under way
	pacing  sync.WaitGroup
	workers sync.WaitGroup
}

// customer is one for whom the load sends requests.
type customer struct{ account, authorization string }

// firstCustomer is the first account that the load sends requests for. Those before it are left to whoever tries the lines of the README: they have
// limits of their own.
const firstCustomer = firstAccount + 2

// minCustomers is how many customers there are at least.
const minCustomers = 100

// newLoad makes a load on the gateway at an address, whose requests carry tokens of i. The journal is told of failures.
//
// bank.yaml allows each customer 10 requests a second, so there are as many customers as requests a second.
func newLoad(address string, rate int, i *issuer, j *journal) *load {
	customers := make([]customer, min(max(rate, minCustomers), lastAccount-firstCustomer+1))
	for n := range customers {
		customers[n] = customer{strconv.Itoa(firstCustomer + n), i.token(firstCustomer + n)}
	}
	return &load{
		base: "http://" + address, rate: rate, journal: j, customers: customers, run: time.Now().UnixNano(),
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
		cached:   metric.NewCounter(4),
		partial:  metric.NewCounter(4),
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
		q := l.next()
		fields, problem := l.send(ctx, q)
		switch {
		case ctx.Err() != nil: // cut, or not begun
		case problem != "":
			l.failures.Inc(shard)
			l.journal.addFailure(q.method + " " + q.path + ": " + problem)
		default:
			l.answered.Inc(shard)
			l.latency.Observe(shard, time.Since(due))
			l.remark(fields, shard)
		}
	}
}

// remark counts what the gateway says of how an answer came about.
func (l *load) remark(fields http.Header, shard metric.Shard) {
	if strings.Contains(fields.Get("Cache-Status"), "; hit") {
		l.cached.Inc(shard)
	}
	if without := fields.Get("Sluice-Partial"); without != "" {
		l.partial.Inc(shard)
		l.journal.addPartial(without)
	}
}

// request is one that the load sends, with the status that it wants.
type request struct {
	method, path, body string
	fields             []string // names and values
	want               int
}

// maxRatesShare bounds how many of a hundred requests are for rates.
const maxRatesShare = 28

// ratesShare returns how many of a hundred requests are for rates. All of them are one partner's, whose plan allows 200 a second: what is over
// 150 is left to whoever tries the key as well.
func (l *load) ratesShare() int { return min(maxRatesShare, 100*150/max(l.rate, 1)) }

// next returns a request as a client of the bank would send it: many look at accounts, few move money.
func (l *load) next() request {
	c := &l.customers[rand.IntN(len(l.customers))]
	who := []string{"Authorization", c.authorization}
	switch n := rand.IntN(100); {
	case n < l.ratesShare():
		return request{"GET", "/rates/" + currencies[rand.IntN(len(currencies))].code, "", []string{"X-API-Key", partnerKey}, http.StatusOK}
	case n < 58:
		return request{"GET", "/accounts/" + c.account, "", who, http.StatusOK}
	case n < 64: // an old app
		return request{"GET", "/v1/accounts/" + c.account, "", who, http.StatusOK}
	case n < 92:
		return request{"GET", "/overview", "", who, http.StatusOK}
	case n < 96:
		body := fmt.Sprintf(`{"to":"%d","amount":"%d.50","currency":"EUR"}`, firstAccount, 1+rand.IntN(200))
		key := fmt.Sprintf("%x-%d", l.run, l.transfers.Add(1))
		return request{"POST", "/transfers", body, append(who, "Content-Type", "application/json", "Idempotency-Key", key), http.StatusCreated}
	case n < 98:
		return request{"GET", "/status", "", nil, http.StatusOK}
	default:
		return request{"GET", "/old/prices.html", "", nil, http.StatusPermanentRedirect}
	}
}

// send sends one request, reads the answer, returns its fields and says what is wrong with it; "" is nothing.
func (l *load) send(ctx context.Context, q request) (fields http.Header, problem string) {
	r, err := http.NewRequestWithContext(ctx, q.method, l.base+q.path, strings.NewReader(q.body))
	if err != nil {
		return nil, err.Error()
	}
	for i := 0; i < len(q.fields); i += 2 {
		r.Header.Set(q.fields[i], q.fields[i+1])
	}
	r.Header.Set("User-Agent", "sluice-demo")
	answer, err := l.client.Do(r)
	if err != nil {
		return nil, err.Error()
	}
	_, err = io.Copy(io.Discard, io.LimitReader(answer.Body, maxAnswer))
	_ = answer.Body.Close() // read, or broken as err says
	switch {
	case err != nil:
		return nil, err.Error()
	case answer.StatusCode != q.want:
		return nil, strings.TrimSpace(fmt.Sprintf("%d %s", answer.StatusCode, answer.Header.Get("Sluice-Reason")))
	}
	return answer.Header, ""
}
