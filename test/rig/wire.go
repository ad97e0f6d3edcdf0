package rig

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// Request is one request as it stood on the wire.
type Request = testnet.Request

// errPart says that a request is not complete yet.
var errPart = errors.New("the request is not complete")

// parseRequest reads one request at the beginning of b and returns its length. With errPart, r is what there is of it: its head, or nil. What a gateway
// sends is HTTP/1.1 only, and its values hold no control byte, whatever its client sent.
func parseRequest(b []byte) (r *Request, n int, err error) {
	rest := bytes.NewReader(b)
	br := bufio.NewReader(rest)
	r, err = testnet.ReadRequest(br)
	switch {
	case err == io.EOF, err == io.ErrUnexpectedEOF:
		err = errPart
		if !bytes.Contains(b, []byte("\r\n\r\n")) {
			return nil, 0, errPart
		}
	case err != nil:
		return nil, 0, err
	}
	if r.Proto != "HTTP/1.1" {
		return nil, 0, fmt.Errorf("protocol %q", r.Proto)
	}
	for _, f := range append(r.Header, r.Trailer...) {
		if strings.ContainsFunc(f.Value, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7F }) {
			return nil, 0, fmt.Errorf("field %q: %q", f.Name, f.Value)
		}
	}
	if host := r.Header.Get("Host"); strings.ContainsAny(host, " \t,@/?#\\") {
		return nil, 0, fmt.Errorf("field Host: %q", host)
	}
	return r, len(b) - rest.Len() - br.Buffered(), err
}

// ParseRequests reads all of b as requests. The error tells what of it is no well-formed, complete request.
func ParseRequests(b string) ([]*Request, error) {
	var all []*Request
	for len(b) > 0 {
		r, n, err := parseRequest([]byte(b))
		if err != nil {
			return all, fmt.Errorf("after %d requests: %w: %.300q", len(all), err, b)
		}
		all = append(all, r)
		b = b[n:]
	}
	return all, nil
}
