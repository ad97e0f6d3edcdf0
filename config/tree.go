package config

import (
	"bytes"

	"go.yaml.in/yaml/v3"
)

// Tree is a JSON value whose texts may hold `${…}`: a template. Text is nil where the key is absent.
type Tree struct {
	// Text is compact JSON in the order of the file; numbers keep the digits of the file where JSON allows them.
	Text []byte
	// Places are where the texts stand in the file, in the order of Text. Names of members are not among them: they are fixed.
	Places []Pos
}

func (t *Tree) decodeNode(d *decoder, n *yaml.Node) {
	var b bytes.Buffer
	var places []Pos
	d.texts = &places
	d.json(&b, n)
	d.texts = nil
	t.Text, t.Places = b.Bytes(), places
}

func (*Tree) nodeSchema(*schemaBuilder) object { return object{} }

func (*Tree) nodeType() string { return "template" }

// TreePair is a name with a template, an entry of a map that keeps the order of the file.
type TreePair struct {
	// Name of the entry.
	Name string `yaml:",key"`
	// Pos is the place of the name.
	Pos Pos `yaml:"-"`
	// Value of the entry.
	Value Tree `yaml:",value"`
}
