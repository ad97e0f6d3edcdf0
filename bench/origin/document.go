package origin

import (
	"bytes"
	"fmt"
)

// Document is a JSON object of size bytes, as services answer them: some members, an array of objects and a text that makes up what is missing. The name is its first
// member, so that documents can be told apart; its second, from, is "nobody".
func Document(name string, size int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"name":%q,"from":"nobody","id":"4711","currency":"EUR","balance":1024.50,"open":true,"items":[`, name)
	const tail = `],"note":""}`
	for i := 0; ; i++ {
		item := fmt.Sprintf(`{"id":%d,"text":"Standing order","amount":%d.%02d}`, 100000+i, 10+i, (37*i)%100)
		if i > 0 {
			item = "," + item
		}
		if b.Len()+len(item)+len(tail) > size {
			break
		}
		b.WriteString(item)
	}
	text := bytes.Repeat([]byte("x"), max(0, size-b.Len()-len(tail)))
	fmt.Fprintf(&b, `],"note":"%s"}`, text)
	return b.Bytes()
}
