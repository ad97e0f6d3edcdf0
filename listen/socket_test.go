package listen

import (
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
)

func TestKeyOf(t *testing.T) {
	tests := []struct{ in, want string }{
		{":8080", ":8080"},
		{"[::]:8080", ":8080"},
		{"0.0.0.0:8080", "0.0.0.0:8080"},
		{"127.0.0.1:0", "127.0.0.1:0"},
		{"[::1]:443", "[::1]:443"},
		{"[0:0::1]:443", "[::1]:443"},
		{"[::ffff:127.0.0.1]:80", "127.0.0.1:80"},
		{"LocalHost:http", "localhost:80"},
		{"127.0.0.1:0080", "127.0.0.1:80"},
		{"[fe80::1%lo]:80", "[fe80::1%lo]:80"},
		{"8080", ""},
		{"127.0.0.1", ""},
		{"::1:8080", ""},
		{"127.0.0.1:", ""},
		{"127.0.0.1:65536", ""},
		{"127.0.0.1:-1", ""},
		{"127.0.0.1:nonsense-port", ""},
	}
	for _, tt := range tests {
		key, err := KeyOf("tcp", tt.in)
		if (err != nil) != (tt.want == "") {
			t.Errorf("KeyOf(%q): %v", tt.in, err)
			continue
		}
		if err == nil && key != (Key{"tcp", tt.want}) {
			t.Errorf("KeyOf(%q) = %v, want %q", tt.in, key, tt.want)
		}
	}
}

func TestOpenErrors(t *testing.T) {
	holder := bind(t)
	defer holder.Close()
	_, port, err := net.SplitHostPort(holder.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, address string
		is            error
		want          []string
	}{
		{"busy", "127.0.0.1:" + port, syscall.EADDRINUSE, []string{`listener "web"`, "127.0.0.1:" + port, "another listener or program has the port", "choose another port"}},
		{"busy on all addresses", ":" + port, syscall.EADDRINUSE, []string{"another listener or program"}},
		{"not ours", "192.0.2.1:0", syscall.EADDRNOTAVAIL, []string{`listener "web"`, "no interface of this machine"}},
		{"no port", "127.0.0.1", nil, []string{`listener "web"`, "not host:port"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := Open("web", tt.address)
			if err == nil {
				s.Close()
				t.Fatal("opened")
			}
			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("%v is not %v", err, tt.is)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q lacks %q", err, want)
				}
			}
		})
	}
}

func TestSocketBeforeAndAfter(t *testing.T) {
	s := bind(t)
	if want := (Key{"tcp", "127.0.0.1:0"}); s.Key() != want {
		t.Errorf("key %v, want %v", s.Key(), want)
	}
	address := s.Addr().String()
	// Nobody accepts yet, but clients can connect: they wait in the queue and are served once the listener starts.
	nc, err := (&net.Dialer{Timeout: patience}).Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	c := clientOf(t, nc)
	c.send("early")
	l := Start(s, &Options{Name: "test", Protocols: Protocols{HTTP1: &words{mark: "1 "}}})
	c.want("1 early")
	l.Close()
	await(t, "the end", l.Ended())
	// The address is free as soon as the listener has ended, though a connection was open.
	again, err := Open("test", address)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

func TestLiteralIPv4StaysIPv4(t *testing.T) {
	s, err := Open("test", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if a, ok := s.Addr().(*net.TCPAddr); !ok || a.IP.To4() == nil || len(a.IP) != net.IPv4len && strings.Contains(a.String(), "[") {
		t.Errorf("0.0.0.0 is bound as %v", s.Addr())
	}
	_, port, _ := net.SplitHostPort(s.Addr().String())
	if nc, err := (&net.Dialer{Timeout: patience}).Dial("tcp", "[::1]:"+port); err == nil {
		nc.Close()
		t.Error("a listener on 0.0.0.0 takes IPv6 connections")
	}
}
