package compose

import (
	"slices"
	"strings"
)

// graph finds out which steps wait for which, and reports those that wait for themselves.
func (k *compiler) graph(p *Plan) {
	for i := range p.steps {
		var waits []int
		for _, u := range k.uses[i] {
			if u.step == i {
				k.fail(k.report.At(u.at), "", "the step %q needs its own answer", p.steps[i].name)
				continue
			}
			if !slices.Contains(waits, u.step) {
				waits = append(waits, u.step)
				p.steps[u.step].dependents = append(p.steps[u.step].dependents, i)
			}
		}
		p.steps[i].waits = len(waits)
	}
	k.cycles(p)
}

// cycles reports steps that wait for each other, each circle once and at its first step in the order of the file.
func (k *compiler) cycles(p *Plan) {
	const (
		unseen = iota
		open   // on the way that is being followed
		done
	)
	seen := make([]uint8, len(p.steps))
	var way []int
	var follow func(i int)
	follow = func(i int) {
		seen[i] = open
		way = append(way, i)
		for _, u := range k.uses[i] {
			switch {
			case u.step == i: // reported already
			case seen[u.step] == unseen:
				follow(u.step)
			case seen[u.step] == open:
				k.circle(p, way[slices.Index(way, u.step):])
			}
		}
		way = way[:len(way)-1]
		seen[i] = done
	}
	for i := range p.steps {
		if seen[i] == unseen {
			follow(i)
		}
	}
}

// circle reports steps of which each needs the next, and the last the first.
func (k *compiler) circle(p *Plan, way []int) {
	at := slices.Index(way, slices.Min(way))
	var names strings.Builder
	for i := range way {
		names.WriteString(p.steps[way[(at+i)%len(way)]].name + " → ")
	}
	first := way[at]
	k.fail(k.config.Steps[first].Pos, "", "the steps need each other's answers: %s%s", names.String(), p.steps[first].name)
}
