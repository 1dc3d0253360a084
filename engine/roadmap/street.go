package roadmap

import "slices"

// streets is which way each row and column of a grid runs: rows east or west, columns south or north, in turn. What turns
// is the direction from one thoroughfare to the next: by the number of the row alone, all aisles of a floor with shelves
// two, four or six cells apart would run the same way, and who has to go the other way would meet everybody.
type streets struct {
	east  []bool // by row
	south []bool // by column
}

// LayStreets gives the rows and columns of a grid their directions, by how many lanes there are along each: O(lanes).
// Build has done so; who makes a Graph another way does it before anybody has the graph.
func (g *Graph) LayStreets() {
	if g.Rows == 0 {
		return
	}
	rows, cols := make([]int, g.Rows), make([]int, 1)
	for v := range g.Vertices {
		if _, col := g.rowCol(&g.Vertices[v]); col >= len(cols) {
			cols = append(cols, make([]int, col+1-len(cols))...)
		}
	}
	for i := range g.Lanes {
		a, b := &g.Vertices[g.Lanes[i].From], &g.Vertices[g.Lanes[i].To]
		switch row, col := g.rowCol(a); {
		case b.X > a.X:
			rows[row]++
		case b.X == a.X:
			cols[col]++
		}
	}
	g.streets = &streets{east: alternate(rows), south: alternate(cols)}
}

// alternate turns the direction with each thoroughfare: one with at least half as many lanes as that which has most. The
// others go by their number.
func alternate(lanes []int) []bool {
	most, n := slices.Max(lanes), 0
	out := make([]bool, len(lanes))
	for i, k := range lanes {
		if out[i] = i%2 == 0; 2*k >= most {
			out[i] = n%2 == 0
			n++
		}
	}
	return out
}

func (g *Graph) rowCol(v *Vertex) (row, col int) {
	return int(float64(g.Rows) - v.Y/g.ResM), int(v.X / g.ResM)
}

// againstFlow says that a lane of a grid leads against the direction of its row or column.
func (g *Graph) againstFlow(l *Lane) bool {
	a, b := &g.Vertices[l.From], &g.Vertices[l.To]
	switch row, col := g.rowCol(a); {
	case b.X > a.X:
		return !g.streets.east[row]
	case b.X < a.X:
		return g.streets.east[row]
	case b.Y < a.Y:
		return !g.streets.south[col]
	default:
		return g.streets.south[col]
	}
}
