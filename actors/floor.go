package actors

import (
	"sync"
	"time"

	"starling/engine/dispatch"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
	"starling/engine/zone"
)

// floor is the active map with its zones.
type floor struct {
	graph  *roadmap.Graph
	tables *graphTables
	zones  []*box // by zone number
}

// lay makes a graph the floor and starts its zones; mu is held.
func (sh *shard) lay(g *roadmap.Graph) {
	f := &floor{graph: g, zones: make([]*box, len(g.Zones))}
	if now := sh.floor.Load(); now != nil && now.graph == g {
		f.tables = now.tables
	} else {
		f.tables = sh.sys.tables.of(g)
	}
	// The zones find themselves by the floor, and ticks find the zones: it stands complete before any of them starts.
	for i := range g.Zones {
		f.zones[i] = sh.enrol(kindZone, string(g.Zones[i].ID), false)
	}
	sh.floor.Store(f)
	for _, b := range f.zones {
		b.spawn()
	}
}

// graph is the active map, nil = none.
func (sh *shard) graph() *roadmap.Graph {
	if f := sh.floor.Load(); f != nil {
		return f.graph
	}
	return nil
}

// useMap replaces the floor. The zones of the former map end first: what they have granted lies in the robots'
// mailboxes before the new map does, so that no robot reads a vertex number of one map by the other.
// It returns the tables of the new map.
func (sh *shard) useMap(g *roadmap.Graph) roadmap.Tables {
	sh.told.forget()
	sh.mu.Lock()
	old := sh.floor.Load()
	f := &floor{graph: g, tables: sh.sys.tables.of(g)}
	sh.floor.Store(f) // robots that load now know the map; its zones do not exist yet
	if old != nil {
		for _, b := range old.zones {
			if sh.boxes[kindZone][b.id] == b {
				delete(sh.boxes[kindZone], b.id)
			}
			sh.leaving = append(sh.leaving, b)
		}
	}
	leaving := sh.leaving
	sh.mu.Unlock()
	for _, b := range leaving {
		b.seal()
		b.stop()
	}
	sh.sys.pool.async(func() {
		if old != nil && old.graph != nil {
			sh.settle(old.graph, g)
		}
		sh.install(g, leaving)
		if old != nil {
			sh.sys.tables.drop(old.tables)
		}
	})
	return f.tables
}

// settleTime is for how long the zones of a new map grant nothing, so that every robot can say what it holds.
const settleTime = 2 * time.Second

// settle keeps the zones of a new map from granting: until the robots have said what they hold or, where the former map
// led along other ways, until every lease on those has ended.
func (sh *shard) settle(old, g *roadmap.Graph) {
	wait := settleTime
	if !g.Keeps(old) {
		wait += sh.sys.Rules.Lease()
	}
	until := sh.sys.now().Add(wait)
	if p := sh.until.Load(); p == nil || p.Before(until) {
		sh.until.Store(&until)
	}
}

// forgetZones takes the zones that the new map does not have out of what is seen.
func (sh *shard) forgetZones(g *roadmap.Graph, leaving []*box) {
	has := map[fleet.ZoneID]bool{}
	if g != nil {
		for i := range g.Zones {
			has[g.Zones[i].ID] = true
		}
	}
	for _, b := range leaving {
		if id := fleet.ZoneID(b.id); !has[id] {
			sh.sys.Views.ZoneGone(sh.id, id)
		}
	}
}

// install waits for the former zones to end, starts the new ones and tells the robots. It runs off the pool.
func (sh *shard) install(g *roadmap.Graph, leaving []*box) {
	for _, b := range leaving {
		select {
		case <-b.gone:
		case <-sh.sys.ctx.Done():
			return
		}
	}
	sh.mu.Lock()
	f := sh.floor.Load()
	if p := sh.is(); f == nil || f.graph != g || f.zones != nil || p != phaseOpen && p != phaseOpening {
		sh.mu.Unlock() // another map, or the end, has come meanwhile
		return
	}
	sh.leaving = nil
	sh.lay(g)
	sh.mu.Unlock()
	sh.forgetZones(g, leaving)
	for _, b := range sh.members(kindRobot) {
		if !b.post(robot.MapActivated{Graph: g}) && !b.isSealed() {
			b.lost(nil)
		}
	}
}

// zoneOf is the zone's activation if it belongs to graph g: mail that speaks of another map's vertices is not for it.
func (sh *shard) zoneOf(id fleet.ZoneID, g *roadmap.Graph) *box {
	if g == nil || sh.graph() != g {
		return nil
	}
	return sh.find(kindZone, string(id))
}

// ticker calls f every so often, by the wheel.
type ticker struct {
	sys   *System
	every time.Duration
	f     func(now time.Time)

	mu    sync.Mutex
	timer timer
	next  time.Time
	live  bool
}

func (t *ticker) init(s *System, every time.Duration, f func(time.Time)) {
	t.sys, t.every, t.f, t.timer.owner = s, every, f, t
}

func (t *ticker) start(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.live, t.next = true, now.Add(t.every)
	t.sys.wheel.arm(&t.timer, t.next)
}

func (t *ticker) stop() {
	t.mu.Lock()
	t.live = false
	t.mu.Unlock()
	t.sys.wheel.cancel(&t.timer)
}

// expire implements expirer. Ticks that were missed are not made up for.
func (t *ticker) expire(now time.Time) {
	t.mu.Lock()
	live := t.live
	if live {
		if t.next = t.next.Add(t.every); !t.next.After(now) {
			t.next = now.Add(t.every)
		}
		t.sys.wheel.arm(&t.timer, t.next)
	}
	t.mu.Unlock()
	if live {
		t.f(now)
	}
}

// tickZones starts a planning round in every zone, by zone number. A zone that has not handled the last tick gets
// none.
func (sh *shard) tickZones(time.Time) {
	f := sh.floor.Load()
	if f == nil {
		return
	}
	sh.tick++
	lease := sh.leaseUntil()
	for _, b := range f.zones {
		sh.tickBox(b, zone.Ticked{Tick: sh.tick, LeaseUntil: lease})
	}
}

// tickWarehouse starts a dispatch batch.
func (sh *shard) tickWarehouse(time.Time) {
	if b := sh.find(kindWarehouse, ""); b != nil {
		sh.tickBox(b, dispatch.Ticked{})
	}
}

func (sh *shard) tickBox(b *box, m any) {
	if b.ticked.CompareAndSwap(false, true) {
		if b.post(m) {
			return
		}
		b.ticked.Store(false)
	}
	sh.sys.metrics.skippedTicks.Inc()
}

// told remembers what the zones of the present map were told by the warehouse and would forget in a restart.
// Bound: one entry per lane that was changed, one per zone with kept-out vertices.
type told struct {
	mu      sync.Mutex
	lanes   map[fleet.ZoneID][]zone.LaneChanged
	keepOut map[fleet.ZoneID]zone.KeepOutChanged
}

func (t *told) forget() {
	t.mu.Lock()
	t.lanes, t.keepOut = nil, nil
	t.mu.Unlock()
}

func (t *told) lane(id fleet.ZoneID, m zone.LaneChanged) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lanes == nil {
		t.lanes = map[fleet.ZoneID][]zone.LaneChanged{}
	}
	for i := range t.lanes[id] {
		if t.lanes[id][i].Lane == m.Lane {
			t.lanes[id][i] = m
			return
		}
	}
	t.lanes[id] = append(t.lanes[id], m)
}

func (t *told) keep(id fleet.ZoneID, m zone.KeepOutChanged) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.keepOut == nil {
		t.keepOut = map[fleet.ZoneID]zone.KeepOutChanged{}
	}
	t.keepOut[id] = m
}

// again lists what to tell a zone that has been restarted.
func (t *told) again(id fleet.ZoneID) []zone.Msg {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []zone.Msg
	for _, m := range t.lanes[id] {
		out = append(out, m)
	}
	if m, ok := t.keepOut[id]; ok {
		out = append(out, m)
	}
	return out
}
