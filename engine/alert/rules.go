package alert

import "time"

// Rule says how the signal of one cause becomes an alert. The zero value of a field is the cause's default (DefaultRule);
// a negative one means none.
type Rule struct {
	Off bool // no alerts of this cause; open ones clear
	// Dwell is how long a signal must be there before it is an alert, and before it is raised; gaps count against it.
	Dwell time.Duration
	// Lower is how long a signal must stay below an alert's level before that is lowered by one step.
	Lower time.Duration
	// Clear is how long the signal must be away before the alert resolves itself.
	Clear time.Duration
	// CoolDown is how long after it was resolved a signal that comes back, or has stayed, reopens the same alert instead
	// of making a new one.
	CoolDown time.Duration
	// Escalate is how long an alert of L1, L2, L3 may stay unacknowledged before it is called out again, each time anew.
	Escalate [3]time.Duration
}

// Rules are those of one tenant, by cause.
type Rules struct {
	Version int64 // of the settings that they come from
	Causes  map[Cause]Rule
}

// Of returns the rule of a cause with its defaults filled in.
func (r *Rules) Of(c Cause) Rule {
	rule, d := r.Causes[c], DefaultRule(c)
	for _, f := range []struct{ v, d *time.Duration }{
		{&rule.Dwell, &d.Dwell},
		{&rule.Lower, &d.Lower},
		{&rule.Clear, &d.Clear},
		{&rule.CoolDown, &d.CoolDown},
		{&rule.Escalate[0], &d.Escalate[0]},
		{&rule.Escalate[1], &d.Escalate[1]},
		{&rule.Escalate[2], &d.Escalate[2]},
	} {
		switch {
		case *f.v == 0:
			*f.v = *f.d
		case *f.v < 0:
			*f.v = 0
		}
	}
	return rule
}

// DefaultRule is how a cause is judged where the tenant says nothing else. Congestion has its own dwell in its scores
// (windows of 10 s, EWMA, hysteresis), so it waits here just for one more window.
func DefaultRule(c Cause) Rule {
	r := Rule{
		Dwell: 10 * time.Second, Lower: time.Minute, Clear: time.Minute, CoolDown: 5 * time.Minute,
		Escalate: [3]time.Duration{0, 15 * time.Minute, 5 * time.Minute},
	}
	switch c {
	case RobotStuck, LowBattery:
		r.Dwell = 20 * time.Second
	case StoreAway:
		r.Dwell, r.Clear = 15*time.Second, 30*time.Second
	case RobotLost: // somebody may have taken it out on purpose
		r.CoolDown = time.Hour
	case Congestion, RobotFault, Suspect, DeadLetters:
	}
	return r
}
