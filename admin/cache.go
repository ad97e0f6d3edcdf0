package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/sluice-gateway/sluice/metric"
)

// Purge says which stored answers are dropped. One of its fields is not empty.
type Purge struct {
	Key    string // the URL that they are stored under
	Prefix string // what their URLs begin with
	Tag    string // one of the tags that their services have given them in Cache-Tag
}

// CacheState is how full the caches are.
type CacheState struct {
	Memory  int64 `json:"memory_bytes"` // the bound
	Bytes   int64 `json:"bytes"`        // what counts towards it
	Coming  int64 `json:"coming_bytes"` // of them, those of answers that have not come to their end
	Objects int64 `json:"objects"`      // answers
}

// cachePolicy is the JSON of what a policy's cache was asked, and what became of its answers.
type cachePolicy struct {
	Name     string           `json:"name"`
	Requests map[string]int64 `json:"requests"`
	Events   map[string]int64 `json:"events"`
}

// maxPurge bounds the body of a purge: a URL, and room for its escapes.
const maxPurge = 64 << 10

// wanted is what a purge must look like.
const wanted = `expected one of {"key": "URL"}, {"prefix": "URL"} and {"tag": "NAME"}`

// cache shows how full the caches are, and what they were asked.
func (s Source) cache(w http.ResponseWriter, _ *http.Request) {
	state := s.Cache()
	all := []*cachePolicy{}
	s.Metrics.Each(metric.CacheRequests, func(values []string, n int64) { all = counted(all, values, n, false) })
	s.Metrics.Each(metric.CacheEvents, func(values []string, n int64) { all = counted(all, values, n, true) })
	answerJSON(w, http.StatusOK, struct {
		CacheState
		Policies []*cachePolicy `json:"policies"`
	}{state, all})
}

// counted enters a counter of a policy.
func counted(all []*cachePolicy, values []string, n int64, event bool) []*cachePolicy {
	name, word := values[0], values[1]
	var p *cachePolicy
	for _, o := range all {
		if o.Name == name {
			p = o
		}
	}
	if p == nil {
		p = &cachePolicy{Name: name, Requests: map[string]int64{}, Events: map[string]int64{}}
		all = append(all, p)
	}
	if event {
		p.Events[word] = n
	} else {
		p.Requests[word] = n
	}
	return all
}

// purge drops stored answers.
func (s Source) purge(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPurge))
	if err != nil {
		if _, large := errors.AsType[*http.MaxBytesError](err); large {
			refuse(w, http.StatusRequestEntityTooLarge, "the purge is larger than 64 KiB; "+wanted)
			return
		}
		refuse(w, http.StatusBadRequest, "the purge is cut short")
		return
	}
	p, ok := parsePurge(text)
	if !ok {
		refuse(w, http.StatusBadRequest, wanted)
		return
	}
	n, err := s.Purge(p)
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	answer(w, http.StatusOK, map[string]any{"purged": n})
}

// parsePurge reads a purge: an object with one member. It is stricter than encoding/json, because a purge that means something else than its author
// is found out late.
func parsePurge(text []byte) (p Purge, ok bool) {
	d := json.NewDecoder(bytes.NewReader(text))
	begin, err := d.Token()
	if err != nil || begin != json.Delim('{') {
		return p, false
	}
	name, _ := d.Token() // what is no name is none of those below
	value, err := d.Token()
	word, isText := value.(string)
	if err != nil || !isText || strings.TrimSpace(word) == "" {
		return p, false
	}
	switch name {
	case "key":
		p.Key = word
	case "prefix":
		p.Prefix = word
	case "tag":
		p.Tag = word
	default:
		return p, false
	}
	if end, err := d.Token(); err != nil || end != json.Delim('}') {
		return p, false
	}
	_, err = d.Token()
	return p, err == io.EOF
}
