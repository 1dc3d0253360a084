package actors

import (
	"testing"
	"time"

	"starling/engine/dispatch"
	"starling/engine/fleet"
	"starling/engine/roadmap"
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

// Lanes are closed, slowed and vertices kept out before a robot that is under way and does not come on: within a second its
// order leads another way. What it is granted already it drives to its end (docs/adr/0004).
func TestRobotsUnderWayHearOfClosuresWithinASecond(t *testing.T) {
	t.Parallel()
	slow, shut := 0.05, true
	for name, change := range map[string]func(t *testing.T, b *bed, g *roadmap.Graph, from, to fleet.Vertex){
		"closed": func(t *testing.T, b *bed, g *roadmap.Graph, from, to fleet.Vertex) {
			t.Helper()
			changeLane(t, b, g, from, to, dispatch.LaneRequested{Closed: &shut})
		},
		"slowed": func(t *testing.T, b *bed, g *roadmap.Graph, from, to fleet.Vertex) {
			t.Helper()
			changeLane(t, b, g, from, to, dispatch.LaneRequested{SpeedMPS: &slow})
		},
		"kept out": func(t *testing.T, b *bed, _ *roadmap.Graph, _, to fleet.Vertex) {
			t.Helper()
			if err := b.ChangeOverlays(t.Context(), testShard, []fleet.Vertex{to}); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t) // zones and dispatcher at their usual pace
			g := testGrid(t, 16, 1)
			d := newDriver(t, b, g, 1)
			spec := testSpec(0)
			spec.Errands = []fleet.Vertex{7}
			if _, err := b.CreateTask(t.Context(), spec, testBy, "", nil); err != nil {
				t.Fatal(err)
			}
			for i := 0; i < 100 && len(d.orders[0].Base) == 0; i++ {
				d.Advance(d.now().Add(50 * time.Millisecond))
				d.quiesce(t)
				d.read(t)
			}
			before := d.orders[0]
			if len(before.Base) == 0 || len(before.Horizon) < 2 {
				v, _ := b.win.task(spec.ID)
				t.Fatalf("order %+v; wait %v task %+v log %s", before, b.win.wait(testRobot(0).ID), v, b.log.String())
			}
			held := before.Base[len(before.Base)-1]
			from, to := before.Horizon[0], before.Horizon[1]
			if len(before.Base) > 1 { // what is granted stays granted
				changeLane(t, b, g, before.Base[0], before.Base[1], dispatch.LaneRequested{Closed: &shut})
			}
			change(t, b, g, from, to)
			asked := d.now()
			avoids := func() bool {
				d.quiesce(t)
				d.read(t)
				o := d.orders[0]
				way := append(append([]fleet.Vertex{o.From}, o.Base...), o.Horizon...)
				for i := 1; i < len(way); i++ {
					if way[i-1] == from && way[i] == to {
						return false
					}
				}
				return o.Update > before.Update && len(o.Horizon) > 0
			}
			for !avoids() {
				if d.now().Sub(asked) >= time.Second {
					t.Fatalf("after %s the order is %+v, it was %+v", d.now().Sub(asked), d.orders[0], before)
				}
				d.Advance(d.now().Add(50 * time.Millisecond))
			}
			o := d.orders[0]
			if k := len(before.Base); len(o.Base) < k || o.Base[k-1] != held {
				t.Fatalf("granted were %v, now %v", before.Base, o.Base)
			}
			for step := 0; step < 60; step++ {
				at := d.at[0]
				d.step(t)
				if at == from && d.at[0] == to {
					t.Fatal("it has driven the lane")
				}
			}
			if v, _ := b.win.task(spec.ID); v.Status != fleet.TaskSucceeded {
				t.Fatalf("the task is %s, the robot at %d", v.Status, d.at[0])
			}
		})
	}
}

func changeLane(t *testing.T, b *bed, g *roadmap.Graph, from, to fleet.Vertex, m dispatch.LaneRequested) {
	t.Helper()
	l, ok := g.Lane(from, to)
	if !ok {
		t.Fatalf("no lane from %d to %d", from, to)
	}
	m.Lane = g.Lanes[l].ID
	if _, err := b.ChangeLane(t.Context(), testShard, m); err != nil {
		t.Fatal(err)
	}
}
