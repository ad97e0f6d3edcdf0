package upstream

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
)

// fakeTransport answers by a function and counts.
type fakeTransport struct {
	answer func(x *message.Exchange, c *Call) *message.Failure
	calls  atomic.Int64
	closed atomic.Int64
	swept  atomic.Int64
}

func (t *fakeTransport) Do(x *message.Exchange, c *Call) *message.Failure {
	t.calls.Add(1)
	return t.answer(x, c)
}
func (t *fakeTransport) Sweep() { t.swept.Add(1) }
func (t *fakeTransport) Close() { t.closed.Add(1) }

// closeCounter is a response body that counts its closes.
type closeCounter struct{ closes int }

func (*closeCounter) Next() ([]byte, error) { return nil, io.EOF }
func (c *closeCounter) Close() error        { c.closes++; return nil }

// answers returns a transport function that gives a status.
func answers(status int) func(*message.Exchange, *Call) *message.Failure {
	return func(x *message.Exchange, _ *Call) *message.Failure {
		x.Response.Status = status
		x.Response.Body = message.NoBody{}
		return nil
	}
}

// fails returns a transport function that fails with copies of f.
func fails(f message.Failure) func(*message.Exchange, *Call) *message.Failure {
	return func(_ *message.Exchange, _ *Call) *message.Failure {
		c := f
		return &c
	}
}

var (
	refusedFailure = message.Failure{Reason: message.UpstreamConnectRefused, Side: message.SideUpstream, Stage: message.StageConnect, Retry: message.RetryUnsent}
	resetFailure   = message.Failure{Reason: message.UpstreamReset, Side: message.SideUpstream, Stage: message.StageWait, Retry: message.RetryUnknown}
	raceFailure    = message.Failure{Reason: message.UpstreamReset, Side: message.SideUpstream, Stage: message.StageWait, Retry: message.RetryReused}
	brokenFailure  = message.Failure{Reason: message.UpstreamResponseInvalid, Side: message.SideUpstream, Stage: message.StageReceive, Retry: message.RetryNever}
	slowFailure    = message.Failure{Reason: message.UpstreamTimeoutFirstByte, Side: message.SideUpstream, Stage: message.StageWait, Retry: message.RetryUnknown}
	clientFailure  = message.Failure{Reason: message.ClientClosed, Side: message.SideClient, Stage: message.StageRead, Err: errors.New("gone")}
)

// group is a backend over fake transports.
type group struct {
	*Backend
	transports []*fakeTransport
	endpoints  []*Endpoint
	keeper     *keeper
}

// keeper hands out endpoints that a test has made, and makes those that it has not.
type keeper struct {
	mu    sync.Mutex
	kept  map[string]*Endpoint
	users map[string]int
	reg   *metric.Registry
	open  func(TransportOptions) *Endpoint // nil for NewEndpoint
}

func newKeeper(endpoints ...*Endpoint) *keeper {
	k := &keeper{kept: map[string]*Endpoint{}, users: map[string]int{}}
	for _, ep := range endpoints {
		k.kept[ep.address] = ep
	}
	return k
}

func (k *keeper) Acquire(backend string, o TransportOptions) (*Endpoint, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.kept[o.Address] == nil {
		if k.open != nil {
			k.kept[o.Address] = k.open(o)
		} else if ep, err := NewEndpoint(backend, o, k.reg); err != nil {
			return nil, err
		} else {
			k.kept[o.Address] = ep
		}
	}
	k.users[o.Address]++
	return k.kept[o.Address], nil
}

func (k *keeper) Release(ep *Endpoint) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.users[ep.address]--; k.users[ep.address] == 0 {
		ep.Close()
	}
}

// newGroup makes a backend with one endpoint for each answer. change may alter the defaults; without it the algorithm is round_robin, so that
// the first endpoint is picked first.
func newGroup(t testing.TB, change func(*Options), answer ...func(*message.Exchange, *Call) *message.Failure) *group {
	t.Helper()
	o := Default()
	o.Name, o.Algorithm = "shop", "round_robin"
	for i := range answer {
		o.Endpoints = append(o.Endpoints, EndpointOptions{Address: fmt.Sprintf("127.0.0.1:%d", 9000+i), Weight: 1})
	}
	if change != nil {
		change(&o)
	}
	g := &group{}
	for i, a := range answer {
		tr := &fakeTransport{answer: a}
		g.transports = append(g.transports, tr)
		g.endpoints = append(g.endpoints, newEndpoint(o.Name, o.Transport(o.Endpoints[i].Address, ""), tr, nil))
	}
	g.keeper = newKeeper(g.endpoints...)
	b, err := New(o, g.keeper, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	g.Backend = b
	return g
}

// calls returns how often each transport was called.
func (g *group) calls() string {
	s := ""
	for i, t := range g.transports {
		if i > 0 {
			s += " "
		}
		s += fmt.Sprint(t.calls.Load())
	}
	return s
}

func newExchange(method string) *message.Exchange {
	x := new(message.Exchange)
	x.Reset()
	x.Request.Method = message.MethodOf([]byte(method))
	return x
}

// send runs one exchange to its end and returns its failure and the exchange.
func (g *group) send(method string) (*message.Failure, *message.Exchange) {
	var f Flight
	x := newExchange(method)
	failure := g.Do(x, &f)
	if failure != nil {
		copied := *failure
		x.Fail(failure)
		failure = &copied
	}
	f.Finish(x)
	return failure, x
}

// pass moves the clock of a synctest bubble, and waits until what happens then has happened.
func pass(d time.Duration) {
	<-time.NewTimer(d).C
	synctest.Wait()
}
