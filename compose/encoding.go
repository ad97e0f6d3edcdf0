package compose

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"sync"

	"github.com/sluice-gateway/sluice/message"
)

// unzipper decompresses one answer after the other.
type unzipper struct {
	source bytes.Reader
	reader gzip.Reader
}

// unzippers is a pool (read-only: what it holds has no meaning). Most services never need one: steps ask for no compression.
var unzippers = sync.Pool{New: func() any { return new(unzipper) }}

var errEncoding = errors.New("the answer is compressed in a way that was not asked for")

// decompress returns the body that was read without its content coding, of which gzip is known. If it cannot, that is what has come of the call.
func (c *call) decompress(h *message.Header, most int) []byte {
	coding := h.Get(message.ContentEncoding)
	switch {
	case h.Count(message.ContentEncoding) > 1:
	case message.EqualFold(coding, "identity"), len(coding) == 0:
		return c.read
	case message.EqualFold(coding, "gzip"), message.EqualFold(coding, "x-gzip"):
		return c.unzip(most)
	}
	c.refuse(reasonEncoding, errEncoding)
	return nil
}

// unzip decompresses the body that was read: at most so many bytes, whatever it claims to be.
func (c *call) unzip(most int) []byte {
	u := unzippers.Get().(*unzipper)
	defer func() {
		u.source.Reset(nil)
		unzippers.Put(u)
	}()
	u.source.Reset(c.read)
	c.plain = c.plain[:0]
	if err := u.reader.Reset(&u.source); err != nil {
		c.refuse(reasonBodyInvalid, err)
		return nil
	}
	for {
		if !c.grow(&c.plain, 512) {
			return nil
		}
		n, err := u.reader.Read(c.plain[len(c.plain):cap(c.plain)])
		c.plain = c.plain[:len(c.plain)+n]
		switch {
		case len(c.plain) > most:
			c.refuse(reasonTooLarge, nil)
			return nil
		case err == io.EOF:
			return c.plain
		case err != nil:
			c.refuse(reasonBodyInvalid, err)
			return nil
		}
	}
}
