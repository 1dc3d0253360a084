package dispatch

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/task"
)

// whyOpen explains a task that has no robot.
func (f *Facts) whyOpen(t *task.View, self Link) []Link {
	self.Cause, self.Text = fleet.CauseNoRobot.String(), "No robot has the task yet"
	w := f.taskWait(t.Spec.ID)
	if w.Cause != fleet.CauseNone {
		self.Cause, self.Since = w.Cause.String(), w.Since
	}
	if w.Detail != "" {
		self.Text += ": " + w.Detail
	}
	switch {
	case f.Warehouse != nil && f.Warehouse.MapID == "":
		self.Cause, self.Text = fleet.CauseNoMap.String(), "The task waits for a map"
		return []Link{self, f.noMap(self.Since)}
	case f.Now.Before(t.Spec.EarliestStart):
		self.Cause, self.Text, self.Since = fleet.CauseNotYet.String(), "The task is not to begin before "+t.Spec.EarliestStart.UTC().Format(time.RFC3339), t.Spec.CreatedAt
		self.Solves, self.Expected = true, t.Spec.EarliestStart.Sub(f.Now)
		return []Link{self}
	case f.Graph != nil && f.goalOf(t) == fleet.NoVertex:
		self.Cause, self.Text = fleet.CauseNoWay.String(), "A place of the task is not on the active map"
		l := self
		l.Cause, l.Remedy = causeMissingPlace, cancel(t.Spec.ID, "Cancel the task")
		return []Link{self, l}
	}
	chain := []Link{self}
	if t.Reason != "" {
		l := self
		l.Cause, l.Text, l.Since = causeUnassigned, "It was taken from a robot: "+t.Reason, t.UpdatedAt
		chain = append(chain, l)
	}
	chain = append(chain, f.whyNobody(t)...)
	if root := &chain[len(chain)-1]; !root.Solves && !f.mayComeBack(root) && !slices.ContainsFunc(chain, func(l Link) bool { return l.Remedy != nil }) {
		root.Remedy = cancel(t.Spec.ID, "Cancel the task")
	}
	return chain
}

// mayComeBack says that the root is a robot that has only just fallen silent.
func (f *Facts) mayComeBack(root *Link) bool {
	v := f.robot(fleet.RobotID(root.ObjectID))
	return root.Cause == causeSilent && v != nil && v.Connection == fleet.Stale
}

func (f *Facts) taskWait(id fleet.TaskID) TaskWait {
	if f.waits == nil && f.Warehouse != nil {
		f.waits = make(map[fleet.TaskID]TaskWait, len(f.Warehouse.TaskWaits))
		for _, w := range f.Warehouse.TaskWaits {
			f.waits[w.Task] = w
		}
	}
	return f.waits[id]
}

// goalOf is where the task's first errand is on the active map, NoVertex where it, or a later one, is not on it.
func (f *Facts) goalOf(t *task.View) fleet.Vertex {
	j := job{spec: t.Spec}
	j.place(nil, f.Graph)
	return j.goal
}

// applicant is a robot that could have a task, and why it does not have it.
type applicant struct {
	view *robot.View
	rank int // the kind of reason, the one that passes first
	away float64
}

// The ranks of reasons, the one that passes first.
const (
	isFree = iota
	isBusy
	isFaulty
	isLow
	isCutOff
)

// whyNobody looks at every robot and explains the one that could have the task first.
func (f *Facts) whyNobody(t *task.View) []Link {
	if f.Robots == nil { // of one robot alone, if any, something is known
		return f.follow(t.Spec.Robot, nil)
	}
	j := newJob(f.Now, t.Spec)
	j.place(nil, f.Graph)
	goal := j.goal
	near := f.reaches(goal)
	var all []applicant
	for _, v := range f.all() {
		if !f.suits(j, v) {
			continue
		}
		a := applicant{view: v, rank: f.rank(t, v)}
		if on(f.Graph, v.Vertex) {
			a.away = f.Graph.Manhattan(v.Vertex, goal)
			if near != nil && !near[v.Vertex] && a.rank != isFaulty {
				a.rank = isCutOff
			}
		}
		all = append(all, a)
	}
	if len(all) == 0 {
		return []Link{f.unwanted(t, j)}
	}
	best := slices.MinFunc(all, func(a, b applicant) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.away, b.away), cmp.Compare(a.view.ID, b.view.ID))
	})
	switch best.rank {
	case isFree:
		return []Link{{
			Cause: causeQueue, Level: LevelDispatcher, ObjectType: "robot", ObjectID: string(best.view.ID), Since: best.view.Since,
			Text: called(best.view) + " is free and can have it: it is its turn with the next batch", Solves: true, Expected: 2 * time.Second,
		}}
	case isBusy:
		return f.whyBusy(all)
	case isLow:
		return f.lowBattery(best.view)
	case isCutOff:
		return f.whyCutOff(best.view, goal)
	}
	return f.whyFaulty(all)
}

// suits says whether the robot may have the task, whatever state it is in.
func (f *Facts) suits(j *job, v *robot.View) bool {
	w := f.worker(v)
	w.Battery, w.Move = 1, robot.Move{}
	return ours(v) && suits(j, w)
}

// rank says why a robot that suits does not have the task.
func (f *Facts) rank(t *task.View, v *robot.View) int {
	switch {
	case f.ownFault(v, nil) != nil:
		return isFaulty
	case !atLeisure(v):
		return isBusy
	case t.Spec.Type != fleet.Charge && (f.worker(v).low() || f.taskWait(t.Spec.ID).Cause == fleet.CauseBattery):
		return isLow
	}
	return isFree
}

// reaches says from which vertices a way leads to goal now; nil = not known.
func (f *Facts) reaches(goal fleet.Vertex) []bool {
	if !on(f.Graph, goal) || !f.search() {
		return nil
	}
	seen := make([]bool, len(f.Graph.Vertices))
	seen[goal] = true
	queue := []fleet.Vertex{goal}
	for i := 0; i < len(queue); i++ {
		for _, l := range f.Graph.In[queue[i]] {
			if v := f.Graph.Lanes[l].From; !seen[v] && !f.shut(l) {
				seen[v] = true
				queue = append(queue, v)
			}
		}
	}
	return seen
}

// unwanted says why no robot of the warehouse suits the task.
func (f *Facts) unwanted(t *task.View, j *job) Link {
	l := Link{Level: LevelDispatcher, ObjectType: "task", ObjectID: string(t.Spec.ID), Since: t.Spec.CreatedAt}
	switch {
	case t.Spec.Robot != "":
		l.Cause, l.ObjectType, l.ObjectID = causeNoSuchRobot, "robot", string(t.Spec.Robot)
		l.Text = "The robot that the task is for is not in the warehouse, or may not have it"
	case t.Spec.Fleet != "" && !f.some(func(v *robot.View) bool { return v.Spec.Fleet == t.Spec.Fleet }):
		l.Cause, l.Text = causeNoFleet, "No robot of the warehouse is of the fleet "+t.Spec.Fleet
	case f.some(func(v *robot.View) bool {
		return able(j.needs, v.Spec.Capabilities) && (t.Spec.Fleet == "" || t.Spec.Fleet == v.Spec.Fleet) && !f.worker(v).mayEnter(j)
	}):
		l.Cause, l.Text = causeNotAllowed, "No robot that could have it is allowed into the zones of all its places"
	case len(j.needs) > 0 && f.some(func(*robot.View) bool { return true }):
		l.Cause, l.Text = causeNoCapability, "No robot that may have it can "+strings.Join(j.needs, ", ")
	default:
		l.Cause, l.ObjectType, l.ObjectID = causeNoRobots, "warehouse", string(f.ID)
		l.Text = "The warehouse has no robot under the engine's control"
	}
	l.Remedy = cancel(t.Spec.ID, "Cancel the task")
	return l
}

// some says that a robot of ours is like that.
func (f *Facts) some(like func(*robot.View) bool) bool {
	return slices.ContainsFunc(f.all(), func(v *robot.View) bool { return v.Spec != nil && ours(v) && like(v) })
}

// whyBusy explains that every robot that could have the task has another one: the one that will be free first, or what holds
// all of them up.
func (f *Facts) whyBusy(all []applicant) []Link {
	var first *robot.View
	least, busy, stuck := time.Duration(0), 0, []Link(nil)
	for _, a := range all {
		if a.rank != isBusy {
			continue
		}
		busy++
		chain := f.follow(a.view.ID, nil)
		if n := len(chain); n > 0 && !chain[n-1].Solves {
			if stuck == nil {
				stuck = chain
			}
			continue
		}
		if d := f.remaining(a.view); first == nil || d < least {
			first, least = a.view, d
		}
		if busy >= maxBusy {
			break
		}
	}
	if first == nil {
		return stuck
	}
	l := Link{
		Cause: causeBusy, Level: LevelDispatcher, ObjectType: "task", ObjectID: string(first.Task), Since: first.Since, Solves: true, Expected: least,
		Text: "Every robot that could have it is busy; " + called(first) + " will be free first",
	}
	if first.Task == "" {
		l.ObjectType, l.ObjectID = "robot", string(first.ID)
	}
	return []Link{l}
}

// maxBusy is how many busy robots are looked at for the one that will be free first.
const maxBusy = 200

// remaining is about how long a robot will be busy: its rest of the way at walking pace, by the straight way and a quarter.
func (f *Facts) remaining(v *robot.View) time.Duration {
	const detour, turning = 1.25, 3 * time.Second
	d, at := turning, v.Vertex
	to := []fleet.Vertex{v.Goal}
	if f.Task != nil && v.Task != "" {
		if t := f.Task(v.Task); t != nil {
			j := job{spec: t.Spec}
			if j.place(nil, f.Graph); j.goal != fleet.NoVertex && t.Errand < len(j.spec.Errands) {
				to = j.spec.Errands[t.Errand:]
			}
		}
	}
	for _, e := range to {
		if on(f.Graph, at) && on(f.Graph, e) {
			d += time.Duration(detour*f.Graph.Manhattan(at, e)*float64(time.Second)) + turning
		}
		at = e
	}
	return d
}

// whyCutOff explains that no robot can get to the task.
func (f *Facts) whyCutOff(v *robot.View, goal fleet.Vertex) []Link {
	l := Link{
		Cause: fleet.CauseNoWay.String(), Level: LevelDispatcher, ObjectType: "vertex", ObjectID: f.vertex(goal), Since: v.Since,
		Text: "No robot that could have it can get to " + f.vertex(goal),
	}
	bs, found := f.way(v.Vertex, goal)
	if found && len(bs) > 0 {
		return append([]Link{l}, f.blockLinks(bs)...)
	}
	return []Link{l}
}

// whyFaulty explains that every robot that could have the task is out of work: the nearest of those that a remedy helps.
func (f *Facts) whyFaulty(all []applicant) []Link {
	var best []Link
	slices.SortFunc(all, func(a, b applicant) int {
		return cmp.Or(cmp.Compare(a.away, b.away), cmp.Compare(a.view.ID, b.view.ID))
	})
	for _, a := range all {
		own := f.ownFault(a.view, nil)
		if own == nil {
			continue
		}
		if best == nil || own[len(own)-1].Remedy != nil {
			best = own
		}
		if best[len(best)-1].Remedy != nil {
			break
		}
	}
	if len(all) > 1 && len(best) > 0 {
		best[0].Text += fmt.Sprintf("; none of the %d robots that could have it can work", len(all))
	}
	return best
}
