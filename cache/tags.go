package cache

import (
	"sync"

	"github.com/sluice-gateway/sluice/message"
)

// tagIndex finds entries by the tags that their services have given them in Cache-Tag. It holds nothing but links of stored entries, which count
// towards the bound of the store.
type tagIndex struct {
	mu   sync.Mutex // guards what follows, and the tags of entries; held for a few links, or for the entries of one tag
	tags map[string]*tagLink

	purges [maxPurges]tagPurge // the last ones, in a ring
	next   int
}

// tagPurge is a purge of a tag: answers that were asked for before it are not stored after it.
type tagPurge struct {
	tag string
	at  int64
}

// maxPurges is how many purges are remembered. Where more come while an answer is on its way, it is not stored if it has any tag.
const maxPurges = 256

// tagLink is one tag of one entry, in the list of the entries with this tag.
type tagLink struct {
	tag        string
	entry      *Entry
	prev, next *tagLink
	listed     bool
}

// Bounds of what is taken from Cache-Tag; what is beyond them is left out.
const (
	maxTags = 64
	maxTag  = 256
)

// weight is what a tag counts for.
func (l *tagLink) weight() int64 { return int64(128 + 2*len(l.tag)) }

func (t *tagIndex) init() { t.tags = make(map[string]*tagLink) }

// tagsOf reads the tags of an answer, each once. They are compared as they are written.
func tagsOf(h *message.Header) []tagLink {
	if !h.Has(message.CacheTag) {
		return nil
	}
	var links []tagLink
	for i := range h.Len() {
		f := h.At(i)
		if f.ID != message.CacheTag {
			continue
		}
		for e, rest, ok := message.NextElement(f.Value); ok && len(links) < maxTags; e, rest, ok = message.NextElement(rest) {
			if len(e) <= maxTag && !tagged(links, e) {
				links = append(links, tagLink{tag: string(e)})
			}
		}
	}
	return links
}

func tagged(links []tagLink, tag []byte) bool {
	for i := range links {
		if links[i].tag == string(tag) {
			return true
		}
	}
	return false
}

// add enters the tags of e.
func (t *tagIndex) add(e *Entry) {
	if len(e.tags) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range e.tags {
		l := &e.tags[i]
		l.entry, l.listed = e, true
		if l.next = t.tags[l.tag]; l.next != nil {
			l.next.prev = l
		}
		t.tags[l.tag] = l
	}
}

// remove takes the tags of e out.
func (t *tagIndex) remove(e *Entry) {
	if len(e.tags) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range e.tags {
		l := &e.tags[i]
		if !l.listed {
			continue
		}
		l.listed = false
		if l.next != nil {
			l.next.prev = l.prev
		}
		switch {
		case l.prev != nil:
			l.prev.next = l.next
		case l.next != nil:
			delete(t.tags, l.tag) // the map's key would keep the memory of an entry that is gone
			t.tags[l.next.tag] = l.next
		default:
			delete(t.tags, l.tag)
		}
		l.prev, l.next = nil, nil
	}
}

// purgedSince reports whether a tag of e was purged after a moment.
func (t *tagIndex) purgedSince(e *Entry, moment int64) bool {
	if len(e.tags) == 0 {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	recent := 0
	for i := range t.purges {
		p := &t.purges[i]
		if p.tag == "" || p.at <= moment {
			continue
		}
		recent++
		for l := range e.tags {
			if e.tags[l].tag == p.tag {
				return true
			}
		}
	}
	return recent == maxPurges
}

// purge notes that a tag is purged now, and returns the entries with it.
func (t *tagIndex) purge(tag string, now int64) []*Entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.purges[t.next] = tagPurge{tag, now}
	t.next = (t.next + 1) % maxPurges
	var all []*Entry
	for l := t.tags[tag]; l != nil; l = l.next {
		all = append(all, l.entry)
	}
	return all
}
