package limit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/rueidis"
)

// run is the store's goroutine: it connects, keeps the connection alive, and connects again.
func (s *Store) run() {
	defer close(s.done)
	defer s.opened()
	v := vigil{s: s, pause: firstPause}
	for s.ctx.Err() == nil {
		l, err := s.connect()
		if err != nil && s.ctx.Err() != nil {
			return
		}
		if err != nil {
			v.away(s.describe(err))
			s.opened()
			if !s.rest(v.next()) {
				return
			}
			continue
		}
		v.back()
		s.opened()
		s.attend(l)
		l.Close()
		if s.ctx.Err() != nil {
			return
		}
		v.lost()
	}
}

// opened tells those who wait for the first attempt.
func (s *Store) opened() {
	select {
	case <-s.first:
	default:
		close(s.first)
	}
}

// rest waits, and reports whether the store is still wanted.
func (s *Store) rest(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.ctx.Done():
		return false
	}
}

// connect makes a link that has shown that it works, as fast as requests need it, and publishes it.
func (s *Store) connect() (*link, error) {
	s.dialing.Store(true)
	defer s.dialing.Store(false) // after the link was published: a request that is quicker may not dial either, and has no need to
	client, err := rueidis.NewClient(s.client)
	if err != nil {
		if client != nil {
			client.Close()
		}
		return nil, err
	}
	l := &link{client}
	// The first time the server has to read the scripts, which may take longer than a request waits.
	_, err = s.beat(l, dialTimeout, true)
	if err == nil {
		err = s.load(l)
	}
	var n int64
	if err == nil {
		n, err = s.beat(l, s.o.Timeout, true)
	}
	if err == nil {
		err = s.settle(l)
	}
	if err != nil {
		l.Close()
		return nil, err
	}
	// Those who were there before may not have come back yet.
	s.instances.Store(max(s.instances.Load(), int32(min(n, 1<<20))))
	s.weight.Store(0)
	select {
	case <-s.trip: // of the link before
	default:
	}
	s.link.Store(l)
	return l, nil
}

// load makes the server know the script of the requests: of a cluster each node, with which it also connects to all of them.
func (s *Store) load(l *link) error {
	ctx, cancel := context.WithTimeout(s.ctx, dialTimeout)
	defer cancel()
	for node, client := range l.Nodes() {
		if err := client.Do(ctx, client.B().ScriptLoad().Script(takeScript).Build()).Error(); err != nil {
			if _, answered := rueidis.IsRedisErr(err); !answered {
				return fmt.Errorf("%s: %w", node, err)
			}
			return nil // it may not be allowed; EVAL does without
		}
	}
	return nil
}

// attend keeps a link until it is cut or the store is closed.
func (s *Store) attend(l *link) {
	tick := time.NewTicker(beatPeriod)
	defer tick.Stop()
	since := s.o.Now()
	for {
		select {
		case <-s.ctx.Done():
			s.link.Store(nil)
			s.bye(l)
			return
		case <-s.trip:
			if s.link.Load() == nil {
				return
			}
			continue // a token of the link before
		case <-tick.C:
		}
		// Not as impatient as a request: that the server is slow is for the requests to find out.
		n, err := s.beat(l, dialTimeout/4, true)
		if err == nil {
			err = s.settle(l)
		}
		if err != nil {
			if s.ctx.Err() == nil {
				s.cut(l, err)
			}
			continue
		}
		if s.o.Now()-since < int64(settling) {
			n = max(n, int64(s.instances.Load()))
		}
		s.instances.Store(int32(min(n, 1<<20)))
	}
}

// beat calls beatScript, and learns the server's clock.
func (s *Store) beat(l *link, patience time.Duration, stay bool) (instances int64, err error) {
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	return s.pulse(ctx, l, stay)
}

func (s *Store) pulse(ctx context.Context, l *link, stay bool) (instances int64, err error) {
	word := "0"
	if stay {
		word = "1"
	}
	before := s.o.Now()
	reply, err := l.eval(ctx, s.digests[1], beatScript, []string{s.o.Prefix + "{instances}"}, []string{s.id, word})
	if err != nil {
		return 0, err
	}
	if len(reply) != 3 {
		return 0, errors.New("the answer is none of this program's script")
	}
	after := s.o.Now()
	s.skew.Store(reply[1]*int64(time.Second) + reply[2]*int64(time.Microsecond) - (before + (after-before)/2))
	return max(1, reply[0]), nil
}

// bye tells the store that this instance has gone, so that the others take its share at once.
func (s *Store) bye(l *link) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), dialTimeout/4)
	defer cancel()
	_, _ = s.pulse(ctx, l, false) // it is forgotten anyway, a little later
}

// settle adds what was counted without the store to it, see Shared.settle.
func (s *Store) settle(l *link) error {
	s.mu.Lock()
	all := make([]*Shared, 0, len(s.limiter))
	for sh := range s.limiter {
		all = append(all, sh)
	}
	s.mu.Unlock()
	for _, sh := range all {
		if err := sh.settle(s.ctx, l); err != nil {
			return err
		}
	}
	return nil
}

// vigil is what the store's goroutine knows of the past.
type vigil struct {
	s       *Store
	pause   time.Duration
	since   int64 // when the store was found away, or came back
	waiting bool  // it is away, and that was said
}

// away reports that the store is not there, once for each outage.
func (v *vigil) away(why string) {
	if v.waiting {
		return
	}
	v.waiting, v.since = true, v.s.o.Now()
	v.s.counted.outages.Add(1)
	v.s.o.Report(fmt.Sprintf("the store of %s %s is away: %s; it is tried again in the background", v.s.o.Of, v.s.address, why))
}

// lost reports that a link was cut, and lets the next attempt wait if there was one just now.
func (v *vigil) lost() {
	s := v.s
	if s.o.Now()-v.since > int64(steady) {
		v.pause = firstPause
	}
	why := errEnded.Error()
	if p := s.why.Load(); p != nil {
		why = *p
	}
	v.away(why)
	s.rest(v.next())
}

// back reports that the store is there, if it was away.
func (v *vigil) back() {
	now := v.s.o.Now()
	if v.waiting {
		v.s.o.Report(fmt.Sprintf("the store of %s %s is back after %v", v.s.o.Of, v.s.address, time.Duration(now-v.since).Round(time.Millisecond)))
	}
	v.waiting, v.since = false, now
}

// next returns the pause before the next attempt.
func (v *vigil) next() time.Duration {
	d := v.pause
	v.pause = min(2*v.pause, lastPause)
	return d
}
