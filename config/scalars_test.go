package config

import (
	"reflect"
	"testing"
	"time"
)

func TestScalars(t *testing.T) {
	duration := func(d time.Duration) *durationScalar { return (*durationScalar)(&d) }
	size := func(n int64) *Size { return (*Size)(&n) }
	share := func(f float64) *Share { return (*Share)(&f) }
	address := func(s string) *Address { return (*Address)(&s) }
	for _, tc := range []struct {
		text string
		want Scalar
	}{
		{"0", duration(0)},
		{"250ms", duration(250 * time.Millisecond)},
		{"5s", duration(5 * time.Second)},
		{"1h30m", duration(90 * time.Minute)},
		{"1.5s", duration(1500 * time.Millisecond)},
		{"10us", duration(10 * time.Microsecond)},
		{"0", size(0)},
		{"65536", size(65536)},
		{"64KiB", size(64 << 10)},
		{"7B", size(7)},
		{"1TiB", size(1 << 40)},
		{"8388607TiB", size(8388607 << 40)},
		{"0%", share(0)},
		{"100%", share(1)},
		{"12.5%", share(0.125)},
		{":8080", address(":8080")},
		{"[::1]:80", address("[::1]:80")},
		{"[fe80::1%eth0]:80", address("[fe80::1%eth0]:80")},
		{"A.Example.:65535", address("a.example.:65535")},
		{"a_b-c:1", address("a_b-c:1")},
		{"2xx", &StatusRange{200, 299}},
		{"5XX", &StatusRange{500, 599}},
		{"404", &StatusRange{404, 404}},
		{"200-204", &StatusRange{200, 204}},
		{"connect", &RetryCause{Word: "connect"}},
		{"503", &RetryCause{Status: StatusRange{503, 503}}},
	} {
		got := reflect.New(reflect.TypeOf(tc.want).Elem()).Interface().(Scalar)
		if err := got.ParseConfig(tc.text); err != nil || !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: %v, %v; want %v", tc.text, reflect.ValueOf(got).Elem(), err, reflect.ValueOf(tc.want).Elem())
		}
	}
	for _, tc := range []struct {
		text string
		into Scalar
	}{
		{"", duration(0)}, {"5", duration(0)}, {"1e3s", duration(0)}, {"-5s", duration(0)}, {"5 s", duration(0)}, {"9999999h", duration(0)}, {"s", duration(0)},
		{"", size(0)}, {"-1", size(0)}, {"1KB", size(0)}, {"8388608TiB", size(0)}, {"KiB", size(0)}, {"1.5KiB", size(0)}, {"010", size(0)},
		{"", share(0)}, {"5", share(0)}, {"100.1%", share(0)}, {"-1%", share(0)}, {"1e1%", share(0)}, {"%", share(0)}, {"NaN%", share(0)},
		{"", address("")}, {"a", address("")}, {":", address("")}, {"a:", address("")}, {"a:-1", address("")}, {"a:65536", address("")}, {"[]:1", address("")},
		{"[1.2.3.4]:1", address("")}, {"1.2.3:1", address("")}, {"a b:1", address("")}, {"a..b:1", address("")}, {"\x00:1", address("")}, {"a:1:2", address("")},
		{"", &StatusRange{}}, {"99", &StatusRange{}}, {"600", &StatusRange{}}, {"0xx", &StatusRange{}}, {"6xx", &StatusRange{}}, {"300-200", &StatusRange{}}, {"2x", &StatusRange{}},
		{"", &RetryCause{}}, {"CONNECT", &RetryCause{}},
	} {
		if err := tc.into.ParseConfig(tc.text); err == nil {
			t.Errorf("%T: %q is accepted as %v", tc.into, tc.text, reflect.ValueOf(tc.into).Elem())
		}
	}
}

func TestScalarsAreWrittenAsRead(t *testing.T) {
	for _, text := range []string{"0", "1", "1023", "1KiB", "1025", "64KiB", "3MiB", "1GiB", "2TiB"} {
		var s Size
		if err := s.ParseConfig(text); err != nil || s.String() != text {
			t.Errorf("%s: %s, %v", text, s, err)
		}
	}
	for _, text := range []string{"0%", "0.5%", "7%", "12.5%", "33.3333%", "100%"} {
		var s Share
		if err := s.ParseConfig(text); err != nil || s.String() != text {
			t.Errorf("%s: %s, %v", text, s, err)
		}
	}
}

func TestAddressParts(t *testing.T) {
	for _, tc := range []struct {
		address Address
		host    string
		port    uint16
	}{{":80", "", 80}, {"127.0.0.1:0", "127.0.0.1", 0}, {"[::1]:443", "::1", 443}, {"a.example:8080", "a.example", 8080}, {"", "", 0}} {
		if tc.address.Host() != tc.host || tc.address.Port() != tc.port {
			t.Errorf("%s: %q, %d", tc.address, tc.address.Host(), tc.address.Port())
		}
	}
}

func TestDefaults(t *testing.T) {
	var b Backend
	Defaults(&b)
	if b.Balance.Algorithm != BalanceLeastRequest || b.Timeouts.Connect != time.Second || len(b.Retries.On) != 2 || b.Panic != 0.5 {
		t.Errorf("%+v", b)
	}
	b.Retries.On[0].Word = "changed"
	var other Backend
	Defaults(&other)
	if other.Retries.On[0].Word != RetryConnect {
		t.Error("two structs share the list of a default")
	}
}

// TestStatusRange covers both ends, which count.
func TestStatusRange(t *testing.T) {
	s := StatusRange{200, 299}
	for status, want := range map[int]bool{199: false, 200: true, 250: true, 299: true, 300: false} {
		if s.Contains(status) != want {
			t.Errorf("%d: %v", status, !want)
		}
	}
}
