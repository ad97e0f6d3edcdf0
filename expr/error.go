package expr

import "strings"

// Error says what is wrong with an expression or a template, and where.
type Error struct {
	Offset     int    // index of the first byte that is meant, in the text given to the compiler, or in the string Leaf of a document
	Leaf       int    // which string value of a document is meant, counted from 0 in their order; -1 if none is, and in errors of other compilers
	Message    string // what is wrong, lower case, without a period
	Suggestion string // what would be right, or ""

	partial bool // more has to follow where a value is needed; within a larger expression it may be enough
}

// Error returns the message and the suggestion.
func (e *Error) Error() string {
	if e.Suggestion == "" {
		return e.Message
	}
	return e.Message + "; " + e.Suggestion
}

// outside gives an error of a text that stands in no document.
func outside(err *Error) *Error {
	if err != nil {
		err.Leaf = -1
	}
	return err
}

// didYouMean returns the suggestion to write the choice nearest to word, or all choices where none is near.
func didYouMean(word string, choices []string) string {
	if best := nearest(word, choices); best != "" {
		return `did you mean "` + best + `"?`
	}
	if len(choices) > 0 {
		return "known: " + strings.Join(choices, ", ")
	}
	return ""
}

// nearest returns the choice nearest to word, "" where none is near.
func nearest(word string, choices []string) string {
	best, least := "", 1+len(word)/3 // so that words of one or two letters are near to all of their length
	if len(word) == 3 {
		least = 1
	}
	for _, c := range choices {
		if d := distance(word, c, least); d <= least && (best == "" || d < least) {
			best, least = c, d
		}
	}
	return best
}

// distance returns the number of bytes to insert, delete or replace to make b of a, in any case (Levenshtein), or a number above most
// when it is larger than that: a word of any length costs at most its length times most.
func distance(a, b string, most int) int {
	a, b = strings.ToLower(a), strings.ToLower(b)
	if diff := len(a) - len(b); diff > most || -diff > most {
		return most + 1
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
