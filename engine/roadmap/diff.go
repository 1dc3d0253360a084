package roadmap

import (
	"math"

	"starling/engine/fleet"
)

// VersionDiff is what one version of a map has and another has not. Ids are capped at maxFindingIDs; totals are whole.
type VersionDiff struct {
	Vertices, Lanes, Zones Change
}

// Change lists ids by what happened to them.
type Change struct {
	Added, Removed, Changed                []string
	AddedTotal, RemovedTotal, ChangedTotal int
}

func (c *Change) note(list *[]string, total *int, id string) {
	*total++
	if len(*list) < maxFindingIDs {
		*list = append(*list, id)
	}
}

// Diff compares an older version with a newer one.
func Diff(older, newer *Graph) VersionDiff {
	var d VersionDiff
	vertices := func(g *Graph) ([]string, map[string]Vertex) {
		ids, m := make([]string, 0, len(g.Vertices)), make(map[string]Vertex, len(g.Vertices))
		for _, v := range g.Vertices {
			ids, m[v.ID] = append(ids, v.ID), v
		}
		return ids, m
	}
	type lane struct {
		length, speed float64
		closed        bool
	}
	lanes := func(g *Graph) ([]string, map[string]lane) {
		ids, m := make([]string, 0, len(g.Lanes)), make(map[string]lane, len(g.Lanes))
		for i := range g.Lanes {
			l := &g.Lanes[i]
			ids, m[string(l.ID)] = append(ids, string(l.ID)), lane{l.LengthM, l.SpeedMPS, l.Closed}
		}
		return ids, m
	}
	zones := func(g *Graph) ([]string, map[string]int) {
		ids, m := make([]string, 0, len(g.Zones)), make(map[string]int, len(g.Zones))
		for i := range g.Zones {
			ids, m[string(g.Zones[i].ID)] = append(ids, string(g.Zones[i].ID)), g.Zones[i].Capacity
		}
		return ids, m
	}
	compare(&d.Vertices, vertices, older, newer)
	compare(&d.Lanes, lanes, older, newer)
	compare(&d.Zones, zones, older, newer)
	return d
}

func compare[T comparable](c *Change, of func(*Graph) ([]string, map[string]T), older, newer *Graph) {
	was, old := of(older)
	is, now := of(newer)
	for _, id := range is {
		before, ok := old[id]
		switch {
		case !ok:
			c.note(&c.Added, &c.AddedTotal, id)
		case before != now[id]:
			c.note(&c.Changed, &c.ChangedTotal, id)
		}
	}
	for _, id := range was {
		if _, ok := now[id]; !ok {
			c.note(&c.Removed, &c.RemovedTotal, id)
		}
	}
}

// ZoneNumber finds a zone by id.
func (g *Graph) ZoneNumber(id fleet.ZoneID) (int, bool) {
	for i := range g.Zones {
		if g.Zones[i].ID == id {
			return i, true
		}
	}
	return -1, false
}

// LaneNumber finds a lane by id; O(lanes).
func (g *Graph) LaneNumber(id fleet.LaneID) (int32, bool) {
	for i := range g.Lanes {
		if g.Lanes[i].ID == id {
			return int32(i), true
		}
	}
	return -1, false
}

// Extent is the rectangle around all vertices, in metres.
func (g *Graph) Extent() (x0, y0, x1, y1 float64) {
	if e := g.around; e != nil {
		return e[0], e[1], e[2], e[3]
	}
	x0, y0, x1, y1 = math.Inf(1), math.Inf(1), math.Inf(-1), math.Inf(-1)
	for i := range g.Vertices {
		v := &g.Vertices[i]
		x0, y0, x1, y1 = min(x0, v.X), min(y0, v.Y), max(x1, v.X), max(y1, v.Y)
	}
	return x0, y0, x1, y1
}
