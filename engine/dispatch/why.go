package dispatch

import (
	"fmt"
	"strings"
	"time"

	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/engine/zone"
)

// Link is one cause in a chain: what stands in the way, since when, and the cheapest thing to do about it. A chain goes
// from what one sees to its root; the last link is the root.
type Link struct {
	Cause      string
	Level      Level  // who says so
	ObjectType string // robot, vertex, lane, task, warehouse, zone
	ObjectID   string
	Text       string // one plain sentence
	Since      time.Time
	Remedy     *Remedy
	Solves     bool          // it ends by itself: nothing has to be done
	Expected   time.Duration // after about so long, where Solves and that can be told; 0 = cannot
}

// Level is the part of the house that names a cause.
type Level string

// The levels, from the floor up.
const (
	LevelRobot      Level = "robot"
	LevelZone       Level = "zone"
	LevelDispatcher Level = "dispatcher"
)

// Remedy is a request of the public API that would help, and that is not refused as things are.
type Remedy struct {
	Label  string
	Method string
	Path   string
	Door   string // the route's pattern, by which the policy knows who may
	Body   map[string]any
}

// The causes of links that are no fleet.Cause.
const (
	causeSilent       = "silent"
	causeNotSeen      = "not_seen"
	causeNoLink       = "no_link"
	causeError        = "robot_error"
	causeManual       = "manual"
	causePaused       = "paused"
	causeExternal     = "external"
	causeCycle        = "cycle"
	causeIdle         = "idle"
	causeMoving       = "moving"
	causeCharging     = "charging"
	causeLowBattery   = "low_battery"
	causeNoCharger    = "no_charger"
	causeLaneClosed   = "lane_closed"
	causeKeepOut      = "keep_out"
	causeBusy         = "busy"
	causeTurn         = "turn"
	causeQueue        = "queue"
	causeNoRobots     = "no_robots"
	causeNoFleet      = "no_fleet"
	causeNoCapability = "no_capability"
	causeNotAllowed   = "not_allowed"
	causeNoSuchRobot  = "no_such_robot"
	causeUnassigned   = "unassigned"
	causeCancelling   = "cancelling"
	causeMissingPlace = "missing_place"
)

// Facts are what an explanation is made of: the newest views. A nil function knows nothing, and each may return nil.
// One Facts serves the explanations of one moment.
type Facts struct {
	Now        time.Time
	ID         fleet.WarehouseID
	Robot      func(fleet.RobotID) *robot.View
	Robots     func(func(*robot.View) bool) // of the warehouse, in no order
	Task       func(fleet.TaskID) *task.View
	Zone       func(fleet.ZoneID) *zone.View
	Warehouse  *View
	Graph      *roadmap.Graph // nil = no active map
	Laid       *roadmap.Changes
	Lane       func(fleet.LaneID) *ChangedLane
	KeptOut    func() map[fleet.Vertex][]KeepOut // by vertex of Graph
	Activate   func() *Activatable
	crowd      []*robot.View
	crowdKnown bool
	kept       map[fleet.Vertex][]KeepOut
	keptKnown  bool
	waits      map[fleet.TaskID]TaskWait // of Warehouse
	version    *Activatable              // what Activate says
	asked      bool                      // Activate
	searches   int
}

// ChangedLane is a lane as it is in force.
type ChangedLane struct {
	Closed bool
	Reason string
	Since  time.Time
}

// KeepOut is an overlay that nobody may enter.
type KeepOut struct {
	Zone fleet.ZoneID
	Name string
}

// Activatable is a map version that could be made the active one.
type Activatable struct {
	Map     fleet.MapID
	Version int
	Name    string
}

const (
	maxChain       = 20        // links of an explanation
	searchWork     = 1_000_000 // vertices that one Facts may look at, looking for ways
	fewestSearches = 8         // on any map
)

// WhyRobot says why a robot waits, as a chain of causes; empty where it does not wait.
func (f *Facts) WhyRobot(id fleet.RobotID) []Link { return f.follow(id, nil) }

// follow goes from a robot to who holds it up, and on to the root.
func (f *Facts) follow(id fleet.RobotID, chain []Link) []Link {
	seen := map[fleet.RobotID]bool{}
	var waiter *robot.View
	for len(chain) < maxChain {
		v := f.robot(id)
		if v == nil {
			return chain
		}
		if seen[id] {
			return append(chain, f.cycle(v))
		}
		seen[id] = true
		if own := f.ownFault(v, waiter); own != nil {
			return append(chain, own...)
		}
		w := v.Waiting
		if w.Cause == fleet.CauseNone {
			return append(chain, f.atRest(v, waiter)...)
		}
		links, holder := f.causes(v, w)
		chain = append(chain, links...)
		if holder == "" || holder == id {
			return chain
		}
		waiter, id = v, holder
	}
	return chain
}

// WhyTask says why a task does not go on.
func (f *Facts) WhyTask(t *task.View) []Link {
	self := Link{Level: LevelDispatcher, ObjectType: "task", ObjectID: string(t.Spec.ID), Since: t.UpdatedAt}
	switch t.Status {
	case fleet.TaskCreated:
		return f.whyOpen(t, self)
	case fleet.TaskAssigned, fleet.TaskExecuting:
		return f.WhyRobot(t.Robot)
	case fleet.TaskCancelling:
		self.Cause, self.Text = causeCancelling, "The task is being cancelled: its robot has not let go yet"
		self.Solves, self.Expected = true, f.left(t.UpdatedAt, task.CancelBound)
		return []Link{self}
	case fleet.TaskSucceeded, fleet.TaskFailed, fleet.TaskCancelled:
	}
	return nil
}

// robot is the newest view of a robot, nil where there is none.
func (f *Facts) robot(id fleet.RobotID) *robot.View {
	if f.Robot == nil || id == "" {
		return nil
	}
	return f.Robot(id)
}

// all are the robots of the warehouse, read once.
func (f *Facts) all() []*robot.View {
	if !f.crowdKnown && f.Robots != nil {
		f.Robots(func(v *robot.View) bool {
			c := *v
			f.crowd = append(f.crowd, &c)
			return true
		})
	}
	f.crowdKnown = true
	return f.crowd
}

// standsOn is the robot that stands on v, nil where none does.
func (f *Facts) standsOn(v fleet.Vertex) *robot.View {
	if v == fleet.NoVertex {
		return nil
	}
	for _, r := range f.all() {
		if r.Vertex == v {
			return r
		}
	}
	return nil
}

// left is how much of a bound is left that began at since; at least a second.
func (f *Facts) left(since time.Time, bound time.Duration) time.Duration {
	if f.Now.IsZero() || since.IsZero() {
		return bound
	}
	return max(time.Second, bound-f.Now.Sub(since))
}

// vertex is what people call a vertex.
func (f *Facts) vertex(v fleet.Vertex) string {
	if !on(f.Graph, v) {
		return ""
	}
	return f.Graph.Vertices[v].ID
}

// called is what people call a robot.
func called(v *robot.View) string {
	if v.Spec != nil && v.Spec.Code != "" {
		return v.Spec.Code
	}
	return string(v.ID)
}

func (f *Facts) calledByID(id fleet.RobotID) string {
	if v := f.robot(id); v != nil {
		return called(v)
	}
	return string(id)
}

// ours says that the robot takes the engine's commands.
func ours(v *robot.View) bool { return v.Spec == nil || v.Spec.Control == fleet.ControlEngine }

// command is a remedy that tells a robot something, nil where it would not take it.
func command(v *robot.View, label, name string, more ...any) *Remedy {
	if !ours(v) {
		return nil
	}
	body := map[string]any{"command": name}
	for i := 0; i+1 < len(more); i += 2 {
		if key, ok := more[i].(string); ok {
			body[key] = more[i+1]
		}
	}
	return &Remedy{
		Label: label, Method: "POST", Path: "/api/v1/robots/" + string(v.ID) + "/commands", Door: "POST /api/v1/robots/{robot_id}/commands", Body: body,
	}
}

func cancel(t fleet.TaskID, label string) *Remedy {
	return &Remedy{
		Label: label, Method: "POST", Path: "/api/v1/tasks/" + string(t) + "/cancel", Door: "POST /api/v1/tasks/{task_id}/cancel", Body: map[string]any{},
	}
}

func removal(v *robot.View) *Remedy {
	return &Remedy{
		Label: "Take " + called(v) + " off the floor and remove it", Method: "DELETE", Path: "/api/v1/robots/" + string(v.ID), Door: "DELETE /api/v1/robots/{robot_id}",
	}
}

// noMap says that the warehouse has no map, and which could be made the active one.
func (f *Facts) noMap(since time.Time) Link {
	l := Link{
		Cause: fleet.CauseNoMap.String(), Level: LevelDispatcher, ObjectType: "warehouse", ObjectID: string(f.ID), Since: since,
		Text: "The warehouse has no active map, and none that could be made active: one has to be uploaded",
	}
	if f.Activate == nil {
		return l
	}
	if !f.asked {
		f.asked, f.version = true, f.Activate()
	}
	if m := f.version; m != nil {
		l.Text = "The warehouse has no active map"
		l.Remedy = &Remedy{
			Label: fmt.Sprintf("Activate version %d of the map %s", m.Version, m.Name), Method: "POST", Door: "POST /api/v1/maps/{map_id}/versions/{n}/activate",
			Path: fmt.Sprintf("/api/v1/maps/%s/versions/%d/activate", m.Map, m.Version),
		}
	}
	return l
}

// worker is a robot as the dispatcher weighs it.
func (f *Facts) worker(v *robot.View) *worker {
	c := f.charging()
	return &worker{Robot: RobotOf(v), charging: &c}
}

// charging are the rules of batteries in force.
func (f *Facts) charging() Charging {
	if f.Warehouse == nil || f.Warehouse.Charging == (Charging{}) {
		return UsualCharging()
	}
	return f.Warehouse.Charging
}

// cycle ends a chain that has come back to where it was.
func (f *Facts) cycle(v *robot.View) Link {
	l := Link{
		Cause: causeCycle, Level: LevelDispatcher, ObjectType: "robot", ObjectID: string(v.ID), Since: v.Waiting.Since,
		Text: "The robots wait for each other: one of them gives way", Solves: true, Expected: f.left(v.Waiting.Since, cycleStanding+cycleAgain),
	}
	if f.Warehouse == nil {
		return l
	}
	for _, c := range f.Warehouse.Cycles {
		names, in := make([]string, len(c)), false
		for i, id := range c {
			names[i] = f.calledByID(id)
			in = in || id == v.ID
		}
		if in {
			l.Text = strings.Join(names, ", ") + " wait for each other: one of them gives way"
		}
	}
	return l
}
