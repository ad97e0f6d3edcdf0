package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// mostLines bounds the lines of the access log, and of the metrics, that explain a failure.
const mostLines = 8

// telling are the metrics that say what Sluice made of failing endpoints. Read-only.
var telling = []string{"sluice_failures_total", "sluice_endpoint_failures_total", "sluice_endpoint_ejections_total", "sluice_retries_total", "sluice_retry_budget_exhausted_total"}

// accessLogName is the name of the access log, as the template of the configuration has it.
const accessLogName = "access.log"

// explain collects what Sluice itself says about requests that went wrong.
func explain(metrics []byte, log string) []string {
	return append(tellingMetrics(string(metrics)), failedLines(log)...)
}

// tellingMetrics picks the telling series that have counted something.
func tellingMetrics(text string) []string {
	var notes []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		name, _, _ := strings.Cut(line, "{")
		for _, want := range telling {
			if name == want && !strings.HasSuffix(line, " 0") && len(notes) < 2*mostLines {
				notes = append(notes, line)
			}
		}
	}
	return notes
}

// failedLines picks the first lines of an access log whose request failed.
func failedLines(path string) []string {
	f, err := os.Open(path)
	if err != nil {
		return []string{err.Error()}
	}
	defer f.Close()
	var notes []string
	lines, n := bufio.NewScanner(f), 0
	for lines.Scan() {
		var line struct {
			Status int    `json:"status"`
			Reason string `json:"reason"`
		}
		if json.Unmarshal(lines.Bytes(), &line) != nil || line.Status < 500 && line.Reason == "" {
			continue
		}
		if n++; n <= mostLines {
			notes = append(notes, lines.Text())
		}
	}
	if n > mostLines {
		notes = append(notes, fmt.Sprintf("and %d more lines of failed requests", n-mostLines))
	}
	return notes
}
