package config

import (
	"encoding/hex"
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Scalar is a value that is written as one word and has a spelling of its own. It is implemented by pointers; options of policies may bring
// their own.
type Scalar interface {
	// ParseConfig sets the value from its text. The error says what is wrong with the text, without repeating it; a [Hint] carries a suggestion.
	ParseConfig(text string) error
	// ConfigFormat describes the spelling.
	ConfigFormat() Format
}

// Format describes how a scalar is written.
type Format struct {
	// Noun completes "expected …", with an example.
	Noun string
	// Name is the type in tables of the manual, one or two words.
	Name string
	// Pattern is a regular expression for the JSON Schema, or empty.
	Pattern string
	// Integer says that a bare integer is a spelling too.
	Integer bool
}

// Hint is an error of a value with a suggestion what to write.
type Hint struct{ Problem, Suggestion string }

// Error returns the problem alone.
func (h *Hint) Error() string { return h.Problem }

// Size is a number of bytes. Where a field allows "none", zero means no limit.
type Size int64

var sizeUnits = []struct {
	suffix string
	bytes  int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

var looseSize = regexp.MustCompile(`^(?i)([0-9]+)\s*([kmgt])i?b?$`)

// ParseConfig implements [Scalar].
func (s *Size) ParseConfig(text string) error {
	number, unit := text, int64(1)
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(text, u.suffix); ok {
			number, unit = rest, u.bytes
			break
		}
	}
	n, err := parseDigits(number)
	if err != nil {
		if m := looseSize.FindStringSubmatch(text); m != nil {
			return meant(m[1] + strings.ToUpper(m[2]) + "iB")
		}
		return err
	}
	if n > math.MaxInt64/unit {
		return errTooLarge
	}
	*s = Size(n * unit)
	return nil
}

// ConfigFormat implements [Scalar].
func (s *Size) ConfigFormat() Format {
	return Format{Noun: "a size such as 64KiB, 1MiB or a number of bytes", Name: "size", Pattern: `^[0-9]+(B|KiB|MiB|GiB|TiB)?$`, Integer: true}
}

// String writes the size with the largest unit that divides it.
func (s Size) String() string {
	for _, u := range sizeUnits[:4] {
		if s >= Size(u.bytes) && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.suffix
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// Share is a part of a whole, from 0 to 1; it is written in percent.
type Share float64

// ParseConfig implements [Scalar].
func (s *Share) ParseConfig(text string) error {
	number, ok := strings.CutSuffix(text, "%")
	f, err := parseDecimal(number)
	if err != nil {
		return err
	}
	if !ok {
		if f > 0 && f < 1 {
			return meant(strconv.FormatFloat(math.Round(f*1e6)/1e4, 'f', -1, 64) + "%")
		}
		return meant(number + "%")
	}
	if f > 100 {
		return &Hint{Problem: "it is more than 100%"}
	}
	*s = Share(f / 100)
	return nil
}

// ConfigFormat implements [Scalar].
func (s *Share) ConfigFormat() Format {
	return Format{Noun: "a share such as 20%", Name: "share", Pattern: `^[0-9]+(\.[0-9]+)?%$`}
}

// String writes the share in percent.
func (s Share) String() string {
	return strconv.FormatFloat(math.Round(float64(s)*1e6)/1e4, 'f', -1, 64) + "%"
}

// Address is `host:port` or, without a host, `:port`. The host is a name, an IPv4 address, or an IPv6 address in brackets.
type Address string

// Host returns the host without brackets; it is empty for `:port`.
func (a Address) Host() string {
	host, _, _ := splitAddress(string(a))
	return host
}

// Port returns the port.
func (a Address) Port() uint16 {
	_, port, _ := splitAddress(string(a))
	return port
}

// ParseConfig implements [Scalar].
func (a *Address) ParseConfig(text string) error {
	if _, _, err := splitAddress(text); err != nil {
		return err
	}
	*a = Address(strings.ToLower(text))
	return nil
}

// ConfigFormat implements [Scalar].
func (a *Address) ConfigFormat() Format {
	return Format{Noun: "an address such as 127.0.0.1:8080, [::1]:8080 or :8080", Name: "address", Pattern: `^(\[[0-9A-Fa-f:.%a-z]+\]|[0-9A-Za-z._-]*):[0-9]{1,5}$`}
}

var hostName = regexp.MustCompile(`^[0-9A-Za-z_]([0-9A-Za-z_-]*[0-9A-Za-z_])?(\.[0-9A-Za-z_]([0-9A-Za-z_-]*[0-9A-Za-z_])?)*\.?$`)

// splitAddress takes an address apart and checks both parts.
func splitAddress(text string) (host string, port uint16, err error) {
	if text == "" {
		return "", 0, &Hint{Problem: "it is empty"}
	}
	if scheme, rest, ok := strings.Cut(text, "://"); ok {
		if scheme == "https" {
			return "", 0, &Hint{Problem: "an address has no scheme"}
		}
		rest, _, _ = strings.Cut(rest, "/")
		return "", 0, meantIf(rest, addressOK(rest))
	}
	at := strings.LastIndexByte(text, ':')
	if at < 0 {
		if _, err := strconv.ParseUint(text, 10, 16); err == nil {
			return "", 0, meant(":" + text)
		}
		return "", 0, &Hint{Problem: "the port is missing", Suggestion: meantText(text + ":80")}
	}
	host, digits := text[:at], text[at+1:]
	n, err := parseDigits(digits)
	if err != nil || n > 65535 || len(digits) > 5 {
		return "", 0, &Hint{Problem: "the port must be a number from 0 to 65535"}
	}
	if in, ok := strings.CutPrefix(host, "["); ok {
		in, closed := strings.CutSuffix(in, "]")
		if ip, err := netip.ParseAddr(in); err != nil || !closed || !ip.Is6() {
			return "", 0, &Hint{Problem: "the brackets do not hold an IPv6 address"}
		}
		return in, uint16(n), nil
	}
	if strings.Contains(host, ":") {
		if ip, err := netip.ParseAddr(host); err == nil && ip.Is6() {
			return "", 0, &Hint{Problem: "an IPv6 address needs brackets", Suggestion: meantText("[" + host + "]:" + digits)}
		}
		return "", 0, &Hint{Problem: "the host is not valid"}
	}
	if host == "*" {
		return "", 0, meant(":" + digits)
	}
	if host != "" && (len(host) > 253 || !hostName.MatchString(host)) {
		return "", 0, &Hint{Problem: "the host is not valid"}
	}
	if allDigits(strings.ReplaceAll(host, ".", "")) && host != "" {
		if _, err := netip.ParseAddr(host); err != nil {
			return "", 0, &Hint{Problem: "the host is not a valid IPv4 address"}
		}
	}
	return host, uint16(n), nil
}

func addressOK(text string) bool {
	if strings.Contains(text, "://") {
		return false
	}
	_, _, err := splitAddress(text)
	return err == nil
}

// FilePath is the name of a file. Load makes it relative to the directory of the configuration file.
type FilePath string

// StatusRange is a range of status codes, both ends included.
type StatusRange struct{ Low, High int }

// Contains reports whether the range holds a status.
func (s StatusRange) Contains(status int) bool { return s.Low <= status && status <= s.High }

// ParseConfig implements [Scalar].
func (s *StatusRange) ParseConfig(text string) error {
	bad := &Hint{Problem: "it is no status"}
	if len(text) == 3 && (text[1:] == "xx" || text[1:] == "XX") && text[0] >= '1' && text[0] <= '5' {
		low := int(text[0]-'0') * 100
		*s = StatusRange{low, low + 99}
		return nil
	}
	low, high, ok := strings.Cut(text, "-")
	if !ok {
		high = low
	}
	a, errA := parseDigits(low)
	b, errB := parseDigits(high)
	if errA != nil || errB != nil || a < 100 || b > 599 {
		return bad
	}
	if a > b {
		return meant(high + "-" + low)
	}
	*s = StatusRange{int(a), int(b)}
	return nil
}

// ConfigFormat implements [Scalar].
func (s *StatusRange) ConfigFormat() Format {
	return Format{Noun: "a status such as 200, 2xx or 200-299", Name: "status", Pattern: `^([1-5]xx|[1-5][0-9]{2}(-[1-5][0-9]{2})?)$`, Integer: true}
}

// Words of RetryCause.
const (
	RetryConnect = "connect"
	RetryReset   = "reset"
	RetryTimeout = "timeout"
)

// RetryCause is a reason to send a request once more: a word, or a range of statuses if the word is empty.
type RetryCause struct {
	Word   string
	Status StatusRange
}

// ParseConfig implements [Scalar].
func (c *RetryCause) ParseConfig(text string) error {
	switch text {
	case RetryConnect, RetryReset, RetryTimeout:
		*c = RetryCause{Word: text}
		return nil
	}
	if err := c.Status.ParseConfig(text); err != nil {
		return &Hint{Problem: "it is no cause", Suggestion: DidYouMean(text, []string{RetryConnect, RetryReset, RetryTimeout, "5xx"})}
	}
	return nil
}

// ConfigFormat implements [Scalar].
func (c *RetryCause) ConfigFormat() Format {
	return Format{Noun: "connect, reset, timeout or a status such as 503 or 5xx", Name: "cause",
		Pattern: `^(connect|reset|timeout|[1-5]xx|[1-5][0-9]{2}(-[1-5][0-9]{2})?)$`, Integer: true}
}

// durationScalar gives time.Duration its spelling.
type durationScalar time.Duration

var durationText = regexp.MustCompile(`^([0-9]+(\.[0-9]+)?(us|ms|s|m|h))+$`)

func (d *durationScalar) ParseConfig(text string) error {
	if text == "0" {
		*d = 0
		return nil
	}
	if !durationText.MatchString(text) {
		m := regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]*)$`).FindStringSubmatch(text)
		if m == nil {
			return &Hint{Problem: "it is no duration"}
		}
		switch unit := strings.ToLower(m[2]); unit {
		case "", "sec", "secs", "second", "seconds", "s":
			return meant(m[1] + "s")
		case "msec", "millis", "milliseconds", "ms":
			return meant(m[1] + "ms")
		case "min", "mins", "minute", "minutes", "m":
			return meant(m[1] + "m")
		case "hour", "hours", "hr", "h":
			return meant(m[1] + "h")
		case "d", "day", "days":
			if n, err := strconv.Atoi(m[1]); err == nil && n <= 100_000 {
				return meant(strconv.Itoa(n*24) + "h")
			}
		}
		return &Hint{Problem: "the unit is not known"}
	}
	v, err := time.ParseDuration(text)
	if err != nil {
		return errTooLarge
	}
	*d = durationScalar(v)
	return nil
}

func (d *durationScalar) ConfigFormat() Format {
	return Format{Noun: "a duration such as 250ms, 5s or 1h", Name: "duration", Pattern: `^(0|([0-9]+(\.[0-9]+)?(us|ms|s|m|h))+)$`}
}

// prefixScalar gives netip.Prefix its spelling: a network, or an address for a network of one.
type prefixScalar netip.Prefix

func (p *prefixScalar) ParseConfig(text string) error {
	if ip, err := netip.ParseAddr(text); err == nil && ip.Zone() == "" {
		*p = prefixScalar(netip.PrefixFrom(ip.Unmap(), ip.Unmap().BitLen()))
		return nil
	}
	n, err := netip.ParsePrefix(text)
	if err != nil {
		return &Hint{Problem: "it is no network"}
	}
	if n.Addr().Is4In6() {
		return &Hint{Problem: "an IPv4 network is written without ::ffff:"}
	}
	if n.Masked() != n {
		return meant(n.Masked().String())
	}
	*p = prefixScalar(n)
	return nil
}

func (p *prefixScalar) ConfigFormat() Format {
	return Format{Noun: "a network such as 10.0.0.0/8 or an address", Name: "network", Pattern: `^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$`}
}

var (
	durationType = reflect.TypeFor[time.Duration]()
	prefixType   = reflect.TypeFor[netip.Prefix]()
	filePathType = reflect.TypeFor[FilePath]()
)

// asScalar returns the scalar behind an addressable value, or nil.
func asScalar(v reflect.Value) Scalar {
	switch v.Type() {
	case durationType:
		return (*durationScalar)(v.Addr().Interface().(*time.Duration))
	case prefixType:
		return (*prefixScalar)(v.Addr().Interface().(*netip.Prefix))
	}
	s, _ := v.Addr().Interface().(Scalar)
	return s
}

var errTooLarge = &Hint{Problem: "the number is too large"}

// parseDigits reads a whole number without a sign.
func parseDigits(text string) (int64, error) {
	if !allDigits(text) {
		if plain := strings.ReplaceAll(text, "_", ""); plain != text && allDigits(plain) {
			return 0, meant(plain)
		}
		return 0, &Hint{Problem: "it is no number"}
	}
	if len(text) > 1 && text[0] == '0' {
		plain := strings.TrimLeft(text[:len(text)-1], "0") + text[len(text)-1:]
		return 0, &Hint{Problem: "a number that begins with 0 may be read as octal", Suggestion: meantText(plain)}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, errTooLarge
	}
	return n, nil
}

var decimal = regexp.MustCompile(`^[0-9]{1,15}(\.[0-9]{1,15})?$`)

func parseDecimal(text string) (float64, error) {
	if !decimal.MatchString(text) {
		return 0, &Hint{Problem: "it is no number"}
	}
	return strconv.ParseFloat(text, 64)
}

func allDigits(text string) bool {
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return false
		}
	}
	return text != ""
}

func meantText(text string) string { return `did you mean "` + text + `"?` }

// meant is the error of a text that is wrong but clear.
func meant(text string) error {
	return &Hint{Problem: "the spelling is wrong", Suggestion: meantText(text)}
}

func meantIf(text string, ok bool) error {
	if ok {
		return meant(text)
	}
	return &Hint{Problem: "it is no address"}
}

// parseBasic sets a value of a basic Go kind from its text.
func parseBasic(v reflect.Value, text string) error {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		if text != "true" && text != "false" {
			return &Hint{Problem: "it is neither", Suggestion: truth(text)}
		}
		v.SetBool(text == "true")
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		digits := strings.TrimPrefix(text, "-")
		n, err := parseDigits(digits)
		if err != nil {
			return err
		}
		if digits != text {
			n = -n
		}
		if v.OverflowInt(n) {
			return errTooLarge
		}
		v.SetInt(n)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		n, err := parseDigits(text)
		if err != nil {
			return err
		}
		if v.OverflowUint(uint64(n)) {
			return errTooLarge
		}
		v.SetUint(uint64(n))
	case reflect.Float32, reflect.Float64:
		f, err := parseDecimal(strings.TrimPrefix(text, "-"))
		if err != nil {
			return err
		}
		if strings.HasPrefix(text, "-") {
			f = -f
		}
		v.SetFloat(f)
	default:
		return fmt.Errorf("the type %s has no spelling", v.Type()) // a mistake in a struct, found by the plan's test
	}
	return nil
}

func truth(text string) string {
	switch strings.ToLower(text) {
	case "yes", "on", "y", "1", "true":
		return meantText("true")
	case "no", "off", "n", "0", "false":
		return meantText("false")
	}
	return ""
}

// HedgeDelay is a time, or a percentile of the times that there were.
type HedgeDelay struct {
	// Percentile is 50 to 99, or 0 for a fixed time.
	Percentile int
	// Delay is the fixed time.
	Delay time.Duration
}

// ParseConfig implements [Scalar].
func (h *HedgeDelay) ParseConfig(text string) error {
	if digits, ok := strings.CutPrefix(text, "p"); ok {
		n, err := strconv.Atoi(digits)
		if err != nil || n < 50 || n > 99 || len(digits) != 2 {
			return &Hint{Problem: "a percentile is p50 to p99", Suggestion: meantText("p95")}
		}
		*h = HedgeDelay{Percentile: n}
		return nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return &Hint{Problem: "it is neither a duration nor a percentile", Suggestion: meantText("p95")}
	}
	if d < time.Millisecond {
		return &Hint{Problem: "it is less than 1ms"}
	}
	*h = HedgeDelay{Delay: d}
	return nil
}

// ConfigFormat implements [Scalar].
func (h *HedgeDelay) ConfigFormat() Format {
	return Format{Noun: "a percentile such as p95 or a duration such as 50ms", Name: "percentile or duration", Pattern: `^(p[5-9][0-9]|[0-9].*)$`}
}

// String writes the delay as the configuration does.
func (h HedgeDelay) String() string {
	if h.Percentile > 0 {
		return "p" + strconv.Itoa(h.Percentile)
	}
	return h.Delay.String()
}

// Payload is the bytes of a datagram: a text, or hexadecimal digits behind `0x`.
type Payload string

// maxPayload is the most that one datagram is asked to carry over any network without being cut in pieces.
const maxPayload = 1200

// ParseConfig implements [Scalar].
func (p *Payload) ParseConfig(text string) error {
	if digits, ok := strings.CutPrefix(text, "0x"); ok {
		raw, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
		if err != nil {
			return &Hint{Problem: "behind 0x stand pairs of hexadecimal digits"}
		}
		text = string(raw)
	}
	if len(text) > maxPayload {
		return &Hint{Problem: fmt.Sprintf("it is longer than %d bytes", maxPayload)}
	}
	*p = Payload(text)
	return nil
}

// ConfigFormat implements [Scalar].
func (p *Payload) ConfigFormat() Format {
	return Format{Noun: "a text, or bytes as 0x and hexadecimal digits", Name: "text or bytes"}
}
