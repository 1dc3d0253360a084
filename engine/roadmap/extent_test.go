package roadmap_test

import (
	"fmt"
	"strings"
	"testing"

	"starling/engine/fleet"
	"starling/engine/roadmap"
)

func TestMapsTooWideForTravelTablesAreRefused(t *testing.T) {
	t.Parallel()
	road := func(lengthM, speed float64) string { // three lanes, there and back
		var vertices, lanes []string
		for i := range 4 {
			vertices = append(vertices, fmt.Sprintf(`{"id":"%d","x":%g,"y":0}`, i, float64(i)*lengthM/3))
			if i > 0 {
				lanes = append(lanes, fmt.Sprintf(`{"from":"%d","to":"%d","bidirectional":true,"speed_limit_mps":%g}`, i-1, i, speed))
			}
		}
		return graphText(vertices, lanes, nil)
	}
	grid := func(cols int) string { return gridText(strings.Repeat(".", cols)) }
	for name, c := range map[string]struct {
		format, text string
		resM         float64
		refused      bool
	}{
		"a road of 6.5 km":                     {"starling", road(6500, 0), 0, false},
		"a road of 6.6 km":                     {"starling", road(6600, 0), 0, true},
		"a road of 3.2 km at half speed":       {"starling", road(3200, 0.5), 0, false},
		"a road of 3.3 km at half speed":       {"starling", road(3300, 0.5), 0, true},
		"a road of 600 km":                     {"starling", road(600e3, 0), 0, true},
		"1.6 km of cells, 6.4 km against flow": {"movingai", grid(17), 100, false},
		"1.7 km of cells, 6.8 km against flow": {"movingai", grid(18), 100, true},
	} {
		d, r := roadmap.Import(c.format, []byte(c.text), c.resM)
		if refused := codes(r.Errors)[roadmap.CodeTooFar] > 0; refused != c.refused {
			t.Errorf("%s: %+v", name, r.Errors)
		}
		g, err := roadmap.Build(d, roadmap.BuildOptions{MapID: mapID})
		if err != nil {
			t.Fatal(err)
		}
		tables := roadmap.NewTableMap(g, len(g.Vertices))
		for goal := range g.Vertices {
			table := tables.Get(fleet.Vertex(goal))
			for v := range g.Vertices {
				cost := table.To(fleet.Vertex(v))
				switch {
				case cost == roadmap.Unreachable && !c.refused:
					t.Errorf("%s: no way from %d to %d", name, v, goal)
				case cost != roadmap.Unreachable:
					if r := g.Route(table, fleet.Vertex(v), 1000); r[len(r)-1] != fleet.Vertex(goal) {
						t.Errorf("%s: the way from %d to %d, of cost %d, ends before it", name, v, goal, cost)
					}
				}
			}
		}
	}
}
