package dispatch_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"starling/engine/dispatch"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/engine/zone"
)

// yard is a dispatcher with robots that do at once what they are told.
type yard struct {
	*dispatch.State
	graph  *roadmap.Graph
	now    time.Time
	robots map[fleet.RobotID]dispatch.Robot
	sent   []dispatch.Send
	offers map[fleet.TaskID]fleet.RobotID
}

// newYard is an open floor of 4 rows of 32 cells, with chargers and parking places.
func newYard(t testing.TB, chargers, parks []fleet.Vertex) *yard {
	g := floor(t)
	for _, v := range chargers {
		g.Vertices[v].Charging, g.Vertices[v].Name = true, fmt.Sprint("C", v)
	}
	for v := range g.Vertices {
		g.Vertices[v].Parking = false
	}
	for _, v := range parks {
		g.Vertices[v].Parking = true
	}
	y := &yard{State: dispatch.New(roadmap.NewTableMap(g, 100), 1), graph: g, now: t0, robots: map[fleet.RobotID]dispatch.Robot{}}
	y.Decide(t0, dispatch.Restored{Graph: g}, nil)
	return y
}

func (y *yard) put(id string, at fleet.Vertex, battery float64, change ...func(*dispatch.Robot)) {
	r := dispatch.Robot{ID: fleet.RobotID(id), Free: true, At: at, Battery: battery, Since: y.now, SpeedMPS: 1}
	for _, c := range change {
		c(&r)
	}
	y.robots[r.ID] = r
	y.Decide(y.now, dispatch.RobotChanged{Robot: r}, nil)
}

// pass lets time pass, tick by tick; robots say that they have heard, and where goes says so they are there at once.
func (y *yard) pass(d time.Duration, goes bool) {
	y.offers = map[fleet.TaskID]fleet.RobotID{}
	for end := y.now.Add(d); y.now.Before(end); {
		y.now = y.now.Add(500 * time.Millisecond)
		out := y.Decide(y.now, dispatch.Ticked{}, nil)
		for id, r := range offers(out) {
			y.offers[id] = r
		}
		for _, e := range out {
			if s, ok := e.(dispatch.Send); ok {
				y.sent = append(y.sent, s)
				y.obey(s, goes)
			}
		}
	}
}

func (y *yard) obey(s dispatch.Send, goes bool) {
	r := y.robots[s.Robot]
	r.Move = s.Move
	if goes && s.Move.Kind != robot.NoMove {
		r.At = s.Move.To
	}
	if goes && s.Move.Kind == robot.MovePark {
		r.Move = robot.Move{}
	}
	y.robots[s.Robot] = r
	y.Decide(y.now, dispatch.RobotChanged{Robot: r}, nil)
}

// last is what a robot was told last.
func (y *yard) last(id string) robot.Move {
	for i := len(y.sent) - 1; i >= 0; i-- {
		if y.sent[i].Robot == fleet.RobotID(id) {
			return y.sent[i].Move
		}
	}
	return robot.Move{}
}

func (y *yard) wait(id fleet.TaskID) dispatch.TaskWait {
	var v dispatch.View
	y.FillView(&v)
	for _, w := range v.TaskWaits {
		if w.Task == id {
			return w
		}
	}
	return dispatch.TaskWait{}
}

// hungry are rules by which a metre is worth a percent.
func hungry(change ...func(*dispatch.Charging)) dispatch.RulesChanged {
	c := dispatch.UsualCharging()
	c.PerM, c.PerS, c.Margin = 0.01, 1e-9, 1
	for _, f := range change {
		f(&c)
	}
	return dispatch.RulesChanged{Charging: c, Parking: dispatch.UsualParking()}
}

func TestATaskIsGivenOnlyToWhoseBatteryLastsForItAndForTheWayToACharger(t *testing.T) {
	t.Parallel()
	y := newYard(t, []fleet.Vertex{0}, nil)
	y.Decide(t0, hungry(), nil)
	y.pass(2*time.Second, false) // the way to the charger is known
	// From 10 to 20 and home to 0: 30 m, 30 %, and 10 % in reserve.
	y.put("weak", 10, 0.38)
	y.Decide(y.now, open("t", 20), nil)
	y.pass(3*time.Second, false)
	if len(y.offers) != 0 {
		t.Fatalf("offered to %v", y.offers)
	}
	w := y.wait("t")
	for _, part := range []string{"needs 4", " %, robot weak has 38 %", "charger C0 is", "m from its end"} {
		if w.Cause != fleet.CauseBattery || !strings.Contains(w.Detail, part) {
			t.Errorf("waits for %s: %q, want %q", w.Cause, w.Detail, part)
		}
	}
	y.put("strong", 31, 0.9)
	y.pass(time.Second, false)
	if y.offers["t"] != "strong" {
		t.Errorf("offers %v", y.offers)
	}
}

func TestWhatARobotsStatusesTellCountsMoreThanTheRules(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		power robot.Power
		want  fleet.RobotID
	}{
		"nothing yet":           {robot.Power{}, ""},
		"it needs far less":     {robot.Power{DriveM: 2000, DriveS: 2000, DriveDrop: 0.2}, "r"},
		"it needs still more":   {robot.Power{DriveM: 100, DriveS: 100, DriveDrop: 0.9}, ""},
		"its battery is no toy": {robot.Power{DriveM: 20000, DriveS: 20000}, "r"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			y := newYard(t, []fleet.Vertex{0}, nil)
			y.Decide(t0, hungry(), nil)
			y.pass(2*time.Second, false)
			y.put("r", 10, 0.35, func(r *dispatch.Robot) { r.Power = c.power })
			y.Decide(y.now, open("t", 20), nil)
			y.pass(2*time.Second, false)
			if y.offers["t"] != c.want {
				t.Errorf("offers %v", y.offers)
			}
		})
	}
}

func TestAFullBatteryThatIsNotEnoughIsSaid(t *testing.T) {
	t.Parallel()
	y := newYard(t, []fleet.Vertex{0}, nil)
	y.Decide(t0, hungry(func(c *dispatch.Charging) { c.PerM = 0.05 }), nil)
	y.put("r", 10, 1)
	y.pass(2*time.Second, false)
	y.Decide(y.now, open("t", 31), nil)
	y.pass(3*time.Second, false)
	if w := y.wait("t"); len(y.offers) != 0 || !strings.Contains(w.Detail, "a full battery is not enough") {
		t.Errorf("offers %v, waits: %+v", y.offers, w)
	}
}

func TestEachChargerIsForOneRobotAndTheNextOneWaitsInOrder(t *testing.T) {
	t.Parallel()
	y := newYard(t, []fleet.Vertex{0}, nil)
	y.put("a", 9, 0.22)
	y.put("b", 5, 0.2)
	y.pass(time.Second, true)
	first := "b" // both have waited as long
	if y.last("a").Kind == robot.MoveCharge {
		first = "a"
	}
	second := map[string]string{"a": "b", "b": "a"}[first]
	if m := y.last(first); m.Kind != robot.MoveCharge || m.To != 0 || m.Until != 0.95 || !strings.Contains(m.Reason, "C0") {
		t.Fatalf("the first was told %+v", m)
	}
	y.pass(20*time.Second, true)
	if m := y.last(second); m.Kind == robot.MoveCharge {
		t.Fatalf("the second was told %+v", m)
	}
	y.put(first, 0, 0.6, func(r *dispatch.Robot) { r.Move = y.last(first) }) // enough to leave
	y.pass(2*time.Second, true)
	if m := y.last(second); m.Kind != robot.MoveCharge || m.To != 0 {
		t.Errorf("the second was told %+v", m)
	}
	y.pass(2*time.Second, true)
	if m := y.last(first); m.Kind != robot.MovePark || m.To == 0 {
		t.Errorf("the first was told %+v, it should make room", m)
	}
}

func TestARobotWithNothingToDoChargesMeanwhileAndLeavesForWork(t *testing.T) {
	t.Parallel()
	y := newYard(t, []fleet.Vertex{0}, nil)
	y.put("r", 9, 0.6)
	y.pass(5*time.Second, true)
	if len(y.sent) != 0 {
		t.Fatalf("sent %+v at once", y.sent)
	}
	y.pass(10*time.Second, true)
	if m := y.last("r"); m.Kind != robot.MoveCharge {
		t.Fatalf("told %+v", m)
	}
	y.Decide(y.now, open("t", 20), nil)
	y.pass(time.Second, true)
	if y.offers["t"] != "r" {
		t.Errorf("offers %v: it has enough to leave", y.offers)
	}
}

func TestWhoCameInLowChargesUntilItMayLeave(t *testing.T) {
	t.Parallel()
	y := newYard(t, []fleet.Vertex{0}, nil)
	y.put("r", 9, 0.2)
	y.pass(2*time.Second, true)
	y.Decide(y.now, open("t", 20), nil)
	y.pass(2*time.Second, true)
	if len(y.offers) != 0 {
		t.Fatalf("offers %v", y.offers)
	}
	if w := y.wait("t"); w.Cause != fleet.CauseBattery || !strings.Contains(w.Detail, "charges until 50 %") {
		t.Errorf("waits %+v", w)
	}
	y.put("r", 0, 0.51, func(r *dispatch.Robot) { r.Move = y.last("r") })
	y.pass(time.Second, true)
	if y.offers["t"] != "r" {
		t.Errorf("offers %v", y.offers)
	}
}

func TestARobotThatWouldNotReachAChargerIsSentThereOutOfItsTask(t *testing.T) {
	t.Parallel()
	y := newYard(t, []fleet.Vertex{0}, nil)
	y.Decide(t0, hungry(), nil)
	busy := func(r *dispatch.Robot) { r.Free, r.Reason = false, "has a task" }
	y.put("r", 20, 0.5, busy)
	y.Decide(y.now, dispatch.TaskChanged{State: task.Held, Robot: "r", Spec: task.Spec{ID: "t", Errands: []fleet.Vertex{31}}}, nil)
	y.pass(3*time.Second, true)
	if len(y.sent) != 0 {
		t.Fatalf("sent %+v", y.sent)
	}
	y.put("r", 20, 0.24, busy) // 20 % to get there, and half the reserve
	y.pass(time.Second, true)
	if m := y.last("r"); m.Kind != robot.MoveCharge || m.To != 0 || m.Until != 0.5 {
		t.Errorf("told %+v", m)
	}
}

func TestARobotThatCannotMoveTakesNoChargerForItsTask(t *testing.T) {
	t.Parallel()
	y := newYard(t, []fleet.Vertex{0}, nil)
	y.put("r", 20, 0.05, func(r *dispatch.Robot) { r.Free, r.Reason = false, "paused" })
	y.Decide(y.now, dispatch.TaskChanged{State: task.Held, Robot: "r", Spec: task.Spec{ID: "t", Errands: []fleet.Vertex{31}}}, nil)
	y.put("other", 9, 0.2)
	y.pass(time.Minute, false)
	if m := y.last("r"); m.Kind == robot.MoveCharge {
		t.Errorf("told %+v", m)
	}
	if m := y.last("other"); m.Kind != robot.MoveCharge {
		t.Errorf("the other was told %+v", m)
	}
}

func TestMainsPoweredRobotsAreLeftInPeace(t *testing.T) {
	t.Parallel()
	y := newYard(t, []fleet.Vertex{0}, nil)
	y.Decide(t0, hungry(func(c *dispatch.Charging) { c.Off = true }), nil)
	y.put("r", 9, 0)
	y.Decide(y.now, open("t", 20), nil)
	y.pass(30*time.Second, true)
	if y.offers["t"] != "r" || len(y.sent) != 0 {
		t.Errorf("offers %v, sent %+v", y.offers, y.sent)
	}
}

func TestWhoDoesNotChargeAtAChargerIsNotKeptThere(t *testing.T) {
	t.Parallel()
	y := newYard(t, []fleet.Vertex{0}, nil)
	y.put("r", 9, 0.3)
	y.pass(5*time.Minute, true)
	if m := y.last("r"); m.Kind != robot.NoMove {
		t.Fatalf("told %+v after five minutes without any gain", m)
	}
	y.Decide(y.now, open("t", 20), nil)
	y.pass(2*time.Second, true)
	if y.offers["t"] != "r" {
		t.Errorf("offers %v", y.offers)
	}
}

// A charger that gives a third of a percent a minute, as the rules have it, charges.
func TestASlowChargerIsNotTakenForABrokenOne(t *testing.T) {
	t.Parallel()
	y := newYard(t, []fleet.Vertex{0}, nil)
	const perS = 3e-5
	y.Decide(t0, dispatch.RulesChanged{Charging: func() dispatch.Charging { c := dispatch.UsualCharging(); c.ChargePerS = perS; return c }(), Parking: dispatch.UsualParking()}, nil)
	y.put("r", 9, 0.3)
	y.pass(3*time.Second, true)
	battery := 0.3
	for range 20 {
		y.pass(time.Minute, true)
		if m := y.last("r"); m.Kind != robot.MoveCharge {
			t.Fatalf("told %+v with %s", m, fmt.Sprint(battery))
		}
		battery += 60 * perS
		told := 0.3 + robot.TellBattery*math.Floor((battery-0.3)/robot.TellBattery)
		y.put("r", 0, told, func(r *dispatch.Robot) { r.Move = y.last("r") })
	}
}

// For a task that batteries keep from everybody, one robot charges, below the comfort level and where charging helps.
func TestOnlyTheBestRobotChargesForATaskThatNeedsIt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		battery, perM float64
		want          int
	}{
		"one charges":            {0.4, 0.01, 1},
		"a full one is too weak": {0.79, 0.05, 0},
		"enough in comfort":      {0.81, 0.02, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			y := newYard(t, []fleet.Vertex{0, 32, 64, 96}, nil)
			y.Decide(t0, hungry(func(h *dispatch.Charging) { h.PerM = c.perM }), nil)
			y.pass(2*time.Second, false)
			for i := range 4 {
				y.put(fmt.Sprint("r", i), fleet.Vertex(4+i), c.battery)
			}
			y.Decide(y.now, open("t", 24), nil)
			y.pass(8*time.Second, false)
			sent := map[fleet.RobotID]bool{}
			for _, s := range y.sent {
				sent[s.Robot] = sent[s.Robot] || s.Move.Kind == robot.MoveCharge
			}
			if w := y.wait("t"); len(sent) != c.want || w.Cause != fleet.CauseBattery {
				t.Errorf("sent %+v, the task waits: %+v", y.sent, w)
			}
		})
	}
}

func TestAnIdleRobotMakesRoomForWhoNeedsItsPlace(t *testing.T) {
	t.Parallel()
	held := func(y *yard, at fleet.Vertex) {
		y.put("other", 40, 1, func(r *dispatch.Robot) { r.Free, r.Reason = false, "has a task" })
		y.Decide(y.now, dispatch.TaskChanged{State: task.Held, Robot: "other", Spec: task.Spec{ID: "t", Errands: []fleet.Vertex{50, at}}}, nil)
	}
	for name, c := range map[string]struct {
		parks []fleet.Vertex
		do    func(y *yard)
		want  string
		to    fleet.Vertex // NoVertex = anywhere else
	}{
		"a task leads here":         {nil, func(y *yard) { held(y, 10) }, "leads here", fleet.NoVertex},
		"to a parking place":        {[]fleet.Vertex{30, 90}, func(y *yard) { held(y, 10) }, "leads here", 90},
		"not to one that is wanted": {[]fleet.Vertex{30, 90}, func(y *yard) { held(y, 90) }, "nothing to do", 30},
		"nothing to do":             {[]fleet.Vertex{30}, func(*yard) {}, "nothing to do", 30},
		"in the way": {nil, func(y *yard) {
			y.put("other", 9, 1, func(r *dispatch.Robot) { r.Free, r.Reason = false, "has a task" })
			y.Decide(y.now, dispatch.ZoneReported{View: zone.View{Zone: "z", Waits: []fleet.Wait{
				{Robot: "other", Holder: "idle", Vertex: 10, Tasked: true, Cause: fleet.CauseOccupied, Since: y.now},
			}}}, nil)
		}, "in the way of robot other", fleet.NoVertex},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			y := newYard(t, nil, c.parks)
			y.put("idle", 10, 1)
			c.do(y)
			y.pass(8*time.Second, true)
			m := y.last("idle")
			if m.Kind != robot.MovePark || !strings.Contains(m.Reason, c.want) || m.To == 10 || c.to != fleet.NoVertex && m.To != c.to {
				t.Errorf("told %+v", m)
			}
			n := len(y.sent)
			y.pass(time.Minute, true)
			if len(y.sent) != n {
				t.Errorf("told again: %+v", y.sent[n:])
			}
		})
	}
	t.Run("nobody needs it", func(t *testing.T) {
		t.Parallel()
		y := newYard(t, nil, nil)
		y.put("idle", 10, 1)
		y.pass(time.Minute, true)
		if len(y.sent) != 0 {
			t.Errorf("told %+v", y.sent)
		}
	})
}

func TestARobotWhoseGoalIsTakenByOneThatStaysWaitsForItsTurn(t *testing.T) {
	t.Parallel()
	y := newYard(t, nil, nil)
	y.put("paused", 10, 1, func(r *dispatch.Robot) { r.Free, r.Reason = false, "paused" })
	y.put("r", 9, 1, func(r *dispatch.Robot) { r.Free, r.Reason = false, "has a task" })
	y.Decide(y.now, dispatch.TaskChanged{State: task.Held, Robot: "r", Spec: task.Spec{ID: "t", Errands: []fleet.Vertex{10}}}, nil)
	y.Decide(y.now, dispatch.ZoneReported{View: zone.View{Zone: "z", Waits: []fleet.Wait{
		{Robot: "r", Holder: "paused", Vertex: 10, Tasked: true, Cause: fleet.CauseOccupied, Since: y.now},
	}}}, nil)
	y.pass(8*time.Second, true)
	if len(y.sent) != 0 {
		t.Fatalf("told %+v", y.sent)
	}
	y.pass(4*time.Second, true)
	if m := y.last("r"); m.Kind != robot.MoveWait || m.To == 10 || !strings.Contains(m.Reason, "it waits for its turn") {
		t.Fatalf("told %+v", m)
	}
	y.put("paused", 20, 1)
	y.pass(8*time.Second, true)
	if m := y.last("r"); m.Kind != robot.NoMove {
		t.Errorf("told %+v: the place is free", m)
	}
}

// Whatever robots, chargers, places and tasks there are: no two robots are ever sent to the same vertex, nor one to where
// another stands or is to come, and each gets something to do a bounded number of times.
func TestNoTwoRobotsAreSentToOnePlace(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		vertex := rapid.Custom(func(r *rapid.T) fleet.Vertex { return fleet.Vertex(rapid.IntRange(0, 127).Draw(r, "v")) })
		y := newYard(t, rapid.SliceOfN(vertex, 0, 4).Draw(r, "chargers"), rapid.SliceOfN(vertex, 0, 8).Draw(r, "parks"))
		taken := map[fleet.Vertex]bool{}
		for i := range rapid.IntRange(1, 20).Draw(r, "robots") {
			at := vertex.Draw(r, "at")
			if taken[at] {
				continue
			}
			taken[at] = true
			id := fmt.Sprintf("r%02d", i)
			y.put(id, at, rapid.Float64Range(0.05, 1).Draw(r, "battery"), func(d *dispatch.Robot) {
				if d.Free = rapid.Bool().Draw(r, "free"); !d.Free {
					d.Reason = rapid.SampledFrom([]string{"has a task", "paused"}).Draw(r, "reason")
				}
			})
			if y.robots[fleet.RobotID(id)].Reason == "has a task" {
				y.Decide(y.now, dispatch.TaskChanged{State: task.Held, Robot: fleet.RobotID(id), Spec: task.Spec{
					ID: fleet.TaskID("t" + id), Errands: rapid.SliceOfN(vertex, 1, 3).Draw(r, "errands"),
				}}, nil)
			}
		}
		for range 60 {
			y.sent = nil
			y.pass(time.Second, rapid.Bool().Draw(r, "goes"))
			to := map[fleet.Vertex]fleet.RobotID{}
			for id, m := range y.robots {
				if m.Move.Kind == robot.NoMove {
					continue
				}
				if by, ok := to[m.Move.To]; ok {
					r.Fatalf("robots %s and %s are both sent to %d", id, by, m.Move.To)
				}
				to[m.Move.To] = id
			}
			if len(y.sent) > 64 {
				r.Fatalf("%d moves in a second", len(y.sent))
			}
		}
		n := 0
		for range 120 {
			y.sent = nil
			y.pass(time.Second, true)
			n += len(y.sent)
		}
		if n > 20*len(y.robots) {
			r.Fatalf("%d moves of %d robots in two minutes: they dance", n, len(y.robots))
		}
	})
}
