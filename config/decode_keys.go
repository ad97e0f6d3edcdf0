package config

import "go.yaml.in/yaml/v3"

// entry is one key of a map with its value.
type entry struct {
	key   string
	pos   Pos
	value *yaml.Node
}

// maxFew is the number of keys from which a Go map is used to find one.
const maxFew = 17

// seenKeys remembers the keys of one map with their lines. Most maps are small, and a search among a few keys is cheaper than a Go map.
type seenKeys struct {
	few  []seenKey
	many map[string]int
}

type seenKey struct {
	key  string
	line int
}

func (s *seenKeys) line(key string) (int, bool) {
	if s.many != nil {
		line, ok := s.many[key]
		return line, ok
	}
	for _, k := range s.few {
		if k.key == key {
			return k.line, true
		}
	}
	return 0, false
}

func (s *seenKeys) add(key string, line int) {
	if s.many != nil {
		s.many[key] = line
		return
	}
	if s.few = append(s.few, seenKey{key, line}); len(s.few) >= maxFew {
		s.many = make(map[string]int, 2*len(s.few))
		for _, k := range s.few {
			s.many[k.key] = k.line
		}
	}
}

// entries returns the keys of a map in the order of the file. Keys written twice are reported; merged ones (`<<`) stand behind and yield to written ones.
func (d *decoder) entries(n *yaml.Node) []entry {
	out := make([]entry, 0, len(n.Content)/2)
	lines := seenKeys{few: make([]seenKey, 0, min(len(n.Content)/2, maxFew))}
	var merges []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if d.inAlias > 0 && !d.spend() {
			return nil
		}
		if k.Kind == yaml.AliasNode {
			k = k.Alias
		}
		if k.Kind != yaml.ScalarNode || k.Tag == "!!null" {
			d.Add(posOf(n.Content[i]), "a key must be a word, found %s", describe(k))
			continue
		}
		if k.Tag == "!!merge" {
			merges = append(merges, v)
			continue
		}
		if first, ok := lines.line(k.Value); ok {
			d.AddSuggest(posOf(n.Content[i]), "leave one of them", "the key %s is written twice, first on line %d", quote(k.Value), first)
			continue
		}
		lines.add(k.Value, n.Content[i].Line)
		out = append(out, entry{k.Value, posOf(n.Content[i]), v})
	}
	for _, m := range merges {
		out = d.merge(m, out, &lines)
	}
	return out
}

// merge adds the keys of a merged map, or of a list of maps, that are not there yet.
func (d *decoder) merge(n *yaml.Node, out []entry, have *seenKeys) []entry {
	n, ok := d.enter(n)
	if !ok {
		return out
	}
	defer d.leave()
	switch n.Kind {
	case yaml.MappingNode:
		for _, e := range d.entries(n) {
			if _, ok := have.line(e.key); !ok {
				have.add(e.key, e.pos.Line)
				out = append(out, e)
			}
		}
	case yaml.SequenceNode:
		for _, m := range n.Content {
			if m.Kind == yaml.SequenceNode {
				d.Add(posOf(m), "<<: expected a map, found a list")
				continue
			}
			out = d.merge(m, out, have)
		}
	default:
		d.Add(posOf(n), "<<: expected a map or a list of maps, found %s", describe(n))
	}
	return out
}
