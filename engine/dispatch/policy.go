package dispatch

import (
	"slices"

	"starling/engine/planner"
)

// Policy says how a batch chooses among the candidates.
type Policy uint8

// The policies. The zero value is Optimal.
const (
	Optimal      Policy = iota // the least total cost
	Greedy                     // each in turn takes what costs it least, of what is left: cheaper to work out, dearer to drive
	Hierarchical               // to sectors of the floor first, then the least total cost within each and its neighbours
)

// Policies are the names of the policies, by their numbers.
func Policies() []string { return []string{"optimal", "greedy", "hierarchical"} }

// ParsePolicy finds a policy by its name.
func ParsePolicy(name string) (Policy, bool) {
	i := slices.Index(Policies(), name)
	return Policy(max(0, i)), i >= 0
}

// String names the policy.
func (p Policy) String() string { return Policies()[p] }

// greedy gives each row in turn the cheapest of its columns that is still there, -1 = none.
func greedy(rows [][]planner.Edge, columns int) []int32 {
	taken, chosen := make([]bool, columns), make([]int32, len(rows))
	for i, edges := range rows {
		chosen[i] = -1
		best := 0.0
		for _, e := range edges {
			if !taken[e.Column] && (chosen[i] < 0 || e.Cost < best) {
				chosen[i], best = e.Column, e.Cost
			}
		}
		if chosen[i] >= 0 {
			taken[chosen[i]] = true
		}
	}
	return chosen
}
