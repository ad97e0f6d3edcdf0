package main

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ledger is what the endpoints have reported. It is safe for concurrent use.
type ledger struct {
	mu  sync.Mutex
	got map[int][]receipt // by request
	cut map[int]bool      // requests whose answer an endpoint has cut
	bad []string          // requests that were not what the client has sent

	late time.Duration // the most that an endpoint was held up by the machine
}

// receipt is one arrival of a request at an endpoint.
type receipt struct {
	endpoint string
	post     bool
}

func newLedger() *ledger { return &ledger{got: map[int][]receipt{}, cut: map[int]bool{}} }

// take enters one line of an endpoint; see the words say…. It reports whether the line is one of the ledger's.
func (l *ledger) take(endpoint, line string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if text, ok := strings.CutPrefix(line, sayGot); ok {
		number, method, _ := strings.Cut(text, " ")
		id, err := strconv.Atoi(number)
		if err == nil {
			l.got[id] = append(l.got[id], receipt{endpoint, method == "POST"})
		}
		return err == nil
	}
	if text, ok := strings.CutPrefix(line, sayCut); ok {
		id, err := strconv.Atoi(text)
		if err == nil {
			l.cut[id] = true
		}
		return err == nil
	}
	if text, ok := strings.CutPrefix(line, sayLate); ok {
		late, err := time.ParseDuration(text)
		l.late = max(l.late, late)
		return err == nil
	}
	if text, ok := strings.CutPrefix(line, sayBad); ok {
		l.bad = append(l.bad, fmt.Sprintf("endpoint %s received %s", endpoint, text))
		return true
	}
	return false
}
