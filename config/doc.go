// Package config turns the text of a configuration file into plain structs.
//
// It is strict: an unknown key, a key written twice, a value of the wrong type, out of range or not among the allowed words is
// an error, and so is a name that nothing defines. All errors of a file are collected and reported together, sorted by
// place, each with the line itself and the nearest thing that would have been right.
//
// The structs of this package are the whole truth about the core keys. A key is one field: its doc comment is the text of the
// manual and of the JSON Schema, its tags hold name, default, range and allowed words, and whatever those cannot say stands in the
// Check method of its struct. Options of policies are structs beside the policies; they are decoded by the same rules through
// [Kinds], so this package need not know them.
//
// Tags of a field:
//
//	yaml:"name"            the key; fields without this tag or with "-" are not keys
//	yaml:"name,required"   the key must be there
//	yaml:"name,single"     a list that may be written as one value where it has one entry
//	yaml:"name,short"      the field that is meant when the whole struct is written as one value
//	yaml:"name,none"       the word none is allowed and means "no limit"; the field is then zero
//	yaml:",key"            the field holds the name under which the struct stands in a map; a slice of such structs is written
//	                       as a map and keeps the order of the file
//	yaml:",value"          with ",key": the entry's value decodes into this field, the struct has no keys of its own
//	default:"10s"          the value when the key is absent, as it would be written; lists separate entries by commas
//	enum:"a b"             the allowed words
//	min:"1" max:"10"       the allowed range, as it would be written; for a list the number of entries
//	check:"name"           a check of a text from the table in checks.go, which may also bring it to its canonical form
//	words:"stdout stderr"  for a [FilePath]: words that are not file names
//
// A struct field is never nil and always holds its defaults; a pointer to a struct is nil when its key is absent.
package config

//go:generate go run ./gen -out docs_gen.go . ../policy
