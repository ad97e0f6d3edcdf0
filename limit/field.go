package limit

import "strconv"

// maxFieldInteger is the largest integer of a structured field (RFC 9651 section 3.3.1).
const maxFieldInteger = 999_999_999_999_999

// AppendPolicy appends an item of the field RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers-10): the name, the quota q, and the window w
// in seconds. Items of one field are separated by ", ".
func AppendPolicy(b []byte, name string, q, w int64) []byte {
	b = appendFieldString(b, name)
	b = appendParameter(b, ";q=", q)
	return appendParameter(b, ";w=", w)
}

// AppendState appends an item of the field RateLimit of the same draft: the name, what remains r, and the seconds t until there is more.
func AppendState(b []byte, name string, r, t int64) []byte {
	b = appendFieldString(b, name)
	b = appendParameter(b, ";r=", r)
	return appendParameter(b, ";t=", t)
}

func appendParameter(b []byte, key string, n int64) []byte {
	return strconv.AppendInt(append(b, key...), max(0, min(n, maxFieldInteger)), 10)
}

// appendFieldString appends a string of a structured field (RFC 9651 section 4.1.6), which is of printable ASCII; what is not becomes "?".
func appendFieldString(b []byte, s string) []byte {
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < 0x20 || c > 0x7e:
			b = append(b, '?')
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}
