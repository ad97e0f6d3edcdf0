package compose

import (
	"github.com/sluice-gateway/sluice/message"
)

// maxVarying is how many fields of the client's request the answer can be said to depend on. A step with more is rare enough not to be kept.
const maxVarying = 64

// varyingFields returns the fields of the client's request that reach a step: a part that varies by one of them makes the whole vary by it. What else
// parts vary by does not come from the client, and is the same for all.
func varyingFields(steps []step) []message.Name {
	names := []message.Name{message.AcceptLanguage.Name()}
	add := func(n message.Name) {
		for _, known := range names {
			if message.EqualFold([]byte(known.String()), n.String()) {
				return
			}
		}
		names = append(names, n)
	}
	for i := range steps {
		for _, n := range steps[i].pass {
			add(n)
		}
		for _, f := range steps[i].headers {
			if _, fixed := f.value.Const(); !fixed {
				add(f.name)
			}
		}
	}
	return names
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
			if string(name) == "*" {
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
