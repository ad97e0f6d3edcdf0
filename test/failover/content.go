package main

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// What travels is a function of the request's number, so that each side can tell a whole message from one that was cut, mixed up or made for somebody else. The
// number also chooses the method and the framing: every combination goes to every endpoint, because their number and that of the endpoints have no divisor in common.

const (
	// postBytes is the size of a request body.
	postBytes = 1 << 10
	// answerBytes is the size of an answer's body.
	answerBytes = 2 << 10
	itemPrefix  = "/item/"
	checkPath   = "/healthz"
)

// isPost tells whether request id is a POST when half of the requests are.
func isPost(id int) bool { return id/2%2 == 1 }

// isChunked tells whether the answer to request id is chunked; the others have a Content-Length.
func isChunked(id int) bool { return id%2 == 1 }

// isReset tells whether a cut answer to request id ends with a reset; the others end in order, only too early.
func isReset(id int) bool { return id/4%2 == 1 }

// requestText is request id as it goes onto the wire.
func requestText(id int, post bool) []byte {
	target := itemPrefix + strconv.Itoa(id)
	if !post {
		return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: failover.example\r\n\r\n", target)
	}
	head := fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: failover.example\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n", target, postBytes)
	return append(head, requestBody(id)...)
}

// requestBody is the body of the POST with number id.
func requestBody(id int) []byte { return filler(fmt.Sprintf("request %d;", id), postBytes) }

// answerBody is the body of the answer of an endpoint to request id.
func answerBody(id int, endpoint string) []byte {
	return filler(fmt.Sprintf("answer to %d by %s;", id, endpoint), answerBytes)
}

// filler repeats text up to size bytes.
func filler(text string, size int) []byte {
	return bytes.Repeat([]byte(text), size/len(text)+1)[:size]
}

// itemOf is the number of the request with a target.
func itemOf(target string) (int, bool) {
	text, ok := strings.CutPrefix(target, itemPrefix)
	if !ok {
		return 0, false
	}
	id, err := strconv.Atoi(text)
	return id, err == nil && id >= 0
}
