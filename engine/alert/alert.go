// Package alert holds the alerts of one warehouse: what is wrong now, since when, how badly, and what people and rules have
// done about it. An alert is an incident: one for each subject and cause, however often its signal comes and goes; it is
// acknowledged, assigned, commented, snoozed, resolved and rolled back, and each step is an event with who took it.
//
// The core is level-triggered: a feed says again and again all that it sees wrong now (Reviewed), and the core finds what
// that changes. So a lost message costs a second, not an alert, and a feed needs no memory. It is pure: no clock, no I/O,
// no randomness but the seed that its ids are made of. It must not know what a jam or a battery is.
//
// Size: about 1 kB an alert in memory, at most MaxOpen open and MaxRecent recently resolved ones of a warehouse; a review
// costs some 5 us a condition, of which a healthy warehouse has few.
package alert

import (
	"encoding/json"
	"time"

	"starling/engine/fleet"
)

// ID names an alert: a UUID in its canonical lower-case text form.
type ID string

// Level is how bad it is.
type Level uint8

// The levels, NoLevel being well.
const (
	NoLevel Level = iota
	L1
	L2
	L3
)

// Levels lists those that an alert can have.
func Levels() []Level { return []Level{L1, L2, L3} }

var levelNames = [...]string{"", "L1", "L2", "L3"}

// String is the wire name; "" for NoLevel.
func (l Level) String() string { return levelNames[min(l, L3)] }

// ParseLevel reads a wire name; ok is false for anything else.
func ParseLevel(s string) (Level, bool) {
	for _, l := range Levels() {
		if l.String() == s {
			return l, true
		}
	}
	return NoLevel, false
}

// Status is where an alert stands in its handling.
type Status uint8

// The states of contract.md §5.
const (
	Open Status = iota
	Acknowledged
	Resolved
)

// Statuses lists them.
func Statuses() []Status { return []Status{Open, Acknowledged, Resolved} }

// String is the wire name.
func (s Status) String() string {
	return [...]string{"OPEN", "ACKNOWLEDGED", "RESOLVED"}[min(s, Resolved)]
}

// ParseStatus reads a wire name; ok is false for anything else.
func ParseStatus(s string) (Status, bool) {
	for _, x := range Statuses() {
		if x.String() == s {
			return x, true
		}
	}
	return Open, false
}

// Cause says what is wrong, in one word that clients and settings know.
type Cause string

// The causes.
const (
	Congestion  Cause = "congestion"   // a zone, a lane or the warehouse jams
	RobotLost   Cause = "robot_lost"   // a robot that had a connection has none
	RobotStuck  Cause = "robot_stuck"  // a robot with a task has made no move for longer than its bound
	RobotFault  Cause = "robot_fault"  // a robot reports a fault that stops it
	Suspect     Cause = "suspect"      // vertices of a zone are blocked because nobody knows whether they are free
	LowBattery  Cause = "low_battery"  // a robot's battery is low and it is not charging
	DeadLetters Cause = "dead_letters" // facts could not be sent and wait for somebody's decision
	StoreAway   Cause = "store_away"   // a server that the process needs does not answer
)

// Causes lists them.
func Causes() []Cause {
	return []Cause{Congestion, RobotLost, RobotStuck, RobotFault, Suspect, LowBattery, DeadLetters, StoreAway}
}

// Subject is what an alert is about. ID is unique within the warehouse and the type; where the type has UUIDs it is one.
type Subject struct {
	Type string
	ID   string
}

// The types of subjects.
const (
	SubjectZone      = "zone"
	SubjectLane      = "lane"
	SubjectRobot     = "robot"
	SubjectWarehouse = "warehouse"
	SubjectTopic     = "topic" // of dead letters
	SubjectStore     = "store" // postgres, kafka, influxdb, redis, …
)

// Condition is one thing that a feed sees wrong now.
type Condition struct {
	Subject Subject
	Cause   Cause
	Level   Level
	Message string          // what a person reads
	Details json.RawMessage // figures, a JSON object, or nil; at most MaxDetails bytes
}

// Alert is an incident as it is recorded: everything here is durable.
type Alert struct {
	ID      ID
	Version int64 // counts its events, 1 for the first
	Subject Subject
	Cause   Cause
	Feed    string // that saw it first
	Level   Level  // now, or when it was resolved
	Peak    Level  // the highest it has had
	Status  Status
	Message string
	Details json.RawMessage
	Count   int // how often its signal has come, 1 at first
	// Escalations is how often it has been called out again because nobody acknowledged it.
	Escalations    int
	Assignee       fleet.UserID // "" = nobody
	AcknowledgedBy fleet.Actor
	Resolution     Resolution
	Mark           Mark
	Remedies       []Remedy // what was done about it, oldest first, at most MaxRemedies

	OpenedAt       time.Time
	SeenAt         time.Time // when its signal was there last, as far as recorded
	AcknowledgedAt time.Time // zero = it is not
	CalledAt       time.Time // when it has called for attention last: opened, reopened, raised, woken, escalated
	SnoozedUntil   time.Time // zero = it is not
	ResolvedAt     time.Time // zero = it is not
	UpdatedAt      time.Time // of its last event
}

// View is an alert with what was done about it, oldest first. It shares nothing that changes.
type View struct {
	Alert
	Handling []Handling
}

// Resolution says how an alert ended.
type Resolution string

// The ways to end; "" = it has not.
const (
	Cleared  Resolution = "cleared" // its signal has been away for long enough
	ByPerson Resolution = "person"
	Reported Resolution = "reported" // a person reported after the fact that an alert had been missing
)

// Mark is a person's verdict on an alert, for the calibration of rules.
type Mark string

// The verdicts.
const (
	Unmarked Mark = ""
	False    Mark = "false"  // there was nothing wrong
	Missed   Mark = "missed" // it came too late, or not at all (Resolution Reported)
	Right    Mark = "right"
)

// Marks lists the verdicts that there are.
func Marks() []Mark { return []Mark{False, Missed, Right} }

// Remedy is something that was done about an alert's cause and can be undone.
type Remedy struct {
	ID        string  // of whoever did it, a UUID
	Kind      string  // as the acting core names it: cap_admission, close_lane, …
	Subject   Subject // what it was done to
	Label     string  // what a person reads
	Reason    string
	Expected  string // effect
	Measured  string // effect, "" = not yet known
	Automatic bool   // by a rule, not by a person's press
	State     RemedyState
	AppliedAt time.Time
	UndoneAt  time.Time // zero = it is in force, or being undone
}

// RemedyState is how far a remedy has got.
type RemedyState string

// The states of remedies.
const (
	InForce RemedyState = "in_force"
	Undoing RemedyState = "undoing" // to be undone: said again until whoever did it confirms
	Undone  RemedyState = "undone"
)

// Action names a step in an alert's handling.
type Action string

// The steps. Those of rules have no user as their actor.
const (
	ActOpen        Action = "open"
	ActReopen      Action = "reopen" // its signal has come back soon after it was resolved
	ActRaise       Action = "raise"
	ActLower       Action = "lower"
	ActCount       Action = "count" // its signal has come again; in no alert's handling
	ActEscalate    Action = "escalate"
	ActAcknowledge Action = "acknowledge"
	ActAssign      Action = "assign"
	ActComment     Action = "comment"
	ActSnooze      Action = "snooze"
	ActWake        Action = "wake" // its snooze is over
	ActResolve     Action = "resolve"
	ActRollback    Action = "rollback"
	ActMark        Action = "mark"
	ActRemedy      Action = "remedy"
	ActMeasure     Action = "measure" // the effect of a remedy
	ActUndo        Action = "undo"    // a remedy was undone
)

// Actions lists them.
func Actions() []Action {
	return []Action{
		ActOpen, ActReopen, ActRaise, ActLower, ActCount, ActEscalate, ActAcknowledge, ActAssign, ActComment, ActSnooze, ActWake,
		ActResolve, ActRollback, ActMark, ActRemedy, ActMeasure, ActUndo,
	}
}

// Handling is one step in an alert's life.
type Handling struct {
	Seq     int64 // the alert's version after it
	Action  Action
	By      fleet.Actor
	At      time.Time
	Details Details
}

// Details say more about a step; what does not apply is zero.
type Details struct {
	Text       string // of people: a comment, or why; of rules: what was seen
	From, To   Level
	Assignee   fleet.UserID
	Until      time.Time // of a snooze
	Resolution Resolution
	Mark       Mark
	Remedy     string   // id
	TakenBack  []string // by a rollback: acknowledgement, assignment, snooze, resolution, remedy:<id>
}

// Event is a recorded step: the alert as it is after it, and the step.
type Event struct {
	After Alert
	Step  Handling
}

// The bounds of an alert's texts and lists.
const (
	MaxMessage  = 500 // bytes
	MaxText     = 4000
	MaxDetails  = 4 << 10
	MaxRemedies = 32
	MaxHandling = 500 // steps kept with an alert in memory; the store has all
)
