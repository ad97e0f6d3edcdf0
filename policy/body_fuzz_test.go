package policy

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/message"
)

// A template brings what a request says into a document, and never out of its text.
func FuzzTemplateBody(f *testing.F) {
	for _, s := range []string{"a", `"`, "\\", "\x00\x1f", "\xff", "${path.id}", "é\u2028", `","admin":true,"x":"`} {
		f.Add(s)
	}
	p := chain(f, `[{request: {body: {template: {whole: "${request.headers.x}", part: "<${request.headers.x}>", list: ["${request.query.q}"]}}}}]`)
	f.Fuzz(func(t *testing.T, value string) {
		x := posted("", "", false)
		x.Request.Header.Add(message.NameOf("X"), []byte(value))
		x.Request.Query = append([]byte("q="), message.AppendQueryValue(nil, []byte(value))...)
		ran, _, failure := p.Request(x, 0, nil)
		text := outcome(t, x, failure)
		var got struct {
			Whole, Part string
			List        []string
		}
		d := json.NewDecoder(strings.NewReader(text))
		d.DisallowUnknownFields()
		if err := d.Decode(&got); err != nil || d.More() {
			t.Fatalf("%q gives %s: %v", value, text, err)
		}
		want := strings.ToValidUTF8(value, "\ufffd")
		if n := len([]rune(got.Whole)); len(got.List) != 1 || got.Part != "<"+got.Whole+">" || got.Whole == "" && want != "" || n > len(value) {
			t.Errorf("%q gives %+v", value, got)
		}
		p.Response(x, ran, 0)
	})
}
