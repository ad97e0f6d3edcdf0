package cache

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/message"
)

// newTestStore makes a store and rules of its one namespace.
func newTestStore(r Rules) (*Store, *Rules) {
	s := NewStore(16 << 20)
	r.Namespace = s.NewNamespace(nil)
	return s, NewRules(r, "")
}

// extraOf makes the further part of a key.
func extraOf(values ...string) (extra []byte) {
	for _, v := range values {
		var at int
		extra, at = BeginValue(extra)
		extra = append(extra, v...)
		EndValue(extra, at)
	}
	return extra
}

// fieldsOf makes a header of lines "Name: value", separated by line ends.
func fieldsOf(lines string) *message.Header {
	h := new(message.Header)
	for line := range strings.SplitSeq(lines, "\n") {
		if name, value, ok := strings.Cut(line, ":"); ok {
			h.Add(message.NameOf(strings.TrimSpace(name)), []byte(strings.TrimSpace(value)))
		}
	}
	return h
}

// request makes an exchange whose request is "METHOD URL", with fields.
func request(line, fields string) *message.Exchange {
	x := new(message.Exchange)
	x.Reset()
	ask(x, line, fields)
	return x
}

// ask puts a request into an empty exchange.
func ask(x *message.Exchange, line, fields string) {
	method, url, _ := strings.Cut(line, " ")
	scheme, rest, _ := strings.Cut(url, "://")
	authority, target, _ := strings.Cut(rest, "/")
	path, query, has := strings.Cut("/"+target, "?")
	host, port, _ := strings.Cut(authority, ":")
	q := &x.Request
	q.Protocol, q.Method, q.Scheme = message.HTTP11, message.MethodOf([]byte(method)), scheme
	q.Host, q.Port, q.Path = []byte(host), []byte(port), []byte(path)
	if has {
		q.Query = []byte(query)
	}
	q.Header.CopyFrom(fieldsOf(fields))
}

// answer is what a scripted origin says.
type answer struct {
	status int
	fields string
	body   string
	err    error // after the body
}

// put fills the response of x.
func (a answer) put(x *message.Exchange) {
	p := &x.Response
	if p.Status = a.status; a.status == 0 {
		p.Status = 200
	}
	p.Header.CopyFrom(fieldsOf(a.fields))
	p.Length = int64(len(a.body))
	p.Body = &pieces{rest: []byte(a.body), err: a.err}
}

// pieces is a body in pieces of a few bytes. Each piece is overwritten when the next one is asked for, as those of a codec are.
type pieces struct {
	rest []byte
	err  error
	last []byte
	size int
}

func (p *pieces) Next() ([]byte, error) {
	for i := range p.last {
		p.last[i] = 'X'
	}
	if len(p.rest) == 0 {
		if p.err != nil {
			return nil, p.err
		}
		return nil, io.EOF
	}
	n := p.size
	if n == 0 {
		n = max(7, len(p.rest)/4)
	}
	n = min(n, len(p.rest))
	p.last = bytes.Clone(p.rest[:n])
	p.rest = p.rest[n:]
	return p.last, nil
}

func (p *pieces) Close() error { return nil }

// readBody reads a body to its end and closes it.
func readBody(t testing.TB, b message.Body) string {
	t.Helper()
	text, err := drain(b)
	if err != nil {
		t.Fatalf("body broke off after %d bytes: %v", len(text), err)
	}
	return text
}

func drain(b message.Body) (string, error) {
	defer b.Close()
	var out []byte
	for {
		p, err := b.Next()
		if errors.Is(err, io.EOF) {
			return string(out), nil
		}
		if err != nil {
			return string(out), err
		}
		out = append(out, p...)
	}
}

// result is what a client sees.
type result struct {
	status  int
	body    string
	header  message.Header
	fetched bool // the origin was asked
	asked   message.Header
	failure *message.Failure
}

func (r *result) field(name string) string { return string(r.header.Find(message.NameOf(name))) }

// get sends one request through the store as a policy does, with a fetch in the same goroutine. The moment of the request and of the answer is now.
func get(t testing.TB, s *Store, r *Rules, x *message.Exchange, now int64, origin func(x *message.Exchange) *message.Failure) *result {
	t.Helper()
	out := new(result)
	s.clock = func() int64 { return now }
	fetch := func(x *message.Exchange) *message.Failure {
		out.fetched = true
		out.asked.CopyFrom(&x.Request.Header)
		return origin(x)
	}
	run := func(f *Flight) {
		y := new(message.Exchange)
		y.Reset()
		message.CopyRequest(y, x)
		if !f.Start(func() {}) {
			t.Error("flight is over before it begins")
		}
		f.Prepare(&y.Request.Header)
		if failure := fetch(y); failure != nil {
			f.Fail(failure, now)
			return
		}
		f.Fill(y, now)
	}
	var u Use
	for {
		act := s.Lookup(&u, x, r, nil, now)
		verdict := Served
		switch act {
		case Refuse:
			out.failure = &NotStored
			return out
		case Pass:
			verdict = GoAlone
		case Lead:
			run(u.Flight())
			verdict, out.failure = u.Wait(x)
		case Refresh:
			out.take(t, x)
			run(u.Flight())
			return out
		case Follow:
			t.Fatal("one request alone follows another")
		}
		switch verdict {
		case Again:
			continue
		case Failed:
			return out
		case GoAlone:
			if out.failure = fetch(x); out.failure != nil {
				return out
			}
			u.Passed(x, now)
		}
		out.take(t, x)
		return out
	}
}

// take reads the response of x.
func (r *result) take(t testing.TB, x *message.Exchange) {
	t.Helper()
	r.status = x.Response.Status
	r.header.CopyFrom(&x.Response.Header)
	r.body = readBody(t, x.Response.Body)
}

// says makes an origin that always gives one answer.
func says(a answer) func(*message.Exchange) *message.Failure {
	return func(x *message.Exchange) *message.Failure {
		a.put(x)
		return nil
	}
}

// down is an origin that cannot be reached.
func down(*message.Exchange) *message.Failure {
	return &message.Failure{Reason: message.UpstreamConnectRefused, Side: message.SideUpstream, Stage: message.StageConnect}
}

// at returns the moment of message.Now which is that many seconds after the one from which tests count.
func at(seconds float64) int64 { return 1_000*int64(time.Second) + int64(seconds*float64(time.Second)) }

// dated returns the line of a field with the date at that many seconds.
func dated(name string, seconds float64) string {
	return name + ": " + string(appendDate(nil, message.WallTime(at(seconds)))) + "\n"
}
