package policy

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-gateway/sluice/limit"
	"github.com/sluice-gateway/sluice/message"
)

// memoryReplays keeps answers in memory, bounded by bytes and by time. It is kept over configurations.
type memoryReplays struct {
	limit atomic.Int64 // bytes

	mu      sync.Mutex
	all     map[limit.Key]*answer
	order   []replayPlace // those that have ended, the oldest first
	held    int64
	evicted uint64 // that had to go before their time
	refused uint64 // requests that found no room
}

// memoryReplaysKey is what they are kept under. How long and how much is kept is none of it: answers outlive a change of that.
type memoryReplaysKey struct{ scope string }

// replayPlace is an answer that has ended. It may have been dropped since.
type replayPlace struct {
	key limit.Key
	r   *answer
}

// replayOverhead is about what is kept of an answer beside its bytes: key, record, places in the map and the list. fieldOverhead is the same of a field.
const (
	replayOverhead = 512
	fieldOverhead  = 64
)

func newMemoryReplays() *memoryReplays { return &memoryReplays{all: make(map[limit.Key]*answer)} }

// Close implements io.Closer: requests that began before may go on.
func (m *memoryReplays) Close() error { return nil }

// begin implements replays. It does not wait.
func (m *memoryReplays) begin(key limit.Key, sum sumOfRequest) (*answer, duty) {
	now := message.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire(now)
	r := m.all[key]
	if r != nil && r.expires != 0 && r.expires <= now {
		m.drop(key, r) // stands behind others that are kept for longer
		r = nil
	}
	if r != nil {
		return r, dutyWait
	}
	if !m.room(replayOverhead) {
		m.refused++
		return nil, dutyWait
	}
	r = newAnswer(sum)
	r.size = replayOverhead
	m.held += r.size
	m.all[key] = r
	return r, dutyExecute
}

// end implements replays. It does not wait.
func (m *memoryReplays) end(key limit.Key, r *answer, keep time.Duration) {
	more := int64(len(r.body))
	for i := range r.fields {
		more += int64(len(r.fields[i].Value)) + fieldOverhead
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	defer close(r.done)
	if !r.keep || !m.room(more) {
		m.drop(key, r)
		return
	}
	r.size += more
	m.held += more
	r.expires = message.Now() + int64(keep)
	m.order = append(m.order, replayPlace{key, r})
}

// watch implements replays: nobody else works on what is in memory.
func (m *memoryReplays) watch(x *message.Exchange, _ limit.Key, r *answer, deadline int64) bool {
	return r.wait(x, deadline)
}

// expire drops answers whose time is over. The lock is held.
func (m *memoryReplays) expire(now int64) {
	for len(m.order) > 0 && m.order[0].r.expires <= now {
		m.oldest()
	}
}

// room makes room for n bytes, if it can be made of answers that have ended. The lock is held.
func (m *memoryReplays) room(n int64) bool {
	most := m.limit.Load()
	for m.held+n > most {
		if len(m.order) == 0 {
			return false
		}
		m.oldest()
		m.evicted++
	}
	return true
}

// oldest drops the oldest answer. The lock is held.
func (m *memoryReplays) oldest() {
	p := m.order[0]
	m.order[0] = replayPlace{}
	m.order = m.order[1:]
	m.drop(p.key, p.r)
}

// drop forgets an answer. The lock is held.
func (m *memoryReplays) drop(key limit.Key, r *answer) {
	if m.all[key] == r {
		delete(m.all, key)
		m.held -= r.size
	}
}
