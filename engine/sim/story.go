package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"starling/engine/dispatch"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/engine/zone"
)

// frameEvery is how often a scenario's robots are looked at: for the film, and for what they wait for.
const frameEvery = 250 * time.Millisecond

// Step is one move of a robot, from cell to cell.
type Step struct {
	Robot        int
	From, To     fleet.Vertex
	Left, Stands time.Duration
	Backs        bool // away from what it then wanted
}

// Stay is one wait of a robot.
type Stay struct {
	Robot       int
	Holder      string
	Cause       fleet.Cause
	Vertex      fleet.Vertex
	From, Until time.Duration
	told        bool
}

// Ring is a cycle of robots that wait for each other. Found is when the dispatcher had it, zero where it was gone before.
type Ring struct {
	Robots             []string
	Since, Until       time.Duration
	Found              time.Duration
	Recorded, standing bool
}

// story is what happened in a scenario, as it is told to people. Times count from the curtain.
type story struct {
	st     *stage
	lines  []string
	events []string // since the last frame
	frames []Frame
	steps  []Step
	stays  []Stay
	rings  []Ring
	tasks  map[string]string        // task id -> its name in the scenario
	ends   map[string]time.Duration // by name
	merged map[string]time.Duration // zones planned together -> since when first
	domain []zone.Domain            // by zone number
}

func (t *story) init(st *stage) {
	t.st = st
	t.tasks, t.ends, t.merged = map[string]string{}, map[string]time.Duration{}, map[string]time.Duration{}
	t.domain = make([]zone.Domain, len(st.zones))
}

// now is the scenario's time.
func (t *story) now() time.Duration { return t.st.s.w.clock.now - curtain }

// note adds a line to the trace.
func (t *story) note(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	t.lines = append(t.lines, fmt.Sprintf("%8.3f  %s", t.now().Seconds(), line))
	t.events = append(t.events, line)
}

// place is a vertex for people: its name, or column and row.
func (t *story) place(v fleet.Vertex) string {
	if v == fleet.NoVertex {
		return "nowhere"
	}
	id, cell := t.st.s.graph.Vertices[v].ID, 0
	for i := range id {
		cell = cell*10 + int(id[i]-'0')
	}
	cols := t.st.sc.cols
	if ch := t.st.sc.Floor[cell/cols][cell%cols]; ch != '.' && strings.IndexByte(arrows, ch) < 0 {
		return string(ch)
	}
	return fmt.Sprintf("%d,%d", cell%cols, cell/cols)
}

func (t *story) name(id fleet.RobotID) string {
	if d := t.st.s.byID[id]; d != nil {
		return t.st.names[d.index]
	}
	return ""
}

// departed notes that a robot sets off; where is it nearer to its goal?
func (st *stage) departed(d *device, next fleet.Vertex) {
	if st == nil {
		return
	}
	step := Step{Robot: d.index, From: d.at, To: next, Left: st.told.now()}
	if r := st.s.robots[d.id]; r != nil && r.up {
		var v robot.View
		if r.state.View(&v); v.Goal != fleet.NoVertex {
			table := st.s.tables.Get(v.Goal)
			step.Backs = table.To(next) > table.To(d.at)
		}
	}
	st.told.steps = append(st.told.steps, step)
}

func (st *stage) arrived(d *device) {
	if st == nil {
		return
	}
	t := &st.told
	for i := len(t.steps) - 1; i >= 0; i-- {
		if s := &t.steps[i]; s.Robot == d.index && s.Stands == 0 {
			s.Stands = t.now()
			back := ""
			if s.Backs {
				back = ", giving way"
			}
			t.note("%s  %s > %s%s", st.names[d.index], t.place(s.From), t.place(s.To), back)
			return
		}
	}
}

// recorded notes the facts that people care for.
func (st *stage) recorded(f fact.Fact) {
	if st == nil {
		return
	}
	t, name := &st.told, st.told.tasks[f.Subject]
	switch e := f.Event.(type) {
	case task.Created:
		name = string(e.Spec.Payload)
		t.tasks[f.Subject] = name
		var visit []string
		for _, v := range e.Spec.Errands {
			visit = append(visit, t.place(v))
		}
		t.note("%s  asked for: %s", name, strings.Join(visit, " "))
	case task.Assigned:
		t.note("%s  goes to %s", name, t.name(e.Robot))
	case task.Unassigned:
		t.note("%s  is taken from %s: %s", name, t.name(e.Robot), e.Reason)
	case task.Succeeded:
		t.ends[name] = t.now()
		t.note("%s  is done", name)
	case task.Failed:
		t.ends[name] = t.now()
		t.note("%s  failed: %s", name, e.Reason)
	case task.Cancelled:
		t.ends[name] = t.now()
		t.note("%s  is cancelled", name)
	case dispatch.CycleResolved:
		names := t.namesOf(e.Robots)
		for i := range t.rings {
			if t.rings[i].standing && slices.Equal(t.rings[i].Robots, sorted(names)) {
				t.rings[i].Recorded = true
			}
		}
		t.note("recorded: %s waited for each other, %s gives way", strings.Join(names, " "), t.name(e.Yielding))
	case dispatch.LaneChanged, task.CancelStarted, task.Started, task.ErrandReached, robot.Event:
	}
}

func (t *story) namesOf(ids []fleet.RobotID) []string {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = t.name(id)
	}
	return names
}

func sorted(names []string) []string {
	names = slices.Clone(names)
	slices.Sort(names)
	return names
}

// shown notes that zones are planned together, or no more.
func (st *stage) shown(z *zoneActor, v *zone.View) {
	if st == nil || st.told.domain[z.number] == v.Domain {
		return
	}
	t := &st.told
	name := st.s.graph.Zones[z.number].Name
	t.domain[z.number] = v.Domain
	if v.Domain.Leader == "" {
		t.note("zone %s plans alone", name)
		return
	}
	leader, ok := st.s.graph.ZoneNumber(v.Domain.Leader)
	if !ok {
		return
	}
	t.note("zone %s is planned by %s", name, st.s.graph.Zones[leader].Name)
	if _, seen := t.merged[name]; !seen {
		t.merged[name] = t.now()
	}
}

// frame looks at every robot: what it waits for, who waits in a ring, and a picture for the film.
func (st *stage) frame() {
	t, s := &st.told, st.s
	f := Frame{T: t.now().Seconds(), Robots: []FrameRobot{}, Events: append([]string{}, t.events...)}
	t.events = t.events[:0]
	for i, d := range s.devices {
		if d.gone {
			continue
		}
		var v robot.View
		v.Goal = fleet.NoVertex
		if r := s.robots[d.id]; r != nil && r.up {
			r.state.View(&v)
		}
		t.waits(i, v.Waiting)
		f.Robots = append(f.Robots, t.picture(d, &v))
	}
	t.ring()
	t.frames = append(t.frames, f)
	s.w.clock.after(frameEvery, "frame", st.frame)
}

// waits takes what a robot is told to wait for. Waits of less than two looks are not worth a line.
func (t *story) waits(i int, w fleet.Wait) {
	now := t.now()
	last := -1
	for k := len(t.stays) - 1; k >= 0 && last < 0; k-- {
		if t.stays[k].Robot == i {
			last = k
		}
	}
	holder := t.name(w.Holder)
	if w.Cause == fleet.CauseNone {
		return
	}
	if last >= 0 {
		if s := &t.stays[last]; s.Until >= now-frameEvery && s.Holder == holder && s.Cause == w.Cause && s.Vertex == w.Vertex {
			s.Until = now
			if !s.told {
				s.told = true
				t.tellStay(s)
			}
			return
		}
	}
	t.stays = append(t.stays, Stay{Robot: i, Holder: holder, Cause: w.Cause, Vertex: w.Vertex, From: now, Until: now})
}

func (t *story) tellStay(s *Stay) {
	line := t.st.names[s.Robot] + "  waits"
	if s.Holder != "" {
		line += " for " + s.Holder
	}
	if s.Vertex != fleet.NoVertex {
		line += " at " + t.place(s.Vertex)
	}
	t.note("%s: %s", line, s.Cause)
}

// ring looks for robots that wait for each other, as the zones have told the dispatcher.
func (t *story) ring() {
	now := t.now()
	for i := range t.rings {
		t.rings[i].standing = false
	}
	for _, ids := range t.st.s.rings() {
		names := sorted(t.namesOf(ids))
		k := slices.IndexFunc(t.rings, func(r Ring) bool { return r.Until >= now-frameEvery && slices.Equal(r.Robots, names) })
		if k < 0 {
			k = len(t.rings)
			t.rings = append(t.rings, Ring{Robots: names, Since: now})
		}
		t.rings[k].Until, t.rings[k].standing = now, true
	}
	view := &t.st.s.dispatcher.view
	for _, c := range view.Cycles {
		names := sorted(t.namesOf(c))
		for i := range t.rings {
			if r := &t.rings[i]; r.standing && r.Found == 0 && slices.Equal(r.Robots, names) {
				r.Found = now
			}
		}
	}
}
