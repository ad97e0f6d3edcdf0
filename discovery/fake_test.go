package discovery

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// reply is what a scripted resolver does about one question.
type reply struct {
	rcode     int
	answer    []string // records in the form of zone files
	extra     []string
	silent    bool                    // no answer at all
	truncated bool                    // by UDP: the answer does not fit
	forged    func(m *dns.Msg) []byte // a message to send before the answer, made of it; by UDP only
	broken    func(m []byte) []byte   // changes the bytes of the answer
	noEDNS    bool                    // a query with EDNS is a format error
	tcp       *reply                  // what is done by TCP; nil: the same without truncated
}

// asked is a question that came to a scripted resolver.
type asked struct {
	question
	network string
	server  string
	at      time.Time
}

// resolver is a scripted resolver: in memory as an asker, or on loopback by serve.
type resolver struct {
	t testing.TB

	mu      sync.Mutex
	script  map[question]reply // guarded by mu; others do not exist
	down    map[string]bool    // guarded by mu; servers that do not answer
	queries []asked            // guarded by mu
}

func newResolver(t testing.TB) *resolver {
	return &resolver{t: t, script: make(map[question]reply), down: make(map[string]bool)}
}

// set scripts a question, written as "A shop.example".
func (r *resolver) set(what string, answer reply) {
	kind, name, _ := strings.Cut(what, " ")
	r.mu.Lock()
	defer r.mu.Unlock()
	r.script[question{dns.CanonicalName(name), dns.StringToType[kind]}] = answer
}

// addresses scripts the addresses of a name, in both families.
func (r *resolver) addresses(name string, ttl int, list ...string) {
	var sets [2]reply
	for _, a := range list {
		f, kind := v4, "A"
		if strings.Contains(a, ":") {
			f, kind = v6, "AAAA"
		}
		sets[f].answer = append(sets[f].answer, fmt.Sprintf("%s. %d IN %s %s", name, ttl, kind, a))
	}
	r.set("A "+name, sets[v4])
	r.set("AAAA "+name, sets[v6])
}

// both scripts the same reply for A and AAAA.
func (r *resolver) both(name string, answer reply) {
	r.set("A "+name, answer)
	r.set("AAAA "+name, answer)
}

func (r *resolver) asked() []asked {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.queries)
}

// times returns how often a question of this type was asked.
func (r *resolver) times(qtype uint16) int {
	n := 0
	for _, a := range r.asked() {
		if a.qtype == qtype {
			n++
		}
	}
	return n
}

// answer notes a query and returns the messages to send, none for silence.
func (r *resolver) answer(network, server string, query []byte) [][]byte {
	var m dns.Msg
	if err := m.Unpack(query); err != nil || len(m.Question) != 1 {
		r.t.Errorf("a query that is none: %x: %v", query, err)
		return nil
	}
	q := question{m.Question[0].Name, m.Question[0].Qtype}
	r.mu.Lock()
	r.queries = append(r.queries, asked{q, network, server, time.Now()})
	do, exists := r.script[q]
	down := r.down[server]
	r.mu.Unlock()
	opt := m.IsEdns0()
	switch {
	case !m.RecursionDesired:
		r.t.Errorf("a query without recursion: %v", q)
	case opt != nil && opt.UDPSize() != udpSize:
		r.t.Errorf("a query for %d bytes by UDP", opt.UDPSize())
	}
	if !exists {
		do.rcode = dns.RcodeNameError
	}
	if network == "tcp" {
		if do.truncated = false; do.tcp != nil {
			do = *do.tcp
		}
	}
	if do.silent || down {
		return nil
	}
	if do.noEDNS && opt != nil {
		do = reply{rcode: dns.RcodeFormatError}
	}
	out := new(dns.Msg).SetRcode(&m, do.rcode)
	out.Truncated, out.Compress = do.truncated, true
	if !do.truncated {
		out.Answer, out.Extra = r.records(do.answer), r.records(do.extra)
	}
	var messages [][]byte
	if do.forged != nil {
		messages = append(messages, do.forged(out.Copy()))
	}
	packed, err := out.Pack()
	if err != nil {
		r.t.Error(err)
	}
	if do.broken != nil {
		packed = do.broken(packed)
	}
	return append(messages, packed)
}

func (r *resolver) records(lines []string) []dns.RR {
	var list []dns.RR
	for _, line := range lines {
		rr, err := dns.NewRR(line)
		if err != nil {
			r.t.Error(err)
			continue
		}
		list = append(list, rr)
	}
	return list
}

// ask is an asker without a network.
func (r *resolver) ask(ctx context.Context, network, server string, query []byte, accept func(message []byte) error) error {
	messages := r.answer(network, server, query)
	if len(messages) == 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	return accept(messages[len(messages)-1])
}

// serve has the resolver answer on loopback, by UDP and TCP, and returns its address.
func (r *resolver) serve() string {
	r.t.Helper()
	var packets net.PacketConn
	var listener net.Listener
	for range 20 { // the port of the one may be taken for the other
		var err error
		if packets, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			r.t.Fatal(err)
		}
		if listener, err = net.Listen("tcp", packets.LocalAddr().String()); err == nil {
			break
		}
		packets.Close()
	}
	if listener == nil {
		r.t.Fatal("no port that is free for UDP and TCP")
	}
	address := packets.LocalAddr().String()
	var served sync.WaitGroup
	served.Go(func() {
		buf := make([]byte, 4096)
		for {
			n, from, err := packets.ReadFrom(buf)
			if err != nil {
				return
			}
			for _, m := range r.answer("udp", address, buf[:n]) {
				_, _ = packets.WriteTo(m, from)
			}
		}
	})
	served.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			r.stream(conn, address)
		}
	})
	r.t.Cleanup(func() {
		packets.Close()
		listener.Close()
		served.Wait()
	})
	return address
}

// stream answers one query by TCP; silence is the end of the connection.
func (r *resolver) stream(conn net.Conn, address string) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(testnet.Patience))
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return
	}
	query := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, query); err != nil {
		return
	}
	for _, m := range r.answer("tcp", address, query) {
		_, _ = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(m))), m...))
	}
}

// lines collects what is reported.
type lines struct {
	mu   sync.Mutex
	list []string // guarded by mu
}

func (l *lines) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, line)
}

func (l *lines) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.list)
}

// watch starts a watcher that the end of the test closes.
func watch(t testing.TB, target Target, o Options) *Watcher {
	t.Helper()
	w := Watch(target, o)
	t.Cleanup(w.Close)
	return w
}

// pass lets time pass on the clock of a synctest bubble, and waits until what it set off is done.
func pass(d time.Duration) {
	time.Sleep(d) //house:allow sleep nothing is hoped for: the clock of the bubble moves on when all its goroutines wait
	synctest.Wait()
}

// write gives a set in one line: priority/weight address host.
func write(list []Found) string {
	var all []string
	for _, f := range list {
		all = append(all, fmt.Sprintf("%d/%d %s %s", f.Priority, f.Weight, f.Address, f.Host))
	}
	return strings.Join(all, "; ")
}

// addressesOf gives the addresses of a set in one line.
func addressesOf(list []Found) string {
	var all []string
	for _, f := range list {
		all = append(all, f.Address.Addr().String())
	}
	return strings.Join(all, " ")
}

func wantSet(t testing.TB, w *Watcher, want string) {
	t.Helper()
	found, known := w.Current()
	if got := addressesOf(found); got != want || known != (want != "") {
		t.Errorf("the set is %q, known %v, and should be %q", got, known, want)
	}
}

// mustAddress parses an address.
func mustAddress(t testing.TB, text string) netip.Addr {
	t.Helper()
	a, err := netip.ParseAddr(text)
	if err != nil {
		t.Fatal(err)
	}
	return a
}
