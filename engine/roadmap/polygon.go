package roadmap

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"starling/engine/fleet"
)

// Polygon is a closed ring without holes, in map metres; the last point repeats the first.
type Polygon [][2]float64

const (
	maxRing    = 1000    // points of a polygon
	maxRawRing = 1 << 18 // bytes of its source
)

// ParsePolygon reads a GeoJSON Polygon of one closed ring, whose points have two numbers each. Whether the ring crosses
// itself is Check's to say: what was stored once can be read for ever. The error says what is wrong, without repeating it.
func ParsePolygon(raw []byte) (Polygon, error) {
	if len(raw) > maxRawRing {
		return nil, fmt.Errorf("more than %d bytes", maxRawRing)
	}
	var g struct {
		Type        string         `json:"type"`
		Coordinates [][][]*float64 `json:"coordinates"`
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&g); err != nil || g.Type != "Polygon" {
		return nil, errors.New("want a GeoJSON Polygon: type and coordinates")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one JSON value")
	}
	if len(g.Coordinates) != 1 {
		return nil, fmt.Errorf("want one ring without holes, not %d", len(g.Coordinates))
	}
	p := make(Polygon, 0, len(g.Coordinates[0]))
	for i, c := range g.Coordinates[0] {
		if len(c) != 2 || c[0] == nil || c[1] == nil {
			return nil, fmt.Errorf("point %d: want two numbers, x and y", i)
		}
		p = append(p, [2]float64{*c[0], *c[1]})
	}
	return p, p.form()
}

// Check says what is wrong with the ring, nil where nothing is: it must have 4..1000 points within ±1e6, be closed, have
// an area, and neither touch nor cross itself. O(points²).
func (p Polygon) Check() error {
	if err := p.form(); err != nil {
		return err
	}
	// Points that follow each other at one place make no edge.
	type edge struct {
		at   int
		a, b [2]float64
	}
	var edges []edge
	for i := 1; i < len(p); i++ {
		if p[i-1] != p[i] {
			edges = append(edges, edge{i - 1, p[i-1], p[i]})
		}
	}
	for i := range edges {
		e := &edges[i]
		for j := i + 1; j < len(edges); j++ {
			f := &edges[j]
			touch := false
			switch { // neighbours share a point, and may not lead back over each other
			case j == i+1:
				touch = onSegment(e.a, e.b, f.b) || onSegment(f.a, f.b, e.a)
			case i == 0 && j == len(edges)-1:
				touch = onSegment(e.a, e.b, f.a) || onSegment(f.a, f.b, e.b)
			default:
				touch = touches(e.a, e.b, f.a, f.b)
			}
			if touch {
				return fmt.Errorf("the ring touches or crosses itself: the edges from points %d and %d", e.at, f.at)
			}
		}
	}
	return nil
}

// form is what a ring must have to be read at all.
func (p Polygon) form() error {
	if len(p) < 4 || len(p) > maxRing {
		return fmt.Errorf("want a ring of 4..%d points, not %d", maxRing, len(p))
	}
	for i, c := range p {
		if !finite(c[0]) || !finite(c[1]) {
			return fmt.Errorf("point %d: want numbers within ±1e6", i)
		}
	}
	if p[0] != p[len(p)-1] {
		return errors.New("the ring is not closed: its last point must be its first")
	}
	if p.area() == 0 {
		return errors.New("the ring has no area")
	}
	return nil
}

// touches says whether the segments a-b and c-d have a point in common.
func touches(a, b, c, d [2]float64) bool {
	return crosses(a, b, c, d) || onSegment(a, b, c) || onSegment(a, b, d) || onSegment(c, d, a) || onSegment(c, d, b)
}

// crosses says whether the segments a-b and c-d have a point in common that is an end of neither.
func crosses(a, b, c, d [2]float64) bool {
	return sign(cross(a, b, c))*sign(cross(a, b, d)) < 0 && sign(cross(c, d, a))*sign(cross(c, d, b)) < 0
}

// onSegment says whether p lies on the segment a-b, its ends included.
func onSegment(a, b, p [2]float64) bool {
	return cross(a, b, p) == 0 && min(a[0], b[0]) <= p[0] && p[0] <= max(a[0], b[0]) && min(a[1], b[1]) <= p[1] && p[1] <= max(a[1], b[1])
}

func (p Polygon) area() float64 {
	a := 0.0
	for i := 1; i < len(p); i++ {
		a += p[i-1][0]*p[i][1] - p[i][0]*p[i-1][1]
	}
	return a / 2
}

// Contains says whether the point lies inside (even-odd rule).
func (p Polygon) Contains(x, y float64) bool {
	in := false
	for i := 1; i < len(p); i++ {
		a, b := p[i-1], p[i]
		if (a[1] > y) != (b[1] > y) && x < (b[0]-a[0])*(y-a[1])/(b[1]-a[1])+a[0] {
			in = !in
		}
	}
	return in
}

// Inside returns the vertices that lie inside p, ascending.
func (g *Graph) Inside(p Polygon) []fleet.Vertex {
	var vs []fleet.Vertex
	x0, y0, x1, y1 := p.bounds()
	for i := range g.Vertices {
		if x, y := g.Vertices[i].X, g.Vertices[i].Y; x < x0 || x > x1 || y < y0 || y > y1 {
			continue
		}
		if p.Contains(g.Vertices[i].X, g.Vertices[i].Y) {
			vs = append(vs, fleet.Vertex(i))
		}
	}
	return vs
}

// Outline is the convex hull of a zone's vertices, widened by half a cell (0.5 m off grids): for pictures and tables.
func (g *Graph) Outline(zone int) Polygon {
	margin := 0.5
	if g.ResM > 0 {
		margin = g.ResM / 2
	}
	var pts [][2]float64
	for _, v := range g.Zones[zone].Vertices {
		x, y := g.Vertices[v].X, g.Vertices[v].Y
		pts = append(pts, [2]float64{x - margin, y - margin}, [2]float64{x + margin, y - margin},
			[2]float64{x + margin, y + margin}, [2]float64{x - margin, y + margin})
	}
	slices.SortFunc(pts, func(a, b [2]float64) int {
		if a[0] != b[0] {
			return sign(a[0] - b[0])
		}
		return sign(a[1] - b[1])
	})
	lower := halfHull(pts)
	slices.Reverse(pts)
	return Polygon(append(lower[:len(lower)-1], halfHull(pts)...))
}

func halfHull(pts [][2]float64) [][2]float64 {
	var h [][2]float64
	for _, p := range pts {
		for len(h) > 1 && cross(h[len(h)-2], h[len(h)-1], p) <= 0 {
			h = h[:len(h)-1]
		}
		h = append(h, p)
	}
	return h
}

func cross(o, a, b [2]float64) float64 {
	return (a[0]-o[0])*(b[1]-o[1]) - (a[1]-o[1])*(b[0]-o[0])
}

func sign(x float64) int {
	switch {
	case x < 0:
		return -1
	case x > 0:
		return 1
	}
	return 0
}

// Nearest returns the vertex nearest to a point, within maxDist metres.
func (g *Graph) Nearest(x, y, maxDist float64) (fleet.Vertex, bool) {
	if !finite(x) || !finite(y) {
		return fleet.NoVertex, false
	}
	if g.Rows > 0 {
		return g.nearestCell(x, y, maxDist)
	}
	best := maxDist
	v := fleet.NoVertex
	for i := range g.Vertices {
		if d := math.Hypot(g.Vertices[i].X-x, g.Vertices[i].Y-y); d <= best {
			best, v = d, fleet.Vertex(i)
		}
	}
	return v, v >= 0
}

// nearestCell looks only at the cells around the point.
func (g *Graph) nearestCell(x, y, maxDist float64) (fleet.Vertex, bool) {
	row, col := int(math.Floor(float64(g.Rows)-y/g.ResM)), int(math.Floor(x/g.ResM))
	best, v := maxDist, fleet.NoVertex
	span := int(math.Ceil(maxDist / g.ResM))
	for r := max(0, row-span); r <= min(g.Rows-1, row+span); r++ {
		for c := max(0, col-span); c <= min(g.Cols-1, col+span); c++ {
			i := g.cells[r*g.Cols+c]
			if i < 0 {
				continue
			}
			if d := math.Hypot(g.Vertices[i].X-x, g.Vertices[i].Y-y); d <= best {
				best, v = d, fleet.Vertex(i)
			}
		}
	}
	return v, v >= 0
}
