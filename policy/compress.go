package policy

import (
	"bytes"
	"slices"
	"strings"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/message"
)

// CompressOptions compresses responses for clients that accept it. A response is sent on as it comes: what a backend pauses behind is not held back.
//
// Left as they are: what is compressed already, what says no-transform, parts of a whole (206), and answers without a body. A compressed response has a
// weak entity tag, and `Vary: Accept-Encoding`.
type CompressOptions struct {
	// Encodings in the order of preference between those that the client wants equally.
	Encodings []string `yaml:"encodings,single" default:"br,zstd,gzip" enum:"br zstd gzip" min:"1" max:"3"`
	// MinSize is the size from which a response is compressed, where it is known.
	MinSize config.Size `yaml:"min_size" default:"256B" min:"0" max:"1GiB"`
	// Types are the media types that are compressed. `text/*` stands for all of a kind, application/json also for those that end with +json, and
	// application/xml for +xml.
	Types []string `yaml:"types,single" max:"64" default:"text/*,application/json,application/xml,application/javascript,application/manifest+json,application/wasm,application/x-ndjson,image/svg+xml,font/ttf,font/otf"`
	// Levels say how much time is spent.
	Levels CompressLevels `yaml:"levels"`
}

// CompressLevels are the levels of the encodings: higher ones make less bytes of more time.
type CompressLevels struct {
	// BR is the quality of brotli.
	BR int `yaml:"br" default:"4" min:"0" max:"6"`
	// Zstd is the level of zstd: 1 is the fastest, 2 the usual and 3 better.
	Zstd int `yaml:"zstd" default:"2" min:"1" max:"3"`
	// Gzip is the level of gzip.
	Gzip int `yaml:"gzip" default:"5" min:"1" max:"9"`
}

// Check reports types that are none, and what is written twice.
func (o *CompressOptions) Check(r *config.Reporter) {
	once := repeats{r: r, key: "encodings"}
	for i := range o.Encodings {
		once.see(r.At(&o.Encodings[i]), o.Encodings[i])
	}
	once = repeats{r: r, key: "types", fold: true}
	for i := range o.Types {
		at := r.At(&o.Types[i])
		kind, sub, ok := strings.Cut(o.Types[i], "/")
		if !ok || !message.ValidToken([]byte(kind)) || !message.ValidToken([]byte(sub)) || kind == "*" {
			r.AddSuggest(at, "write text/* or application/json", "types: %q is no media type without parameters", o.Types[i])
		}
		once.see(at, o.Types[i])
	}
}

// compressPolicy compresses responses.
type compressPolicy struct {
	codings []*coding
	minSize int64
	types   []string
}

func newCompress(o *CompressOptions, c *BuildContext) any {
	p := &compressPolicy{minSize: int64(o.MinSize)}
	for _, t := range o.Types {
		p.types = append(p.types, strings.ToLower(t))
	}
	m := c.encoderMemory()
	for _, name := range o.Encodings {
		p.codings = append(p.codings, newCoding(name, &o.Levels, m))
	}
	return p
}

// OnResponse implements Response.
func (p *compressPolicy) OnResponse(x *message.Exchange) error {
	r := &x.Response
	h := &r.Header
	switch {
	case r.Tunnel != nil, r.Status < 200, r.Status == 204, r.Status == 205, r.Status == 206:
		return nil
	case isEncoded(h), h.Has(message.ContentRange), !p.compresses(mediaType(h)):
		return nil
	case h.HasToken(message.CacheControl, "no-transform"), x.Request.Header.HasToken(message.CacheControl, "no-transform"):
		return nil
	case r.Length >= 0 && r.Length < p.minSize && r.Status != 304 && x.Request.Method.Known != message.HEAD:
		return nil
	}
	varyBy(h, message.AcceptEncoding.String())
	if r.Status == 304 || x.Request.Method.Known == message.HEAD || r.Length == 0 {
		return nil
	}
	c := p.choose(&x.Request.Header)
	if c == nil {
		return nil
	}
	e := c.take()
	if e == nil {
		return nil // there is no room for another encoder: it goes as it is
	}
	r.Body = &compressed{source: r.Body, coding: c, encoder: e}
	r.Length = message.LengthUnknown
	changedHeader(h)
	h.Set(contentEncoding, c.value)
	return nil
}

// compresses reports whether responses of the type t are compressed.
func (p *compressPolicy) compresses(t []byte) bool {
	if len(t) == 0 {
		return false
	}
	for _, want := range p.types {
		if message.EqualFold(t, want) {
			return true
		}
		if kind, ok := strings.CutSuffix(want, "*"); ok && len(t) > len(kind) && message.EqualFold(t[:len(kind)], kind) {
			return true
		}
		if _, sub, _ := strings.Cut(want, "/"); (want == "application/json" || want == "application/xml") && hasSuffixFold(t, "+"+sub) {
			return true
		}
	}
	return false
}

func hasSuffixFold(t []byte, suffix string) bool {
	return len(t) > len(suffix) && message.EqualFold(t[len(t)-len(suffix):], suffix)
}

// varyBy adds a name to Vary, if it is not there (RFC 9110 section 12.5.5).
func varyBy(h *message.Header, name string) {
	if !h.HasToken(message.Vary, "*") && !h.HasToken(message.Vary, name) {
		h.Add(message.Vary.Name(), []byte(name))
	}
}

// choose returns the encoding that the client likes best, nil for none (RFC 9110 section 12.5.3).
func (p *compressPolicy) choose(h *message.Header) *coding {
	if !h.Has(message.AcceptEncoding) {
		return nil
	}
	var liked [maxCodings]int // in thousandths; -1 where the client says nothing
	for i := range liked {
		liked[i] = -1
	}
	others, plain := 0, 0
	for i := range h.Len() {
		if f := h.At(i); f.ID == message.AcceptEncoding {
			for element, rest, ok := message.NextElement(f.Value); ok; element, rest, ok = message.NextElement(rest) {
				name, q := weighted(element)
				switch {
				case string(name) == "*":
					others = q
				case message.EqualFold(name, "identity"):
					plain = q
				default:
					if n := p.index(name); n >= 0 {
						liked[n] = q
					}
				}
			}
		}
	}
	best, most := -1, 0
	for n := range p.codings {
		q := liked[n]
		if q < 0 {
			q = others
		}
		if q > most {
			best, most = n, q
		}
	}
	if best < 0 || plain > most {
		return nil
	}
	return p.codings[best]
}

// maxCodings is how many encodings there are.
const maxCodings = 3

func (p *compressPolicy) index(name []byte) int {
	return slices.IndexFunc(p.codings, func(c *coding) bool {
		return message.EqualFold(name, c.name) || c.name == "gzip" && message.EqualFold(name, "x-gzip")
	})
}

// weighted splits an element of a list into its name and its weight in thousandths. A weight that cannot be read is 0: what is not understood is not wanted.
func weighted(element []byte) (name []byte, q int) {
	name, parameters, ok := bytes.Cut(element, []byte(";"))
	name = message.TrimSpace(name)
	if !ok {
		return name, 1000
	}
	w := message.TrimSpace(parameters)
	if len(w) < 3 || w[0]|0x20 != 'q' || w[1] != '=' || w[2] != '0' && w[2] != '1' {
		return name, 0
	}
	q = int(w[2]-'0') * 1000
	if w = w[3:]; len(w) == 0 {
		return name, q
	}
	if w[0] != '.' || len(w) > 4 {
		return name, 0
	}
	for i, scale := 1, 100; i < len(w); i, scale = i+1, scale/10 {
		if w[i] < '0' || w[i] > '9' {
			return name, 0
		}
		q += int(w[i]-'0') * scale
	}
	return name, min(q, 1000)
}
