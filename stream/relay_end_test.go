package stream

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// tcpWays are those in which both ends can be reset.
var tcpWays = ways[:2]

// Each way to end, from each side: what the other side sees, and what the result says.
func TestRelayEnds(t *testing.T) {
	big := strings.Repeat("x", 3<<20)
	for _, w := range tcpWays {
		for _, side := range []Side{SideA, SideB} {
			for _, test := range []struct {
				name string
				// run drives the side that ends first (mine) and the other one.
				run         func(t *testing.T, mine, other net.Conn)
				first, last Ending
				lastOther   bool  // the last end is the other side's
				mine, other int64 // bytes of each side; -1 for any number
			}{
				{name: "fin", first: EndFIN, last: EndFIN, lastOther: true, mine: 5, other: 4, run: func(t *testing.T, mine, other net.Conn) {
					send(t, mine, "hello")
					closeWrite(t, mine)
					receive(t, other, "hello")
					receiveEnd(t, other)
					send(t, other, "late")
					closeWrite(t, other)
					receive(t, mine, "late")
					receiveEnd(t, mine)
				}},
				{name: "fin behind much that nobody reads yet", first: EndFIN, last: EndFIN, lastOther: true, mine: 3 << 20, run: func(t *testing.T, mine, other net.Conn) {
					sent := make(chan error, 1)
					go func() {
						_, err := io.WriteString(mine, big)
						closeWrite(t, mine)
						sent <- err
					}()
					receive(t, other, big)
					receiveEnd(t, other)
					if err := <-sent; err != nil {
						t.Error(err)
					}
					closeWrite(t, other)
					receiveEnd(t, mine)
				}},
				{name: "reset", first: EndReset, last: EndReset, mine: 1, run: func(t *testing.T, mine, other net.Conn) {
					send(t, mine, "x")
					receive(t, other, "x")
					reset(mine)
					receiveReset(t, other)
				}},
				{name: "reset behind much that nobody reads", first: EndReset, last: EndReset, mine: -1, run: func(t *testing.T, mine, other net.Conn) {
					_ = mine.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
					_, _ = io.Copy(onlyWriter{mine}, endless{}) // until it is full
					reset(mine)
					receiveReset(t, other)
				}},
				{name: "reset while the other side sends", first: EndReset, last: EndReset, other: -1, run: func(t *testing.T, mine, other net.Conn) {
					ended := make(chan error, 1)
					go func() {
						_, err := io.Copy(onlyWriter{other}, endless{})
						ended <- err
					}()
					_, _ = io.ReadFull(mine, make([]byte, 200_000))
					reset(mine)
					if err := testnet.Receive(t, "the end of the sender", ended); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
						t.Error(err)
					}
				}},
				{name: "close while the other side sends", first: EndFIN, last: EndReset, other: -1, run: func(t *testing.T, mine, other net.Conn) {
					_ = mine.Close()
					receiveEnd(t, other)
					for {
						if _, err := io.WriteString(other, big[:10_000]); err != nil {
							break
						}
					}
				}},
				{name: "fin, then a reset", first: EndFIN, last: EndReset, run: func(t *testing.T, mine, other net.Conn) {
					closeWrite(t, mine)
					receiveEnd(t, other)
					reset(mine)
				}},
				{name: "fin, then a reset from the other side", first: EndFIN, last: EndReset, lastOther: true, other: 1, run: func(t *testing.T, mine, other net.Conn) {
					closeWrite(t, mine)
					receiveEnd(t, other)
					send(t, other, "x")
					receive(t, mine, "x")
					reset(other)
					receiveReset(t, mine)
				}},
			} {
				t.Run(w.name+"/"+side.String()+"/"+test.name, func(t *testing.T) {
					e := relayed(t, w, RelayOptions{Idle: testnet.Patience})
					mine, other := e.a, e.b
					if side == SideB {
						mine, other = e.b, e.a
					}
					test.run(t, mine, other)
					got := e.result(t)
					last := RelayEnd{side, test.last}
					if test.lastOther {
						last.Side = side.other()
					}
					sent, answered := got.AB, got.BA
					if side == SideB {
						sent, answered = answered, sent
					}
					if got.First != (RelayEnd{side, test.first}) || got.Last != last || got.Last.How == EndReset != (got.Err != nil) ||
						test.mine >= 0 && sent != test.mine || test.other >= 0 && answered != test.other {
						t.Errorf("%+v", got)
					}
				})
			}
		}
	}
}

// An endpoint that answers early and goes away with bytes unread resets its connection behind the
// answer. The answer reaches the client before the reset does, whichever direction meets it first.
func TestRelayAnswerBeforeReset(t *testing.T) {
	for _, w := range tcpWays {
		t.Run(w.name, func(t *testing.T) {
			for range 50 {
				e := relayed(t, w, RelayOptions{Idle: testnet.Patience})
				const answer = "HTTP/1.1 413 Content Too Large\r\n\r\n"
				sent := make(chan struct{})
				go func() {
					defer close(sent)
					for {
						if _, err := e.a.Write(make([]byte, 20_000)); err != nil {
							return
						}
					}
				}()
				_, _ = io.ReadFull(e.b, make([]byte, 30_000))
				send(t, e.b, answer)
				_ = e.b.Close() // bytes are unread: it is a reset
				receive(t, e.a, answer)
				<-sent
				if got := e.result(t); got.BA != int64(len(answer)) || got.First.Side != SideB || got.Last != (RelayEnd{SideB, EndReset}) {
					t.Fatalf("%+v", got)
				}
			}
		})
	}
}

// failing is a connection whose reads fail with an error of its own.
type failing struct {
	net.Conn
	err error
}

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// Other errors than resets are told apart, and the other side is reset all the same.
func TestRelayFailure(t *testing.T) {
	a, nearA := testnet.TCPPair(t)
	_, nearB := testnet.Pipe(100)
	got := Relay(nearA, failing{nearB, syscall.ETIMEDOUT}, RelayOptions{})
	if want := (RelayEnd{SideB, EndFailed}); got.First != want || got.Last != want || !errors.Is(got.Err, syscall.ETIMEDOUT) {
		t.Errorf("%+v", got)
	}
	receiveReset(t, a)
}

// certificate returns a certificate for nothing.
func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// TLS on one side, on the other, and on both: the bytes are the same, an end is a close_notify, and
// what is cut has none.
func TestRelayTLS(t *testing.T) {
	cert := certificate(t)
	secured := func(t *testing.T, secure bool) (far, near net.Conn) {
		far, near = pair(t, true)
		_ = far.SetDeadline(time.Now().Add(testnet.Patience))
		if !secure {
			return far, near
		}
		client := tls.Client(far, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
		server := tls.Server(near, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13})
		done := make(chan error, 1)
		go func() { done <- server.Handshake() }()
		if err := errors.Join(client.Handshake(), <-done); err != nil {
			t.Fatal(err)
		}
		return client, server
	}
	for _, secure := range [][2]bool{{true, false}, {false, true}, {true, true}} {
		start := func(t *testing.T) ends {
			a, nearA := secured(t, secure[0])
			b, nearB := secured(t, secure[1])
			e := ends{a: a, b: b, s: new(RelaySession), done: make(chan RelayResult, 1)}
			go func() { e.done <- e.s.Run(nearA, nearB, RelayOptions{Idle: testnet.Patience}) }()
			return e
		}
		t.Run("whole", func(t *testing.T) {
			e := start(t)
			text := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
			go func() {
				_, _ = e.a.Write(text)
				closeWrite(t, e.a)
			}()
			got, err := io.ReadAll(e.b)
			if err != nil || !bytes.Equal(got, text) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			send(t, e.b, "answer")
			closeWrite(t, e.b)
			if got, err := io.ReadAll(e.a); string(got) != "answer" || err != nil {
				t.Errorf("%q, %v", got, err)
			}
			e.want(t, int64(len(text)), 6, RelayEnd{SideA, EndFIN}, RelayEnd{SideB, EndFIN})
		})
		t.Run("cut", func(t *testing.T) {
			e := start(t)
			send(t, e.a, "x")
			receive(t, e.b, "x")
			e.s.Stop()
			for _, c := range []net.Conn{e.a, e.b} {
				if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("a connection that was cut ends with %v", err)
				}
			}
			e.want(t, 1, 0, RelayEnd{How: EndStopped}, RelayEnd{How: EndStopped})
		})
	}
}
