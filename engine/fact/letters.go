package fact

import (
	"time"

	"starling/engine/fleet"
)

// LetterState is how far a dead letter has been dealt with.
type LetterState string

// The states of dead letters. Whoever decides makes it retrying or discarding; its pump does the rest, within a second.
const (
	LetterOpen       LetterState = "open"
	LetterRetrying   LetterState = "retrying"
	LetterDiscarding LetterState = "discarding"
	LetterRetried    LetterState = "retried"
	LetterDiscarded  LetterState = "discarded"
)

// LetterStates lists them.
func LetterStates() []LetterState {
	return []LetterState{LetterOpen, LetterRetrying, LetterDiscarding, LetterRetried, LetterDiscarded}
}

// DeadLetter is a fact that could not be sent. Until it is dealt with, the later facts of its aggregate wait.
type DeadLetter struct {
	ID            fleet.EventID
	AggregateType string
	AggregateID   string
	Topic, Key    string
	Type          string // task.created, …; "" = its envelope cannot be read
	Cause         string
	Attempts      int
	Deaths        int // it may be retried and die again
	At            time.Time
	DeadAt        time.Time
	State         LetterState
	HandledAt     time.Time // zero = nobody has decided
	HandledBy     fleet.UserID
	Waiting       int    // later facts of its aggregate, counted up to 1,000
	Payload       []byte // starling.events.v1.Envelope; only where one letter is asked for
}

// LetterFilter narrows a list of dead letters; zero values narrow nothing.
type LetterFilter struct {
	Topic string
	State LetterState
}
