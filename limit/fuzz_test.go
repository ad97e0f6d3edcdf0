package limit

import (
	"encoding/binary"
	"math"
	"strings"
	"testing"
	"time"
)

// FuzzReply: whatever a server answers, the result is one that can be told to a client.
func FuzzReply(f *testing.F) {
	word := func(ns ...int64) (b []byte) {
		for _, n := range ns {
			b = binary.LittleEndian.AppendUint64(b, uint64(n))
		}
		return b
	}
	f.Add(word(1, 0, 5, 100, 200))
	f.Add(word(2, 1, 5, math.MaxInt64, math.MinInt64))
	f.Add(word(3, -1, math.MinInt64, -1, 0))
	f.Add(word(0, 7, math.MaxInt64, 1<<61, 1<<62))
	windows := []Window{{Count: 3, Per: time.Second, Burst: 5}, {Count: 1, Per: time.Hour}}
	meters, err := compile(windows)
	if err != nil {
		f.Fatal(err)
	}
	sh := &Shared{meters: meters, share: &Rate{}, limit: 10}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) != 40 {
			return
		}
		var reply []int64
		for ; len(b) > 0; b = b[8:] {
			reply = append(reply, int64(binary.LittleEndian.Uint64(b)))
		}
		var r Result
		sh.read(reply, 1, term{0, 60}, s1, &r)
		if r.Verdict < Passed || r.Verdict > QuotaRefused || r.Quota.Remaining < 0 || r.Quota.Remaining > 10 || r.RetryAfter() < 1 {
			t.Errorf("%d: %+v", reply, r)
		}
		for i := range windows {
			if st := r.Rate.States[i]; st.Remaining < 0 || st.Remaining > windows[i].size() || st.Full < 0 || st.Next < 0 || st.Remaining == 0 && st.Next == 0 {
				t.Errorf("%d: %+v", reply, st)
			}
		}
	})
}

// FuzzURL: no address makes reading it fail badly, and no error repeats one.
func FuzzURL(f *testing.F) {
	for _, url := range []string{"redis://user:sesame@h:6379/0", "rediss://:sesame@[::1]:6380", "redis://x:sesame@h/y", "unix:///sesame", "redis://h?addr=sesame", "://sesame"} {
		f.Add(url)
	}
	f.Fuzz(func(t *testing.T, url string) {
		client, address, err := readURL(&StoreOptions{URL: url})
		switch {
		case err != nil && len(url) > 40 && strings.Contains(err.Error(), url):
			t.Errorf("%q: %v", url, err)
		case err == nil && (address == "" || len(client.InitAddress) == 0):
			t.Errorf("%q: %q, %q", url, address, client.InitAddress)
		case err == nil && len(client.Password) > 12 && strings.Contains(address, client.Password) && !strings.Contains(client.InitAddress[0], client.Password):
			t.Errorf("%q: the address %q has the password", url, address)
		}
	})
}

// FuzzTerm: every moment of every period lies in its term.
func FuzzTerm(f *testing.F) {
	f.Add(int64(0), uint8(0), uint8(0))
	f.Add(int64(1_774_746_000), uint8(3), uint8(1))
	f.Add(int64(-1_000_000_000), uint8(5), uint8(2))
	zones := []*time.Location{time.UTC, zone(f, "Europe/Berlin"), zone(f, "America/Santiago"), zone(f, "Pacific/Apia"), zone(f, "Australia/Lord_Howe"), zone(f, "America/Havana")}
	f.Fuzz(func(t *testing.T, at int64, p, z uint8) {
		// Before 1970 zones did what nobody does any more.
		at = floorMod(at, 4_000_000_000)
		period, zone := Second+Period(p%6), zones[int(z)%len(zones)]
		tm := period.termOf(at, zone)
		if !tm.contains(at) || period.termOf(tm.start, zone) != tm || period.termOf(tm.end-1, zone) != tm || period.termOf(tm.end, zone).start != tm.end {
			t.Errorf("%v %v %d: %v", period, zone, at, tm)
		}
	})
}
