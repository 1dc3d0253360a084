package actors

import (
	"strings"
	"testing"
	"time"

	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
)

// porch is a floor of 15 rows of 16 cells; with its porch, one more cell comes before all others: their numbers rise by
// one, their ids stay.
func porch(tb testing.TB, version int, open bool) *roadmap.Graph {
	tb.Helper()
	top := strings.Repeat("@", 16)
	if open {
		top = "." + top[1:]
	}
	d, report := roadmap.Import("movingai", []byte("type octile\nheight 16\nwidth 16\nmap\n"+top+"\n"+strings.Repeat(strings.Repeat(".", 16)+"\n", 15)), 1)
	if d == nil {
		tb.Fatalf("import: %+v", report)
	}
	g, err := roadmap.Build(d, roadmap.BuildOptions{MapID: "m", Version: version, MaxZone: 64})
	if err != nil {
		tb.Fatal(err)
	}
	return g
}

// A map on which every vertex has another number becomes active while robots drive, reports of the former one are still
// under way, and nobody stands: no two robots meet, and the tasks are done.
func TestRobotsDriveOnWhileTheMapIsRenumbered(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(o *Options) { o.ZoneTick, o.DispatchInterval = time.Second, time.Second })
	const robots, tasks = 16, 40
	d := newDriver(t, b, porch(t, 1, false), robots)
	for i := range tasks {
		spec := testSpec(i)
		spec.CreatedAt = d.now()
		spec.Errands = []fleet.Vertex{fleet.Vertex(i * 37 % 240), fleet.Vertex((i*91 + 100) % 240)}
		if _, err := b.CreateTask(t.Context(), spec, testBy, "", nil); err != nil {
			t.Fatal(err)
		}
	}
	for version := 2; version <= 5; version++ {
		for range 12 {
			d.step(t)
		}
		d.renumber(t, porch(t, version, version%2 == 0))
	}
	done := 0
	for step := 0; step < 400 && done < tasks; step++ {
		d.step(t)
		done = 0
		for i := range tasks {
			if v, _ := b.win.task(testSpec(i).ID); v.Status == fleet.TaskSucceeded {
				done++
			}
		}
	}
	if done < tasks {
		t.Fatalf("%d of %d tasks succeeded after %d moves; log: %s", done, tasks, d.moves, b.log.String())
	}
}

// renumber activates g while robots that may have moved one vertex on, and reports it by the numbers of the former map.
func (d *driver) renumber(tb testing.TB, g *roadmap.Graph) {
	tb.Helper()
	d.read(tb)
	late := map[int]robot.Progressed{}
	for i := range d.boxes {
		o := &d.orders[i]
		if o.From != d.at[i] || len(o.Base) == 0 {
			continue
		}
		d.at[i] = o.Base[0]
		d.number[i]++
		late[i] = robot.Progressed{BootID: "b", Number: d.number[i], Vertex: d.at[i], At: d.now(), OrderID: o.ID}
	}
	if len(late) == 0 {
		tb.Fatal("nobody drives")
	}
	if err := d.ActivateMap(tb.Context(), g, testShard, testBy, ""); err != nil {
		tb.Fatal(err)
	}
	d.quiesce(tb)
	for i, m := range late {
		if !d.boxes[i].Tell(m) {
			tb.Fatal("a mailbox is full")
		}
	}
	d.quiesce(tb)
	for i, v := range d.at {
		n, ok := g.Find(d.graph.Vertices[v].ID)
		if !ok {
			tb.Fatalf("vertex %d is gone", v)
		}
		d.at[i] = n
		if got := d.win.places[testRobot(i).ID]; got != n {
			tb.Fatalf("robot %d stands on %d, believed on %d", i, n, got)
		}
	}
	d.graph = g
}
