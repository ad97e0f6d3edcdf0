package balance

// random draws each endpoint by weight, independently of what was drawn before.
type random struct{ weighted }

func newRandom(members []Member, _ *Options) Picker { return &random{newWeighted(members)} }

func (r *random) Pick(q *Query) int {
	if i := r.drawUntried(q); i >= 0 {
		return r.members[i].Slot
	}
	return -1
}
