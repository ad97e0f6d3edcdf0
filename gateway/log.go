package gateway

import (
	"time"

	"github.com/sluice-gateway/sluice/proxy"
)

// logFlush bounds how long the last lines of an access log may take.
const logFlush = 2 * time.Second

// owing is an access log that no generation has any more, while exchanges that began with it may
// still write to it.
type owing struct {
	log  *proxy.Log
	seen bool // a sweep has passed it
}

// leaveLog is called when the last generation has let go of a log.
func (g *Gateway) leaveLog(l *proxy.Log) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.owing = append(g.owing, &owing{log: l})
}

// settledLogs takes the logs out that nothing is going to be written to. Only the second sweep that
// finds a log takes it: an exchange that took the generation in the last moment before it was
// replaced may not have announced its line when the first one passes.
func (g *Gateway) settledLogs() (settled []*proxy.Log) {
	kept := g.owing[:0]
	for _, o := range g.owing {
		if o.seen && o.log.Settled() {
			settled = append(settled, o.log)
			continue
		}
		o.seen = true
		kept = append(kept, o)
	}
	clear(g.owing[len(kept):])
	g.owing = kept
	return settled
}

func (g *Gateway) closeLog(l *proxy.Log) {
	if err := l.Close(logFlush); err != nil {
		g.o.Report(err.Error())
	}
}

// ReopenLogs opens the files of access logs anew, for whoever has moved them away.
func (g *Gateway) ReopenLogs() {
	g.mu.Lock()
	var all []*proxy.Log
	g.logs.each(func(l *proxy.Log) { all = append(all, l) })
	g.mu.Unlock()
	for _, l := range all {
		if err := l.Reopen(); err != nil {
			g.o.Report(err.Error() + "; lines go on to where they went")
		}
	}
}
