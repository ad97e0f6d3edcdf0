package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/sluice-gateway/sluice/config"
)

// RunOptions are what Run needs besides the file. The lines for operators go to Stderr, beside an
// access log that is configured so; Report is not used.
type RunOptions struct {
	Options
	// Watch reloads when the configuration file was changed, replaced or made anew. What `${file:…}`
	// names is not watched: a reload reads it again. Certificates are watched always.
	Watch bool
	// Reload reloads the file and reopens access logs with each signal. May be nil.
	Reload <-chan os.Signal

	look time.Duration // how often a watched file is looked at; 0 means watchEvery
}

// watchEvery is how often a watched file is looked at. Looking beats being told: it works with
// links that are swapped, mounted files and editors that replace, which notifications miss.
const watchEvery = time.Second

// Run serves a configuration file until ctx ends, then drains. It returns an error only if the
// file could not be served at all; nothing was started then.
func Run(ctx context.Context, file string, o RunOptions) error {
	if o.Stderr == nil {
		o.Stderr = io.Discard
	}
	r := &runner{file: file, stderr: o.Stderr}
	o.Report = func(line string) { r.say("%s", line) }
	w := watcher{file: file, loaded: stat(file)}
	c, err := r.load()
	if err != nil {
		return err
	}
	r.gateway = New(o.Options)
	defer r.gateway.Close()
	if err := r.gateway.Apply(c); err != nil {
		return err
	}
	if r.gateway.WaitReady(ctx) == nil {
		r.say("ready")
	}
	if o.look <= 0 {
		o.look = watchEvery
	}
	collect := newCollector()
	defer collect.end()
	heap := time.NewTicker(collectEvery)
	defer heap.Stop()
	var tick <-chan time.Time
	if o.Watch {
		t := time.NewTicker(o.look)
		defer t.Stop()
		tick = t.C
	}
	for {
		select {
		case <-ctx.Done():
			r.say("draining")
			r.gateway.Shutdown()
			r.say("ended")
			return nil
		case <-o.Reload:
			w.loaded = stat(file)
			r.gateway.ReopenLogs()
			r.reload()
		case <-heap.C:
			collect.look()
		case <-tick:
			if w.changed() {
				r.reload()
			}
		}
	}
}

// runner serves one file and tells how it goes.
type runner struct {
	gateway *Gateway
	file    string
	stderr  io.Writer
}

// say writes one line in one write, so that lines of several goroutines do not mix.
func (r *runner) say(format string, args ...any) {
	_, _ = fmt.Fprintf(r.stderr, "sluice: "+format+"\n", args...) // there is nowhere to tell that nobody listens
}

func (r *runner) load() (*config.Config, error) {
	c, err := Load(r.file)
	if err == nil {
		Warn(r.stderr, c.Warnings)
	}
	return c, err
}

// reload makes the file as it is now the configuration that is served, or says why not.
func (r *runner) reload() {
	began := time.Now()
	// A large configuration allocates tens of megabytes in a tenth of a second, most of it to keep.
	// Collecting meanwhile would take that time from requests and find nothing.
	defer debug.SetGCPercent(debug.SetGCPercent(collectMost))
	c, err := r.load()
	if err == nil {
		err = r.gateway.Apply(c)
	}
	r.gateway.countReload(err)
	if err != nil {
		r.say("reload of %s refused; the configuration before it goes on", r.file)
		Explain(r.stderr, err)
		return
	}
	r.say("reloaded %s (%d ms)", r.file, time.Since(began).Milliseconds())
}

func (g *Gateway) countReload(err error) {
	if err != nil {
		g.reloads[1].Inc(0)
		return
	}
	g.reloads[0].Inc(0)
}

// Explain writes an error of a configuration as `sluice check` does: one block for each, with
// its place.
func Explain(w io.Writer, err error) {
	var b strings.Builder
	var all config.Errors
	if errors.As(err, &all) {
		b.WriteString(all.Error() + "\n")
	} else {
		for line := range strings.SplitSeq(err.Error(), "\n") { // errors of several listeners are joined
			b.WriteString("sluice: " + line + "\n")
		}
	}
	_, _ = io.WriteString(w, b.String())
}

// Warn writes warnings as Explain writes errors, each marked as one.
func Warn(w io.Writer, warnings config.Errors) {
	for _, one := range warnings {
		marked := *one
		marked.Message = "warning: " + one.Message
		_, _ = io.WriteString(w, marked.Error()+"\n")
	}
}

// watcher finds out when a file has changed.
type watcher struct {
	file   string
	loaded fs.FileInfo // when it was last loaded
	seen   fs.FileInfo // at the last look, if it was another then
}

// changed reports, once, that the file is another than the one last loaded. It waits until two
// looks have found it the same: who is still writing it would have half of it taken for all. A file
// that is gone changes nothing.
func (w *watcher) changed() bool {
	now := stat(w.file)
	switch {
	case now == nil || same(now, w.loaded):
		w.seen = nil
	case !same(now, w.seen):
		w.seen = now
	default:
		w.loaded, w.seen = now, nil
		return true
	}
	return false
}

// stat returns what a file looks like, nil if it cannot be looked at.
func stat(file string) fs.FileInfo {
	i, err := os.Stat(file)
	if err != nil {
		return nil
	}
	return i
}

// same reports whether two looks have found the same file, unchanged.
func same(a, b fs.FileInfo) bool {
	return a != nil && b != nil && os.SameFile(a, b) && a.Size() == b.Size() && a.Mode() == b.Mode() && a.ModTime().Equal(b.ModTime())
}
