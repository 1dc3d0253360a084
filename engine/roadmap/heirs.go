package roadmap

import (
	"cmp"
	"slices"

	"starling/engine/fleet"
)

// Heir says that a zone has vertices that another zone had on a former map.
type Heir struct{ Zone, Heir fleet.ZoneID }

// Heirs says which other zones of g have vertices that a zone of old had, and which zones of old are no more; both
// sorted. A nil graph has no zones. O(vertices).
func Heirs(old, g *Graph) (heirs []Heir, ended []fleet.ZoneID) {
	if old == nil || g == nil {
		return nil, nil
	}
	seen := map[Heir]bool{}
	for v := range old.Vertices {
		if n, ok := g.byID[old.Vertices[v].ID]; ok {
			h := Heir{old.Zones[old.ZoneOf[v]].ID, g.Zones[g.ZoneOf[n]].ID}
			if h.Zone != h.Heir && !seen[h] {
				seen[h] = true
				heirs = append(heirs, h)
			}
		}
	}
	slices.SortFunc(heirs, func(a, b Heir) int { return cmp.Or(cmp.Compare(a.Zone, b.Zone), cmp.Compare(a.Heir, b.Heir)) })
	for i := range old.Zones {
		if _, stays := g.ZoneNumber(old.Zones[i].ID); !stays {
			ended = append(ended, old.Zones[i].ID)
		}
	}
	slices.Sort(ended)
	return heirs, ended
}

// Keeps says that g has every lane of old, at the same places: whoever is under way on old stays on lanes of g.
// O(lanes).
func (g *Graph) Keeps(old *Graph) bool {
	at := make([]fleet.Vertex, len(old.Vertices))
	for v := range old.Vertices {
		a := &old.Vertices[v]
		n, ok := g.byID[a.ID]
		if !ok || g.Vertices[n].X != a.X || g.Vertices[n].Y != a.Y {
			return false
		}
		at[v] = n
	}
	return !slices.ContainsFunc(old.Lanes, func(l Lane) bool {
		_, ok := g.Lane(at[l.From], at[l.To])
		return !ok
	})
}
