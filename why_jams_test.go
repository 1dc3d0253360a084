//go:build integration

package main

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"starling/bench/robots"
)

// Known jams, each built in a warehouse of its own with the real program, its API and robots on its link. The answer to
// "why" is to end at the true root; where that has a remedy it is pressed, and the jam is to dissolve.
func TestWhyNamesTheRootOfKnownJams(t *testing.T) {
	t.Parallel()
	jams := map[string]func(*jam){
		"a paused robot in an aisle":             pausedInAnAisle,
		"a dead robot in a crossing":             deadInACrossing,
		"a closed lane cuts off the goal":        closedLane,
		"a lane closes under way":                closedUnderWay,
		"a keep-out zone over the goal":          keepOutOverTheGoal,
		"a robot in error":                       robotInError,
		"a task for a robot that is away":        taskForARobotAway,
		"a task for a fleet that nobody is of":   taskForAnUnknownFleet,
		"every robot is busy":                    everyRobotBusy,
		"the earliest start lies ahead":          earliestStartAhead,
		"a low battery and no charger free":      lowBatteryNoCharger,
		"two robots meet head-on":                headOn,
		"an idle robot on the goal":              idleOnTheGoal,
		"no active map":                          noActiveMap,
		"a robot that is nowhere on the map":     unlocalised,
		"a robot driven by hand waits in a lane": byHand,
	}
	p := newProcess(t)
	p.start(t)
	n := atomic.Int32{}
	var uploads sync.Mutex
	var all sync.WaitGroup // the jams not t.Parallel: they wait, each for its robots, and want all to run at once
	for name, build := range jams {
		all.Go(func() {
			t.Run(name, func(t *testing.T) { build(newJam(t, p, &uploads, "jam-"+string(rune('a'+n.Add(1)-1)))) })
		})
	}
	all.Wait()
}

// aisle is one lane wide between two open ends: its cells are 15..20, its ends 0..2, 12..14, 24..26 and 9..11, 21..23, 33..35.
func aisle(j *jam) {
	j.floor(true, "...@@@@@@...", "............", "...@@@@@@...")
}

func pausedInAnAisle(j *jam) {
	aisle(j)
	j.robot("A", "12")
	j.robot("B", "18")
	j.tell("B", "pause")
	j.until("B is paused", func() bool { return j.look("B").State == "PAUSED" })
	task := j.task(j.only("A"), "23")
	c := j.chain("robots/A", root{"paused", "robot", j.ids["B"], "POST /api/v1/robots/" + j.ids["B"] + "/commands"}, "occupied")
	j.chain("tasks/"+task, root{"paused", "robot", j.ids["B"], "POST /api/v1/robots/" + j.ids["B"] + "/commands"}, "occupied")
	j.press(c)
	j.ends(task, "SUCCEEDED")
}

func deadInACrossing(j *jam) {
	j.floor(true, "@@@.@@@", ".......", "@@@.@@@")
	j.robot("B", "10")
	j.silence["B"]()
	j.robot("A", "8")
	task := j.task(j.only("A"), "11")
	j.chain("robots/A", root{"silent", "robot", j.ids["B"], ""}) // it may come back: nothing to press yet
	c := j.chain("robots/A", root{"silent", "robot", j.ids["B"], "DELETE /api/v1/robots/" + j.ids["B"]}, "occupied")
	j.press(c)
	j.ends(task, "SUCCEEDED")
}

func closedLane(j *jam) {
	j.floor(true, "............")
	j.robot("A", "0")
	lane := j.lane("5", "6")
	j.must(http.MethodPatch, "/api/v1/lanes/"+lane, map[string]any{"closed": true, "reason": "spill"}, nil)
	task := j.task(nil, "11")
	c := j.chain("tasks/"+task, root{"lane_closed", "lane", lane, "PATCH /api/v1/lanes/" + lane}, "no_robot")
	j.press(c)
	j.ends(task, "SUCCEEDED")
}

func closedUnderWay(j *jam) {
	j.floor(true, "....................")
	j.robot("A", "0")
	lane := j.lane("15", "16")
	task := j.task(nil, "19")
	j.until("the robot drives", func() bool { return j.status(task) == "EXECUTING" })
	j.must(http.MethodPatch, "/api/v1/lanes/"+lane, map[string]any{"closed": true}, nil)
	c := j.chain("robots/A", root{"lane_closed", "lane", lane, "PATCH /api/v1/lanes/" + lane})
	j.press(c)
	j.ends(task, "SUCCEEDED")
}

func keepOutOverTheGoal(j *jam) {
	j.floor(true, "............")
	j.robot("A", "0")
	zone := uuid.NewString()
	ring := [][2]float64{{10.1, 0.1}, {11.9, 0.1}, {11.9, 0.9}, {10.1, 0.9}, {10.1, 0.1}}
	j.must(http.MethodPut, "/api/v1/zones/"+zone, map[string]any{
		"map_id": j.mapID, "kind": "keep_out", "name": "visitors", "polygon": map[string]any{"type": "Polygon", "coordinates": [][][2]float64{ring}},
	}, nil)
	task := j.task(nil, "11")
	c := j.chain("tasks/"+task, root{"keep_out", "zone", zone, "DELETE /api/v1/zones/" + zone}, "no_robot")
	j.press(c)
	j.ends(task, "SUCCEEDED")
}

func robotInError(j *jam) {
	j.floor(true, "....................")
	j.register("A")
	v := j.places["0"]
	j.run("A", robots.Robot{ID: j.ids["A"], Code: "A", Vertex: uint32(v.Index), X: v.X, Y: v.Y},
		robots.Fault{After: 6 * time.Second, For: time.Hour, Kind: robots.FaultStop})
	j.until("A is online", func() bool { return j.look("A").Connection == "ONLINE" })
	task := j.task(nil, "19")
	c := j.chain("tasks/"+task, root{"robot_error", "robot", j.ids["A"], "POST /api/v1/robots/" + j.ids["A"] + "/commands"})
	j.press(c)
	j.ends(task, "SUCCEEDED")
}

func taskForARobotAway(j *jam) {
	j.floor(true, "............")
	j.robot("A", "0")
	j.robot("B", "6")
	j.silence["B"]()
	task := j.task(j.only("B"), "11")
	c := j.chain("tasks/"+task, root{"silent", "robot", j.ids["B"], "POST /api/v1/tasks/" + task + "/cancel"}, "no_robot")
	j.press(c)
	j.ends(task, "CANCELLED")
}

func taskForAnUnknownFleet(j *jam) {
	j.floor(true, "............")
	j.robot("A", "0")
	task := j.task(map[string]any{"fleet": "forklifts"}, "11")
	c := j.chain("tasks/"+task, root{"no_fleet", "task", task, "POST /api/v1/tasks/" + task + "/cancel"}, "no_robot")
	j.press(c)
	j.ends(task, "CANCELLED")
}

func everyRobotBusy(j *jam) {
	j.floor(true, "............")
	j.robot("A", "0")
	first := j.task(nil, "11", "0")
	j.until("A has the first", func() bool { s := j.status(first); return s == "ASSIGNED" || s == "EXECUTING" })
	second := j.task(nil, "3")
	c := j.chain("tasks/"+second, root{"busy", "task", first, ""}, "no_robot")
	if !c.Solves || c.Expected == nil || *c.Expected < 5 || *c.Expected > 60 {
		j.Errorf("22 cells at a cell a second are left, the answer says %v", c.Expected)
	}
	j.ends(second, "SUCCEEDED")
}

func earliestStartAhead(j *jam) {
	j.floor(true, "............")
	j.robot("A", "0")
	at := time.Now().Add(8 * time.Second).UTC()
	task := j.task(map[string]any{"earliest_start": at.Format(time.RFC3339)}, "5")
	c := j.chain("tasks/"+task, root{"not_yet", "task", task, ""})
	if left := time.Until(at).Seconds(); !c.Solves || c.Expected == nil || *c.Expected < left-2 || *c.Expected > left+2 {
		j.Errorf("it begins in %.1f s, the answer says %v", left, c.Expected)
	}
	j.ends(task, "SUCCEEDED")
}

// lowBatteryNoCharger: the only charger has a robot on it that is paused. Resumed it stands there idle, and can be sent away;
// then the charger is free for the other.
func lowBatteryNoCharger(j *jam) {
	var vs, ls []map[string]any
	for i := range 8 {
		id := string(rune('a' + i))
		vs = append(vs, map[string]any{"id": id, "x": float64(i), "y": 0.0, "charging": i == 7})
		if i > 0 {
			ls = append(ls, map[string]any{"from": string(rune('a' + i - 1)), "to": id, "length_m": 1.0, "bidirectional": true})
		}
	}
	vs = append(vs, map[string]any{"id": "bay", "x": 4.0, "y": 1.0}, map[string]any{"id": "bay2", "x": 5.0, "y": 1.0})
	ls = append(ls, map[string]any{"from": "e", "to": "bay", "length_m": 1.0, "bidirectional": true}, map[string]any{"from": "f", "to": "bay2", "length_m": 1.0, "bidirectional": true})
	j.upload("starling", map[string]any{"vertices": vs, "lanes": ls, "zones": []any{}}, true)
	j.robot("A", "a")
	j.robot("B", "h")
	j.tell("B", "pause")
	j.until("B is paused", func() bool { return j.look("B").State == "PAUSED" })
	level := atomic.Int64{}
	level.Store(8)
	j.says("A", func() map[string]any {
		v, state := j.places["a"], "IDLE"
		if at := j.look("A").Vertex; at != "" {
			v = j.places[at]
		}
		if v.ID == "h" {
			state = "CHARGING"
			level.Store(80)
		}
		return map[string]any{"pose": map[string]any{"x": v.X, "y": v.Y, "theta": 0}, "battery_soc": float64(level.Load()) / 100, "state": state}
	})
	j.until("A is nearly empty", func() bool { return j.look("A").Battery < 0.1 })
	task := j.task(j.only("A"), "b")
	c := j.chain("tasks/"+task, root{"paused", "robot", j.ids["B"], "POST /api/v1/robots/" + j.ids["B"] + "/commands"}, "no_robot")
	j.press(c)
	j.gone("tasks/"+task, "paused")
	j.until("the task is done", func() bool {
		w := j.why("tasks/" + task)
		if n := len(w.Chain); n > 0 && w.Chain[n-1].Remedy != nil {
			j.Logf("why tasks: %s", told(w))
			j.press(w.Chain[n-1])
			time.Sleep(time.Second)
		}
		return j.status(task) == "SUCCEEDED"
	})
}

// headOn: neither can pass the other in the aisle. Nothing has to be done: one of them gives way.
func headOn(j *jam) {
	j.floor(true, "..@@@@..", "........", "..@@@@..")
	j.robot("A", "8")
	j.robot("B", "15")
	a, b := j.task(j.only("A"), "15"), j.task(j.only("B"), "8")
	waited := 0
	j.until("both are through", func() bool {
		for _, what := range []string{"robots/A", "robots/B"} {
			w := j.why(what)
			if len(w.Chain) == 0 {
				continue
			}
			if waited++; waited == 1 {
				j.Logf("why robots: %s", told(w))
			}
			if last := w.Chain[len(w.Chain)-1]; last.Remedy != nil || !last.Solves {
				j.Fatalf("something is to be done: %s", told(w))
			}
		}
		return j.status(a) == "SUCCEEDED" && j.status(b) == "SUCCEEDED"
	})
	if waited == 0 {
		j.Error("nobody was seen to wait")
	}
}

// idleOnTheGoal: it is sent away by itself, often before A comes to it; where it is not, it can be.
func idleOnTheGoal(j *jam) {
	j.floor(true, "........", "........", "@@@.@@@@", "@@@.@@@@")
	j.robot("B", "27")
	j.robot("A", "0")
	task := j.task(j.only("A"), "27")
	named := 0
	j.until("A has come to its goal", func() bool {
		w := j.why("robots/A")
		if n := len(w.Chain); n > 1 && w.Chain[n-1].Object.ID == j.ids["B"] {
			last := w.Chain[n-1]
			if named++; named == 1 || last.Remedy != nil {
				j.Logf("why robots: %s", told(w))
			}
			if last.Solves == (last.Remedy != nil) {
				j.Errorf("it is to end by itself or to be ended: %s", told(w))
			}
			if last.Remedy != nil { // nobody has moved B out of the way
				j.press(last)
				time.Sleep(time.Second)
			}
		}
		return j.status(task) == "SUCCEEDED"
	})
}

func noActiveMap(j *jam) {
	j.floor(false, "............")
	j.register("A")
	v := j.places["0"]
	j.run("A", robots.Robot{ID: j.ids["A"], Code: "A", Vertex: uint32(v.Index), X: v.X, Y: v.Y})
	j.until("A is online", func() bool { return j.look("A").Connection == "ONLINE" })
	c := j.chain("robots/A", root{"no_map", "warehouse", j.warehouse, "POST /api/v1/maps/" + j.mapID + "/versions/1/activate"}, "unlocalised")
	j.press(c)
	j.until("A does not wait", func() bool { return !j.why("robots/A").Waiting })
	j.ends(j.task(nil, "11"), "SUCCEEDED")
}

// unlocalised: there is nothing to press; it has to be brought to the map.
func unlocalised(j *jam) {
	j.floor(true, "....", "@@@@", "@@@@", "@@@@", "@@@@")
	j.register("A")
	j.run("A", robots.Robot{ID: j.ids["A"], Code: "A", Vertex: 1 << 20, X: 2, Y: 0.5})
	j.until("A is online", func() bool { return j.look("A").Connection == "ONLINE" })
	task := j.task(j.only("A"), "3")
	j.chain("robots/A", root{"unlocalised", "robot", j.ids["A"], ""})
	j.chain("tasks/"+task, root{"unlocalised", "robot", j.ids["A"], "POST /api/v1/tasks/" + task + "/cancel"}, "no_robot")
	v := j.places["1"]
	j.says("A", func() map[string]any {
		return map[string]any{"pose": map[string]any{"x": v.X, "y": v.Y, "theta": 0}, "battery_soc": 0.9, "state": "IDLE"}
	})
	j.until("A does not wait", func() bool { return !j.why("robots/A").Waiting })
}

// byHand: somebody drives the robot in the way; only he can end that.
func byHand(j *jam) {
	aisle(j)
	j.robot("A", "12")
	j.robot("B", "18")
	state := atomic.Value{}
	state.Store("MANUAL")
	v := j.places["18"]
	j.says("B", func() map[string]any {
		return map[string]any{"pose": map[string]any{"x": v.X, "y": v.Y, "theta": 0}, "battery_soc": 0.9, "state": state.Load()}
	})
	j.until("B is driven by hand", func() bool { return j.look("B").State == "MANUAL" })
	task := j.task(j.only("A"), "23")
	j.chain("robots/A", root{"manual", "robot", j.ids["B"], ""}, "occupied")
	state.Store("IDLE")
	j.ends(task, "SUCCEEDED")
}
