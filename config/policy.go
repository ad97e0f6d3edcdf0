package config

import (
	"fmt"
	"reflect"
	"slices"

	"go.yaml.in/yaml/v3"
)

// Policy is something done to a request or its response, with its options decoded.
type Policy struct {
	// Name under which the policy stands in the file. A policy written in place has its kind as its name, with `#N` behind it, N being
	// its place in the route's list from 1, if the route has several of the kind in place.
	Name string `yaml:",key" check:"name"`
	// Pos is the place of the name, or of the policy where it is written in place.
	Pos Pos `yaml:"-"`
	// Kind is the word that [Kinds] knows it by.
	Kind string `yaml:"-"`
	// Options is the pointer that [Kinds] returned, decoded and checked.
	Options any `yaml:"-"`
	// InPlace says that the policy is written on its only route, and not under `policies`.
	InPlace bool `yaml:"-"`
}

// decodeNode decodes a map with the kind as its only key.
func (p *Policy) decodeNode(d *decoder, n *yaml.Node) {
	kinds := d.options.Kinds.words()
	if n.Kind != yaml.MappingNode {
		d.fail(posOf(n), "write {KIND: {…}}", "a policy: expected a map with its kind, found %s", describe(n))
		return
	}
	entries := d.entries(n)
	if len(entries) == 0 {
		d.fail(posOf(n), DidYouMean("", kinds), "a policy: its kind is missing")
		return
	}
	if len(entries) > 1 {
		d.fail(entries[1].pos, "write a policy of its own for each", "a policy has one kind, found %s and %s", quote(entries[0].key), quote(entries[1].key))
		return
	}
	e := entries[0]
	make := d.options.Kinds[e.key]
	if make == nil {
		d.fail(e.pos, DidYouMean(e.key, kinds), "unknown kind of policy %s", quote(e.key))
		return
	}
	p.Kind, p.Options = e.key, make()
	d.value(e.value, reflect.ValueOf(p.Options).Elem(), &field{name: e.key}, e.pos)
}

func (p *Policy) nodeSchema(b *schemaBuilder) object { return b.policy() }

func (*Policy) nodeType() string { return "policy" }

// words returns the known kinds in order.
func (k Kinds) words() []string {
	out := make([]string, 0, len(k))
	for word := range k {
		out = append(out, word)
	}
	slices.Sort(out)
	return out
}

// PolicyList is the policies of a route, in the order they run. An entry that names a policy is the same pointer as the one in Config.Policies.
type PolicyList []*Policy

// maxPolicies bounds the policies of one route.
const maxPolicies = 256

// decodeNode decodes a list of names and policies written in place. Names are resolved by Config.link.
func (l *PolicyList) decodeNode(d *decoder, n *yaml.Node) {
	if n.Kind != yaml.SequenceNode {
		d.fail(posOf(n), "write [NAME, …]", "policies: expected a list, found %s", describe(n))
		return
	}
	if len(n.Content) > maxPolicies {
		d.fail(posOf(n), "", "policies: at most %d may be there, found %d", maxPolicies, len(n.Content))
		return
	}
	count := map[string]int{}
	places := make([]int, 0, len(n.Content))
	for i, item := range n.Content {
		node, ok := d.enter(item)
		if !ok {
			return
		}
		p := &Policy{Pos: posOf(item)}
		switch node.Kind {
		case yaml.ScalarNode:
			p.Name, _, ok = d.text(node, reflect.ValueOf(&p.Name).Elem(), &field{name: "policies"})
		default:
			p.InPlace = true
			p.decodeNode(d, node)
			ok = p.Kind != ""
		}
		d.leave()
		if !ok {
			continue
		}
		count[p.Kind]++
		*l = append(*l, p)
		places = append(places, i+1)
	}
	for i, p := range *l {
		if !p.InPlace {
			continue
		}
		p.Name = p.Kind
		if count[p.Kind] > 1 {
			p.Name = fmt.Sprintf("%s#%d", p.Kind, places[i])
		}
	}
}

func (*PolicyList) nodeSchema(b *schemaBuilder) object {
	return object{"type": "array", "maxItems": maxPolicies, "items": object{"anyOf": []any{
		object{"type": "string", "description": "The name of a policy under `policies`."}, b.policy()}}}
}

func (*PolicyList) nodeType() string { return "list of names or policies" }

// Referrer is what options of a policy may implement that name other policies.
type Referrer interface {
	// PolicyNames returns pointers to the names in the options.
	PolicyNames() []*string
}

// linkReferences reports names of policies within policies that are not there.
func (c *Config) linkReferences(r *Reporter, policies map[string]*Policy, used map[string]bool) {
	seen := map[*Policy]bool{}
	look := func(p *Policy) {
		refers, ok := p.Options.(Referrer)
		if !ok || seen[p] {
			return
		}
		seen[p] = true
		for _, name := range refers.PolicyNames() {
			used[*name] = true
			switch {
			case policies[*name] == nil:
				r.AddSuggest(r.At(name), DidYouMean(*name, sortedKeys(policies)), "unknown policy %s", quote(*name))
			case policies[*name] == p:
				r.Add(r.At(name), "the policy %q names itself", *name)
			}
		}
	}
	for _, p := range c.Policies {
		look(p)
	}
	for _, t := range c.Routes {
		for _, p := range t.Policies {
			look(p)
		}
	}
}
