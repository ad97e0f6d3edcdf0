package stream

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"
)

// udpSession is one row of the table, found by its udpKey: who sent a datagram, and to which address where the engine can tell. It belongs to the relay's
// lock. Ended rows are used again. What every datagram touches stands first, side by side.
type udpSession struct {
	owner                  UDPSession
	last, filed            time.Duration // since the start of the relay; filed is last when the row got its place in its list
	requests, requestBytes uint64
	replies, replyBytes    uint64
	mayRequest, mayReply   uint64 // bounds; 0 for none. mayReply is for each request
	list                   *udpList
	attached               bool // further datagrams of the client belong to it
	replied                bool
	socket                 udpSocket
	key                    udpKey

	prev, next              *udpSession // in list; next also in the list of rows to be used again
	began, firstReply       time.Duration
	client, local, endpoint netip.AddrPort
}

// udpList is a list of sessions in the order of their last datagrams, the oldest first. The order is exact to one part in listGrain of the time-out.
type udpList struct {
	first, last *udpSession
}

// listGrain keeps the lists cheap: a session moves to the end of its list at most listGrain times within its time-out, however busy it is.
const listGrain = 64

// udpTable holds the sessions of a relay.
type udpTable struct {
	sessions map[udpKey]*udpSession // attached ones
	free     *udpSession
	open     int
	waiting  udpList // time out by Unanswered: not answered yet, or no longer attached
	answered udpList // time out by Idle
}

func (l *udpList) append(s *udpSession, now time.Duration) {
	s.list, s.filed, s.prev, s.next = l, now, l.last, nil
	if l.last != nil {
		l.last.next = s
	} else {
		l.first = s
	}
	l.last = s
}

func (l *udpList) remove(s *udpSession) {
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		l.first = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	} else {
		l.last = s.prev
	}
	s.list, s.prev, s.next = nil, nil, nil
}

// usable ends a session whose endpoint is not to be used any more, and reports whether it is.
func (r *UDPRelay) usable(s *udpSession, now time.Duration) bool {
	if r.askUsable(s.owner, now) {
		return true
	}
	r.end(s, UDPReplaced, nil, now)
	return false
}

// open makes a session for a new client, or counts why not and returns nil.
func (r *UDPRelay) open(key udpKey, client, local netip.AddrPort, first []byte, now time.Duration) *udpSession {
	if r.draining || r.closing {
		r.drop(UDPDraining, 1)
		return nil
	}
	if r.table.open >= r.options.MaxSessions && !r.evict(now) {
		r.drop(UDPTableFull, 1)
		return nil
	}
	owner, endpoint, ok := r.ask(client, local, first, now)
	if !ok {
		r.drop(UDPNoEndpoint, 1)
		return nil
	}
	s := r.table.take()
	s.owner, s.key, s.client, s.local, s.endpoint = owner, key, client, local, endpoint
	s.began, s.last = now, now
	s.mayRequest, s.mayReply = uint64(max(r.options.Requests, 0)), uint64(max(r.options.Responses, 0))
	r.stats.Opened++
	err := r.engine.connect(r, s, now)
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EADDRNOTAVAIL) {
		// Descriptors or ports are used up before the table is: an old session makes room as well.
		if r.evict(now) {
			err = r.engine.connect(r, s, now)
		}
	}
	r.table.open++
	s.attached = true
	r.table.sessions[key] = s
	r.table.waiting.append(s, now)
	if err != nil {
		r.report(now, fmt.Errorf("no socket towards %s: %w", endpoint, err))
		r.drop(UDPNoSocket, 1)
		r.end(s, UDPFailed, err, now)
		return nil
	}
	return s
}

// ask calls the handler. One that panics costs its datagram and no more.
func (r *UDPRelay) ask(client, local netip.AddrPort, first []byte, now time.Duration) (s UDPSession, endpoint netip.AddrPort, ok bool) {
	defer func() {
		if p := recover(); p != nil {
			r.report(now, fmt.Errorf("choosing an endpoint for %s panicked: %v", client, p))
			s, ok = nil, false
		}
	}()
	s, endpoint, ok = r.handler.Open(client, local, first)
	return s, endpoint, ok && s != nil
}

// askUsable is UDPSession.Usable. A mistake of the owner's ends this session only.
func (r *UDPRelay) askUsable(owner UDPSession, now time.Duration) (usable bool) {
	defer func() {
		if p := recover(); p != nil {
			r.report(now, fmt.Errorf("asking a session panicked: %v", p))
			usable = false
		}
	}()
	return owner.Usable()
}

// evict ends the session that can best be spared. It reports false if all are too young.
func (r *UDPRelay) evict(now time.Duration) bool {
	for _, l := range [...]*udpList{&r.table.waiting, &r.table.answered} {
		if s := l.first; s != nil && now-s.last >= r.options.EvictAfter {
			r.end(s, UDPEvicted, nil, now)
			return true
		}
	}
	return false
}

// request counts a datagram of the client. It reports whether the session takes more.
func (r *UDPRelay) request(s *udpSession, bytes int, now time.Duration) (more bool) {
	s.requests++
	s.requestBytes += uint64(bytes)
	r.touch(s, now)
	if s.mayRequest == 0 || s.requests < s.mayRequest {
		return true
	}
	r.detach(s, now)
	return false
}

// detach lets the client's next datagram open another session. This one waits for its replies.
func (r *UDPRelay) detach(s *udpSession, now time.Duration) {
	if !s.attached {
		return
	}
	s.attached = false
	delete(r.table.sessions, s.key)
	if s.list != &r.table.waiting {
		s.list.remove(s)
		r.table.waiting.append(s, now)
	}
}

// reply counts n datagrams of the endpoint. It reports whether these were the last ones that were expected; the session is to be ended then.
func (r *UDPRelay) reply(s *udpSession, n, bytes int, now time.Duration) (last bool) {
	r.stats.Replies += uint64(n)
	r.stats.ReplyBytes += uint64(bytes)
	s.replies += uint64(n)
	s.replyBytes += uint64(bytes)
	if !s.replied {
		s.replied = true
		s.firstReply = max(now-s.began, 1)
		if s.attached {
			s.list.remove(s)
			r.table.answered.append(s, now)
		}
	}
	r.touch(s, now)
	// A session that is bound to more requests waits for them.
	bound := s.mayRequest > 0 && s.requests < s.mayRequest
	return s.mayReply > 0 && !bound && s.replies >= s.mayReply*s.requests
}

// touch notes that a datagram of the session has come.
func (r *UDPRelay) touch(s *udpSession, now time.Duration) {
	s.last = now
	if now-s.filed > r.timeout(s.list)/listGrain && s.list.last != s {
		l := s.list
		l.remove(s)
		l.append(s, now)
	}
}

// timeout returns how long a session of the list may be idle.
func (r *UDPRelay) timeout(l *udpList) time.Duration {
	if l == &r.table.answered {
		return r.options.Idle
	}
	return r.options.Unanswered
}

// expire ends the sessions whose time is up.
func (r *UDPRelay) expire(now time.Duration) {
	for _, l := range [...]*udpList{&r.table.waiting, &r.table.answered} {
		for s := l.first; s != nil && s.last+r.timeout(l) <= now; s = l.first {
			why := UDPIdle
			if !s.replied {
				why = UDPUnanswered
			}
			r.end(s, why, nil, now)
		}
	}
}

// nextExpiry returns when expire has something to do again, as far as is known now. ok is false if no session is open.
func (r *UDPRelay) nextExpiry() (at time.Duration, ok bool) {
	for _, l := range [...]*udpList{&r.table.waiting, &r.table.answered} {
		if s := l.first; s != nil {
			if t := s.last + r.timeout(l); !ok || t < at {
				at, ok = t, true
			}
		}
	}
	return at, ok
}

// end closes a session and tells its owner.
func (r *UDPRelay) end(s *udpSession, why UDPEnd, err error, now time.Duration) {
	r.engine.disconnect(s, now)
	if s.attached {
		s.attached = false
		delete(r.table.sessions, s.key)
	}
	s.list.remove(s)
	r.table.open--
	r.stats.Ended[why]++
	result := UDPResult{
		Client: s.client, Local: s.local, Endpoint: s.endpoint, End: why, Err: err,
		Began: r.started.Add(s.began), Lasted: s.last - s.began, FirstReply: s.firstReply,
		Requests: s.requests, RequestBytes: s.requestBytes, Replies: s.replies, ReplyBytes: s.replyBytes,
	}
	owner := s.owner
	r.table.give(s)
	r.tell(owner, result, now)
	r.checkEmpty()
}

// tell calls the owner of a session for its end.
func (r *UDPRelay) tell(owner UDPSession, result UDPResult, now time.Duration) {
	defer func() {
		if p := recover(); p != nil {
			r.report(now, fmt.Errorf("ending a session of %s panicked: %v", result.Client, p))
		}
	}()
	owner.End(result)
}

// endAll ends what is open when the relay ends.
func (r *UDPRelay) endAll(now time.Duration) {
	for _, l := range [...]*udpList{&r.table.waiting, &r.table.answered} {
		for l.first != nil {
			r.end(l.first, UDPClosed, nil, now)
		}
	}
}

// take returns a row for a new session.
func (t *udpTable) take() *udpSession {
	s := t.free
	if s == nil {
		return &udpSession{}
	}
	t.free = s.next
	*s = udpSession{}
	return s
}

// give takes the row of an ended session back.
func (t *udpTable) give(s *udpSession) {
	s.owner = nil
	s.next = t.free
	t.free = s
}

// endOf tells what an error of a session's socket means.
func endOf(err error) UDPEnd {
	if errors.Is(err, syscall.ECONNREFUSED) {
		return UDPRefused
	}
	return UDPFailed
}
