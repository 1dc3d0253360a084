package actors

import (
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"starling/engine/dispatch"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/zone"
)

// roster counts the rows of all zones.
func (m *memory) roster() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, z := range m.rosters {
		n += len(z)
	}
	return n
}

func TestRosterFollowsTheRobots(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(o *Options) { o.ZoneTick, o.DispatchInterval = time.Second, time.Second })
	d := newDriver(t, b, testGrid(t, 16, 1), 4)
	for i := range 4 {
		spec := testSpec(i)
		spec.Errands = []fleet.Vertex{fleet.Vertex(255 - 5*i)}
		if _, err := b.CreateTask(t.Context(), spec, testBy, "", nil); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 {
		d.step(t)
	}
	if n := b.mem.roster(); n < 4 {
		t.Fatalf("%d roster rows for 4 robots", n)
	}
	// The store goes: nothing new is entered without a row, and what was left is taken off the roster later.
	b.mem.set(always(fact.ErrUnavailable, false))
	for range 10 {
		d.step(t)
		b.checkRoster(t, d)
	}
	b.mem.set(nil)
	for range 80 {
		d.step(t)
		b.checkRoster(t, d)
	}
	for i := range 4 {
		if v, _ := b.win.task(testSpec(i).ID); v.Status != fleet.TaskSucceeded {
			t.Errorf("task %d: %v %s", i, v.Status, v.Reason)
		}
	}
	b.pass(t, 6*time.Second)
	if n := b.mem.roster(); n != 4 {
		t.Errorf("%d roster rows for 4 robots at rest", n)
	}
}

// checkRoster holds law 3's half: a robot that stands in a zone is on its roster.
func (b *bed) checkRoster(t *testing.T, d *driver) {
	t.Helper()
	b.mem.mu.Lock()
	defer b.mem.mu.Unlock()
	for i, v := range d.at {
		z := d.graph.Zones[d.graph.ZoneOf[v]].ID
		if _, ok := b.mem.rosters[z][testRobot(i).ID]; !ok {
			t.Fatalf("robot %d stands in zone %s and is not on its roster", i, z)
		}
	}
}

func TestExitThatFailedIsNotTriedAgainAfterAnEntry(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.mem.graph = testGrid(t, 8, 1)
	sh, err := b.open(t.Context(), testShard)
	if err != nil {
		t.Fatal(err)
	}
	b.quiesce(t)
	bx := sh.floor.Load().zones[0]
	id := fleet.ZoneID(bx.id)
	var z *zoneShell
	b.makers[kindZone] = func(bx *box) actor.Actor { z = newZoneShell(bx); return z }
	bx.PostSystemMessage(&actor.Restart{})
	b.quiesce(t)
	if z == nil || z.state == nil {
		t.Fatal("the zone was not restarted")
	}
	exits := 0
	b.mem.set(func(units []fact.Unit) ([]error, []bool) {
		errs := make([]error, len(units))
		for i, u := range units {
			if _, exit := u.Facts[0].Event.(fact.RosterLeft); exit {
				exits++
				errs[i] = fact.ErrUnavailable
			}
		}
		return errs, nil
	})
	entry := zone.RosterEntry{Robot: "r", Vertex: 1}
	bx.post(zone.Asked{Request: fleet.Request{Robot: "r", Version: 1, At: 1, Goal: fleet.NoVertex, Window: 1, SpeedMPS: 1}})
	b.quiesce(t)
	z.recordExit("r")
	b.quiesce(t)
	b.pass(t, time.Second)
	if exits < 2 {
		t.Fatalf("the exit was tried %d times", exits)
	}
	z.recordEntry(zone.RecordEntry{Entry: entry, Number: 99})
	b.quiesce(t)
	tried := exits
	b.mem.set(nil)
	b.pass(t, 10*time.Second)
	if _, ok := b.mem.rosters[id]["r"]; !ok || tried != exits {
		t.Fatal("an old exit has taken a robot off the roster that had entered again")
	}
	if len(z.exits) != 0 {
		t.Fatalf("%d exits wait for ever", len(z.exits))
	}
}

func TestRestartedZoneKnowsItsClosedLanesAndCallsTheRoll(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(o *Options) { o.ZoneTick, o.DispatchInterval = time.Second, time.Second })
	g := testGrid(t, 16, 1)
	d := newDriver(t, b, g, 3)
	closed := true
	if _, err := b.ChangeLane(t.Context(), testShard, dispatch.LaneRequested{Lane: g.Lanes[0].ID, Closed: &closed}); err != nil {
		t.Fatal(err)
	}
	if err := b.ChangeOverlays(t.Context(), testShard, []fleet.Vertex{0, 1}); err != nil {
		t.Fatal(err)
	}
	b.quiesce(t)
	bx := b.shards[testShard].floor.Load().zones[g.ZoneOf[0]]
	var told []zone.Msg
	b.makers[kindZone] = func(bx *box) actor.Actor {
		z := newZoneShell(bx)
		told = bx.sh.told.again(fleet.ZoneID(bx.id))
		return z
	}
	bx.PostSystemMessage(&actor.Restart{})
	b.quiesce(t)
	if len(told) != 2 {
		t.Fatalf("told again: %v", told)
	}
	// Robots go on: they asserted themselves to the new activation.
	for i := range 3 {
		spec := testSpec(i)
		spec.Errands = []fleet.Vertex{fleet.Vertex(120 + i)}
		if _, err := b.CreateTask(t.Context(), spec, testBy, "", nil); err != nil {
			t.Fatal(err)
		}
	}
	for range 60 {
		d.step(t)
	}
	for i := range 3 {
		if v, _ := b.win.task(testSpec(i).ID); v.Status != fleet.TaskSucceeded {
			t.Errorf("task %d: %v %s", i, v.Status, v.Reason)
		}
	}
}

func TestRestartedWarehouseLearnsItsRobotsAgain(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(o *Options) { o.ZoneTick, o.DispatchInterval = time.Second, time.Second })
	d := newDriver(t, b, testGrid(t, 16, 1), 3)
	b.mem.graph = d.graph
	for range 3 {
		d.step(t)
	}
	b.shards[testShard].find(kindWarehouse, "").PostSystemMessage(&actor.Restart{})
	b.quiesce(t)
	spec := testSpec(1)
	spec.Errands = []fleet.Vertex{50}
	if _, err := b.CreateTask(t.Context(), spec, testBy, "", nil); err != nil {
		t.Fatal(err)
	}
	for range 40 {
		d.step(t)
	}
	if v, _ := b.win.task(spec.ID); v.Status != fleet.TaskSucceeded {
		t.Fatalf("task: %v %s", v.Status, v.Reason)
	}
}

func TestRestartedSystemTakesUpWhereItWasKilled(t *testing.T) {
	t.Parallel()
	slow := func(o *Options) { o.ZoneTick, o.DispatchInterval = time.Second, time.Second }
	b := newBed(t, slow)
	d := newDriver(t, b, testGrid(t, 16, 1), 4)
	for i := range 8 {
		spec := testSpec(i)
		spec.Errands = []fleet.Vertex{fleet.Vertex(200 + i), fleet.Vertex(40 + 3*i)}
		if _, err := b.CreateTask(t.Context(), spec, testBy, "", nil); err != nil {
			t.Fatal(err)
		}
	}
	for range 12 {
		d.step(t)
	}
	// The process is killed: another one comes up on the same store; robots reconnect.
	b.mem.graph = d.graph
	next := newBed(t, slow, func(o *Options) {
		o.Journal, o.Store = b.mem, b.mem
		later := b.now().Add(3 * time.Second)
		o.Now = func() time.Time { return later }
	})
	next.mem = b.mem
	open, held := b.mem.unfinished()
	b.mem.mu.Lock()
	b.mem.warehouse.Tasks, b.mem.warehouse.Held = open, held
	b.mem.mu.Unlock()
	e := &driver{bed: next, graph: d.graph, at: d.at, number: d.number, orders: make([]robot.Order, 4)}
	if _, err := next.ActiveGraph(t.Context(), testShard); err != nil {
		t.Fatal(err)
	}
	next.quiesce(t)
	if len(open) == 0 {
		t.Fatal("no task was left that nobody had")
	}
	for i := range open { // tasks that nobody has are seen as well
		if v, ok := next.win.task(open[i].Spec.ID); !ok || v.Version < open[i].Version {
			t.Errorf("task %s of version %d is shown as %d", open[i].Spec.ID, open[i].Version, v.Version)
		}
	}
	for i := range 4 {
		box, err := next.Mailbox(t.Context(), testShard, testRobot(i).ID)
		if err != nil {
			t.Fatal(err)
		}
		e.boxes = append(e.boxes, box)
		m := robot.LinkOpened{Session: 1, BootID: "b", At: d.at[i], ProgressNo: d.number[i]}
		if _, err := next.OpenLink(t.Context(), testShard, testRobot(i).ID, m); err != nil {
			t.Fatal(err)
		}
	}
	for range 300 {
		e.step(t)
	}
	for i := range 8 {
		if v, _ := next.win.task(testSpec(i).ID); v.Status != fleet.TaskSucceeded {
			t.Errorf("task %d: %v %s", i, v.Status, v.Reason)
		}
	}
}

// A robot that was on the floor when the process was killed never comes back, and an operator removes it: its roster rows
// are all that the zones know of it. They call its roll, hear that it is no more, and are free again.
func TestARemovedRobotLeavesZonesThatKnowItFromTheRosterAlone(t *testing.T) {
	t.Parallel()
	slow := func(o *Options) { o.ZoneTick, o.DispatchInterval = time.Second, time.Second }
	b := newBed(t, slow)
	d := newDriver(t, b, testGrid(t, 16, 1), 2)
	for range 5 {
		d.step(t)
	}
	b.mem.graph = d.graph
	next := newBed(t, slow, func(o *Options) {
		o.Journal, o.Store = b.mem, b.mem
		later := b.now().Add(3 * time.Second)
		o.Now = func() time.Time { return later }
	})
	next.mem = b.mem
	if _, err := next.ActiveGraph(t.Context(), testShard); err != nil {
		t.Fatal(err)
	}
	next.quiesce(t)
	if n := b.mem.roster(); n != 2 {
		t.Fatalf("%d roster rows for 2 robots", n)
	}
	if err := next.RemoveRobot(t.Context(), testShard, testRobot(0).ID, -1, testBy, ""); err != nil {
		t.Fatal(err)
	}
	next.pass(t, 20*time.Second)
	if n := b.mem.roster(); n != 1 {
		t.Errorf("%d roster rows for the one robot that is left", n)
	}
}

// A zone is restarted while nobody knows whether a robot's entry has been recorded: it takes up its roster when that is
// known, with the robot on it.
func TestARestartedZoneWaitsForWhatItsLastLifeRecords(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(o *Options) { o.ZoneTick, o.DispatchInterval = time.Second, time.Second })
	b.register(t, 1)
	b.mem.graph = testGrid(t, 8, 1)
	if err := b.ActivateMap(t.Context(), b.mem.graph, testShard, testBy, ""); err != nil {
		t.Fatal(err)
	}
	b.quiesce(t)
	bx := b.shards[testShard].floor.Load().zones[0]
	b.mem.set(always(fact.ErrUnknown, true))
	b.mem.mu.Lock()
	b.mem.silent = errLost
	b.mem.mu.Unlock()
	id := testRobot(0).ID
	bx.post(zone.Asked{Request: fleet.Request{Robot: id, Version: 1, At: 1, Goal: fleet.NoVertex, Window: 1, SpeedMPS: 1}})
	b.quiesce(t)
	var z *zoneShell
	b.makers[kindZone] = func(bx *box) actor.Actor { z = newZoneShell(bx); return z }
	bx.PostSystemMessage(&actor.Restart{})
	b.pass(t, 2*time.Second)
	if z == nil || z.state != nil {
		t.Fatal("the zone works without knowing who is in it")
	}
	b.mem.set(nil)
	b.mem.mu.Lock()
	b.mem.silent = nil
	b.mem.mu.Unlock()
	b.pass(t, 20*time.Second)
	if z.state == nil || z.state.Guests() != 1 {
		t.Fatalf("the zone's life %v", z.state)
	}
}
