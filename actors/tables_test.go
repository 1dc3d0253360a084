package actors

import (
	"runtime"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"starling/engine/fleet"
	"starling/engine/roadmap"
)

// What the cache has given up is not searched for again while a robot drives by it, neither for that robot nor for the
// zone that it comes to; what nobody drives by is gone.
func TestTablesThatAreDrivenBySurviveTheCache(t *testing.T) {
	d, _ := roadmap.Import("movingai", []byte("type octile\nheight 40\nwidth 40\nmap\n"+strings.Repeat(strings.Repeat(".", 40)+"\n", 40)), 1)
	g, err := roadmap.Build(d, roadmap.BuildOptions{MapID: "5ca1e000-0000-4000-8000-000000000002", Version: 1})
	if err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewRegistry()
	c := newTableCache(1, newMetrics(reg)) // room for a single table
	tables := c.of(g)
	searches := func() float64 { return sum(t, reg, "tables_built_total") }

	goal, from := fleet.Vertex(0), fleet.Vertex(1599)
	driven := tables.Reach(goal, from)
	other := tables.Reach(7, from)
	if before := searches(); before != 2 {
		t.Fatalf("%v searches for two goals", before)
	}
	if tables.Cached(goal) || !tables.Cached(7) {
		t.Fatal("the older table should have been given up")
	}
	if next := tables.Reach(goal, from); !next.Around(from) || searches() != 2 {
		t.Errorf("the next zone has searched again: %v searches", searches())
	}
	if again := tables.Again(other, from); !again.Around(from) || searches() != 2 {
		t.Errorf("who has a table has searched again: %v searches", searches())
	}
	runtime.KeepAlive(driven)
	runtime.KeepAlive(other)

	tables.Reach(9, from)
	runtime.GC()
	if tables.Reach(goal, from); searches() != 4 {
		t.Errorf("%v searches, wanted 4: nobody drives by the first table any more", searches())
	}
	if c.bytes > 1<<20 || c.houses[tables].recent.Len() != 1 {
		t.Errorf("the cache keeps %d tables, %d bytes", c.houses[tables].recent.Len(), c.bytes)
	}
}

func sum(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	total := 0.0
	for _, f := range families {
		if strings.HasSuffix(f.GetName(), name) {
			for _, m := range f.GetMetric() {
				total += m.GetCounter().GetValue()
			}
		}
	}
	return total
}
