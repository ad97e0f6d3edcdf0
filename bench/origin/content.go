package origin

import "math/rand/v2"

// contentPeriod is how often the content of a transfer repeats. It is a prime, so that no loss, repetition or exchange of pages, pipes
// or buffers, whose sizes are powers of two, goes unseen.
const contentPeriod = 65521

// contentRun is the longest piece that Content.From returns.
const contentRun = 256 << 10

// Content is what large transfers carry: bytes that tell at which offset they belong. It is safe for concurrent use.
type Content struct {
	bytes []byte
}

// NewContent makes the content; every call makes the same.
func NewContent() Content {
	random := rand.NewChaCha8([32]byte{'c', 'o', 'n', 't', 'e', 'n', 't'})
	b := make([]byte, contentPeriod+contentRun)
	_, _ = random.Read(b[:contentPeriod])
	for n := contentPeriod; n < len(b); n += copy(b[n:], b[:contentPeriod]) {
	}
	return Content{b}
}

// From returns the content from an offset on: most bytes, or 256 KiB if that is less. The caller must not change it.
func (c Content) From(offset int64, most int) []byte {
	i := int(offset % contentPeriod)
	return c.bytes[i : i+min(most, contentRun)]
}

// What the sink answers to a transfer. Both are equally long.
const (
	Complete = "complete"
	Spoiled  = "spoiled\n"
)
