package load

import (
	"bytes"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

const (
	bulkTransfer = 600_001 // more than one read and one write
	verdict      = "right"
)

// wholeTransfer is content whose bytes tell their place. Read-only: the servers of the tests share it.
var wholeTransfer = func() []byte {
	all := make([]byte, bulkTransfer)
	for i := range all {
		all[i] = byte(i ^ i>>8 ^ i>>16)
	}
	return all
}()

// bulkContent gives it in shorter pieces than it is asked for.
func bulkContent(offset int64, most int) []byte {
	rest := wholeTransfer[min(offset, bulkTransfer):]
	return rest[:min(most, 100_000, len(rest))]
}

// until runs the client anew as long as its window was too short for this machine to do what is asked for.
func until(t *testing.T, run func() (*Result, error), enough func(*Result) bool) *Result {
	t.Helper()
	for range 50 {
		r, err := run()
		if err != nil {
			t.Fatal(err)
		}
		if enough(r) {
			return r
		}
	}
	t.Fatal("no window was long enough")
	return nil
}

func bulkClientFor(address string, upload bool) Bulk {
	return Bulk{Address: address, Connections: 2, Transfer: bulkTransfer, Upload: upload, Content: bulkContent, Verdict: []byte(verdict),
		Window: Window{Warmup: 20 * time.Millisecond, Measure: 300 * time.Millisecond}}
}

func TestDownload(t *testing.T) {
	client := bulkClientFor(listen(t, func(c net.Conn) { _, _ = c.Write(wholeTransfer) }), false)
	r := until(t, func() (*Result, error) { return client.Run(t.Context()) }, func(r *Result) bool { return r.Requests > 10 || r.Failed() > 0 })
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	// The first and the last transfer of each connection lie across the borders of the window.
	if diff := int64(r.Bytes) - int64(r.Requests)*bulkTransfer; diff < -2*bulkTransfer || diff > 2*bulkTransfer || r.Throughput() <= 0 {
		t.Errorf("%d transfers, %d bytes, %v bytes/s", r.Requests, r.Bytes, r.Throughput())
	}
}

func TestUpload(t *testing.T) {
	var right atomic.Int64
	client := bulkClientFor(listen(t, func(c net.Conn) {
		got := make([]byte, bulkTransfer)
		if _, err := io.ReadFull(c, got); err == nil && bytes.Equal(got, wholeTransfer) {
			right.Add(1)
			_, _ = io.WriteString(c, verdict[:2])
			_, _ = io.WriteString(c, verdict[2:])
		}
	}), true)
	r := until(t, func() (*Result, error) { return client.Run(t.Context()) }, func(r *Result) bool { return r.Requests > 10 || r.Failed() > 0 })
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	if diff := int64(r.Bytes) - int64(r.Requests)*bulkTransfer; int64(r.Requests) > right.Load() || diff < -2*bulkTransfer || diff > 2*bulkTransfer {
		t.Errorf("the client counts %d transfers and %d bytes, the server %d transfers", r.Requests, r.Bytes, right.Load())
	}
}

// TestBulkCountsFailures has one transfer spoiled inside the window.
func TestBulkCountsFailures(t *testing.T) {
	wrong := bytes.Clone(wholeTransfer)
	wrong[bulkTransfer/2] ^= 1
	for _, c := range []struct {
		name   string
		upload bool
		answer []byte // of the endpoint, in place of the content or the verdict
		want   Failure
	}{
		{"short download", false, wholeTransfer[:bulkTransfer-1], ClosedEarly},
		{"long download", false, append(bytes.Clone(wholeTransfer), 0), Content},
		{"wrong download", false, wrong, Content},
		{"no download", false, nil, ClosedEarly},
		{"wrong verdict", true, []byte("wrong"), Content},
		{"long verdict", true, []byte(verdict + "x"), Content},
		{"short verdict", true, []byte(verdict[:2]), ClosedEarly},
	} {
		t.Run(c.name, func(t *testing.T) {
			var inside, done atomic.Bool
			client := bulkClientFor(listen(t, func(conn net.Conn) {
				answer := wholeTransfer
				if c.upload {
					answer = []byte(verdict)
					_, _ = io.CopyN(io.Discard, conn, bulkTransfer)
				}
				if inside.Load() && done.CompareAndSwap(false, true) {
					answer = c.answer
				}
				_, _ = conn.Write(answer)
			}), c.upload)
			client.Begin = func() { inside.Store(true) }
			client.End = func() { inside.Store(false) }
			r := until(t, func() (*Result, error) {
				done.Store(false)
				return client.Run(t.Context())
			}, func(r *Result) bool { return r.Failed() > 0 })
			if r.Failed() != 1 || r.Failures[c.want] != 1 || r.Err() == nil {
				t.Errorf("failures: %s", r.FailureText())
			}
		})
	}
}

func TestBulkWithoutServer(t *testing.T) {
	r, err := bulkClientFor(closedPort(t), false).Run(t.Context())
	if err != nil || r.Failures[ConnectFailed] == 0 || r.Failed() != r.Failures[ConnectFailed] {
		t.Errorf("%v, failures: %s", err, r.FailureText())
	}
}

// closedPort is an address where nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	socket, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	return socket.Addr().String()
}

func TestBulkRefusesBadPlans(t *testing.T) {
	for name, change := range map[string]func(*Bulk){
		"address":     func(b *Bulk) { b.Address = "[::1]:1" },
		"connections": func(b *Bulk) { b.Connections = 0 },
		"transfer":    func(b *Bulk) { b.Transfer = 0 },
		"content":     func(b *Bulk) { b.Content = nil },
		"time":        func(b *Bulk) { b.Measure = 0 },
	} {
		b := bulkClientFor("127.0.0.1:1", false)
		change(&b)
		if _, err := b.Run(t.Context()); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
