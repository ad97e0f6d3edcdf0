//go:build !race

package load

import "testing"

func TestCheckAnswerAllocatesNothing(t *testing.T) {
	b := []byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: x\r\nConnection: keep-alive\r\n\r\nhello")
	want := []byte("hello")
	if n := testing.AllocsPerRun(100, func() { checkAnswer(b, want) }); n != 0 {
		t.Errorf("checking an answer allocates %v times", n)
	}
}

func TestNumbersAllocateNothing(t *testing.T) {
	n := Numbers{Count: 1000}
	place := []byte(NumberPlace)
	if got := testing.AllocsPerRun(100, func() { n.put(place) }); got != 0 {
		t.Errorf("a number allocates %v times", got)
	}
}
