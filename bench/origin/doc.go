// Package origin is the backend of the benchmark: it answers every request with the same bytes, as cheaply as a
// program of the same machine can, so that the proxy in front is what is measured. It listens on several ports from one
// process and one thread, because two processes on one core would pay for the switches between them.
package origin

import (
	"bytes"
	"fmt"
)

// Body is the content of every answer: size bytes of readable text.
func Body(size int) []byte {
	const line = "The quick brown fox jumps over the lazy dog and comes back for more of it.\n"
	return bytes.Repeat([]byte(line), size/len(line)+1)[:size]
}

// Answer is the whole response for a body of size bytes.
func Answer(size int) []byte {
	head := fmt.Sprintf("HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n"+
		"Content-Type: text/plain\r\nContent-Length: %d\r\n\r\n", size)
	return append([]byte(head), Body(size)...)
}
