package load

import (
	"bytes"
	"strconv"
)

// Failure says why a request did not count.
type Failure uint8

// The failures, in the order in which Result.Failures counts them.
const (
	None          Failure = iota
	Status                // any status but 200, or no status line
	Framing               // no Content-Length, another one than expected, or a transfer coding
	Content               // a body byte differs, or bytes arrived that nobody asked for
	ClosedUnused          // connection closed before the first answer byte, on a connection that had answered before
	ClosedEarly           // connection closed before the first answer byte of its first request, or inside an answer
	Timeout               // no whole answer in time, or never sent because no connection was free
	ConnectFailed         // no connection
	Handshake             // the TLS handshake failed, or was not of the kind asked for
	failureKinds
)

var failureNames = [failureKinds]string{
	"none", "wrong status", "wrong framing", "wrong content", "closed while reused", "closed early", "timed out",
	"not connected", "handshake failed",
}

// String is the failure in words.
func (f Failure) String() string {
	if f < failureKinds {
		return failureNames[f]
	}
	return "failure " + strconv.Itoa(int(f))
}

// answer is the verdict over the bytes received so far.
type answer struct {
	size    int // length of the whole answer, 0 while it is incomplete
	closing bool
	failure Failure
}

// maxHead bounds an answer's head; a longer one is a Framing failure.
const maxHead = 4096

// checkAnswer reads one HTTP/1.1 answer from the start of b and compares its body with want. Transfer codings fail on
// purpose: the origin states its length, and a proxy that changes the framing does other work than its peers.
func checkAnswer(b, want []byte) answer {
	end := bytes.Index(b, headEnd)
	if end < 0 {
		if len(b) > maxHead {
			return answer{failure: Framing}
		}
		return answer{}
	}
	if !bytes.HasPrefix(b, statusOK) {
		return answer{failure: Status}
	}
	length, closing := -1, false
	head := b[:end+2]
	nextLine(&head) // the status line
	for len(head) > 0 {
		switch value, name := cutField(nextLine(&head)); name {
		case fieldLength:
			n, err := strconv.Atoi(string(value))
			if err != nil || length >= 0 {
				return answer{failure: Framing}
			}
			length = n
		case fieldCoding:
			return answer{failure: Framing}
		case fieldConnection:
			closing = bytes.EqualFold(value, []byte("close"))
		}
	}
	if length != len(want) {
		return answer{failure: Framing}
	}
	size := end + len(headEnd) + length
	switch {
	case len(b) < size:
		return answer{}
	case !bytes.Equal(b[size-length:size], want):
		return answer{failure: Content}
	}
	return answer{size: size, closing: closing}
}

// checkEcho compares what has come so far with the request that must come back.
func checkEcho(b, want []byte) answer {
	switch {
	case len(b) > len(want) || !bytes.Equal(b, want[:len(b)]):
		return answer{failure: Content}
	case len(b) < len(want):
		return answer{}
	}
	return answer{size: len(want)}
}

var (
	headEnd  = []byte("\r\n\r\n")
	statusOK = []byte("HTTP/1.1 200")
)

// field is one of the three fields that the client reads.
type field uint8

const (
	fieldOther field = iota
	fieldLength
	fieldCoding
	fieldConnection
)

func nextLine(head *[]byte) []byte {
	i := bytes.IndexByte(*head, '\n')
	if i < 0 {
		i = len(*head) - 1
	}
	line := (*head)[:i+1]
	*head = (*head)[i+1:]
	return bytes.TrimRight(line, "\r\n")
}

func cutField(line []byte) (value []byte, name field) {
	if len(line) == 0 || (line[0]|0x20 != 'c' && line[0]|0x20 != 't') {
		return nil, fieldOther
	}
	key, value, ok := bytes.Cut(line, []byte(":"))
	if !ok {
		return nil, fieldOther
	}
	switch {
	case bytes.EqualFold(key, []byte("content-length")):
		name = fieldLength
	case bytes.EqualFold(key, []byte("transfer-encoding")):
		name = fieldCoding
	case bytes.EqualFold(key, []byte("connection")):
		name = fieldConnection
	}
	return bytes.TrimSpace(value), name
}
