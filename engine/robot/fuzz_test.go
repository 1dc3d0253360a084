package robot_test

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
)

// FuzzDecide tells a robot whatever can be told, in any order, on maps that change; what it records is confirmed at once,
// later, or never. It does not panic, Decide changes nothing durable, nothing of it grows without bound, what it sends is
// what it may send, and the events that were recorded make the same robot again.
func FuzzDecide(f *testing.F) {
	f.Add([]byte{1, 20, 4, 0, 2, 0, 16, 1, 4, 1, 0, 3, 4, 6, 5, 3, 7, 0, 8, 1, 9, 1, 10, 2, 11, 2, 12, 3, 13, 4, 14, 15, 17, 18, 19})
	f.Add([]byte{0, 16, 0, 0, 1, 0, 1, 0, 4, 1, 1, 1, 1, 0, 11, 0, 0, 1, 0, 9, 2, 3, 1, 5, 0, 5, 2, 1, 0, 3, 1, 6, 3, 3, 4, 1, 1, 9, 250, 15, 250, 15, 250, 15})
	start := []byte{0, 16, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 11, 1, 1, 1, 0, 0, 0, 0, 1} // on the map, registered, with a link, on vertex 0
	command := []byte{0, 13, 0, 0, 200, 1, 0, 14, 1, 3, 1}                           // a pause, done
	tasks, steps, zones := slices.Clone(start), slices.Clone(start), slices.Clone(start)
	for i := range byte(60) {
		tasks = append(tasks, 0, 9, i, 0, 1, 1, 0, 1)            // where it stands
		steps = append(steps, 0, 3, 1, i+1, 1+i%2, 128, 0, 0, 1) // to and fro
		zones = append(zones, 0, 8, 4*i, 1, 1)                   // each has been restarted
	}
	f.Add(append(slices.Clone(start), bytes.Repeat(command, 60)...))
	f.Add(tasks)
	f.Add(steps)
	f.Add(zones)
	wide, thin := graph(f), narrow(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		z := &fuzzed{t: t, data: data, maps: []*roadmap.Graph{wide, thin, nil}, seen: map[fleet.CommandID]bool{}}
		z.live = &live{State: robot.New(t0, robot.Rules{}), now: t0}
		for len(z.data) > 0 && z.told < 400 {
			z.live.now = z.live.now.Add(time.Duration(z.next()) * 100 * time.Millisecond)
			if kind := z.next() % 20; kind < 17 {
				z.decide(z.message(kind))
			} else {
				z.settle(kind)
			}
		}
		z.confirm()
		z.replayed()
	})
}

// fuzzed makes messages of bytes and holds the robot against what must always be so.
type fuzzed struct {
	t       *testing.T
	data    []byte
	live    *live
	maps    []*roadmap.Graph
	graph   *roadmap.Graph
	waiting []robot.Event            // on their way to the store
	seen    map[fleet.CommandID]bool // commands of which a record was asked for
	told    int
}

func (z *fuzzed) next() int {
	if len(z.data) == 0 {
		return 0
	}
	b := z.data[0]
	z.data = z.data[1:]
	return int(b)
}

func (z *fuzzed) vertex() fleet.Vertex {
	return []fleet.Vertex{-1, 0, 1, 2, 3, 8, 9, 10, 31, 4711}[z.next()%10]
}
func (z *fuzzed) id(kind string) string { return fmt.Sprint(kind, z.next()%16) }
func (z *fuzzed) number() uint64        { return uint64(z.next()) }
func (z *fuzzed) zone() fleet.ZoneID {
	if n := z.next(); n%4 == 0 {
		return fleet.ZoneID(fmt.Sprint("zone-", n))
	}
	return z.maps[z.next()%2].Zones[0].ID
}
func (z *fuzzed) boot() string { return []string{"", "b1", "b2"}[z.next()%3] }
func (z *fuzzed) metres() float64 {
	return []float64{.5, 1.5, 3.5, -99, 1e300, math.NaN(), math.Inf(1)}[z.next()%7]
}

func (z *fuzzed) instant() time.Time {
	return z.live.now.Add(time.Duration(z.next()-128) * 10 * time.Second)
}

func (z *fuzzed) vertices() (vs []fleet.Vertex) {
	for range z.next() % 5 {
		vs = append(vs, z.vertex())
	}
	return vs
}

// version is one that the robot has used, about, or none.
func (z *fuzzed) version() uint64 {
	return []uint64{0, 1 << 62, uint64(t0.UnixMilli())<<20 + z.number(), uint64(z.live.now.UnixMilli()) << 20}[z.next()%4]
}

// order is the number of one that the robot has been sent, about, or none.
func (z *fuzzed) order() uint64 {
	return []uint64{0, uint64(t0.UnixMilli())<<10 + uint64(z.next()%16)}[z.next()%2]
}

func (z *fuzzed) message(kind int) robot.Msg {
	switch kind {
	case 0:
		return robot.RegisterRequested{IfVersion: int64(z.next()%4) - 1, Spec: robot.Spec{
			ID: "r1", Protocol: "link", MaxSpeedMPS: float64(z.next() % 3), Control: fleet.Control(z.next() % 4),
		}}
	case 1:
		return robot.RemoveRequested{IfVersion: int64(z.next()%4) - 1}
	case 2:
		m := &robot.StatusReported{
			BootID: z.boot(), Seq: z.number(), At: z.live.now, ReceivedAt: z.live.now, Pose: fleet.Pose{X: z.metres(), Y: z.metres()},
			State: fleet.RobotState(z.next() % 8),
		}
		if z.next()%4 == 0 {
			m.At = z.instant()
		}
		for range z.next() % 3 {
			m.Errors = append(m.Errors, fleet.RobotError{Level: fleet.ErrorLevel(z.next() % 3)})
		}
		return m
	case 3, 4:
		return robot.Progressed{BootID: z.boot(), Number: z.number(), Vertex: z.vertex(), At: z.instant(), OrderID: z.order()}
	case 5, 6:
		return robot.Granted{Grant: z.grant()}
	case 7:
		return robot.Refused{Wait: fleet.Wait{Robot: "r1", Cause: fleet.Cause(z.next() % 14), Vertex: z.vertex()}}
	case 8:
		return robot.ZoneRestarted{Zone: z.zone(), Epoch: uint64(z.next() % 4)}
	case 9:
		return robot.TaskAwarded{Task: fleet.TaskID(z.id("t")), Errands: append(z.vertices(), z.vertex()), First: z.next()%4 - 1, Priority: uint8(z.next() % 10)}
	case 10:
		if n := z.next(); n%2 == 0 {
			return robot.Sent{Move: robot.Move{Kind: robot.MoveKind(n / 2 % 4), To: z.vertex(), Until: float64(z.next()) / 255}}
		}
		return robot.TaskWithdrawn{Task: fleet.TaskID(z.id("t"))}
	}
	return z.rarely(kind)
}

// held is where the robot stands and what it has been granted.
func (z *fuzzed) held() []fleet.Vertex {
	var v robot.View
	z.live.View(&v)
	return append([]fleet.Vertex{v.Vertex}, v.Base...)
}

// grant is what a zone may send, however late: a way over lanes of the map, from where the robot's own ends or from anywhere.
func (z *fuzzed) grant() fleet.Grant {
	g := fleet.Grant{
		Robot: "r1", Zone: z.zone(), After: z.vertex(), Horizon: z.vertices(), NotAfter: z.instant(),
		Incarnation: fleet.Incarnation(z.next() % 2), Epoch: uint64(z.next() % 3), Version: z.version(),
	}
	var v robot.View
	z.live.View(&v)
	if z.next()%2 == 0 {
		if g.After = v.Vertex; len(v.Base) > 0 {
			g.After = v.Base[len(v.Base)-1]
		}
	}
	if v := z.vertex(); z.next()%8 == 0 && v != g.After && !slices.Contains(z.held(), v) {
		g.Vertices = []fleet.Vertex{v} // to which no lane need lead
		return g
	}
	from, held := g.After, append([]fleet.Vertex{v.Vertex, g.After}, v.Base...)
	for range z.next() % 4 {
		if z.graph == nil || from < 0 || int(from) >= len(z.graph.Vertices) {
			break
		}
		out := z.graph.Out[from]
		to := z.graph.Lanes[out[z.next()%len(out)]].To
		if slices.Contains(held, to) || len(v.Base)+len(g.Vertices) >= 8 {
			break
		}
		g.Vertices, held, from = append(g.Vertices, to), append(held, to), to
	}
	return g
}

func (z *fuzzed) rarely(kind int) robot.Msg {
	switch kind {
	case 11:
		return robot.LinkOpened{
			Session: uint64(z.next() % 8), BootID: z.boot(), At: z.vertex(), Base: z.vertices(), ProgressNo: z.number(),
			MapID: []fleet.MapID{"", "00000000-0000-4000-8000-000000000001", "m"}[z.next()%3], MapVersion: z.next() % 3,
		}
	case 12:
		return robot.LinkClosed{Session: uint64(z.next() % 8)}
	case 13:
		return robot.CommandRequested{Command: robot.Command{
			ID: fleet.CommandID(fmt.Sprint("c", z.told)), Kind: fleet.CommandKind(z.next() % 6), Vertex: z.vertex(), At: z.live.now, ExpiresAt: z.instant(),
		}}
	case 14:
		return robot.CommandAcknowledged{ID: fleet.CommandID(fmt.Sprint("c", max(0, z.told-z.next()))), Stage: fleet.Stage(z.next() % 6)}
	case 15:
		return robot.Woke{}
	default:
		if z.next()%8 == 7 {
			return robot.SamplingChanged{Sampling: robot.Sampling{MovingHz: z.metres(), IdleHz: z.metres(), AlarmedHz: z.metres()}}
		}
		if z.next()%2 == 0 {
			return robot.LaneLimited{Lane: int32(z.next()) - 1}
		}
		z.graph = z.maps[z.next()%3]
		return robot.MapActivated{Graph: z.graph}
	}
}

// decide tells the robot m.
func (z *fuzzed) decide(m robot.Msg) {
	z.told++
	before := z.live.Digest()
	out := z.live.Decide(z.live.now, m, nil)
	if z.live.Digest() != before {
		z.t.Fatalf("%T: Decide has changed what only Apply may", m)
	}
	z.bounded(m, out)
	orders := 0
	for _, e := range out {
		switch e := e.(type) {
		case robot.Record:
			z.waiting = append(z.waiting, e.Event)
			if c, ok := e.Event.(robot.CommandAccepted); ok {
				z.seen[c.Command.ID] = true
			}
		case robot.SendCommand:
			if !z.seen[e.Command.ID] {
				z.t.Fatalf("%T: command %s is sent and was not recorded", m, e.Command.ID)
			}
		case robot.SendOrder:
			orders++
			if z.controlled() {
				z.driveable(m, e.Order)
			}
		default:
		}
	}
	if orders > 1 {
		z.t.Fatalf("%T: %d orders at once", m, orders)
	}
	if z.next()%4 != 0 {
		z.confirm()
	}
}

// controlled says that the robot has been the engine's since it was registered: of the others' robots only the place counts.
func (z *fuzzed) controlled() bool {
	return !slices.ContainsFunc(z.live.log, func(e robot.Event) bool {
		r, ok := e.(robot.Registered)
		return ok && r.Spec.Control != fleet.ControlEngine
	})
}

// driveable checks that lanes lead along the order's base, and that it does not come back to itself.
func (z *fuzzed) driveable(m robot.Msg, o robot.Order) {
	from := o.From
	for k, v := range o.Base {
		if z.graph == nil || from < 0 || v < 0 || int(v) >= len(z.graph.Vertices) || slices.Contains(o.Base[:k], v) {
			z.t.Fatalf("%+v: order from %d along %v", m, o.From, o.Base)
		}
		if _, ok := z.graph.Lane(from, v); !ok {
			z.t.Fatalf("%+v: order from %d along %v: no lane from %d to %d", m, o.From, o.Base, from, v)
		}
		from = v
	}
}

// bounded checks that no list of the robot is longer than any that it may keep.
func (z *fuzzed) bounded(m robot.Msg, out []robot.Effect) {
	s := reflect.ValueOf(z.live.State).Elem()
	for i := range s.NumField() {
		name := s.Type().Field(i).Name
		most, known := map[string]int{"commands": 32, "trail": 16, "epochs": 16, "done": 4, "base": 8}[name]
		if !known {
			most = 5 // of what one message brings
		}
		if f := s.Field(i); f.Kind() == reflect.Slice && f.Len() > most {
			z.t.Fatalf("%T: the robot keeps %d of %s", m, f.Len(), name)
		}
	}
	if at := z.held()[0]; at != fleet.NoVertex && (z.graph == nil || at < 0 || int(at) >= len(z.graph.Vertices)) {
		z.t.Fatalf("%+v: the robot stands on %d, which is not on its map", m, at)
	}
	if len(out) > 100 {
		z.t.Fatalf("%T: %d effects", m, len(out))
	}
}

// settle is what happens around the robot: its records are confirmed or refused by the store, or it is restarted.
func (z *fuzzed) settle(kind int) {
	switch kind {
	case 17:
		z.confirm()
	case 18:
		z.waiting = nil
	default:
		z.waiting = nil // what was on its way is not known to be recorded
		last := z.live.LastKnown()
		z.replayed()
		z.decide(robot.MapActivated{Graph: z.graph})
		m := robot.Restored{Last: last}
		if z.next()%2 == 0 {
			m.ActiveTask = &robot.TaskAwarded{Task: fleet.TaskID(z.id("t")), Errands: append(z.vertices(), z.vertex()), First: z.next() % 4}
		}
		z.decide(m)
	}
}

func (z *fuzzed) confirm() {
	for _, e := range z.waiting {
		z.live.Apply(z.live.now, e)
		z.live.log = append(z.live.log, e)
	}
	z.waiting = nil
}

// replayed makes the robot anew from what was recorded.
func (z *fuzzed) replayed() {
	s := robot.New(z.live.now, robot.Rules{})
	for _, e := range z.live.log {
		s.Apply(z.live.now, e)
	}
	if s.Digest() != z.live.Digest() {
		z.t.Fatal("the events that were recorded make another robot")
	}
	z.live.State = s
}
