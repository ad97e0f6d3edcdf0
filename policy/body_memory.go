package policy

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
)

// maxBodyMemory is what all bodies that policies hold in one program may have together. What finds it full is answered with 503.
const maxBodyMemory = 256 << 20

// blockSizes are the sizes of the blocks that are kept for the next body; larger ones are made when they are needed. A body grows from one to the next
// as its bytes arrive, so that a client which announces much and sends little holds little.
var blockSizes = [...]int{4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20}

// bodyMemory is the memory of one program for bodies. It is kept over configurations and may be used by many goroutines at once.
type bodyMemory struct {
	limit   int64
	held    atomic.Int64  // bytes that bodies, and what is made of them, have now
	refused atomic.Uint64 // bodies that found no room
	pools   [len(blockSizes)]sync.Pool
	readers [2]*metric.Reader
	pool    sync.Pool // of *content, those of requests
	work    sync.Pool // of *setValues
	asked   sync.Pool // of *askedNote; its address is the owner of such notes, that of the memory the owner of those with the request's content
}

// bodyMemoryKey is what the memory is kept under.
type bodyMemoryKey struct{}

func newBodyMemory(limit int64) *bodyMemory { return &bodyMemory{limit: limit} }

// Close implements io.Closer: requests that began before may go on.
func (m *bodyMemory) Close() error {
	for _, r := range m.readers {
		r.Release()
	}
	return nil
}

// bodyMemory returns the memory of the program; one that nobody else uses where policies are only checked.
func (c *BuildContext) bodyMemory() *bodyMemory {
	m, ok := kept(c, bodyMemoryKey{}, func() (*bodyMemory, error) {
		m, reg := newBodyMemory(maxBodyMemory), c.Program.Registry()
		m.readers[0] = reg.GaugeFunc(metric.BodyBytes, m.held.Load)
		m.readers[1] = reg.CounterFunc(metric.BodiesRefused, func() int64 { return int64(m.refused.Load()) })
		return m, nil
	})
	if !ok {
		return newBodyMemory(maxBodyMemory)
	}
	return m
}

// reserve notes that n more bytes are in use, and reports whether they may be.
func (m *bodyMemory) reserve(n int) bool {
	if m.held.Add(int64(n)) > m.limit {
		m.held.Add(-int64(n))
		m.refused.Add(1)
		return false
	}
	return true
}

// free takes back what reserve noted.
func (m *bodyMemory) free(n int) { m.held.Add(-int64(n)) }

// block is memory for one body. Its bytes belong to whoever took it until it is given back.
type block struct {
	b     []byte // always the whole of it
	class int    // in blockSizes, -1 for a size of its own
}

// take returns a block of at least n bytes, or nil if there is no room.
func (m *bodyMemory) take(n int) *block {
	class := 0
	for class < len(blockSizes) && blockSizes[class] < n {
		class++
	}
	if class == len(blockSizes) {
		if !m.reserve(n) {
			return nil
		}
		return &block{make([]byte, n), -1}
	}
	if !m.reserve(blockSizes[class]) {
		return nil
	}
	if k, ok := m.pools[class].Get().(*block); ok {
		return k
	}
	return &block{make([]byte, blockSizes[class]), class}
}

// give takes a block back; nil is none.
func (m *bodyMemory) give(k *block) {
	if k == nil {
		return
	}
	m.free(len(k.b))
	if k.class >= 0 {
		message.Poison(k.b)
		m.pools[k.class].Put(k)
	}
}

// adopt returns a block that holds what was built by append on k[:0]. Where that grew beyond k it is memory of its own, and k is given back. There may be
// no room for it: then the block is nil, and k is given back, too.
func (m *bodyMemory) adopt(k *block, built []byte) *block {
	if cap(built) <= len(k.b) {
		return k
	}
	m.give(k)
	if !m.reserve(cap(built)) {
		return nil
	}
	return &block{built[:cap(built)], -1}
}

// Why a body could not be held.
var (
	errBodyLarge  = errors.New("the body is larger than the policy allows")
	errBodyMemory = errors.New("the memory for bodies is full")
)

// read reads a body to its end, into c, which is empty. length is what is known of it, most what it may have. The error is one of the above, or what the
// body ended with; c is released then.
func (m *bodyMemory) read(c *content, body message.Body, length, most int64) error {
	if length > most {
		c.release()
		return errBodyLarge
	}
	first := blockSizes[0]
	if length > 0 {
		first = int(min(length, int64(blockSizes[1])))
	}
	if c.block = m.take(first); c.block == nil {
		c.release()
		return errBodyMemory
	}
	n := 0
	for {
		piece, err := body.Next()
		if err == io.EOF {
			c.text = c.block.b[:n]
			return nil
		}
		if err == nil && int64(n)+int64(len(piece)) > most {
			err = errBodyLarge
		}
		if err == nil {
			err = c.grow(n, n+len(piece), length)
		}
		if err != nil {
			c.release()
			return err
		}
		n += copy(c.block.b[n:], piece)
	}
}

// content returns an empty content for a request.
func (m *bodyMemory) content() *content {
	if c, ok := m.pool.Get().(*content); ok {
		c.memory = m
		return c
	}
	return &content{memory: m}
}

// grow makes room for n bytes, of which the first used are there. length is that of the whole body, if it is known.
func (c *content) grow(used, n int, length int64) error {
	if n <= len(c.block.b) {
		return nil
	}
	want := max(n, 2*len(c.block.b))
	if length >= int64(n) {
		want = int(min(int64(want), length))
	}
	next := c.memory.take(want)
	if next == nil {
		return errBodyMemory
	}
	copy(next.b, c.block.b[:used])
	c.memory.give(c.block)
	c.block = next
	return nil
}
