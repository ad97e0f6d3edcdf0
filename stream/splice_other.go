//go:build unix && !linux

package stream

import "errors"

// errCannotSplice says that the system does not splice from this kind of socket.
var errCannotSplice = errors.New("cannot splice")

// Pipes are what long transfers of relays go through on Linux. Here relays copy.
type Pipes struct{}

// PipesState tells how many pipes there are.
type PipesState struct {
	Open    int   // in use or waiting to be used, at most the bound
	Idle    int   // of those, waiting to be used
	Refused int64 // how often a relay got none and copied instead
}

// NewPipes returns a pool that lends none.
func NewPipes(int) *Pipes { return &Pipes{} }

// State returns how many pipes there are.
func (*Pipes) State() PipesState { return PipesState{} }

// Close does nothing.
func (*Pipes) Close() {}

func (*Pipes) get() *pipe { return nil }
func (*Pipes) put(*pipe)  {}

// pipe is never made.
type pipe struct{ held int }

func (*pipe) fill(uintptr) (int, bool, error) { return 0, false, errCannotSplice }
func (*pipe) drain(uintptr) (int, error)      { return 0, errCannotSplice }
