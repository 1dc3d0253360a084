package rest

import (
	"net/http"
	"testing"

	"starling/engine/fact"
	"starling/gateway/auth"
)

// lies is the plain way to ask where something lies: by its corners alone, which is enough for small things.
func lies(a fact.Area, corners [][2]float64) bool {
	if a.Ring == nil {
		return true
	}
	in := 0
	for _, c := range corners {
		if a.Ring.Contains(c[0], c[1]) {
			in++
		}
	}
	return in == len(corners) || !a.Inside && in > 0
}

func TestWhatLiesThereIsListedAndDrawn(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil).furnish()
	viewer := g.token(auth.Viewer)
	lanes, zones := "/api/v1/lanes?map_id="+g.floor, "/api/v1/zones?map_id="+g.floor
	all := len(g.get(lanes+"&limit=500", viewer).want(200).items())
	left := len(g.get(lanes+"&limit=500&bbox=0,0,1,4", viewer).want(200).items())
	inside := len(g.get(lanes+"&limit=500&within=0,0,1,0,1,4,0,4", viewer).want(200).items())
	if inside < 6 || left <= inside || all <= left {
		t.Errorf("%d lanes touch the left column, %d lie in it, %d there are", left, inside, all)
	}
	g.do(http.MethodPut, "/api/v1/zones/"+nobody, g.token(auth.Admin), `{"map_id":"`+g.floor+`","kind":"slow","polygon":{"type":"Polygon","coordinates":[[[0,0],[2,0],[2,2],[0,2],[0,0]]]}}`).want(201)
	for path, shape := range map[string]string{lanes: "LineString", zones: "Polygon"} {
		r := g.get(path+"&format=geojson&limit=1", viewer).want(200)
		features, _ := r.object()["features"].([]any)
		if r.header.Get("Content-Type") != "application/geo+json" || r.text("type") != "FeatureCollection" || len(features) != 1 {
			t.Fatalf("%s: %s %s", path, r.header.Get("Content-Type"), r.body)
		}
		f, _ := features[0].(map[string]any)
		geometry, _ := f["geometry"].(map[string]any)
		properties, _ := f["properties"].(map[string]any)
		if f["type"] != "Feature" || f["id"] == nil || geometry["type"] != shape || geometry["coordinates"] == nil || properties["map_id"] != g.floor {
			t.Errorf("%s: %v", path, f)
		}
	}
	g.get(lanes+"&bbox=0,0,1", viewer).faulty("query.bbox")
	g.get(lanes+"&bbox=1,0,0,1", viewer).faulty("query.bbox")
	g.get(zones+"&bbox=0,0,1,NaN", viewer).faulty("query.bbox")
	g.get(zones+"&within=0,0,1,1,1,0,0,1", viewer).faulty("query.within") // it crosses itself
	g.get(zones+"&within=0,0,1,0,1,1&bbox=0,0,1,1", viewer).faulty("query.within")
	g.get(zones+"&format=svg", viewer).faulty("query.format")
}
