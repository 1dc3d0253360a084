package actors

import (
	"testing"
	"time"

	"starling/engine/dispatch"
	"starling/engine/fleet"
)

// A robot that is on its way when a wall of lanes is closed before it, but for one far gap, drives round by the gap; with
// the gap's far side kept out it waits, and says that there is no way; once one lane is open again it drives.
func TestRobotsDriveAroundWhatIsClosed(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(o *Options) { o.ZoneTick, o.DispatchInterval = time.Second, time.Second })
	g := testGrid(t, 16, 1)
	d := newDriver(t, b, g, 1)
	spec := testSpec(0)
	spec.Errands = []fleet.Vertex{9}
	if _, err := b.CreateTask(t.Context(), spec, testBy, "", nil); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		d.step(t)
	}
	shut := func(row fleet.Vertex, closed bool) {
		l, ok := g.Lane(row*16+7, row*16+8)
		if !ok {
			t.Fatal("no lane")
		}
		if _, err := b.ChangeLane(t.Context(), testShard, dispatch.LaneRequested{Lane: g.Lanes[l].ID, Closed: &closed}); err != nil {
			t.Fatal(err)
		}
	}
	for row := range fleet.Vertex(15) {
		shut(row, true)
	}
	succeeded := func() bool { v, _ := b.win.task(spec.ID); return v.Status == fleet.TaskSucceeded }
	crossed := fleet.NoVertex
	for step := 0; step < 120 && !succeeded(); step++ {
		before := d.at[0]
		d.step(t)
		if before%16 == 7 && d.at[0]%16 == 8 {
			crossed = before / 16
		}
	}
	if !succeeded() || crossed != 15 {
		t.Fatalf("succeeded: %v, crossed in row %d, want 15", succeeded(), crossed)
	}
	if err := b.ChangeOverlays(t.Context(), testShard, []fleet.Vertex{15*16 + 8}); err != nil {
		t.Fatal(err)
	}
	back := testSpec(1)
	back.Errands = []fleet.Vertex{0, 9}
	if _, err := b.CreateTask(t.Context(), back, testBy, "", nil); err != nil {
		t.Fatal(err)
	}
	for range 60 {
		d.step(t)
	}
	if c := b.win.wait(testRobot(0).ID); c != fleet.CauseNoWay {
		t.Fatalf("the robot at %d waits for %s, want no way", d.at[0], c)
	}
	shut(3, false)
	for range 60 {
		d.step(t)
	}
	if v, _ := b.win.task(back.ID); v.Status != fleet.TaskSucceeded {
		t.Fatalf("the robot at %d, task %s after the lane was opened", d.at[0], v.Status)
	}
}

// A lane is slowed while a robot is to drive it: its order is sent again, with the limit, and without it when that ends.
func TestASpeedLimitReachesRobotsUnderWay(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(o *Options) { o.ZoneTick, o.DispatchInterval = time.Second, time.Second })
	g := testGrid(t, 16, 1)
	d := newDriver(t, b, g, 1)
	spec := testSpec(0)
	spec.Errands = []fleet.Vertex{9}
	if _, err := b.CreateTask(t.Context(), spec, testBy, "", nil); err != nil {
		t.Fatal(err)
	}
	for d.read(t); len(d.orders[0].Base) == 0 && d.moves < 9; d.read(t) {
		d.step(t)
	}
	o := d.orders[0]
	if o.Limits != nil {
		t.Fatalf("limits %v before there are any", o.Limits)
	}
	l, _ := g.Lane(o.From, o.Base[0])
	for _, limit := range []float64{0.3, 0} {
		if _, err := b.ChangeLane(t.Context(), testShard, dispatch.LaneRequested{Lane: g.Lanes[l].ID, SpeedMPS: &limit}); err != nil {
			t.Fatal(err)
		}
		b.quiesce(t)
		before := d.orders[0].Update
		d.read(t)
		if o := d.orders[0]; o.Update == before || len(o.Limits) != len(o.Base) || o.Limits[0] != limit {
			t.Fatalf("update %d after %d, limits %v, want %v on the first lane", o.Update, before, o.Limits, limit)
		}
	}
}
