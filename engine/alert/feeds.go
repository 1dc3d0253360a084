package alert

import (
	"encoding/json"
	"fmt"
	"math"
	"time"

	"starling/engine/congestion"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/zone"
)

// What is wrong with robots, zones and servers, seen from their newest views alone: each of these functions is pure and has
// no memory; how long something lasts before it is an alert is for the rules.

// The bounds of robots' conditions.
const (
	StuckL1   = time.Minute // a robot with a task waits
	StuckL2   = 3 * time.Minute
	StuckL3   = 10 * time.Minute
	LostL3    = 5 * time.Minute // a robot with a task has no connection
	BatteryL1 = 0.20            // and it is neither charging nor on its way to a charger
	BatteryL2 = 0.12            // wherever it is on its way to
	BatteryL3 = 0.06
	// suspectL3 is how long a robot may wait for a vertex of which nobody knows whether it is free.
	suspectL3 = 3 * time.Minute
	// lettersL3 is how many dead letters of a topic are grave.
	lettersL3 = 100
)

// OfRobot adds what is wrong with a robot to out.
func OfRobot(now time.Time, v *robot.View, out []Condition) []Condition {
	if v.Spec == nil || v.Connection == fleet.NeverSeen {
		return out
	}
	add := func(c Cause, l Level, d details, format string, args ...any) {
		out = append(out, Condition{
			Subject: Subject{SubjectRobot, string(v.ID)}, Cause: c, Level: l, Details: d.json(),
			Message: "robot " + v.Spec.Code + " " + fmt.Sprintf(format, args...),
		})
	}
	if v.Connection == fleet.Offline {
		l, d := L1, details{Task: string(v.Task), Zone: string(v.Zone), Since: v.ReceivedAt}
		silent := now.Sub(v.ReceivedAt)
		switch {
		case v.Task != "" && silent >= LostL3:
			l = L3
		case v.Task != "":
			l = L2
		}
		add(RobotLost, l, d, "has not been heard since %s", v.ReceivedAt.UTC().Format(time.RFC3339))
	}
	// What a lost robot has said last holds until it says something else: silence is not health.
	if v.State == fleet.Error || fatal(v.Errors) {
		d := details{Task: string(v.Task), Zone: string(v.Zone), Since: v.Since}
		text := "reports a fault"
		for _, e := range v.Errors {
			if d.Codes = append(d.Codes, e.Code); e.Level == fleet.LevelFatal {
				text = "reports " + e.Code + ": " + e.Message
			}
		}
		add(RobotFault, L2, d, "%s", text)
	} else if l := stuck(now, v); l > NoLevel && v.Connection != fleet.Offline {
		w := &v.Waiting
		add(RobotStuck, l, details{Task: string(v.Task), Zone: string(v.Zone), Since: w.Since, Cause: w.Cause.String(), Holder: string(w.Holder)},
			"waits since %s: %s", w.Since.UTC().Format(time.RFC3339), w.Cause)
	}
	if l := batteryLevel(v); l > NoLevel {
		add(LowBattery, l, details{Task: string(v.Task), Zone: string(v.Zone), Battery: round(v.Battery)}, "has a battery at %.0f %%", v.Battery*100)
	}
	return out
}

func fatal(errors []fleet.RobotError) bool {
	for _, e := range errors {
		if e.Level == fleet.LevelFatal {
			return true
		}
	}
	return false
}

// stuck says how long a robot with a task has waited; one that people have paused or drive by hand is not stuck.
func stuck(now time.Time, v *robot.View) Level {
	w := &v.Waiting
	if w.Cause == fleet.CauseNone || !w.Tasked || w.Since.IsZero() || v.State == fleet.Paused || v.State == fleet.Manual {
		return NoLevel
	}
	switch waited := now.Sub(w.Since); {
	case waited >= StuckL3:
		return L3
	case waited >= StuckL2:
		return L2
	case waited >= StuckL1:
		return L1
	}
	return NoLevel
}

func batteryLevel(v *robot.View) Level {
	if v.ReportedAt.IsZero() || v.Battery <= 0 || v.State == fleet.Charging { // one that reports none has none
		return NoLevel
	}
	switch {
	case v.Battery < BatteryL3:
		return L3
	case v.Battery < BatteryL2:
		return L2
	case v.Battery < BatteryL1 && v.Move.Kind != robot.MoveCharge:
		return L1
	}
	return NoLevel
}

// OfZone adds what is wrong with a zone to out: vertices of which nobody knows whether they are free, worse where robots wait
// for them.
func OfZone(now time.Time, v *zone.View, out []Condition) []Condition {
	if len(v.Suspects) == 0 {
		return out
	}
	l, d := L1, details{Vertices: len(v.Suspects)}
	for i := range v.Waits {
		w := &v.Waits[i]
		if w.Cause != fleet.CauseSuspect || !w.Tasked {
			continue
		}
		d.Queue++
		if l = max(l, L2); now.Sub(w.Since) >= suspectL3 {
			l = L3
		}
		if d.Since.IsZero() || w.Since.Before(d.Since) {
			d.Since, d.Holder = w.Since, string(w.Holder)
		}
	}
	return append(out, Condition{
		Subject: Subject{SubjectZone, string(v.Zone)}, Cause: Suspect, Level: l, Details: d.json(),
		Message: fmt.Sprintf("%d blocked vertices: a robot was lost there, %d robots wait", len(v.Suspects), d.Queue),
	})
}

// OfScore adds a score's level to out, where it has one; name is what people call its subject.
func OfScore(sc *congestion.Score, name string, out []Condition) []Condition {
	if sc.Level <= 0 {
		return out
	}
	d := details{
		Index: round(sc.Index), Risk: round(sc.Risk), Confidence: round(sc.Confidence), Queue: sc.Queue, Occupancy: sc.Occupancy,
		Capacity: sc.Capacity, Production: round(sc.Production), Settings: sc.Version,
	}
	return append(out, Condition{
		Subject: Subject{sc.Of.String(), sc.ID}, Cause: Congestion, Level: Level(min(sc.Level, int(L3))), Details: d.json(),
		Message: fmt.Sprintf("%s %s jams: index %.2f, %d of %d robots wait", sc.Of, name, sc.Index, sc.Queue, sc.Occupancy),
	})
}

// OfLetters adds a topic's dead letters to out.
func OfLetters(topic string, open int, oldest time.Time, out []Condition) []Condition {
	if open <= 0 {
		return out
	}
	l := L2
	if open >= lettersL3 {
		l = L3
	}
	return append(out, Condition{
		Subject: Subject{SubjectTopic, topic}, Cause: DeadLetters, Level: l, Details: details{Letters: open, Since: oldest}.json(),
		Message: fmt.Sprintf("%d facts could not be sent to %s and wait for a decision", open, topic),
	})
}

// OfStore adds a server that does not answer to out; critical: nothing can be promised without it. Why it does not is for
// whoever runs it, not for each tenant: it may name hosts and users.
func OfStore(name string, critical bool, out []Condition) []Condition {
	l := L2
	if critical {
		l = L3
	}
	return append(out, Condition{
		Subject: Subject{SubjectStore, name}, Cause: StoreAway, Level: l, Details: details{}.json(),
		Message: name + " does not answer",
	})
}

// details are figures of a condition; what does not apply is left out.
type details struct {
	Task       string    `json:"task_id,omitempty"`
	Zone       string    `json:"zone_id,omitempty"`
	Since      time.Time `json:"since,omitzero"`
	Cause      string    `json:"cause,omitempty"`
	Holder     string    `json:"holder,omitempty"`
	Codes      []string  `json:"codes,omitempty"`
	Battery    float64   `json:"battery_soc,omitempty"`
	Vertices   int       `json:"vertices,omitempty"`
	Letters    int       `json:"letters,omitempty"`
	Index      float64   `json:"congestion_index,omitempty"`
	Risk       float64   `json:"risk_score,omitempty"`
	Confidence float64   `json:"confidence,omitempty"`
	Queue      int       `json:"queue_length,omitempty"`
	Occupancy  int       `json:"occupancy,omitempty"`
	Capacity   int       `json:"capacity,omitempty"`
	Production float64   `json:"production,omitempty"`
	Settings   int64     `json:"settings_version,omitempty"`
}

func (d details) json() json.RawMessage {
	d.Since = d.Since.UTC().Truncate(time.Millisecond)
	b, err := json.Marshal(d)
	if err != nil { // a figure that is none
		return nil
	}
	return b
}

func round(x float64) float64 { return math.Round(x*1000) / 1000 }
