package dispatch

import (
	"fmt"
	"slices"
	"time"

	"starling/engine/fleet"
	"starling/engine/robot"
)

// lostAfter is how long after a robot's last word its task goes to another one.
const lostAfter = robot.OfflineAfter + robot.LostAfter

// ownFault says what keeps the robot itself from moving, nil where nothing does. waiter is who waits for it, nil = nobody.
func (f *Facts) ownFault(v, waiter *robot.View) []Link {
	l := Link{Level: LevelRobot, ObjectType: "robot", ObjectID: string(v.ID), Since: v.Since}
	switch {
	case v.Connection == fleet.Offline || v.Connection == fleet.Stale:
		f.silent(&l, v, waiter)
	case v.Connection == fleet.NeverSeen && v.Spec != nil:
		l.Cause, l.Text, l.Since = causeNotSeen, called(v)+" has never reported", v.Spec.CreatedAt
	case v.State == fleet.Error || fatal(v):
		l.Cause, l.Text = causeError, called(v)+" reports an error"+errorsOf(v)
		l.Remedy = command(v, "Clear the errors of "+called(v), "clear_errors")
	case v.State == fleet.Manual:
		l.Cause, l.Text = causeManual, called(v)+" is driven by hand"
	case v.State == fleet.Paused:
		l.Cause, l.Text, l.Remedy = causePaused, called(v)+" is paused", command(v, "Resume "+called(v), "resume")
	case v.Waiting.Cause == fleet.CauseHalted: // it has not said yet that it stands
		l.Cause, l.Text, l.Since = fleet.CauseHalted.String(), called(v)+" has been told to stand", v.Waiting.Since
		l.Remedy = command(v, "Resume "+called(v), "resume")
	case v.Vertex == fleet.NoVertex && v.Connection == fleet.Online:
		return f.unlocalised(l, v)
	case !ours(v) && waiter != nil:
		l.Cause, l.Text = causeExternal, called(v)+" stands in the way and is not under the engine's control"
	case ours(v) && v.Spec != nil && !v.Linked && v.Spec.Protocol != "rest":
		l.Cause, l.Text = causeNoLink, called(v)+" reports, but no link carries its orders"
	default:
		return nil
	}
	return []Link{l}
}

func fatal(v *robot.View) bool {
	return slices.ContainsFunc(v.Errors, func(e fleet.RobotError) bool { return e.Level == fleet.LevelFatal })
}

func errorsOf(v *robot.View) string {
	if len(v.Errors) == 0 {
		return ""
	}
	return fmt.Sprintf(": %s %s", v.Errors[0].Code, v.Errors[0].Message)
}

// silent explains a robot that does not report. Where it is in somebody's way, what it holds stays blocked until it speaks
// or is known to be gone.
func (f *Facts) silent(l *Link, v, waiter *robot.View) {
	l.Cause, l.Since = causeSilent, v.ReceivedAt
	l.Text = called(v) + " has not reported for some seconds"
	if v.Connection != fleet.Offline {
		return
	}
	l.Text = called(v) + " does not report any more"
	switch {
	case v.Task != "":
		l.Text += ": its task goes to another robot"
		l.Solves, l.Expected = waiter == nil, f.left(v.ReceivedAt, lostAfter)
	case f.inTheWay(v, waiter) && (len(v.Base) == 0 || !f.Now.Before(v.Lease)):
		l.Text += ", and what it stands on stays blocked"
		l.Remedy = removal(v)
	}
}

// inTheWay says that somebody waits for the robot.
func (f *Facts) inTheWay(v, waiter *robot.View) bool {
	if waiter != nil {
		return true
	}
	return f.Warehouse != nil && slices.ContainsFunc(f.Warehouse.Waits, func(w fleet.Wait) bool { return w.Holder == v.ID && w.Robot != v.ID })
}

func (f *Facts) unlocalised(l Link, v *robot.View) []Link {
	l.Cause = fleet.CauseUnlocalised.String()
	switch {
	case f.Graph == nil:
		l.Text = "Where " + called(v) + " stands is not known without a map"
		return []Link{l, f.noMap(l.Since)}
	case v.Located:
		l.Text = fmt.Sprintf("%s is at %.1f, %.1f, where no vertex of the map is near: it has to be driven to one by hand", called(v), v.Pose.X, v.Pose.Y)
	default:
		l.Text = called(v) + " has not said where it stands"
	}
	return []Link{l}
}

// atRest explains a robot that is well and waits for nothing. waiter is who waits for it, nil = nobody.
func (f *Facts) atRest(v, waiter *robot.View) []Link {
	l := Link{Level: LevelRobot, ObjectType: "robot", ObjectID: string(v.ID), Since: v.Since}
	idle := atLeisure(v)
	if waiter == nil {
		switch {
		case idle && v.Connection == fleet.Online && f.worker(v).low():
			return f.lowBattery(v)
		case v.Task != "" && v.Move.Kind != robot.NoMove: // its errand waits
			return f.sentElsewhere(l, v)
		}
		return nil
	}
	where := ""
	if id := f.vertex(v.Vertex); id != "" {
		where = " on " + id
	}
	switch {
	case v.Goal != fleet.NoVertex && v.Goal != v.Vertex || v.Task != "" && v.Move.Kind == robot.NoMove:
		l.Cause, l.Text = causeMoving, called(v)+" is on its way and moves on by itself"
		l.Solves, l.Expected = true, f.nextMove(v)
	case !idle:
		return f.sentElsewhere(l, v)
	case v.State == fleet.Charging:
		l.Cause, l.Text, l.Solves = causeCharging, fmt.Sprintf("%s charges%s, at %.0f %%", called(v), where, 100*v.Battery), true
		if v.Battery >= enoughBattery {
			l.Remedy, l.Solves = f.sendAway(v, waiter), false
		}
	default:
		l.Cause, l.Text = causeIdle, called(v)+" stands idle"+where
		if f.Now.Sub(waiter.Waiting.Since) >= evictedAfter { // else it is sent, or pushed, away by itself
			l.Remedy = f.sendAway(v, waiter)
		}
		if l.Remedy == nil {
			l.Solves, l.Expected = true, f.left(waiter.Waiting.Since, evictedAfter)
		}
	}
	return []Link{l}
}

// sentElsewhere explains a robot whose errand waits: the dispatcher has sent it to charge, or to wait for its turn.
func (f *Facts) sentElsewhere(l Link, v *robot.View) []Link {
	l.Level, l.Cause, l.Solves = LevelDispatcher, causeTurn, true
	l.Text = called(v) + " waits for its turn at " + f.vertex(v.Move.To)
	if v.Move.Kind == robot.MoveCharge {
		l.Cause, l.Text = causeCharging, fmt.Sprintf("%s charges first, at %.0f %% of %.0f %%", called(v), 100*v.Battery, 100*v.Move.Until)
	}
	if v.Move.Reason != "" {
		l.Text += ": " + v.Move.Reason
	}
	return []Link{l}
}

// evictedAfter is after how long an idle robot has left at the latest, where it can go anywhere.
const evictedAfter = 15 * time.Second

// enoughBattery is from where on a robot that charges may be sent off its charger.
const enoughBattery = 0.5

// nextMove is about how long it takes until the robot has left where it stands.
func (f *Facts) nextMove(v *robot.View) time.Duration {
	const turning = 2 * time.Second
	if !on(f.Graph, v.Vertex) || len(v.Base) == 0 || !on(f.Graph, v.Base[0]) {
		return turning
	}
	return turning + time.Duration(f.Graph.Manhattan(v.Vertex, v.Base[0])*float64(time.Second))
}

// lowBattery explains a robot that gets no work because it must charge.
func (f *Facts) lowBattery(v *robot.View) []Link {
	l := Link{
		Cause: causeLowBattery, Level: LevelDispatcher, ObjectType: "robot", ObjectID: string(v.ID), Since: v.Since,
	}
	rules := f.charging()
	enough := rules.Critical
	if v.Move.Kind == robot.MoveCharge {
		enough = rules.Leave
	}
	l.Text = fmt.Sprintf("The battery of %s is at %.0f %%: it gets work from %.0f %% on", called(v), 100*v.Battery, 100*enough)
	if v.Battery >= enough {
		l.Text = fmt.Sprintf("The battery of %s, at %.0f %%, does not last for the task and the way to a charger", called(v), 100*v.Battery)
	}
	if v.State == fleet.Charging || v.Move.Kind == robot.MoveCharge {
		l.Solves, l.Text = true, l.Text+", and it charges or is on its way to a charger"
		l.Expected = time.Duration(max(0, rules.Leave-v.Battery) / max(rules.ChargePerS, 1e-6) * float64(time.Second))
		return []Link{l}
	}
	if f.Graph == nil || !on(f.Graph, v.Vertex) {
		return []Link{l}
	}
	free, taken := f.chargers(v)
	switch {
	case free != fleet.NoVertex && atLeisure(v):
		l.Remedy = command(v, "Send "+called(v)+" to the charger "+f.vertex(free), "charge", "vertex", f.vertex(free))
		return []Link{l}
	case taken == nil:
		l.Text += ", and it can reach no charger"
		return []Link{l}
	}
	full := Link{
		Cause: causeNoCharger, Level: LevelDispatcher, ObjectType: "robot", ObjectID: string(taken.ID), Since: taken.Since,
		Text: fmt.Sprintf("Every charger is taken; the next one to be free has %s, at %.0f %%", called(taken), 100*taken.Battery),
	}
	if own := f.ownFault(taken, v); own != nil {
		return append([]Link{l, full}, own...)
	}
	if taken.State != fleet.Charging || taken.Battery >= enoughBattery {
		waiter := *v
		waiter.Goal = taken.Vertex
		full.Remedy = f.sendAway(taken, &waiter)
	}
	full.Solves = full.Remedy == nil // it leaves when it has charged, or is on its way already
	return []Link{l, full}
}

// chargers finds the nearest charger that is free; where none is, the robot that will leave its charger first: one that does
// not charge, else the one with most in its battery.
func (f *Facts) chargers(v *robot.View) (free fleet.Vertex, taken *robot.View) {
	wanted := map[fleet.Vertex]*robot.View{}
	for _, r := range f.all() {
		for _, at := range []fleet.Vertex{r.Goal, r.Vertex} {
			if r.ID != v.ID && on(f.Graph, at) && f.Graph.Vertices[at].Charging {
				wanted[at] = r
			}
		}
	}
	free = fleet.NoVertex
	f.reach(v.Vertex, nil, func(at fleet.Vertex) bool {
		if !f.Graph.Vertices[at].Charging {
			return true
		}
		r := wanted[at]
		if r == nil {
			free = at
			return false
		}
		if taken == nil || (r.State == fleet.Charging) != (taken.State == fleet.Charging) && taken.State == fleet.Charging ||
			(r.State == fleet.Charging) == (taken.State == fleet.Charging) && r.Battery > taken.Battery {
			taken = r
		}
		return true
	})
	return free, taken
}

// causes explains what a robot waits for; holder is who to ask next.
func (f *Facts) causes(v *robot.View, w fleet.Wait) (links []Link, holder fleet.RobotID) {
	l := Link{Cause: w.Cause.String(), Level: LevelZone, ObjectType: "vertex", ObjectID: f.vertex(w.Vertex), Since: w.Since}
	what := called(v) + " waits"
	if l.ObjectID != "" {
		what += " for " + l.ObjectID
	}
	l.Text = what
	switch w.Cause {
	case fleet.CauseOccupied, fleet.CauseClaimed:
		return []Link{f.held(l, what, w)}, w.Holder
	case fleet.CauseClosed:
		return f.closed(v, w, l)
	case fleet.CauseBorder:
		return f.border(v, w, l)
	case fleet.CauseSuspect:
		l.Text = what + ", which stays blocked until " + f.calledByID(w.Holder) + " says where it is"
		if w.Holder == v.ID {
			l.Text = called(v) + " has not driven on before its lease ended: it is asked where it stands"
			l.Solves, l.Expected = true, f.left(w.Since, robot.StaleAfter)
		}
		return []Link{l}, w.Holder
	case fleet.CauseNoWay:
		return f.noWay(v, l), ""
	case fleet.CauseNoLease:
		l.ObjectType, l.ObjectID, l.Text = "warehouse", string(f.ID), what+": this process may not let robots drive until it has the warehouse's lease again"
		l.Solves, l.Expected = true, f.left(w.Since, waitForLease)
	case fleet.CauseRecording:
		l.ObjectType, l.ObjectID, l.Text = "zone", string(v.Zone), what+": the store has not recorded yet that it is in the zone"
		l.Solves, l.Expected = true, f.left(w.Since, waitForStore)
	case fleet.CauseNoMap:
		return []Link{f.noMap(w.Since)}, ""
	case fleet.CauseFootprint:
		l.Text = what + ", for which it is too wide: it would reach into the next zone"
		if v.Task != "" {
			l.Remedy = cancel(v.Task, "Cancel the task of "+called(v))
		}
		return []Link{l}, ""
	case fleet.CauseAdmission:
		l.ObjectType, l.Text = "zone", what+": the zone it is to drive through is full and lets no more robots in until some have left"
		l.ObjectID = f.zoneAt(w.Vertex)
		l.Solves, l.Expected = true, f.left(w.Since, waitForRoom)
	case fleet.CauseNone, fleet.CauseHalted, fleet.CauseNoRobot, fleet.CauseNotYet, fleet.CauseUnlocalised,
		fleet.CauseBattery:
	}
	return []Link{l}, w.Holder
}

// How long the engine's own troubles last where all is well.
const (
	waitForLease  = 15 * time.Second
	waitForStore  = 5 * time.Second
	waitForBorder = 5 * time.Second
	waitForRoom   = 30 * time.Second
)

// held says that another robot has what a robot wants.
func (f *Facts) held(l Link, what string, w fleet.Wait) Link {
	if w.Holder == "" {
		l.Text = what + ", which another robot gets first"
		l.Solves, l.Expected = true, f.left(w.Since, waitForBorder)
		return l
	}
	l.ObjectType, l.ObjectID = "robot", string(w.Holder)
	l.Text = what + ", on which " + f.calledByID(w.Holder) + " stands"
	if w.Cause == fleet.CauseClaimed {
		l.Text = what + ", which " + f.calledByID(w.Holder) + " gets first"
	}
	return l
}

// closed explains a vertex that nobody may enter: a closed lane, a keep-out zone or, over a border, a robot that stands.
func (f *Facts) closed(v *robot.View, w fleet.Wait, l Link) ([]Link, fleet.RobotID) {
	if on(f.Graph, w.Vertex) {
		if bs := f.blocking(f.tail(v), w.Vertex); len(bs) > 0 {
			return append([]Link{l}, f.blockLinks(bs)...), ""
		}
		if h := f.standsOn(w.Vertex); h != nil && h.ID != v.ID {
			w.Holder, l.Cause = h.ID, fleet.CauseOccupied.String()
			return []Link{f.held(l, l.Text, w)}, h.ID
		}
	}
	l.Text += ", which nobody may enter now"
	l.Solves, l.Expected = true, f.left(w.Since, waitForBorder)
	return []Link{l}, w.Holder
}

// border explains a neighbour zone that has not answered yet.
func (f *Facts) border(v *robot.View, w fleet.Wait, l Link) ([]Link, fleet.RobotID) {
	if h := f.standsOn(w.Vertex); h != nil && h.ID != v.ID {
		w.Holder, l.Cause = h.ID, fleet.CauseOccupied.String()
		return []Link{f.held(l, l.Text, w)}, h.ID
	}
	if z := f.zoneAt(w.Vertex); z != "" {
		l.ObjectType, l.ObjectID = "zone", z
	}
	l.Text += ", and the zone it is in has not answered yet"
	l.Solves, l.Expected = true, f.left(w.Since, waitForBorder)
	return []Link{l}, w.Holder
}

// tail is where the robot's grants end.
func (f *Facts) tail(v *robot.View) fleet.Vertex {
	if n := len(v.Base); n > 0 {
		return v.Base[n-1]
	}
	return v.Vertex
}

// noWay explains a robot that cannot get to its goal.
func (f *Facts) noWay(v *robot.View, l Link) []Link {
	l.ObjectID = f.vertex(v.Goal)
	l.Text = "No way leads " + called(v) + " to " + l.ObjectID
	bs, found := f.way(f.tail(v), v.Goal)
	switch {
	case found && len(bs) > 0:
		return append([]Link{l}, f.blockLinks(bs)...)
	case found:
		l.Text += ", as far as its zone knows: one has just been opened"
		l.Solves, l.Expected = true, waitForBorder
	case v.Task != "":
		l.Remedy = cancel(v.Task, "Cancel the task of "+called(v))
	}
	return []Link{l}
}

// zoneAt is the zone of a vertex, "" where there is none.
func (f *Facts) zoneAt(v fleet.Vertex) string {
	if !on(f.Graph, v) {
		return ""
	}
	return string(f.Graph.Zones[f.Graph.ZoneOf[v]].ID)
}
