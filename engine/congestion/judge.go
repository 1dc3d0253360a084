package congestion

import (
	"slices"
	"time"
)

// Truth says what counts as a jam when alerts are judged afterwards.
type Truth struct {
	// Level3: a jam is what comes to level 3 by the usual rules, whatever the settings on trial. Else it is measured delay: for so
	// long, so many robots' time was lost in a zone, and that was such a share of all robots under way there.
	Level3 bool
	Share  float64       // 0 = 0.4
	Robots float64       // 0 = 3
	For    time.Duration // 0 = 2 min
	// Horizon is how long before a jam an alert may be and be of it. 0 = 5 min.
	Horizon time.Duration
}

func (t Truth) filled() Truth {
	if t.Share <= 0 {
		t.Share = 0.4
	}
	if t.Robots <= 0 {
		t.Robots = 3
	}
	if t.For <= 0 {
		t.For = 2 * time.Minute
	}
	if t.Horizon <= 0 {
		t.Horizon = 5 * time.Minute
	}
	return t
}

// Marked is a person's verdict: that the alert of a subject which stood at that time was false, or that one was missing.
type Marked struct {
	Subject
	At     time.Time
	Missed bool
}

// Verdict says how well the alerts from one level on told jams of zones.
type Verdict struct {
	Level       int
	Alerts      int // raised
	True        int // of them, with a jam while they stood, or within the horizon of when they were raised
	Jams        int
	Caught      int           // of them, with an alert while they lasted, or before by no more than the horizon
	Precision   float64       // True / Alerts; 1 where there was none
	Recall      float64       // Caught / Jams; 1 where there was none
	FalsePerDay float64       // false alarms per zone and day
	Lead        time.Duration // median, from alert to jam; negative = the jam was first
	Marks       int           // verdicts of people that counted
	ZoneDays    float64       // over which was judged
	leads       []time.Duration
}

// Add makes v the verdict on two floors, or two windows.
func (v *Verdict) Add(o *Verdict) {
	v.Alerts, v.True, v.Jams, v.Caught, v.Marks = v.Alerts+o.Alerts, v.True+o.True, v.Jams+o.Jams, v.Caught+o.Caught, v.Marks+o.Marks
	v.ZoneDays += o.ZoneDays
	v.leads = append(slices.Clip(v.leads), o.leads...)
	v.rate()
}

// rate makes shares of what was counted.
func (v *Verdict) rate() {
	v.Precision, v.Recall, v.FalsePerDay, v.Lead = share(v.True, v.Alerts), share(v.Caught, v.Jams), 0, 0
	if v.ZoneDays > 0 {
		v.FalsePerDay = float64(v.Alerts-v.True) / v.ZoneDays
	}
	if slices.Sort(v.leads); len(v.leads) > 0 {
		v.Lead = v.leads[len(v.leads)/2]
	}
}

// Judge holds what levels said against what came of it. It takes the scores of each bin, in order.
type Judge struct {
	truth Truth
	zones map[string]*watch
	bins  int
	end   time.Time
}

// watch is what is remembered of one zone.
type watch struct {
	usual  Levels
	since  time.Time // since when it looks like a jam; zero = it does not
	calm   int       // bins since it looked like one
	jams   []span
	alerts [LevelCount][]span
}

// span is [from, to); zero to = it lasts.
type span struct{ from, to time.Time }

// NewJudge returns one that has seen nothing.
func NewJudge(t Truth) *Judge { return &Judge{truth: t.filled(), zones: map[string]*watch{}} }

// Take takes a bin's scores.
func (j *Judge) Take(scores []Score) {
	usual := Usual().Ladders[KindOpen]
	least := [LevelCount]float64{usual.Rules[0].Index, usual.Rules[1].Index, usual.Rules[2].Index}
	seen := false
	for i := range scores {
		sc := &scores[i]
		if sc.Of != OfZone {
			continue
		}
		w := j.zones[sc.ID]
		if w == nil {
			w = &watch{}
			j.zones[sc.ID] = w
		}
		seen, j.end = true, sc.At
		for l := range w.alerts {
			w.alerts[l] = follows(w.alerts[l], sc.Level > l, sc.At)
		}
		sig := sc.signal()
		if level := w.usual.Take(sc.At, &sig, &usual, &least); j.truth.Level3 {
			w.jams = follows(w.jams, level == LevelCount, sc.At)
		} else {
			j.delay(w, sc)
		}
	}
	if seen {
		j.bins++
	}
}

// follows opens and closes the last span.
func follows(spans []span, on bool, at time.Time) []span {
	n := len(spans)
	switch lasts := n > 0 && spans[n-1].to.IsZero(); {
	case on && !lasts:
		return append(spans, span{from: at})
	case !on && lasts:
		spans[n-1].to = at
	}
	return spans
}

// jamGap is how many calm bins part two jams.
const jamGap = 6

// delay follows jams by measured delay. They begin when the delay did, not when it had lasted long enough.
func (j *Judge) delay(w *watch, sc *Score) {
	n := len(w.jams)
	open := n > 0 && w.jams[n-1].to.IsZero()
	if sc.Index >= j.truth.Share && sc.Index*sc.UnderWay >= j.truth.Robots {
		if w.calm = 0; w.since.IsZero() {
			w.since = sc.At
		}
		if !open && sc.At.Sub(w.since) >= j.truth.For {
			w.jams = append(w.jams, span{from: w.since})
		}
		return
	}
	if w.calm++; w.calm < jamGap {
		return
	}
	w.since = time.Time{}
	if open {
		w.jams[n-1].to = sc.At
	}
}

// ends is when the span ended, or the last bin.
func (s span) ends(last time.Time) time.Time {
	if s.to.IsZero() {
		return last
	}
	return s.to
}

// Verdict judges the alerts from a level on, 1..3.
func (j *Judge) Verdict(level int, marks []Marked) Verdict {
	v := Verdict{Level: level}
	for id, w := range j.zones {
		jams := slices.Clone(w.jams)
		var wrong []time.Time
		for _, m := range marks {
			if m.Of != OfZone || m.ID != id {
				continue
			}
			if v.Marks++; m.Missed {
				jams = append(jams, span{m.At, m.At.Add(j.truth.For)})
			} else {
				wrong = append(wrong, m.At)
			}
		}
		alerts := w.alerts[level-1]
		for _, a := range alerts {
			v.Alerts++
			told := slices.ContainsFunc(jams, func(jam span) bool { return j.of(a, jam) })
			if told && !slices.ContainsFunc(wrong, func(at time.Time) bool { return !at.Before(a.from) && !at.After(a.ends(j.end)) }) {
				v.True++
			}
		}
		for _, jam := range jams {
			v.Jams++
			if i := slices.IndexFunc(alerts, func(a span) bool { return j.of(a, jam) }); i >= 0 {
				v.Caught++
				v.leads = append(v.leads, jam.from.Sub(alerts[i].from))
			}
		}
	}
	v.ZoneDays = float64(len(j.zones)*j.bins) * Bin.Hours() / 24
	v.rate()
	return v
}

// of says whether an alert is of a jam: it stood while that lasted, or was raised no longer than the horizon before.
func (j *Judge) of(a, jam span) bool {
	return !a.from.After(jam.ends(j.end)) && (!a.ends(j.end).Before(jam.from) || jam.from.Sub(a.from) <= j.truth.Horizon)
}

func share(part, whole int) float64 {
	if whole == 0 {
		return 1
	}
	return float64(part) / float64(whole)
}

// Bounds says over how many zones and bins was judged.
func (j *Judge) Bounds() (zones, bins int) { return len(j.zones), j.bins }
