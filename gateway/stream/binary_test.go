package stream_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"sync/atomic"
	"testing"
	"time"

	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
	"starling/gateway/auth"
	"starling/gateway/stream"
)

const floor2 = fleet.WarehouseID("20000000-0000-4000-8000-000000000002")

// put shows a robot of some warehouse somewhere, heard some time ago.
func (g *rig) put(w fleet.WarehouseID, n int, x, y float64, silent time.Duration) {
	g.views.ShowRobot(fleet.Shard{Tenant: tenantA, Warehouse: w}, &robot.View{
		ID: robotID(n), Spec: &robot.Spec{ID: robotID(n), Code: fmt.Sprint("r", n), Warehouse: w, Protocol: "link"}, Located: true,
		Connection: fleet.Online, State: fleet.Idle, Pose: fleet.Pose{X: x, Y: y}, Battery: 0.5, Vertex: fleet.NoVertex, ReceivedAt: time.Now().Add(-silent),
	})
}

func stepOf(m *message) float64 {
	return float64(math.Float32frombits(binary.LittleEndian.Uint32(m.raw[28:])))
}

func counts(m *message) (fresh, full, moved uint32) {
	le := binary.LittleEndian
	return le.Uint32(m.raw[40:]), le.Uint32(m.raw[44:]), le.Uint32(m.raw[48:])
}

// flagsOf are the flags of the robots that a frame tells of in full.
func flagsOf(m *message) []byte {
	le := binary.LittleEndian
	full, gone := int(le.Uint32(m.raw[44:])), int(le.Uint32(m.raw[52:]))
	at := 56 + 4*full + 4*gone + 6*full + 4*full
	return m.raw[at : at+full]
}

func (g *rig) binary(filter string) *client {
	c := g.dial("starling.v1.bin", g.token(tenantA, auth.Viewer, time.Hour))
	c.send(`{"op":"subscribe","id":1,"channel":"robots","filter":%s,"rate_hz":10}`, filter)
	return c
}

// TestOneBadPoseSpoilsNobodysPlace has one robot a thousand kilometres away, known before the others are looked at and
// afterwards, in a warehouse with a map and in one without.
func TestOneBadPoseSpoilsNobodysPlace(t *testing.T) {
	t.Parallel()
	floor := &roadmap.Graph{MapID: "m", Version: 1, Vertices: []roadmap.Vertex{{X: 0, Y: 0}, {X: 200, Y: 100}}}
	for name, graph := range map[string]*roadmap.Graph{"with a map": floor, "without": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newRig(t, func(o *stream.Options) { o.Graph = func(fleet.Shard) *roadmap.Graph { return graph } })
			g.put(floor1, 0, 1e6, 1e6, 0)
			want := map[string]bot{}
			at := func(n int, x float64) {
				g.put(floor1, n, x, 1, 0)
				want[string(robotID(n))] = bot{x, 1, "IDLE", 0.5}
			}
			for n := 1; n < 20; n++ {
				at(n, float64(n)/8)
			}
			g.put(floor2, 20, 3, 3, 0)
			c := g.binary(fmt.Sprintf(`{"warehouse_id":%q}`, floor1))
			all := g.binary("{}")
			f, m := newFloor(), c.want("snapshot", 1)
			f.take(t, m, true)
			for i, flags := range flagsOf(m) {
				if known := flags&1 != 0; known != (i > 0) {
					t.Errorf("robot %d: pose known %v", i, known)
				}
			}
			delete(f.bots, string(robotID(0)))
			if err := f.same(want, stepOf(m)); err != nil || stepOf(m) > 0.0101 {
				t.Errorf("in steps of %v m: %v", stepOf(m), err)
			}
			if s := stepOf(all.want("snapshot", 1)); s > 0.0101 {
				t.Errorf("for all warehouses in steps of %v m", s)
			}
			g.put(floor2, 20, -1e6, 3, 0) // in another warehouse, and then in this one
			at(1, 5)
			g.put(floor1, 2, 1e6, 0, 0)
			delete(want, string(robotID(2)))
			for f.bots[string(robotID(1))].x < 4.9 {
				m = c.want("delta", 1)
				f.take(t, m, false)
			}
			delete(f.bots, string(robotID(0))) // all may have been told anew
			delete(f.bots, string(robotID(2)))
			if err := f.same(want, 0.02); err != nil || stepOf(m) > 0.0101 {
				t.Errorf("then in steps of %v m: %v", stepOf(m), err)
			}
			at(2, 7) // it is itself again
			for f.bots[string(robotID(2))].x < 6.9 || f.bots[string(robotID(2))].x > 7.1 {
				m = c.want("delta", 1)
				f.take(t, m, false)
			}
			if flags := flagsOf(m); len(flags) != 1 || flags[0]&1 == 0 {
				t.Errorf("flags %v", flags)
			}
		})
	}
}

// TestAnotherMapGivesTheRobotsAnotherGrid has a floor a hundred kilometres wide for a while: then places are told to the
// centimetre, and all of them anew.
func TestAnotherMapGivesTheRobotsAnotherGrid(t *testing.T) {
	t.Parallel()
	var graph atomic.Pointer[roadmap.Graph]
	graph.Store(&roadmap.Graph{MapID: "m", Version: 1, Vertices: []roadmap.Vertex{{}, {X: 1e5, Y: 1e5}}})
	g := newRig(t, func(o *stream.Options) { o.Graph = func(fleet.Shard) *roadmap.Graph { return graph.Load() } })
	want := map[string]bot{}
	on := func(n, version int) {
		x := float64(n) + 0.123
		g.views.ShowRobot(shardA(), &robot.View{
			ID: robotID(n), Spec: &robot.Spec{ID: robotID(n), Code: "r", Warehouse: floor1}, Located: true, State: fleet.Idle, Pose: fleet.Pose{X: x, Y: 1},
			Battery: 0.5, Vertex: fleet.NoVertex, MapID: "m", MapVersion: version, ReceivedAt: time.Now(),
		})
		want[string(robotID(n))] = bot{x, 1, "IDLE", 0.5}
	}
	for n := range 10 {
		on(n, 1)
	}
	c := g.binary("{}")
	f, m := newFloor(), c.want("snapshot", 1)
	f.take(t, m, true)
	if s := stepOf(m); s < 1 {
		t.Fatalf("steps of %v m", s)
	}
	graph.Store(&roadmap.Graph{MapID: "m", Version: 2, Vertices: []roadmap.Vertex{{}, {X: 100, Y: 100}}})
	on(3, 2) // the first that is told of it
	m = c.want("delta", 1)
	f.take(t, m, false)
	if err := f.same(want, 0.01); err != nil || stepOf(m) > 0.0101 {
		t.Errorf("in steps of %v m: %v", stepOf(m), err)
	}
}

// TestWhoIsNotHeardGetsOlder shows robots again of which nothing has come: a lease was renewed, a command refused.
func TestWhoIsNotHeardGetsOlder(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil)
	for n, silent := range []time.Duration{time.Hour, 0, 0} {
		g.put(floor1, n, 1, 1, silent)
	}
	c := g.binary("{}")
	c.want("snapshot", 1)
	heard := time.Now().Add(-time.Hour)
	for round := range 5 {
		v := robot.View{
			ID: robotID(0), Spec: &robot.Spec{ID: robotID(0), Code: "r0", Warehouse: floor1, Protocol: "link"}, Located: true, Connection: fleet.Online,
			State: fleet.Idle, Pose: fleet.Pose{X: 1, Y: 1}, Battery: 0.5, Vertex: fleet.NoVertex, ReceivedAt: heard,
		}
		g.views.ShowRobot(shardA(), &v)
		m := c.want("delta", 1)
		if fresh, full, moved := counts(m); fresh != 0 || full != 1 || moved != 0 {
			t.Fatalf("round %d: %d new, %d in full, %d moved", round, fresh, full, moved)
		}
		if age := binary.LittleEndian.Uint16(m.raw[56+4+4:]); age < 36_000 || age > 36_100 {
			t.Errorf("round %d: %d tenths of a second old", round, age)
		}
	}
	g.put(floor1, 1, 1, 1, 0)
	if fresh, full, moved := counts(c.want("delta", 1)); fresh != 0 || full != 0 || moved != 1 {
		t.Errorf("one that was heard: %d new, %d in full, %d moved", fresh, full, moved)
	}
}
