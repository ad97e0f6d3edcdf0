package datagram

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// socket opens a UDP socket on a free port of the loopback interface, and returns its descriptor and address.
func socket(t *testing.T) (int, *unix.SockaddrInet4) {
	t.Helper()
	fd, err := Listen("127.0.0.1:0", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fd, name.(*unix.SockaddrInet4)
}

// await waits until a datagram can be read.
func await(t *testing.T, fd int) {
	t.Helper()
	for until := time.Now().Add(10 * time.Second); ; {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 1000)
		if n > 0 {
			return
		}
		if err != nil && err != unix.EINTR || time.Now().After(until) {
			t.Fatal("nothing can be read:", err)
		}
	}
}

// receive collects want datagrams from fd, in batches.
func receive(t *testing.T, b *Batch, fd, want int, each func(i int)) {
	t.Helper()
	for got := 0; got < want; {
		await(t, fd)
		n, err := b.Receive(fd)
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			each(i)
		}
		got += n
	}
}

func TestEchoKeepsSendersLengthsAndBytes(t *testing.T) {
	server, address := socket(t)
	client, _ := socket(t)
	if err := unix.Connect(client, address); err != nil {
		t.Fatal(err)
	}
	other, _ := socket(t)
	if err := unix.Connect(other, address); err != nil {
		t.Fatal(err)
	}
	out := New(5, 100, false)
	for _, fd := range []int{client, other} {
		for i := range out.Size() {
			text := bytes.Repeat([]byte{byte('a' + i)}, 10*i)
			copy(out.Buffer(i), fmt.Sprintf("%d ", fd)+string(text))
			out.SetLen(i, len(fmt.Sprintf("%d ", fd))+len(text))
		}
		if n, err := out.Send(fd, 5); n != 5 || err != nil {
			t.Fatal(n, err)
		}
	}
	// The server has room for three at a time, so that the batch is used again with other senders and lengths.
	echo := New(3, 100, true)
	for served := 0; served < 10; {
		await(t, server)
		n, err := echo.Receive(server)
		if err != nil {
			t.Fatal(err)
		}
		if sent, err := echo.Send(server, n); sent != n || err != nil {
			t.Fatal(sent, n, err)
		}
		served += n
	}
	in := New(4, 100, false)
	for _, fd := range []int{client, other} {
		k := 0
		receive(t, in, fd, 5, func(i int) {
			want := fmt.Sprintf("%d %s", fd, bytes.Repeat([]byte{byte('a' + k)}, 10*k))
			if string(in.Data(i)) != want || in.Truncated(i) {
				t.Errorf("datagram %d is %q, want %q", k, in.Data(i), want)
			}
			k++
		})
		if n, err := in.Receive(fd); n != 0 || err != nil {
			t.Errorf("an empty socket gives %d datagrams and %v", n, err)
		}
	}
}

func TestLongDatagramsAreTruncated(t *testing.T) {
	server, address := socket(t)
	client, _ := socket(t)
	if err := unix.Connect(client, address); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{8, 9} {
		out := New(1, size, false)
		out.SetLen(0, size)
		if n, err := out.Send(client, 1); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		in := New(1, 8, false)
		receive(t, in, server, 1, func(int) {
			if in.Truncated(0) != (size > 8) || len(in.Data(0)) != 8 {
				t.Errorf("%d bytes into a buffer of 8: truncated %v, %d bytes", size, in.Truncated(0), len(in.Data(0)))
			}
		})
	}
}

func TestRefusedDatagramsAreAnError(t *testing.T) {
	gone, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := &unix.SockaddrInet4{Port: gone.LocalAddr().(*net.UDPAddr).Port, Addr: [4]byte{127, 0, 0, 1}}
	_ = gone.Close()
	client, _ := socket(t)
	if err := unix.Connect(client, address); err != nil {
		t.Fatal(err)
	}
	b := New(1, 8, false)
	b.SetLen(0, 8)
	// The refusal of the first one may already be there when the call returns, or be met by a later call.
	for range 1000 {
		if _, err = b.Send(client, 1); err != nil {
			break
		}
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("sending to a closed port gives %v", err)
	}
}

func TestListenRefusesBadAddresses(t *testing.T) {
	for _, address := range []string{"nowhere", "[::1]:1", "192.0.2.1:1"} {
		if fd, err := Listen(address, 1); err == nil {
			_ = unix.Close(fd)
			t.Errorf("%s was accepted", address)
		}
	}
}
