package scenario

import (
	"fmt"
	"strings"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// facts are what can be expected of a message or a line of the log: texts by their word, and under the three keys below what has names of its own.
type facts map[string]any

const (
	header  = "header"  // testnet.Fields
	trailer = "trailer" // testnet.Fields
	log     = "member"  // map[string]any: a line of the access log, or a JSON body
)

// unmet compares what is expected with the facts and says what is wrong, or nothing. The forms are
//
//	WORD VALUE                         the fact is exactly that
//	WORD contains VALUE                it holds the text
//	header NAME VALUE                  there is one field of the name, with that value
//	header NAME contains VALUE
//	no header NAME
//	member NAME VALUE, member NAME contains VALUE, no member NAME
func unmet(args []string, f facts) string {
	if f == nil {
		return "nothing was received yet"
	}
	no := args[0] == "no"
	if no {
		args = args[1:]
	}
	have, there, rest := f.find(args)
	want := strings.Join(rest, " ")
	switch {
	case no && there:
		return fmt.Sprintf("%s is %q, want none", strings.Join(args, " "), have)
	case no:
		return ""
	case !there:
		return fmt.Sprintf("there is no %s in %v", strings.Join(args, " "), f)
	case len(rest) > 1 && rest[0] == "contains":
		if part := strings.Join(rest[1:], " "); !strings.Contains(have, part) {
			return fmt.Sprintf("%s is %q, want it to hold %q", args[0], have, part)
		}
	case have != want:
		return fmt.Sprintf("%s is %q, want %q", strings.Join(args[:len(args)-len(rest)], " "), have, want)
	}
	return ""
}

// find returns the fact that args name, and the arguments behind its name.
func (f facts) find(args []string) (have string, there bool, rest []string) {
	switch args[0] {
	case header, trailer:
		fields, _ := f[args[0]].(testnet.Fields)
		all := fields.All(args[1])
		return strings.Join(all, " | "), len(all) > 0, args[2:]
	case log:
		members, _ := f[log].(map[string]any)
		v, ok := members[args[1]]
		return fmt.Sprint(v), ok, args[2:]
	}
	text, ok := f[args[0]].(string)
	return text, ok, args[1:]
}
