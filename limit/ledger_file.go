package limit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// The file of a ledger has two buckets. In "meta" stand the version of the format and the seed of the digests. In "quota" there is a bucket for
// each scope, in it one for each term, named by its first second and the second after its last, and in that one value for each key: what it has
// used, under its digest. A term that is over goes with its bucket.

// The names in a ledger file.
const (
	ledgerMeta    = "meta"
	ledgerVersion = "version"
	ledgerSeed    = "seed"
	ledgerQuotas  = "quota"
)

// ledgerFormat is the version of the format that this program reads and writes. Read-only.
var ledgerFormat = []byte("1")

// errDamaged is what a file is that cannot be understood.
var errDamaged = errors.New("it is damaged")

// ledgerFile is an open file. Its owner calls one method at a time.
type ledgerFile struct {
	path string
	db   *bbolt.DB
	seed seed
}

// openLedgerFile opens or makes a file and looks through all of it.
func openLedgerFile(path string, patience time.Duration) (*ledgerFile, error) {
	f := &ledgerFile{path: path}
	var handle *os.File
	err := f.guard(func() (err error) {
		f.db, err = bbolt.Open(path, 0o600, &bbolt.Options{
			Timeout: patience, FreelistType: bbolt.FreelistMapType,
			OpenFile: func(name string, flag int, mode os.FileMode) (file *os.File, err error) {
				file, err = os.OpenFile(name, flag, mode)
				handle = file
				return file, err
			},
		})
		return err
	})
	if err != nil {
		if f.db == nil && handle != nil {
			_ = handle.Close() // the library has failed in the midst of it; this ends its lock as well
		}
		return nil, err
	}
	if err := f.guard(f.begin); err != nil {
		_ = f.close()
		return nil, err
	}
	return f, nil
}

// guard runs f and makes an error of whatever happens. The library takes the file as it finds it: a page that is none makes it panic, and one that
// is beyond the end of the file a fault.
func (f *ledgerFile) guard(run func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = f.explain(fmt.Errorf("%w (%v)", errDamaged, p))
		}
	}()
	return f.explain(run())
}

// explain says what an error is about and what to do.
func (f *ledgerFile) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, berrors.ErrTimeout):
		return fmt.Errorf("the ledger of quotas %s is in use by another process: give each program a state directory of its own", f.path)
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrVersionMismatch), errors.Is(err, berrors.ErrChecksum), errors.Is(err, errDamaged):
		return fmt.Errorf("the ledger of quotas %s cannot be used: %w: move it away to begin with empty quotas, or put a copy in its place", f.path, err)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("the ledger of quotas: %w: let the program's user read and write it", err)
	}
	return fmt.Errorf("the ledger of quotas %s: %w", f.path, err)
}

// begin checks what is there and reads the seed, or makes both.
func (f *ledgerFile) begin() error {
	info, err := os.Stat(f.path)
	if err != nil {
		return err
	}
	err = f.db.View(func(tx *bbolt.Tx) error {
		if tx.Size() > info.Size() {
			return fmt.Errorf("%w (it has %d bytes of %d)", errDamaged, info.Size(), tx.Size())
		}
		return walk(tx)
	})
	if err != nil {
		return err
	}
	return f.db.Update(func(tx *bbolt.Tx) error {
		meta, err := tx.CreateBucketIfNotExists([]byte(ledgerMeta))
		if err != nil {
			return err
		}
		if _, err := tx.CreateBucketIfNotExists([]byte(ledgerQuotas)); err != nil {
			return err
		}
		switch version := meta.Get([]byte(ledgerVersion)); {
		case version == nil:
			f.seed = newSeed()
			return errors.Join(meta.Put([]byte(ledgerVersion), ledgerFormat), meta.Put([]byte(ledgerSeed), f.seed.bytes()))
		case string(version) != string(ledgerFormat):
			return fmt.Errorf("%w (its format is %.20q, and %q is known)", errDamaged, version, ledgerFormat)
		}
		text := meta.Get([]byte(ledgerSeed))
		if len(text) != 16 {
			return fmt.Errorf("%w (it has no seed)", errDamaged)
		}
		f.seed = seedOf(text)
		return nil
	})
}

// walk reads everything once.
func walk(tx *bbolt.Tx) error {
	return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
		if string(name) == ledgerQuotas {
			return b.ForEachBucket(func(scope []byte) error {
				return eachTerm(b.Bucket(scope), func(_ term, _ []byte, counts *bbolt.Bucket) error {
					return eachCount(counts, func(digest, int64) {})
				})
			})
		}
		return b.ForEach(func(_, _ []byte) error { return nil })
	})
}

// eachTerm calls visit for each term of a scope.
func eachTerm(scope *bbolt.Bucket, visit func(t term, name []byte, counts *bbolt.Bucket) error) error {
	return scope.ForEach(func(name, value []byte) error {
		if value != nil || len(name) != 16 {
			return fmt.Errorf("%w (a term has the name %.32x)", errDamaged, name)
		}
		t := term{int64(binary.BigEndian.Uint64(name)), int64(binary.BigEndian.Uint64(name[8:]))}
		return visit(t, name, scope.Bucket(name))
	})
}

// eachCount calls visit for each key of a term.
func eachCount(counts *bbolt.Bucket, visit func(d digest, used int64)) error {
	return counts.ForEach(func(name, value []byte) error {
		if len(name) != 16 || len(value) != 8 {
			return fmt.Errorf("%w (a count has the name %.32x)", errDamaged, name)
		}
		used := int64(binary.BigEndian.Uint64(value))
		if used < 0 {
			return fmt.Errorf("%w (a count is less than nothing)", errDamaged)
		}
		visit(digest{binary.BigEndian.Uint64(name), binary.BigEndian.Uint64(name[8:])}, used)
		return nil
	})
}

// pair writes two numbers so that they are sorted as numbers.
func pair(a, b uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(make([]byte, 0, 16), a), b)
}

// load calls visit for each count of a term.
func (f *ledgerFile) load(scope string, t term, visit func(c count)) error {
	return f.guard(func() error {
		return f.db.View(func(tx *bbolt.Tx) error {
			b := tx.Bucket([]byte(ledgerQuotas)).Bucket([]byte(scope))
			if b == nil {
				return nil
			}
			return eachTerm(b, func(found term, _ []byte, counts *bbolt.Bucket) error {
				if found.start != t.start { // its end may have moved with the rules of the zone
					return nil
				}
				return eachCount(counts, func(d digest, used int64) { visit(count{d, t.start, used}) })
			})
		})
	})
}

// save writes counts in one transaction. current is the term that forgotten keys are deleted from.
func (f *ledgerFile) save(scope string, current term, c *calendar, counts []count) error {
	return f.guard(func() error {
		return f.db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.Bucket([]byte(ledgerQuotas)).CreateBucketIfNotExists([]byte(scope))
			if err != nil {
				return err
			}
			into, at := (*bbolt.Bucket)(nil), term{}
			for i := range counts {
				t := current
				if start := counts[i].start; counts[i].used > 0 && start != current.start {
					t = c.period.termOf(start, c.zone)
				}
				if into == nil || t != at {
					if into, err = b.CreateBucketIfNotExists(pair(uint64(t.start), uint64(t.end))); err != nil {
						return err
					}
					at = t
				}
				name := pair(counts[i].d.hi, counts[i].d.lo)
				if counts[i].used == 0 {
					err = into.Delete(name)
				} else {
					err = into.Put(name, binary.BigEndian.AppendUint64(nil, uint64(counts[i].used)))
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// clean deletes the terms that are over at a second, and were for long enough that a clock that is set back does not miss them.
func (f *ledgerFile) clean(unix int64) error {
	return f.guard(func() error {
		var over [][2]string // scope and term
		err := f.db.View(func(tx *bbolt.Tx) error {
			quotas := tx.Bucket([]byte(ledgerQuotas))
			return quotas.ForEachBucket(func(scope []byte) error {
				return eachTerm(quotas.Bucket(scope), func(t term, name []byte, _ *bbolt.Bucket) error {
					if t.end+clockStep < unix {
						over = append(over, [2]string{string(scope), string(name)})
					}
					return nil
				})
			})
		})
		if err != nil || len(over) == 0 {
			return err
		}
		return f.db.Update(func(tx *bbolt.Tx) error {
			quotas := tx.Bucket([]byte(ledgerQuotas))
			for _, o := range over {
				scope := quotas.Bucket([]byte(o[0]))
				if err := scope.DeleteBucket([]byte(o[1])); err != nil {
					return err
				}
				if name, _ := scope.Cursor().First(); name == nil {
					if err := quotas.DeleteBucket([]byte(o[0])); err != nil {
						return err
					}
				}
			}
			return nil
		})
	})
}

func (f *ledgerFile) close() error {
	return f.guard(f.db.Close)
}
