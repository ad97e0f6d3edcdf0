package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/sluice-gateway/sluice/admin"
	"github.com/sluice-gateway/sluice/listen"
)

// adminServer is the listener for operators. It outlives configurations that leave its address
// as it is.
type adminServer struct {
	key    listen.Key
	addr   net.Addr
	server *http.Server
	done   chan struct{}
}

// bindAdmin opens the admin socket that the generation needs, if it is not open already.
func (g *Gateway) bindAdmin(gen *generation) error {
	a := gen.config.Admin
	if a == nil {
		return nil
	}
	key, err := listen.KeyOf(string(a.Address))
	if err != nil {
		return fmt.Errorf("admin: %w", err)
	}
	if g.admin != nil && g.admin.key == key {
		return nil
	}
	gen.adminSocket, err = listen.Open("admin", string(a.Address))
	return err
}

// swapAdmin starts the admin listener of a generation, and ends that of the one before if its
// address is another.
func (g *Gateway) swapAdmin(gen *generation) {
	if gen.config.Admin != nil && gen.adminSocket == nil {
		return
	}
	g.closeAdmin()
	if gen.adminSocket == nil {
		return
	}
	s := gen.adminSocket
	gen.adminSocket = nil
	a := &adminServer{key: s.Key(), addr: s.Addr(), done: make(chan struct{})}
	a.server = &http.Server{
		Handler:           admin.NewHandler(admin.Source{Metrics: g.registry, Ready: g.Ready, Draining: g.draining.Load}),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
	}
	g.admin = a
	go func() {
		defer close(a.done)
		if err := a.server.Serve(s.Listener()); !errors.Is(err, http.ErrServerClosed) {
			g.o.Report(fmt.Sprintf("admin: %v", err))
		}
	}()
}

// closeAdmin ends the admin listener; a scrape that is running may finish.
func (g *Gateway) closeAdmin() {
	if g.admin == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := g.admin.server.Shutdown(ctx); err != nil {
		_ = g.admin.server.Close()
	}
	<-g.admin.done
	g.admin = nil
}
