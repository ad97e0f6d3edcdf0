package compose

import (
	"github.com/sluice-gateway/sluice/message"
)

// maxVarying is how many fields of the client's request the answer can be said to depend on. A step with more is rare enough not to be kept.
const maxVarying = 64

// varyingFields returns the fields of a step's request that come from the client's: a part that varies by one of them makes the whole vary by it. By the
// fields in hidden no cache in front could tell requests apart: they are made of other things, or tell who calls and are set behind it. A part that varies
// by one of those makes a whole that is not to be kept. What else parts vary by is the same for all.
func varyingFields(steps []step) (names, hidden []message.Name) {
	for id := range message.Known {
		switch {
		case !always(id):
		case id.Flags()&message.FlagIdentity != 0:
			hidden = append(hidden, id.Name())
		default:
			names = append(names, id.Name())
		}
	}
	for i := range steps {
		for _, n := range steps[i].pass {
			names = withName(names, n)
		}
		for _, f := range steps[i].headers {
			if _, fixed := f.value.Const(); fixed {
				continue
			}
			if f.copied {
				names = withName(names, f.name)
			} else {
				hidden = withName(hidden, f.name)
			}
		}
	}
	return names, hidden
}

func withName(names []message.Name, n message.Name) []message.Name {
	if hasName(names, []byte(n.String())) {
		return names
	}
	return append(names, n)
}

func hasName(names []message.Name, name []byte) bool {
	for _, n := range names {
		if message.EqualFold(name, n.String()) {
			return true
		}
	}
	return false
}

// varies returns the places in p.varying that an answer depends on.
func (p *Plan) varies(h *message.Header, f *freshness) uint64 {
	if !h.Has(message.Vary) {
		return 0
	}
	places := uint64(0)
	for i := h.Index(varyField, 0); i >= 0; i = h.Index(varyField, i+1) {
		for rest := h.At(i).Value; len(rest) > 0; {
			var name []byte
			name, rest = cutElement(rest)
			if string(name) == "*" || hasName(p.hidden, name) {
				f.noStore = true
				continue
			}
			for n := range p.varying {
				if !message.EqualFold(name, p.varying[n].String()) {
					continue
				}
				if n >= maxVarying {
					f.noStore = true
					continue
				}
				places |= 1 << n
			}
		}
	}
	return places
}

// appendVary appends the names of fields as a list.
func (p *Plan) appendVary(b []byte, places uint64) []byte {
	for n := 0; places>>n != 0; n++ {
		if places>>n&1 == 0 {
			continue
		}
		if len(b) > 0 {
			b = append(b, ", "...)
		}
		b = append(b, p.varying[n].String()...)
	}
	return b
}
