package admin

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// The bounds of an admin connection. A profile may take its time; pprof refuses one that would
// take longer than writeTimeout.
const (
	headerTimeout = 10 * time.Second
	idleTimeout   = time.Minute
	writeTimeout  = 5 * time.Minute
	maxHeader     = 64 << 10
)

// Server serves the admin interface on one socket until Close.
type Server struct {
	http *http.Server
	cut  context.CancelFunc // ends handlers that wait, such as those of profiles
	done chan struct{}      // closed when nothing is accepted any more

	mu      sync.Mutex
	closed  bool           // no more handlers begin; guarded by mu
	running sync.WaitGroup // handlers; Add under mu
}

// Start serves the admin interface on ln, which belongs to the Server from then on. report is told
// of trouble, one line each, by any goroutine.
func Start(ln net.Listener, s Source, report func(line string)) *Server {
	ctx, cut := context.WithCancel(context.Background())
	v := &Server{cut: cut, done: make(chan struct{})}
	v.http = &http.Server{
		Handler:           v.counted(NewHandler(s)),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		WriteTimeout:      writeTimeout,
		MaxHeaderBytes:    maxHeader,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          log.New(lines(report), "", 0),
	}
	go func() {
		defer close(v.done)
		if err := v.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			report("admin: " + err.Error())
		}
	}()
	return v
}

// counted lets Close wait for the handlers that run.
func (v *Server) counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v.mu.Lock()
		if v.closed {
			v.mu.Unlock()
			return
		}
		v.running.Add(1)
		v.mu.Unlock()
		defer v.running.Done()
		next.ServeHTTP(w, r)
	})
}

// Close ends the server: nothing more is accepted, and what runs may end within grace; then it is
// cut. It returns when every handler has returned. The caller holds no lock that a Source needs.
func (v *Server) Close(grace time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	err := v.http.Shutdown(ctx)
	v.cut()
	if err != nil {
		_ = v.http.Close() // what is left is cut, whatever it says about that
	}
	<-v.done
	v.mu.Lock()
	v.closed = true
	v.mu.Unlock()
	v.running.Wait()
}

// lines makes an io.Writer of a function that takes lines, for the log of net/http.
type lines func(line string)

func (l lines) Write(p []byte) (int, error) {
	l("admin: " + strings.TrimSpace(string(p)))
	return len(p), nil
}
