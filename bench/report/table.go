package report

import (
	"encoding/json"
	"fmt"
	"io"
	"sort"
	"strings"
	"unicode/utf8"
)

// cell is a figure as the table shows it: median (min–max).
func cell(s Summary, decimals int) string {
	switch s.N {
	case 0:
		return "–"
	case 1:
		return number(s.Median, decimals)
	}
	return fmt.Sprintf("%s (%s–%s)", number(s.Median, decimals), number(s.Min, decimals), number(s.Max, decimals))
}

// number writes v with its thousands apart.
func number(v float64, decimals int) string {
	text := fmt.Sprintf("%.*f", decimals, v)
	whole, rest, point := strings.Cut(text, ".")
	sign := ""
	if strings.HasPrefix(whole, "-") {
		sign, whole = "-", whole[1:]
	}
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if point {
		whole += "." + rest
	}
	return sign + whole
}

// measured tells whether a line has anything to show.
func (r *Report) measured(line Line) bool {
	for _, s := range r.Samples {
		if s.Row == line.Row {
			return true
		}
	}
	return false
}

// rows is the table: head and lines, cell by cell.
func (r *Report) rows() [][]string {
	head := []string{"measurement"}
	head = append(head, r.Peers...)
	head = append(head, r.Subject+" / "+r.Reference, "target", "result")
	table := [][]string{head}
	for _, line := range r.Lines {
		if !r.measured(line) {
			continue
		}
		title := line.Title
		if line.Unit != "" {
			title += ", " + line.Unit
		}
		row := []string{title}
		for _, peer := range r.Peers {
			row = append(row, r.peerCell(line, peer))
		}
		row = append(row, cell(r.Ratio(line.Row, line.Metric, r.Subject, r.Reference), 2))
		target, verdict := r.verdicts(line)
		table = append(table, append(row, target, verdict))
	}
	return table
}

func (r *Report) peerCell(line Line, peer string) string {
	if failed, all := r.failures(line.Row, peer); failed > 0 {
		return fmt.Sprintf("failed (%d of %d)", failed, all)
	}
	return cell(r.Summary(line.Row, peer, line.Metric), line.Decimals)
}

func (r *Report) verdicts(line Line) (targets, verdicts string) {
	var texts, outcomes []string
	for _, target := range line.Targets {
		verdict, figure := r.Judge(line, target)
		texts = append(texts, target.text(line.Unit))
		outcome := string(verdict)
		if target.Against != "" && target.Against != r.Reference && figure.N > 0 {
			outcome += " at " + number(figure.Median, 2)
		}
		outcomes = append(outcomes, outcome)
	}
	return strings.Join(texts, "; "), strings.Join(outcomes, "; ")
}

// Text writes the table for a terminal, with the errors and notes below it.
func (r *Report) Text(w io.Writer) error {
	table := r.rows()
	widths := make([]int, len(table[0]))
	for _, row := range table {
		for i, c := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	var b strings.Builder
	for n, row := range table {
		for i, c := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c))
			switch {
			case i == 0:
				b.WriteString(c + pad)
			case i == len(row)-1:
				b.WriteString("  " + c)
			default:
				b.WriteString("  " + pad + c)
			}
		}
		b.WriteByte('\n')
		if n == 0 {
			total := 2 * (len(widths) - 1)
			for _, width := range widths {
				total += width
			}
			b.WriteString(strings.Repeat("-", total) + "\n")
		}
	}
	r.remarks(&b, "")
	_, err := io.WriteString(w, b.String())
	return err
}

// Markdown writes the table for the README, with the errors and notes below it.
func (r *Report) Markdown(w io.Writer) error {
	var b strings.Builder
	for n, row := range r.rows() {
		b.WriteString("| " + strings.Join(row, " | ") + " |\n")
		if n == 0 {
			b.WriteString("|---" + strings.Repeat("|--:", len(row)-3) + "|---|---|\n")
		}
	}
	r.remarks(&b, "\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// mostErrors bounds the list of errors below a table; the JSON has all of them.
const mostErrors = 20

func (r *Report) remarks(b *strings.Builder, gap string) {
	fmt.Fprintf(b, "\nMedian (min–max) of the rounds; ratios are taken round by round. %s\n", r.environmentText())
	for _, note := range r.Notes {
		fmt.Fprintf(b, "%sNote: %s.\n", gap, note)
	}
	n := 0
	for _, s := range r.Samples {
		if s.Error == "" {
			continue
		}
		if n++; n <= mostErrors {
			fmt.Fprintf(b, "%sFailed: %s, %s, round %d: %s\n", gap, s.Row, s.Peer, s.Round+1, strings.ReplaceAll(s.Error, "\n", "; "))
		}
	}
	if n > mostErrors {
		fmt.Fprintf(b, "%sFailed: and %d more.\n", gap, n-mostErrors)
	}
}

func (r *Report) environmentText() string {
	keys := make([]string, 0, len(r.Environment))
	for key := range r.Environment {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	parts := make([]string, 0, len(keys))
	for _, key := range keys {
		parts = append(parts, key+": "+r.Environment[key])
	}
	return strings.Join(parts, "; ") + "."
}

// JSON writes every sample, and the summaries that the tables show.
func (r *Report) JSON(w io.Writer) error {
	type figure struct {
		Row     string             `json:"row"`
		Metric  string             `json:"metric"`
		Title   string             `json:"title"`
		Unit    string             `json:"unit,omitempty"`
		Peers   map[string]Summary `json:"peers"`
		Ratio   Summary            `json:"ratio"`
		Targets []string           `json:"targets,omitempty"`
		Results []Verdict          `json:"results,omitempty"`
	}
	figures := []figure{}
	for _, line := range r.Lines {
		if !r.measured(line) {
			continue
		}
		f := figure{Row: line.Row, Metric: line.Metric, Title: line.Title, Unit: line.Unit, Peers: map[string]Summary{},
			Ratio: r.Ratio(line.Row, line.Metric, r.Subject, r.Reference)}
		for _, peer := range r.Peers {
			if s := r.Summary(line.Row, peer, line.Metric); s.N > 0 {
				f.Peers[peer] = s
			}
		}
		for _, target := range line.Targets {
			verdict, _ := r.Judge(line, target)
			f.Targets = append(f.Targets, target.text(line.Unit))
			f.Results = append(f.Results, verdict)
		}
		figures = append(figures, f)
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(struct {
		*Report
		Figures []figure `json:"figures"`
	}{r, figures})
}
