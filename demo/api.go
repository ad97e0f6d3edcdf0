package demo

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"net/http"
	"strconv"
	"time"
)

// The bank's data is worked out from account numbers, so that all endpoints of a service agree and nothing has to be kept.
const (
	firstAccount = 1001
	lastAccount  = 9999
)

// maxTransfer bounds the body of a transfer in bytes.
const maxTransfer = 64 << 10

var owners = []string{"Ada Nowak", "Ben Okafor", "Chiara Rossi", "Daan de Vries", "Elif Kaya", "Farid Haddad", "Greta Lindqvist", "Hugo Martin"}

// counterparties are who money goes to and comes from, with what for; the first pays.
var counterparties = []struct{ name, text string }{
	{"Harbour Works", "salary"}, {"Green Grocer", "card payment"}, {"City Trains", "monthly pass"}, {"Old Mill Bakery", "card payment"},
	{"North Energy", "electricity"}, {"Book Corner", "card payment"}, {"Riverside Housing", "rent"}, {"Corner Cinema", "tickets"},
}

// currencies have how many units of them a euro buys.
var currencies = []struct {
	code string
	rate float64
}{
	{"EUR", 1}, {"USD", 1.0842}, {"GBP", 0.8531}, {"CHF", 0.9573}, {"JPY", 168.24}, {"SEK", 11.412}, {"PLN", 4.2955}, {"CZK", 25.118},
}

// overdraft is how much below nothing an account may go, in cents.
const overdraft = 50_000

type account struct {
	ID        string `json:"id"`
	Owner     string `json:"owner"`
	Type      string `json:"type"`
	IBAN      string `json:"iban"`
	Currency  string `json:"currency"`
	Balance   string `json:"balance"`
	Available string `json:"available"`
}

type transaction struct {
	ID           string `json:"id"`
	Booked       string `json:"booked"`
	Amount       string `json:"amount"`
	Currency     string `json:"currency"`
	Counterparty string `json:"counterparty"`
	Text         string `json:"text"`
}

type accepted struct {
	ID       string `json:"id"`
	Status   string `json:"status"`
	From     string `json:"from"`
	To       string `json:"to"`
	Amount   string `json:"amount"`
	Currency string `json:"currency"`
	Internal ledger `json:"internal"`
}

// ledger is what the bank tells itself of a transfer and no customer should see: the gateway removes it.
type ledger struct {
	Entry string `json:"entry"`
	Node  string `json:"node"`
}

type rates struct {
	Base  string             `json:"base"`
	AsOf  string             `json:"as_of"`
	Rates map[string]float64 `json:"rates"`
}

// accountAPI answers GET /accounts/{id}.
func accountAPI() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /accounts/{id}", func(w http.ResponseWriter, r *http.Request) {
		id := r.PathValue("id")
		if !isAccount(id) {
			refuse(w, http.StatusNotFound, "no account "+strconv.Quote(id))
			return
		}
		seed := seedOf(id)
		balance := int64(seed % 900_000)
		answer(w, http.StatusOK, account{
			ID: id, Owner: owners[seed%uint64(len(owners))], Type: "current",
			IBAN:     fmt.Sprintf("XB%02d%04d%010d", seed%97, seed%10_000, seed%10_000_000_000),
			Currency: "EUR", Balance: money(balance), Available: money(balance + overdraft),
		})
	})
	return mux
}

// transactionAPI answers GET /transactions?account=ID&limit=N and POST /transfers.
func transactionAPI() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /transactions", listTransactions)
	mux.HandleFunc("POST /transfers", makeTransfer)
	return mux
}

func listTransactions(w http.ResponseWriter, r *http.Request) {
	id := r.URL.Query().Get("account")
	limit := 10
	if text := r.URL.Query().Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 100 {
			refuse(w, http.StatusBadRequest, "limit: want a number from 1 to 100")
			return
		}
		limit = n
	}
	switch {
	case id == "":
		refuse(w, http.StatusBadRequest, "account: is missing; write /transactions?account=1001")
		return
	case !isAccount(id):
		refuse(w, http.StatusNotFound, "no account "+strconv.Quote(id))
		return
	}
	today := time.Now().UTC()
	items := make([]transaction, limit)
	for i := range items {
		seed := seedOf(id + "/" + strconv.Itoa(i))
		other := counterparties[seed%uint64(len(counterparties))]
		cents := -int64(seed%9_000) - 100
		if other == counterparties[0] {
			cents = 250_000 + int64(seed%90_000)
		}
		items[i] = transaction{
			ID: fmt.Sprintf("%08x", uint32(seed)), Booked: today.AddDate(0, 0, -i).Format(time.DateOnly),
			Amount: money(cents), Currency: "EUR", Counterparty: other.name, Text: other.text,
		}
	}
	answer(w, http.StatusOK, map[string]any{"account": id, "items": items})
}

// transfer is the body of POST /transfers, with the account that the gateway has put into it: the caller's.
type transfer struct {
	From     string `json:"from"`
	To       string `json:"to"`
	Amount   string `json:"amount"`
	Currency string `json:"currency"`
}

func makeTransfer(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxTransfer))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		refuse(w, http.StatusRequestEntityTooLarge, "the transfer is larger than 64 KiB")
		return
	case err != nil:
		refuse(w, http.StatusBadRequest, "the body broke off")
		return
	}
	var t transfer
	if json.Unmarshal(body, &t) != nil {
		refuse(w, http.StatusBadRequest, `the body is not a transfer; write {"to": "1002", "amount": "25.00", "currency": "EUR"}`)
		return
	}
	amount, err := strconv.ParseFloat(t.Amount, 64)
	switch {
	case !isAccount(t.From), !isAccount(t.To), t.From == t.To:
		refuse(w, http.StatusUnprocessableEntity, fmt.Sprintf("from and to: want two accounts from %d to %d", firstAccount, lastAccount))
		return
	case err != nil, !(amount >= 0.01 && amount <= 10_000):
		refuse(w, http.StatusUnprocessableEntity, "amount: want 0.01 to 10000")
		return
	case t.Currency != "EUR":
		refuse(w, http.StatusUnprocessableEntity, "currency: accounts are in EUR")
		return
	}
	number := uint32(seedOf(string(body) + time.Now().String()))
	id := fmt.Sprintf("t-%08x", number)
	w.Header().Set("Location", "/transfers/"+id)
	answer(w, http.StatusCreated, accepted{
		ID: id, Status: "accepted", From: t.From, To: t.To, Amount: money(int64(math.Round(amount * 100))), Currency: t.Currency,
		Internal: ledger{Entry: fmt.Sprintf("%d-%d", number>>16, number&0xffff), Node: w.Header().Get("X-Served-By")},
	})
}

// rateAPI answers GET /rates/{currency}.
func rateAPI() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /rates/{currency}", func(w http.ResponseWriter, r *http.Request) {
		for _, c := range currencies {
			if c.code != r.PathValue("currency") {
				continue
			}
			all := make(map[string]float64, len(currencies)-1)
			for _, other := range currencies {
				if other.code != c.code {
					all[other.code] = math.Round(other.rate/c.rate*1e5) / 1e5
				}
			}
			answer(w, http.StatusOK, rates{Base: c.code, AsOf: time.Now().UTC().Format(time.RFC3339), Rates: all})
			return
		}
		refuse(w, http.StatusNotFound, "no rates for "+strconv.Quote(r.PathValue("currency")))
	})
	return mux
}

func isAccount(id string) bool {
	n, err := strconv.Atoi(id)
	return err == nil && n >= firstAccount && n <= lastAccount && strconv.Itoa(n) == id
}

// seedOf spreads texts over the numbers (FNV-1a).
func seedOf(text string) uint64 {
	h := fnv.New64a()
	_, _ = io.WriteString(h, text)
	return h.Sum64()
}

// money writes cents as the bank does: a decimal number in a string, which no reader rounds.
func money(cents int64) string {
	sign := ""
	if cents < 0 {
		sign, cents = "-", -cents
	}
	return fmt.Sprintf("%s%d.%02d", sign, cents/100, cents%100)
}

// refuse answers with an error of the bank.
func refuse(w http.ResponseWriter, status int, text string) {
	answer(w, status, map[string]any{"error": text})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client has left
}
