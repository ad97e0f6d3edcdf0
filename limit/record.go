package limit

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/redis/rueidis"
)

// DefaultLease is how long a claim outlives the program that made it, if the options do not say.
const DefaultLease = 10 * time.Second

// RecordsOptions are those of Records.
type RecordsOptions struct {
	// Store is where the records are; required. It has to outlive them, and should serve no limits: a record may be large, and requests would wait for it.
	Store *Store
	// Name tells records of one store apart.
	Name string
	// Lease is how long a claim outlives the program that made it; 0 means DefaultLease.
	Lease time.Duration
}

// Records are values in a Store that one of several instances works out while the others wait for it. Who comes first claims a key; its claim is renewed
// until it has a value or gives up, and ends by itself a while after the program has.
//
// All methods may be called by any goroutine. Those that ask the store wait for no longer than its timeout.
type Records struct {
	store *Store
	names string // what the names of all keys begin with
	lease time.Duration

	mu     sync.Mutex        // guards claims; held for one step of a map
	claims map[Key]claimText // that have to be renewed

	stop chan struct{}
	done chan struct{}
	once sync.Once
}

// Key is what a record is found by: a hash of whatever it is about.
type Key [32]byte

// claimText is what the store holds of a claim: claimMark, who has made it, and what it is about.
type claimText string

// The first byte of what is in the store.
const (
	claimMark = 'c'
	valueMark = 'v'
)

// claimIDLength is how many bytes behind the mark say who has made a claim.
const claimIDLength = 16

// Found is what a store has of a key.
type Found uint8

const (
	// Unknown says that the store could not be asked, or has what is none of this program's.
	Unknown Found = iota
	// Nothing is there. From Claim it says that the caller has claimed the key now.
	Nothing
	// Claimed says that another works the value out.
	Claimed
	// Valued says that there is a value.
	Valued
)

// Record is what a store has of a key.
type Record struct {
	Found Found
	// Value is what is known: of a claim what it is about, of a value all of it.
	Value []byte
	// By tells claims of a key apart.
	By string
}

// NewRecords returns the records of a name. Close ends the goroutine that renews claims.
func NewRecords(o RecordsOptions) (*Records, error) {
	if o.Store == nil {
		return nil, errors.New("records need a store")
	}
	if o.Lease <= 0 {
		o.Lease = DefaultLease
	}
	r := &Records{
		store: o.Store, names: o.Store.o.Prefix + "record:" + o.Name + ":", lease: o.Lease, claims: make(map[Key]claimText),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	go r.run()
	return r, nil
}

// Ended returns a channel that Close closes.
func (r *Records) Ended() <-chan struct{} { return r.stop }

// name is what the store calls a key.
func (r *Records) name(k Key) string { return r.names + hex.EncodeToString(k[:]) }

// Claim claims a key, unless there is something already, which it returns. about is what others are told of the claim. Where the store could not be asked, it may
// have the claim all the same: it is treated as the caller's, and the store gets it when it is back, unless there is another's by then.
func (r *Records) Claim(k Key, about []byte) Record {
	text := make([]byte, 1+claimIDLength, 1+claimIDLength+len(about))
	text[0] = claimMark
	_, _ = rand.Read(text[1:]) // never fails
	text = append(text, about...)
	mine := claimText(text)
	var found Record
	ok := r.store.call(func(ctx context.Context, l *link) error {
		reply, err := l.script(ctx, claimScript, r.name(k), string(mine), milliseconds(r.lease))
		if err != nil && !rueidis.IsRedisNil(err) {
			return err
		}
		found = read(reply)
		return nil
	})
	if !ok {
		found = Record{}
	}
	if found.Found == Nothing || found.Found == Unknown {
		r.mu.Lock()
		r.claims[k] = mine
		r.mu.Unlock()
	}
	return found
}

// Look returns what there is of a key.
func (r *Records) Look(k Key) Record {
	var found Record
	ok := r.store.call(func(ctx context.Context, l *link) error {
		reply, err := l.Do(ctx, l.B().Get().Key(r.name(k)).Build()).ToString()
		if err != nil && !rueidis.IsRedisNil(err) {
			return err
		}
		found = read(reply)
		return nil
	})
	if !ok {
		return Record{}
	}
	return found
}

// Keep ends a claim with a value, which is kept for a time, and reports whether the store has it. A claim or a value of another, which there may be when the
// store was away, is left as it is.
func (r *Records) Keep(k Key, value []byte, keep time.Duration) bool {
	mine := r.forget(k)
	kept := false
	text := append(append(make([]byte, 0, 1+len(value)), valueMark), value...)
	ok := r.store.call(func(ctx context.Context, l *link) error {
		reply, err := l.script(ctx, keepScript, r.name(k), string(mine), rueidis.BinaryString(text), milliseconds(keep))
		kept = reply == "1"
		return err
	})
	return ok && kept
}

// Drop ends a claim without a value.
func (r *Records) Drop(k Key) {
	mine := r.forget(k)
	if mine == "" {
		return
	}
	// What cannot be dropped ends by itself.
	_ = r.store.call(func(ctx context.Context, l *link) error {
		_, err := l.script(ctx, dropScript, r.name(k), string(mine))
		return err
	})
}

// forget ends the renewing of a claim, and returns it; "" if there was none.
func (r *Records) forget(k Key) claimText {
	r.mu.Lock()
	defer r.mu.Unlock()
	mine := r.claims[k]
	delete(r.claims, k)
	return mine
}

// Close ends the renewing: claims that are still there end a lease later.
func (r *Records) Close() {
	r.once.Do(func() { close(r.stop) })
	<-r.done
}

// run is the goroutine that renews claims.
func (r *Records) run() {
	defer close(r.done)
	tick := time.NewTicker(r.lease / 3)
	defer tick.Stop()
	for {
		select {
		case <-r.stop:
			return
		case <-tick.C:
			r.renew()
		}
	}
}

// claim is one that was made here.
type claim struct {
	key  Key
	text claimText
}

// renew renews the claims. Those that the store has lost, because it was started anew, it gets again.
func (r *Records) renew() {
	r.mu.Lock()
	all := make([]claim, 0, len(r.claims))
	for k, text := range r.claims {
		all = append(all, claim{k, text})
	}
	r.mu.Unlock()
	for len(all) > 0 {
		batch := all[:min(len(all), settleBatch)]
		all = all[len(batch):]
		if !r.each(batch, renewScript, milliseconds(r.lease)) {
			return // at the next tick
		}
		// One that was dropped meanwhile may have come back by this.
		_ = r.each(slices.DeleteFunc(batch, r.wanted), dropScript)
	}
}

// wanted reports whether a claim is still to be renewed.
func (r *Records) wanted(c claim) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.claims[c.key] == c.text
}

// each runs a script for claims, in one go.
func (r *Records) each(claims []claim, script string, args ...string) bool {
	if len(claims) == 0 {
		return true
	}
	return r.store.call(func(ctx context.Context, l *link) error {
		commands := make([]rueidis.Completed, len(claims))
		for i, c := range claims {
			commands[i] = l.B().Eval().Script(script).Numkeys(1).Key(r.name(c.key)).Arg(string(c.text)).Arg(args...).Build()
		}
		for _, reply := range l.DoMulti(ctx, commands...) {
			if err := reply.Error(); err != nil {
				return err
			}
		}
		return nil
	})
}

// script runs one of the scripts of records. They are sent by their text: the server keeps what it has compiled, and next to a record their few bytes do not count.
func (l *link) script(ctx context.Context, script, key string, args ...string) (string, error) {
	reply := l.Do(ctx, l.B().Eval().Script(script).Numkeys(1).Key(key).Arg(args...).Build())
	if err := reply.Error(); err != nil {
		return "", err
	}
	return reply.ToString()
}

// milliseconds writes a time as the store reads it.
func milliseconds(d time.Duration) string { return strconv.FormatInt(max(1, d.Milliseconds()), 10) }

// read reads what the store has of a key.
func read(text string) Record {
	switch {
	case text == "":
		return Record{Found: Nothing}
	case text[0] == claimMark && len(text) >= 1+claimIDLength:
		return Record{Found: Claimed, Value: []byte(text[1+claimIDLength:]), By: text[1 : 1+claimIDLength]}
	case text[0] == valueMark:
		return Record{Found: Valued, Value: []byte(text[1:])}
	}
	return Record{} // somebody else's
}
