package alert

import (
	"time"

	"starling/engine/fleet"
)

// Msg is what the alerts of a warehouse can be told.
//
//sumtype:decl
type Msg interface{ isAlertMsg() }

type (
	// Reviewed brings what feeds see now, at most one Review of each.
	Reviewed struct{ Reviews []Review }
	// Commanded comes from a client. Answered with Reply.
	Commanded struct {
		Alert   ID
		Command Command
		By      fleet.Actor
		Trace   fleet.Trace
		// Loaded is the alert from the store, where the core has answered NotFound before; nil = not looked up.
		Loaded *View
	}
	// MissReported comes from a person: there should have been an alert and was none. It is recorded as a resolved one.
	// Answered with Reply.
	MissReported struct {
		ID      ID // that the alert gets, "" = any
		Subject Subject
		Cause   Cause
		Level   Level
		From    time.Time // when it was wrong
		To      time.Time
		Text    string
		By      fleet.Actor
		Trace   fleet.Trace
	}
	// RemedyApplied says that something was done about an alert, or about a subject that has an open alert of the cause.
	// Answered with Reply (NotFound where there is no such alert).
	RemedyApplied struct {
		Alert   ID // "" = that of Subject and Cause
		Subject Subject
		Cause   Cause
		Remedy  Remedy
		By      fleet.Actor
		Trace   fleet.Trace
	}
	// RemedyMeasured says what a remedy has brought.
	RemedyMeasured struct {
		Remedy   string
		Measured string
		By       fleet.Actor
	}
	// RemedyUndone says that a remedy is not in force any more: confirms UndoRemedy, or tells of an end by itself.
	RemedyUndone struct {
		Remedy string
		Reason string
		By     fleet.Actor
	}
	// RulesChanged brings the tenant's rules.
	RulesChanged struct{ Rules Rules }
	// Woke comes from the timing wheel at or after a time asked for by WakeAt.
	Woke struct{}
	// Restored follows recovery: say what must be said again.
	Restored struct{}
)

func (Reviewed) isAlertMsg()       {}
func (Commanded) isAlertMsg()      {}
func (MissReported) isAlertMsg()   {}
func (RemedyApplied) isAlertMsg()  {}
func (RemedyMeasured) isAlertMsg() {}
func (RemedyUndone) isAlertMsg()   {}
func (RulesChanged) isAlertMsg()   {}
func (Woke) isAlertMsg()           {}
func (Restored) isAlertMsg()       {}

// Review is all that a feed sees wrong now: what it does not name is well. One that is not heard from any more changes
// nothing: silence is not health.
type Review struct {
	Feed string
	// At is when it was so, zero = now. A feed of measurements gives the end of what was measured, so that whoever replays
	// them comes to the same alerts.
	At         time.Time
	Conditions []Condition
}

// The feeds.
const (
	FeedCongestion = "congestion"
	FeedRobots     = "robots"
	FeedZones      = "zones"
	FeedLetters    = "letters"
	FeedStores     = "stores"
)

// Command is what a person does about an alert.
//
//sumtype:decl
type Command interface{ isAlertCommand() }

type (
	// Acknowledge says that somebody looks after it. Of an acknowledged alert it changes nothing and succeeds; of a
	// resolved one it is a conflict.
	Acknowledge struct{ Text string }
	// Assign gives it to somebody, or ("") to nobody. Of a resolved alert it is a conflict.
	Assign struct {
		To   fleet.UserID
		Text string
	}
	// Comment adds a text; also to a resolved alert.
	Comment struct{ Text string }
	// Snooze keeps it from calling out until then; the zero time ends that. Of a resolved alert it is a conflict.
	Snooze struct {
		Until time.Time
		Text  string
	}
	// Resolve ends it. Of a resolved alert it changes nothing and succeeds. Where its signal stays, it comes back after the
	// cool-down of its cause.
	Resolve struct{ Text string }
	// Rollback takes back what people and rules have done about it: remedies in force are undone, acknowledgement,
	// assignment, snooze and a person's resolution are taken back. Where nothing of that is there, it is a conflict.
	Rollback struct{ Text string }
	// SetMark is a verdict on it (Unmarked takes it back); also on a resolved alert.
	SetMark struct {
		Mark Mark
		Text string
	}
)

func (Acknowledge) isAlertCommand() {}
func (Assign) isAlertCommand()      {}
func (Comment) isAlertCommand()     {}
func (Snooze) isAlertCommand()      {}
func (Resolve) isAlertCommand()     {}
func (Rollback) isAlertCommand()    {}
func (SetMark) isAlertCommand()     {}

// Effect is what the shell must do. Where one Decide returns Record effects, all its other effects wait until those are
// durable, and are dropped if they are not.
//
//sumtype:decl
type Effect interface{ isAlertEffect() }

type (
	// Record makes an event durable; Apply follows when it is.
	Record struct {
		Event Event
		By    fleet.Actor
		Trace fleet.Trace
	}
	// Reply answers the client's message that is being decided. The shell adds the alert as it then is.
	Reply struct {
		Outcome Outcome
		Alert   ID
	}
	// UndoRemedy asks whoever applied the remedy to undo it; repeated until RemedyUndone comes.
	UndoRemedy struct {
		Alert  ID
		Remedy Remedy
	}
	// WakeAt asks for Woke at that time; a later one replaces it; zero cancels.
	WakeAt struct{ At time.Time }
)

func (Record) isAlertEffect()     {}
func (Reply) isAlertEffect()      {}
func (UndoRemedy) isAlertEffect() {}
func (WakeAt) isAlertEffect()     {}

// Outcome is how a client's request ended.
type Outcome uint8

// The outcomes.
const (
	Done     Outcome = iota // done now, or was done already (idempotent)
	Conflict                // the alert's state forbids it
	NotFound                // the core does not know the alert: it may be an old one
	Full                    // a bound forbids it
)
