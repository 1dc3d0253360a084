package congestion

import (
	"encoding/json"
	"slices"
)

// ActionKind is what can be done about a jam.
type ActionKind uint8

// The remedies.
const (
	Reroute      ActionKind = iota // robots on their way through are led round it (dearer lanes, targeted replans)
	CapAdmission                   // its zone admits fewer robots on their way through
	CloseLane                      // a lane is closed
	HoldTasks                      // tasks of low priority that lead there wait
	SendCharging                   // robots without a task leave for chargers elsewhere
	CapActive                      // fewer robots of the warehouse hold tasks at once
	ActionKinds                    // how many there are
)

var actionNames = [...]string{"reroute", "cap_admission", "close_lane", "hold_tasks", "send_charging", "cap_active"}

// String is the wire name.
func (k ActionKind) String() string {
	if int(k) >= len(actionNames) {
		return "INVALID"
	}
	return actionNames[k]
}

// ParseActionKind is the reverse of String.
func ParseActionKind(s string) (ActionKind, bool) {
	i := slices.Index(actionNames[:], s)
	return ActionKind(max(i, 0)), i >= 0
}

// Action is one suggestion: what may be done about a subject, what it is expected to bring, and the call that does it.
type Action struct {
	Kind     ActionKind
	Subject  Subject
	Label    string          // for people: "lead 12 robots round zone 7"
	Expected Effect          // what it should bring
	Method   string          // of the call that does it: POST
	Path     string          // /api/v1/...
	Body     json.RawMessage // nil = none
}

// Effect is what an action is expected to bring, or has brought.
type Effect struct {
	Index    float64 // change of the subject's congestion index, -1..1; negative = less jam
	Robots   int     // that it touches
	WithinS  int     // seconds within which that should show
	Measured bool    // it has been seen, not only expected
}
