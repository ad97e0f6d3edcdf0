package admin

import (
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/metric"
)

func TestPurge(t *testing.T) {
	var got []Purge
	s := source(true, false)
	s.Purge = func(p Purge) (int, error) {
		got = append(got, p)
		if p.Key == "nonsense" {
			return 0, errors.New("it is no URL")
		}
		return 3, nil
	}
	for _, c := range []struct {
		body   string
		status int
		want   Purge
		says   string
	}{
		{`{"key": "http://bank.example/rates/EUR"}`, 200, Purge{Key: "http://bank.example/rates/EUR"}, `{"purged":3}`},
		{`{"prefix": "http://bank.example/rates/"}`, 200, Purge{Prefix: "http://bank.example/rates/"}, `{"purged":3}`},
		{`{"tag": "rates"}`, 200, Purge{Tag: "rates"}, `{"purged":3}`},
		{`{"key": "nonsense"}`, 400, Purge{Key: "nonsense"}, "it is no URL"},
		{body: `{"tag": ""}`, status: 400},
		{body: `{"tag": "a", "key": "http://a.example/"}`, status: 400},
		{body: `{"tag": "a", "tag": "b"}`, status: 400},
		{body: `{"TAG": "a"}`, status: 400},
		{body: `{"tag": 1}`, status: 400},
		{body: `{"tag": null}`, status: 400},
		{body: `{"tag": ["a"]}`, status: 400},
		{body: `{"all": "true"}`, status: 400},
		{body: `{"tag": "a"`, status: 400},
		{body: `{"tag": "a"} {}`, status: 400},
		{body: `{"tag" "a"}`, status: 400},
		{body: `{}`, status: 400},
		{body: `[]`, status: 400},
		{body: `"tag"`, status: 400},
		{body: "", status: 400},
		{body: `{"tag": "` + strings.Repeat("a", maxPurge) + `"}`, status: 413},
	} {
		got = nil
		w := httptest.NewRecorder()
		NewHandler(s).ServeHTTP(w, httptest.NewRequest("POST", "/cache/purge", strings.NewReader(c.body)))
		says := c.says
		if says == "" {
			says = "expected one of"
		}
		if w.Code != c.status || !strings.Contains(w.Body.String(), says) {
			t.Errorf("%.100s: %d %s, want %d with %s", c.body, w.Code, w.Body, c.status, says)
		}
		if kind := w.Header().Get("Content-Type"); c.status != 200 && kind != "application/problem+json" {
			t.Errorf("%.100s: %s", c.body, kind)
		}
		if asked := c.want != (Purge{}); asked != (len(got) == 1) || asked && got[0] != c.want {
			t.Errorf("%.100s: asked to purge %+v, want %+v", c.body, got, c.want)
		}
	}
}

func FuzzPurge(f *testing.F) {
	for _, seed := range []string{`{"key": "a"}`, `{"tag":"\u0041"}`, `{"prefix" 1}`, `{"tag": {}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		p, ok := parsePurge(text)
		n := 0
		for _, word := range []string{p.Key, p.Prefix, p.Tag} {
			if strings.TrimSpace(word) != "" {
				n++
			}
		}
		if ok && n != 1 {
			t.Errorf("%q: %+v", text, p)
		}
	})
}

func TestCacheState(t *testing.T) {
	s := source(true, false)
	s.Cache = func() CacheState { return CacheState{Memory: 1 << 20, Bytes: 2048, Coming: 1, Objects: 2} }
	s.Metrics.Counter(metric.CacheRequests, "shared-rates", "hit").Add(0, 5)
	s.Metrics.Counter(metric.CacheRequests, "other", "miss").Add(0, 1)
	s.Metrics.Counter(metric.CacheEvents, "shared-rates", "stored").Add(0, 2)
	const want = `{"memory_bytes":1048576,"bytes":2048,"coming_bytes":1,"objects":2,"policies":[{"name":"other","requests":{"miss":1},"events":{}},` +
		`{"name":"shared-rates","requests":{"hit":5},"events":{"stored":2}}]}` + "\n"
	if w := ask(s, "GET", "/cache"); w.Code != 200 || w.Body.String() != want {
		t.Errorf("%d %s\nwant %s", w.Code, w.Body, want)
	}
}
