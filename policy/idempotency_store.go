package policy

import (
	"bytes"
	"time"

	"github.com/sluice-gateway/sluice/limit"
	"github.com/sluice-gateway/sluice/message"
)

// storedReplays keeps answers in a store as well, so that several programs give the same one. Within a program requests wait for each other in memory, and one
// asks the store for all of them. While the store is away the memory alone decides.
type storedReplays struct {
	local   *memoryReplays
	records *limit.Records
}

// storedReplaysKey is what they are kept under.
type storedReplaysKey struct {
	scope string
	store *limit.Store
}

// keptRecords are records as a keep-pool wants them.
type keptRecords struct{ *limit.Records }

// Close implements io.Closer.
func (k keptRecords) Close() error { k.Records.Close(); return nil }

// watchEvery is how often the store is asked for an answer that another program works on.
const watchEvery = 50 * time.Millisecond

// Bounds of how long one request waits for a store of answers. It is longer than for a limit: without the store the same work may be done twice.
const (
	recordPatience    = 20 // timeouts of the store
	maxRecordPatience = time.Second
)

// replaysOf returns where the policy keeps its answers; nil where nothing is served, not ok where that cannot be had, which is then reported.
func (c *BuildContext) replaysOf(o *IdempotencyOptions) (all replays, ok bool) {
	if c.Program == nil {
		return nil, true
	}
	local, ok := kept(c, memoryReplaysKey{c.scopeOf()}, func() (*memoryReplays, error) { return newMemoryReplays(), nil })
	if !ok {
		return nil, false
	}
	local.limit.Store(int64(o.Memory))
	s := c.storeOf(o.Store)
	if s == nil {
		return local, true
	}
	store, ok := c.openStore(s, storeOfRecords, max(s.Timeout, min(recordPatience*s.Timeout, maxRecordPatience)))
	if !ok {
		return nil, false
	}
	k, ok := kept(c, storedReplaysKey{c.scopeOf(), store}, func() (keptRecords, error) {
		made, err := limit.NewRecords(limit.RecordsOptions{Store: store, Name: "idempotency:" + c.Name})
		return keptRecords{made}, err
	})
	return &storedReplays{local, k.Records}, ok
}

// begin implements replays.
func (m *storedReplays) begin(key limit.Key, sum sumOfRequest) (*answer, duty) {
	r, assigned := m.local.begin(key, sum)
	if assigned != dutyExecute {
		return r, assigned
	}
	switch found := m.records.Claim(key, sum[:]); found.Found {
	case limit.Claimed:
		if !bytes.Equal(found.Value, sum[:]) {
			m.local.end(key, r, 0)
			other := newAnswer(sumOfRequest{})
			copy(other.sum[:], found.Value)
			return other, dutyWait
		}
		r.claim = found.By
		return r, dutyWatch
	case limit.Valued:
		if other, ok := decodeAnswer(found.Value); ok {
			return m.found(key, r, other), dutyWait
		}
		// It was not written by a program like this one. The store keeps it: this program goes by its memory.
	}
	return r, dutyExecute
}

// found ends a record with the answer of another program, and returns what the caller goes by. The answer stays in the store, which knows how long it is kept.
func (m *storedReplays) found(key limit.Key, r, other *answer) *answer {
	if other.sum == r.sum {
		r.state, r.status, r.fields, r.body, r.length = answerThere, other.status, other.fields, other.body, other.length
		other = r
	}
	m.local.end(key, r, 0)
	return other
}

// end implements replays.
func (m *storedReplays) end(key limit.Key, r *answer, keep time.Duration) {
	if !r.keep {
		m.records.Drop(key)
	} else if text := appendAnswer(nil, r); !m.records.Keep(key, text, keep) {
		m.records.Drop(key) // the store is away: this program's memory has it
	}
	m.local.end(key, r, keep)
}

// watch implements replays. The store being away meanwhile is no reason to do the work again: the other program may still be at it.
func (m *storedReplays) watch(x *message.Exchange, key limit.Key, r *answer, deadline int64) bool {
	for {
		left := time.Duration(deadline - message.Now())
		if left <= 0 || gone(x) {
			m.local.end(key, r, 0) // another one watches on
			return false
		}
		found, ok := m.look(x, key, min(left, watchEvery))
		if !ok {
			m.local.end(key, r, 0)
			return false
		}
		switch found.Found {
		case limit.Valued:
			if other, ok := decodeAnswer(found.Value); ok && other.sum == r.sum {
				m.found(key, r, other)
				return true
			}
			m.local.end(key, r, 0)
			return true
		case limit.Nothing:
			m.local.end(key, r, 0)
			return true
		case limit.Claimed:
			if found.By != r.claim {
				m.local.end(key, r, 0)
				return true
			}
		}
	}
}

// look asks the store after a while; ok is false when the records end meanwhile.
func (m *storedReplays) look(x *message.Exchange, key limit.Key, pause time.Duration) (found limit.Record, ok bool) {
	x.Await(func() {
		timer := time.NewTimer(pause)
		defer timer.Stop()
		select {
		case <-timer.C:
			found, ok = m.records.Look(key), true
		case <-m.records.Ended():
		}
	})
	return found, ok
}
