package cache

import (
	"io"
	"slices"
	"time"

	"github.com/sluice-gateway/sluice/message"
)

// Fail ends the flight with the failure of its fetch. Those who wait get a stale answer where one may be given (RFC 9111 section 4.2.4), else the
// failure. A failure by the request's own fault is the leader's alone: the others go on by themselves.
func (f *Flight) Fail(failure *message.Failure, now int64) {
	if failure.Side != message.SideClient && f.rescue(0, now) {
		return
	}
	f.delist()
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.ended {
		f.state, f.failure = failed, failure
		f.end(failure)
	}
}

// failing reports whether an answer with the status is as good as none, where a stale one may be given (RFC 5861 section 4).
func failing(status int) bool { return status == 500 || status >= 502 && status <= 504 }

// rescue ends the flight with the stale answer, if there is one and it may be given. status is that of the answer that it stands in for, or 0.
func (f *Flight) rescue(status int, now int64) bool {
	e := f.stale
	if e == nil || now >= e.terms.fallback || f.isDoomed() {
		return false
	}
	f.rules.Namespace.count(Rescued, f.hash)
	f.delist()
	f.land(e, status)
	return true
}

// isDoomed reports whether the resource was invalidated meanwhile.
func (f *Flight) isDoomed() bool {
	sh := f.res.shard
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return f.doomed
}

// land ends the flight with a complete answer.
func (f *Flight) land(e *Entry, status int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.ended {
		f.state, f.entry, f.terms, f.fwd = landed, e, e.terms, status
		f.end(nil)
	}
}

// Fill gives those who wait the response of x, the exchange of the fetch, and reads its body to the end or until nobody wants it any more; the caller
// closes it. What may be kept is stored when it is complete. now is the moment at which the head of the response had come.
func (f *Flight) Fill(x *message.Exchange, now int64) {
	p := &x.Response
	switch {
	case f.stale != nil && f.asks && p.Status == 304:
		f.freshen(&p.Header, now)
		return
	case failing(p.Status) && f.rescue(p.Status, now):
		return
	}
	if !f.begin(p, now) {
		return
	}
	for {
		piece, err := p.Body.Next()
		switch {
		case err == io.EOF:
			f.complete(now)
			return
		case err != nil:
			f.breakOff(err)
			return
		case !f.write(piece):
			f.breakOff(errAbandoned)
			return
		}
	}
}

// begin takes in the head of the answer. It reports false if nobody wants it any more.
func (f *Flight) begin(p *message.Response, now int64) bool {
	t := judge(p.Status, &p.Header, f.rules, fetched{began: f.began, now: now, authorised: f.authorised})
	spec, any := varyOf(&p.Header)
	t.kept = t.kept && !any && p.Tunnel == nil
	f.limit(&t, p)
	var values string
	if t.kept {
		values = string(spec.appendValues(nil, &f.request, nil))
	}
	f.admit(spec, values, t.kept && t.isFresh(now))
	var room [40]byte
	keptHeader(&f.header, &f.own, &p.Header, &t, appendDate(room[:0], message.WallTime(now)))

	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		return false
	}
	f.status, f.length, f.terms = p.Status, p.Length, t
	f.upAge = p.Header.Has(message.Age)
	f.keeps = t.kept
	if f.held && !t.kept {
		// The answer that was to be renewed cannot be kept any more, and nobody waits for this one.
		f.held = false
		if f.crowd == 0 {
			f.end(errAbandoned)
			return false
		}
	}
	if !f.withholds() {
		f.show()
	}
	return true
}

// limit gives up keeping what is too large, and what was stored before where the new answer must not be kept.
func (f *Flight) limit(t *terms, p *message.Response) {
	switch {
	case !t.kept:
		f.rules.Namespace.count(Unkept, f.hash)
	case p.Length > f.rules.MaxObject, p.Header.Size() > maxHeader:
		t.kept = false
		f.rules.Namespace.count(TooLarge, f.hash)
	}
	if !t.kept && f.stale != nil && p.Status < 500 {
		f.store.drop(f.stale)
	}
}

// maxHeader bounds the header of a stored answer, in bytes.
const maxHeader = 64 << 10

// admit says in the index who may join from now on.
func (f *Flight) admit(spec *vary, values string, joinable bool) {
	sh := f.res.shard
	sh.mu.Lock()
	f.joinable = f.joinable && joinable
	if f.listed && joinable {
		f.spec, f.values = spec, values
		f.res.spec = spec
	}
	sh.mu.Unlock()
}

// write appends a piece of the body. It waits while the body passes through and its readers are behind. It reports false when nobody wants more.
func (f *Flight) write(piece []byte) bool {
	for len(piece) > 0 {
		f.repay()
		tail, ok := f.tail(len(piece))
		if !ok {
			return false
		}
		n := copy(tail, piece) // behind what readers may see
		piece = piece[n:]
		f.filled += int64(n)
		f.mu.Lock()
		if f.withholds() {
			f.mu.Unlock()
			continue
		}
		f.show()
		ended := f.ended
		f.mu.Unlock()
		if ended {
			return false
		}
	}
	return true
}

// withholds reports whether all of an answer of known length has come, and is to be stored. Readers get the end of it when that has been done: whoever
// has it and asks again at once finds it in the store. The caller holds mu.
func (f *Flight) withholds() bool { return f.keeps && f.filled == f.length }

// show lets readers have what has come. The caller holds mu.
func (f *Flight) show() {
	if f.state == flying {
		f.state = growing
	}
	f.size = f.filled
	f.signal()
}

// repay gives back what was reserved for chunks that have been dropped.
func (f *Flight) repay() {
	f.mu.Lock()
	n := f.dropped
	f.grown -= n
	f.dropped = 0
	f.mu.Unlock()
	f.store.release(n)
}

// tail returns room behind what has come, for up to want bytes. The writer alone calls it.
func (f *Flight) tail(want int) ([]byte, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.filled > f.size { // there is more than the length has told
		f.show()
	}
	if f.keeps && f.filled+int64(want) > f.rules.MaxObject {
		f.giveUp()
	}
	if !f.keeps && !f.waitRoom() {
		return nil, false
	}
	if f.ended {
		return nil, false
	}
	end := f.base
	for _, c := range f.chunks {
		end += int64(cap(c))
	}
	if end == f.filled {
		f.addChunk(want)
		end += int64(cap(f.chunks[len(f.chunks)-1]))
	}
	last := f.chunks[len(f.chunks)-1]
	return last[int64(cap(last))-(end-f.filled) : cap(last)], true
}

// addChunk adds a chunk. One of a size that is not known grows with the body, so that it is at most as large as what has come. The caller holds
// mu; the lock of the store's queue is taken below it, which takes none itself.
func (f *Flight) addChunk(want int) {
	size := min(max(int64(want), f.filled, firstChunk), largeChunk)
	if f.keeps && f.length >= 0 {
		size = min(largeChunk, max(1, f.length-f.filled))
	}
	if !f.keeps && f.spare != nil {
		f.chunks = append(f.chunks, f.spare)
		f.spare = nil
		return
	}
	if f.keeps {
		f.mu.Unlock() // making room may take the locks of the index
		ok := f.store.reserve(size)
		f.mu.Lock()
		if ok {
			f.grown += size
		} else {
			f.giveUp()
		}
	}
	f.chunks = append(f.chunks, make([]byte, size))
}

// giveUp lets an answer pass through that was to be kept, because it is too large. The caller holds mu.
func (f *Flight) giveUp() {
	if !f.keeps {
		return
	}
	f.keeps = false // who has joined may read it all the same
	f.rules.Namespace.count(TooLarge, f.hash)
	f.mu.Unlock()
	f.admit(nil, "", false)
	f.mu.Lock()
	if f.held {
		f.held = false
		if f.crowd == 0 {
			f.end(errAbandoned)
		}
	}
}

// waitRoom waits until the slowest reader is near enough. One that keeps the others waiting for long is cut off. The caller holds mu; it reports
// false if the flight has ended meanwhile.
func (f *Flight) waitRoom() bool {
	var timer *time.Timer
	for !f.ended {
		window := int64(passWindow)
		if f.crowd > 1 {
			window = max(window, f.rules.MaxObject)
		}
		if f.size-f.slowest() < window {
			return true
		}
		if f.room == nil {
			f.room = make(chan struct{})
		}
		room := f.room
		var late <-chan time.Time
		if f.crowd > 1 {
			if timer == nil {
				timer = time.NewTimer(passPatience)
				defer timer.Stop()
			}
			late = timer.C
		}
		f.mu.Unlock()
		cut := false
		select {
		case <-room:
		case <-late:
			cut, timer = true, nil
		}
		f.mu.Lock()
		if cut {
			f.cutOff()
		}
	}
	return false
}

// cutOff ends the readers that are furthest behind, if others wait for them. The caller holds mu.
func (f *Flight) cutOff() {
	least, waits := f.slowest(), false
	for r := f.readers; r != nil; r = r.next {
		waits = waits || !r.cut && r.at+r.lent > least+passWindow
	}
	if !waits {
		return
	}
	for r := f.readers; r != nil; r = r.next {
		r.cut = r.cut || r.at == least
	}
	f.trim()
	f.signal()
}

// breakOff ends the flight before its end: all readers get the error, and nothing is kept.
func (f *Flight) breakOff(err error) {
	f.delist()
	f.mu.Lock()
	if !f.ended {
		f.rules.Namespace.count(Broken, f.hash)
	}
	if !f.ended {
		f.show()
	}
	f.end(err)
	grown := f.grown
	f.grown = 0
	f.mu.Unlock()
	f.store.release(grown)
}

// complete ends the flight with its last byte, and stores the answer if it is to be kept.
func (f *Flight) complete(now int64) {
	f.mu.Lock()
	if f.keeps && f.length >= 0 && f.filled != f.length && f.status != 204 {
		// The codec has taken the end of the body for its end, and the length says otherwise. What is not whole is never kept.
		f.mu.Unlock()
		f.breakOff(io.ErrUnexpectedEOF)
		return
	}
	keeps, grown := f.keeps && !f.ended, f.grown
	f.grown = 0
	f.mu.Unlock()
	if keeps {
		f.store.keep(f.entryOf(now), grown, f)
	} else {
		f.delist()
		f.store.release(grown)
	}
	f.mu.Lock()
	if !f.ended {
		f.show()
	}
	f.end(nil)
	f.mu.Unlock()
}

// entryOf makes the entry of a complete answer. The writer alone calls it: chunks are not changed any more.
func (f *Flight) entryOf(now int64) *Entry {
	e := &Entry{
		res: f.res, hash: f.hash, status: f.status, length: f.filled, terms: f.terms, stamped: now, chunks: f.compact(),
	}
	e.header.CopyFrom(&f.header)
	e.spec, _ = varyOf(&e.header)
	e.describe(&f.request)
	return e
}

// describe sets what an entry is found by, for the request that it answers, and its size.
func (e *Entry) describe(request *message.Header) {
	e.values = string(e.spec.appendValues(nil, request, nil))
	if e.spec != nil && e.spec.language >= 0 && e.header.Count(message.ContentLanguage) == 1 {
		language := e.header.Get(message.ContentLanguage)
		if message.ValidToken(language) {
			e.native = string(e.spec.appendValues(nil, request, []byte(lower(language))))
		}
	}
	e.tags = tagsOf(&e.header)
	e.terms.fields = nil // they belong to the response of the fetch
	e.weigh(len(e.res.key))
}

// compact returns the chunks as they are stored. A small body is one piece, so that a hit costs no allocation, and no chunk wastes more than a quarter.
func (f *Flight) compact() [][]byte {
	if f.filled == 0 {
		return nil
	}
	chunks := slices.Clone(f.chunks)
	last := len(chunks) - 1
	free := -f.filled
	for _, c := range chunks {
		free += int64(cap(c))
	}
	chunks[last] = chunks[last][:int64(cap(chunks[last]))-free]
	switch {
	case last > 0 && f.filled <= largeChunk:
		return [][]byte{slices.Concat(chunks...)}
	case free*4 > int64(cap(chunks[last])):
		chunks[last] = slices.Clip(append([]byte(nil), chunks[last]...))
	}
	return chunks
}

// freshen ends a validation with the answer that was stored, brought up to date by the header of a 304 (RFC 9111 section 4.3.4). The request named the
// stored answer alone, so the 304 is about it, whatever entity tag it may bear itself.
func (f *Flight) freshen(h *message.Header, now int64) {
	e := renewed(f.stale, h, f.rules, fetched{began: f.began, now: now, authorised: f.authorised})
	for i := range h.Len() {
		if field := h.At(i); field.ID == message.SetCookie {
			f.own.Add(message.SetCookie.Name(), field.Value)
		}
	}
	e.hash = f.hash
	f.rules.Namespace.count(Validated, f.hash)
	if e.terms.kept {
		f.store.keep(e, 0, f)
	} else {
		f.store.drop(f.stale)
		f.delist()
	}
	f.land(e, 304)
}

// renewed returns old with the header that h brings up to date.
func renewed(old *Entry, h *message.Header, r *Rules, q fetched) *Entry {
	e := &Entry{res: old.res, hash: old.hash, status: old.status, length: old.length, chunks: old.chunks, stamped: q.now, spec: old.spec}
	var merged message.Header
	for i := range old.header.Len() {
		f := old.header.At(i)
		if !replaced(h, f) {
			merged.Add(nameOf(f), f.Value)
		}
	}
	var added, own, judged message.Header
	var room [40]byte
	keptHeader(&added, &own, h, &terms{kept: true}, appendDate(room[:0], message.WallTime(q.now)))
	for i := range added.Len() {
		if f := added.At(i); !described(f.ID) {
			merged.Add(nameOf(f), f.Value)
		}
	}
	judged.CopyFrom(&merged)
	if age := h.Get(message.Age); age != nil {
		judged.Add(message.Age.Name(), age) // the age of the 304 counts, and is not kept
	}
	e.terms = judge(old.status, &judged, r, q)
	for i := merged.Len() - 1; i >= 0; i-- {
		if listed(e.terms.fields, merged.At(i).Name) {
			merged.RemoveAt(i)
		}
	}
	e.header.CopyFrom(&merged)
	e.values, e.native = old.values, old.native
	e.tags = tagsOf(&e.header)
	e.terms.fields = nil
	e.weigh(len(e.res.key))
	return e
}

// replaced reports whether the header of a 304 has something in place of a stored field.
func replaced(h *message.Header, f message.Field) bool {
	if described(f.ID) {
		return false
	}
	if f.ID != 0 {
		return f.ID == message.Date || h.Has(f.ID) // one without a date is of the moment at which it came
	}
	return h.Index(message.NameOf(string(f.Name)), 0) >= 0
}
