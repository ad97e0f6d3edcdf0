package policy

import (
	"bytes"
	"fmt"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/message"
)

// headerEdit is compiled HeaderChanges.
type headerEdit struct {
	rename []headerRename
	remove []message.Name
	set    []headerValue
	add    []headerValue
}

type headerRename struct {
	from, to message.Name
	err      error // for the log, where the new name may occur only once and the old one does not
}

type headerValue struct {
	name  message.Name
	value value
}

// compileHeaders compiles h, whose names were checked when it was decoded. The values join those of the policy.
func compileHeaders(h *HeaderChanges, d direction, s *values, c *BuildContext) headerEdit {
	var e headerEdit
	for i := range h.Rename {
		r := headerRename{from: message.NameOf(h.Rename[i].Name), to: message.NameOf(h.Rename[i].Value)}
		if r.to.ID() != 0 && r.to.ID().Flags()&message.FlagSingle != 0 {
			r.err = fmt.Errorf("policy %s: several fields %s would become %s, which can occur only once", c.Name, r.from, r.to)
		}
		e.rename = append(e.rename, r)
	}
	for _, name := range h.Remove {
		e.remove = append(e.remove, message.NameOf(name))
	}
	list := func(pairs []config.Pair) []headerValue {
		var out []headerValue
		for i := range pairs {
			name := message.NameOf(pairs[i].Name)
			u := forHeader
			if name.ID() == message.Host && d == ofRequest {
				u = forHost
			}
			out = append(out, headerValue{name: name, value: s.compile(&pairs[i], u, d, c)})
		}
		return out
	}
	e.set, e.add = list(h.Set), list(h.Add)
	return e
}

// refuse returns why the changes cannot be made to h. Which of several fields a backend would believe is not for the proxy to choose.
func (e *headerEdit) refuse(h *message.Header, d direction) *message.Failure {
	for i := range e.rename {
		r := &e.rename[i]
		if r.err == nil {
			continue
		}
		if first := h.Index(r.from, 0); first >= 0 && h.Index(r.from, first+1) >= 0 {
			if d == ofResponse {
				return &message.Failure{Reason: message.UpstreamResponseInvalid, Side: message.SideUpstream, Stage: message.StageReceive, Err: r.err}
			}
			return &message.Failure{Reason: message.HeaderRepeated, Side: message.SideClient, Stage: message.StageRoute, Err: r.err}
		}
	}
	return nil
}

// apply makes the changes. worked are the values of the exchange.
func (e *headerEdit) apply(h *message.Header, x *message.Exchange, worked []byte) {
	for i := range e.rename {
		if r := &e.rename[i]; h.Index(r.from, 0) >= 0 {
			h.Remove(r.to)
			h.Rename(r.from, r.to)
		}
	}
	for _, name := range e.remove {
		h.Remove(name)
	}
	for i := range e.set {
		f := &e.set[i]
		text, ok := f.value.of(worked)
		switch {
		case ok && f.name.ID() == message.Host:
			setHost(x, text)
		case ok:
			h.Set(f.name, text)
		case f.name.ID() != message.Host:
			// A client's own copy must not stand where a value of the proxy's is expected.
			h.Remove(f.name)
		}
	}
	for i := range e.add {
		if text, ok := e.add[i].value.of(worked); ok {
			h.Add(e.add[i].name, text)
		}
	}
}

// setHost sets the authority that the backend sees. text lives as long as the exchange. The codec writes the field Host from it, and the
// field in the header is kept the same, so that there is one view of it.
func setHost(x *message.Exchange, text []byte) {
	x.Request.Host, x.Request.Port = text, nil
	// The last colon begins the port, unless it stands within the brackets of an IPv6 address.
	if i := bytes.LastIndexByte(text, ':'); i > bytes.LastIndexByte(text, ']') {
		x.Request.Host, x.Request.Port = text[:i:i], text[i+1:]
	}
	x.Request.Header.Set(message.Host.Name(), text)
}
