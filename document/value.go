package document

// Value is the text of one valid JSON value, without white space around it (it may have white space inside). The zero Value stands for
// "absent". It belongs to whoever owns the text.
type Value struct{ text []byte }

// Kind is what a value is.
type Kind uint8

// The kinds.
const (
	Absent Kind = iota // there is no value
	Null
	Bool
	Number
	String
	Array
	Object
)

// kindNames are read-only, in the order of the kinds.
var kindNames = [...]string{"absent", "null", "boolean", "number", "string", "array", "object"}

// String returns the name of the kind as JSON Schema has it.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}

// kindTable is read-only: the kind of a value by its first byte.
var kindTable = func() (t [256]Kind) {
	for c := '0'; c <= '9'; c++ {
		t[c] = Number
	}
	t['-'], t['n'], t['t'], t['f'], t['"'], t['['], t['{'] = Number, Null, Bool, Bool, String, Array, Object
	return t
}()

// Of returns the value of a text that is known to be valid JSON, because it was parsed before or written by this program; white space around
// it is left out. Reading an invalid text finds nonsense, and neither panics nor runs on.
func Of(text []byte) Value {
	i, end := skipSpace(text, 0), len(text)
	for end > i && isSpace(text[end-1]) {
		end--
	}
	if i == end {
		return Value{}
	}
	return Value{text[i:end:end]}
}

// Exists reports whether there is a value; null is one.
func (v Value) Exists() bool { return len(v.text) > 0 }

// Kind returns what the value is.
func (v Value) Kind() Kind {
	if len(v.text) == 0 {
		return Absent
	}
	return kindTable[v.text[0]]
}

// Raw returns the text of the value as it lies in its document, nil for an absent one. It is not to be changed.
func (v Value) Raw() []byte { return v.text }

// Bool returns the value of true or false; ok is false for other kinds.
func (v Value) Bool() (b, ok bool) {
	if v.Kind() != Bool {
		return false, false
	}
	return v.text[0] == 't', true
}

// Member returns the member of an object with this name, the last of several, and no value where there is none or v is no object. Names with
// escapes are compared decoded.
func (v Value) Member(name string) Value {
	if v.Kind() != Object {
		return Value{}
	}
	var found Value
	c := enter(v.text, 0)
	for {
		it, ok := c.member()
		if !ok {
			return found
		}
		if equalName(c.nameOf(it), it.escaped, name) {
			found = Value{v.text[it.start:it.end:it.end]}
		}
	}
}

// Index returns the element i of an array, from 0, and no value where there is none or v is no array.
func (v Value) Index(i int) Value {
	if v.Kind() != Array || i < 0 {
		return Value{}
	}
	c := enter(v.text, 0)
	for ; ; i-- {
		it, ok := c.element()
		if !ok {
			return Value{}
		}
		if i == 0 {
			return Value{v.text[it.start:it.end:it.end]}
		}
	}
}

// Len returns how many elements an array or members an object has, 0 for other kinds. It scans the value.
func (v Value) Len() int {
	n := 0
	switch v.Kind() {
	case Array:
		for range v.Items {
			n++
		}
	case Object:
		for range v.Members {
			n++
		}
	}
	return n
}

// Members goes through the members of an object in their order; name is the value of a string. For other kinds there is nothing.
//
//	for name, value := range v.Members { … }
func (v Value) Members(yield func(name, value Value) bool) {
	if v.Kind() != Object {
		return
	}
	c := enter(v.text, 0)
	for {
		it, ok := c.member()
		if !ok || !yield(Value{v.text[it.name:it.nameEnd:it.nameEnd]}, Value{v.text[it.start:it.end:it.end]}) {
			return
		}
	}
}

// Items goes through the elements of an array in their order. For other kinds there is nothing.
func (v Value) Items(yield func(Value) bool) {
	if v.Kind() != Array {
		return
	}
	c := enter(v.text, 0)
	for {
		it, ok := c.element()
		if !ok || !yield(Value{v.text[it.start:it.end:it.end]}) {
			return
		}
	}
}
