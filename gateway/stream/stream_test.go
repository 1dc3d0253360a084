package stream_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/task"
	"starling/engine/zone"
	"starling/gateway/auth"
	"starling/gateway/stream"
)

func TestASubscriptionGetsASnapshotAndThenWhatChanges(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil)
	g.show(1, 1, 1, fleet.Idle)
	g.show(2, 2, 2, fleet.Idle)
	c := g.viewer()
	c.send(`{"op":"subscribe","id":7,"channel":"robots","filter":{"warehouse_id":%q},"rate_hz":10}`, floor1)
	s := c.want("subscribed", 7)
	if s.Recovered || s.Epoch == "" {
		t.Errorf("%+v", s)
	}
	m := c.want("snapshot", 7)
	if len(m.Items) != 2 || m.Seq != s.Seq || m.More {
		t.Fatalf("%+v", m)
	}
	g.show(2, 5, 2, fleet.Moving)
	g.show(2, 6, 2, fleet.Moving)
	g.views.RobotGone(shardA(), robotID(1))
	var seen []string
	for seq := s.Seq; len(seen) < 2; {
		d := c.want("delta", 7)
		if seq++; d.Seq != seq {
			t.Fatalf("seq %d, want %d", d.Seq, seq)
		}
		for _, e := range d.Events {
			seen = append(seen, e.Type+" "+string(e.Data))
		}
	}
	if all := strings.Join(seen, "\n"); !strings.Contains(all, "robot_removed") || !strings.Contains(all, `"x":6`) {
		t.Errorf("%s", all)
	}
	c.send(`{"op":"unsubscribe","id":7}`)
	c.want("unsubscribed", 7)
	g.show(2, 9, 9, fleet.Idle)
	c.send(`{"op":"ping","t":{"any":1}}`)
	if p := c.want("pong", 0); string(p.T) != `{"any":1}` {
		t.Errorf("pong with %s", p.T)
	}
}

func TestStateIsSentAtMostAsOftenAsAsked(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil)
	g.show(1, 0, 0, fleet.Idle)
	c := g.viewer()
	c.send(`{"op":"subscribe","id":1,"channel":"robots","rate_hz":2}`)
	c.want("snapshot", 1)
	stop := make(chan struct{})
	defer close(stop)
	go func() { // ends with stop
		for x := 0.0; ; x++ {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				g.show(1, x, 0, fleet.Moving)
			}
		}
	}()
	c.want("delta", 1)
	began, n, merged := time.Now(), 0, 0
	for time.Since(began) < 3*time.Second {
		n, merged = n+1, merged+c.want("delta", 1).Coalesced
	}
	if n < 3 || n > 7 {
		t.Errorf("%d deltas in %v at 2 Hz", n, time.Since(began))
	}
	if merged < 100 {
		t.Errorf("%d changes were merged, of about 500", merged)
	}
}

func TestAViewportTellsWhoComesAndWhoGoes(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"starling.v1.json", "starling.v1.bin"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			g := newRig(t, nil)
			rng := rand.New(rand.NewPCG(1, 2))
			at := map[int][2]float64{}
			step := func() {
				for n := range 50 {
					at[n] = [2]float64{rng.Float64() * 20, rng.Float64() * 20}
					g.show(n, at[n][0], at[n][1], fleet.Moving)
				}
			}
			step()
			c := g.dial(protocol, g.token(tenantA, auth.Viewer, time.Hour))
			c.send(`{"op":"subscribe","id":1,"channel":"robots","filter":{"warehouse_id":%q,"rect":[15,15,5,5]},"rate_hz":10}`, floor1)
			f := newFloor()
			f.take(t, c.want("snapshot", 1), true)
			for range 20 {
				step()
				f.take(t, c.want("delta", 1), false)
			}
			want := map[string]bot{}
			for n, p := range at {
				if p[0] >= 5 && p[0] <= 15 && p[1] >= 5 && p[1] <= 15 {
					want[string(robotID(n))] = bot{p[0], p[1], "MOVING", 0.5}
				}
			}
			var err error
			for range 20 { // what the last round missed comes with the next
				if err = f.same(want, 0.02); err == nil {
					return
				}
				g.show(1000, 10, 10, fleet.Idle)
				want[string(robotID(1000))] = bot{10, 10, "IDLE", 0.5}
				f.take(t, c.want("delta", 1), false)
			}
			t.Error(err)
		})
	}
}

func TestNothingOfAnotherTenantIsSeen(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil)
	g.show(1, 1, 1, fleet.Idle)
	step(g, 1, task.Created{})
	g.views.ShowZone(shardA(), &zone.View{Zone: zone1, Capacity: 3})
	c := g.dial("starling.v1.json", g.token(tenantB, auth.Admin, time.Hour))
	for i, filter := range []string{`{}`, `{"warehouse_id":"` + string(floor1) + `"}`, `{"robot_ids":["` + string(robotID(1)) + `"]}`} {
		c.send(`{"op":"subscribe","id":%d,"channel":"robots","filter":%s,"rate_hz":10}`, i+1, filter)
		if m := c.want("snapshot", i+1); len(m.Items) > 0 {
			t.Errorf("%s shows %s", filter, m.Items[0])
		}
	}
	g.mu.Lock()
	g.stored[taskID(1)] = task.View{Spec: specOf(1)}
	g.mu.Unlock()
	for i, m := range []string{`"channel":"tasks"`, `"channel":"tasks","filter":{"task_ids":["` + string(taskID(1)) + `"]}`, `"channel":"zones"`} {
		c.send(`{"op":"subscribe","id":%d,%s}`, 10+i, m)
		if m := c.want("snapshot", 10+i); len(m.Items) > 0 {
			t.Errorf("%s", m.Items[0])
		}
	}
}

func TestEachZoneIsTold(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil)
	g.views.ShowZone(shardA(), &zone.View{Zone: zone1, Capacity: 3, Occupancy: 1})
	c := g.viewer()
	c.send(`{"op":"subscribe","id":1,"channel":"zones","rate_hz":10}`)
	if m := c.want("snapshot", 1); len(m.Items) != 1 || string(m.Items[0]) != `{"zone_id":"`+zone1+`","occupancy":1,"capacity":3,"queue_length":0,"window":{"limit":0,"admitted":0,"inbound":0,"enforced":false,"shadow":0},"domain":null,"lanes":[],"version":1}` {
		t.Fatalf("%s", m.Items)
	}
	g.views.ShowZone(shardA(), &zone.View{
		Zone: zone1, Capacity: 3, Occupancy: 2, Queue: 1, Domain: zone.Domain{Term: 7, Leader: zone1},
		Window: zone.Window{Limit: 4, Admitted: 2, Inbound: 1, Enforced: true, Shadow: 5},
	})
	if m := c.want("delta", 1); len(m.Events) != 1 || string(m.Events[0].Data) != `{"zone_id":"`+zone1+`","occupancy":2,"capacity":3,"queue_length":1,"window":{"limit":4,"admitted":2,"inbound":1,"enforced":true,"shadow":5},"domain":{"term":7,"leader":"`+zone1+`"},"lanes":[],"version":2}` {
		t.Errorf("%+v", m)
	}
	g.views.ZoneGone(shardA(), zone1)
	if m := c.want("delta", 1); len(m.Events) != 1 || m.Events[0].Type != "zone_removed" || string(m.Events[0].Data) != `{"zone_id":"`+zone1+`"}` {
		t.Errorf("%+v", m)
	}
	later := g.viewer()
	later.send(`{"op":"subscribe","id":1,"channel":"zones"}`)
	if m := later.want("snapshot", 1); len(m.Items) != 0 {
		t.Errorf("a zone that is gone is shown: %s", m.Items)
	}
}

func TestAZoneSaysWhichLanesAreDear(t *testing.T) {
	t.Parallel()
	lane := fleet.LaneID("e0000000-0000-4000-8000-000000000001")
	floor := &roadmap.Graph{Vertices: []roadmap.Vertex{{X: 1, Y: 2}, {X: 1, Y: 3.0004}}, Lanes: []roadmap.Lane{{ID: lane, From: 0, To: 1}}}
	g := newRig(t, func(o *stream.Options) { o.Graph = func(fleet.Shard) *roadmap.Graph { return floor } })
	// The second is of a map that is not active any more.
	g.views.ShowZone(shardA(), &zone.View{Zone: zone1, Flow: []zone.LaneFlow{{Lane: 0, Cost: 25, Free: 10}, {Lane: 9, Cost: 25, Free: 10}}})
	c := g.viewer()
	c.send(`{"op":"subscribe","id":1,"channel":"zones","filter":{"warehouse_id":"%s"}}`, floor1)
	want := `"lanes":[{"lane_id":"` + string(lane) + `","cost_ratio":2.5,"from":[1,2],"to":[1,3]}]`
	if m := c.want("snapshot", 1); len(m.Items) != 1 || !strings.Contains(string(m.Items[0]), want) {
		t.Errorf("%s", m.Items)
	}
}

func TestARobotInDetailShowsItsOrder(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil)
	g.show(1, 1, 1, fleet.Idle)
	c := g.dial("starling.v1.bin", g.token(tenantA, auth.Viewer, time.Hour))
	c.send(`{"op":"subscribe","id":1,"channel":"robots","filter":{"robot_ids":[%q]},"detail":true}`, robotID(1))
	if m := c.want("snapshot", 1); len(m.Items) != 1 || !strings.Contains(string(m.Items[0]), `"order":`) {
		t.Errorf("%+v", m) // JSON, for all that the connection is binary
	}
}

func TestOfSomeTasksTheFinishedAreShownToo(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil)
	g.mu.Lock()
	g.stored[taskID(9)] = task.View{Spec: specOf(9), Status: fleet.TaskSucceeded, Version: 5}
	g.mu.Unlock()
	step(g, 1, task.Created{})
	step(g, 2, task.Created{})
	c := g.viewer()
	c.send(`{"op":"subscribe","id":1,"channel":"tasks","filter":{"task_ids":[%q,%q]}}`, taskID(9), taskID(1))
	if m := c.want("snapshot", 1); len(m.Items) != 2 || !strings.Contains(string(m.Items[1]), "SUCCEEDED") {
		t.Fatalf("%s", m.Items)
	}
	step(g, 2, task.Started{})
	step(g, 1, task.Started{})
	if m := c.want("delta", 1); len(m.Events) != 1 || m.Seq != 1 || !strings.Contains(string(m.Events[0].Data), string(taskID(1))) {
		t.Errorf("%+v", m)
	}
}

func TestWhatCannotBeFollowedIsRefusedWithAllItsFaults(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil)
	c := g.viewer()
	for message, want := range map[string]string{
		`{"op":"subscribe","id":0,"channel":"x","rate_hz":99,"filter":{"warehouse_id":"w","rect":[1],"min_level":"L1"}}`: "id channel rate_hz filter.warehouse_id filter.rect filter.min_level",
		`{"op":"subscribe","id":1,"channel":"tasks","filter":{"robot_ids":["` + string(robotID(1)) + `"]}}`:              "filter.robot_ids",
		`{"op":"subscribe","id":1,"channel":"robots","filter":{"robot_ids":[]}}`:                                         "filter.robot_ids",
		`{"op":"subscribe","id":1,"channel":"robots","detail":true}`:                                                     "detail",
		`{"op":"subscribe","id":1,"channel":"robots","filter":{"warehous_id":"x"}}`:                                      "message",
		`{"op":"subscribe","id":"one"}`: "id",
		`{"op":"dance"}`:                "op",
		`{"op":"unsubscribe"}`:          "id",
		`[1,2]`:                         "message",
		`{"op":"ping"} {"op":"ping"}`:   "message",
		"\x00\x01":                      "message",
	} {
		c.send("%s", message)
		m, err := c.next()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range m.Error.Details.Fields {
			got = append(got, f.Field)
		}
		if m.Op != "error" || m.Error.Code != "INVALID_ARGUMENT" || m.Error.RequestID != "the-request" || strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s (%+v)", message, got, want, m.Error)
		}
	}
	c.send(`{"op":"ping","t":1}`)
	c.want("pong", 0) // the connection stays
	for i := range 17 {
		c.send(`{"op":"subscribe","id":%d,"channel":"zones"}`, i+1)
	}
	for {
		m, err := c.next()
		if err != nil {
			t.Fatal(err)
		}
		if m.Op == "error" {
			if m.ID != 17 || m.Error.Code != "RESOURCE_EXHAUSTED" {
				t.Errorf("%+v", m)
			}
			return
		}
	}
}

// TestAConnectionNamesSoManyIDs fills the filters of one connection, with robots and tasks.
func TestAConnectionNamesSoManyIDs(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil)
	c := g.viewer()
	ask := func(id int, channel, filter string, of func(int) string) *message {
		all := make([]string, 1000)
		for i := range all {
			all[i] = fmt.Sprintf("%q", of(i))
		}
		c.send(`{"op":"subscribe","id":%d,"channel":%q,"filter":{%q:[%s]}}`, id, channel, filter, strings.Join(all, ","))
		for {
			m, err := c.next()
			if err != nil {
				t.Fatal(err)
			}
			if m.ID == id && (m.Op == "subscribed" || m.Op == "error") {
				return m
			}
		}
	}
	bots := func(i int) string { return string(robotID(i)) }
	for id := range 3 {
		if m := ask(id+1, "robots", "robot_ids", bots); m.Op != "subscribed" {
			t.Fatalf("%d: %+v", id+1, m)
		}
	}
	if m := ask(4, "tasks", "task_ids", func(i int) string { return string(taskID(i)) }); m.Op != "subscribed" {
		t.Fatalf("%+v", m)
	}
	if m := ask(5, "robots", "robot_ids", bots); m.Error.Code != "RESOURCE_EXHAUSTED" {
		t.Errorf("4,000 are named, and 1,000 more: %+v", m)
	}
	if m := ask(2, "robots", "robot_ids", bots); m.Op != "subscribed" { // in place of its own
		t.Errorf("%+v", m)
	}
	c.send(`{"op":"subscribe","id":5,"channel":"robots"}`) // names none
	c.want("subscribed", 5)
	c.send(`{"op":"unsubscribe","id":3}`)
	c.want("unsubscribed", 3)
	if m := ask(6, "robots", "robot_ids", bots); m.Op != "subscribed" {
		t.Errorf("after an unsubscribe: %+v", m)
	}
}

func TestWhoMayNotComeInIsTold(t *testing.T) {
	t.Parallel()
	g := newRig(t, func(o *stream.Options) { o.MaxPerTenant = 2 })
	for name, x := range map[string]struct {
		token  string
		status int
	}{
		"no token":           {"", 401},
		"garbage":            {"x.y.z", 401},
		"a robot":            {g.token(tenantA, auth.RobotRole, time.Hour), 403},
		"no tenant":          {g.token("", auth.Viewer, time.Hour), 403},
		"a platform's admin": {g.token("", auth.PlatformAdmin, time.Hour), 403},
	} {
		_, r, err := g.open("starling.v1.json", x.token) //nolint:bodyclose // a handshake's answer needs no closing
		if err == nil || r == nil || r.StatusCode != x.status {
			t.Errorf("%s: %v", name, r)
			continue
		}
		var b struct {
			Error struct {
				Code      string
				RequestID string `json:"request_id"`
			}
		}
		if err := json.NewDecoder(r.Body).Decode(&b); err != nil || b.Error.Code == "" || b.Error.RequestID != "the-request" {
			t.Errorf("%s: %+v %v", name, b, err)
		}
	}
	a, _ := g.viewer(), g.viewer()
	if _, r, err := g.open("starling.v1.json", g.token(tenantA, auth.Viewer, time.Hour)); err == nil || r.StatusCode != http.StatusTooManyRequests || r.Header.Get("Retry-After") == "" { //nolint:bodyclose // a handshake's answer needs no closing
		t.Errorf("a third connection: %v", r)
	}
	g.dial("starling.v1.json", g.token(tenantB, auth.Viewer, time.Hour)) // another tenant has its own places
	_ = a.ws.Close()
	for range 100 {
		if c, _, err := g.open("starling.v1.json", g.token(tenantA, auth.Viewer, time.Hour)); err == nil { //nolint:bodyclose // a handshake's answer needs no closing
			_ = c
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Error("the place of a connection that has ended stays taken")
}

func TestAPageOfAnotherOriginIsRefused(t *testing.T) {
	t.Parallel()
	g := newRig(t, func(o *stream.Options) { o.Origins = []string{"https://wms.example"} })
	for origin, want := range map[string]int{"https://evil.example": 403, "https://wms.example": 101, g.http.URL: 101, "": 101} {
		h := http.Header{}
		if origin != "" {
			h.Set("Origin", origin)
		}
		d := websocket.Dialer{Subprotocols: []string{"starling.v1.json", "bearer." + g.token(tenantA, auth.Viewer, time.Hour)}}
		ws, r, _ := d.Dial("ws"+strings.TrimPrefix(g.http.URL, "http")+"/api/v1/ws", h) //nolint:bodyclose // a handshake's answer needs no closing
		if r == nil || r.StatusCode != want {
			t.Errorf("%q: %v, want %d", origin, r, want)
		}
		if ws != nil {
			if ws.Subprotocol() != "starling.v1.json" {
				t.Errorf("chose %q", ws.Subprotocol())
			}
			_ = ws.Close()
		}
	}
}

func TestAConnectionEndsWithItsTokenUnlessItIsRenewed(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil)
	c, kept := g.dial("starling.v1.json", g.token(tenantA, auth.Viewer, 2*time.Second)), g.dial("starling.v1.json", g.token(tenantA, auth.Viewer, 2*time.Second))
	for _, bad := range []string{"x", g.token(tenantB, auth.Viewer, time.Hour), g.token(tenantA, auth.RobotRole, time.Hour)} {
		kept.send(`{"op":"token","token":%q}`, bad)
		if m, err := kept.next(); err != nil || m.Op != "error" {
			t.Errorf("%+v %v", m, err)
		}
	}
	kept.send(`{"op":"token","token":%q}`, g.token(tenantA, auth.Viewer, time.Hour))
	kept.want("token", 0)
	if reason, code := c.ended(); reason != "token_expired" || code != 4001 {
		t.Errorf("%s %d", reason, code)
	}
	time.Sleep(200 * time.Millisecond)
	kept.send(`{"op":"ping","t":1}`)
	kept.want("pong", 0)
}

func TestAStopTellsEveryClientWhenToComeBack(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil)
	g.show(1, 1, 1, fleet.Idle)
	c := g.viewer()
	c.send(`{"op":"subscribe","id":1,"channel":"robots"}`)
	c.want("snapshot", 1)
	go g.stop() // stopped again by the clean-up
	if reason, code := c.ended(); reason != "restart" || code != 1012 {
		t.Errorf("%s %d", reason, code)
	}
	if _, r, err := g.open("starling.v1.json", g.token(tenantA, auth.Viewer, time.Hour)); err == nil || r != nil && r.StatusCode != http.StatusServiceUnavailable { //nolint:bodyclose // a handshake's answer needs no closing
		t.Errorf("a new connection: %v %v", r, err)
	}
}

// versions of the tasks that a test steps.
func step(g *rig, n int, e task.Event) int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	v := g.stored[taskID(n)]
	if _, created := e.(task.Created); created {
		v = task.View{}
		e = task.Created{Spec: specOf(n)}
	}
	v.Apply(time.Now(), e)
	g.stored[taskID(n)] = v
	g.views.TaskChanged(shardA(), e, &v)
	return v.Version
}

func TestABigSnapshotComesInParts(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"starling.v1.json", "starling.v1.bin"} {
		g := newRig(t, nil)
		want := map[string]bot{}
		for n := range 2200 {
			g.show(n, float64(n), 1, fleet.Idle)
			want[string(robotID(n))] = bot{float64(n), 1, "IDLE", 0.5}
		}
		c := g.dial(protocol, g.token(tenantA, auth.Viewer, time.Hour))
		c.send(`{"op":"subscribe","id":1,"channel":"robots"}`)
		f, parts := newFloor(), 0
		for {
			m := c.want("snapshot", 1)
			f.take(t, m, parts == 0)
			parts++
			if !m.More {
				break
			}
			g.show(1, 1, 1, fleet.Idle) // changes go on meanwhile
		}
		if err := f.same(want, 0.06); err != nil || parts < 3 {
			t.Errorf("%s: %d parts: %v", protocol, parts, err)
		}
	}
}
