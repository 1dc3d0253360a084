package rest

import (
	"encoding/json"
	"strings"
	"testing"

	"starling/gateway/auth"
)

func TestAFloorPlanShowsTheFreeCellsOfAGrid(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil).furnish()
	var b floorPlanBody
	if err := json.Unmarshal(g.get("/api/v1/maps/"+g.floor+"/versions/1/floor-plan", g.token(auth.Viewer)).want(200).body, &b); err != nil {
		t.Fatal(err)
	}
	rows := strings.Split(strings.TrimSpace(grid[strings.Index(grid, "map\n")+4:]), "\n")
	if b.Grid == nil || b.Net != nil || b.Grid.Rows != len(rows) || b.Grid.Cols != len(rows[0]) {
		t.Fatalf("got %+v", b)
	}
	for r, row := range rows {
		for c, what := range row {
			i := r*len(row) + c
			if free := b.Grid.Cells[i/8]>>(i%8)&1 == 1; free != (what == '.') {
				t.Errorf("row %d, column %d is %q, free %v", r, c, what, free)
			}
		}
	}
	if want := [4]float64{0, 0, float64(len(rows[0])), float64(len(rows))}; b.Bounds != want {
		t.Errorf("bounds are %v, want %v", b.Bounds, want)
	}
	if len(b.Places) != 0 { // robots may rest on every cell
		t.Errorf("places are %+v", b.Places)
	}
}

func TestAFloorPlanShowsVerticesLanesAndPlaces(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil).furnish()
	admin := g.token(auth.Admin)
	const net = `{"vertices":[{"id":"a","name":"Dock 1","x":0,"y":0},{"id":"b","x":2,"y":0,"charging":true},{"id":"c","x":2,"y":3}],
		"lanes":[{"from":"a","to":"b"},{"from":"b","to":"a"},{"from":"b","to":"c"},{"from":"c","to":"a"}]}`
	id := g.post("/api/v1/maps", admin, `{"warehouse_id":"`+g.warehouse+`","name":"net","format":"starling","content":`+net+`}`).want(201).text("map_id")
	var b floorPlanBody
	if err := json.Unmarshal(g.get("/api/v1/maps/"+id+"/versions/1/floor-plan", admin).want(200).body, &b); err != nil {
		t.Fatal(err)
	}
	if b.Grid != nil || b.Net == nil || len(b.Net.IDs) != 3 || len(b.Net.Lanes) != 3 || b.Bounds != [4]float64{0, 0, 2, 3} {
		t.Fatalf("got %+v, net %+v", b, b.Net)
	}
	if len(b.Places) != 2 || b.Places[0].Vertex != "a" || *b.Places[0].Name != "Dock 1" || !b.Places[1].Charging {
		t.Errorf("places are %+v", b.Places)
	}
	broken := g.post("/api/v1/maps", admin, `{"warehouse_id":"`+g.warehouse+`","name":"broken","format":"starling","content":{"vertices":[{"id":"a","x":0,"y":0},{"id":"a","x":1,"y":0}],"lanes":[]}}`).want(201).text("map_id")
	g.get("/api/v1/maps/"+broken+"/versions/1/floor-plan", admin).fails(412, codePrecondition)
}
