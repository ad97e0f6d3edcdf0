package expr

import (
	"slices"
	"strings"

	"github.com/sluice-gateway/sluice/message"
)

// resolve makes a selector a program.
func resolve(path []member, env *Env) (Program, *Error) {
	root := path[0]
	if i := env.step(root.name); i >= 0 {
		return stepProgram(path, i)
	}
	if env.Item != "" && root.name == env.Item {
		return Program{op: opItem, path: segments(path[1:]), shape: anyShape, root: root.name}, nil
	}
	if !env.knows(root.name) {
		return Program{}, unknown(root, env)
	}
	var p Program
	var err *Error
	switch root.name {
	case varPath:
		p, err = capture(path, env)
	case varClaims:
		p = claimProgram(path)
	case varVersion:
		if len(path) > 1 {
			return Program{}, noMembers(path, 1)
		}
		p = Program{op: opVersion, shape: textShape}
	default:
		p, err = memberProgram(path)
	}
	p.root = root.name
	return p, err
}

// unknown says why there is no variable of that name.
func unknown(root member, env *Env) *Error {
	switch root.name {
	case varResponse:
		return &Error{Offset: root.at, Message: "there is no response yet where this is read", Suggestion: "use it in a policy for responses"}
	case varPath:
		return &Error{Offset: root.at, Message: "the path pattern of the route captures nothing",
			Suggestion: "write {name} in match.path, or use request.path for the whole path"}
	case varClaims:
		return &Error{Offset: root.at, Message: "claims is not known here", Suggestion: "put an identity policy such as jwt before this one"}
	case varConsumer:
		return &Error{Offset: root.at, Message: "consumer is not known here", Suggestion: "put an identity policy such as api_key before this one"}
	case varVersion:
		return &Error{Offset: root.at, Message: "version is not known here", Suggestion: "give the route an api with versions"}
	}
	return &Error{Offset: root.at, Message: quote(root.name) + " is not known here", Suggestion: didYouMean(root.name, env.roots())}
}

// membersOf returns the names that stand below a variable, in the order in which they are suggested.
func membersOf(root string) []string {
	switch root {
	case varRequest:
		return requestMembers
	case varClient:
		return clientMembers
	case varConsumer:
		return consumerMembers
	case varResponse:
		return responseMembers
	}
	return stepMembers
}

// alone says that a variable has members and nothing else.
func alone(root member, members []string) *Error {
	return &Error{Offset: root.at, Message: root.name + " has members and no value of its own",
		Suggestion: "known: " + strings.Join(members, ", "), partial: true}
}

// memberProgram resolves a member of request, client, consumer or response.
func memberProgram(path []member) (Program, *Error) {
	root := path[0].name
	if len(path) == 1 {
		return Program{}, alone(path[0], membersOf(root))
	}
	m := path[1]
	op := operation(root, m.name)
	if op == opNone {
		return Program{}, &Error{Offset: m.at, Message: quote(m.name) + " is not a member of " + root, Suggestion: didYouMean(m.name, membersOf(root))}
	}
	if op == opCertificate {
		return certificateProgram(path)
	}
	if entry, has := entryOf[op]; has && len(path) > 2 {
		return entryProgram(entry, path, 2)
	} else if has && op != opQuery {
		return Program{}, needsName(path, 1)
	}
	if len(path) > 2 {
		return Program{}, noMembers(path, 2)
	}
	return Program{op: op, shape: shapeOf(op)}, nil
}

// needsName says that path[n] is a map of which one entry has to be named.
func needsName(path []member, n int) *Error {
	var name strings.Builder
	for i, m := range path[:n+1] {
		if i > 0 {
			name.WriteByte('.')
		}
		name.WriteString(m.name)
	}
	return &Error{Offset: path[n].at, Message: name.String() + " needs a name", Suggestion: "write " + name.String() + `["name"]`, partial: true}
}

// certificateProgram resolves client.cert.NAME.
func certificateProgram(path []member) (Program, *Error) {
	if len(path) == 2 {
		return Program{}, alone(member{name: "client.cert", at: path[1].at}, certificateMembers)
	}
	m := path[2]
	op := opNone
	switch m.name {
	case "subject":
		op = opSubject
	case "issuer":
		op = opIssuer
	case "serial":
		op = opSerial
	case "fingerprint":
		op = opFingerprint
	case "san":
		op = opAltNames
	default:
		return Program{}, &Error{Offset: m.at, Message: quote(m.name) + " is not a member of client.cert", Suggestion: didYouMean(m.name, certificateMembers)}
	}
	if len(path) > 3 {
		return Program{}, noMembers(path, 3)
	}
	return Program{op: op, shape: shapeOf(op)}, nil
}

// stepProgram resolves STEP.status, STEP.headers["name"] and STEP.body with what is below it.
func stepProgram(path []member, step int) (Program, *Error) {
	if len(path) == 1 {
		return Program{}, alone(path[0], stepMembers)
	}
	p := Program{step: step, uses: true, root: path[0].name}
	switch m := path[1]; m.name {
	case "status":
		if len(path) > 2 {
			return Program{}, noMembers(path, 2)
		}
		p.op, p.shape = opStepStatus, numberShape
	case "headers":
		if len(path) == 2 {
			return Program{}, needsName(path, 1)
		}
		entry, err := entryProgram(opStepHeader, path, 2)
		if err != nil {
			return Program{}, err
		}
		p.op, p.name, p.text, p.shape = entry.op, entry.name, entry.text, entry.shape
	case "body":
		p.op, p.path = opStepBody, segments(path[2:])
	default:
		return Program{}, &Error{Offset: m.at, Message: quote(m.name) + " is not a member of " + path[0].name, Suggestion: didYouMean(m.name, stepMembers)}
	}
	return p, nil
}

// claimProgram resolves claims and what is below it.
func claimProgram(path []member) Program {
	p := Program{op: opClaims, path: segments(path[1:])}
	if len(path) == 2 && path[1].index < 0 {
		p.op, p.text = opClaim, path[1].name
	}
	return p
}

// capture resolves path.NAME.
func capture(path []member, env *Env) (Program, *Error) {
	if len(path) == 1 {
		return Program{}, alone(path[0], env.Captures)
	}
	if len(path) > 2 {
		return Program{}, noMembers(path, 2)
	}
	m := path[1]
	if !env.captures(m.name) {
		return Program{}, notCaptured(m, env)
	}
	if m.name == env.Rest {
		return Program{op: opRest, text: m.name, shape: textShape}, nil
	}
	return Program{op: opCapture, text: m.name, shape: textShape}, nil
}

func notCaptured(m member, env *Env) *Error {
	return &Error{Offset: m.at, Message: "the path pattern of the route does not capture " + quote(m.name), Suggestion: didYouMean(m.name, env.Captures)}
}

// entryProgram resolves an entry of a map, path[n].
func entryProgram(op op, path []member, n int) (Program, *Error) {
	if len(path) > n+1 {
		return Program{}, noMembers(path, n+1)
	}
	m := path[n]
	if m.index >= 0 {
		return Program{}, &Error{Offset: m.at, Message: "entries are found by their names, and not by numbers", Suggestion: `write ["name"]`}
	}
	if m.name == "" || len(m.name) > maxName {
		return Program{}, &Error{Offset: m.at, Message: "the name is empty or longer than 4 KiB"}
	}
	p := Program{op: op, text: m.name, shape: shapeOf(op)}
	if op == opRequestHeader || op == opResponseHeader || op == opStepHeader {
		if !message.ValidToken([]byte(m.name)) {
			return Program{}, &Error{Offset: m.at, Message: quote(m.name) + " cannot be the name of a header"}
		}
		p.name = message.NameOf(m.name)
	}
	if op == opRequestHeader && p.name.ID() == message.Host {
		p.op = opHostField
	}
	return p, nil
}

func noMembers(path []member, n int) *Error {
	return &Error{Offset: path[n].at, Message: quote(path[n-1].name) + " has no members"}
}

// segments makes members the way to a value in a document.
func segments(path []member) []segment {
	if len(path) == 0 {
		return nil
	}
	list := make([]segment, len(path))
	for i, m := range path {
		list[i] = segment{name: m.name, index: m.index, quoted: m.quoted}
	}
	return list
}

// operation returns what reads a member of a variable, opNone if it has no such member.
func operation(root, member string) op {
	i := slices.IndexFunc(operations, func(o namedOp) bool { return o.root == root && o.member == member })
	if i < 0 {
		return opNone
	}
	return operations[i].op
}

type namedOp struct {
	root, member string
	op           op
}

// operations give for each member of a variable what reads it.
var operations = []namedOp{
	{varRequest, "method", opMethod},
	{varRequest, "scheme", opScheme},
	{varRequest, "host", opHost},
	{varRequest, "path", opPath},
	{varRequest, "query", opQuery},
	{varRequest, "query_all", opQueryMap},
	{varRequest, "headers", opRequestHeaders},
	{varRequest, "cookies", opCookies},
	{varRequest, "size", opSize},
	{varRequest, "id", opID},
	{varClient, "ip", opClientIP},
	{varClient, "port", opClientPort},
	{varClient, "cert", opCertificate},
	{varConsumer, "name", opConsumer},
	{varConsumer, "plan", opPlan},
	{varResponse, "status", opStatus},
	{varResponse, "headers", opResponseHeaders},
}

// entryOf gives for a map what reads one entry of it.
var entryOf = map[op]op{
	opQuery:           opParameter,
	opQueryMap:        opParameters,
	opRequestHeaders:  opRequestHeader,
	opCookies:         opCookie,
	opResponseHeaders: opResponseHeader,
}
