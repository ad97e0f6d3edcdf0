package demo

import (
	"fmt"
	"strconv"
	"strings"
)

// configuration is the text that the gateway serves, in the words of docs/configuration.md. What it takes for granted is shown by leaving it out:
// timeouts, limits, what is retried for accounts.
func configuration(b *bank, public, admin string) string {
	return fmt.Sprintf(`# The mobile bank of "sluice demo": three services behind one address.
version: 1

admin: {address: %q}
shutdown: {timeout: 2s}

listeners:
  public: {address: %q, protocol: http}

backends:
  accounts:
    balance: least_request
    endpoints: %s
    health: {active: {http: /healthz, interval: 500ms, timeout: 500ms, rise: 2, fall: 2}}
  transactions:                 # its last endpoint is slow: least_request sends it less
    balance: least_request
    endpoints: %s
    health: {active: {http: /healthz, interval: 500ms, timeout: 500ms, rise: 2, fall: 2}}
  rates:                        # its last endpoint fails now and then: it is left out, and requests go elsewhere
    balance: round_robin
    endpoints: %s
    health:
      active: {http: /healthz, interval: 500ms, timeout: 500ms, rise: 2, fall: 2}
      outlier: {consecutive: 3, eject: 2s, max_ejected: 50%%}
    retries: {attempts: 2, on: [connect, reset, 5xx], budget: 20%%}

policies:
  through-sluice: {request: {headers: {set: {X-Gateway: sluice}, remove: [Cookie]}}}
  tidy: {response: {headers: {remove: [Server], set: {Cache-Control: no-store}}}}

routes:
  - name: account
    match: {path: "/accounts/{id}", method: GET}
    policies: [through-sluice, tidy]
    timeout: 2s
    backend: accounts

  - name: transactions
    match: {path: /transactions, method: GET}
    policies: [through-sluice, tidy]
    timeout: 2s
    backend: transactions

  - name: transfer
    match: {path: /transfers, method: POST}
    policies: [through-sluice, tidy]
    backend: transactions

  - name: rates
    match: {path: "/rates/{currency}", method: GET}
    policies: [through-sluice, {response: {headers: {remove: [Server], set: {Cache-Control: max-age=60}}}}]
    backend: rates

  - name: old-site
    match: {path: "/old/*"}
    redirect: {to: "https://bank.example/${path.rest}", status: 308}

  - name: status
    match: {path: /status}
    respond: {status: 200, json: {status: ok}}
`, admin, public, list(b.addresses("accounts")), list(b.addresses("transactions")), list(b.addresses("rates")))
}

// list writes a list of YAML.
func list(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = strconv.Quote(w)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// tries are command lines for whoever wants to look closer. file is where the configuration stands, "" if nowhere.
func tries(public, admin, file string) []string {
	lines := []string{
		"curl -i " + public + "/accounts/1001",
		"curl -i '" + public + "/transactions?account=1001&limit=3'",
		"curl -i " + public + "/rates/USD",
		"curl -i " + public + "/transfers -d '{\"from\":1001,\"to\":1002,\"amount\":25}'",
		"curl -s " + admin + "/metrics",
	}
	if file != "" {
		lines = append(lines, "less "+file)
	}
	return lines
}
