// Package planner holds the batch algorithms that have no state: assignment of tasks to robots.
package planner

import "math"

// Edge is one possible award and what it costs.
type Edge struct {
	Column int32 // robot
	Cost   float64
}

// Assign chooses, for as many rows as possible, one column each so that no column is used twice and the sum of costs
// is least among all largest choices, whichever side has more. rows[i] lists the columns that row i may have; result[i]
// is the column or -1. Shortest augmenting paths over the sparse graph (Jonker and Volgenant 1987), where each row has
// besides a column of its own, dearer than any choice, that stands for none: O(rows * edges * log) at worst, 1,000 x
// 1,000 with 20 edges a row in some 20 ms. A row that must go without looks at everything: give the smaller side as rows.
func Assign(rows [][]Edge, columns int) []int32 {
	chosen, _ := AssignPriced(rows, columns)
	return chosen
}

// AssignPriced does what Assign does and gives the price of each column besides, 0 or less: whoever would take it saves
// somebody else as much less. An edge that is not among rows would improve the choice only if its cost less the column's
// price were below the cost less the price of what its row has.
func AssignPriced(rows [][]Edge, columns int) (chosen []int32, price []float64) {
	all := columns + len(rows)
	a := assigner{
		rows: rows, columns: columns, none: dearest(rows), ofRow: filled(len(rows)), ofColumn: filled(all), price: make([]float64, all),
		dist: make([]float64, all), from: filled(all), done: make([]bool, all),
	}
	for r := range rows {
		a.augment(int32(r))
	}
	for r, c := range a.ofRow {
		if int(c) >= columns {
			a.ofRow[r] = -1
		}
	}
	return a.ofRow, a.price[:columns]
}

// dearest is a cost that no exchange among real columns can save.
func dearest(rows [][]Edge) float64 {
	low, high := 0.0, 0.0
	for _, edges := range rows {
		for _, e := range edges {
			low, high = min(low, e.Cost), max(high, e.Cost)
		}
	}
	return high + (high-low+1)*float64(len(rows)+1)
}

func filled(n int) []int32 {
	s := make([]int32, n)
	for i := range s {
		s[i] = -1
	}
	return s
}

// entry is a column at the distance it had when it was pushed; a later, nearer push makes it void.
type entry struct {
	dist   float64
	column int32
}

type assigner struct {
	rows     [][]Edge
	columns  int
	none     float64 // what it costs a row to have no column
	ofRow    []int32
	ofColumn []int32
	price    []float64
	dist     []float64
	from     []int32 // row by which the column was reached
	done     []bool
	touched  []int32
	heap     []entry
}

// augment finds the cheapest way to give row r a column, moving others where that is cheaper.
func (a *assigner) augment(r int32) {
	for _, c := range a.touched {
		a.done[c], a.from[c] = false, -1
	}
	a.touched, a.heap = a.touched[:0], a.heap[:0]
	a.reach(r, 0)
	for len(a.heap) > 0 {
		top := a.pop()
		c := top.column
		if a.done[c] || top.dist > a.dist[c] {
			continue
		}
		a.done[c] = true
		if a.ofColumn[c] < 0 {
			a.settle(c)
			return
		}
		owner := a.ofColumn[c]
		a.reach(owner, a.dist[c]-a.reduced(owner, c))
	}
}

func (a *assigner) reduced(row, column int32) float64 {
	if int(column) >= a.columns {
		return a.none - a.price[column]
	}
	for _, e := range a.rows[row] {
		if e.Column == column {
			return e.Cost - a.price[column]
		}
	}
	return math.Inf(1)
}

func (a *assigner) reach(row int32, base float64) {
	for _, e := range a.rows[row] {
		a.relax(row, e.Column, base+e.Cost)
	}
	a.relax(row, int32(a.columns)+row, base+a.none)
}

// relax notes that the column can be reached at this distance, but for its price.
func (a *assigner) relax(row, column int32, dist float64) {
	if a.done[column] {
		return
	}
	dist -= a.price[column]
	if a.from[column] < 0 {
		a.touched = append(a.touched, column)
	} else if dist >= a.dist[column] {
		return
	}
	a.dist[column], a.from[column] = dist, row
	a.push(column)
}

// settle ends an augmentation at the free column c: prices first, then the matching along the path.
func (a *assigner) settle(c int32) {
	for _, t := range a.touched {
		if a.done[t] && t != c {
			a.price[t] += a.dist[t] - a.dist[c]
		}
	}
	for {
		r := a.from[c]
		next := a.ofRow[r]
		a.ofRow[r], a.ofColumn[c] = c, r
		if next < 0 {
			return
		}
		c = next
	}
}

// push and pop keep a binary heap by distance.
func (a *assigner) push(c int32) {
	a.heap = append(a.heap, entry{a.dist[c], c})
	for i := len(a.heap) - 1; i > 0; {
		p := (i - 1) / 2
		if a.heap[p].dist <= a.heap[i].dist {
			break
		}
		a.heap[p], a.heap[i] = a.heap[i], a.heap[p]
		i = p
	}
}

func (a *assigner) pop() entry {
	top := a.heap[0]
	last := len(a.heap) - 1
	a.heap[0] = a.heap[last]
	a.heap = a.heap[:last]
	for i := 0; ; {
		c := 2*i + 1
		if c >= last {
			break
		}
		if c+1 < last && a.heap[c+1].dist < a.heap[c].dist {
			c++
		}
		if a.heap[i].dist <= a.heap[c].dist {
			break
		}
		a.heap[i], a.heap[c] = a.heap[c], a.heap[i]
		i = c
	}
	return top
}
