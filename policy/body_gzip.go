package policy

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"

	"github.com/sluice-gateway/sluice/message"
)

// errEncoding says that an answer cannot be decoded.
var errEncoding = errors.New("the body has an encoding that is not read here")

// gunzips is a pool (read-only: what it holds has no meaning).
var gunzips = sync.Pool{New: func() any { return new(gunzip) }}

// gunzip decodes one body.
type gunzip struct {
	z    gzip.Reader
	from pieces
	out  [16 << 10]byte
}

// Next implements message.Body.
func (g *gunzip) Next() ([]byte, error) {
	for {
		n, err := g.z.Read(g.out[:])
		if n > 0 {
			return g.out[:n], nil
		}
		if err != nil {
			return nil, g.failure(err)
		}
	}
}

// Close implements message.Body.
func (g *gunzip) Close() error { return nil }

// failure returns what ended the body, which is not the encoding's fault where its source has failed.
func (g *gunzip) failure(err error) error {
	switch {
	case err == io.EOF:
		return err
	case g.from.err != nil && g.from.err != io.EOF:
		return g.from.err
	}
	return &message.Failure{Reason: message.ResponseEncodingUnsupported, Side: message.SideUpstream, Stage: message.StageReceive, Err: fmt.Errorf("gzip: %w", err)}
}

// gunzip reads a body that is encoded with gzip into c, decoded. Neither form may have more than most bytes.
func (m *bodyMemory) gunzip(c *content, body message.Body, most int64) error {
	g := gunzips.Get().(*gunzip)
	// A few bytes of gzip become a thousand times as many, and many become none: both are counted.
	g.from = pieces{body: body, left: most + gzipRoom}
	defer func() {
		g.from = pieces{}
		gunzips.Put(g)
	}()
	if err := g.z.Reset(&g.from); err == io.EOF {
		return nil // there is no body
	} else if err != nil {
		return g.failure(err)
	}
	return m.read(c, g, message.LengthUnknown, most)
}

// gzipRoom is what gzip may add to bytes that cannot be made fewer.
const gzipRoom = 64 << 10

// pieces reads a body as a stream of bytes. It implements io.ByteReader, so that nobody buffers it once more.
type pieces struct {
	body  message.Body
	piece []byte
	left  int64
	err   error
}

// fill takes the next piece when the last is used up.
func (p *pieces) fill() error {
	for len(p.piece) == 0 {
		if p.err != nil {
			return p.err
		}
		if p.piece, p.err = p.body.Next(); p.err != nil {
			p.piece = nil
		}
		if p.left -= int64(len(p.piece)); p.left < 0 {
			p.piece, p.err = nil, errBodyLarge
		}
	}
	return nil
}

// Read implements io.Reader.
func (p *pieces) Read(b []byte) (int, error) {
	if err := p.fill(); err != nil {
		return 0, err
	}
	n := copy(b, p.piece)
	p.piece = p.piece[n:]
	return n, nil
}

// ReadByte implements io.ByteReader.
func (p *pieces) ReadByte() (byte, error) {
	if err := p.fill(); err != nil {
		return 0, err
	}
	b := p.piece[0]
	p.piece = p.piece[1:]
	return b, nil
}

// maxSkip is what is read of a body that nobody needs, so that its connection can be used again.
const maxSkip = 64 << 10

// skip reads a body whose content is not needed, unless it is long.
func skip(body message.Body, length int64) error {
	if length > maxSkip {
		return nil
	}
	for n := 0; n <= maxSkip; {
		piece, err := body.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		n += len(piece)
	}
	return nil
}
