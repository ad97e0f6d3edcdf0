package gateway

import (
	"fmt"
	"net"
	"time"

	"github.com/sluice-gateway/sluice/admin"
	"github.com/sluice-gateway/sluice/listen"
)

// adminGrace is how long a scrape or a profile that runs may go on when its listener ends.
const adminGrace = time.Second

// adminServer is the listener for operators. It outlives configurations that leave its address
// as it is.
type adminServer struct {
	key    listen.Key
	addr   net.Addr
	server *admin.Server
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
// address is another: beside the lock, because a profile may run there for minutes, and whoever
// reads there may hold up others.
func (g *Gateway) swapAdmin(gen *generation) {
	if gen.config.Admin != nil && gen.adminSocket == nil {
		return // the address has stayed
	}
	if old := g.admin; old != nil {
		g.admin = nil
		g.leaving.Go(func() { old.server.Close(adminGrace) })
	}
	s := gen.adminSocket
	if s == nil {
		return
	}
	gen.adminSocket = nil
	source := admin.Source{Metrics: g.registry, Ready: g.Ready, Draining: g.draining.Load}
	g.admin = &adminServer{key: s.Key(), addr: s.Addr(), server: admin.Start(s.Listener(), source, g.o.Report)}
}
