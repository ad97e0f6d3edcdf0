package document

import (
	"math"
	"strconv"
)

// Int returns a number whose value is an integer that fits in 64 bits, however it is written: 12, 12.0 and 1.2e1 are the same. Otherwise, and
// for other kinds, ok is false.
func (v Value) Int() (n int64, ok bool) {
	if v.Kind() != Number {
		return 0, false
	}
	text, negative := v.text, false
	if text[0] == '-' {
		text, negative = text[1:], true
	}
	mantissa, exponent := text, 0
	for i, c := range text {
		if c == 'e' || c == 'E' {
			mantissa, exponent = text[:i], exponentOf(text[i+1:])
			break
		}
	}
	u, ok := integer(mantissa, exponent)
	switch {
	case !ok:
		return 0, false
	case negative && u <= 1<<63:
		return int64(-u), true // of 1<<63 it is math.MinInt64
	case !negative && u <= math.MaxInt64:
		return int64(u), true
	}
	return 0, false
}

// integer returns the value of mantissa times ten to the power of exponent, if it is an integer that fits.
func integer(mantissa []byte, exponent int) (u uint64, ok bool) {
	// Zeros are held back until a digit follows them: those at the end may be behind the point.
	zeros, point := 0, false
	for _, c := range mantissa {
		if c == '.' {
			point = true
			continue
		}
		if point {
			exponent--
		}
		if c == '0' {
			zeros++
			continue
		}
		if u, ok = scale(u, zeros+1); !ok || u > math.MaxUint64-9 {
			return 0, false
		}
		u += uint64(c - '0')
		zeros = 0
	}
	if u == 0 {
		return 0, true
	}
	return scale(u, zeros+exponent)
}

// scale returns u times ten to the power of n, if n is not negative and the result fits.
func scale(u uint64, n int) (uint64, bool) {
	if u == 0 {
		return 0, n >= 0
	}
	if n < 0 {
		return 0, false
	}
	for ; n > 0; n-- {
		if u > math.MaxUint64/10 {
			return 0, false
		}
		u *= 10
	}
	return u, true
}

// maxExponent bounds what exponentOf returns: sums of it and of lengths of texts do not overflow.
const maxExponent = math.MaxInt32 / 2

// exponentOf returns the value of an exponent, or a bound of it.
func exponentOf(text []byte) int {
	n, negative := 0, false
	for _, c := range text {
		switch {
		case c == '-':
			negative = true
		case c == '+':
		case n < maxExponent/10:
			n = n*10 + int(c-'0')
		default:
			n = maxExponent
		}
	}
	if negative {
		return -n
	}
	return n
}

// Float returns the nearest 64-bit float of a number; ok is false for one beyond their range, and for other kinds. Numbers of more than 32
// bytes, which few are, cost an allocation.
func (v Value) Float() (f float64, ok bool) {
	if v.Kind() != Number {
		return 0, false
	}
	f, err := strconv.ParseFloat(string(v.text), 64)
	return f, err == nil
}
