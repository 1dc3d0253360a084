package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Expect is one thing that must have been so at the end of a scenario.
type Expect struct {
	Kind     ExpectKind
	Who      string // a robot, a task or a zone
	Other    string // another of the same kind, or a cause
	Cause    string
	Place    string
	From, To time.Duration
	Line     string // as written
}

// ExpectKind is what a scenario can expect.
type ExpectKind uint8

// What a scenario can expect.
const (
	GivesWay     ExpectKind = iota // the robot moves away from what it wants, to let somebody pass
	KeepsOn                        // it never does
	PassesBefore                   // it stands on a place for the first time before another does
	Waits                          // it is told to wait, for whom and why
	Stands                         // it does not set off in a time
	Moves                          // it arrives somewhere in a time
	NobodyEnters                   // nobody sets off into the zone in a time
	NobodyOn                       // nobody stands on the place in a time
	EndsBy                         // the task has ended by then
	EndsBefore                     // the task ends before another
	RingSeen                       // robots wait for each other in a ring, for no longer than To where that is set
	NoRing                         // they never do
	RingRecorded                   // the resolution of a ring is on record
	Merged                         // the zone is planned together with others, by To where that is set
)

// expect reads one expectation.
func (sc *Scenario) expect(w *words, line string) {
	e := Expect{Line: strings.TrimPrefix(line, "expect "), To: maxScenarioBound}
	switch e.Who = w.next(); e.Who {
	case "nobody":
		e.Kind = NobodyOn
		if w.next() == "enters" {
			e.Kind = NobodyEnters
		}
		e.Place = w.next()
	case "ring":
		if e.Kind = RingSeen; w.skip("recorded") {
			e.Kind = RingRecorded
		} else if w.skip("within") {
			e.To = w.duration()
		}
	case "no":
		w.want("ring")
		e.Kind = NoRing
	case "zone":
		e.Kind, e.Who = Merged, w.next()
		w.want("merged")
		if w.skip("by") {
			e.To = w.duration()
		}
	default:
		sc.expectOf(w, &e)
	}
	if w.skip("from") {
		e.From = w.duration()
		w.want("to")
		e.To = w.duration()
	}
	sc.Expects = append(sc.Expects, e)
}

// expectOf reads what is expected of a robot or a task.
func (sc *Scenario) expectOf(w *words, e *Expect) {
	switch word := w.next(); word {
	case "gives":
		w.want("way")
		e.Kind = GivesWay
	case "keeps":
		w.want("on")
		e.Kind = KeepsOn
	case "before":
		e.Other, e.Kind = w.next(), EndsBefore
		if w.skip("at") {
			e.Kind, e.Place = PassesBefore, w.next()
		}
	case "waits":
		e.Kind = Waits
		if w.skip("for") {
			e.Other = w.next()
		}
		if w.skip("because") {
			e.Cause = w.next()
		}
	case "stands":
		e.Kind = Stands
	case "moves":
		e.Kind = Moves
	case "ends":
		w.want("by")
		e.Kind, e.To = EndsBy, w.duration()
	default:
		w.fail("nobody can expect %q", word)
	}
}

// judge says what of the scenario's expectations was not so.
func (t *story) judge() (faults []string) {
	for _, e := range t.st.sc.Expects {
		if why := t.holds(&e); why != "" {
			faults = append(faults, fmt.Sprintf("expect %s: %s", e.Line, why))
		}
	}
	for _, e := range t.st.sc.Tasks {
		if end, ok := t.ends[e.Name]; !ok {
			faults = append(faults, fmt.Sprintf("task %s has not ended within %v", e.Name, t.st.sc.Within))
		} else if end > t.st.sc.Within {
			faults = append(faults, fmt.Sprintf("task %s ended after %v, later than within %v", e.Name, end, t.st.sc.Within))
		}
	}
	return faults
}

// holds says why an expectation is not met, "" where it is.
func (t *story) holds(e *Expect) string {
	switch e.Kind {
	case GivesWay, KeepsOn, Stands, Moves, NobodyEnters, NobodyOn, PassesBefore:
		return t.holdsOfSteps(e)
	case Waits:
		return t.holdsOfStays(e)
	case EndsBy:
		if end, ok := t.ends[e.Who]; !ok || end > e.To {
			return fmt.Sprintf("it ended at %v (ended: %v)", end, ok)
		}
	case EndsBefore:
		a, okA := t.ends[e.Who]
		if b, okB := t.ends[e.Other]; !okA || !okB || a >= b {
			return fmt.Sprintf("they ended at %v and %v (ended: %v, %v)", a, b, okA, okB)
		}
	case RingSeen:
		if len(t.rings) == 0 {
			return "there was none"
		}
		for _, r := range t.rings {
			if r.Until-r.Since > e.To {
				return fmt.Sprintf("%v stood for %v", r.Robots, r.Until-r.Since)
			}
		}
	case NoRing:
		if len(t.rings) > 0 {
			return fmt.Sprintf("%v stood since %v", t.rings[0].Robots, t.rings[0].Since)
		}
	case RingRecorded:
		if !slices.ContainsFunc(t.rings, func(r Ring) bool { return r.Recorded }) {
			return "no resolution is on record"
		}
	case Merged:
		if at, ok := t.merged[e.Who]; !ok || at > e.To {
			return fmt.Sprintf("merged at %v (ever: %v)", at, ok)
		}
	}
	return ""
}

// holdsOfSteps judges what robots did.
func (t *story) holdsOfSteps(e *Expect) string {
	who := slices.Index(t.st.names, e.Who)
	within := func(at time.Duration) bool { return at >= e.From && at <= e.To }
	switch e.Kind {
	case GivesWay, KeepsOn:
		backs := slices.ContainsFunc(t.steps, func(s Step) bool { return s.Robot == who && s.Backs && within(s.Left) })
		if backs != (e.Kind == GivesWay) {
			return fmt.Sprintf("it moved away from its goal: %v", backs)
		}
	case Stands:
		if k := slices.IndexFunc(t.steps, func(s Step) bool { return s.Robot == who && within(s.Left) }); k >= 0 {
			return fmt.Sprintf("it set off at %v", t.steps[k].Left)
		}
	case Moves:
		if !slices.ContainsFunc(t.steps, func(s Step) bool { return s.Robot == who && s.Stands > 0 && within(s.Stands) }) {
			return "it did not"
		}
	case NobodyEnters:
		g, z := t.st.s.graph, int32(t.st.zone(e.Place))
		for _, s := range t.steps {
			if within(s.Left) && g.ZoneOf[s.To] == z && g.ZoneOf[s.From] != z {
				return fmt.Sprintf("%s did at %v", t.st.names[s.Robot], s.Left)
			}
		}
	case NobodyOn:
		v := t.st.vertex(e.Place)
		for _, s := range t.steps {
			if s.To == v && within(s.Stands) {
				return fmt.Sprintf("%s was at %v", t.st.names[s.Robot], s.Stands)
			}
		}
	case PassesBefore:
		a, b := t.first(e.Who, e.Place), t.first(e.Other, e.Place)
		if a < 0 || b >= 0 && b < a {
			return fmt.Sprintf("they came there at %v and %v", a, b)
		}
	case Waits, EndsBy, EndsBefore, RingSeen, NoRing, RingRecorded, Merged:
	}
	return ""
}

// first is when a robot first stood on a place, less than zero = never.
func (t *story) first(name, place string) time.Duration {
	who, v := slices.Index(t.st.names, name), t.st.vertex(place)
	for _, s := range t.steps {
		if s.Robot == who && s.To == v && s.Stands > 0 {
			return s.Stands
		}
	}
	return -1
}

func (t *story) holdsOfStays(e *Expect) string {
	who := slices.Index(t.st.names, e.Who)
	for _, s := range t.stays {
		if s.Robot == who && s.From <= e.To && s.Until >= e.From && (e.Other == "" || e.Other == s.Holder) && (e.Cause == "" || e.Cause == s.Cause.String()) {
			return ""
		}
	}
	return "it was not told so"
}
