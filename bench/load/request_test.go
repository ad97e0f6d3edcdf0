package load

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestRequestWith(t *testing.T) {
	text := RequestWith("POST", "bench.example", "/transfers", []byte("{}"), "X-API-Key: k", "Content-Type: application/json")
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(text)))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil || string(body) != "{}" || r.Method != "POST" || r.Host != "bench.example" || r.URL.Path != "/transfers" || r.Header.Get("X-API-Key") != "k" {
		t.Errorf("%q is read as %+v, %q, %v", text, r, body, err)
	}
	const plain = "GET /a HTTP/1.1\r\nHost: h\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n"
	if got := string(Request("h", "/a", false)); got != plain {
		t.Errorf("a plain request is %q", got)
	}
	if got := string(Request("h", "/a", true)); got != strings.Replace(plain, "\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1) {
		t.Errorf("a closing request is %q", got)
	}
}

func TestNumbersFollowEachOther(t *testing.T) {
	n := Numbers{Count: 3}
	given := [][]byte{[]byte("a " + NumberPlace + " b"), []byte(NumberPlace)}
	texts, places, err := n.numbered(given)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i := range 5 {
		n.put(places[i%2])
		got = append(got, string(texts[i%2]))
	}
	want := []string{"a 00000000 b", "00000001", "a 00000002 b", "00000000", "a 00000001 b"}
	if strings.Join(got, ",") != strings.Join(want, ",") {
		t.Errorf("the requests are %q, want %q", got, want)
	}
	if string(given[1]) != NumberPlace {
		t.Errorf("the given text was changed: %q", given[1])
	}
	last := Numbers{Count: maxNumbers, next: maxNumbers - 1}
	if last.put(places[1]); string(texts[1]) != "99999999" || last.next != 0 {
		t.Errorf("the last number is %q", texts[1])
	}
	for _, bad := range []Numbers{{Count: 0}, {Count: maxNumbers + 1}} {
		if _, _, err := bad.numbered(given); err == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
	if _, _, err := n.numbered([][]byte{[]byte("no place")}); err == nil {
		t.Error("a request without a place was accepted")
	}
}
