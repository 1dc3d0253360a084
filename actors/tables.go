package actors

import (
	"container/list"
	"sync"
	"sync/atomic"
	"time"

	"starling/engine/fleet"
	"starling/engine/roadmap"
)

// tableCache keeps the tables of travel cost of all shards: least recently used ones go when the bytes pass the
// bound. A table that several zones want at once is computed once.
type tableCache struct {
	mu      sync.Mutex
	bound   int64
	bytes   int64
	metrics *metrics
	byKey   map[tableKey]*list.Element
	recent  *list.List // of *tableEntry, newest first
}

type tableKey struct {
	graph *roadmap.Graph
	goal  fleet.Vertex
	life  uint64 // grows with every change of the overlay: a table of an earlier one is wrong
}

type tableEntry struct {
	key   tableKey
	once  sync.Once
	table *roadmap.Table
}

func newTableCache(bound int64, m *metrics) *tableCache {
	return &tableCache{bound: bound, metrics: m, byKey: map[tableKey]*list.Element{}, recent: list.New()}
}

// of gives the tables of one graph.
func (c *tableCache) of(g *roadmap.Graph) *graphTables {
	t := &graphTables{cache: c, graph: g, builders: sync.Pool{New: func() any { return roadmap.NewTableBuilder(g) }}}
	t.now.Store(&changed{})
	return t
}

type graphTables struct {
	cache    *tableCache
	graph    *roadmap.Graph
	builders sync.Pool // each is for one goroutine at a time
	now      atomic.Pointer[changed]

	mu      sync.Mutex // of the overlay: the warehouse says it
	overlay roadmap.Overlay
}

// changed is the overlay of one life of the tables.
type changed struct {
	life uint64
	laid *roadmap.Changes
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

// lay starts another life; mu is held.
func (t *graphTables) lay() { t.now.Store(&changed{t.now.Load().life + 1, t.overlay.On(t.graph)}) }

// limit is the speed limit of a lane now, 0 = none.
func (t *graphTables) limit(lane int32) float64 { return t.now.Load().laid.Speed(t.graph, lane) }

func (t *graphTables) keepOut(id fleet.ZoneID, vertices []fleet.Vertex) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.overlay.KeepOut(id, vertices) {
		t.lay()
	}
}

// Changes implements roadmap.Tables.
func (t *graphTables) Changes() uint64 { return t.now.Load().life }

// Get implements roadmap.Tables. It may compute: some milliseconds on a large map.
func (t *graphTables) Get(goal fleet.Vertex) *roadmap.Table {
	now := t.now.Load()
	return t.cache.get(tableKey{t.graph, goal, now.life}, now.laid, &t.builders)
}

// Cached says whether Get has the table already, or somebody is computing it.
func (t *graphTables) Cached(goal fleet.Vertex) bool {
	t.cache.mu.Lock()
	defer t.cache.mu.Unlock()
	_, ok := t.cache.byKey[tableKey{t.graph, goal, t.now.Load().life}]
	return ok
}

func (c *tableCache) get(k tableKey, laid *roadmap.Changes, builders *sync.Pool) *roadmap.Table {
	size := int64(2*len(k.graph.Vertices)) + 128
	c.mu.Lock()
	el, ok := c.byKey[k]
	if ok {
		c.recent.MoveToFront(el)
	} else {
		el = c.recent.PushFront(&tableEntry{key: k})
		c.byKey[k] = el
		c.bytes += size
		for c.bytes > c.bound && c.recent.Len() > 1 {
			c.evict(c.recent.Back())
		}
		c.metrics.tableBytes.Set(float64(c.bytes))
	}
	c.mu.Unlock()
	e := el.Value.(*tableEntry) //nolint:forcetypeassert // the list holds nothing else
	e.once.Do(func() {
		began := time.Now()
		b := builders.Get().(*roadmap.TableBuilder) //nolint:forcetypeassert // the pool holds nothing else
		e.table = b.Build(k.goal, laid)
		builders.Put(b)
		c.metrics.tables.Inc()
		c.metrics.tableSeconds.Add(time.Since(began).Seconds())
	})
	return e.table
}

func (c *tableCache) evict(el *list.Element) {
	e := c.recent.Remove(el).(*tableEntry) //nolint:forcetypeassert // the list holds nothing else
	delete(c.byKey, e.key)
	c.bytes -= int64(2*len(e.key.graph.Vertices)) + 128
}

// drop forgets the tables of a graph that no shard drives on any more.
func (c *tableCache) drop(g *roadmap.Graph) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for el := c.recent.Front(); el != nil; {
		next := el.Next()
		if e, ok := el.Value.(*tableEntry); ok && e.key.graph == g {
			c.evict(el)
		}
		el = next
	}
	c.metrics.tableBytes.Set(float64(c.bytes))
}
