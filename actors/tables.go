package actors

import (
	"container/list"
	"maps"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"starling/engine/fleet"
	"starling/engine/roadmap"
)

// tableCache keeps the tables of travel cost of all warehouses within a bound of bytes. When they pass it, the warehouse
// that has most of them gives up the one it has not used for longest: one that asks for many does not take those of the
// others. Robots under way keep the table that they drive by, whatever the cache has given up.
type tableCache struct {
	mu      sync.Mutex
	bound   int64
	bytes   int64
	metrics *metrics
	houses  map[*graphTables]*house
}

// house has the tables of one warehouse's floor; the cache's mutex guards it.
type house struct {
	bytes  int64
	byGoal map[fleet.Vertex]*list.Element
	recent *list.List // of *tableEntry, newest first
	// driven has what was given up: robots may still drive by it, and who asks for it anew need not search again. Bound:
	// what is alive; it is swept whenever it has doubled.
	driven map[fleet.Vertex]weak.Pointer[tableEntry]
	sweep  int // at so many
}

// tableEntry is the newest table towards a goal. It grows under its own lock; what it has given is immutable.
type tableEntry struct {
	tables *graphTables
	goal   fleet.Vertex
	bytes  int64 // as counted, 0 = given up; the cache's mutex guards it
	size   int64 // as counted last

	mu    sync.Mutex
	table *roadmap.Table
}

func newTableCache(bound int64, m *metrics) *tableCache {
	return &tableCache{bound: bound, metrics: m, houses: map[*graphTables]*house{}}
}

// of gives the tables of one graph.
func (c *tableCache) of(g *roadmap.Graph) *graphTables {
	first := roadmap.NewLayer(g)
	t := &graphTables{cache: c, graph: g, searchers: sync.Pool{New: func() any { return roadmap.NewSearcher(first) }}}
	t.now.Store(first)
	return t
}

type graphTables struct {
	cache     *tableCache
	graph     *roadmap.Graph
	searchers sync.Pool // each is for one goroutine at a time
	now       atomic.Pointer[roadmap.Layer]

	mu      sync.Mutex // of the overlay: the warehouse says it
	overlay roadmap.Overlay

	work    sync.Mutex
	allowed roadmap.Allowance
}

// lane says what holds of a lane now; limited is true where its speed limit is another than before.
func (t *graphTables) lane(lane int32, l roadmap.LaneOverlay) (limited bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.limit(lane)
	if t.overlay.Lane(lane, l) {
		t.lay()
	}
	return t.limit(lane) != before
}

// lay makes what is said the newest layer; mu is held.
func (t *graphTables) lay() { t.now.Store(t.overlay.Lay(t.now.Load())) }

// laid is what differs from the map now.
func (t *graphTables) laid() *roadmap.Changes { return t.now.Load().Changes() }

// limit is the speed limit of a lane now, 0 = none.
func (t *graphTables) limit(lane int32) float64 { return t.laid().Speed(t.graph, lane) }

func (t *graphTables) keepOut(id fleet.ZoneID, vertices []fleet.Vertex) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.overlay.KeepOut(id, vertices) {
		t.lay()
	}
}

// weigh says what lanes cost as robots drive them now; a lane that is not named costs what it does without traffic.
func (t *graphTables) weigh(costs map[int32]uint16) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.overlay.Weigh(costs) {
		t.lay()
	}
}

// Changes implements roadmap.Tables.
func (t *graphTables) Changes() uint64 { return t.now.Load().Number() }

// Refill implements roadmap.Tables.
func (t *graphTables) Refill(now time.Time) {
	t.work.Lock()
	t.allowed.Refill(now)
	t.work.Unlock()
}

func (t *graphTables) mayWork() bool {
	t.work.Lock()
	defer t.work.Unlock()
	return t.allowed.Left()
}

// Get implements roadmap.Tables.
func (t *graphTables) Get(goal fleet.Vertex) *roadmap.Table {
	e := t.cache.entry(t, goal)
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.newest()
}

// Cached says whether there is a table already.
func (t *graphTables) Cached(goal fleet.Vertex) bool {
	t.cache.mu.Lock()
	defer t.cache.mu.Unlock()
	h := t.cache.houses[t]
	return h != nil && h.byGoal[goal] != nil
}

// Reach implements roadmap.Tables. A zone that asks for what another zone is searching for waits for that one search.
func (t *graphTables) Reach(goal, from fleet.Vertex) *roadmap.Table {
	return t.cache.entry(t, goal).reach(from)
}

// Again implements roadmap.Tables.
func (t *graphTables) Again(old *roadmap.Table, from fleet.Vertex) *roadmap.Table {
	e, ok := old.Keeper().(*tableEntry)
	if !ok || e.tables != t {
		return t.Reach(old.Goal, from) // of a floor before this one
	}
	t.cache.keep(e)
	return e.reach(from)
}

// reach gives the newest table, which knows the cost around a vertex or estimates it.
func (e *tableEntry) reach(from fleet.Vertex) *roadmap.Table {
	e.mu.Lock()
	defer e.mu.Unlock()
	now, t := e.newest(), e.tables
	switch {
	case from == fleet.NoVertex || now.Around(from):
		return now
	case !t.mayWork():
		t.cache.metrics.tableGuesses.Inc()
		return now.Guess(from)
	}
	e.search(func(s *roadmap.Searcher) (*roadmap.Table, int) { return s.GrowAround(now, from) })
	return e.table
}

// newest is the table as lanes are now; mu is held.
func (e *tableEntry) newest() *roadmap.Table {
	e.table = e.table.On(e.tables.now.Load())
	return e.table
}

// search lets the table grow; mu is held.
func (e *tableEntry) search(grow func(*roadmap.Searcher) (*roadmap.Table, int)) {
	t := e.tables
	began := time.Now()
	s := t.searchers.Get().(*roadmap.Searcher) //nolint:forcetypeassert // the pool holds nothing else
	var settled int
	e.table, settled = grow(s)
	t.searchers.Put(s)
	t.work.Lock()
	t.allowed.Spend(settled)
	t.work.Unlock()
	m := t.cache.metrics
	m.tables.Inc()
	m.tableVertices.Add(float64(settled))
	m.tableSeconds.Add(time.Since(began).Seconds())
	t.cache.grown(e)
}

// Grow implements roadmap.Grower. Who asks by a table of an earlier layer is answered on that one.
func (e *tableEntry) Grow(old *roadmap.Table, from fleet.Vertex) *roadmap.Table {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !old.Same(e.table) {
		s := e.tables.searchers.Get().(*roadmap.Searcher) //nolint:forcetypeassert // the pool holds nothing else
		defer e.tables.searchers.Put(s)
		grown, _ := s.Grow(old, from)
		return grown
	}
	if _, known := e.table.Known(from); !known {
		e.search(func(s *roadmap.Searcher) (*roadmap.Table, int) { return s.Grow(e.table, from) })
	}
	return e.table
}

// entry is where the table towards a goal is kept.
func (c *tableCache) entry(t *graphTables, goal fleet.Vertex) *tableEntry {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.houses[t]
	if h == nil {
		h = &house{byGoal: map[fleet.Vertex]*list.Element{}, recent: list.New(), driven: map[fleet.Vertex]weak.Pointer[tableEntry]{}, sweep: sweepFrom}
		c.houses[t] = h
	}
	if el := h.byGoal[goal]; el != nil {
		h.recent.MoveToFront(el)
		return el.Value.(*tableEntry) //nolint:forcetypeassert // the list holds nothing else
	}
	if e := h.driven[goal].Value(); e != nil {
		c.takeBack(h, e)
		return e
	}
	e := &tableEntry{tables: t, goal: goal}
	e.table = roadmap.NewTable(t.now.Load(), goal, e)
	h.byGoal[goal] = h.recent.PushFront(e)
	c.count(h, e, e.table.Bytes())
	return e
}

// keep takes a table back that the cache has given up and somebody still drives by, and counts it as used now. Where there
// is a newer one towards that goal, both stay: who drives by the older one keeps it.
func (c *tableCache) keep(e *tableEntry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.houses[e.tables]
	if h == nil {
		return
	}
	switch el := h.byGoal[e.goal]; {
	case el == nil:
		c.takeBack(h, e)
	case el.Value == any(e):
		h.recent.MoveToFront(el)
	}
}

// takeBack keeps a table that was given up; mu is held.
func (c *tableCache) takeBack(h *house, e *tableEntry) {
	delete(h.driven, e.goal)
	h.byGoal[e.goal] = h.recent.PushFront(e)
	c.count(h, e, e.size)
}

// grown counts what a table takes now.
func (c *tableCache) grown(e *tableEntry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.houses[e.tables]
	if h == nil || h.byGoal[e.goal] == nil || h.byGoal[e.goal].Value != any(e) {
		return // given up meanwhile
	}
	c.count(h, e, e.table.Bytes())
}

// count notes how much memory a table takes, and makes room; mu is held.
func (c *tableCache) count(h *house, e *tableEntry, bytes int64) {
	h.bytes += bytes - e.bytes
	c.bytes += bytes - e.bytes
	e.bytes, e.size = bytes, bytes
	for c.bytes > c.bound {
		most := h
		for _, o := range c.houses {
			if o.bytes > most.bytes {
				most = o
			}
		}
		if most.recent.Len() <= 1 {
			break
		}
		c.evict(most, most.recent.Back())
		c.metrics.tableEvictions.Inc()
	}
	c.metrics.tableBytes.Set(float64(c.bytes))
}

func (c *tableCache) evict(h *house, el *list.Element) {
	e := h.recent.Remove(el).(*tableEntry) //nolint:forcetypeassert // the list holds nothing else
	delete(h.byGoal, e.goal)
	h.bytes -= e.bytes
	c.bytes -= e.bytes
	e.bytes = 0
	if len(h.driven) >= h.sweep {
		maps.DeleteFunc(h.driven, func(_ fleet.Vertex, p weak.Pointer[tableEntry]) bool { return p.Value() == nil })
		h.sweep = max(sweepFrom, 2*len(h.driven))
	}
	h.driven[e.goal] = weak.Make(e)
}

// sweepFrom is from how many tables on it is worth to look which of those given up are alive.
const sweepFrom = 1024

// drop forgets the tables of a floor that nobody drives on any more.
func (c *tableCache) drop(t *graphTables) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.houses[t]; h != nil {
		c.bytes -= h.bytes
		delete(c.houses, t)
	}
	c.metrics.tableBytes.Set(float64(c.bytes))
}
