package proxy

import (
	"bytes"

	"github.com/sluice-gateway/sluice/expr"
	"github.com/sluice-gateway/sluice/message"
)

// Rewrite changes what is sent to the backend, after all policies.
type Rewrite struct {
	Path   *expr.Template // nil to leave it
	Host   *expr.Template // nil to leave it
	Method message.Method
	Named  bool // there is a method
}

// apply changes the request, or says why it cannot be sent.
func (w *Rewrite) apply(x *message.Exchange) message.Reason {
	r := &x.Request
	if w.Path != nil {
		path, ok, reason := w.Path.Append(x.Scratch(), x, expr.Path)
		if reason != message.ReasonNone {
			return reason
		}
		if !ok || len(path) == 0 || path[0] != '/' {
			return message.PathValueInvalid
		}
		r.Path = x.KeepScratch(path)
	}
	if w.Host != nil {
		text, ok, reason := w.Host.Append(x.Scratch(), x, expr.HeaderValue)
		if reason != message.ReasonNone {
			return reason
		}
		if !ok {
			return message.ExpressionFailed
		}
		text = x.KeepScratch(text)
		host, port, reason := message.ParseAuthority(x.Scratch(), text)
		if reason != message.ReasonNone {
			return reason
		}
		r.Host, r.Port = x.KeepScratch(host), bytes.Clone(port)
		r.Header.Set(message.Host.Name(), text)
	}
	if w.Named {
		r.Method = w.Method
	}
	return message.ReasonNone
}

// undo gives the request its method back when it was answered. Behind a HEAD comes no body, whatever length it tells, and the client asked for one.
func (w *Rewrite) undo(x *message.Exchange, method message.Method) {
	if !w.Named {
		return
	}
	if w.Method.Known == message.HEAD && method.Known != message.HEAD {
		x.Response.Length = 0
	}
	x.Request.Method = method
}
