package scenario

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/test/rig"
)

// stage is a scenario that runs.
type stage struct {
	*scenario
	t       *testing.T
	gateway *rig.Gateway
	origins map[string]*rig.Origin
	broken  map[string]bool // origins that may receive what is not whole

	mu     sync.Mutex
	events map[string]chan struct{}
	failed chan struct{} // closed at the first failure
	once   sync.Once
}

// run plays the scenario.
func (s *scenario) run(t *testing.T) {
	g := &stage{
		scenario: s, t: t, origins: map[string]*rig.Origin{}, broken: map[string]bool{}, events: map[string]chan struct{}{}, failed: make(chan struct{}),
	}
	for _, name := range s.names {
		g.origins[name] = rig.NewOrigin(t, name, func(c *rig.OriginConn) { g.origin(name, c) })
	}
	t.Cleanup(g.end) // before the origins' own: it releases their scripts
	g.gateway = rig.Start(t, g.config(""))
	var clients sync.WaitGroup
	for _, c := range s.clients {
		clients.Go(func() {
			defer func() {
				if t.Failed() {
					g.end()
				}
			}()
			(&actor{stage: g, name: c.name}).play(c.steps)
		})
	}
	clients.Wait()
	if t.Failed() {
		return
	}
	g.gateway.Close()
	for _, name := range s.names {
		o := g.origins[name]
		o.WaitEnd()
		if _, err := o.Requests(); err != nil && !g.broken[name] {
			t.Errorf("origin %s received what is no sequence of whole requests: %v", name, err)
		}
	}
}

// end lets everything go that waits.
func (g *stage) end() { g.once.Do(func() { close(g.failed) }) }

// config returns a configuration with the addresses of the origins in the places of @NAME. @nobody is where nobody listens.
func (g *stage) config(name string) string {
	text, ok := g.configs[name]
	if !ok {
		g.t.Errorf("%s: there is no configuration %q", g.file, name)
	}
	return g.addresses(text)
}

func (g *stage) addresses(text string) string {
	return regexp.MustCompile(`@\w+`).ReplaceAllStringFunc(text, func(at string) string {
		if o := g.origins[at[1:]]; o != nil {
			return o.Addr()
		}
		return "127.0.0.1:9" // the port of discard, which nobody has used for decades
	})
}

// event returns the event of a name.
func (g *stage) event(name string) chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.events[name] == nil {
		g.events[name] = make(chan struct{})
	}
	return g.events[name]
}

func (g *stage) signal(name string) {
	e := g.event(name)
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-e:
	default:
		close(e)
	}
}

// wait reports whether the event came.
func (g *stage) wait(name string) bool {
	select {
	case <-g.event(name):
		return true
	case <-g.failed:
		return false
	}
}

func (g *stage) errorf(st step, format string, args ...any) {
	g.t.Helper()
	g.t.Errorf("%s:%d: %s", g.file, st.line, fmt.Sprintf(format, args...))
}

// originCommands are the commands of origins.
var originCommands = []string{"recv", "answer", "send", "close", "closewrite", "reset", "signal", "wait", "expect", "repeat", "bytes", "end"}

// origin plays the script of one connection.
func (g *stage) origin(name string, c *rig.OriginConn) {
	scripts := g.scenario.origins[name]
	from := 0
	for n := range scripts {
		if n <= c.Number && n > from {
			from = n
		}
	}
	steps := scripts[from]
	var r *rig.Request
	for i := 0; i < len(steps); i++ {
		st := steps[i]
		arg := func(i int) string { return strings.Join(st.args[min(i, len(st.args)):], " ") }
		switch st.word {
		case "recv":
			if arg(0) == "head" {
				r = c.Head()
			} else {
				r = c.Request()
			}
			if r == nil {
				return // the connection has ended, as idle ones do
			}
		case "expect":
			if r == nil {
				g.errorf(st, "nothing was received yet")
				return
			}
			if what := unmet(st.args, requestFacts(r)); what != "" {
				g.errorf(st, "origin %s: %s", name, what)
				g.end()
			}
		case "bytes":
			ok := func() bool { return strings.HasSuffix(c.Bytes(), arg(0)) }
			for !ok() && c.More() {
			}
			if !ok() {
				g.errorf(st, "origin %s received %q, want it to end in %q", name, c.Bytes(), arg(0))
				g.end()
			}
		case "end":
			for c.More() {
			}
		case "answer":
			status, _ := strconv.Atoi(st.args[0])
			body := ""
			if len(st.args) > 1 {
				body = st.args[1]
			}
			c.Answer(status, body, st.args[min(2, len(st.args)):]...)
		case "send":
			c.Send(arg(0))
		case "close":
			c.Close()
			return
		case "closewrite":
			c.CloseWrite()
		case "reset":
			c.Reset()
			return
		case "signal":
			g.signal(arg(0))
		case "wait":
			if !g.wait(arg(0)) {
				return
			}
		case "repeat":
			i = -1
		}
	}
}

// requestFacts are what can be expected of a request.
func requestFacts(r *rig.Request) facts {
	return facts{"method": r.Method, "target": r.Target, "body": string(r.Body), header: r.Header, trailer: r.Trailer}
}

// clientCommands are the commands of clients.
var clientCommands = []string{
	"connect", "send", "get", "recv", "raw", "expect", "end", "cut", "close", "closewrite", "reset", "signal", "wait", "loop", "done",
	"reload", "refuse", "admin", "await", "stop", "start", "up", "down", "received", "connections", "spread", "log", "metric", "broken",
}

// actor is one client.
type actor struct {
	*stage
	name string
	c    *rig.Client
	last facts // of the last answer, or the last line of the log
}

// play runs steps, and reports whether all went well.
func (a *actor) play(steps []step) bool {
	for i := 0; i < len(steps); i++ {
		st := steps[i]
		if st.word == "loop" {
			end := i + 1
			for depth := 1; ; end++ {
				if steps[end].word == "loop" {
					depth++
				} else if steps[end].word == "done" {
					if depth--; depth == 0 {
						break
					}
				}
			}
			n, _ := strconv.Atoi(st.args[0])
			for range n {
				if !a.play(steps[i+1 : end]) {
					return false
				}
			}
			i = end
			continue
		}
		if err := a.step(st); err != nil {
			a.errorf(st, "client %s: %s: %v", a.name, st.word, err)
			return false
		}
	}
	return true
}

// conn returns the client's connection, made if there is none.
func (a *actor) conn() *rig.Client {
	if a.c == nil {
		a.c = a.gateway.Dial("web")
	}
	return a.c
}

func (a *actor) step(st step) error {
	arg := func(i int) string { return strings.Join(st.args[min(i, len(st.args)):], " ") }
	switch st.word {
	case "connect":
		listener := "web"
		if arg(0) != "" {
			listener = arg(0)
		}
		a.c = a.gateway.Dial(listener)
	case "send":
		a.conn().Push(arg(0))
	case "get":
		a.conn().Push("GET " + st.args[0] + " HTTP/1.1\r\nHost: a.test\r\n" + lines(st.args[1:]) + "\r\n")
		return a.recv("GET")
	case "recv":
		return a.recv(arg(0))
	case "raw":
		a.conn().WantPrefix(arg(0))
	case "expect":
		args := slices.Clone(st.args)
		for i := range args {
			args[i] = a.addresses(args[i])
		}
		if what := unmet(args, a.last); what != "" {
			return errors.New(what)
		}
	case "end":
		a.conn().WantClosed()
		a.c = nil
	case "cut":
		r, err := a.conn().Try("GET")
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("%v, want an answer cut short", err)
		}
		a.last = responseFacts(r)
		a.c = nil
	case "close":
		a.conn().Close()
		a.c = nil
	case "closewrite":
		a.conn().CloseWrite()
	case "reset":
		a.conn().Reset()
		a.c = nil
	case "signal":
		a.signal(arg(0))
	case "wait":
		if !a.wait(arg(0)) {
			return errors.New("somebody else has failed")
		}
	case "reload":
		return a.gateway.Reload(a.config(arg(0)))
	case "refuse":
		if err := a.gateway.Reload(a.config(st.args[0])); err == nil || !strings.Contains(err.Error(), arg(1)) {
			return fmt.Errorf("error %v, want one with %q", err, arg(1))
		}
	case "broken":
		a.broken[arg(0)] = true
	default:
		return a.look(st, arg)
	}
	return nil
}

// look runs the commands that look at the gateway and the origins.
func (a *actor) look(st step, arg func(int) string) error {
	origin := a.origins[arg(0)]
	if len(st.args) > 1 {
		origin = a.origins[st.args[0]]
	}
	switch st.word {
	case "admin":
		address := a.gateway.AdminAddr().String()
		c := rig.Dial(a.t, address)
		c.Send("GET " + arg(0) + " HTTP/1.1\r\nHost: " + address + "\r\nConnection: close\r\n\r\n")
		a.last = responseFacts(c.Response("GET"))
	case "await":
		// await PATH WHAT…: asks until the answer is so.
		testnet.Eventually(a.t, fmt.Sprintf("%s:%d: %v", a.file, st.line, st.args), func() bool {
			c := a.gateway.Dial("web")
			c.Send("GET " + st.args[0] + " HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
			a.last = responseFacts(c.Response("GET"))
			c.Close()
			return unmet(st.args[1:], a.last) == ""
		})
	case "stop":
		origin.Unlisten()
		for _, c := range origin.Conns() {
			c.Close()
		}
	case "start":
		origin.Listen()
	case "received":
		// received ORIGIN N, or received ORIGIN N M for N to M: where a round begins is random.
		least, _ := strconv.Atoi(st.args[1])
		most, _ := strconv.Atoi(st.args[len(st.args)-1])
		if all, _ := origin.Requests(); len(all) < least || len(all) > most {
			return fmt.Errorf("%s has received %d requests, want %s", st.args[0], len(all), strings.Join(st.args[1:], " to "))
		}
	case "connections":
		want, _ := strconv.Atoi(st.args[1])
		if n := len(origin.Conns()); n != want {
			return fmt.Errorf("%s has had %d connections, want %d", st.args[0], n, want)
		}
	case "log":
		n, _ := strconv.Atoi(st.args[0])
		line := a.gateway.Log(n)[n-1]
		a.last = facts{log: line}
	case "metric":
		if got := a.gateway.Metric(a.addresses(st.args[0])); got != st.args[1] {
			return fmt.Errorf("%s is %q, want %q", st.args[0], got, st.args[1])
		}
	case "up", "down":
		// Waits until the checks have found that out.
		testnet.Eventually(a.t, fmt.Sprintf("%s:%d: %s is %s", a.file, st.line, arg(0), st.word), func() bool {
			for _, b := range a.gateway.Backends() {
				for _, e := range b.Endpoints {
					if e.Address == origin.Addr() {
						return e.Healthy == (st.word == "up")
					}
				}
			}
			return false
		})
	case "spread":
		// spread N PATH: asks N times and expects every origin to have answered, by its name as the body.
		n, _ := strconv.Atoi(st.args[0])
		seen := map[string]bool{}
		for range n {
			a.conn().Send("GET " + st.args[1] + " HTTP/1.1\r\nHost: a.test\r\n\r\n")
			r := a.conn().Response("GET")
			seen[string(r.Body)] = true
		}
		if got := strings.Join(slices.Sorted(maps.Keys(seen)), " "); got != arg(2) {
			return fmt.Errorf("answered by %q, want %q", got, arg(2))
		}
	}
	return nil
}

func lines(fields []string) string {
	text := ""
	for _, f := range fields {
		text += f + "\r\n"
	}
	return text
}

func (a *actor) recv(method string) error {
	if method == "" {
		method = "GET"
	}
	r, err := a.conn().Try(method)
	if err != nil {
		return err
	}
	a.last = responseFacts(r)
	return nil
}

func responseFacts(r *rig.Response) facts {
	var interim []string
	for _, i := range r.Interim {
		interim = append(interim, strconv.Itoa(i.Status))
	}
	f := facts{
		"status": strconv.Itoa(r.Status), "reason": r.Reason(), "body": string(r.Body), "framing": string(r.Framing),
		"interim": strings.Join(interim, " "), "closes": strconv.FormatBool(r.Closes()), header: r.Header, trailer: r.Trailer,
	}
	if strings.Contains(r.Header.Get("Content-Type"), "json") {
		var members map[string]any
		if json.Unmarshal(r.Body, &members) == nil {
			f[log] = members
		}
	}
	return f
}
