package rest

import (
	"encoding/json"
	"net/http"
	"slices"
	"testing"
	"time"

	"starling/engine/congestion"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/gateway/auth"
	"starling/gateway/view"
)

// learnt is what was learned of one zone.
type learnt struct {
	shard fleet.Shard
	shown congestion.Shown
}

func (l *learnt) Diagram(shard fleet.Shard, zone fleet.ZoneID) (congestion.Shown, bool) {
	return l.shown, l.shown.Zone == zone && l.shard == shard
}

const (
	busyZone  = "33333333-3333-4333-8333-333333333333"
	emptyZone = "44444444-4444-4444-8444-444444444444"
	someLane  = "55555555-5555-4555-8555-555555555555"
)

// jammed is a rig whose warehouse was scored.
func jammed(t *testing.T) (*rig, *learnt) {
	t.Helper()
	views, l := view.New(), &learnt{}
	g := newRig(t, func(o *Options) { o.Views, o.Diagrams, o.Remedies = views, l, &cabinet{} }).furnish()
	l.shard = fleet.Shard{Tenant: ours, Warehouse: fleet.WarehouseID(g.warehouse)}
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for i := range 3 {
		score := func(of congestion.Of, id string, index, forecast float64, level int) fact.Congestion {
			return fact.Congestion{Shard: l.shard, Score: congestion.Score{
				Subject: congestion.Subject{Of: of, ID: id}, At: at.Add(time.Duration(i) * congestion.Bin), Index: index + float64(i)/100, Forecast: forecast,
				Confidence: 0.8, Level: level, Queue: i, SpeedRatio: 1 - index,
			}}
		}
		views.ShowCongestion(l.shard, []fact.Congestion{
			score(congestion.OfZone, busyZone, 0.5, 0.1, 2), score(congestion.OfZone, emptyZone, 0.01, 0.3, 0), score(congestion.OfLane, someLane, 0.4, 0.2, 0),
			score(congestion.OfWarehouse, g.warehouse, 0.25, 0.2, 0),
		})
	}
	return g, l
}

func TestHotspotsAreTheWorstFirst(t *testing.T) {
	t.Parallel()
	g, _ := jammed(t)
	viewer := g.token(auth.Viewer)
	path := "/api/v1/congestion/hotspots?warehouse_id=" + g.warehouse
	ids := func(r *reply) (out []string) {
		for _, x := range r.items() {
			m, _ := x.(map[string]any)
			out = append(out, m["kind"].(string)+" "+m["id"].(string))
		}
		return out
	}
	r := g.get(path, viewer).want(200)
	if got := ids(r); !slices.Equal(got, []string{"zone " + busyZone, "lane " + someLane, "zone " + emptyZone}) || r.text("source") != "observed" {
		t.Fatalf("%v from %s", got, r.text("source"))
	}
	first, _ := r.items()[0].(map[string]any)
	recent, _ := first["recent"].([]any)
	if first["congestion_index"] != 0.52 || first["level"] != 2.0 || first["queue_length"] != 2.0 || first["confidence"] != 0.8 || !slices.Equal(recent, []any{0.5, 0.51, 0.52}) {
		t.Errorf("%v", first)
	}
	actions, _ := first["suggested_actions"].([]any)
	if len(actions) != 1 {
		t.Fatalf("suggested actions %v, want to hold tasks", first["suggested_actions"])
	}
	if x, _ := actions[0].(map[string]any); x["action"] != "hold_tasks" || x["method"] != "POST" || x["path"] != "/api/v1/congestion/remedies" || x["allowed"] != false {
		t.Errorf("suggested: %v", x)
	}
	operator, _ := g.get(path, g.token(auth.Operator)).want(200).items()[0].(map[string]any)
	actions, _ = operator["suggested_actions"].([]any)
	if x, _ := actions[0].(map[string]any); x["allowed"] != true || !slices.Contains(x["roles"].([]any), any("operator")) {
		t.Errorf("suggested to an operator: %v", x)
	}
	// What one is sent to is a call that there is.
	if x, _ := actions[0].(map[string]any); x["body"] != nil {
		body, _ := json.Marshal(x["body"])
		g.do(x["method"].(string), x["path"].(string), g.token(auth.Operator), string(body)).want(201)
	}
	again, _ := g.get(path, viewer).want(200).items()[0].(map[string]any)
	if actions, _ := again["suggested_actions"].([]any); len(actions) != 0 {
		t.Errorf("what is in force already is suggested: %v", actions)
	}
	if site, _ := r.object()["warehouse"].(map[string]any); site["congestion_index"] != 0.27 {
		t.Errorf("the warehouse: %v", site)
	}
	for _, horizon := range []string{"60", "300", "900"} { // there is no model: all say so
		r = g.get(path+"&horizon_seconds="+horizon+"&limit=1", viewer).want(200)
		item, _ := r.items()[0].(map[string]any)
		if got := ids(r); len(got) != 1 || r.text("source") != "persistence" || got[0] != "zone "+emptyZone || item["congestion_index"] != 0.3 || item["level"] != 0.0 || item["confidence"].(float64) >= 0.8 {
			t.Errorf("in %s s: %v %v from %s", horizon, got, item, r.text("source"))
		}
	}
	g.get(path+"&horizon_seconds=61", viewer).faulty("query.horizon_seconds")
	g.get("/api/v1/congestion/hotspots?warehouse_id="+nobody, viewer).faulty("query.warehouse_id")
	g.get(path, g.grant(auth.Grant{Role: auth.Viewer, Tenant: theirs})).faulty("query.warehouse_id")
	empty := newRig(t, nil).furnish()
	r = empty.get("/api/v1/congestion/hotspots?warehouse_id="+empty.warehouse, empty.token(auth.Viewer)).want(200)
	if len(r.items()) != 0 || r.object()["warehouse"] != nil {
		t.Errorf("of a warehouse of which nothing is known: %s", r.body)
	}
}

func TestAZonesDiagramIsShown(t *testing.T) {
	t.Parallel()
	g, l := jammed(t)
	viewer := g.token(auth.Viewer)
	path := "/api/v1/congestion/zones/" + busyZone + "/diagram"
	g.get(path, viewer).fails(404, "NOT_FOUND")
	g.do(http.MethodPut, "/api/v1/zones/"+busyZone, g.token(auth.Admin), `{"map_id":"`+g.floor+`","kind":"slow","polygon":{"type":"Polygon","coordinates":[[[0,0],[2,0],[2,2],[0,2],[0,0]]]}}`).want(201)
	g.get(path, viewer).fails(412, codePrecondition)
	l.shown = congestion.Shown{
		Zone: busyZone, Kind: congestion.KindParking, Class: congestion.Aisle, Capacity: 40, Own: []congestion.DiagramBin{{Bin: 1, Weight: 3, Density: 0.05, Production: 2}},
		Critical: 0.2, Greatest: 4, Known: true, FreeMPS: 0.9, Density: 0.1, Production: 1.5,
	}
	r := g.get(path, viewer).want(200).object()
	points, _ := r["points"].([]any)
	now, _ := r["now"].(map[string]any)
	if r["kind"] != "parking" || r["class"] != "aisle" || r["critical_density"] != 0.2 || r["peak_known"] != true || len(points) != 1 ||
		now["density"] != 0.1 || now["production"] != 1.5 || now["level"] != 2.0 {
		t.Errorf("%v", r)
	}
}
