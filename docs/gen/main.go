// Command gen writes docs/reasons.md, the list of all reason words, from the table in message/reason.go and from where the code uses it.
package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/sluice-gateway/sluice/message"
)

//go:generate go run .

// root is the repository, from the folder of this program; output is what is written.
const (
	root   = "../.."
	output = "../reasons.md"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("gen: ")
	text, err := page(root)
	if err == nil {
		err = os.WriteFile(output, text, 0o644)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// sides says whose fault each reason is. A reason with two has one for each way to it.
var sides = map[message.Reason]string{
	message.RequestLineInvalid:          "client",
	message.RequestLineTooLong:          "client",
	message.VersionUnsupported:          "client",
	message.MethodInvalid:               "client",
	message.MethodNotSupported:          "client",
	message.HeaderInvalid:               "client",
	message.HeaderNameInvalid:           "client",
	message.HeaderValueInvalid:          "client",
	message.HeaderFolded:                "client",
	message.HeaderTooLarge:              "client",
	message.HeaderTooMany:               "client",
	message.HeaderRepeated:              "client",
	message.LineEndInvalid:              "client",
	message.LengthInvalid:               "client",
	message.LengthConflict:              "client",
	message.TransferEncodingInvalid:     "client",
	message.ChunkInvalid:                "client",
	message.BodyTooLarge:                "client",
	message.HostInvalid:                 "client",
	message.PathInvalid:                 "client",
	message.PathAmbiguous:               "client",
	message.PathValueInvalid:            "client",
	message.ExpectationUnsupported:      "client",
	message.UpgradeInvalid:              "client",
	message.HeaderTimeout:               "client",
	message.BodyTimeout:                 "client",
	message.NoRoute:                     "client",
	message.MethodNotAllowed:            "client",
	message.ExpressionFailed:            "client",
	message.AddressRefused:              "client",
	message.TokenMissing:                "client",
	message.TokenInvalid:                "client",
	message.TokenExpired:                "client",
	message.TokenNotYetValid:            "client",
	message.IssuerWrong:                 "client",
	message.AudienceWrong:               "client",
	message.KeyUnknown:                  "client",
	message.APIKeyMissing:               "client",
	message.APIKeyUnknown:               "client",
	message.CredentialsMissing:          "client",
	message.CredentialsWrong:            "client",
	message.ClientCertMissing:           "client",
	message.ClientCertInvalid:           "client",
	message.AuthRefused:                 "client",
	message.NotAllowed:                  "client",
	message.ConsumerUnknown:             "client",
	message.RateLimited:                 "client",
	message.QuotaExceeded:               "client",
	message.ConcurrencyExceeded:         "client",
	message.VersionUnknown:              "client",
	message.VersionNotOffered:           "client",
	message.VersionSunset:               "client",
	message.ContentTypeUnsupported:      "client",
	message.BodyNotJSON:                 "client",
	message.BodyPathInvalid:             "client",
	message.JSONInvalid:                 "client",
	message.JSONTooDeep:                 "client",
	message.JSONTooLarge:                "client",
	message.JSONDuplicateKey:            "client",
	message.SchemaViolated:              "client",
	message.IdempotencyKeyMissing:       "client",
	message.IdempotencyKeyInvalid:       "client",
	message.IdempotencyKeyReused:        "client",
	message.IdempotencyInProgress:       "client",
	message.NotCached:                   "client",
	message.FaultInjected:               "internal",
	message.JWKSUnavailable:             "internal",
	message.AuthUnavailable:             "internal",
	message.LimitStoreUnavailable:       "internal",
	message.ResponseNotJSON:             "upstream",
	message.ResponseTooLarge:            "upstream",
	message.ResponseEncodingUnsupported: "upstream",
	message.StepFailed:                  "upstream",
	message.TransformFailed:             "client, upstream",
	message.NoHealthyEndpoint:           "upstream",
	message.QueueFull:                   "upstream",
	message.QueueTimeout:                "upstream",
	message.UpstreamConnectRefused:      "upstream",
	message.UpstreamConnectTimeout:      "upstream",
	message.UpstreamConnectFailed:       "upstream",
	message.UpstreamTLSFailed:           "upstream",
	message.UpstreamReset:               "upstream",
	message.UpstreamTimeoutFirstByte:    "upstream",
	message.UpstreamTimeoutIdle:         "upstream",
	message.UpstreamTimeoutPerTry:       "upstream",
	message.UpstreamResponseInvalid:     "upstream",
	message.UpstreamResponseTooLarge:    "upstream",
	message.UpstreamBodyBroken:          "upstream",
	message.HelloInvalid:                "client",
	message.HelloTimeout:                "client",
	message.ServerNameUnknown:           "client",
	message.ALPNUnknown:                 "client",
	message.IdleTimeout:                 "internal",
	message.LifetimeReached:             "internal",
	message.ClientReset:                 "client",
	message.RouteTimeout:                "upstream, internal",
	message.ClientClosed:                "client",
	message.ClientTimeout:               "client",
	message.TooManyConnections:          "client",
	message.ShuttingDown:                "internal",
	message.Internal:                    "internal",
}

const intro = `<!-- Code generated by docs/gen from message/reason.go; DO NOT EDIT. -->

# Reasons

A request that Sluice itself refuses or fails has one reason, a word of ` + "`[a-z0-9_]+`" + `. An answer of a backend, whatever its status, has none: it is passed on as it
is. The word is the same in four places:

| place | how |
|---|---|
| answer | the field ` + "`Sluice-Reason`" + ` and the member ` + "`reason`" + ` of the problem (RFC 9457) in the body, where an answer can still be given |
| access log | ` + "`reason`" + `, with ` + "`side`" + ` (client, upstream, internal), ` + "`stage`" + ` (read, route, connect, send, wait, receive, write) and ` + "`error`" + `, the cause in detail |
| metrics | ` + "`sluice_failures_total{route,reason}`" + `; for a try at an endpoint ` + "`sluice_endpoint_failures_total{backend,endpoint,reason}`" + `; for what is passed on unread ` + "`sluice_sessions_total{listener,reason}`" + `, where ` + "`none`" + ` is the ordinary end |
| code | ` + "`message.Reason`" + `; word, status and texts stand in one table, ` + "`message/reason.go`" + ` |

The status is that of an answer which had not begun. Once its head is out, the connection is ended instead, and the reason stands in log and metrics only. Status 499
reaches nobody: the client is gone, and the log needs a number.

The meaning is what callers read in the member ` + "`detail`" + `. It names no endpoint, no file and no cause; those are in the log.
`

const outro = `
## Words beside these

| word | where | meaning |
|---|---|---|
| ` + "`status_500` `status_502` `status_503` `status_504`" + ` | ` + "`sluice_endpoint_failures_total`" + ` | the endpoint answered with this status: a failure for its ejection, not for the client, who gets the answer |
| ` + "`too_many_connections` `too_many_from_source` `accept_failed`" + ` | ` + "`sluice_connections_refused_total`" + ` | a connection that was reset before it could bring a request |
| ` + "`proxy_header_untrusted` `proxy_header_missing` `proxy_header_invalid`" + ` | the same | a connection that was reset because of its PROXY header: of an address that is not one of ` + "`trusted_proxies`" + `, none although it is required, or malformed |
| ` + "`proxy_header_timeout`" + ` | the same | a connection that was closed because its first bytes, or the rest of its PROXY header, did not come in time |
| a reason above | ` + "`sluice_strictness_total{listener,rule}`" + ` | a request that would have been refused for it, and was let through by ` + "`strict: warn`" + ` |
`

// page returns the text of docs/reasons.md for the repository at root.
func page(root string) ([]byte, error) {
	groups, err := groupsOf(filepath.Join(root, "message", "reason.go"))
	if err != nil {
		return nil, err
	}
	used, err := scan(root)
	if err != nil {
		return nil, err
	}
	idents := make(map[string]message.Reason)
	next := message.ReasonNone
	for _, g := range groups {
		for _, ident := range g.idents {
			next++
			idents[ident] = next
		}
	}
	var b bytes.Buffer
	b.WriteString(intro)
	for _, g := range groups {
		fmt.Fprintf(&b, "\n## %s\n\n| word | status | side | meaning |\n|---|---|---|---|\n", strings.TrimSuffix(g.title, "."))
		for _, ident := range g.idents {
			r := idents[ident]
			side, ok := sides[r]
			if !ok {
				return nil, fmt.Errorf("message.%s has no side: add it to sides in docs/gen/main.go", ident)
			}
			text := r.Detail()
			if !used[ident].used {
				text += " *No request ends so yet.*"
			}
			fmt.Fprintf(&b, "| `%s` | %d | %s | %s |\n", r, r.Status(), side, text)
		}
	}
	b.WriteString(outro)
	return b.Bytes(), nil
}

// group is a run of reasons under one comment.
type group struct {
	title  string
	idents []string
}

// groupsOf reads the groups of the constants in a Go file whose first constant is ReasonNone; the one that counts them is left out.
func groupsOf(file string) ([]group, error) {
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	for _, d := range parsed.Decls {
		decl, ok := d.(*ast.GenDecl)
		if !ok || decl.Tok != token.CONST {
			continue
		}
		var groups []group
		for _, s := range decl.Specs {
			spec, ok := s.(*ast.ValueSpec)
			if !ok || !spec.Names[0].IsExported() || spec.Names[0].Name == "ReasonNone" {
				continue
			}
			if spec.Doc != nil {
				groups = append(groups, group{title: strings.TrimSpace(spec.Doc.Text())})
			}
			if len(groups) == 0 {
				return nil, fmt.Errorf("%s: %s stands under no comment", file, spec.Names[0].Name)
			}
			g := &groups[len(groups)-1]
			g.idents = append(g.idents, spec.Names[0].Name)
		}
		return groups, nil
	}
	return nil, fmt.Errorf("%s: no constants", file)
}

// usage is what the code does with a reason.
type usage struct {
	used  bool
	sides []string // of literals that give both reason and side
}

// scan looks through the code of the program, without its tests, for reasons by the names of their constants.
func scan(root string) (map[string]usage, error) {
	found := make(map[string]usage)
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() && path != root && skipped(e.Name()) {
			return filepath.SkipDir
		}
		if e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || e.Name() == "reason.go" {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		inside := parsed.Name.Name == "message"
		ast.Inspect(parsed, func(n ast.Node) bool {
			if name := constant(n, inside); name != "" {
				u := found[name]
				u.used = true
				found[name] = u
			}
			if lit, ok := n.(*ast.CompositeLit); ok {
				reason, side := failure(lit, inside)
				if reason != "" && side != "" {
					u := found[reason]
					u.sides = append(u.sides, side)
					found[reason] = u
				}
			}
			return true
		})
		return nil
	})
	return found, err
}

// skipped reports whether a folder holds nothing of the program.
func skipped(name string) bool {
	switch name {
	case "docs", "internal", "test", "testdata", "bench", "examples", "bin":
		return true
	}
	return strings.HasPrefix(name, ".")
}

// constant returns the name that n gives to a thing of the package message, or "".
func constant(n ast.Node, inside bool) string {
	if s, ok := n.(*ast.SelectorExpr); ok {
		if x, ok := s.X.(*ast.Ident); ok && x.Name == "message" {
			return s.Sel.Name
		}
	}
	if id, ok := n.(*ast.Ident); ok && inside {
		return id.Name
	}
	return ""
}

// failure returns the reason and the side that a literal gives, where it gives both by name.
func failure(lit *ast.CompositeLit, inside bool) (reason, side string) {
	for _, e := range lit.Elts {
		kv, ok := e.(*ast.KeyValueExpr)
		if !ok {
			continue
		}
		key, ok := kv.Key.(*ast.Ident)
		if !ok {
			continue
		}
		switch key.Name {
		case "Reason":
			reason = constant(kv.Value, inside)
		case "Side":
			side = strings.ToLower(strings.TrimPrefix(constant(kv.Value, inside), "Side"))
		}
	}
	return reason, side
}
