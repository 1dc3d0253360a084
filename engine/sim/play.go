package sim

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"starling/engine/dispatch"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/engine/zone"
)

// Play is a scenario under way. It has one owner.
type Play struct {
	w  *World
	st *stage
}

// Play begins a scenario; nothing has happened yet. One seed is one run.
func (sc *Scenario) Play(seed uint64) *Play {
	w := New(sc.config(seed))
	return &Play{w, w.stage}
}

// Trace has tell told of every message that counts. For people; the run is the same without.
func (p *Play) Trace(tell func(line string)) { p.w.Trace = tell }

// Until runs to a moment, counted from the scenario's beginning, and returns the first broken law, nil = none.
func (p *Play) Until(at time.Duration) *Violation {
	for p.w.broken == nil && p.w.clock.now < curtain+at {
		if before := p.w.steps; p.w.Run(before+1).Steps == before {
			break
		}
	}
	return p.w.broken
}

// Verdict is what a scenario came to.
type Verdict struct {
	Broken *Violation // the first broken law, nil = none
	Faults []string   // expectations that were not met
	Trace  string     // who did what when, who waited for whom and why, what was decided
	Film   Film
	Steps  []Step
	Stays  []Stay
	Rings  []Ring
	Robots []string // names, by number
	Lasted time.Duration
	Digest uint64

	told *story
}

// Finish runs to the end.
func (p *Play) Finish() Verdict {
	r := p.w.Run(0)
	t := &p.st.told
	v := Verdict{
		Broken: r.Broken, Faults: t.judge(), Film: t.film(), Steps: t.steps, Stays: t.stays, Rings: t.rings, Robots: p.st.names,
		Lasted: t.now(), Digest: r.Digest, told: t,
	}
	v.Trace = strings.Join(t.lines, "\n") + "\n"
	return v
}

// Now is the time as the cores see it.
func (p *Play) Now() time.Time { return p.w.now() }

// Epoch is the time at which the scenario began.
func (p *Play) Epoch() time.Time { return p.w.epoch.Add(curtain) }

// Robot is the id of the robot of this name, "" where there is none.
func (p *Play) Robot(name string) fleet.RobotID {
	if k := slices.Index(p.st.names, name); k >= 0 {
		return p.st.s.devices[k].id
	}
	return ""
}

// Task is the task of this name as it is recorded, nil where it is not there yet.
func (p *Play) Task(name string) *task.State {
	for id, n := range p.st.told.tasks {
		if n == name {
			return p.st.s.journal.taskState(fleet.TaskID(id))
		}
	}
	return nil
}

// Facts are the newest views, as an explanation is made of them.
func (p *Play) Facts() *dispatch.Facts {
	s := p.st.s
	return &dispatch.Facts{
		Now: p.Now(), ID: s.shard.Warehouse, Warehouse: &s.dispatcher.view, Graph: s.graph,
		Robot: s.robotView,
		Robots: func(see func(*robot.View) bool) {
			for _, d := range s.devices {
				if v := s.robotView(d.id); v != nil && !see(v) {
					return
				}
			}
		},
		Task: func(id fleet.TaskID) *task.View { return s.journal.taskState(id) },
		Zone: func(id fleet.ZoneID) *zone.View {
			if n, ok := s.graph.ZoneNumber(id); ok {
				return &s.zones[n].view
			}
			return nil
		},
		Lane: p.lane,
		KeptOut: func() map[fleet.Vertex][]dispatch.KeepOut {
			kept := map[fleet.Vertex][]dispatch.KeepOut{}
			for _, v := range s.keptOut {
				kept[v] = []dispatch.KeepOut{{Name: "kept out"}}
			}
			return kept
		},
	}
}

// robotView is what others may see of a robot now, nil where it is not there.
func (s *site) robotView(id fleet.RobotID) *robot.View {
	r := s.robots[id]
	if r == nil || !r.up {
		return nil
	}
	v := &robot.View{}
	r.state.View(v)
	return v
}

// lane is a lane as it is on record, nil where it is as in the map.
func (p *Play) lane(id fleet.LaneID) (l *dispatch.ChangedLane) {
	j := p.st.s.journal
	for _, i := range j.bySubj[string(p.st.s.shard.Warehouse)] {
		if e, ok := j.facts[i].Event.(dispatch.LaneChanged); ok && e.State.Lane == id {
			l = &dispatch.ChangedLane{Closed: e.State.Closed, Reason: e.State.Reason, Since: j.facts[i].At}
		}
	}
	return l
}

// MarshalLines are the run's moves and waits, one JSON object a line and in order of time: moves as bench/record writes
// them (robots and cells by number, milliseconds), waits as {"robot","waits_for","cause","cell","from_ms","to_ms"}, -1 = nobody, none.
func (v *Verdict) MarshalLines() ([]byte, error) {
	type line struct {
		at   time.Duration
		body any
	}
	var lines []line
	number := func(at fleet.Vertex) int {
		if at == fleet.NoVertex {
			return -1
		}
		return v.told.cell(at)
	}
	for _, s := range v.Steps {
		lines = append(lines, line{s.Left, struct {
			Robot  int   `json:"robot"`
			From   int   `json:"from"`
			To     int   `json:"to"`
			Depart int64 `json:"depart_ms"`
			Arrive int64 `json:"arrive_ms"`
		}{s.Robot, number(s.From), number(s.To), s.Left.Milliseconds(), s.Stands.Milliseconds()}})
	}
	for _, s := range v.Stays {
		lines = append(lines, line{s.From, struct {
			Robot int    `json:"robot"`
			For   int    `json:"waits_for"`
			Cause string `json:"cause"`
			Cell  int    `json:"cell"`
			From  int64  `json:"from_ms"`
			To    int64  `json:"to_ms"`
		}{s.Robot, slices.Index(v.Robots, s.Holder), s.Cause.String(), number(s.Vertex), s.From.Milliseconds(), s.Until.Milliseconds()}})
	}
	slices.SortStableFunc(lines, func(a, b line) int { return int(a.at - b.at) })
	var out []byte
	for _, l := range lines {
		b, err := json.Marshal(l.body)
		if err != nil {
			return nil, fmt.Errorf("encode a line: %w", err)
		}
		out = append(append(out, b...), '\n')
	}
	return out, nil
}
