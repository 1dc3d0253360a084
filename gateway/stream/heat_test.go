package stream_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"starling/engine/congestion"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/gateway/stream"
)

const lane1 = "e0000000-0000-4000-8000-000000000001"

// score is what was measured of a thing in the bin that ends after so many.
func score(shard fleet.Shard, of congestion.Of, id string, bins int, index float64) fact.Congestion {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).Add(time.Duration(bins) * congestion.Bin)
	return fact.Congestion{Shard: shard, Score: congestion.Score{Subject: congestion.Subject{Of: of, ID: id}, At: at, Index: index, SpeedRatio: 1 - index}}
}

type heat struct {
	Kind  string  `json:"kind"`
	ID    string  `json:"id"`
	Index float64 `json:"congestion_index"`
}

func heatOf(t *testing.T, raw json.RawMessage) (h heat) {
	t.Helper()
	if err := json.Unmarshal(raw, &h); err != nil {
		t.Fatal(err)
	}
	return h
}

// Zones and lanes are told, latest wins; the warehouse as a whole is no part of the map, and what has gone is told no more.
func TestWhereItJamsIsTold(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil)
	bin := func(n int, lanes ...float64) {
		all := []fact.Congestion{score(shardA(), congestion.OfZone, zone1, n, float64(n)/10)}
		for _, index := range lanes {
			all = append(all, score(shardA(), congestion.OfLane, lane1, n, index))
		}
		g.views.ShowCongestion(shardA(), append(all, score(shardA(), congestion.OfWarehouse, string(floor1), n, 0.5)))
	}
	bin(1, 0.4)
	c := g.viewer()
	c.send(`{"op":"subscribe","id":1,"channel":"congestion","rate_hz":10,"filter":{"warehouse_id":"%s"}}`, floor1)
	m := c.want("snapshot", 1)
	got := map[string]heat{}
	for _, raw := range m.Items {
		h := heatOf(t, raw)
		got[h.Kind] = h
	}
	if len(m.Items) != 2 || got["zone"] != (heat{"zone", zone1, 0.1}) || got["lane"] != (heat{"lane", lane1, 0.4}) {
		t.Fatalf("%s", m.Items)
	}
	bin(2, 0.01)
	d := c.want("delta", 1)
	if len(d.Events) != 2 || d.Events[0].Type != "congestion_heatmap_update" || heatOf(t, d.Events[0].Data).Index != 0.2 || heatOf(t, d.Events[1].Data).Index != 0.01 {
		t.Fatalf("%+v", d)
	}
	bin(3)
	if d := c.want("delta", 1); len(d.Events) != 2 || heatOf(t, d.Events[0].Data).ID == heatOf(t, d.Events[1].Data).ID {
		t.Fatalf("%+v", d)
	} else {
		for _, e := range d.Events { // what has gone is told once more, as calm
			if b := heatOf(t, e.Data); e.Type != "congestion_heatmap_update" || b.ID == lane1 && (b.Kind != "lane" || b.Index != 0) {
				t.Errorf("%s", e.Data)
			}
		}
	}
	later := g.viewer()
	later.send(`{"op":"subscribe","id":1,"channel":"congestion"}`)
	if m := later.want("snapshot", 1); len(m.Items) != 1 {
		t.Errorf("a lane that tells nothing is shown: %s", m.Items)
	}
	g.views.CongestionGone(shardA())
	last := g.viewer()
	last.send(`{"op":"subscribe","id":1,"channel":"congestion"}`)
	if m := last.want("snapshot", 1); len(m.Items) != 0 {
		t.Errorf("%s", m.Items)
	}
}

// A lane is told with its place, as the active map has it, so that who draws it needs no list of lanes.
func TestACongestedLaneSaysWhereItLies(t *testing.T) {
	t.Parallel()
	floor := &roadmap.Graph{
		Vertices: []roadmap.Vertex{{X: 1, Y: 2}, {X: 1, Y: 3}}, Lanes: []roadmap.Lane{{ID: lane1, From: 0, To: 1}},
		Zones: []roadmap.Zone{{ID: zone1}}, ZoneOf: []int32{0, 0},
	}
	g := newRig(t, func(o *stream.Options) { o.Graph = func(fleet.Shard) *roadmap.Graph { return floor } })
	former := "e0000000-0000-4000-8000-0000000000ff"
	g.views.ShowCongestion(shardA(), []fact.Congestion{score(shardA(), congestion.OfLane, lane1, 1, 0.4), score(shardA(), congestion.OfLane, former, 1, 0.4)})
	c := g.viewer()
	c.send(`{"op":"subscribe","id":1,"channel":"congestion","filter":{"warehouse_id":"%s"}}`, floor1)
	m := c.want("snapshot", 1)
	if len(m.Items) != 2 {
		t.Fatalf("%s", m.Items)
	}
	for _, raw := range m.Items {
		says := strings.HasSuffix(string(raw), `,"zone_id":"`+zone1+`","from":[1,2],"to":[1,3]}`)
		if is := heatOf(t, raw).ID == lane1; says != is || !is && strings.Contains(string(raw), `"from"`) {
			t.Errorf("%s", raw)
		}
	}
}
