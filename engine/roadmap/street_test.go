package roadmap_test

import (
	"strconv"
	"strings"
	"testing"

	"starling/engine/roadmap"
)

// The aisles between shelves run in turn however far apart they lie.
func TestAislesRunInTurn(t *testing.T) {
	t.Parallel()
	for _, apart := range []int{1, 2, 3, 4} {
		aisle, shelf := strings.Repeat(".", 24), strings.Repeat("@", 24)
		rows := []string{aisle}
		for range 4 {
			for range apart - 1 {
				rows = append(rows, "."+shelf[2:]+".")
			}
			rows = append(rows, aisle)
		}
		d, _ := roadmap.Import("movingai", []byte(gridText(rows...)), 1)
		g, err := roadmap.Build(d, roadmap.BuildOptions{MapID: mapID})
		if err != nil {
			t.Fatal(err)
		}
		for n := range 5 {
			row := n * apart
			a, _ := g.Find(strconv.Itoa(row*24 + 10))
			b, _ := g.Find(strconv.Itoa(row*24 + 11))
			east, _ := g.Lane(a, b)
			west, _ := g.Lane(b, a)
			if eastward := g.LaneCost(east) < g.LaneCost(west); eastward != (n%2 == 0) {
				t.Errorf("aisles %d apart: number %d runs east: %v", apart, n, eastward)
			}
		}
	}
}
