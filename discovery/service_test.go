package discovery

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

// bank is the service of these tests; they run on a clock of their own, as those in watcher_test.go.
var bank = Target{Service: true, Name: "_https._tcp.bank.example", Resolver: "192.0.2.53:53"} // read-only

const srv = "_https._tcp.bank.example. 60 IN SRV "

func TestService(t *testing.T) {
	for _, test := range []struct {
		name    string
		service reply
		hosts   map[string]string // by host: addresses with spaces between them
		want    string
		asked   int // questions of the first lookup
	}{
		{"priorities and weights", reply{answer: []string{srv + "10 5 8443 a.bank.example.", srv + "10 15 8444 b.bank.example.", srv + "0 0 443 c.bank.example."}},
			map[string]string{"a.bank.example": "10.0.0.1", "b.bank.example": "10.0.0.2 fd00::2", "c.bank.example": "10.0.0.3"},
			"0/0 10.0.0.3:443 c.bank.example; 10/5 10.0.0.1:8443 a.bank.example; 10/15 10.0.0.2:8444 b.bank.example; 10/15 [fd00::2]:8444 b.bank.example", 7},
		{"one host on two ports", reply{answer: []string{srv + "1 1 8001 a.bank.example.", srv + "1 2 8002 a.bank.example."}},
			map[string]string{"a.bank.example": "10.0.0.1"}, "1/1 10.0.0.1:8001 a.bank.example; 1/2 10.0.0.1:8002 a.bank.example", 3},
		{"the same record twice", reply{answer: []string{srv + "1 1 80 a.bank.example.", srv + "1 7 80 A.bank.example.", srv + "2 9 80 a.bank.example."}},
			map[string]string{"a.bank.example": "10.0.0.1"}, "1/7 10.0.0.1:80 a.bank.example", 3},
		{"two hosts with one address", reply{answer: []string{srv + "2 9 80 a.bank.example.", srv + "1 1 80 b.bank.example."}},
			map[string]string{"a.bank.example": "10.0.0.1 10.0.0.3", "b.bank.example": "10.0.0.1"}, "1/1 10.0.0.1:80 b.bank.example; 2/9 10.0.0.3:80 a.bank.example", 5},
		{"both families in the additional section", reply{answer: []string{srv + "1 1 80 a.bank.example.", srv + "1 1 80 b.bank.example."}, extra: []string{
			"a.bank.example. 60 IN A 10.0.0.1", "A.BANK.example. 60 IN AAAA fd00::1", "b.bank.example. 60 IN A 10.0.0.2", "b.bank.example. 60 IN AAAA fd00::2",
			"evil.example. 60 IN A 10.6.6.6", "b.bank.example. 60 CH A 10.6.6.7"}},
			nil, "1/1 10.0.0.1:80 a.bank.example; 1/1 10.0.0.2:80 b.bank.example; 1/1 [fd00::1]:80 a.bank.example; 1/1 [fd00::2]:80 b.bank.example", 1},
		{"one family in the additional section", reply{answer: []string{srv + "1 1 80 a.bank.example."}, extra: []string{"a.bank.example. 60 IN A 10.0.0.1"}},
			map[string]string{"a.bank.example": "10.9.9.9 fd00::1"}, "1/1 10.0.0.1:80 a.bank.example; 1/1 [fd00::1]:80 a.bank.example", 2},
		{"a host without addresses", reply{answer: []string{srv + "1 1 80 a.bank.example.", srv + "1 1 80 gone.bank.example."}},
			map[string]string{"a.bank.example": "10.0.0.1"}, "1/1 10.0.0.1:80 a.bank.example", 5},
		{"an alias of the service", reply{answer: []string{"_https._tcp.bank.example. 60 IN CNAME _x.bank.example.", "_x.bank.example. 60 IN SRV 1 2 80 a.bank.example."}},
			map[string]string{"a.bank.example": "10.0.0.1"}, "1/2 10.0.0.1:80 a.bank.example", 3},
		{"records that are none", reply{answer: []string{srv + "1 1 0 a.bank.example.", srv + `1 1 80 a\013\010b.bank.example.`, srv + "1 1 80 .", srv + "1 1 81 a.bank.example."}},
			map[string]string{"a.bank.example": "10.0.0.1"}, "1/1 10.0.0.1:81 a.bank.example", 3},
		{"no such service", reply{answer: []string{srv + "0 0 0 ."}}, nil, "", 1},
		{"no hosts with addresses", reply{answer: []string{srv + "1 1 80 a.bank.example."}}, nil, "", 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newResolver(t)
				r.set("SRV "+bank.Name, test.service)
				for host, list := range test.hosts {
					r.addresses(host, 60, strings.Fields(list)...)
				}
				w, _ := start(t, bank, r)
				found, known := w.Current()
				if got := write(found); got != test.want || known != (test.want != "") {
					t.Errorf("found %s, known %v\n should %s", got, known, test.want)
				}
				if got := len(r.asked()); got != test.asked {
					t.Errorf("%d questions, and %d are needed", got, test.asked)
				}
			})
		})
	}
}

// What says that there is no such service, or nothing under it, does not empty a set that is known.
func TestServiceStays(t *testing.T) {
	for _, test := range []struct {
		name  string
		reply reply
		says  string
	}{
		{"not available here", reply{answer: []string{srv + "0 0 0 ."}}, `the service _https._tcp.bank.example is not available here (target "."); the set found before stays in use (endpoints: 2)`},
		{"no such name", reply{rcode: dns.RcodeNameError}, "_https._tcp.bank.example does not exist; the set found before stays in use (endpoints: 2)"},
		{"no data", reply{}, "has no SRV records; the set found before stays in use (endpoints: 2)"},
		{"server failure", reply{rcode: dns.RcodeServerFailure}, "SRV of _https._tcp.bank.example at 192.0.2.53:53: answered SERVFAIL; the set found before stays in use (endpoints: 2)"},
		{"hosts that do not exist", reply{answer: []string{srv + "1 1 80 gone.example."}}, "none of the hosts of the service has an address; the set found before stays in use (endpoints: 2)"},
		{"no ports", reply{answer: []string{srv + "1 1 0 a.bank.example."}}, "the SRV record for a.bank.example. has port 0; the set found before stays in use (endpoints: 2)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newResolver(t)
				r.set("SRV "+bank.Name, reply{answer: []string{srv + "1 1 80 a.bank.example.", srv + "1 1 80 b.bank.example."}})
				r.addresses("a.bank.example", 60, "10.0.0.1")
				r.addresses("b.bank.example", 60, "10.0.0.2")
				w, report := start(t, bank, r)
				r.set("SRV "+bank.Name, test.reply)
				pass(5 * time.Minute)
				wantSet(t, w, "10.0.0.1 10.0.0.2")
				got := report.all()
				if len(got) < 3 || len(got) > 5 {
					t.Errorf("reported %d times in 4 to 5 minutes", len(got))
				}
				for _, line := range got {
					if !strings.Contains(line, test.says) {
						t.Errorf("reported %q", line)
					}
				}
				r.set("SRV "+bank.Name, reply{answer: []string{srv + "1 1 80 a.bank.example."}})
				pass(2 * time.Minute)
				wantSet(t, w, "10.0.0.1")
			})
		})
	}
}

// A host that cannot be looked up keeps its addresses as long as the service names it, and takes nothing from the others.
func TestServiceHostFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newResolver(t)
		r.set("SRV "+bank.Name, reply{answer: []string{srv + "1 1 80 a.bank.example.", srv + "1 1 80 b.bank.example."}})
		r.addresses("a.bank.example", 10, "10.0.0.1")
		r.addresses("b.bank.example", 10, "10.0.0.2")
		w, _ := start(t, bank, r)
		r.addresses("a.bank.example", 10, "10.0.0.11")
		r.both("b.bank.example", reply{rcode: dns.RcodeServerFailure})
		pass(15 * time.Second)
		wantSet(t, w, "10.0.0.2 10.0.0.11")
		if s := w.Status(); !s.Stale || s.Failures == 0 || !strings.Contains(s.LastError, "of b.bank.example") {
			t.Errorf("%+v", s)
		}
		r.set("SRV "+bank.Name, reply{answer: []string{srv + "1 1 80 a.bank.example.", srv + "5 1 80 c.bank.example."}})
		r.both("c.bank.example", reply{rcode: dns.RcodeServerFailure})
		pass(time.Minute)
		wantSet(t, w, "10.0.0.11")
		if s := w.Status(); s.Failures == 0 {
			t.Errorf("a new host cannot be looked up: %+v", s)
		}
		// A host that is not there yet is asked for soon, not when the time of the others is over.
		r.addresses("c.bank.example", 10, "10.0.0.3")
		pass(31 * time.Second)
		wantSet(t, w, "10.0.0.11 10.0.0.3")
	})
}

// Each answer is asked for again at its own time to live: the hosts of a service often change faster than the service, or the other way round.
func TestServiceTimesToLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newResolver(t)
		r.set("SRV "+bank.Name, reply{answer: []string{srv + "1 1 80 a.bank.example."}})
		r.addresses("a.bank.example", 10, "10.0.0.1")
		start(t, bank, r)
		pass(10*time.Minute - time.Second)
		// 10 to 12 lookups of the service in 10 minutes, and 60 to 67 of its host.
		if n := r.times(dns.TypeSRV); n < 10 || n > 12 {
			t.Errorf("the service was asked for %d times", n)
		}
		if n := r.times(dns.TypeA); n < 60 || n > 68 {
			t.Errorf("the host was asked for %d times", n)
		}
	})
}

// A registry that answers with a time to live of 0 and knows only one family must not cause a question for each host at each lookup.
func TestNoFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newResolver(t)
		const hosts = 100
		var do reply
		for i := range hosts {
			do.answer = append(do.answer, fmt.Sprintf("_https._tcp.bank.example. 0 IN SRV 1 1 80 h%d.example.", i))
			do.extra = append(do.extra, fmt.Sprintf("h%d.example. 0 IN A 10.0.0.%d", i, i))
		}
		r.set("SRV "+bank.Name, do)
		start(t, bank, r)
		pass(time.Minute - time.Millisecond)
		if n := r.times(dns.TypeSRV); n != 60 {
			t.Errorf("the service was asked for %d times", n)
		}
		if n := r.times(dns.TypeAAAA); n != 2*hosts {
			t.Errorf("%d questions for the other family of %d hosts", n, hosts)
		}
		if n := r.times(dns.TypeA); n != 0 {
			t.Errorf("%d questions for what was answered", n)
		}
	})
}

func TestBoundOfTargets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newResolver(t)
		var do reply
		for i := range MaxTargets + 44 {
			do.answer = append(do.answer, fmt.Sprintf("%s %d %d 80 h%d.bank.example.", srv, i/100, i%100, i))
			r.addresses(fmt.Sprintf("h%d.bank.example", i), 3600, fmt.Sprintf("10.0.%d.%d", i/100, i%100))
		}
		rand.Shuffle(len(do.answer), func(i, j int) { do.answer[i], do.answer[j] = do.answer[j], do.answer[i] })
		r.set("SRV "+bank.Name, do)
		w, report := start(t, bank, r)
		found, _ := w.Current()
		if len(found) != MaxTargets {
			t.Fatalf("%d endpoints", len(found))
		}
		// All of priorities 0 and 1, and of priority 2 the heaviest 56.
		if first := found[200]; first.Priority != 2 || first.Weight != 44 {
			t.Errorf("the lightest of priority 2 is %v", first)
		}
		if n := len(r.asked()); n != 1+2*MaxTargets {
			t.Errorf("%d questions", n)
		}
		pass(time.Hour)
		if got := report.all(); len(got) != 1 || !strings.HasSuffix(got[0], "the answer has 300 SRV records, and the first 256 by priority and weight are used") {
			t.Errorf("reported %q", got)
		}
	})
}

// A resolver that does not answer for any of many hosts holds a lookup up for a bounded time only.
func TestBoundOfTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newResolver(t)
		var do reply
		for i := range MaxTargets {
			do.answer = append(do.answer, fmt.Sprintf("%s 1 1 80 h%d.bank.example.", srv, i))
			r.both(fmt.Sprintf("h%d.bank.example", i), reply{silent: i > 0})
		}
		r.addresses("h0.bank.example", 60, "10.0.0.1")
		r.set("SRV "+bank.Name, do)
		began := time.Now()
		w, _ := start(t, bank, r)
		if took := time.Since(began); took > lookupTimeout {
			t.Errorf("the lookup took %v", took)
		}
		wantSet(t, w, "10.0.0.1")
	})
}
