package message

// Identity is who calls: what policies have found out and what they are asked for. It is immutable, and shared by all requests of a caller that
// was recognised before.
type Identity struct {
	// Consumer is the name of the consumer in the configuration, "" if the caller is none of them. Plan is the name of its plan, "" for none.
	Consumer string
	Plan     string
	// Claims are the members of the verified token, in its order; nil without one.
	Claims []Claim
	// Raw is the JSON text of all claims, as it was signed.
	Raw []byte
}

// Claim is one member of a verified token.
type Claim struct {
	Name string
	// Text is the value where it is a string, without its quotes and escapes; nil for other values. An empty string is not nil.
	Text []byte
	// Raw is the JSON text of the value.
	Raw []byte
}

// Claim returns the claim of that name, or nil.
func (i *Identity) Claim(name string) *Claim {
	if i == nil {
		return nil
	}
	for n := range i.Claims {
		if i.Claims[n].Name == name {
			return &i.Claims[n]
		}
	}
	return nil
}

// Step is what a part of a composition came to.
type Step struct {
	// Done says that the step has ended, with an answer or without one.
	Done bool
	// Status of the answer; 0 if the step failed or was left out, and Body is its default then.
	Status int
	// Header of the answer; nil without one. It belongs to the composition and is valid until its exchange has ended.
	Header *Header
	// Body is the JSON text of the body: never nil when the step is done, `null` for nothing.
	Body []byte
}
