package rest

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"starling/engine/congestion"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/gateway/auth"
	"starling/gateway/history"
)

// away is a store that does not answer.
type away struct{}

func (away) RobotHistory(context.Context, fleet.TenantID, fleet.RobotID, fact.HistoryQuery) ([]fact.HistoryPoint, error) {
	return nil, errors.New("away")
}

func (away) CongestionHistory(context.Context, fleet.TenantID, congestion.Of, string, fact.HistoryQuery) ([]fact.HistoryPoint, error) {
	return nil, errors.New("away")
}

func (away) Kept(time.Duration) time.Duration { return 7 * 24 * time.Hour }

// items are those of a list.
func (r *reply) items() []any {
	r.t.Helper()
	items, _ := r.object()["items"].([]any)
	return items
}

// measured is a rig whose robot has reported once a second for a minute, ten minutes ago, and again since a minute ago.
func measured(t *testing.T, store history.Store) (*rig, time.Time) {
	t.Helper()
	now := time.Now().Truncate(5 * time.Minute)
	book := history.New(history.Options{Store: store, Now: func() time.Time { return now }})
	g := newRig(t, func(o *Options) { o.History = book; o.Now = func() time.Time { return now } }).furnish()
	shard := fleet.Shard{Tenant: ours, Warehouse: fleet.WarehouseID(g.warehouse)}
	for _, start := range []time.Time{now.Add(-10 * time.Minute), now.Add(-time.Minute)} {
		for i := range 60 {
			book.Measure(shard, &robot.View{
				ID: fleet.RobotID(g.bot), ReportedAt: start.Add(time.Duration(i) * time.Second), Located: true, Pose: fleet.Pose{X: float64(i)}, Battery: float64(i) / 100, State: fleet.Moving,
			})
		}
	}
	return g, now
}

func TestARobotsHistory(t *testing.T) {
	t.Parallel()
	g, now := measured(t, nil)
	path := "/api/v1/robots/" + g.bot + "/history"
	viewer := g.token(auth.Viewer)
	span := "?from=" + now.Add(-10*time.Minute).UTC().Format(time.RFC3339) + "&to=" + now.UTC().Format(time.RFC3339)

	t.Run("every measurement, the silence told", func(t *testing.T) {
		if n := len(g.get(path+span, viewer).want(200).items()); n != 50 {
			t.Errorf("%d items on a page of no said size, want 50", n)
		}
		items := g.get(path+span+"&limit=500", viewer).want(200).items()
		if len(items) != 121 {
			t.Fatalf("%d items, want 120 measurements and a gap", len(items))
		}
		gap, after := items[60].(map[string]any), items[61].(map[string]any)
		if gap["fields"] != nil || after["fields"] == nil || items[59].(map[string]any)["fields"].(map[string]any)["x"] != 59.0 {
			t.Fatalf("%v, %v", gap, after)
		}
	})
	t.Run("windows, by suffix and by agg", func(t *testing.T) {
		r := g.get(path+span+"&every=1m&fields=battery_soc,battery_soc.max,x.last,state&agg=min", viewer).want(200)
		items := r.items()
		if len(items) != 10 || r.text("every") != "1m" || r.text("source") != "memory" {
			t.Fatalf("%d items of %v", len(items), r)
		}
		first, _ := items[0].(map[string]any)["fields"].(map[string]any)
		if first["battery_soc"] != 0.0 || first["battery_soc.max"] != .59 || first["x.last"] != 59.0 || first["state"] != "MOVING" {
			t.Fatalf("%v", first)
		}
		for i := 1; i < 9; i++ {
			if f := items[i].(map[string]any)["fields"]; f != nil {
				t.Fatalf("window %d: %v, want a gap", i, f)
			}
		}
	})
	t.Run("pages", func(t *testing.T) {
		n, cursor := 0, ""
		for range 20 {
			r := g.get(path+span+"&limit=25"+cursor, viewer).want(200)
			n += len(r.items())
			if r.object()["next_cursor"] == nil {
				cursor = ""
				break
			}
			cursor = "&cursor=" + r.text("next_cursor")
		}
		if n != 121 || cursor != "" {
			t.Fatalf("%d items over all pages, at last %q", n, cursor)
		}
	})
	t.Run("CSV for whoever takes it", func(t *testing.T) {
		r := g.get(path+span+"&fields=battery_soc,state&every=5m&limit=1", viewer, "Accept", "application/json;q=0.5, text/csv").want(200)
		want := "at,battery_soc,state\r\n" + now.Add(-10*time.Minute).UTC().Format(wireTime) + ",0.295,MOVING\r\n"
		if string(r.body) != want || !strings.HasPrefix(r.header.Get("Content-Type"), "text/csv") || r.header.Get("X-Next-Cursor") == "" || r.header.Get("Vary") == "" {
			t.Fatalf("%q, %v, want %q", r.body, r.header, want)
		}
	})
	t.Run("faults", func(t *testing.T) {
		for query, field := range map[string]string{
			"?fields=height":             "query.fields",
			"?fields=state.mean":         "query.fields",
			"?fields=x.median":           "query.fields",
			"?every=500ms":               "query.every",
			"?every=2d":                  "query.every",
			"?every=x":                   "query.every",
			"?limit=0":                   "query.limit",
			"?limit=501":                 "query.limit",
			"?cursor=x":                  "query.cursor",
			"?agg=sum":                   "query.agg",
			"?from=2026-01-01":           "query.from",
			"?from=2001-01-01T00:00:00Z": "query.from",
			"?from=2099-01-01T00:00:00Z": "query.from",
			"?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z": "query.to",
			"?nonsense=1": "query.nonsense",
		} {
			g.get(path+query, viewer).faulty(field)
		}
	})
	t.Run("whose it is", func(t *testing.T) {
		g.get(path, g.grant(auth.Grant{Role: auth.Viewer, Tenant: theirs})).want(404)
		g.get("/api/v1/robots/"+nobody+"/history", viewer).want(404)
		g.get(path, "").want(401)
	})
}

func TestAStoreThatIsAwayIsSaidSo(t *testing.T) {
	t.Parallel()
	g, now := measured(t, away{})
	path := "/api/v1/robots/" + g.bot + "/history?from="
	viewer := g.token(auth.Viewer)
	r := g.get(path+now.Add(-15*time.Minute).UTC().Format(time.RFC3339)+"&limit=500", viewer).want(200)
	if r.text("source") != "memory" || len(r.items()) < 120 {
		t.Fatalf("%v", r.text("source"))
	}
	g.get(path+now.Add(-time.Hour).UTC().Format(time.RFC3339)+"&to="+now.Add(-30*time.Minute).UTC().Format(time.RFC3339), viewer).want(503)
	none := newRig(t, nil).furnish()
	none.get("/api/v1/robots/"+none.bot+"/history", none.token(auth.Viewer)).want(503)
}

// nothing is a store that has nothing, and keeps things for an hour.
type nothing struct{ away }

func (nothing) RobotHistory(context.Context, fleet.TenantID, fleet.RobotID, fact.HistoryQuery) ([]fact.HistoryPoint, error) {
	return nil, nil
}

func (nothing) Kept(time.Duration) time.Duration { return time.Hour }

func TestWhatHasExpiredIsSaidSo(t *testing.T) {
	t.Parallel()
	g, now := measured(t, nothing{})
	path := "/api/v1/robots/" + g.bot + "/history?every=15m&from="
	viewer, want := g.token(auth.Viewer), now.Add(-time.Hour).UTC().Format(wireTime)
	old := path + now.Add(-24*time.Hour).UTC().Format(time.RFC3339)
	r := g.get(old+"&to="+now.Add(-2*time.Hour).UTC().Format(time.RFC3339), viewer).want(200)
	if r.text("expired_before") != want || len(r.items()) != 0 || r.object()["next_cursor"] != nil {
		t.Errorf("%s, want nothing, expired before %s", r.body, want)
	}
	if r = g.get(old, viewer, "Accept", "text/csv").want(200); r.header.Get("X-Expired-Before") != want {
		t.Errorf("%v", r.header)
	}
	if r = g.get(path+now.Add(-30*time.Minute).UTC().Format(time.RFC3339), viewer).want(200); r.object()["expired_before"] != nil {
		t.Errorf("%s, want nothing expired", r.body)
	}
}

func TestAZonesHistory(t *testing.T) {
	t.Parallel()
	now := time.Now().Truncate(time.Second)
	book := history.New(history.Options{Now: func() time.Time { return now }})
	g := newRig(t, func(o *Options) { o.History = book; o.Now = func() time.Time { return now } }).furnish()
	viewer := g.token(auth.Viewer)
	const zone = "33333333-3333-4333-8333-333333333333"
	g.do(http.MethodPut, "/api/v1/zones/"+zone, g.token(auth.Admin), `{"map_id":"`+g.floor+`","kind":"slow","name":"z","capacity":1,"polygon":{"type":"Polygon","coordinates":[[[0,0],[2,0],[2,2],[0,2],[0,0]]]}}`).want(201)
	for i := range 6 {
		book.Crowd([]fact.Congestion{{
			Shard: fleet.Shard{Tenant: ours, Warehouse: fleet.WarehouseID(g.warehouse)},
			Score: congestion.Score{Subject: congestion.Subject{ID: zone}, At: now.Add(time.Duration(i-6) * 10 * time.Second), Occupancy: i, Index: float64(i) / 10},
		}})
	}
	r := g.get("/api/v1/congestion/zones/"+zone+"/history?from="+now.Add(-time.Minute).UTC().Format(time.RFC3339)+"&fields=occupancy,congestion_index.max", viewer).want(200)
	items := r.items()
	if len(items) != 6 {
		t.Fatalf("%d items", len(items))
	}
	if last, _ := items[5].(map[string]any)["fields"].(map[string]any); last["occupancy"] != 5.0 || last["congestion_index.max"] != .5 {
		t.Fatalf("%v", last)
	}
	g.get("/api/v1/congestion/zones/"+nobody+"/history", viewer).want(404)
	g.get("/api/v1/congestion/lanes/"+nobody+"/history", viewer).want(404)
	g.get("/api/v1/congestion/zones/"+zone+"/history?fields=x", viewer).faulty("query.fields")
}

func TestWantsCSV(t *testing.T) {
	t.Parallel()
	for accept, want := range map[string]bool{
		"": false, "text/csv": true, "TEXT/CSV; charset=utf-8": true, "*/*": false, "application/json, text/csv": false, "text/csv, application/json": true,
		"text/csv;q=0.4, */*;q=0.8": false, "text/html": false, "text/csv;q=0": false,
	} {
		if got := wantsCSV(accept); got != want {
			t.Errorf("%q: %v", accept, got)
		}
	}
}

// A tenant may have its moving robots watched more seldom than those that stand: that is no gap either.
func TestTheSlowestPaceIsNoGap(t *testing.T) {
	t.Parallel()
	for want, s := range map[time.Duration]robot.Sampling{
		leastGap:          robot.UsualSampling(),
		250 * time.Second: {MovingHz: .01, IdleHz: .1, AlarmedHz: 5},
		125 * time.Second: {MovingHz: 1, IdleHz: .02, AlarmedHz: 5},
		50 * time.Second:  {MovingHz: 1, IdleHz: 1, AlarmedHz: .05},
	} {
		if got := gapOf(s); got != want {
			t.Errorf("%+v: %v, want %v", s, got, want)
		}
	}
}
