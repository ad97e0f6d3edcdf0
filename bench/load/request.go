package load

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// Request is the bytes of a GET request for path; host goes into the Host field. A closing one asks for the connection
// to be closed after the answer.
func Request(host, path string, closing bool) []byte {
	var fields []string
	if closing {
		fields = []string{"Connection: close"}
	}
	return RequestWith("GET", host, path, nil, fields...)
}

// RequestWith is the bytes of a request with further fields, each as "Name: value", and with a body if there is one.
func RequestWith(method, host, path string, body []byte, fields ...string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\nAccept: */*\r\n", method, path, host)
	for _, field := range fields {
		b.WriteString(field + "\r\n")
	}
	if len(body) > 0 {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n")
	return append([]byte(b.String()), body...)
}

// NumberPlace stands in the text of a request where a number of Numbers goes.
const NumberPlace = "########"

// maxNumbers is how many numbers NumberPlace has digits for.
const maxNumbers = 100_000_000

// Numbers makes the requests of a client differ: each gets the next number, in decimal with leading zeros, at its NumberPlace. So a million different
// requests need no million texts. It belongs to one client at a time, and goes on where the client before has stopped.
type Numbers struct {
	Count uint64 // how many there are, from 0 on; 1 … 100,000,000
	next  uint64
}

// put writes the next number over the place, of which there are as many bytes as NumberPlace has.
func (n *Numbers) put(place []byte) {
	v := n.next
	if n.next++; n.next >= n.Count {
		n.next = 0
	}
	for i := len(NumberPlace) - 1; i >= 0; i-- {
		place[i] = byte('0' + v%10)
		v /= 10
	}
}

// numbered returns copies of requests, and in each of them the place for a number.
func (n *Numbers) numbered(requests [][]byte) (texts, places [][]byte, err error) {
	if n.Count < 1 || n.Count > maxNumbers {
		return nil, nil, fmt.Errorf("load: %d numbers are not between 1 and %d", n.Count, maxNumbers)
	}
	for _, request := range requests {
		text := bytes.Clone(request)
		at := bytes.Index(text, []byte(NumberPlace))
		if at < 0 {
			return nil, nil, errors.New("load: a request has no place for a number")
		}
		texts, places = append(texts, text), append(places, text[at:at+len(NumberPlace)])
	}
	return texts, places, nil
}
