package message

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestReasons(t *testing.T) {
	words := make(map[string]bool)
	for r := range Reasons {
		word := r.String()
		if word == "" || strings.Trim(word, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" || words[word] {
			t.Errorf("reason %d has the word %q", r, word)
		}
		words[word] = true
		if s := r.Status(); s < 400 || s > 599 || r.Title() == "" || !strings.HasSuffix(r.Detail(), ".") {
			t.Errorf("%s: status %d, title %q, detail %q", word, s, r.Title(), r.Detail())
		}
	}
	if len(words) != int(reasonCount)-1 || ReasonNone.String() != "" || ReasonNone.Status() != 0 {
		t.Errorf("%d reasons, want %d", len(words), reasonCount-1)
	}
}

func TestFailure(t *testing.T) {
	f := &Failure{Reason: UpstreamReset, Side: SideUpstream, Stage: StageWait}
	if f.Error() != "upstream_reset" {
		t.Errorf("%q", f.Error())
	}
	f.Err = io.ErrUnexpectedEOF
	if f.Error() != "upstream_reset: unexpected EOF" || !errors.Is(f, io.ErrUnexpectedEOF) {
		t.Errorf("%q", f.Error())
	}
	if SideUpstream.String() != "upstream" || SideNone.String() != "" || StageWait.String() != "wait" || StageWrite.String() != "write" {
		t.Error("the words of sides and stages have changed")
	}
}

func TestBodies(t *testing.T) {
	var b Bytes
	b.Reset([]byte("hello"))
	if p, err := b.Next(); string(p) != "hello" || err != nil {
		t.Errorf("%q, %v", p, err)
	}
	for range 2 {
		if p, err := b.Next(); p != nil || err != io.EOF {
			t.Errorf("%q, %v", p, err)
		}
	}
	b.Reset([]byte("dropped"))
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if p, err := b.Next(); p != nil || err != io.EOF {
		t.Errorf("behind Close: %q, %v", p, err)
	}
	var none NoBody
	if p, err := none.Next(); p != nil || err != io.EOF || none.Close() != nil {
		t.Errorf("%q, %v", p, err)
	}
}

// An exchange that was reset is as a new one, but for what the handler keeps in State.
func TestExchangeReset(t *testing.T) {
	var x Exchange
	x.Reset()
	x.Request.Method = MethodOf([]byte("GET"))
	x.Request.Path, x.Request.Body, x.Request.Length = x.Keep([]byte("/path")), &x.Fixed, 5
	x.Request.Header.Add(Host.Name(), []byte("a"))
	x.Request.Trailer.Add(NameOf("T"), []byte("1"))
	x.Response.Header.Add(NameOf("X"), []byte("1"))
	x.Response.Trailer.Add(NameOf("T"), []byte("1"))
	x.Response.Status, x.Response.Close, x.Response.Body = 200, true, &x.Fixed
	x.Captures = append(x.Captures, Capture{Name: "name", Value: []byte("value")})
	x.Fixed.Reset([]byte("body"))
	x.ID, x.Deadline, x.Times.Start = []byte("id"), 1, 1
	x.Fail(&Failure{Reason: UpstreamReset})
	if string(x.Capture("name")) != "value" || x.Capture("other") != nil {
		t.Error("captures are not found")
	}
	x.Reset()
	for name, left := range map[string]bool{
		"method": x.Request.Method.Known != 0, "path": x.Request.Path != nil, "length": x.Request.Length != 0, "status": x.Response.Status != 0, "close": x.Response.Close,
		"header": x.Request.Header.Len()+x.Request.Trailer.Len()+x.Response.Header.Len()+x.Response.Trailer.Len() != 0, "presence": x.Request.Header.Has(Host),
		"captures": len(x.Captures) != 0 || x.Captures[:1][0].Value != nil, "id": x.ID != nil, "deadline": x.Deadline != 0, "times": x.Times != Times{},
		"outcome": x.Outcome.Reason != 0, "body": x.Request.Body != NoBody{} || x.Response.Body != NoBody{},
	} {
		if left {
			t.Errorf("%s was left", name)
		}
	}
}

// The first failure of an exchange is the one that counts.
func TestFail(t *testing.T) {
	var x Exchange
	x.Fail(&Failure{Reason: UpstreamReset, Side: SideUpstream, Stage: StageWait, Err: io.EOF})
	x.Fail(&Failure{Reason: ClientClosed, Side: SideClient, Stage: StageWrite})
	if o := x.Outcome; o.Reason != UpstreamReset || o.Side != SideUpstream || o.Stage != StageWait || o.Err != io.EOF {
		t.Errorf("%+v", o)
	}
}

// What an exchange keeps stays as it was, however much is kept behind it.
func TestKeep(t *testing.T) {
	var x Exchange
	var kept [][]byte
	for i := range 200 {
		text := bytes.Repeat([]byte{byte(i)}, i)
		switch i % 3 {
		case 0:
			kept = append(kept, x.Keep(text))
		case 1:
			kept = append(kept, x.KeepScratch(append(x.Scratch(), text...)))
		default:
			kept = append(kept, x.KeepScratch(append(make([]byte, 0, 5000), text...))) // built elsewhere
		}
		_ = append(x.Scratch(), "not kept"...)
	}
	for i, b := range kept {
		if !bytes.Equal(b, bytes.Repeat([]byte{byte(i)}, i)) {
			t.Fatalf("value %d became %v", i, b)
		}
		if i > 0 && cap(b) != len(b) {
			t.Fatalf("value %d can be appended to and would write over the next", i)
		}
	}
	if x.Reset(); cap(x.scratch) > 16<<10 {
		t.Errorf("%d bytes were kept beyond the exchange", cap(x.scratch))
	}
}

// Builds that check ownership overwrite what was given back.
func TestPoison(t *testing.T) {
	b := []byte("0123456789")
	Poison(b[:5])
	want := "0123456789"
	if Invariants {
		want = "\xff\xff\xff\xff\xff56789"
	}
	if string(b) != want {
		t.Errorf("%q, want %q", b, want)
	}
	if !Invariants {
		return
	}
	var x Exchange
	kept := x.Keep([]byte("kept"))
	x.Request.Header.Add(NameOf("X"), []byte("value"))
	value := x.Request.Header.Find(NameOf("X"))
	x.Reset()
	if string(kept) != "\xff\xff\xff\xff" || string(value) != "\xff\xff\xff\xff\xff" {
		t.Errorf("%q and %q outlived the exchange", kept, value)
	}
}

func TestClock(t *testing.T) {
	a := Now()
	b := Now()
	if a <= 0 || b < a {
		t.Errorf("%d, then %d", a, b)
	}
	if d := WallTime(a + 5).Sub(WallTime(a)); d != 5 {
		t.Errorf("5 nanoseconds later is %v later", d)
	}
	for p, want := range map[Protocol]string{ProtocolUnknown: "", HTTP10: "HTTP/1.0", HTTP11: "HTTP/1.1", HTTP2: "HTTP/2", HTTP3: "HTTP/3"} {
		if p.String() != want {
			t.Errorf("%q, want %q", p, want)
		}
	}
}

func TestNotes(t *testing.T) {
	x := new(Exchange)
	x.Reset()
	a, b := new(int), new(int)
	if x.Note(a) != nil {
		t.Error("a note that nobody made")
	}
	x.SetNote(a, "first")
	x.SetNote(b, b)
	x.SetNote(a, "second")
	if x.Note(a) != "second" || x.Note(b) != b || x.Note(new(int)) != nil {
		t.Errorf("notes %v, %v", x.Note(a), x.Note(b))
	}
	x.Reset()
	if x.Note(a) != nil || x.Note(b) != nil {
		t.Error("notes of the exchange before")
	}
}
