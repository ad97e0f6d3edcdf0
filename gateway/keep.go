package gateway

// keep is a pool of things that outlive a generation. Each has a key, by which the next
// generation finds it again, and a count of the generations that use it; the last one that lets
// go ends it. The gateway's lock guards it.
type keep[K comparable, V any] struct {
	kept map[K]*kept[V]
	end  func(V)
}

type kept[V any] struct {
	value V
	users int
}

func newKeep[K comparable, V any](end func(V)) *keep[K, V] {
	return &keep[K, V]{kept: make(map[K]*kept[V]), end: end}
}

// acquire returns the thing under key, made if there is none yet.
func (p *keep[K, V]) acquire(key K, open func() (V, error)) (V, error) {
	if k, ok := p.kept[key]; ok {
		k.users++
		return k.value, nil
	}
	v, err := open()
	if err != nil {
		return v, err
	}
	p.kept[key] = &kept[V]{value: v, users: 1}
	return v, nil
}

// release lets go of the thing under key. If nobody uses it any more it is out of the pool, and
// last ends it: without the gateway's lock, because that may take a while. Else last is nil.
func (p *keep[K, V]) release(key K) (last func()) {
	k, ok := p.kept[key]
	if !ok {
		return nil
	}
	if k.users--; k.users > 0 {
		return nil
	}
	delete(p.kept, key)
	return func() { p.end(k.value) }
}

// each calls f with everything in the pool.
func (p *keep[K, V]) each(f func(V)) {
	for _, k := range p.kept {
		f(k.value)
	}
}
