package expr

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

// A program that would run for ever, or fill the memory, ends without a value.
func TestLimits(t *testing.T) {
	x := exchange()
	x.Steps[0].Body = []byte(`{"n":[` + strings.Repeat("1,", 100_000) + `1],"text":"` + strings.Repeat("a", 1<<20) + `","names":{` + manyMembers(5000) + `}}`)
	x.Steps[2].Body = []byte(`{"n":[` + strings.Repeat(`"x",`, 5000) + `"x"],"small":[` + strings.Repeat("1,", 30) + `1]}`)
	for _, src := range []string{
		`account.body.n.all(a, account.body.n.all(b, a == b))`,
		`account.body.n.map(a, account.body.text)`,
		`account.body.n.all(a, a in account.body.n)`,
		`account.body.n.exists(a, a == 2) || account.body.n.all(a, account.body.n.exists(b, b == a + 1))`,
		`rows.body.n.exists(a, account.body.text.contains(a))`,
		`rows.body.n.map(a, account.body.text + a).size()`,
		`account.body.text.replace("", account.body.text)`,
		`account.body.n.map(a, "x").join(account.body.text)`,
		`account.body.text.matches("(a?){100}a{100}b")`,
		`account.body.n.map(a, a + 1).distinct() == account.body.n || sets.contains(account.body.n.map(a, 1), account.body.n.map(a, a + 1)) || account.body.n.sort() == []`,
		`rows.body.small.map(a, [a, a]).map(a, [a, a]).map(a, rows.body.small.map(b, [a, b])).map(a, rows.body.small.map(b, [a, b])).map(a, rows.body.small.map(b, [a, b]))`,
		`cel.bind(a, account.body.text + account.body.text, cel.bind(b, a + a, cel.bind(c, b + b, c + c + c)))`,
		`rows.body.n.map(a, merge.deep(account.body, rows.body)).size()`,
		`account.body.names.all(a, account.body.names.exists(b, account.body.names[b] == account.body.names[a]))`,
		`lists.range(10000).all(a, account.body.text != "b")`,
	} {
		p, err := Compile(src, known())
		if err != nil {
			t.Errorf("%s: %v", src, err)
			continue
		}
		out, how := p.appendJSON(nil, x)
		if how != refused {
			t.Errorf("%s gives %.40q (%d), want it to be refused", src, out, how)
		}
		if p.True(x) {
			t.Errorf("%s is true", src)
		}
	}
	// What is within the bounds is not disturbed by what was not.
	if got := evaluate(t, `account.body.n.size() == 100001 && account.body.n.all(a, a == 1)`, x); got != "true" {
		t.Errorf("a list of 100,001 elements: %s", got)
	}
	if got := evaluate(t, `lists.range(20000)`, x); got != noValue {
		t.Errorf("a range of 20,000: %.40s", got)
	}
}

func manyMembers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `%c"m%d":%d`, " ,"[min(i, 1)], i, i)
	}
	return b.String()
}

// One program is used by many goroutines at once.
func TestConcurrent(t *testing.T) {
	for _, src := range []string{
		`account.body.items.map(i, {"price": i.price, "who": claims.sub})`, `merge.deep(account.body, {"a": 1})`, `claims.absent == 1`,
		`claims.roles.exists(r, r.matches("^a"))`, `{"a": 1, "b": [2]}`, `"x" + string(claims.amount)`, `1 / (claims.level - 3)`, `"a" in 1 + claims.level`[:0] + `claims.level in [3]`,
	} {
		p, err := Compile(src, known())
		if err != nil {
			t.Fatalf("%s: %v", src, err)
		}
		want := valueOf(t, p, src, exchange())
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				x := exchange()
				for range 50 {
					if got := valueOf(t, p, src, x); got != want {
						t.Errorf("%s = %s, want %s", src, got, want)
						return
					}
				}
			})
		}
		all.Wait()
	}
}

// What an expression has appended stays when the exchange is used for another request.
func TestValuesAreCopies(t *testing.T) {
	x := exchange()
	body := []byte(`{"a":"bytes"}`)
	x.Steps[0].Body = body
	p, err := Compile(`[account.body.a, account.body.a + "!"]`, known())
	if err != nil {
		t.Fatal(err)
	}
	out, _ := p.AppendJSON(nil, x)
	for i := range body {
		body[i] = '#'
	}
	x.Reset()
	if string(out) != `["bytes","bytes!"]` {
		t.Errorf("the value became %s", out)
	}
}

// Values of an evaluation that has ended are not kept: the next one sees its own exchange.
func TestRunsAreFresh(t *testing.T) {
	p, err := Compile(`claims.sub + account.body.id`, known())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		x := exchange()
		x.Identity = identity(fmt.Sprintf(`{"sub":"s%d"}`, i))
		x.Steps[0].Body = fmt.Appendf(nil, `{"id":"b%d"}`, i)
		if got, want := valueOf(t, p, "", x), fmt.Sprintf(`"s%db%d"`, i, i); got != want {
			t.Errorf("run %d gives %s, want %s", i, got, want)
		}
	}
}
