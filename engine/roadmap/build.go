package roadmap

import (
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"

	"starling/engine/fleet"
)

// ErrEmpty is returned for a draft without vertices.
var ErrEmpty = errors.New("the map has no vertices")

// BuildOptions names the version that a draft becomes.
type BuildOptions struct {
	MapID   fleet.MapID
	Version int
	// MaxZone bounds the vertices of a zone made automatically; 0 = 1,024.
	MaxZone int
	// OneZone makes a single zone of all that lies in no area (benches: what the division into zones costs).
	OneZone bool
}

// Build numbers a draft into a graph: lanes, zones, neighbours, colours. The same draft and options give the same
// graph, so that a stored source is enough to restore it. Ids of lanes and zones depend on the map's id and on
// where they are, not on the version.
func Build(d *Draft, o BuildOptions) (*Graph, error) {
	n := len(d.Vertices)
	if n == 0 {
		return nil, ErrEmpty
	}
	if o.MaxZone <= 0 {
		o.MaxZone = 1024
	}
	g := &Graph{
		MapID: o.MapID, Version: o.Version, Format: d.Format, Vertices: d.Vertices, Rows: d.Rows, Cols: d.Cols, ResM: d.ResM,
		Out: make([][]int32, n), In: make([][]int32, n), ZoneOf: make([]int32, n), Local: make([]int32, n),
		byID: make(map[string]fleet.Vertex, n),
	}
	for i := range d.Vertices {
		if name := d.Vertices[i].Name; name != "" {
			g.byID[name] = fleet.Vertex(i)
		}
	}
	for i := range d.Vertices {
		g.byID[d.Vertices[i].ID] = fleet.Vertex(i)
	}
	g.number(d)
	g.LayStreets()
	if d.Rows > 0 {
		g.cells = make([]int32, d.Rows*d.Cols)
		for i := range g.cells {
			g.cells[i] = -1
		}
		for v := range g.Vertices {
			cell, _ := strconv.Atoi(g.Vertices[v].ID)
			g.cells[cell] = int32(v)
		}
	}
	switch {
	case o.OneZone && d.Rows > 0:
		o.MaxZone = 0
	case o.OneZone:
		o.MaxZone = n
	}
	g.divide(d, o.MaxZone)
	g.join()
	x0, y0, x1, y1 := g.Extent()
	g.around = &[4]float64{x0, y0, x1, y1}
	return g, nil
}

// number takes the lanes over, grouped by the vertex they leave.
func (g *Graph) number(d *Draft) {
	g.Lanes = slices.Clone(d.Lanes)
	slices.SortStableFunc(g.Lanes, func(a, b Lane) int { return int(a.From) - int(b.From) })
	for i := range g.Lanes {
		l := &g.Lanes[i]
		a, b := &g.Vertices[l.From], &g.Vertices[l.To]
		l.ID = fleet.LaneID(stableID(g.MapID, "lane", a.ID, b.ID))
		l.HeadingRad = math.Atan2(b.Y-a.Y, b.X-a.X)
		if l.HeadingRad < 0 {
			l.HeadingRad += 2 * math.Pi
		}
		g.Out[l.From] = append(g.Out[l.From], int32(i))
		g.In[l.To] = append(g.In[l.To], int32(i))
	}
}

// stableID is a UUID (version 5 in form) made from names.
func stableID(m fleet.MapID, parts ...string) string {
	h := sha1.New()
	h.Write([]byte(m))
	for _, p := range parts {
		h.Write([]byte{0})
		h.Write([]byte(p))
	}
	b := h.Sum(nil)[:16]
	b[6], b[8] = b[6]&0x0f|0x50, b[8]&0x3f|0x80
	s := hex.EncodeToString(b)
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

const uuidLen = 36

// isUUID says whether s is a UUID in lower case.
func isUUID(s string) bool {
	if len(s) != uuidLen {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case (c < '0' || c > '9') && (c < 'a' || c > 'f'):
			return false
		}
	}
	return true
}

// divide puts every vertex into one zone: the areas that came with the map first, then square blocks of a grid, or
// of the plane. maxZone 0 = a grid is one block.
func (g *Graph) divide(d *Draft, maxZone int) {
	type block struct{ area, row, col int }
	zones := map[block]int32{}
	edge := math.Sqrt(float64(maxZone))
	step := g.ResM * math.Floor(edge)
	x0, y0, side := g.extent()
	if g.Rows == 0 {
		step = side
		for most := len(g.Vertices); step > 1 && most > maxZone; step /= 2 {
			n, fullest := g.blocks(x0, y0, step/2)
			if n > MaxZones {
				break // a crowd in a wide and empty map
			}
			most = fullest
		}
	} else {
		switch {
		case maxZone == 0:
			step = g.ResM * float64(max(g.Rows, g.Cols))
		case g.Rows*g.Cols <= 4*maxZone:
			step = max(2, math.Ceil(float64(max(g.Rows, g.Cols))/2)) * g.ResM // a small floor: four zones
		}
		for cells := int(math.Round(step / g.ResM)); ((g.Rows-1)/cells+1)*((g.Cols-1)/cells+1) > MaxZones; cells *= 2 {
			step *= 2 // a long and narrow floor
		}
		x0, y0 = 0, 0
	}
	in, _ := d.locate(math.MaxInt) // the importer has bounded it
	for v := range g.Vertices {
		x, y := g.Vertices[v].X, g.Vertices[v].Y
		if g.Rows > 0 {
			y = float64(g.Rows)*g.ResM - y // blocks count from the first row on
		}
		b := block{area: -1, row: int((y - y0) / step), col: int((x - x0) / step)}
		if a := in.first[v]; a != none {
			b = block{area: int(a)}
		}
		z, ok := zones[b]
		if !ok {
			z = int32(len(g.Zones))
			zones[b] = z
			g.Zones = append(g.Zones, g.newZone(d, b.area, b.row, b.col))
		}
		zn := &g.Zones[z]
		g.ZoneOf[v], g.Local[v] = z, int32(len(zn.Vertices))
		zn.Vertices = append(zn.Vertices, fleet.Vertex(v))
		zn.Capacity++
	}
}

func (g *Graph) newZone(d *Draft, area, row, col int) Zone {
	if area < 0 {
		name := fmt.Sprintf("block-%d-%d", row, col)
		return Zone{ID: fleet.ZoneID(stableID(g.MapID, "zone", name)), Name: name, Colour: row%2*2 + col%2}
	}
	a := &d.Areas[area]
	id := a.ID
	if !isUUID(string(id)) {
		id = fleet.ZoneID(stableID(g.MapID, "area", string(a.ID), a.Name, strconv.Itoa(area)))
	}
	return Zone{ID: id, Name: a.Name, Colour: -1}
}

func (g *Graph) extent() (x0, y0, side float64) {
	x0, y0 = math.Inf(1), math.Inf(1)
	x1, y1 := math.Inf(-1), math.Inf(-1)
	for i := range g.Vertices {
		v := &g.Vertices[i]
		x0, y0, x1, y1 = min(x0, v.X), min(y0, v.Y), max(x1, v.X), max(y1, v.Y)
	}
	return x0, y0, max(x1-x0, y1-y0, 1) * 1.0001
}

// blocks divides the plane into squares: how many have vertices, and the greatest number of vertices in one.
func (g *Graph) blocks(x0, y0, step float64) (count, most int) {
	n := map[[2]int]int{}
	for i := range g.Vertices {
		k := [2]int{int((g.Vertices[i].X - x0) / step), int((g.Vertices[i].Y - y0) / step)}
		n[k]++
		most = max(most, n[k])
	}
	return len(n), most
}

// join finds the neighbours of each zone and colours the zones: two zones are neighbours where a lane joins them, or
// where some vertex is adjacent to vertices of both (a corner), since both could then want that vertex in one tick.
func (g *Graph) join() {
	near := make([]map[int32]bool, len(g.Zones))
	for i := range near {
		near[i] = map[int32]bool{}
	}
	var around []int32
	for v := range g.Vertices {
		around = append(around[:0], g.ZoneOf[v])
		for _, l := range g.In[v] {
			around = append(around, g.ZoneOf[g.Lanes[l].From])
		}
		for _, l := range g.Out[v] {
			around = append(around, g.ZoneOf[g.Lanes[l].To])
		}
		slices.Sort(around)
		around = slices.Compact(around) // mostly one: not the square of the lanes
		for _, a := range around {
			for _, b := range around {
				if a != b {
					near[a][b] = true
				}
			}
		}
	}
	clash := false
	for i := range g.Zones {
		z := &g.Zones[i]
		for n := range near[i] {
			z.Neighbours = append(z.Neighbours, n)
			clash = clash || z.Colour < 0 || g.Zones[n].Colour == z.Colour
		}
		slices.Sort(z.Neighbours)
		clash = clash || z.Colour < 0
	}
	if !clash {
		return
	}
	for i := range g.Zones {
		g.Zones[i].Colour = -1
	}
	for i := range g.Zones {
		used := map[int]bool{}
		for _, n := range g.Zones[i].Neighbours {
			used[g.Zones[n].Colour] = true
		}
		for g.Zones[i].Colour = 0; used[g.Zones[i].Colour]; g.Zones[i].Colour++ {
		}
	}
}
