package policy

import (
	"io"

	"github.com/sluice-gateway/sluice/document"
)

// content is a body that is held in memory. It is the body of a request or a response at the same time, so that policies one after another work on the
// same bytes and the network is read once.
//
// A request's content is released by the policy that has read it, when the response has come; a response's by its Close, which may come twice: that is why
// it is not used again.
type content struct {
	memory *bodyMemory // nil when it was released
	block  *block
	text   []byte // the body, within block unless it is part of the configuration
	at     int    // bytes that Next has given

	value   document.Value // of text, once it was parsed
	checked bool           // value has no member twice
	owner   any            // the policy that has read it
	answer  bool           // it is a response's, and Close releases it
}

// onePiece is the size up to which a content is given in one piece. Codecs copy the first piece behind the head, and send the rest from where it lies.
const onePiece = 32 << 10

// Next implements message.Body.
func (c *content) Next() ([]byte, error) {
	if c.at >= len(c.text) {
		return nil, io.EOF
	}
	piece := c.text[c.at:len(c.text):len(c.text)]
	if !c.answer && c.at == 0 && len(piece) > onePiece {
		piece = piece[: onePiece/2 : onePiece/2]
	}
	c.at += len(piece)
	return piece, nil
}

// Ready reports that Next never waits.
func (c *content) Ready() bool { return true }

// Close implements message.Body.
func (c *content) Close() error {
	if c.answer {
		c.release()
	}
	return nil
}

// release gives the memory back. The content must not be used afterwards.
func (c *content) release() {
	m := c.memory
	if m == nil {
		return // it was released
	}
	answer := c.answer
	m.give(c.block)
	*c = content{}
	if !answer {
		m.pool.Put(c)
	}
}

// set makes k the memory of the content, and text, which lies within k, the body.
func (c *content) set(k *block, text []byte) {
	c.memory.give(c.block)
	c.block, c.text, c.at = k, text, 0
	c.value, c.checked = document.Value{}, false
}

// parse returns the text as JSON. unique says that an object must not have a member twice.
func (c *content) parse(l document.Limits) (document.Value, error) {
	if c.value.Exists() && (c.checked || !l.Duplicates) {
		return c.value, nil
	}
	v, err := document.Parse(c.text, l)
	if err == nil {
		c.value, c.checked = v, l.Duplicates
	}
	return v, err
}

// askedNote is what a client has asked for, while the backend is asked for something else. It is pooled.
type askedNote struct{ text []byte } // in memory of the exchange
