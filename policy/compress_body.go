package policy

import (
	"io"
	"sync"
	"sync/atomic"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
)

// maxEncoderMemory is what all encoders at work in one program may have together. What finds it full is sent as it is.
const maxEncoderMemory = 256 << 20

// encoderMemory counts the memory of encoders at work, over configurations.
type encoderMemory struct {
	limit   int64
	held    atomic.Int64
	skipped atomic.Uint64 // responses that found no room
	reader  *metric.Reader
}

// encoderMemoryKey is what it is kept under.
type encoderMemoryKey struct{}

// Close implements io.Closer: responses that began before may go on.
func (m *encoderMemory) Close() error { m.reader.Release(); return nil }

func (c *BuildContext) encoderMemory() *encoderMemory {
	m, ok := kept(c, encoderMemoryKey{}, func() (*encoderMemory, error) {
		m := &encoderMemory{limit: maxEncoderMemory}
		m.reader = c.Program.Registry().CounterFunc(metric.EncodersSkipped, func() int64 { return int64(m.skipped.Load()) })
		return m, nil
	})
	if !ok {
		return &encoderMemory{limit: maxEncoderMemory}
	}
	return m
}

// window is how far back encoders look. It bounds what they, and the decoders of clients, need.
const window = 18 // as a power of two: 256 KiB

// What an encoder has at each level in MiB, measured and rounded up. Higher levels of brotli and zstd have ten times as much, and are not offered. Read-only.
var (
	brotliCost = [...]int64{1, 1, 2, 2, 3, 5, 6}
	zstdCost   = [...]int64{0, 1, 3, 6}
)

// coding is one way to encode, at one level. It may be used by many goroutines at once.
type coding struct {
	name   string
	value  []byte
	cost   int64 // of one encoder, in bytes; about
	memory *encoderMemory
	pool   sync.Pool // of *encoder
	make   func(io.Writer) (writer, error)
}

// writer is what the three encoders have in common.
type writer interface {
	io.WriteCloser
	Flush() error
	Reset(io.Writer)
}

func newCoding(name string, levels *CompressLevels, m *encoderMemory) *coding {
	c := &coding{name: name, value: []byte(name), memory: m}
	switch name {
	case "br":
		c.cost = brotliCost[levels.BR] << 20
		c.make = func(w io.Writer) (writer, error) {
			return brotli.NewWriterOptions(w, brotli.WriterOptions{Quality: levels.BR, LGWin: window}), nil
		}
	case "zstd":
		c.cost = zstdCost[levels.Zstd] << 20
		c.make = func(w io.Writer) (writer, error) {
			return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.EncoderLevel(levels.Zstd)), zstd.WithEncoderConcurrency(1),
				zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(1<<window))
		}
	default:
		c.cost = 2 << 20
		c.make = func(w io.Writer) (writer, error) { return gzip.NewWriterLevel(w, levels.Gzip) }
	}
	return c
}

// encoder is an encoder with what it has put out.
type encoder struct {
	writer
	out output
}

// output collects what an encoder puts out.
type output struct{ b []byte }

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.b = append(o.b, p...)
	return len(p), nil
}

// take returns an encoder, or nil if there is no room.
func (c *coding) take() *encoder {
	if c.memory.held.Add(c.cost) > c.memory.limit {
		c.memory.held.Add(-c.cost)
		c.memory.skipped.Add(1)
		return nil
	}
	if e, ok := c.pool.Get().(*encoder); ok {
		e.Reset(&e.out)
		return e
	}
	e := new(encoder)
	w, err := c.make(&e.out)
	if err != nil { // the options were checked; without an encoder the response goes as it is
		c.memory.held.Add(-c.cost)
		return nil
	}
	e.writer = w
	return e
}

// give takes an encoder back.
func (c *coding) give(e *encoder) {
	c.memory.held.Add(-c.cost)
	if cap(e.out.b) > maxEncoded {
		e.out.b = nil
	}
	e.out.b = e.out.b[:0]
	c.pool.Put(e)
}

const (
	encodeStep = 32 << 10 // bytes that are encoded at once
	maxEncoded = 64 << 10 // of the memory that an encoder keeps for what it puts out
)

// compressed is a body that is compressed while it is read. It belongs to whoever reads it.
type compressed struct {
	source  message.Body
	coding  *coding
	encoder *encoder // nil when the body has ended or was closed
	rest    []byte   // of the source's last piece
	err     error    // what the source ended with
	ended   bool     // the encoder has put out its last bytes
}

// Next implements message.Body. It waits for the source only while nothing is there to be given: before it would wait again, what is there is flushed.
func (c *compressed) Next() ([]byte, error) {
	if c.encoder == nil {
		return nil, c.err
	}
	if c.ended {
		return nil, c.fail(io.EOF)
	}
	e := c.encoder
	e.out.b = e.out.b[:0]
	for len(e.out.b) == 0 {
		if len(c.rest) == 0 {
			if c.rest, c.err = c.source.Next(); c.err != nil {
				return c.end()
			}
		}
		step := c.rest[:min(len(c.rest), encodeStep)]
		c.rest = c.rest[len(step):]
		if _, err := e.Write(step); err != nil {
			return nil, c.fail(err)
		}
		if len(c.rest) == 0 && !ready(c.source) {
			if err := e.Flush(); err != nil {
				return nil, c.fail(err)
			}
		}
	}
	return e.out.b, nil
}

// end gives what is left in the encoder. A source that was cut short has no end here either.
func (c *compressed) end() ([]byte, error) {
	if c.err != io.EOF {
		return nil, c.fail(c.err)
	}
	e := c.encoder
	if err := e.writer.Close(); err != nil {
		return nil, c.fail(err)
	}
	c.ended = true // what is left is read before the encoder is given back
	if len(e.out.b) == 0 {
		return nil, c.fail(io.EOF)
	}
	return e.out.b, nil
}

// fail ends the body with an error.
func (c *compressed) fail(err error) error {
	c.err = err
	if c.encoder != nil {
		c.coding.give(c.encoder)
		c.encoder = nil
	}
	return err
}

// Ready reports whether Next returns without waiting.
func (c *compressed) Ready() bool {
	return c.encoder == nil || c.ended || len(c.rest) > 0 || ready(c.source)
}

// Close implements message.Body.
func (c *compressed) Close() error {
	if c.encoder != nil {
		_ = c.fail(io.EOF)
	}
	return c.source.Close()
}

// Interrupt makes a Next that waits return, if the source can do that.
func (c *compressed) Interrupt() {
	if b, ok := c.source.(interface{ Interrupt() }); ok {
		b.Interrupt()
	}
}
