package actors

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"starling/engine/dispatch"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/engine/zone"
)

// testGrid is an open floor of n by n cells of 1 m, in zones of at most 64 vertices.
func testGrid(tb testing.TB, n, version int) *roadmap.Graph {
	tb.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "type octile\nheight %d\nwidth %d\nmap\n", n, n)
	for range n {
		b.WriteString(strings.Repeat(".", n) + "\n")
	}
	d, report := roadmap.Import("movingai", []byte(b.String()), 1)
	if d == nil {
		tb.Fatalf("import: %+v", report)
	}
	g, err := roadmap.Build(d, roadmap.BuildOptions{MapID: "m", Version: version, MaxZone: 64})
	if err != nil {
		tb.Fatal(err)
	}
	return g
}

// driver moves robots as their orders say, one vertex a step, and reports over the reliable lane.
type driver struct {
	*bed
	graph  *roadmap.Graph
	boxes  []RobotBox
	at     []fleet.Vertex
	number []uint64
	orders []robot.Order
	moves  int
}

func newDriver(tb testing.TB, b *bed, g *roadmap.Graph, n int) *driver {
	tb.Helper()
	d := &driver{bed: b, graph: g, orders: make([]robot.Order, n), number: make([]uint64, n)}
	if err := b.ActivateMap(tb.Context(), g, testShard, testBy, ""); err != nil {
		tb.Fatal(err)
	}
	b.quiesce(tb)
	b.register(tb, n)
	for i := range n {
		d.at = append(d.at, fleet.Vertex(i*3))
		box, err := b.Mailbox(tb.Context(), testShard, testRobot(i).ID)
		if err != nil {
			tb.Fatal(err)
		}
		d.boxes = append(d.boxes, box)
		v := &g.Vertices[d.at[i]]
		box.Status(&robot.StatusReported{
			BootID: "b", Seq: 1, At: b.now(), ReceivedAt: b.now(), State: fleet.Idle, Battery: 1, Pose: fleet.Pose{X: v.X, Y: v.Y},
		})
		b.quiesce(tb)
		m := robot.LinkOpened{Session: 1, BootID: "b", At: d.at[i]}
		if _, err := b.OpenLink(tb.Context(), testShard, testRobot(i).ID, m); err != nil {
			tb.Fatal(err)
		}
	}
	return d
}

// read takes the newest orders.
func (d *driver) read(tb testing.TB) {
	tb.Helper()
	d.win.mu.Lock()
	defer d.win.mu.Unlock()
	for _, o := range d.win.orders {
		var i int
		if _, err := fmt.Sscanf(string(o.Robot), "robot-%d", &i); err != nil {
			tb.Fatal(err)
		}
		d.orders[i] = o
	}
	d.win.orders = d.win.orders[:0]
}

// step moves every robot that may and lets a second pass.
func (d *driver) step(tb testing.TB) {
	tb.Helper()
	d.read(tb)
	for i := range d.boxes {
		v := &d.graph.Vertices[d.at[i]]
		next := fleet.NoVertex
		if o := &d.orders[i]; o.From == d.at[i] && len(o.Base) > 0 {
			next = o.Base[0]
		} else {
			for k, b := range o.Base {
				if b == d.at[i] && k+1 < len(o.Base) {
					next = o.Base[k+1]
				}
			}
		}
		if next != fleet.NoVertex {
			if _, ok := d.graph.Lane(d.at[i], next); !ok {
				tb.Fatalf("robot %d is sent from %d to %d, where no lane is", i, d.at[i], next)
			}
			w := &d.graph.Vertices[next]
			d.at[i] = next
			d.moves++
			d.number[i]++
			m := robot.Progressed{
				BootID: "b", Number: d.number[i], Vertex: next, Heading: math.Atan2(w.Y-v.Y, w.X-v.X), At: d.now(),
			}
			if !d.boxes[i].Tell(m) {
				tb.Fatal("a mailbox is full")
			}
		}
	}
	seen := map[fleet.Vertex]int{}
	for i, v := range d.at {
		if j, twice := seen[v]; twice {
			tb.Fatalf("robots %d and %d both stand on %d", i, j, v)
		}
		seen[v] = i
	}
	d.quiesce(tb)
	if d.Manual {
		d.Advance(d.now().Add(time.Second))
	} else {
		time.Sleep(time.Second)
	}
	d.quiesce(tb)
	for i, box := range d.boxes {
		box.Status(&robot.StatusReported{
			BootID: "b", Seq: uint64(d.now().Unix()), At: d.now(), ReceivedAt: d.now(), State: fleet.Moving, Battery: 1,
			Pose: fleet.Pose{X: d.graph.Vertices[d.at[i]].X, Y: d.graph.Vertices[d.at[i]].Y},
		})
	}
	d.quiesce(tb)
}

func TestTasksAreDrivenFromCreationToSuccess(t *testing.T) {
	t.Parallel()
	t.Run("in lock-step", func(t *testing.T) {
		t.Parallel()
		driveTasks(t, newBed(t, func(o *Options) { o.ZoneTick, o.DispatchInterval = time.Second, time.Second }))
	})
	t.Run("by many workers and the clock", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			driveTasks(t, newBed(t, live, func(o *Options) { o.Workers, o.Ownership = 4, &registry{} }))
		})
	})
}

func driveTasks(t *testing.T, b *bed) {
	t.Helper()
	g := testGrid(t, 20, 1)
	d := newDriver(t, b, g, 12)
	const tasks = 30
	for i := range tasks {
		spec := testSpec(i)
		spec.CreatedAt = d.now()
		spec.Errands = []fleet.Vertex{fleet.Vertex(i * 37 % 400), fleet.Vertex((i*91 + 200) % 400)}
		if _, err := b.CreateTask(t.Context(), spec, testBy, "", nil); err != nil {
			t.Fatal(err)
		}
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
	for i := range d.boxes {
		if got := b.win.progress[testRobot(i).ID]; got != d.number[i] {
			t.Errorf("robot %d: progress %d acknowledged of %d", i, got, d.number[i])
		}
	}
}

func TestOneSeedGivesOneRun(t *testing.T) {
	t.Parallel()
	run := func() string {
		b := newBed(t, func(o *Options) { o.ZoneTick, o.DispatchInterval = time.Second, time.Second })
		d := newDriver(t, b, testGrid(t, 16, 1), 10)
		var specs []task.Spec
		for i := range 20 {
			spec := testSpec(i)
			spec.Errands = []fleet.Vertex{fleet.Vertex(i * 31 % 256), fleet.Vertex((i*77 + 100) % 256)}
			specs = append(specs, spec)
		}
		if err := b.CreateTasks(t.Context(), testShard, specs, testBy, "", nil); err != nil {
			t.Fatal(err)
		}
		for range 60 {
			d.step(t)
		}
		var out strings.Builder
		for _, f := range b.mem.facts {
			fmt.Fprintf(&out, "%s %v %s %d %+v\n", f.ID, f.At, f.Subject, f.Version, f.Event)
		}
		return fmt.Sprint(d.at, d.moves) + out.String()
	}
	if a, b := run(), run(); a != b {
		t.Fatal("two runs differ")
	} else if len(a) < 5000 {
		t.Fatalf("too little happened: %s", a)
	}
}

func TestNewMapReplacesTheZonesAndTheRobotsDriveOn(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(o *Options) { o.ZoneTick, o.DispatchInterval = time.Second, time.Second })
	d := newDriver(t, b, testGrid(t, 16, 1), 6)
	first := b.shards[testShard].floor.Load().zones
	spec := func(i int) task.Spec {
		s := testSpec(i)
		s.Errands = []fleet.Vertex{fleet.Vertex(200 + i), fleet.Vertex(30 + i)}
		return s
	}
	for i := range 6 {
		if _, err := b.CreateTask(t.Context(), spec(i), testBy, "", nil); err != nil {
			t.Fatal(err)
		}
	}
	for range 5 {
		d.step(t)
	}
	shut := d.graph.Lanes[5].ID
	closed := true
	if _, err := b.ChangeLane(t.Context(), testShard, dispatch.LaneRequested{Lane: shut, Closed: &closed}); err != nil {
		t.Fatal(err)
	}
	if err := b.ChangeOverlays(t.Context(), testShard, []fleet.Vertex{255}); err != nil {
		t.Fatal(err)
	}
	next := testGrid(t, 16, 2)
	if err := b.ActivateMap(t.Context(), next, testShard, testBy, ""); err != nil {
		t.Fatal(err)
	}
	b.quiesce(t)
	n, _ := next.LaneNumber(shut)
	told := b.shards[testShard].told.again(next.Zones[next.ZoneOf[next.Lanes[n].From]].ID)
	if !slices.ContainsFunc(told, func(m zone.Msg) bool { l, ok := m.(zone.LaneChanged); return ok && l.Lane == n && l.Closed }) {
		t.Fatalf("the new zone was not told of the closed lane: %v", told)
	}
	told = b.shards[testShard].told.again(next.Zones[next.ZoneOf[255]].ID)
	if !slices.ContainsFunc(told, func(m zone.Msg) bool {
		k, ok := m.(zone.KeepOutChanged)
		return ok && slices.Equal(k.Vertices, []fleet.Vertex{255})
	}) {
		t.Fatalf("the new zone was not told of its kept-out vertex: %v", told)
	}
	g, err := b.ActiveGraph(t.Context(), testShard)
	if err != nil || g != next {
		t.Fatalf("active graph %v, %v", g, err)
	}
	for _, z := range first {
		select {
		case <-z.gone:
		default:
			t.Fatal("a zone of the former map lives")
		}
	}
	b.win.mu.Lock()
	gone := slices.Clone(b.win.zonesGone)
	b.win.mu.Unlock()
	for i := range d.graph.Zones {
		id := d.graph.Zones[i].ID
		kept := slices.ContainsFunc(next.Zones, func(z roadmap.Zone) bool { return z.ID == id })
		if kept == slices.Contains(gone, id) {
			t.Errorf("zone %s is on the new map: %v; taken out of what is seen: %v", id, kept, !kept)
		}
	}
	d.graph = next
	for step := 0; step < 300; step++ {
		d.step(t)
	}
	for i := range 6 {
		if v, _ := b.win.task(testSpec(i).ID); v.Status != fleet.TaskSucceeded {
			t.Errorf("task %d: %v %s", i, v.Status, v.Reason)
		}
	}
	lane := next.Lanes[0].ID
	l, err := b.ChangeLane(t.Context(), testShard, dispatch.LaneRequested{Lane: lane, Closed: &closed})
	if err != nil || !l.Closed || l.Lane != lane {
		t.Fatalf("lane %+v, %v", l, err)
	}
}

// An entry of the reliable lane counts as done only when the robot's core has taken it.
func TestProgressIsAcknowledgedAsFarAsItWasTaken(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(o *Options) { o.ZoneTick, o.DispatchInterval = time.Second, time.Second })
	d := newDriver(t, b, testGrid(t, 16, 1), 1)
	for _, c := range []struct {
		number uint64
		vertex fleet.Vertex
		want   uint64
	}{{1, 9999, 0}, {2, 0, 2}, {3, fleet.NoVertex, 3}, {4, 1, 4}, {3, 0, 4}} {
		d.boxes[0].Tell(robot.Progressed{BootID: "b", Number: c.number, Vertex: c.vertex, At: b.now()})
		b.quiesce(t)
		if got := b.win.progress[testRobot(0).ID]; got != c.want {
			t.Errorf("entry %d at %d: %d acknowledged, want %d", c.number, c.vertex, got, c.want)
		}
	}
}

// BenchmarkStatus is the hot path from the gateway's handle to the views, with the real core.
func BenchmarkStatus(b *testing.B) {
	bd := newBed(b, live, func(o *Options) { o.Views = nullViews{newWindow()} })
	g := testGrid(b, 100, 1)
	if err := bd.ActivateMap(b.Context(), g, testShard, testBy, ""); err != nil {
		b.Fatal(err)
	}
	const robots = 2000
	bd.register(b, robots)
	boxes := make([]RobotBox, robots)
	for i := range boxes {
		var err error
		if boxes[i], err = bd.Mailbox(b.Context(), testShard, testRobot(i).ID); err != nil {
			b.Fatal(err)
		}
	}
	s := &robot.StatusReported{BootID: "b", State: fleet.Idle, Pose: fleet.Pose{X: 5, Y: 5}, Battery: 0.9}
	seq := uint64(0)
	round := func() {
		seq++
		s.Seq, s.At = seq, time.Now()
		s.ReceivedAt = s.At
		for i := range boxes {
			boxes[i].Status(s)
		}
		if err := bd.Quiesce(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	round() // ONLINE is recorded
	b.ReportAllocs()
	b.ResetTimer()
	n := 0
	for b.Loop() {
		if n%robots == 0 {
			round()
		}
		n++
	}
}

type nullViews struct{ *window }

func (nullViews) ShowRobot(fleet.Shard, *robot.View) {}

// BenchmarkLockstep is one step of 1 s of 500 robots, all with tasks, on an open floor: reports, zones, dispatch, orders.
func BenchmarkLockstep(b *testing.B) {
	bd := newBed(b, func(o *Options) { o.ZoneTick, o.DispatchInterval = time.Second, time.Second })
	const robots = 500
	d := newDriver(b, bd, testGrid(b, 80, 1), robots)
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		for ; n < d.moves/50+robots; n++ { // as many tasks as are done, about
			spec := testSpec(n)
			spec.Errands = []fleet.Vertex{fleet.Vertex(n * 37 % 6400), fleet.Vertex((n*911 + 200) % 6400)}
			if _, err := bd.CreateTask(b.Context(), spec, testBy, "", nil); err != nil {
				b.Fatal(err)
			}
		}
		d.step(b)
	}
	b.ReportMetric(float64(d.moves)/float64(b.N), "moves/op")
}

// TestMemoryOfAnIdleRobot measures what a robot costs with its mailbox, its actor, its shell and its core.
func TestMemoryOfAnIdleRobot(t *testing.T) {
	b := newBed(t)
	b.register(t, 1)
	const robots = 5000
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for i := range robots {
		if _, err := b.RegisterRobot(t.Context(), testRobot(i+1), 0, testBy, "", nil); err != nil {
			t.Fatal(err)
		}
	}
	b.pass(t, 8*time.Second) // last words are saved
	t.Logf("%d active", b.active(kindRobot))
	with := heap()
	sh := b.shards[testShard]
	for _, bx := range sh.members(kindRobot) {
		bx.postFront(passing{})
	}
	b.quiesce(t)
	if n := b.active(kindRobot); n != 0 {
		t.Fatalf("%d robots stay", n)
	}
	each := (with - heap()) / robots
	t.Logf("%d bytes a robot", each)
	if each > 3500 {
		t.Fatalf("%d bytes a robot", each)
	}
}
