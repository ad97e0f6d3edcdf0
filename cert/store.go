package cert

import (
	"crypto/tls"
	"errors"
	"io/fs"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-gateway/sluice/metric"
)

// DefaultInterval is how often a [Store] looks whether its files have changed.
const DefaultInterval = time.Second

// Options of a [Store]. The zero value is usable.
type Options struct {
	// Interval between two looks at the files; 0 means [DefaultInterval], a negative one that only [Store.Check] looks.
	Interval time.Duration
	// Notify is called when a certificate was replaced, when its files are wrong (once until they change) and when it is near its end.
	// It is called by the goroutine that looks and by callers of Open and Check, one call at a time; it must not call the Store's
	// Check or Close. May be nil.
	Notify func(Notice)
	// Now is the clock that validity is judged by; nil means time.Now.
	Now func() time.Time

	Replaced *metric.Counter // certificates replaced because their files changed; may be nil
	Failed   *metric.Counter // changes that were refused; may be nil
}

// NoticeKind says what a [Notice] is about.
type NoticeKind uint8

// The kinds.
const (
	Replaced NoticeKind = iota + 1 // the files changed and their certificate is in use
	Refused                        // the files changed and are wrong; the certificate that was in use stays
	Warned                         // something should be done about a certificate that is in use
)

// Notice tells of a certificate in use.
type Notice struct {
	Kind  NoticeKind
	Files Files
	Err   *Error // nil for Replaced
}

// Store holds the certificates of one listener. All methods may be called by any goroutine.
type Store struct {
	current atomic.Pointer[set]
	options Options

	mu    sync.Mutex // serialises looks at the files; never held by a handshake
	watch []*watched // guarded by mu

	stop chan struct{}
	once sync.Once
	done chan struct{} // closed when the goroutine has ended
}

// watched is one certificate with the state of its files. Guarded by Store.mu.
type watched struct {
	loaded   *loaded
	cert     fs.FileInfo // what the files looked like just before they were last read; nil: could not be looked at
	key      fs.FileInfo
	wrong    bool   // the files as they are now cannot be used
	reported string // the problem that was last told, until the files are right again
	aged     string // the same for the warning about the certificate's age
}

// Open loads the certificates and starts to watch their files. The first is shown to clients that ask for no name or for one that no
// certificate has. Every file that cannot be used is in the error, an [*Error] each, joined. Close ends the watching.
func Open(files []Files, options Options) (*Store, error) {
	if len(files) == 0 {
		return nil, errors.New("no certificate is given: name at least one cert and key")
	}
	if options.Interval == 0 {
		options.Interval = DefaultInterval
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	s := &Store{options: options, stop: make(chan struct{}), done: make(chan struct{})}
	var wrong []error
	for i, f := range files {
		// The state is taken before the reading: a change in between is then seen by the next look.
		w := &watched{cert: stat(f.Cert), key: stat(f.Key)}
		l, problem := load(i, f)
		if problem != nil {
			wrong = append(wrong, problem)
			continue
		}
		w.loaded = l
		s.watch = append(s.watch, w)
	}
	if len(wrong) > 0 {
		return nil, errors.Join(wrong...)
	}
	s.mu.Lock()
	s.publish()
	now := options.Now()
	for _, w := range s.watch {
		s.warn(w)
		s.judgeAge(w, now)
	}
	s.mu.Unlock()
	if options.Interval > 0 {
		go s.poll()
	} else {
		close(s.done)
	}
	return s, nil
}

// Close ends the watching of the files and waits for its goroutine. The certificates go on to be served.
func (s *Store) Close() {
	s.once.Do(func() { close(s.stop) })
	<-s.done
}

// GetCertificate chooses the certificate for a handshake: exactly the name, else a wildcard for its first label, else the first certificate.
// Where several have the name, as with an ECDSA and an RSA key, it takes the first that the client can verify. It serves as
// tls.Config.GetCertificate and never fails.
func (s *Store) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return s.current.Load().choose(hello), nil
}

// Check looks at the files now and takes over what has changed and is right. It is what the Store does by itself at each interval; a
// caller needs it only to not wait for that, as after a reload of the configuration. It returns the number of certificates replaced.
func (s *Store) Check() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.options.Now()
	var replaced []*watched
	for _, w := range s.watch {
		if s.look(w) {
			replaced = append(replaced, w)
		}
	}
	// Published first: whoever hears of the new certificate can rely on it.
	if len(replaced) > 0 {
		s.publish()
	}
	for _, w := range replaced {
		s.options.Replaced.Inc(0)
		s.notify(Notice{Kind: Replaced, Files: w.loaded.files})
		s.warn(w)
	}
	for _, w := range s.watch {
		s.judgeAge(w, now)
	}
	return len(replaced)
}

// poll is the Store's goroutine.
func (s *Store) poll() {
	defer close(s.done)
	tick := time.NewTicker(s.options.Interval)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
			s.Check()
		}
	}
}

// look reads the files of w if they have changed and reports whether w.loaded is new. Files that are wrong are read again at each look
// and told of at the second: a renewal that writes one file and then the other is no event for anybody.
func (s *Store) look(w *watched) bool {
	files := w.loaded.files
	cert, key := stat(files.Cert), stat(files.Key)
	if same(cert, w.cert) && same(key, w.key) && !w.wrong {
		return false
	}
	settled := same(cert, w.cert) && same(key, w.key)
	w.cert, w.key = cert, key
	l, problem := load(w.loaded.index, files)
	if problem != nil {
		w.wrong = true
		if text := problem.Error(); settled && text != w.reported {
			w.reported = text
			s.options.Failed.Inc(0)
			s.notify(Notice{Kind: Refused, Files: files, Err: problem})
		}
		return false
	}
	w.wrong, w.reported = false, ""
	if equal(l, w.loaded) {
		return false // touched, or written again with the same content
	}
	w.loaded, w.aged = l, ""
	return true
}

// publish makes a set of what is loaded. The caller holds s.mu.
func (s *Store) publish() {
	all := make([]*loaded, len(s.watch))
	for i, w := range s.watch {
		all[i] = w.loaded
	}
	s.current.Store(newSet(all))
}

// warn tells what is odd about a certificate that was just loaded.
func (s *Store) warn(w *watched) {
	for _, e := range w.loaded.warnings {
		s.notify(Notice{Kind: Warned, Files: w.loaded.files, Err: e})
	}
}

// judgeAge tells once when a certificate comes near its end, and once when it has expired.
func (s *Store) judgeAge(w *watched, now time.Time) {
	e := w.loaded.age(now)
	if e == nil {
		w.aged = ""
		return
	}
	if e.Problem != w.aged {
		w.aged = e.Problem
		s.notify(Notice{Kind: Warned, Files: w.loaded.files, Err: e})
	}
}

func (s *Store) notify(n Notice) {
	if s.options.Notify != nil {
		s.options.Notify(n)
	}
}

// Info describes a certificate in use.
type Info struct {
	Files    Files
	Names    []string // that it is chosen by, lower case
	NotAfter time.Time
}

// Certificates describes the certificates in use, in the order given to Open.
func (s *Store) Certificates() []Info {
	all := s.current.Load().all
	infos := make([]Info, len(all))
	for i, l := range all {
		infos[i] = Info{Files: l.files, Names: slices.Clone(l.names), NotAfter: l.cert.Leaf.NotAfter}
	}
	return infos
}

// stat follows links, so that a link that is turned to another file counts as a change. It returns nil if there is no file to be seen.
func stat(path string) fs.FileInfo {
	info, err := os.Stat(path)
	if err != nil {
		return nil
	}
	return info
}

// same reports whether two looks at a path saw the same file with the same content, as far as one can tell without reading it.
func same(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// equal reports whether two loads of the same files gave the same certificates. The key then is the same too, since it fits.
func equal(a, b *loaded) bool {
	return slices.EqualFunc(a.cert.Certificate, b.cert.Certificate, slices.Equal)
}
