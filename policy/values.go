package policy

import (
	"encoding/binary"
	"fmt"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/expr"
	"github.com/sluice-gateway/sluice/message"
)

// use says what a value is for.
type use uint8

const (
	forHeader    use = iota
	forHost          // the authority that the backend sees
	forParameter     // of a query
)

// value is one value of the configuration in the form in which it is written: constant, or one of those that are worked out for each
// exchange.
type value struct {
	text []byte // of a constant
	slot int    // in the worked-out values; -1 for a constant
}

// dynamic is a value that is worked out for each exchange.
type dynamic struct {
	template *expr.Template
	use      use
	prefix   []byte // "name=" of a parameter
	err      error  // for the log: which value was refused
}

// values are the dynamic values of one policy.
type values struct {
	list []dynamic
}

// slotSize is the size of a row in front of the worked-out values: where one begins and where it ends, as two uint32.
const slotSize = 8

// compile makes the value of a pair; the zero value if there is an error, which is then reported.
func (s *values) compile(p *config.Pair, u use, d direction, c *BuildContext) value {
	t := c.template(&p.Value, d == ofResponse)
	if t == nil {
		return value{}
	}
	var prefix []byte
	if u == forParameter {
		prefix = append(message.AppendQueryValue(nil, []byte(p.Name)), '=')
	}
	if text, ok := t.Const(); ok {
		switch u {
		case forParameter:
			return value{text: message.AppendQueryValue(prefix, text), slot: -1}
		case forHeader:
			return value{text: message.TrimSpace(text), slot: -1}
		case forHost:
			host, port, _ := message.ParseAuthority(nil, message.TrimSpace(text)) // its validity was checked with the options
			return value{text: appendPort(host, port), slot: -1}
		}
	}
	s.list = append(s.list, dynamic{template: t, use: u, prefix: prefix, err: fmt.Errorf("policy %s: the value of %s", c.Name, p.Name)})
	return value{slot: len(s.list) - 1}
}

// evaluate works out all values and returns them in memory of the exchange, valid until it is reset. The failure tells which value the
// request must not have; nothing has been changed then.
func (s *values) evaluate(x *message.Exchange, stage message.Stage) ([]byte, *message.Failure) {
	if len(s.list) == 0 {
		return nil, nil
	}
	buf := append(x.Scratch(), make([]byte, slotSize*len(s.list))...)
	for i := range s.list {
		d := &s.list[i]
		from := len(buf)
		out, ok, reason := d.append(buf, x)
		if reason != message.ReasonNone {
			return nil, &message.Failure{Reason: reason, Side: message.SideClient, Stage: stage, Err: d.err}
		}
		buf = out
		if !ok {
			from = len(buf) + 1 // begins behind its end: there is no value
		}
		binary.LittleEndian.PutUint32(buf[slotSize*i:], uint32(from))
		binary.LittleEndian.PutUint32(buf[slotSize*i+4:], uint32(len(buf)))
	}
	return x.KeepScratch(buf), nil
}

// of returns a value; ok is false if it is one that this exchange does not have.
func (v *value) of(worked []byte) (text []byte, ok bool) {
	if v.slot < 0 {
		return v.text, true
	}
	from := binary.LittleEndian.Uint32(worked[slotSize*v.slot:])
	to := binary.LittleEndian.Uint32(worked[slotSize*v.slot+4:])
	if from > to {
		return nil, false
	}
	return worked[from:to:to], true
}

// append appends the value in the form in which it is written.
func (d *dynamic) append(dst []byte, x *message.Exchange) ([]byte, bool, message.Reason) {
	switch d.use {
	case forHeader:
		return d.template.Append(dst, x, expr.HeaderValue)
	case forHost:
		return d.appendHost(dst, x)
	}
	n := len(dst)
	dst, ok, _ := d.template.Append(dst, x, expr.None)
	if !ok {
		return dst, false, message.PathValueInvalid
	}
	// The form to write is built behind the plain one and moved over it.
	m := len(dst)
	dst = message.AppendQueryValue(append(dst, d.prefix...), dst[n:m])
	return dst[:n+copy(dst[n:], dst[m:])], true, message.ReasonNone
}

// appendHost appends the host, in its canonical form, with the port if it has one.
func (d *dynamic) appendHost(dst []byte, x *message.Exchange) ([]byte, bool, message.Reason) {
	n := len(dst)
	dst, ok, reason := d.template.Append(dst, x, expr.HeaderValue)
	if !ok {
		return dst, false, reason
	}
	m := len(dst)
	out, port, reason := message.ParseAuthority(dst, dst[n:m])
	if reason != message.ReasonNone {
		return dst[:n], false, reason
	}
	out = appendPort(out, port)
	return out[:n+copy(out[n:], out[m:])], true, message.ReasonNone
}

func appendPort(host, port []byte) []byte {
	if len(port) == 0 {
		return host
	}
	return append(append(host, ':'), port...)
}
