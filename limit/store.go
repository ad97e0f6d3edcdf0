package limit

import (
	"context"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

const (
	// DefaultStoreTimeout bounds what a request waits for a store whose options do not say.
	DefaultStoreTimeout = 5 * time.Millisecond
	// DefaultStorePrefix begins the names of all that is kept in a store whose options do not say.
	DefaultStorePrefix = "sluice:"

	// maxCalls is how many requests may wait for the store at once. Those beyond do not wait. It is less than the connection's queue holds, so that
	// nobody ever waits for a place in that.
	maxCalls  = 1000
	ringScale = 11 // 2^11 places

	// beatPeriod is how often an instance tells that it is there; the store forgets it after ten seconds.
	beatPeriod = 2 * time.Second
	// settling is how long after a connection the number of instances may only grow: the others may have to come back first.
	settling = 10 * time.Second
	// steady is how long the store has to be there for a new failure to be taken for the first.
	steady = 5 * time.Second

	// firstPause and lastPause are the first and the longest wait between two attempts to reach the store; it doubles in between.
	firstPause = 50 * time.Millisecond
	lastPause  = time.Second
	// dialTimeout bounds each step of an attempt.
	dialTimeout = time.Second

	// The breaker counts a failure as failureWeight and takes 1 back for each success. At tripWeight the store is away: after three failures in a row,
	// or when more than one call in five fails.
	failureWeight = 4
	tripWeight    = 3 * failureWeight
)

// StoreOptions are those of a Store.
type StoreOptions struct {
	// URL is redis://user:password@host:port/database, or rediss:// for TLS; user, password, port and database may be left out. A cluster is recognised.
	URL string
	// TLS is how to check a rediss server; nil means by the system's authorities and the host of the URL.
	TLS *tls.Config
	// Timeout bounds how long a request waits; 0 means DefaultStoreTimeout.
	Timeout time.Duration
	// Prefix begins the names of all that is kept; "" means DefaultStorePrefix.
	Prefix string
	// Of is what is kept in the store, for the lines that are reported; "" means limits.
	Of string
	// Instance tells instances apart: stores of one instance have the same. "" makes one up, so that the store stands for an instance of its own.
	Instance string
	// Now tells the monotonic clock in nanoseconds, the same that Limiter.Take is given; required.
	Now func() int64
	// Report is called with one line when the store is found away, and one when it is back; nil drops them. It runs in the store's goroutine.
	Report func(line string)
}

// Store is a Redis or Valkey server in which several gateways count together. Shared limiters use it.
//
// A request waits for it for no longer than the timeout. After failures it is away: then no request waits at all, until the store's own goroutine has
// found that it works again. All methods may be called by any goroutine.
type Store struct {
	o       StoreOptions
	client  rueidis.ClientOption // never printed: it may hold a password
	address string               // for lines of the log
	id      string
	digests [2]string // of takeScript and beatScript

	link      atomic.Pointer[link] // nil while the store is away
	dialing   atomic.Bool          // the store's goroutine is connecting: nobody else may
	weight    atomic.Int32
	calls     atomic.Int32
	instances atomic.Int32
	skew      atomic.Int64 // the server's Unix time less Now, in nanoseconds; 0 until it is known
	why       atomic.Pointer[string]

	mu      sync.Mutex // guards limiters
	limiter map[*Shared]struct{}

	counted struct{ asked, failed, late, busy, outages atomic.Uint64 }

	trip   chan struct{} // has a token when the link was cut
	first  chan struct{} // closed after the first attempt
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{}
}

// link is one client of the store, from one outage to the next.
type link struct{ rueidis.Client }

// NewInstance makes up what tells an instance from others.
func NewInstance() string {
	id := make([]byte, 8)
	_, _ = rand.Read(id) // never fails
	return hex.EncodeToString(id)
}

// OpenStore begins to connect to a store. That it is away is no error: it may come. An error says what is wrong with the options, without the
// URL, which may hold a password.
func OpenStore(o StoreOptions) (*Store, error) {
	if o.Now == nil {
		return nil, errors.New("a store of limits needs a clock")
	}
	if o.Timeout <= 0 {
		o.Timeout = DefaultStoreTimeout
	}
	if o.Prefix == "" {
		o.Prefix = DefaultStorePrefix
	}
	if o.Of == "" {
		o.Of = "limits"
	}
	if o.Report == nil {
		o.Report = func(string) {}
	}
	client, address, err := readURL(&o)
	if err != nil {
		return nil, err
	}
	id := o.Instance
	if id == "" {
		id = NewInstance()
	}
	//house:allow call the root of the deadlines of calls; it ends with the store
	ctx, cancel := context.WithCancel(context.Background())
	s := &Store{
		o: o, client: client, address: address, id: id, limiter: make(map[*Shared]struct{}),
		trip: make(chan struct{}, 1), first: make(chan struct{}), ctx: ctx, cancel: cancel, done: make(chan struct{}),
	}
	s.client.DialCtxFn = s.dial
	// Redis calls a script by this hash; it guards nothing.
	for i, script := range [...]string{takeScript, beatScript} {
		sum := sha1.Sum([]byte(script))
		s.digests[i] = hex.EncodeToString(sum[:])
	}
	s.instances.Store(1)
	go s.run()
	return s, nil
}

// readURL turns the URL into options of the client.
func readURL(o *StoreOptions) (client rueidis.ClientOption, address string, err error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Scheme != "redis" && u.Scheme != "rediss" || u.Hostname() == "" {
		// The cause would repeat the URL.
		return client, "", errors.New("the address of the store cannot be read: write redis://user:password@host:port/database")
	}
	if client, err = rueidis.ParseURL(o.URL); err != nil {
		return client, "", errors.New("the address of the store cannot be read: the database is a number")
	}
	if client.TLSConfig != nil && o.TLS != nil {
		name := client.TLSConfig.ServerName
		if client.TLSConfig = o.TLS.Clone(); client.TLSConfig.ServerName == "" {
			client.TLSConfig.ServerName = name
		}
	}
	client.Dialer.Timeout = dialTimeout
	client.ConnWriteTimeout = dialTimeout
	client.DisableCache = true // nothing is read twice
	client.DisableRetry = true // a request has no time for it
	// One connection, always with its queue: calls of many requests go out in one write, and one that is late does not end the connection.
	client.AlwaysPipelining = true
	client.PipelineMultiplex = -1
	client.RingScaleEachConn = ringScale
	client.ReadBufferEachConn, client.WriteBufferEachConn = 64<<10, 64<<10
	client.ClientName = "sluice"
	address = u.Scheme + "://" + client.InitAddress[0]
	if client.SelectDB != 0 {
		address = fmt.Sprintf("%s/%d", address, client.SelectDB)
	}
	return client, address, nil
}

// dial is how the client connects. Left to itself it would do so again in the midst of a request when a connection has ended, and make the others
// wait for that one. So a link is never mended: it is cut, and the store's goroutine makes another.
func (s *Store) dial(ctx context.Context, address string, dialer *net.Dialer, secure *tls.Config) (net.Conn, error) {
	if !s.dialing.Load() {
		return nil, errEnded
	}
	if secure != nil {
		return (&tls.Dialer{NetDialer: dialer, Config: secure}).DialContext(ctx, "tcp", address)
	}
	return dialer.DialContext(ctx, "tcp", address)
}

// errEnded is why a call fails when its connection is gone.
var errEnded = errors.New("the connection has ended")

// Available reports whether requests ask the store at the moment.
func (s *Store) Available() bool { return s.link.Load() != nil }

// First returns a channel that is closed after the first attempt to connect, whether it worked or not, or by Close.
func (s *Store) First() <-chan struct{} { return s.first }

// Instances returns how many instances there are, this one included: those that the store has seen in the last ten seconds, while it is away those that
// it had seen before.
func (s *Store) Instances() int { return int(s.instances.Load()) }

// Address returns the address without user and password.
func (s *Store) Address() string { return s.address }

// StoreStats tells how a store is doing.
type StoreStats struct {
	Available bool
	Instances int
	Asked     uint64 // calls for requests, since the start
	Failed    uint64 // of those, calls that came to nothing, late ones included
	Late      uint64 // of those, calls that were not answered within the timeout
	Busy      uint64 // requests that did not ask, because too many were waiting already
	Outages   uint64 // times that the store was found away
}

// Stats returns how the store is doing.
func (s *Store) Stats() StoreStats {
	return StoreStats{
		Available: s.Available(), Instances: s.Instances(), Asked: s.counted.asked.Load(), Failed: s.counted.failed.Load(),
		Late: s.counted.late.Load(), Busy: s.counted.busy.Load(), Outages: s.counted.outages.Load(),
	}
}

// Close leaves the store and joins the goroutine. Limiters that still use it find it away.
func (s *Store) Close() {
	s.cancel()
	<-s.done
}

// wall returns the time of day by the server's clock, or the caller's while that is not known.
func (s *Store) wall(now, wall int64) int64 {
	if skew := s.skew.Load(); skew != 0 {
		return now + skew
	}
	return wall
}

// ask calls takeScript for a request. It waits for no longer than the timeout, and not at all while the store is away. ok is false when there is no
// answer, whatever the store may have done.
func (s *Store) ask(keys, args []string) (reply []int64, ok bool) {
	ok = s.call(func(ctx context.Context, l *link) (err error) {
		if reply, err = l.eval(ctx, s.digests[0], takeScript, keys, args); err == nil && len(reply) < 3 {
			err = errForeign
		}
		return err
	})
	return reply, ok
}

// errForeign is why an answer is not used that no script of this program gives.
var errForeign = errors.New("the answer is none of this program's script")

// call lets f ask the store, for no longer than the timeout and not at all while it is away. ok is false when it came to nothing.
func (s *Store) call(f func(ctx context.Context, l *link) error) (ok bool) {
	l := s.link.Load()
	if l == nil {
		return false
	}
	defer s.calls.Add(-1)
	if s.calls.Add(1) > maxCalls {
		s.counted.busy.Add(1)
		return false
	}
	s.counted.asked.Add(1)
	// A context for each call: it is how the client takes a deadline, and next to two system calls it costs little.
	ctx, cancel := context.WithTimeout(s.ctx, s.o.Timeout)
	err := f(ctx, l)
	cancel()
	s.judge(l, err)
	return err == nil
}

// eval runs a script by its digest, or by its text if the server does not know it.
func (l *link) eval(ctx context.Context, sha, script string, keys, args []string) ([]int64, error) {
	reply, err := l.Do(ctx, l.B().Evalsha().Sha1(sha).Numkeys(int64(len(keys))).Key(keys...).Arg(args...).Build()).AsIntSlice()
	if re, ok := rueidis.IsRedisErr(err); ok && re.IsNoScript() {
		reply, err = l.Do(ctx, l.B().Eval().Script(script).Numkeys(int64(len(keys))).Key(keys...).Arg(args...).Build()).AsIntSlice()
	}
	return reply, err
}

// judge is the breaker: it learns what became of a call.
func (s *Store) judge(l *link, err error) {
	if err == nil {
		if w := s.weight.Load(); w > 0 {
			s.weight.CompareAndSwap(w, w-1) // whoever loses the race was one of many
		}
		return
	}
	s.counted.failed.Add(1)
	_, answered := rueidis.IsRedisErr(err)
	late := errors.Is(err, context.DeadlineExceeded)
	if late {
		s.counted.late.Add(1)
	}
	// A connection that is gone needs no second opinion.
	if s.weight.Add(failureWeight) >= tripWeight || !answered && !late {
		s.cut(l, err)
	}
}

// cut makes the store away.
func (s *Store) cut(l *link, err error) {
	if !s.link.CompareAndSwap(l, nil) {
		return // another was quicker
	}
	why := s.describe(err)
	s.why.Store(&why)
	select {
	case s.trip <- struct{}{}:
	default:
	}
}

// describe returns an error for the log.
func (s *Store) describe(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Sprintf("no answer in time (a request waits for %v)", s.o.Timeout)
	}
	text := err.Error()
	if p := s.client.Password; p != "" {
		text = strings.ReplaceAll(text, p, "…") // no error is known that has it; this is for those that are not known
	}
	return text
}
