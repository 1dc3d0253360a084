package density_test

import (
	"strings"
	"testing"

	"starling/bench/density"
	"starling/engine/congestion"
)

func TestASweepRunsEachWayAndNumber(t *testing.T) {
	t.Parallel()
	s := density.Sweep{
		Map: density.Warehouse(11, 28), Robots: []int{8, 40}, Steps: 60, Seeds: []uint64{1, 2},
		Ways: []density.Way{{Name: "a", Admission: congestion.Rules{Mode: congestion.Never}}, {Name: "b", Active: true}},
	}
	points, err := s.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	mean := density.Mean(points)
	if len(points) != 8 || len(mean) != 4 {
		t.Fatalf("%d points, %d means; want 8 and 4", len(points), len(mean))
	}
	for _, p := range mean {
		if p.Tasks <= 0 || p.Moves <= p.Tasks || p.Density <= 0 || p.Density > 1 {
			t.Errorf("%+v", p)
		}
	}
	if w := mean[0]; w.Tasks != (points[0].Tasks+points[1].Tasks)/2 {
		t.Errorf("the mean of %v and %v is %v", points[0].Tasks, points[1].Tasks, w.Tasks)
	}
	if svg := string(density.Chart("x", points).SVG()); strings.Count(svg, "<polyline") != 2 {
		t.Errorf("want two lines:\n%s", svg)
	}
}

func TestMoreRobotsThanCellsAreRefused(t *testing.T) {
	t.Parallel()
	s := density.Sweep{Map: density.Warehouse(6, 6), Robots: []int{37}, Steps: 1, Seeds: []uint64{1}, Ways: density.Ways()}
	if _, err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "free cells") {
		t.Errorf("got %v", err)
	}
}

func TestTheWarehouseHasShelvesAndAisles(t *testing.T) {
	t.Parallel()
	cells, err := density.Free(density.Warehouse(44, 76))
	if err != nil {
		t.Fatal(err)
	}
	if share := float64(len(cells)) / (44 * 76); share < 0.4 || share > 0.65 {
		t.Errorf("%.2f of the floor is free", share)
	}
}
