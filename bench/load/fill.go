package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// fillBatch is how many requests of a Fill are underway: few enough that neither side ever waits for the other to read.
const fillBatch = 64

// Fill makes each of many numbered requests once, pipelined over one connection: what fills a table of the proxy before it is measured. Every answer is
// checked as that of a loaded client is.
type Fill struct {
	Address string
	Request []byte // with a NumberPlace
	Numbers Numbers
	Body    []byte // what every answer must hold
}

// Run makes the requests. It returns when the last answer is there, the first is wrong, or ctx has ended.
func (f Fill) Run(ctx context.Context) error {
	texts, places, err := f.Numbers.numbered([][]byte{f.Request})
	if err != nil {
		return err
	}
	c, err := (&net.Dialer{Timeout: answerTimeout}).DialContext(ctx, "tcp", f.Address)
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })()
	out := make([]byte, 0, fillBatch*len(f.Request))
	in := make([]byte, fillBatch*(maxHead+len(f.Body)))
	for left := f.Numbers.Count; left > 0; {
		n := min(left, fillBatch)
		out = out[:0]
		for range n {
			f.Numbers.put(places[0])
			out = append(out, texts[0]...)
		}
		if _, err := c.Write(out); err != nil {
			return errors.Join(ctx.Err(), fmt.Errorf("load: %w", err))
		}
		if err := f.answers(c, in, int(n)); err != nil {
			return errors.Join(ctx.Err(), fmt.Errorf("load: before number %d: %w", f.Numbers.Count-left+n, err))
		}
		left -= n
	}
	return nil
}

// answers reads n answers and nothing else.
func (f Fill) answers(c net.Conn, in []byte, n int) error {
	held := 0
	for n > 0 {
		got, err := c.Read(in[held:])
		held += got
		if err != nil {
			return err
		}
		rest := in[:held]
		for len(rest) > 0 {
			a := checkAnswer(rest, f.Body)
			if a.failure != None {
				return fmt.Errorf("%v: %.200q", a.failure, rest)
			}
			if a.size == 0 {
				break
			}
			if n--; n < 0 || a.closing && n > 0 {
				return errors.New(Framing.String())
			}
			rest = rest[a.size:]
		}
		held = copy(in, rest)
	}
	if held > 0 {
		return errors.New(Content.String())
	}
	return nil
}
