// Package document reads JSON text where it lies and changes it without decoding what does not change.
//
// Parse checks a text once, strictly (RFC 8259) and within bounds; from then on a Value is a view of it: members, elements, strings and
// numbers are found by looking, nothing is copied, and numbers keep their digits. Edits and merges write a new text in which every member
// that they do not touch has the bytes and the place that it had.
//
// Ownership: a Value belongs to whoever owns the text that it was made from, and is valid as long as that text is neither changed nor
// reused. Functions that append read their values while they write: the values may not lie in the spare capacity of dst. Values, paths and
// edits are never changed by anything here, and so may be read by several goroutines at once.
package document
