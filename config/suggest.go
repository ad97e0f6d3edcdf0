package config

import (
	"strings"
)

// DidYouMean suggests what a word may have been meant to be: the nearest of the choices, or all of them if none is near and they
// are few. It returns "" if it has nothing to say.
func DidYouMean(word string, choices []string) string {
	if s := nearestText(word, choices); s != "" {
		return s
	}
	if n := len(choices); n > 0 && n <= 24 {
		return "known: " + strings.Join(choices, ", ")
	}
	return ""
}

// nearestText is DidYouMean without the list of all choices, for messages that hold it.
func nearestText(word string, choices []string) string {
	if allDigits(word) {
		return "" // a number is not misspelled
	}
	if best := nearest(word, choices); best != "" {
		return meantText(best)
	}
	return ""
}

// nearest returns the choice with the least edit distance to the word, or "" if none is near: a third of its letters may differ.
func nearest(word string, choices []string) string {
	const longest = 64 // words beyond are no misspellings, and the distance costs the product of the lengths
	if word == "" || len(word) > longest {
		return ""
	}
	plain := simplify(word)
	best, least := "", 1<<30
	for _, c := range choices {
		if len(c) > longest || c == word {
			continue
		}
		d := distance(plain, simplify(c))
		if d < least && d <= max(1, max(len(plain), len(c))/3) {
			best, least = c, d
		}
	}
	if best != "" {
		return best
	}
	for _, c := range choices { // a word that is the beginning or the end of exactly one choice
		s := simplify(c)
		if len(plain) >= 3 && (strings.HasPrefix(s, plain) || strings.HasSuffix(s, plain)) || len(s) >= 3 && (strings.HasPrefix(plain, s) || strings.HasSuffix(plain, s)) {
			if best != "" {
				return ""
			}
			best = c
		}
	}
	return best
}

// simplify takes away what people spell differently: case, `-` and `_`.
func simplify(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || r == ' ' {
			return -1
		}
		return r
	}, strings.ToLower(s))
}

// distance is the number of letters to insert, delete, replace or swap with the next one to make a into b (optimal string alignment).
func distance(a, b string) int {
	ra, rb := []rune(a), []rune(b)
	before, last, row := make([]int, len(rb)+1), make([]int, len(rb)+1), make([]int, len(rb)+1)
	for j := range last {
		last[j] = j
	}
	for i, ca := range ra {
		row[0] = i + 1
		for j, cb := range rb {
			cost := 1
			if ca == cb {
				cost = 0
			}
			row[j+1] = min(row[j]+1, last[j+1]+1, last[j]+cost)
			if i > 0 && j > 0 && ca == rb[j-1] && ra[i-1] == cb {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(rb)]
}
