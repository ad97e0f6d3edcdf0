// Package compose makes one answer of the answers of several backends.
//
// A [Plan] is a composition of the configuration, compiled: its steps, which of them need which, and the template of the answer. It is
// immutable once it is connected, and serves any number of exchanges at once.
//
// Steps that need nothing of each other run side by side, the others as soon as what they need is there. Each call of a step is a request of
// its own, made by the configuration and not by the client: it has its own pooled exchange, and its backend treats it as any other, with
// retries, health and limits. The exchange's own thread makes one of the calls that are ready; only the others get goroutines, so that a plan
// whose steps follow one another needs none. All of them are joined before [Plan.Serve] returns.
//
// # Who owns what
//
// While a composition runs, the client's exchange belongs to whoever holds the lock of its run: expressions are evaluated, steps concluded and
// the client looked at under it, and nothing is waited for. A call belongs to its goroutine from when it is launched until it is finished
// under the lock again. What the steps have brought stays where it was read until the answer was written: the body of the composed response
// gives all of it back when it is closed.
package compose
