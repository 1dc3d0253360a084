package storetest

import (
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"starling/engine/dispatch"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/engine/zone"
)

func fenced(t *testing.T, b *bench) {
	old, _, err := b.Facts.Take(t.Context(), b.shard, "a")
	if err != nil {
		t.Fatal(err)
	}
	u := b.created(b.spec())
	u.Incarnation = old
	b.mustRecord(u)
	now, _, err := b.Facts.Take(t.Context(), b.shard, "b")
	if err != nil || now <= old {
		t.Fatalf("incarnation %d after %d: %v", now, old, err)
	}
	late, free, ours := b.created(b.spec()), b.created(b.spec()), b.created(b.spec())
	late.Incarnation, ours.Incarnation = old, now
	if err := b.record(late)[0]; !errors.Is(err, fact.ErrFenced) {
		t.Fatalf("the former owner: %v, want ErrFenced", err)
	}
	b.absent(fleet.TaskID(late.Facts[0].Subject))
	b.mustRecord(free, ours)
}

func ownership(t *testing.T, b *bench) {
	first, wait, err := b.Facts.Take(t.Context(), b.shard, "a")
	if err != nil || wait != 0 {
		t.Fatalf("a shard that nobody held: wait %v, %v", wait, err)
	}
	held := []fact.Held{{Shard: b.shard, Incarnation: first}}
	if ok, err := b.Facts.Renew(t.Context(), "a", held); err != nil || !slices.Equal(ok, []bool{true}) {
		t.Fatalf("renew: %v %v", ok, err)
	}
	if ok, err := b.Facts.Renew(t.Context(), "b", held); err != nil || !slices.Equal(ok, []bool{false}) {
		t.Fatalf("renew by another: %v %v", ok, err)
	}
	second, wait, err := b.Facts.Take(t.Context(), b.shard, "b")
	if err != nil || second != first+1 || wait <= 0 || wait > 2*time.Second {
		t.Fatalf("taken over: incarnation %d after %d, wait %v, %v", second, first, wait, err)
	}
	free := b.Shard(t)
	got, _, err := b.Facts.Take(t.Context(), free, "b")
	if err != nil {
		t.Fatal(err)
	}
	ok, err := b.Facts.Renew(t.Context(), "b", []fact.Held{
		{Shard: b.shard, Incarnation: first}, {Shard: free, Incarnation: got}, {Shard: b.shard, Incarnation: second},
	})
	if err != nil || !slices.Equal(ok, []bool{false, true, true}) {
		t.Fatalf("renew several: %v %v", ok, err)
	}
}

// foldRobot loads a robot and folds its events.
func (b *bench) foldRobot(id fleet.RobotID) (*robot.State, fact.RobotRecord) {
	b.t.Helper()
	rec, err := b.Facts.LoadRobot(b.t.Context(), b.shard, id)
	if err != nil {
		b.t.Fatalf("load robot: %v", err)
	}
	s := robot.New(b.now, robot.Rules{})
	for _, e := range rec.Events {
		s.Apply(e.At, e.Event)
	}
	if s.Version() != rec.Version {
		b.t.Fatalf("folded to version %d, record says %d", s.Version(), rec.Version)
	}
	return s, rec
}

func robotComesBack(t *testing.T, b *bench) {
	spec := b.robotSpec()
	changed := spec
	changed.DisplayName, changed.AllowedZones, changed.Priority = "Other", nil, 9
	command := func(kind fleet.CommandKind) robot.Command {
		return robot.Command{
			ID: newID[fleet.CommandID](), Robot: spec.ID, Kind: kind, Vertex: fleet.NoVertex, At: b.now, ExpiresAt: b.now.Add(time.Minute),
			By: newID[fleet.UserID](),
		}
	}
	goTo, pause, reset := command(fleet.CommandGoTo), command(fleet.CommandPause), command(fleet.CommandClearErrors)
	goTo.Vertex, goTo.Place = 17, "dock 3"
	live := robot.New(b.now, robot.Rules{})
	for _, e := range []robot.Event{
		robot.Registered{Spec: spec, Version: 1},
		robot.ConnectionChanged{From: fleet.NeverSeen, To: fleet.Online, At: b.now},
		robot.CommandAccepted{Command: goTo},
		robot.CommandStaged{ID: goTo.ID, Stage: fleet.StageSent, At: b.now},
		robot.CommandStaged{ID: goTo.ID, Stage: fleet.StageAcknowledged, At: b.now},
		robot.CommandAccepted{Command: pause},
		robot.CommandAccepted{Command: reset},
		robot.CommandStaged{ID: reset.ID, Stage: fleet.StageExpired, At: b.now, Reason: "no answer"},
		robot.CommandStaged{ID: goTo.ID, Stage: fleet.StageDone, At: b.now},
		robot.Registered{Spec: changed, Version: 2},
		robot.ConnectionChanged{From: fleet.Online, To: fleet.Stale, At: b.now},
	} {
		version := live.Version()
		if r, ok := e.(robot.Registered); ok {
			version = r.Version
		}
		f := b.fact(string(spec.ID), version, e)
		if a, ok := e.(robot.CommandAccepted); ok {
			a.Command.At = f.At
			f.Event, e = a, a
		}
		live.Apply(f.At, e)
		b.mustRecord(b.unit(f))
	}
	s, rec := b.foldRobot(spec.ID)
	if s.Digest() != live.Digest() {
		t.Fatalf("folded state differs from the live one; events %+v", rec.Events)
	}
	equal(t, "the registration", rec.Events[0].Event, robot.Registered{Spec: changed, Version: 2})
	if rec.Active != nil {
		t.Fatalf("active %+v", rec.Active)
	}
	if _, err := b.Facts.LoadRobot(t.Context(), b.shard, newID[fleet.RobotID]()); !errors.Is(err, fact.ErrNotFound) {
		t.Fatalf("an unknown robot: %v", err)
	}
	unknown := b.unit(b.fact(string(spec.ID), 2, robot.CommandStaged{ID: newID[fleet.CommandID](), Stage: fleet.StageSent, At: b.now}))
	if err := b.record(unknown)[0]; !errors.Is(err, fact.ErrRejected) {
		t.Fatalf("a stage of an unknown command: %v, want ErrRejected", err)
	}
}

// A robot whose pause failed without a word stays paused, however many commands came after it: a resume that expired
// unheard is one of them.
func pauseOutlives(t *testing.T, b *bench) {
	spec := b.robotSpec()
	b.mustRecord(b.unit(b.fact(string(spec.ID), 1, robot.Registered{Spec: spec, Version: 1})))
	var ids []fleet.CommandID
	give := func(kind fleet.CommandKind, end fleet.Stage, reason string) {
		id := newID[fleet.CommandID]()
		b.now = b.now.Add(time.Second)
		b.mustRecord(b.unit(b.fact(string(spec.ID), 1, robot.CommandAccepted{Command: robot.Command{
			ID: id, Robot: spec.ID, Kind: kind, Vertex: fleet.NoVertex, At: b.now, ExpiresAt: b.now.Add(time.Minute),
		}})))
		b.mustRecord(b.unit(b.fact(string(spec.ID), 1, robot.CommandStaged{ID: id, Stage: end, At: b.now, Reason: reason})))
		ids = append(ids, id)
	}
	give(fleet.CommandPause, fleet.StageFailed, robot.NoWord)
	give(fleet.CommandResume, fleet.StageExpired, "no answer")
	give(fleet.CommandResume, fleet.StageFailed, "refused")
	for range 40 {
		give(fleet.CommandClearErrors, fleet.StageDone, "")
	}
	_, rec := b.foldRobot(spec.ID)
	if !slices.ContainsFunc(rec.Events, func(e fact.Recorded[robot.Event]) bool {
		a, ok := e.Event.(robot.CommandAccepted)
		return ok && a.Command.ID == ids[0]
	}) {
		t.Fatalf("the pause is not among the %d events", len(rec.Events))
	}
}

func robotCode(t *testing.T, b *bench) {
	first := b.robot()
	second := b.robotSpec()
	second.Code = first.Code
	register := func() fact.Unit {
		return b.unit(b.fact(string(second.ID), 1, robot.Registered{Spec: second, Version: 1}))
	}
	if c := conflict(t, b.record(register())[0], "robot_code"); c.Existing != string(first.ID) {
		t.Fatalf("existing %q, want %s", c.Existing, first.ID)
	}
	b.mustRecord(b.unit(b.fact(string(first.ID), 2, robot.Removed{Version: 2})))
	if _, err := b.Facts.LoadRobot(t.Context(), b.shard, first.ID); !errors.Is(err, fact.ErrNotFound) {
		t.Fatalf("a removed robot: %v", err)
	}
	gone := b.unit(b.fact(string(first.ID), 2, robot.ConnectionChanged{To: fleet.Online, At: b.now}))
	if err := b.record(gone)[0]; !errors.Is(err, fact.ErrRejected) {
		t.Fatalf("the connection of a removed robot: %v, want ErrRejected", err)
	}
	b.mustRecord(register())
	b.foldRobot(second.ID)
}

func robotVersion(t *testing.T, b *bench) {
	s := b.robot()
	for _, version := range []int64{1, 3} {
		u := b.unit(b.fact(string(s.ID), version, robot.Registered{Spec: s, Version: version}))
		gone := b.unit(b.fact(string(s.ID), version, robot.Removed{Version: version}))
		for _, err := range b.record(u, gone) {
			if c := conflict(t, err, "version"); c.Existing != string(s.ID) {
				t.Fatalf("existing %q, want %s", c.Existing, s.ID)
			}
		}
	}
	b.mustRecord(b.unit(b.fact(string(s.ID), 2, robot.Registered{Spec: s, Version: 2})))
	if r, _ := b.foldRobot(s.ID); r.Version() != 2 {
		t.Fatalf("version %d, want 2", r.Version())
	}
}

func snapshots(t *testing.T, b *bench) {
	one, two := b.robot(), b.robot()
	at := b.now
	newer := robot.LastKnown{
		BootID: "b2", Seq: 1 << 40, ReportedAt: at, Pose: fleet.Pose{X: 1.5, Y: -2, Theta: 0.5}, Battery: 0.75, State: fleet.Moving,
	}
	older := newer
	older.ReportedAt, older.Seq = at.Add(-time.Second), 3
	for _, group := range [][]fact.RobotSnapshot{
		{{Robot: one.ID, Last: newer}, {Robot: two.ID, Last: older}},
		{{Robot: one.ID, Last: older}, {Robot: newID[fleet.RobotID](), Last: newer}},
		nil,
	} {
		if err := b.Facts.SaveSnapshots(t.Context(), b.shard, group); err != nil {
			t.Fatal(err)
		}
	}
	for id, want := range map[fleet.RobotID]robot.LastKnown{one.ID: newer, two.ID: older} {
		_, rec := b.foldRobot(id)
		rec.Last.Connection = want.Connection // recorded on its own
		equal(t, "snapshot", rec.Last, want)
	}
}

func roster(t *testing.T, b *bench) {
	z, y, mapID := newID[fleet.ZoneID](), newID[fleet.ZoneID](), newID[fleet.MapID]()
	one, two := b.robot(), b.robot()
	entry := func(r fleet.RobotID, v fleet.Vertex) zone.RosterEntry {
		return zone.RosterEntry{Robot: r, Vertex: v, PositionAt: b.tick(), SpeedMPS: 1.5, Window: 3, MapID: mapID, MapVersion: 2}
	}
	in := func(z fleet.ZoneID, e zone.RosterEntry) fact.Unit {
		return b.unit(b.fact(string(z), 0, fact.RosterEntered{Zone: z, Entry: e}))
	}
	out := func(z fleet.ZoneID, r fleet.RobotID) fact.Unit {
		return b.unit(b.fact(string(z), 0, fact.RosterLeft{Zone: z, Robot: r}))
	}
	e1, e2 := entry(one.ID, 4), entry(two.ID, fleet.NoVertex)
	b.mustRecord(in(z, e1), in(z, e2), in(y, e1), out(y, one.ID), in(y, e2), out(y, two.ID), in(y, e2), out(y, one.ID))
	want := []zone.RosterEntry{e1, e2}
	slices.SortFunc(want, func(a, b zone.RosterEntry) int {
		if a.Robot < b.Robot {
			return -1
		}
		return 1
	})
	got, err := b.Facts.LoadZone(t.Context(), b.shard, z)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "zone z", got, want)
	got, err = b.Facts.LoadZone(t.Context(), b.shard, y)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "zone y", got, []zone.RosterEntry{e2})

	e3 := entry(one.ID, 9)
	b.mustRecord(in(y, e3), in(z, entry(one.ID, 11)), out(z, two.ID))
	got, err = b.Facts.LoadZone(t.Context(), b.shard, z)
	if err != nil || len(got) != 1 || got[0].Vertex != 11 {
		t.Fatalf("zone z: %+v %v", got, err)
	}
	if err := b.record(in(z, entry(newID[fleet.RobotID](), 1)))[0]; !errors.Is(err, fact.ErrRejected) {
		t.Fatalf("a robot that is not registered: %v, want ErrRejected", err)
	}
	inherited(t, b, z, y)
}

func warehouseComesBack(t *testing.T, b *bench) {
	r := b.robot()
	open, held, done := b.spec(), b.spec(), b.spec()
	for _, s := range []*task.Spec{&open, &held, &done} {
		s.CreatedAt = b.tick()
		b.mustRecord(b.created(*s))
	}
	later := b.spec()
	later.CreatedAt = b.tick()
	b.mustRecord(b.created(later))
	b.mustRecord(
		b.unit(b.fact(string(held.ID), 2, b.assigned(held.ID, r.ID))),
		b.unit(b.fact(string(done.ID), 2, task.Cancelled{})))
	rec, err := b.Facts.LoadWarehouse(t.Context(), b.shard)
	if err != nil {
		t.Fatal(err)
	}
	waiting := make([]task.Spec, len(rec.Tasks))
	for i := range rec.Tasks {
		waiting[i] = rec.Tasks[i].Spec
		equal(t, "status of an open task", rec.Tasks[i].Status, fleet.TaskCreated)
	}
	equal(t, "open tasks", waiting, []task.Spec{open, later})
	equal(t, "held tasks", rec.Held, []fleet.TaskID{held.ID})
	equal(t, "robots", rec.Robots, []fleet.RobotID{r.ID})
	if rec.Graph != nil || len(rec.Lanes)+len(rec.KeepOut) != 0 {
		t.Fatalf("a warehouse without a map has %+v", rec)
	}
	_, robotRec := b.foldRobot(r.ID)
	if a := robotRec.Active; a == nil || a.Spec.ID != held.ID || a.Status != fleet.TaskAssigned || a.Version != 2 {
		t.Fatalf("active task %+v, want %s", a, held.ID)
	}
	equal(t, "the active task", *robotRec.Active, *b.fold(held.ID))
}

const grid = "type octile\nheight 3\nwidth 4\nmap\n....\n.@..\n....\n"

// inherited: a map is activated on which zone z is no more; y, which is, and x have its vertices.
func inherited(t *testing.T, b *bench, z, y fleet.ZoneID) {
	was := map[fleet.ZoneID][]zone.RosterEntry{}
	x := newID[fleet.ZoneID]()
	for _, id := range []fleet.ZoneID{z, y, x} {
		got, err := b.Facts.LoadZone(t.Context(), b.shard, id)
		if err != nil {
			t.Fatal(err)
		}
		was[id] = got
	}
	g := b.AddMap(t, b.shard, "", grid)
	b.mustRecord(b.unit(b.fact(string(b.shard.Warehouse), 0, dispatch.MapActivated{
		MapID: g.MapID, Version: 1, Heirs: []roadmap.Heir{{Zone: z, Heir: x}, {Zone: z, Heir: y}}, Ended: []fleet.ZoneID{z},
	})))
	lost := slices.Clone(was[z])
	for i := range lost {
		lost[i].Vertex, lost[i].MapID, lost[i].MapVersion = fleet.NoVertex, "", 0
	}
	for id, want := range map[fleet.ZoneID][]zone.RosterEntry{z: nil, y: was[y], x: lost} {
		got, err := b.Facts.LoadZone(t.Context(), b.shard, id)
		if err != nil {
			t.Fatal(err)
		}
		if len(got)+len(want) > 0 {
			equal(t, "an inherited roster", got, want)
		}
	}
}

func mapsAndLanes(t *testing.T, b *bench) {
	warehouse := string(b.shard.Warehouse)
	g := b.AddMap(t, b.shard, "", grid)
	record := func(e dispatch.Event) error { return b.record(b.unit(b.fact(warehouse, 0, e)))[0] }
	if err := record(dispatch.MapActivated{MapID: g.MapID, Version: 7}); !errors.Is(err, fact.ErrRejected) {
		t.Fatalf("an unknown version: %v, want ErrRejected", err)
	}
	if err := record(dispatch.MapActivated{MapID: g.MapID, Version: 1}); err != nil {
		t.Fatal(err)
	}
	slow := dispatch.LaneState{Lane: g.Lanes[3].ID, SpeedMPS: 0.5, Reason: "wet"}
	shut := dispatch.LaneState{Lane: g.Lanes[5].ID, Closed: true, Reason: "pallet"}
	for _, l := range []dispatch.LaneState{{Lane: slow.Lane, Closed: true}, slow, shut} {
		if err := record(dispatch.LaneChanged{State: l}); err != nil {
			t.Fatal(err)
		}
	}
	if err := record(dispatch.LaneChanged{State: dispatch.LaneState{Lane: newID[fleet.LaneID]()}}); !errors.Is(err, fact.ErrRejected) {
		t.Fatalf("an unknown lane: %v, want ErrRejected", err)
	}
	cycle := dispatch.CycleResolved{
		DecisionID: newID[fleet.DecisionID](), At: b.now, Robots: []fleet.RobotID{newID[fleet.RobotID](), newID[fleet.RobotID]()},
		Yielding: newID[fleet.RobotID](), Reason: "lowest priority",
	}
	if err := record(cycle); err != nil {
		t.Fatal(err)
	}
	check := func(version int) {
		t.Helper()
		rec, err := b.Facts.LoadWarehouse(t.Context(), b.shard)
		if err != nil {
			t.Fatal(err)
		}
		if rec.Graph == nil || rec.Graph.Version != version || rec.Graph.MapID != g.MapID {
			t.Fatalf("active graph %+v, want version %d", rec.Graph, version)
		}
		want := []dispatch.LaneState{slow, shut}
		if shut.Lane < slow.Lane {
			slices.Reverse(want)
		}
		equal(t, "lanes", rec.Lanes, want)
	}
	check(1)
	second := b.AddMap(t, b.shard, g.MapID, grid[:len(grid)-2]+"@\n")
	if second.Version != 2 {
		t.Fatalf("version %d, want 2", second.Version)
	}
	check(1)
	for _, version := range []int{2, 1, 1, 2} {
		if err := record(dispatch.MapActivated{MapID: g.MapID, Version: version}); err != nil {
			t.Fatal(err)
		}
		check(version)
	}
	rec, err := b.Facts.LoadWarehouse(t.Context(), b.shard)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(rec.Graph, second) { // not as text: it points to parts of itself
		t.Fatalf("the graph is %+v, want %+v", rec.Graph, second)
	}
}

func commandKey(t *testing.T, b *bench) {
	r := b.robot()
	accept := func() fact.Unit {
		c := robot.Command{
			ID: newID[fleet.CommandID](), Robot: r.ID, Kind: fleet.CommandPause, Vertex: fleet.NoVertex, At: b.now, ExpiresAt: b.now.Add(time.Minute),
		}
		u := b.unit(b.fact(string(r.ID), 1, robot.CommandAccepted{Command: c}))
		u.Idempotency = &fact.Idempotency{
			Key: "k", Route: "POST /robots/{robot_id}/commands", Fingerprint: []byte("f"), Answer: fact.Answer{Status: 202, Body: []byte(c.ID)},
		}
		return u
	}
	first := accept()
	b.mustRecord(first)
	b.mustRecord(first)
	c := conflict(t, b.record(accept())[0], "idempotency_key")
	if c.Answer == nil || string(c.Answer.Body) != string(first.Facts[0].Event.(robot.CommandAccepted).Command.ID) {
		t.Fatalf("%+v, want the first command's answer", c)
	}
	if _, rec := b.foldRobot(r.ID); len(rec.Events) != 2 {
		t.Fatalf("%d events, want the registration and one command: %+v", len(rec.Events), rec.Events)
	}
}

func foreignRobot(t *testing.T, b *bench) {
	theirs := b.robot()
	b.shard = b.Shard(t)
	s, z := b.spec(), newID[fleet.ZoneID]()
	b.mustRecord(b.created(s))
	for _, u := range []fact.Unit{
		b.unit(b.fact(string(s.ID), 2, b.assigned(s.ID, theirs.ID))),
		b.unit(b.fact(string(z), 0, fact.RosterEntered{Zone: z, Entry: zone.RosterEntry{Robot: theirs.ID, PositionAt: b.now}})),
		b.unit(b.fact(string(theirs.ID), 1, robot.CommandAccepted{Command: robot.Command{
			ID: newID[fleet.CommandID](), Robot: theirs.ID, Kind: fleet.CommandStop, Vertex: fleet.NoVertex, At: b.now, ExpiresAt: b.now,
		}})),
		b.unit(b.fact(string(theirs.ID), 1, robot.ConnectionChanged{To: fleet.Offline, At: b.now})),
		b.unit(b.fact(string(theirs.ID), 2, robot.Removed{Version: 2})),
	} {
		if err := b.record(u)[0]; !errors.Is(err, fact.ErrRejected) {
			t.Errorf("%T: %v, want ErrRejected", u.Facts[0].Event, err)
		}
	}
	if got := b.fold(s.ID); got.Version != 1 {
		t.Fatalf("version %d, want 1", got.Version)
	}
}
