package bank

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/gateway"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files instead of comparing with them")

// golden compares a text with a file, or writes the file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	name = filepath.Join("testdata", name)
	if *rewrite {
		write(t, name, got)
		return
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got == string(want) {
		return
	}
	g, w := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	i := 0
	for i < len(g)-1 && i < len(w)-1 && g[i] == w[i] {
		i++
	}
	t.Errorf("%s differs from line %d on (go test ./test/bank -run '%s' -rewrite)\n got %s\nwant %s", name, i+1, t.Name(), g[i], w[i])
}

// configured is the bank's configuration with one thing changed.
type configured struct {
	name    string
	replace []string // old and new texts, in turn
}

// folder makes a folder with the bank's configuration as it stands and the files that it names.
func folder(t *testing.T) (dir, text string) {
	t.Helper()
	dir = t.TempDir()
	for name, content := range map[string]string{
		"certs/jwks.json": newIssuer(t, "k1").keySet(), "schemas/transfer.json": read(t, "schemas/transfer.json"),
		"schemas/broken.json": `{"type": "object",`, "schemas/wrong.json": `{"type": "objekt"}`, "schemas/away.json": `{"$ref": "https://elsewhere.example/transfer.json"}`,
		"certs/broken.json": `{"keys":`,
	} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name), content)
	}
	return dir, change(t, read(t, "bank.yaml"), "sunset: 2027-01-01", "sunset: 2999-01-01") // what is said must not depend on the day
}

// read reads a file of the example.
func read(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../examples/bank", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// check does what `sluice check` does, and returns what it says.
func check(file, text string) (warnings []string, err error) {
	c, err := gateway.Parse(file, []byte(text))
	if err != nil {
		return nil, err
	}
	more, err := gateway.Review(c)
	for _, w := range append(c.Warnings, more...) {
		warnings = append(warnings, w.Error())
	}
	return warnings, err
}

// A configuration that cannot work is refused when it is loaded: where, why, and what would be right.
func TestRefusedConfigurations(t *testing.T) {
	dir, text := folder(t)
	file := filepath.Join(dir, "bank.yaml")
	var all strings.Builder
	for _, c := range []configured{
		{"an expression that is cut off", []string{`'"customer" in claims.roles'`, `'"customer" in '`}},
		{"an expression of another type", []string{`'"customer" in claims.roles'`, `'"customer" + "s"'`}},
		{"types that do not fit", []string{`'"customer" in claims.roles'`, `'request.size == "7"'`}},
		{"an unknown variable", []string{`'"customer" in claims.roles'`, `'"customer" in claim.roles'`}},
		{"an unknown member", []string{`'"customer" in claims.roles'`, `'request.methode == "GET"'`}},
		{"an unknown function", []string{`'"customer" in claims.roles'`, `'lower(request.host) == "a"'`}},
		{"a regular expression that does not compile", []string{`'"customer" in claims.roles'`, `'request.path.matches("(a")'`}},
		{"a key that is no expression", []string{"key: claims.sub, rate", "key: 'claims.sub +', rate"}},
		{"a template that is not closed", []string{`X-Customer: "${claims.sub}"`, `X-Customer: "${claims.sub"`}},
		{"a capture that the path has not", []string{`"/accounts/${path.id}"`, `"/accounts/${path.idd}"`}},
		{"a capture of another route", []string{`"/accounts/${path.id}"`, `"/accounts/${path.currency}"`}},
		{"claims before who calls is known", []string{"[sign-in, customers-only, fair-use]", "[fair-use, sign-in, customers-only]"}},
		{"claims without an identity policy", []string{"[sign-in, customers-only, fair-use]", "[customers-only]"}},
		{"claims in a composition without an identity policy", []string{"[sign-in, fair-use, five-seconds]", "[]"}},
		{"a cache by claims before they are known", []string{"[sign-in, fair-use, five-seconds]", "[five-seconds, sign-in, fair-use]"}},
		{"a limit per consumer before it is known", []string{"[partner-key, by-plan,", "[{rate_limit: {key: consumer.name, rate: 1/s}}, partner-key, by-plan,"}},
		{"version without an api", []string{"redirect: {to: \"https://bank.example/${path.rest}\"", "redirect: {to: \"https://bank.example/${version}\""}},
		{"response in a request", []string{`X-Customer: "${claims.sub}"`, `X-Customer: "${response.status}"`}},
		{"a schema that is no JSON", []string{"schemas/transfer.json", "schemas/broken.json"}},
		{"a schema that is no schema", []string{"schemas/transfer.json", "schemas/wrong.json"}},
		{"a schema that would be fetched", []string{"schemas/transfer.json", "schemas/away.json"}},
		{"a schema in place that is none", []string{"{file: schemas/transfer.json}", "{type: objekt}"}},
		{"a file that is not there", []string{"schemas/transfer.json", "schemas/transfers.json"}},
		{"keys that are not there", []string{"certs/jwks.json", "certs/jwk.json"}},
		{"a key set that is no JSON", []string{"certs/jwks.json", "certs/broken.json"}},
		{"jq that does not compile", []string{"del(.internal)", "del(.internal"}},
		{"jq with an unknown function", []string{"del(.internal)", "delete(.internal)"}},
		{"jq that looks around", []string{"del(.internal)", "env.HOME"}},
		{"an unknown step", []string{"${account.body.currency}", "${acount.body.currency}"}},
		{"an unknown step in the answer", []string{"recent: ${transactions.body.items}", "recent: ${transaction.body.items}"}},
		{"a cycle of steps", []string{`path: "/accounts/${claims.sub}"}`, `path: "/accounts/${rates.body.id}"}`}},
		{"a step that needs itself", []string{`path: "/accounts/${claims.sub}"}`, `path: "/accounts/${account.body.id}"}`}},
		{"a step with a reserved name", []string{"        rates: {backend: rates", "        request: {backend: rates"}},
		{"a timeout of no time", []string{"optional: true, timeout: 150ms", "optional: true, timeout: 0s"}},
		{"an unknown plan", []string{"plan: partner", "plan: partners"}},
		{"an unknown api", []string{"api: bank-api\n    versions: [v1, v2]", "api: bankapi\n    versions: [v1, v2]"}},
		{"an unknown version", []string{"versions: [v1, v2]", "versions: [v1, v3]"}},
		{"versions without an api", []string{"    api: bank-api\n    versions: [v1, v2]", "    versions: [v1, v2]"}},
		{"an unknown default version", []string{"default: v2", "default: v3"}},
		{"an unknown successor", []string{"successor: v2", "successor: v22"}},
		{"a sunset before the deprecation", []string{"sunset: 2999-01-01", "sunset: 2025-01-01"}},
		{"a date that is none", []string{"sunset: 2999-01-01", "sunset: 2999-13-01"}},
		{"an unknown policy", []string{"[sign-in, customers-only, fair-use]", "[sign-in, customer-only, fair-use]"}},
		{"an unknown kind of policy", []string{"plan_limit: {}", "plan_limits: {}"}},
		{"an unknown option", []string{"rate: 10/s, burst: 20", "rate: 10/s, bursts: 20"}},
		{"an unknown backend", []string{"backend: accounts, path", "backend: account, path"}},
		{"a rate without a unit", []string{"rate: 10/s, burst: 20", "rate: 10, burst: 20"}},
		{"a rate with another unit", []string{"rate: 10/s, burst: 20", "rate: 10/sec, burst: 20"}},
		{"no rate at all", []string{"rate: 10/s, burst: 20", "burst: 20"}},
		{"a quota of another period", []string{"quota: 100000/month", "quota: 100000/year"}},
		{"a key that is not hashed", []string{"sha256:5f7b2ed74a9736a538a6fb5a5a1a76afdcdd0d177d7fc6e79c6b6843527d848d", "demo-partner-key"}},
		{"a hash that is too short", []string{"27d848d\"", "27d84\""}},
		{"one key of two consumers", []string{"policies:\n  sign-in:", "  - {name: other, api_keys: [\"sha256:5f7b2ed74a9736a538a6fb5a5a1a76afdcdd0d177d7fc6e79c6b6843527d848d\"]}\n\npolicies:\n  sign-in:"}},
		{"any_of what is no identity policy", []string{"by-plan:\n    plan_limit: {}", "by-plan:\n    plan_limit: {}\n  either:\n    any_of: [sign-in, json-only]", "[sign-in, customers-only, fair-use]", "[either, customers-only]"}},
		{"any_of an unknown policy", []string{"by-plan:\n    plan_limit: {}", "by-plan:\n    plan_limit: {}\n  either:\n    any_of: [sign-in, partner-keys]", "[sign-in, customers-only, fair-use]", "[either, customers-only]"}},
		{"any_of one policy", []string{"by-plan:\n    plan_limit: {}", "by-plan:\n    plan_limit: {}\n  either:\n    any_of: [sign-in]", "[sign-in, customers-only, fair-use]", "[either, customers-only]"}},
		{"a token without keys", []string{", jwks: {file: certs/jwks.json}", ""}},
		{"an algorithm without a secret", []string{"audience: bank-api,", "audience: bank-api, algorithms: [HS256],"}},
		{"two actions", []string{"    respond: {status: 200", "    backend: rates\n    respond: {status: 200"}},
		{"several at once", []string{"plan: partner", "plan: partners", "rate: 10/s, burst: 20", "rate: 10/q, burst: 20", "[sign-in, customers-only, fair-use]", "[sign-in, customer-only, fair-use]"}},
		{"several at once, of routes", []string{`'"customer" in claims.roles'`, `'"customer" in claims.roles &&'`, `"/accounts/${path.id}"`, `"/accounts/${path.idd}"`, "del(.internal)", "del(", "${account.body.currency}", "${acount.body.currency}"}},
	} {
		_, err := check(file, change(t, text, c.replace...))
		if err == nil {
			t.Errorf("%s: nothing is wrong with it", c.name)
			continue
		}
		said := err.Error()
		for line := range strings.Lines(said) {
			if strings.Contains(line, "goroutine") || strings.Contains(line, "0x") || goType.MatchString(line) && !strings.HasPrefix(line, " ") {
				t.Errorf("%s: %s", c.name, line)
			}
		}
		if !strings.HasPrefix(said, file+":") {
			t.Errorf("%s: no place: %s", c.name, said)
		}
		fmt.Fprintf(&all, "# %s\n%s\n\n", c.name, strings.ReplaceAll(said, dir+"/", ""))
	}
	golden(t, "refused.txt", all.String())
}

// place is where a warning is about.
var place = regexp.MustCompile(`^.*?:\d+:\d+: `)

// A configuration that works and is almost surely not meant so is warned of.
func TestDoubtfulConfigurations(t *testing.T) {
	dir, text := folder(t)
	file := filepath.Join(dir, "bank.yaml")
	var all strings.Builder
	known := map[string]bool{} // what is said of the bank as it stands
	for _, c := range []configured{
		{"as it stands", nil},
		{"with a state", []string{"version: 1\n", "version: 1\nstate: state\n"}},
		{"a cache before authentication", []string{"[partner-key, by-plan, shared-rates,", "[shared-rates, partner-key, by-plan,"}},
		{"a cache before authorization", []string{"[sign-in, customers-only, fair-use]", "[sign-in, shared-rates, customers-only, fair-use]"}},
		{"plan_limit before the consumer is known", []string{"[partner-key, by-plan,", "[by-plan, partner-key,"}},
		{"plan_limit without an identity policy", []string{"[partner-key, by-plan,", "[by-plan,"}},
		{"an unused policy", []string{"customers-only, fair-use]", "fair-use]"}},
		{"an unused api", []string{"versions:\n  bank-api:", "versions:\n  other-api: {by: [path], default: v1, v1: {}}\n  bank-api:"}},
		{"an unused backend", []string{"  rates: {endpoints: [", "  spare: {endpoints: [\"127.0.0.1:9131\"]}\n  rates: {endpoints: ["}},
		{"an unused version", []string{"    v2: {}\n", "    v2: {}\n    v3: {}\n"}},
		{"a route that can never match", []string{"  - name: old-site", "  - name: again\n    match: {path: /status}\n    respond: {status: 204}\n  - name: old-site"}},
		{"a route that can never match, with versions", []string{"  - name: transfer\n", "  - name: again\n    api: bank-api\n    versions: [v1]\n    match: {path: \"/accounts/{number}\", method: GET}\n    backend: accounts\n  - name: transfer\n"}},
		{"a route for another version", []string{"versions: [v1, v2]\n", "versions: [v2]\n", "  - name: transfer\n", "  - name: again\n    api: bank-api\n    versions: [v1]\n    match: {path: \"/accounts/{number}\", method: GET}\n    backend: accounts\n  - name: transfer\n"}},
		{"nobody has a key", []string{"\n    api_keys: [\"sha256:5f7b2ed74a9736a538a6fb5a5a1a76afdcdd0d177d7fc6e79c6b6843527d848d\"]      # hex SHA-256 of the key demo-partner-key", ""}},
		{"a version that has ended", []string{"deprecated: 2026-01-01, sunset: 2999-01-01", "deprecated: 2025-01-01, sunset: 2026-01-01"}},
		{"who calls is not asked", []string{"[sign-in, fair-use, five-seconds]", "[sign-in]", "policies: [sign-in, customers-only, fair-use]", "policies: [sign-in, fair-use]"}},
	} {
		warnings, err := check(file, change(t, text, c.replace...))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		fmt.Fprintf(&all, "# %s\n", c.name)
		said := all.Len()
		for _, w := range warnings {
			if what := place.ReplaceAllString(w, ""); !known[what] || c.replace == nil {
				known[what] = known[what] || c.replace == nil
				all.WriteString(strings.ReplaceAll(w, dir+"/", "") + "\n")
			}
		}
		if quiet := c.name == "with a state" || c.name == "a route for another version"; (all.Len() == said) != quiet {
			t.Errorf("%s: warnings: %q", c.name, warnings)
		}
		all.WriteByte('\n')
	}
	golden(t, "doubtful.txt", all.String())
}

// A reload that is refused says the same and changes nothing.
func TestRefusedReload(t *testing.T) {
	b := start(t, options{})
	good := b.text(options{})
	for _, pairs := range [][]string{
		{`"/accounts/${path.id}"`, `"/accounts/${path.idd}"`}, {"del(.internal)", "del("}, {"rate: 10/s", "rate: 10/q"}, {"jwks.json", "jwk.json"},
	} {
		err := b.Reload(change(t, good, pairs...))
		if err == nil || !strings.HasPrefix(err.Error(), "test.yaml:") {
			t.Errorf("%s: %v", pairs[1], err)
		}
		wants(t, b.ask(get("/v2/accounts/7", bearer(b.customer("7")))), 200, `{"id":"7", "currency":"EUR", "balance":1234.50}`)
	}
}
