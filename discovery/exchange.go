package discovery

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

const (
	// udpSize is the largest answer by UDP that is asked for: it fits every path without fragments (the DNS flag day of 2020).
	udpSize = 1232
	// udpBuffer is what is read of a datagram, for servers that send more than was asked for.
	udpBuffer = 4096
	// maxForeign bounds the datagrams that are passed over while one answer is waited for.
	maxForeign = 100
)

// asker sends a query to a server and returns the first answer that accept takes. It gives up at the end of ctx.
type asker func(ctx context.Context, network, server string, query []byte, accept func(message []byte) error) error

// servers are the resolvers of one lookup. They may be asked by several goroutines.
type servers struct {
	list    []string      // host:port, in the order of preference
	good    atomic.Uint32 // index of the one that answered last: a lookup of many names waits for a dead server only a few times
	timeout time.Duration // for one question to one server
	ask     asker
}

// resolve asks the servers in turn until one answers q, which may be with NXDOMAIN. The error says what the last one did.
func (s *servers) resolve(ctx context.Context, q question) (*answer, error) {
	first := int(s.good.Load())
	last := errors.New("there is no resolver to ask")
	for i := range s.list {
		at := (first + i) % len(s.list)
		a, err := s.query(ctx, s.list[at], q)
		if err == nil {
			s.good.Store(uint32(at))
			return a, nil
		}
		last = fmt.Errorf("%s at %s: %w", q, s.list[at], err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, last
}

// query asks one server: by UDP, by TCP if the answer does not fit, and without EDNS if the server does not know it (RFC 6891 section 6.2.2).
func (s *servers) query(ctx context.Context, server string, q question) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*s.timeout) // for both; each has a timeout of its own
	defer cancel()
	edns := true
	a, err := s.exchange(ctx, "udp", server, q, edns)
	if err == nil && (a.rcode == dns.RcodeFormatError || a.rcode == dns.RcodeNotImplemented) {
		edns = false
		a, err = s.exchange(ctx, "udp", server, q, edns)
	}
	if err == nil && a.truncated {
		a, err = s.exchange(ctx, "tcp", server, q, edns)
		if err == nil && a.truncated {
			err = errors.New("the answer by TCP is cut off")
		}
	}
	switch {
	case err != nil:
		return nil, err
	case a.rcode != dns.RcodeSuccess && a.rcode != dns.RcodeNameError:
		return nil, fmt.Errorf("answered %s", rcodeName(a.rcode))
	}
	return a, nil
}

func rcodeName(rcode int) string {
	if name, ok := dns.RcodeToString[rcode]; ok {
		return name
	}
	return fmt.Sprintf("with code %d", rcode)
}

// exchange sends one query and returns what answers it.
func (s *servers) exchange(ctx context.Context, network, server string, q question, edns bool) (*answer, error) {
	m := &dns.Msg{
		MsgHdr:   dns.MsgHdr{Id: dns.Id(), RecursionDesired: true},
		Question: []dns.Question{{Name: q.name, Qtype: q.qtype, Qclass: dns.ClassINET}},
	}
	if edns {
		m.SetEdns0(udpSize, false)
	}
	packed, err := m.Pack()
	if err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	var a *answer
	err = s.ask(limited, network, server, packed, func(message []byte) (err error) {
		a, err = readAnswer(message, q, m.Id)
		return err
	})
	if err != nil {
		if limited.Err() != nil && !errors.Is(err, errForeign) {
			err = fmt.Errorf("no answer by %s in time", network)
		}
		return nil, err
	}
	return a, nil
}

// askNetwork is the asker of the product. Each query has a socket of its own and with it a port that the system chose at random.
func askNetwork(ctx context.Context, network, server string, query []byte, accept func(message []byte) error) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, network, server)
	if err != nil {
		return err
	}
	defer conn.Close()
	// The deadline is ctx's own: its end, in time or before, ends reads and writes at once.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if network == "tcp" {
		return askStream(conn, query, accept)
	}
	return askDatagrams(conn, query, accept)
}

// askDatagrams passes over datagrams that are not the answer, so that a forged one costs nothing.
func askDatagrams(conn net.Conn, query []byte, accept func(message []byte) error) error {
	if _, err := conn.Write(query); err != nil {
		return err
	}
	buf := make([]byte, udpBuffer)
	var foreign error
	for range maxForeign {
		n, err := conn.Read(buf)
		if err != nil {
			if foreign != nil {
				err = fmt.Errorf("no answer by udp in time; what came was %w", foreign)
			}
			return err
		}
		if err := accept(buf[:n]); !errors.Is(err, errForeign) {
			return err
		} else {
			foreign = err
		}
	}
	return fmt.Errorf("%d datagrams came: %w", maxForeign, foreign)
}

// askStream frames messages by their length (RFC 1035 section 4.2.2).
func askStream(conn net.Conn, query []byte, accept func(message []byte) error) error {
	framed := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(query)), uint16(len(query)))
	if _, err := conn.Write(append(framed, query...)); err != nil {
		return err
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return fmt.Errorf("no answer by tcp: %w", err)
	}
	message := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, message); err != nil {
		return fmt.Errorf("the answer by tcp breaks off: %w", err)
	}
	return accept(message)
}
