package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// serve answers the requests of a connection until one of the two has enough.
func (o *origin) serve(c *originConn) {
	for o.await(c) {
		r, err := testnet.ReadRequest(c.br)
		var broken net.Error
		switch {
		case err == nil:
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &broken):
			return // whoever gives a request up half-way has not asked for anything
		default:
			o.report(sayBad + err.Error())
			return
		}
		if !o.answer(c, r) {
			return
		}
		o.mu.Lock()
		c.served = true
		o.mu.Unlock()
	}
}

// answer answers one request and reports whether the connection goes on.
func (o *origin) answer(c *originConn, r *testnet.Request) bool {
	m, switched := o.look()
	check := r.Target == checkPath
	id, known := itemOf(r.Target)
	switch {
	case check:
	case !known:
		o.report(sayBad + "target " + r.Target)
		return false
	default:
		if r.Method == "POST" && !bytes.Equal(r.Body, requestBody(id)) {
			o.report(fmt.Sprintf("%sbody of request %d, %d bytes", sayBad, id, len(r.Body)))
			return false
		}
		o.report(fmt.Sprintf("%s%d %s", sayGot, id, r.Method))
	}
	switch {
	case m == modeHang:
		<-switched
		_ = c.SetLinger(0)
		return false
	case check:
		return o.send(c, plainAnswer(200, o.name), "")
	case m == modeError:
		return o.send(c, plainAnswer(500, o.name), "")
	case m == modeSlow:
		o.work(slowFactor * serviceTime)
	default:
		o.work(serviceTime)
	}
	if m == modeCut {
		o.report(fmt.Sprintf("%s%d", sayCut, id))
		return cutAnswer(c, itemAnswer(id, o.name), isReset(id))
	}
	fields := ""
	if m == modeAnnounce {
		fields = fmt.Sprintf("Connection: keep-alive\r\nKeep-Alive: timeout=%d\r\n", announceAfter/time.Second)
	}
	return o.send(c, itemAnswer(id, o.name), fields)
}

// work is what takes an endpoint its time. Where the machine takes more of it, everybody is told.
func (o *origin) work(d time.Duration) {
	began := time.Now()
	pass(d)
	if late := time.Since(began) - d; late > disturbed {
		o.report(sayLate + late.String())
	}
}

// pass lets time go by.
func pass(d time.Duration) { <-time.NewTimer(d).C }

// send writes an answer, with further field lines behind its status line.
func (o *origin) send(c *originConn, text []byte, fields string) bool {
	o.mu.Lock()
	last := o.leaving
	o.mu.Unlock()
	if last {
		fields = "Connection: close\r\n"
	}
	line, rest, _ := bytes.Cut(text, []byte("\r\n"))
	all := append(append(append([]byte{}, line...), "\r\n"...), fields...)
	_ = c.SetWriteDeadline(time.Now().Add(requestLimit))
	_, err := c.Write(append(all, rest...))
	return err == nil && !last
}

// cutAnswer sends the first half of an answer, lets it travel, and ends the connection.
func cutAnswer(c *originConn, text []byte, reset bool) bool {
	_ = c.SetWriteDeadline(time.Now().Add(requestLimit))
	if _, err := c.Write(text[:len(text)/2]); err == nil {
		pass(cutPause)
	}
	if reset {
		_ = c.SetLinger(0)
	}
	return false
}

// plainAnswer is a short answer.
func plainAnswer(status int, body string) []byte {
	return fmt.Appendf(nil, "HTTP/1.1 %d Status\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", status, len(body), body)
}

// itemAnswer is the whole answer to request id.
func itemAnswer(id int, endpoint string) []byte {
	body := answerBody(id, endpoint)
	text := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nX-Endpoint: %s\r\n", endpoint)
	if !isChunked(id) {
		return append(fmt.Appendf(text, "Content-Length: %d\r\n\r\n", len(body)), body...)
	}
	text = append(text, "Transfer-Encoding: chunked\r\n\r\n"...)
	for _, piece := range [][]byte{body[:len(body)/3], body[len(body)/3:]} {
		text = fmt.Appendf(text, "%x\r\n%s\r\n", len(piece), piece)
	}
	return append(text, "0\r\n\r\n"...)
}
