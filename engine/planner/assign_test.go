package planner_test

import (
	"math"
	"math/rand"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"starling/engine/planner"
)

// brute tries everything: the most rows, then the least cost.
func brute(rows [][]planner.Edge, used map[int32]bool, r int) (int, float64) {
	if r == len(rows) {
		return 0, 0
	}
	n, c := brute(rows, used, r+1)
	for _, e := range rows[r] {
		if used[e.Column] {
			continue
		}
		used[e.Column] = true
		m, d := brute(rows, used, r+1)
		delete(used, e.Column)
		if m+1 > n || m+1 == n && d+e.Cost < c {
			n, c = m+1, d+e.Cost
		}
	}
	return n, c
}

func TestAssignIsAsGoodAsTryingEverything(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		rows, columns := rapid.IntRange(0, 6).Draw(t, "rows"), rapid.IntRange(1, 6).Draw(t, "columns")
		in := make([][]planner.Edge, rows)
		for r := range in {
			for c := range columns {
				if rapid.IntRange(0, 3).Draw(t, "edge") > 0 {
					in[r] = append(in[r], planner.Edge{Column: int32(c), Cost: float64(rapid.IntRange(-5, 20).Draw(t, "cost"))})
				}
			}
		}
		n, cost := 0, 0.0
		used := map[int32]bool{}
		for r, c := range planner.Assign(in, columns) {
			if c < 0 {
				continue
			}
			if used[c] {
				t.Fatalf("column %d twice", c)
			}
			used[c] = true
			n++
			for _, e := range in[r] {
				if e.Column == c {
					cost += e.Cost
				}
			}
		}
		wantN, wantCost := brute(in, map[int32]bool{}, 0)
		if n != wantN || math.Abs(cost-wantCost) > 1e-6 {
			t.Fatalf("%d rows at %v, best %d at %v", n, cost, wantN, wantCost)
		}
	})
}

func TestTheCheaperRowHasTheOnlyColumn(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rows    [][]planner.Edge
		columns int
		want    []int32
	}{
		"more rows than columns": {[][]planner.Edge{{{Column: 0, Cost: 30}}, {{Column: 0, Cost: 1}}}, 1, []int32{-1, 0}},
		"a column nobody wants":  {[][]planner.Edge{{{Column: 0, Cost: 30}}, {{Column: 0, Cost: 1}}}, 2, []int32{-1, 0}},
		"cheap is not fewer":     {[][]planner.Edge{{{Column: 0, Cost: -1000}, {Column: 1, Cost: 1000}}, {{Column: 0, Cost: 1000}}}, 2, []int32{1, 0}},
		"nothing fits":           {[][]planner.Edge{{}, {}}, 0, []int32{-1, -1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := planner.Assign(c.rows, c.columns); !slices.Equal(got, c.want) {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

func BenchmarkAssign1000x1000(b *testing.B) {
	rng := rand.New(rand.NewSource(1))
	rows := make([][]planner.Edge, 1000)
	for r := range rows {
		for range 20 {
			rows[r] = append(rows[r], planner.Edge{Column: int32(rng.Intn(1000)), Cost: rng.Float64() * 100})
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		planner.Assign(rows, 1000)
	}
}
