package message

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// model is a header in the simplest form: a list of names and values.
type model []Field

func (m model) index(name string, from int) int {
	for i := from; i < len(m); i++ {
		if strings.EqualFold(string(m[i].Name), name) {
			return i
		}
	}
	return -1
}

func (m *model) remove(name string, from int) {
	for i := m.index(name, from); i >= 0; i = m.index(name, i) {
		*m = slices.Delete(*m, i, i+1)
	}
}

func (m model) String() string {
	var b strings.Builder
	for _, f := range m {
		fmt.Fprintf(&b, "%s: %s\r\n", f.Name, f.Value)
	}
	return b.String()
}

// text returns h as a codec writes it: whole lines where there are some, else name and value.
func text(h *Header) string {
	var b strings.Builder
	for i := 0; i < h.Len(); {
		if lines, next, _ := h.Lines(i, 0); lines != nil {
			b.Write(lines)
			i = next
			continue
		}
		f := h.At(i)
		fmt.Fprintf(&b, "%s: %s\r\n", f.Name, f.Value)
		i++
	}
	return b.String()
}

// readLines enters lines as a codec does: the block is appended behind them.
func readLines(h *Header, block string) {
	at := 0
	for l := range strings.Lines(block) {
		name, value, _ := strings.Cut(strings.TrimSuffix(l, "\r\n"), ":")
		trimmed := strings.TrimSpace(value)
		plain := value == " "+trimmed
		v := at + len(name) + 1 + len(value) - len(strings.TrimLeft(value, " "))
		h.AddLine(Lookup([]byte(name)), uint32(at), len(name), uint32(v), len(trimmed), plain)
		at += len(l)
	}
	h.Append([]byte(block))
}

// The names that random changes use: known and unknown ones, and one that differs in case.
var someNames = []string{"Host", "host", "Content-Type", "X-Forwarded-For", "Accept", "X-One", "x-one", "X-Two", "X"}

// Whatever is done to a header, it is the list that the same changes make of a plain list.
func TestHeaderAgainstModel(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var h Header
	for range 300 {
		h.Reset()
		const block = "Host: a\r\nX-One: 1\r\nx-two:2 \r\nAccept: x\r\nX-One: 3\r\nX:\r\n"
		readLines(&h, block)
		m := model{}
		for l := range strings.Lines(block) {
			name, value, _ := strings.Cut(strings.TrimSpace(l), ":")
			m = append(m, Field{Name: []byte(name), Value: []byte(strings.TrimSpace(value))})
		}
		log := block
		for step := range 15 {
			name, other := someNames[r.IntN(len(someNames))], someNames[r.IntN(len(someNames))]
			value := fmt.Sprint("v", step)
			n := NameOf(name)
			written := name
			if n.ID() != 0 {
				written = n.String()
			}
			switch op := r.IntN(6); op {
			case 0, 1:
				log += "add " + name + "\n"
				h.Add(n, []byte(value))
				m = append(m, Field{Name: []byte(written), Value: []byte(value)})
			case 2:
				log += "set " + name + "\n"
				h.Set(n, []byte(value))
				if i := m.index(name, 0); i >= 0 {
					m[i].Value = []byte(value)
					m.remove(name, i+1)
				} else {
					m = append(m, Field{Name: []byte(written), Value: []byte(value)})
				}
			case 3:
				log += "remove " + name + "\n"
				if had := h.Remove(n); had != (m.index(name, 0) >= 0) {
					t.Fatalf("%s\nRemove says %v", log, had)
				}
				m.remove(name, 0)
			case 4:
				if len(m) == 0 {
					continue
				}
				i := r.IntN(len(m))
				log += fmt.Sprintln("remove at", i)
				h.RemoveAt(i)
				m = slices.Delete(m, i, i+1)
			case 5:
				log += "rename " + name + " to " + other + "\n"
				h.Rename(n, NameOf(other))
				if strings.EqualFold(name, other) {
					if i := m.index(name, 0); i >= 0 {
						m[i].Name = []byte(other)
					}
					continue
				}
				for i := m.index(name, 0); i >= 0; i = m.index(name, i) {
					m[i].Name = []byte(other)
				}
			}
			check(t, &h, m, log)
		}
	}
}

// check compares everything that can be asked of h with m.
func check(t *testing.T, h *Header, m model, log string) {
	t.Helper()
	size := 0
	for i, f := range m {
		size += len(f.Name) + len(f.Value)
		if h.Len() != len(m) {
			t.Fatalf("%s\n%d fields, want %d", log, h.Len(), len(m))
		}
		got := h.At(i)
		if string(got.Name) != string(f.Name) && got.ID == 0 || !EqualFold(got.Name, string(f.Name)) || string(got.Value) != string(f.Value) || got.ID != Lookup(f.Name) {
			t.Fatalf("%s\nfield %d is %s: %s, want %s: %s", log, i, got.Name, got.Value, f.Name, f.Value)
		}
	}
	if h.Len() != len(m) || h.Size() != size || !strings.EqualFold(text(h), m.String()) {
		t.Fatalf("%s\n%d fields, %d bytes, %q; want %d, %d, %q", log, h.Len(), h.Size(), text(h), len(m), size, m.String())
	}
	for _, name := range someNames {
		n, i := NameOf(name), m.index(name, 0)
		var want []byte
		count := 0
		for j := i; j >= 0; j = m.index(name, j+1) {
			count++
		}
		if i >= 0 {
			want = m[i].Value
		}
		if h.Index(n, 0) != i || string(h.Find(n)) != string(want) || (h.Find(n) == nil) != (i < 0) {
			t.Fatalf("%s\n%s: index %d, value %q; want %d, %q", log, name, h.Index(n, 0), h.Find(n), i, want)
		}
		if id := n.ID(); id != 0 && (h.Has(id) != (i >= 0) || h.Count(id) != count || string(h.Get(id)) != string(want)) {
			t.Fatalf("%s\n%s: has %v, count %d, value %q; want %d, %q", log, name, h.Has(id), h.Count(id), h.Get(id), count, want)
		}
	}
}

// Lines that lie next to each other are copied at once, and never one that is to be left out.
func TestLines(t *testing.T) {
	var h Header
	readLines(&h, "Accept: 1\r\nX-One: 2\r\nConnection: x\r\nX-Two: 3\r\nX:4\r\nHost: a\r\n")
	type run struct {
		lines   string
		next    int
		checked bool
	}
	for i, want := range []run{
		{"Accept: 1\r\nX-One: 2\r\n", 2, true}, {"X-One: 2\r\n", 2, true}, {"", 2, false}, {"X-Two: 3\r\n", 4, true}, {"", 4, false}, {"", 5, false},
	} {
		lines, next, checked := h.Lines(i, FlagHop|FlagFraming)
		if string(lines) != want.lines || next != want.next || checked != want.checked {
			t.Errorf("from %d: %q, %d, %v; want %+v", i, lines, next, checked, want)
		}
	}
	h.Reset()
	h.Add(NameOf("A"), []byte("1"))
	h.Add(NameOf("B"), []byte("2\r\nC: 3"))
	if _, _, checked := h.Lines(0, 0); checked {
		t.Error("a value with a line end counts as checked")
	}
	h.Reset()
	h.Add(NameOf("A b"), []byte("1"))
	if _, _, checked := h.Lines(0, 0); checked {
		t.Error("a name with a space counts as checked")
	}
}

func TestHeaderEmptyValue(t *testing.T) {
	var h Header
	h.Add(Accept.Name(), nil)
	if v := h.Get(Accept); v == nil || len(v) != 0 {
		t.Errorf("an empty value is %v, want empty and not nil", v)
	}
	if v := h.Get(Host); v != nil {
		t.Errorf("a field that is not there is %q", v)
	}
}

func TestHeaderCopy(t *testing.T) {
	var a, b Header
	a.Add(NameOf("X"), []byte("1"))
	b.Add(NameOf("Y"), []byte("2"))
	b.CopyFrom(&a)
	a.Set(NameOf("X"), []byte("changed"))
	a.Reset()
	if got := text(&b); got != "X: 1\r\n" {
		t.Errorf("the copy is %q", got)
	}
}

// One huge header does not make its memory huge for ever.
func TestHeaderMemoryIsBounded(t *testing.T) {
	var h Header
	for range 1000 {
		h.Add(NameOf("X"), make([]byte, 1000))
	}
	h.Reset()
	if cap(h.arena) > 16<<10 || cap(h.fields) > 256 {
		t.Errorf("%d bytes and %d fields were kept", cap(h.arena), cap(h.fields))
	}
}

func TestHasToken(t *testing.T) {
	for _, test := range []struct {
		values []string
		token  string
		want   bool
	}{
		{[]string{"close"}, "close", true}, {[]string{"Close"}, "close", true}, {[]string{"a, close ,b"}, "close", true}, {[]string{"a", "b,\tclose"}, "close", true},
		{[]string{"closed"}, "close", false}, {[]string{"xclose"}, "close", false}, {[]string{"a close"}, "close", false}, {[]string{""}, "close", false}, {nil, "close", false},
	} {
		var h Header
		for _, v := range test.values {
			h.Add(Connection.Name(), []byte(v))
		}
		if got := h.HasToken(Connection, test.token); got != test.want {
			t.Errorf("%q: %v, want %v", test.values, got, test.want)
		}
	}
}
