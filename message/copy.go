package message

// CopyRequest makes dst a copy of the request of src, for another goroutine or a later moment: it shares no memory with src, and src may be reset
// before it. dst must be empty, as Reset leaves it; Reset ends the copy.
//
// The copy has no body, and length 0: a body is pulled once. Whoever wants one in the copy sets both. It has no Interim and no Bindings either,
// so that what becomes of it reaches neither the client nor what is kept for the client's connection; and no Captures, because the route is
// chosen. Who calls goes with it.
//
// Only src is read, so that another goroutine may read it at the same time.
func CopyRequest(dst, src *Exchange) {
	from, to := &src.Request, &dst.Request
	to.Protocol, to.Scheme = from.Protocol, from.Scheme
	to.Method = from.Method
	if from.Method.Known == MethodOther {
		to.Method.text = dst.Keep(from.Method.text)
	}
	to.Host, to.Port = dst.copied(from.Host), dst.copied(from.Port)
	to.Path, to.Query, to.RawPath = dst.copied(from.Path), dst.copied(from.Query), dst.copied(from.RawPath)
	to.HasSlash = from.HasSlash
	to.Header.CopyFrom(&from.Header)
	to.Body, to.Length = NoBody{}, 0
	to.WantsTrailers, to.Trailers = from.WantsTrailers, from.Trailers
	to.Upgrade = dst.copied(from.Upgrade)
	dst.Client = src.Client
	dst.Identity, dst.Version = src.Identity, src.Version
	dst.ID = dst.copied(src.ID)
	dst.Deadline = src.Deadline
	dst.Times.Start, dst.Times.Read, dst.Times.Routed = src.Times.Start, src.Times.Read, src.Times.Routed
}

// copied is Keep, but nil stays nil and empty stays empty: a query that is not there is another than one that is empty.
func (x *Exchange) copied(b []byte) []byte {
	if len(b) == 0 {
		return b[:0:0]
	}
	return x.Keep(b)
}
