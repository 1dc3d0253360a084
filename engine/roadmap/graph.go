// Package roadmap holds the map as the engine drives on it: vertices, lanes, the zones that own the vertices,
// and the tables of travel cost towards a goal. It imports maps, validates and compares them. Pure: bytes come
// in, graphs and reports go out.
//
// Size: a 38,586-cell floor is 38,586 vertices, 150,000 lanes (about 6 MB); a goal's table takes 10 to 80 kB.
package roadmap

import (
	"math"
	"time"

	"starling/engine/fleet"
)

// Graph is one immutable version of a map. Everything that holds a *Graph shares it; nothing changes it.
// Vertices are numbered 0..n-1 (fleet.Vertex); lanes likewise 0..m-1.
type Graph struct {
	MapID    fleet.MapID
	Version  int
	Format   string    // source format: movingai, lorr, starling
	Vertices []Vertex  // by fleet.Vertex
	Lanes    []Lane    // by lane number, grouped by From, ascending
	Out      [][]int32 // lane numbers that leave each vertex
	In       [][]int32 // lane numbers that enter each vertex
	Zones    []Zone    // by zone number; each vertex is in exactly one
	ZoneOf   []int32   // zone number of each vertex
	Local    []int32   // number of each vertex within its zone (index into Zone.Vertices)
	Rows     int       // > 0 for grid maps: cells are numbered row-major, Vertex.ID = cell number
	Cols     int
	ResM     float64 // metres per cell of a grid map; 0 for others

	streets *streets                // of grid maps
	around  *[4]float64             // Extent, where Build has made the graph
	cells   []int32                 // grid maps: vertex of each cell, -1 = blocked
	byID    map[string]fleet.Vertex // id -> vertex, then name -> vertex where no id claims it
}

// Vertex is a point of the roadmap.
type Vertex struct {
	ID       string // unique in the map; grid maps: row-major cell number in decimal
	Name     string // optional; unique where given
	X, Y     float64
	Parking  bool // a robot may rest here
	Charging bool
}

// Lane is a directed edge of the roadmap. Two-way roads are two lanes. Lanes meet at vertices alone: a map where they cross
// elsewhere is not imported (docs/adr/0005).
type Lane struct {
	ID         fleet.LaneID // stable over versions: derived from the map id and the two vertex ids
	From, To   fleet.Vertex
	LengthM    float64
	SpeedMPS   float64 // limit; 0 = none
	Closed     bool    // as uploaded; closing at run time is the zone's
	HeadingRad float64 // direction of travel
}

// Zone is a set of vertices owned by one zone actor. Traffic zones partition the roadmap.
type Zone struct {
	ID         fleet.ZoneID // stable over versions
	Name       string
	Colour     int            // 0..Colours-1; zones that could touch the same vertex in a tick have different colours
	Vertices   []fleet.Vertex // ascending
	Neighbours []int32        // zone numbers with a lane to or from here, or with a vertex adjacent to vertices of both (corners); ascending
	Capacity   int            // vertices
}

// Colours is how many phases a tick has: one more than the greatest Colour.
func (g *Graph) Colours() int {
	n := 0
	for i := range g.Zones {
		n = max(n, g.Zones[i].Colour+1)
	}
	return n
}

// Find returns the vertex with this id or, failing that, this name.
func (g *Graph) Find(ref string) (fleet.Vertex, bool) {
	v, ok := g.byID[ref]
	return v, ok
}

// Lane returns the number of the lane from a to b.
func (g *Graph) Lane(a, b fleet.Vertex) (int32, bool) {
	for _, l := range g.Out[a] {
		if g.Lanes[l].To == b {
			return l, true
		}
	}
	return -1, false
}

// Manhattan is the distance of two vertices along the axes, in metres.
func (g *Graph) Manhattan(a, b fleet.Vertex) float64 {
	u, v := &g.Vertices[a], &g.Vertices[b]
	return math.Abs(u.X-v.X) + math.Abs(u.Y-v.Y)
}

// Tables gives the tables towards goals. Implementations outside engine/ cache and share them; within a simulation a plain
// map does. What they give is never nil for a vertex of the graph.
type Tables interface {
	// Get gives what is known of the ways to a goal. It searches for nothing.
	Get(goal fleet.Vertex) *Table
	// Reach gives a table that knows the cost from a vertex and from those next to it (Table.Around) or, where more has
	// been searched for lately than the allowance, a coarse one.
	Reach(goal, from fleet.Vertex) *Table
	// Again is Reach for who has had the table t towards the same goal: what t knows is not searched for again, even if
	// nobody else keeps it any more.
	Again(t *Table, from fleet.Vertex) *Table
	// Changes grows whenever closures or traffic have made the tables given so far out of date.
	Changes() uint64
	// Refill lets time pass: what may be searched grows with it.
	Refill(now time.Time)
}
