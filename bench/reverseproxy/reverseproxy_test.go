package reverseproxy

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestHandlerRoutesAndTakesTurns(t *testing.T) {
	var backends []string
	for _, name := range []string{"a", "b"} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, name) }))
		t.Cleanup(server.Close)
		backends = append(backends, strings.TrimPrefix(server.URL, "http://"))
	}
	get := func(h http.Handler, path string) (int, string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return w.Code, w.Body.String()
	}
	all, err := newHandler(Config{Backends: backends})
	if err != nil {
		t.Fatal(err)
	}
	_, first := get(all, "/any")
	if _, second := get(all, "/any"); first+second != "ab" && first+second != "ba" {
		t.Errorf("two requests went to %q and %q", first, second)
	}
	routed, err := newHandler(Config{Backends: backends, Prefixes: []string{"/r/0/"}, Exacts: []string{"/r/1/item"}})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{"/r/0/x": 200, "/r/1/item": 200, "/r/1/items": 404, "/": 404} {
		if code, _ := get(routed, path); code != want {
			t.Errorf("%s: %d, want %d", path, code, want)
		}
	}
	if _, err := newHandler(Config{}); err == nil {
		t.Error("no backend was accepted")
	}
}

func TestServeEndsWithItsContext(t *testing.T) {
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	config := Config{Address: socket.Addr().String(), Backends: []string{"127.0.0.1:1"}}
	if err := Serve(t.Context(), config); err == nil {
		t.Error("a busy address was accepted")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	config.Address = "127.0.0.1:0"
	if err := Serve(ctx, config); err != nil {
		t.Error(err)
	}
}

func TestBuffersComeBack(t *testing.T) {
	var b buffers
	p := b.Get()
	if len(p) != bufferSize {
		t.Errorf("%d bytes", len(p))
	}
	b.Put(p)
	if got := b.Get(); len(got) != bufferSize {
		t.Errorf("%d bytes the second time", len(got))
	}
}
