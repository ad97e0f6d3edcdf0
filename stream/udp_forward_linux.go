//go:build !portable

package stream

import (
	"fmt"
	"net/netip"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// noSlot ends the list of a session's slots.
const noSlot = batchSize

// fromEndpoint reads replies of one session into the slots that are free. What is left in the socket is told of again in the next turn, after the
// other sessions have had theirs.
func (e *udpEngine) fromEndpoint(r *UDPRelay, s *udpSession, now time.Duration) {
	x, first := &s.socket, e.filled
	n, err := e.readReplies(x, first)
	switch err {
	case 0:
	case syscall.EAGAIN, syscall.EINTR, syscall.ENOMEM, syscall.ENOBUFS, syscall.EMSGSIZE:
		return // nothing there after all, or an error of an earlier send that says nothing about the endpoint
	default:
		e.flush(r, now) // what was read before is addressed by the sessions
		r.end(s, endOf(err), err, now)
		return
	}
	passed, bytes := 0, 0
	for i := first; i < first+n; i++ {
		if e.sizes[i] > e.batch.slot {
			r.drop(UDPTruncated, 1)
			continue
		}
		e.batch.piece(e.count, i, e.sizes[i])
		e.owners[e.count] = s
		e.count++
		passed++
		bytes += e.sizes[i]
	}
	e.filled += n
	if passed > 0 && r.reply(s, passed, bytes, now) {
		e.ended[e.ends] = s
		e.ends++
	}
	if e.filled < batchSize {
		return
	}
	if n == batchSize {
		x.grow()
	}
	e.flush(r, now)
}

// readReplies reads into the slots from first on. Reading one datagram by a plain call costs half of a batched call that finds only one, so that a
// session is read one by one until it had several in its socket; how often that is tried doubles down to every 64th time.
func (e *udpEngine) readReplies(x *udpSocket, first int) (n int, err syscall.Errno) {
	if x.skip > 0 {
		x.skip--
		e.sizes[first], err = e.batch.receiveOne(x.fd, first)
		return 1, err
	}
	n, err = e.batch.receivePlain(x.fd, first)
	for i := first; i < first+n; i++ {
		e.sizes[i] = e.batch.plainLen(i)
	}
	if n > 1 {
		x.lone = 0
	} else {
		x.lone = min(2*x.lone+1, 63)
	}
	x.skip = x.lone
	return n, err
}

// flush sends the replies that were read, and ends the sessions that had their last one.
func (e *udpEngine) flush(r *UDPRelay, now time.Duration) {
	if e.count > 0 {
		r.stats.ReplyBatches++
		_, _ = e.send(r, e.listen, e.count, true)
	}
	e.filled, e.count = 0, 0
	for i := range e.ends {
		s := e.ended[i]
		e.ended[i] = nil
		r.end(s, UDPAnswered, nil, now)
	}
	e.ends = 0
}

// fromClients receives one batch and hands it on. If there is more, the next turn begins at once.
func (e *udpEngine) fromClients(r *UDPRelay, now time.Duration) {
	n, err := e.batch.receiveNamed(e.listen)
	if err != 0 {
		r.report(now, fmt.Errorf("receiving: %w", err))
	}
	if n == 0 {
		return
	}
	r.stats.RequestBatches++
	e.orders = 0
	var last *udpSession
	var lastKey udpKey
	for i := range n {
		h := &e.batch.named[i]
		r.stats.Requests++
		r.stats.RequestBytes += uint64(h.Len)
		if h.Flags&unix.MSG_TRUNC != 0 {
			r.drop(UDPTruncated, 1)
			continue
		}
		e.sizes[i], e.again[i] = int(h.Len), false
		if key := e.keyOf(i); last == nil || lastKey != key {
			last, lastKey = e.sessionOf(r, key, i, now), key
		}
		if last != nil && !e.link(r, last, i, now) {
			last = nil
		}
	}
	for i := 0; i < e.orders; i++ { // a session whose endpoint is gone adds to them
		s := e.order[i]
		e.order[i] = nil
		e.toEndpoint(r, s, now)
	}
}

// sessionOf finds or opens the session for the datagram in slot i.
func (e *udpEngine) sessionOf(r *UDPRelay, key udpKey, i int, now time.Duration) *udpSession {
	s := r.table.sessions[key]
	if s != nil && (s.socket.linked || r.usable(s, now)) {
		return s
	}
	client, scope, ok := addrPort(key.name[:e.nameLen])
	if !ok {
		r.drop(UDPMalformed, 1)
		return nil
	}
	if scope != 0 {
		client = netip.AddrPortFrom(client.Addr().WithZone(strconv.FormatUint(uint64(scope), 10)), client.Port())
	}
	local, dest := r.local, netip.AddrFrom16(key.local).Unmap()
	if e.wildcard && !dest.IsUnspecified() {
		local = netip.AddrPortFrom(dest, r.local.Port())
	}
	if s = r.open(key, client, local, e.batch.data(i, e.sizes[i]), now); s == nil {
		return nil
	}
	x := &s.socket
	x.skip, x.lone = 7, 7
	if e.wildcard {
		x.noteLen = uint8(len(appendSource(x.note[:0], dest, key.scope, e.family)))
	}
	return s
}

// link adds the datagram in slot i to what goes to a session's endpoint in this batch. It reports whether the session takes more.
func (e *udpEngine) link(r *UDPRelay, s *udpSession, i int, now time.Duration) (more bool) {
	x := &s.socket
	e.next[i] = noSlot
	if x.linked {
		e.next[x.tail] = uint8(i)
	} else {
		x.linked, x.head = true, uint8(i)
		e.order[e.orders] = s
		e.orders++
	}
	x.tail = uint8(i)
	return r.request(s, e.sizes[i], now)
}

// keyOf reads who sent the datagram in slot i, and to which address.
func (e *udpEngine) keyOf(i int) (key udpKey) {
	key.name = e.batch.names[i] // the kernel fills all of it, or always the same part
	if h := &e.batch.named[i]; e.wildcard && h.Flags&unix.MSG_CTRUNC == 0 {
		var local netip.Addr
		local, key.scope = asked(e.batch.controls[i][:min(int(h.Controllen), controlSize)])
		if local.IsValid() {
			key.local = local.As16()
		}
	}
	return key
}

// toEndpoint sends the requests of one session that are in the batch. If its endpoint turns out to be gone, those that were not sent go to another
// session, once.
func (e *udpEngine) toEndpoint(r *UDPRelay, s *udpSession, now time.Duration) {
	x, k := &s.socket, 0
	for i := x.head; i != noSlot; i = e.next[i] {
		e.batch.piece(k, int(i), e.sizes[i])
		e.owners[k], e.slots[k] = s, i
		k++
	}
	x.linked = false
	sent, err := e.send(r, x.fd, k, false)
	if sent == k {
		return
	}
	key := s.key
	r.end(s, endOf(err), err, now)
	for _, i := range e.slots[sent:k] {
		if e.again[i] {
			r.drop(UDPNoSocket, 1)
			continue
		}
		e.again[i] = true
		if s := e.sessionOf(r, key, int(i), now); s != nil {
			e.link(r, s, int(i), now)
		}
	}
}

// gone reports whether an error of sending says that the endpoint cannot be reached. It may be the answer to an earlier datagram; the system reports it
// in place of sending this one.
func gone(err syscall.Errno) bool {
	switch err {
	case syscall.ECONNREFUSED, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.ENETDOWN:
		return true
	}
	return false
}

// send hands count pieces to the system, those of one session and one size as segments of one datagram. Replies go to their clients, requests to the
// peer of a session's socket. It returns how many pieces it went through: all, or those before the error that says that the endpoint is gone.
func (e *udpEngine) send(r *UDPRelay, fd, count int, replies bool) (done int, err syscall.Errno) {
	if count == 1 {
		return e.sendOne(r, fd, 0, replies)
	}
	headers, segment := 0, e.segments && !r.options.NoSegmentation
	for k := 0; k < count; headers++ {
		s, end := e.owners[k], k+1
		for end < count && e.owners[end] == s {
			end++
		}
		name, note := e.replyTo(s, replies)
		e.firsts[headers] = k
		k += e.batch.pack(headers, k, end, name, note, segment && !s.socket.unsplit)
	}
	e.firsts[headers] = count
	for at := 0; at < headers; {
		to := headers
		if !replies {
			// One call for each: a batched one that meets the news of a refusal after the first datagram tells only how many it sent, and the news is lost.
			to = at + 1
		}
		n, err := e.batch.sendOut(fd, at, to)
		if at += n; err == 0 {
			continue
		}
		// The header at which it stopped: what is in it goes one by one, which also finds out what is wrong with it.
		first, end := e.firsts[at], e.firsts[at+1]
		if gone(err) && !replies {
			return first, err
		}
		if err == syscall.EAGAIN {
			r.drop(UDPBlocked, count-first)
			return count, 0
		}
		if end-first > 1 {
			e.owners[first].socket.unsplit = true
		}
		for k := first; k < end; k++ {
			if done, err := e.sendOne(r, fd, k, replies); done == 0 {
				return k, err
			}
		}
		at++
	}
	return count, 0
}

// sendOne sends piece k by itself. done is 1, or 0 if err says that the endpoint is gone.
func (e *udpEngine) sendOne(r *UDPRelay, fd, k int, replies bool) (done int, err syscall.Errno) {
	s := e.owners[k]
	for range 2 {
		name, note := e.replyTo(s, replies)
		switch err = e.batch.sendPiece(fd, k, name, note); {
		case err == 0:
			return 1, 0
		case gone(err) && !replies:
			return 0, err
		case err == syscall.EMSGSIZE:
			// Too long, or the news that an earlier one was, in which case it goes the second time.
		case len(note) > 0 && (err == syscall.EINVAL || err == syscall.EADDRNOTAVAIL || err == syscall.ENETUNREACH):
			s.socket.noteLen = 0 // the address that was asked is not one that can answer, such as a broadcast's: the system shall choose
		default:
			r.drop(dropOf(err), 1)
			return 1, 0
		}
	}
	r.drop(dropOf(err), 1)
	return 1, 0
}

// replyTo returns how datagrams of the session are addressed: replies to the client, requests not at all, for their socket is connected.
func (e *udpEngine) replyTo(s *udpSession, replies bool) (name, note []byte) {
	if !replies {
		return nil, nil
	}
	return s.key.name[:e.nameLen], s.socket.note[:s.socket.noteLen]
}

func dropOf(err syscall.Errno) UDPDrop {
	switch err {
	case syscall.EAGAIN, syscall.ENOBUFS:
		return UDPBlocked
	case syscall.EMSGSIZE:
		return UDPOversize
	}
	return UDPUnsent
}
