package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/sluice-gateway/sluice/config"
)

// RunOptions are what Run needs besides the file.
type RunOptions struct {
	Options
	Watch  bool             // reload when the file changes
	Reload <-chan os.Signal // each signal reloads the file and reopens logs
	Stderr io.Writer        // where the lines for operators go
}

// watchEvery is how often a watched file is looked at. Looking beats being told: it works with
// links that are swapped, mounted files and editors that replace, which notifications miss.
const watchEvery = time.Second

// Run serves a configuration file until ctx ends, then drains. It returns an error only if the
// file could not be served at all; nothing was started then.
func Run(ctx context.Context, file string, o RunOptions) error {
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(o.Stderr, "sluice: "+format+"\n", args...) }
	o.Options.Report = func(line string) { say("%s", line) }
	state := statOf(file)
	c, err := Load(file)
	if err != nil {
		return err
	}
	warn(o.Stderr, c)
	g := New(o.Options)
	defer g.Close()
	if err := g.Apply(c); err != nil {
		return err
	}
	if g.WaitReady(ctx) == nil {
		say("ready")
	}
	r := &reloader{gateway: g, file: file, say: say, stderr: o.Stderr}
	var tick <-chan time.Time
	if o.Watch {
		t := time.NewTicker(watchEvery)
		defer t.Stop()
		tick = t.C
	}
	for {
		select {
		case <-ctx.Done():
			say("draining")
			g.Shutdown()
			say("ended")
			return nil
		case <-o.Reload:
			state = statOf(file)
			g.ReopenLogs()
			r.reload()
		case <-tick:
			if now := statOf(file); now != state && now.exists {
				state = now
				r.reload()
			}
		}
	}
}

// reloader reloads one file and tells how it went.
type reloader struct {
	gateway *Gateway
	file    string
	say     func(format string, args ...any)
	stderr  io.Writer
}

// reload makes the file as it is now the configuration that is served, or says why not.
func (r *reloader) reload() {
	began := time.Now()
	c, err := Load(r.file)
	if err == nil {
		warn(r.stderr, c)
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
	var all config.Errors
	if errors.As(err, &all) {
		_, _ = fmt.Fprintln(w, all.Error())
		return
	}
	_, _ = fmt.Fprintf(w, "sluice: %v\n", err)
}

// warn writes the warnings of a configuration.
func warn(w io.Writer, c *config.Config) {
	if len(c.Warnings) > 0 {
		_, _ = fmt.Fprintln(w, c.Warnings.Error())
	}
}

// fileState is what shows that a file has changed.
type fileState struct {
	exists bool
	size   int64
	mode   fs.FileMode
	time   time.Time
}

func statOf(file string) fileState {
	i, err := os.Stat(file)
	if err != nil {
		return fileState{}
	}
	return fileState{exists: true, size: i.Size(), mode: i.Mode(), time: i.ModTime()}
}
