package origin

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

const testTransfer = 3<<20 + 17 // no multiple of anything

// startRaw serves each service on one address until the test ends.
func startRaw(t *testing.T) Raw {
	t.Helper()
	a := free(t, 5)
	c := Raw{Echo: a[:1], Once: a[1:2], Source: a[2:3], Sink: a[3:4], Packets: a[4:], Message: 128, Transfer: testTransfer}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- ServeRaw(ctx, c) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return c
}

func send(t *testing.T, w io.Writer, b []byte) {
	t.Helper()
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
}

func TestEcho(t *testing.T) {
	c := dial(t, startRaw(t).Echo[0])
	for _, size := range []int{1, 128, 5000} {
		send(t, c, Body(size))
		got := make([]byte, size)
		if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, Body(size)) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

func TestOnceAnswersWholeMessagesAndCloses(t *testing.T) {
	c := dial(t, startRaw(t).Once[0])
	send(t, c, Body(128)[:50])
	send(t, c, Body(128)[50:])
	if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, Body(128)) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestSourceSendsItsTransferAndCloses(t *testing.T) {
	got, err := io.ReadAll(dial(t, startRaw(t).Source[0]))
	if err != nil || !bytes.Equal(got, transfer()) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// transfer is the content of a whole transfer.
func transfer() []byte {
	content := NewContent()
	var all []byte
	for len(all) < testTransfer {
		all = append(all, content.From(int64(len(all)), testTransfer-len(all))...)
	}
	return all
}

func TestSinkJudges(t *testing.T) {
	address := startRaw(t).Sink[0]
	swapped := transfer()
	copy(swapped[1<<20:], transfer()[2<<20:2<<20+4096]) // a page at the place of another one
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"right", transfer(), Complete},
		{"wrong from the start", make([]byte, 128), Spoiled},
		{"a page in a wrong place", swapped, Spoiled},
		{"too long", append(transfer(), 'x'), Spoiled},
	} {
		conn := dial(t, address)
		_, sent := conn.Write(c.data)
		got, err := io.ReadAll(conn)
		switch {
		case c.name == "too long" && string(got) == Complete: // the last byte came after the verdict
		case c.want == Spoiled && len(c.data) > 128 && (sent != nil || err != nil): // the close met bytes underway, which may cost the verdict
		case string(got) != c.want:
			t.Errorf("%s: the verdict is %q (%v), want %q", c.name, got, errors.Join(sent, err), c.want)
		}
	}
}

func TestContentTellsItsPlace(t *testing.T) {
	content := NewContent()
	if !bytes.Equal(content.From(0, 1000), NewContent().From(0, 1000)) {
		t.Error("two contents differ")
	}
	for _, offset := range []int64{1, 4096, 65536, 1 << 20, 1<<40 + 1} {
		if bytes.Equal(content.From(0, 64), content.From(offset, 64)) {
			t.Errorf("the content at %d is that at 0", offset)
		}
		if a, b := content.From(offset, 100), content.From(offset+50, 50); !bytes.Equal(a[50:], b) {
			t.Errorf("the content at %d does not go on", offset)
		}
	}
	if n := len(content.From(7, 1<<30)); n != contentRun {
		t.Errorf("%d bytes at most, want %d", n, contentRun)
	}
}

func TestPacketsGoBack(t *testing.T) {
	address := startRaw(t).Packets[0]
	for range 3 {
		c := dialUDP(t, address)
		for _, size := range []int{1, 128, 1400} {
			exchange(t, c, Body(size))
		}
	}
}

func dialUDP(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := (&net.Dialer{Timeout: 10 * time.Second}).Dial("udp4", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// exchange sends until the answer comes: the service may not be there yet, and datagrams may be lost.
func exchange(t *testing.T, c net.Conn, message []byte) {
	t.Helper()
	got := make([]byte, 4096)
	for range 1000 {
		_, _ = c.Write(message)
		if err := c.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		n, err := c.Read(got)
		if err == nil && bytes.Equal(got[:n], message) {
			return
		}
		if err == nil && n == len(message) {
			break
		}
		if errors.Is(err, net.ErrClosed) {
			t.Fatal(err)
		}
	}
	t.Fatalf("%d bytes are not echoed", len(message))
}

func TestServeRawRefusesBadPlans(t *testing.T) {
	good := Raw{Message: 1, Transfer: 1}
	for name, change := range map[string]func(*Raw){
		"no message":   func(c *Raw) { c.Message = 0 },
		"long message": func(c *Raw) { c.Message = maxMessage + 1 },
		"no transfer":  func(c *Raw) { c.Transfer = 0 },
		"bad address":  func(c *Raw) { c.Echo = []string{"nowhere"} },
		"bad packets":  func(c *Raw) { c.Packets = []string{"[::1]:1"} },
	} {
		c := good
		change(&c)
		if err := ServeRaw(t.Context(), c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
