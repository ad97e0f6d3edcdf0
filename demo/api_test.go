package demo

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func TestServices(t *testing.T) {
	tests := []struct {
		name   string
		api    http.Handler
		method string
		target string
		body   string
		status int
		want   string // a regular expression that the answer matches
	}{
		{"account", accountAPI(), "GET", "/accounts/1001", "", 200, `"id":"1001","owner":"[A-Z].*"balance":"\d+\.\d\d"`},
		{"last account", accountAPI(), "GET", "/accounts/9999", "", 200, `"id":"9999"`},
		{"account after the last", accountAPI(), "GET", "/accounts/10000", "", 404, `no account \\"10000\\"`},
		{"account by another spelling", accountAPI(), "GET", "/accounts/01001", "", 404, `no account`},
		{"account that is no number", accountAPI(), "GET", "/accounts/me", "", 404, `no account`},
		{"method", accountAPI(), "POST", "/accounts/1001", "", 405, ``},

		{"transactions", transactionAPI(), "GET", "/transactions?account=1001&limit=2", "", 200,
			`^{"account":"1001","items":\[{"id":"[0-9a-f]{8}","booked":"\d{4}-\d\d-\d\d","amount":"-?\d+\.\d\d"[^}]*},{[^}]*}\]}`},
		{"transactions of nobody", transactionAPI(), "GET", "/transactions", "", 400, `account: is missing`},
		{"transactions of another bank", transactionAPI(), "GET", "/transactions?account=7", "", 404, `no account`},
		{"too many transactions", transactionAPI(), "GET", "/transactions?account=1001&limit=101", "", 400, `limit`},
		{"no transactions", transactionAPI(), "GET", "/transactions?account=1001&limit=0", "", 400, `limit`},

		{"transfer", transactionAPI(), "POST", "/transfers", `{"from":"1001","to":"1002","amount":"25.50","currency":"EUR"}`, 201,
			`^{"id":"t-[0-9a-f]{8}","status":"accepted","from":"1001","to":"1002","amount":"25.50","currency":"EUR","internal":{"entry":"\d+-\d+",`},
		{"smallest transfer", transactionAPI(), "POST", "/transfers", `{"from":"1001","to":"1002","amount":"0.01","currency":"EUR"}`, 201, `"0.01"`},
		{"transfer of nothing", transactionAPI(), "POST", "/transfers", `{"from":"1001","to":"1002","amount":"0.00","currency":"EUR"}`, 422, `amount`},
		{"transfer back", transactionAPI(), "POST", "/transfers", `{"from":"1001","to":"1002","amount":"-1.00","currency":"EUR"}`, 422, `amount`},
		{"transfer of too much", transactionAPI(), "POST", "/transfers", `{"from":"1001","to":"1002","amount":"10001.00","currency":"EUR"}`, 422, `amount`},
		{"transfer of no amount", transactionAPI(), "POST", "/transfers", `{"from":"1001","to":"1002","currency":"EUR"}`, 422, `amount`},
		{"transfer in no currency", transactionAPI(), "POST", "/transfers", `{"from":"1001","to":"1002","amount":"1.00"}`, 422, `currency`},
		{"transfer from nobody", transactionAPI(), "POST", "/transfers", `{"to":"1002","amount":"1.00","currency":"EUR"}`, 422, `from and to`},
		{"transfer to nobody", transactionAPI(), "POST", "/transfers", `{"from":"1001","amount":"1.00","currency":"EUR"}`, 422, `from and to`},
		{"transfer to oneself", transactionAPI(), "POST", "/transfers", `{"from":"1001","to":"1001","amount":"1.00","currency":"EUR"}`, 422, `from and to`},
		{"no JSON", transactionAPI(), "POST", "/transfers", `from=1001`, 400, `not a transfer`},
		{"large body", transactionAPI(), "POST", "/transfers", strings.Repeat(" ", maxTransfer+1), 413, `64 KiB`},

		{"rates", rateAPI(), "GET", "/rates/EUR", "", 200, `"base":"EUR".*"USD":1.0842`},
		{"rates of another currency", rateAPI(), "GET", "/rates/USD", "", 200, `"base":"USD".*"EUR":0.92234`},
		{"rates of no currency", rateAPI(), "GET", "/rates/XXX", "", 404, `no rates`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			test.api.ServeHTTP(w, httptest.NewRequest(test.method, test.target, strings.NewReader(test.body)))
			body, _ := io.ReadAll(w.Result().Body)
			if w.Code != test.status {
				t.Fatalf("status %d, want %d: %s", w.Code, test.status, body)
			}
			if !regexp.MustCompile(test.want).Match(body) {
				t.Errorf("answer %s does not match %s", body, test.want)
			}
			if w.Code != http.StatusMethodNotAllowed && !json.Valid(body) {
				t.Errorf("answer %s is not JSON", body)
			}
		})
	}
}

// All endpoints of a service must tell the same, or balancing would show.
func TestAccountsStayTheSame(t *testing.T) {
	read := func() string {
		w := httptest.NewRecorder()
		accountAPI().ServeHTTP(w, httptest.NewRequest("GET", "/accounts/1042", nil))
		return w.Body.String()
	}
	if a, b := read(), read(); a != b {
		t.Errorf("an account is %s and then %s", a, b)
	}
}
