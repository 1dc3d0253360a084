package dispatch

import (
	"math"
	"slices"

	"starling/engine/roadmap"
)

// sectorVertices is how many vertices a sector has, about.
const sectorVertices = 2500

// sectors divide a floor: each is some adjacent zones.
type sectors struct {
	of       []int32 // by zone
	x, y     []float64
	adjacent [][]int32 // by sector, ascending, itself too
	zoneOf   []int32
	n        int
}

// divide makes sectors: each grows from the first zone that has none, by the zone nearest to it, until it is large enough.
func divide(g *roadmap.Graph) *sectors {
	s := &sectors{of: make([]int32, len(g.Zones)), zoneOf: g.ZoneOf}
	zx, zy := make([]float64, len(g.Zones)), make([]float64, len(g.Zones))
	for z := range g.Zones {
		s.of[z] = -1
		for _, v := range g.Zones[z].Vertices {
			zx[z] += g.Vertices[v].X / float64(len(g.Zones[z].Vertices))
			zy[z] += g.Vertices[v].Y / float64(len(g.Zones[z].Vertices))
		}
	}
	for z := range g.Zones {
		if s.of[z] < 0 {
			s.grow(g, int32(z), zx, zy)
		}
	}
	s.adjacent = make([][]int32, s.n)
	for z := range g.Zones {
		a := s.of[z]
		s.adjacent[a] = append(s.adjacent[a], a)
		for _, o := range g.Zones[z].Neighbours {
			s.adjacent[a] = append(s.adjacent[a], s.of[o])
		}
	}
	for a := range s.adjacent {
		slices.Sort(s.adjacent[a])
		s.adjacent[a] = slices.Compact(s.adjacent[a])
	}
	return s
}

// grow makes the next sector.
func (s *sectors) grow(g *roadmap.Graph, from int32, zx, zy []float64) {
	n, x, y, size := int32(s.n), 0.0, 0.0, 0
	s.n++
	edge := []int32{from}
	for len(edge) > 0 && size < sectorVertices {
		at := 0
		for i, z := range edge {
			if size > 0 && away(x-zx[z], y-zy[z]) < away(x-zx[edge[at]], y-zy[edge[at]]) {
				at = i
			}
		}
		z := edge[at]
		edge = slices.Delete(edge, at, at+1)
		s.of[z] = n
		more := len(g.Zones[z].Vertices)
		share := float64(more) / float64(max(1, size+more))
		x, y, size = x+share*(zx[z]-x), y+share*(zy[z]-y), size+more
		for _, o := range g.Zones[z].Neighbours {
			if s.of[o] < 0 && !slices.Contains(edge, o) {
				edge = append(edge, o)
			}
		}
	}
	s.x, s.y = append(s.x, x), append(s.y, y)
}

func away(x, y float64) float64 { return math.Abs(x) + math.Abs(y) }
