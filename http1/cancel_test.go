package http1

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/message"
)

// stuckBody is a body whose first piece comes at once and whose second never does.
type stuckBody struct {
	waiting chan struct{} // closed when somebody waits for the second piece
	ended   chan struct{} // closed by Interrupt
	given   bool
}

func (b *stuckBody) Next() ([]byte, error) {
	if !b.given {
		b.given = true
		return []byte("hello"), nil
	}
	close(b.waiting)
	<-b.ended
	return nil, errors.New("interrupted")
}

func (b *stuckBody) Interrupt()   { close(b.ended) }
func (b *stuckBody) Close() error { return nil }

// Wherever an attempt waits, Fire ends it, nobody is blamed, and its connection is not used again.
func TestCancel(t *testing.T) {
	silent := func(c *testnet.OriginConn) { c.Hang() }
	full := func(c *testnet.OriginConn) { // takes a little, and no more
		_, _ = c.Read(make([]byte, 1))
		<-c.TestEnds()
	}
	for _, test := range []struct {
		name   string
		script func(*testnet.OriginConn)
		set    func(o *PoolOptions, waiting chan struct{})
		body   func(x *message.Exchange, waiting chan struct{})
		stage  message.Stage
	}{
		{name: "dialling", stage: message.StageConnect, set: func(o *PoolOptions, waiting chan struct{}) {
			o.Dial = func(ctx context.Context, _ string) (net.Conn, error) {
				close(waiting)
				<-ctx.Done()
				return nil, ctx.Err()
			}
		}},
		{name: "dialled in the same moment", stage: message.StageConnect, set: func(o *PoolOptions, waiting chan struct{}) {
			address := o.Address
			o.Dial = func(ctx context.Context, _ string) (net.Conn, error) {
				close(waiting)
				<-ctx.Done()
				d := net.Dialer{Timeout: testnet.Patience}
				return d.DialContext(context.Background(), "tcp", address)
			}
		}},
		{name: "shaking hands", stage: message.StageConnect, script: func(c *testnet.OriginConn) {
			_, _ = c.Read(make([]byte, 1)) // the hello
			c.Hang()
		}, set: func(o *PoolOptions, _ chan struct{}) { o.TLS = clientConfig(t, nil) }},
		{name: "sending", stage: message.StageSend, script: full,
			body: func(x *message.Exchange, waiting chan struct{}) {
				x.Request.Header.Add(message.NameOf("X"), []byte(strings.Repeat("x", 8<<20)))
				close(waiting)
			}},
		{name: "waiting", stage: message.StageWait, script: silent},
		{name: "in the head", stage: message.StageWait, script: func(c *testnet.OriginConn) {
			c.Send("HTTP/1.1 200 OK\r\n")
			c.Hang()
		}},
		{name: "behind an interim answer", stage: message.StageWait, script: func(c *testnet.OriginConn) {
			c.Send("HTTP/1.1 103 Early Hints\r\n\r\n")
			c.Hang()
		}},
		{name: "waiting while the body is sent", stage: message.StageWait, script: silent,
			body: func(x *message.Exchange, waiting chan struct{}) {
				x.Request.Method = message.MethodOf([]byte("POST"))
				x.Request.Body = &stuckBody{waiting: waiting, ended: make(chan struct{})}
				x.Request.Length = message.LengthUnknown
			}},
		{name: "sending a body that is not taken", stage: message.StageSend, script: full,
			body: func(x *message.Exchange, waiting chan struct{}) {
				x.Request.Method = message.MethodOf([]byte("POST"))
				x.Request.Body = &endless{waiting: waiting}
				x.Request.Length = message.LengthUnknown
			}},
	} {
		t.Run(test.name, func(t *testing.T) {
			waiting := make(chan struct{})
			script := test.script
			if script == nil {
				script = silent
			}
			d := newDirect(t, script, func(o *PoolOptions) {
				if test.set != nil {
					test.set(o, waiting)
				}
			})
			x := exchangeOf("GET", "/", "")
			if test.body != nil {
				test.body(x, waiting)
			}
			var c Cancel
			done := make(chan *message.Failure, 1)
			go func() { done <- d.pool.Do(x, &Call{Cancel: &c}) }()
			if test.script == nil || test.body != nil {
				testnet.Receive(t, "the wait", waiting)
			}
			if test.script != nil {
				conn := d.origin.Conn(0)
				testnet.Eventually(t, "the request has come", func() bool { return len(conn.Received()) > 0 })
			}
			for range 2 {
				if !c.Fire() {
					t.Error("Fire found the attempt answered")
				}
			}
			f := testnet.Receive(t, "the end of the attempt", done)
			if f == nil || !errors.Is(f, ErrCanceled) || f.Side != message.SideInternal || f.Retry != message.RetryNever {
				t.Fatalf("%+v", f)
			}
			if f.Stage != test.stage && test.name != "sending a body that is not taken" {
				t.Errorf("stage %q, want %q", f.Stage, test.stage)
			}
			if d.origin.Conns() > 0 && !strings.Contains(test.name, "sending") {
				testnet.Receive(t, "the end of the connection", d.origin.Conn(0).Ended())
			}
			if r := &x.Response; r.Status != 0 || r.Header.Len() != 0 || r.Tunnel != nil || d.pool.Idle() != 0 {
				t.Errorf("the attempt left status %d, %d fields, %d connections", r.Status, r.Header.Len(), d.pool.Idle())
			}
			if f := d.pool.Do(exchangeOf("GET", "/", ""), &Call{Cancel: &c}); f == nil || !errors.Is(f, ErrCanceled) {
				t.Errorf("an attempt that was canceled before it began ended with %v", f)
			}
		})
	}
}

// endless is a body that never ends.
type endless struct {
	waiting chan struct{}
	pieces  int
}

func (b *endless) Next() ([]byte, error) {
	if b.pieces++; b.pieces == 2 {
		close(b.waiting)
	}
	return zeros[:], nil
}

func (b *endless) Close() error { return nil }

// zeros is read-only.
var zeros [32 << 10]byte

// What has its answer keeps its connection, whoever is fired at afterwards; and what was fired at
// can be used again.
func TestCancelTooLate(t *testing.T) {
	d := newDirect(t, numbered(), nil)
	var c Cancel
	for range 3 {
		x := exchangeOf("GET", "/", "")
		if f := d.pool.Do(x, &Call{Cancel: &c}); f != nil {
			t.Fatal(f)
		}
		if c.Fire() {
			t.Error("Fire claims to have ended an attempt that has its answer")
		}
		if got := bodyOf(t, x); got != "0" {
			t.Errorf("connection %s", got)
		}
	}
	c.Reset()
	c.Fire()
	if f := d.pool.Do(exchangeOf("GET", "/", ""), &Call{Cancel: &c}); f == nil || f.Stage != message.StageConnect {
		t.Errorf("%+v", f)
	}
	c.Reset()
	d.want("GET", Call{Cancel: &c}, "1") // the attempt before took the first connection
	// A failure of its own stays what it is.
	_ = d.origin.Conn(1).Close()
	testnet.Receive(t, "the end", d.origin.Conn(1).Ended())
	d.pool.o.Dial = func(context.Context, string) (net.Conn, error) { return nil, errors.New("no way") }
	if f := d.pool.Do(exchangeOf("GET", "/", ""), &Call{Cancel: &c}); f == nil || f.Reason != message.UpstreamConnectFailed {
		t.Errorf("%+v", f)
	}
	if !c.Fire() {
		t.Error("there is no answer")
	}
}

// Fire and the answer race: exactly one of them wins, and connections are never mixed up.
func TestCancelRace(t *testing.T) {
	for _, way := range []string{"plain", "TLS"} {
		t.Run(way, func(t *testing.T) {
			d := newRacing(t, way == "TLS")
			workers, rounds := 8, 300
			if way == "TLS" {
				workers, rounds = 4, 60 // most begin with a handshake
			}
			var won, fired atomic.Int64
			var wg sync.WaitGroup
			for w := range workers {
				wg.Go(func() {
					var c Cancel
					x := new(message.Exchange)
					bound := time.Millisecond // it goes to where both win about as often
					for i := range rounds {
						c.Reset()
						text := strings.Repeat(itoa(w*rounds+i)+" ", 1+i%2000)
						*x = *exchangeOf([]string{"GET", "POST"}[i%2], "/"+itoa(w)+"/"+itoa(i), "")
						if i%2 == 1 {
							x.Fixed.Reset([]byte(text))
							x.Request.Body, x.Request.Length = &x.Fixed, int64(len(text))
						} else {
							text = ""
						}
						fire := make(chan bool, 1)
						timer := time.AfterFunc(rand.N(bound), func() { fire <- c.Fire() })
						f := d.Do(x, &Call{Cancel: &c, Once: i%3 == 0})
						if timer.Stop() {
							fire <- c.Fire()
						}
						ended := <-fire
						if bound = bound * 4 / 3; f == nil {
							bound /= 2
						}
						bound = min(max(bound, 20*time.Microsecond), 100*time.Millisecond)
						switch {
						case f == nil && ended, f != nil && !ended:
							t.Errorf("Do: %v, Fire: %v", f, ended)
						case f == nil:
							won.Add(1)
							want := string(x.Request.Method.AppendTo(nil)) + " " + string(x.Request.Path) + " " + text
							if got := bodyOf(t, x); got != want {
								t.Errorf("answer %.60q, want %.60q", got, want)
							}
						case errors.Is(f, ErrCanceled):
							fired.Add(1)
						default:
							t.Errorf("failed by itself: %+v", f)
						}
					}
				})
			}
			wg.Wait()
			if won.Load() == 0 || fired.Load() == 0 {
				t.Errorf("%d attempts won and %d were canceled: that is no race", won.Load(), fired.Load())
			}
		})
	}
}

// newRacing makes a pool in front of an origin that answers with the request.
func newRacing(t *testing.T, secure bool) *Pool {
	t.Helper()
	var o PoolOptions
	if secure {
		so := newSecureOrigin(t, nil, mirrored)
		o = poolOptions(so.addr)
		o.TLS = clientConfig(t, so)
	} else {
		o = poolOptions(testnet.NewOrigin(t, echo).Addr)
	}
	p := NewPool(o)
	t.Cleanup(p.Close)
	return p
}

// TestCancelLend: who fires one that has lent itself ends the attempts of those that it was lent to, whenever; after Return it does not.
func TestCancelLend(t *testing.T) {
	fired := func(c *Cancel) bool { return !c.wait(nil, nil) }
	var own, first, second Cancel
	own.Lend(&first, &second)
	if fired(&first) || fired(&second) {
		t.Fatal("fired by being lent")
	}
	own.Fire()
	if !fired(&first) || !fired(&second) {
		t.Error("not fired with the one that lent itself")
	}
	first.Reset()
	second.Reset()
	own.Lend(&first, &second) // it was fired before
	if !fired(&first) || !fired(&second) {
		t.Error("lent by one that was fired, and goes on")
	}
	own.Reset()
	first.Reset()
	second.Reset()
	own.Lend(&first, &second)
	own.Return(true)
	if own.Fire() {
		t.Error("fired after the answer")
	}
	own.Reset()
	own.Lend(&first, &second)
	own.Return(false)
	if !own.Fire() || fired(&first) || fired(&second) {
		t.Error("after Return it fires others, or not itself")
	}
}
