//go:build integration

package postgres_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"starling/engine/dispatch"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/persistence/postgres"
)

func newID[T ~string]() T { return T(uuid.NewString()) }

func oneFact(subject string, version int64, at time.Time, event any) fact.Fact {
	return fact.Fact{ID: newID[fleet.EventID](), At: at, By: fleet.Actor{Part: "test"}, Subject: subject, Version: version, Event: event}
}

func mustAppend(t testing.TB, s *postgres.Store, units ...fact.Unit) {
	t.Helper()
	for i, err := range s.Append(t.Context(), units) {
		if err != nil {
			t.Fatalf("unit %d: %v", i, err)
		}
	}
}

func newTask(shard fleet.Shard, at time.Time) task.Spec {
	return task.Spec{
		ID: newID[fleet.TaskID](), Shard: shard, Type: fleet.GoTo, Payload: []byte(`{"dropoff":"7"}`), Errands: []fleet.Vertex{7},
		Places: []string{"7"}, Source: "api", CreatedAt: at,
	}
}

func creation(s task.Spec) fact.Unit {
	return fact.Unit{Shard: s.Shard, Facts: []fact.Fact{oneFact(string(s.ID), 1, s.CreatedAt, task.Created{Spec: s})}}
}

func registration(shard fleet.Shard, code string) (robot.Spec, fact.Unit) {
	s := robot.Spec{
		ID: newID[fleet.RobotID](), Tenant: shard.Tenant, Warehouse: shard.Warehouse, Code: code, Fleet: "f", Protocol: "link",
		RadiusM: 0.4, MaxSpeedMPS: 1.5, CreatedAt: day,
	}
	return s, fact.Unit{Shard: shard, Facts: []fact.Fact{oneFact(string(s.ID), 1, day, robot.Registered{Spec: s, Version: 1})}}
}

var day = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// walk reads a list to its end in pages of three and returns what it saw, in order.
func walk[T any](t *testing.T, list func(p fact.Page) (fact.List[T], error), id func(T) string) []string {
	t.Helper()
	var out []string
	for p := (fact.Page{Limit: 3}); ; {
		l, err := list(p)
		if err != nil {
			t.Fatal(err)
		}
		if len(l.Items) > 3 {
			t.Fatalf("a page of 3 has %d items", len(l.Items))
		}
		for _, it := range l.Items {
			out = append(out, id(it))
		}
		if l.Next == "" {
			return out
		}
		p.Cursor = l.Next
	}
}

func TestListsGiveEachRowOnceInOrder(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	shard := newShard(t, s)
	var want []string
	var units []fact.Unit
	for i := range 10 {
		spec := newTask(shard, day.Add(time.Duration(i/3)*time.Minute)) // several at the same time
		units = append(units, creation(spec))
		want = append(want, fmt.Sprint(i/3, spec.ID))
	}
	mustAppend(t, s, units...)
	slices.Sort(want)
	slices.Reverse(want)
	got := walk(t, func(p fact.Page) (fact.List[task.View], error) {
		return s.Tasks.ListTasks(t.Context(), shard.Tenant, fact.TaskFilter{Status: "CREATED", Type: "go_to", Warehouse: shard.Warehouse, Source: "api"}, p)
	}, func(v task.View) string { return fmt.Sprint(int(v.Spec.CreatedAt.Sub(day)/time.Minute), v.Spec.ID) })
	if !slices.Equal(got, want) {
		t.Fatalf("tasks:\n got %v\nwant %v", got, want)
	}

	var codes []string
	for i := range 8 {
		code := fmt.Sprintf("r%d", 7-i)
		_, u := registration(shard, code)
		mustAppend(t, s, u)
		codes = append(codes, code)
	}
	slices.Sort(codes)
	got = walk(t, func(p fact.Page) (fact.List[*robot.View], error) {
		return s.Robots.ListRobots(t.Context(), shard.Tenant, fact.RobotFilter{Fleet: "f"}, p)
	}, func(v *robot.View) string { return v.Spec.Code })
	if !slices.Equal(got, codes) {
		t.Fatalf("robots %v, want %v", got, codes)
	}
}

func TestFiltersNarrow(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	shard := newShard(t, s)
	r, u := registration(shard, "r1")
	mustAppend(t, s, u)
	a, b := newTask(shard, day), newTask(shard, day.Add(time.Hour))
	b.Type, b.Source = fleet.Patrol, "rmf"
	mustAppend(t, s, creation(a), creation(b))
	award := task.Assigned{Robot: r.ID, Decision: task.Decision{
		ID: newID[fleet.DecisionID](), At: day, Task: b.ID, Robot: r.ID, Cost: task.Cost{Travel: 3, Total: 3}, Reason: "nearest",
	}}
	mustAppend(t, s, fact.Unit{Shard: shard, Facts: []fact.Fact{oneFact(string(b.ID), 2, day, award)}})
	for name, c := range map[string]struct {
		f    fact.TaskFilter
		want []fleet.TaskID
	}{
		"all":             {fact.TaskFilter{}, []fleet.TaskID{b.ID, a.ID}},
		"status":          {fact.TaskFilter{Status: "ASSIGNED"}, []fleet.TaskID{b.ID}},
		"type":            {fact.TaskFilter{Type: "go_to"}, []fleet.TaskID{a.ID}},
		"robot":           {fact.TaskFilter{Robot: r.ID}, []fleet.TaskID{b.ID}},
		"source":          {fact.TaskFilter{Source: "rmf"}, []fleet.TaskID{b.ID}},
		"created after":   {fact.TaskFilter{CreatedAfter: day}, []fleet.TaskID{b.ID}},
		"other warehouse": {fact.TaskFilter{Warehouse: newID[fleet.WarehouseID]()}, nil},
		"no uuid":         {fact.TaskFilter{Robot: "r1"}, nil},
	} {
		l, err := s.Tasks.ListTasks(t.Context(), shard.Tenant, c.f, fact.Page{Limit: 10})
		var got []fleet.TaskID
		for _, v := range l.Items {
			got = append(got, v.Spec.ID)
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v %v, want %v", name, got, err, c.want)
		}
	}
	ds, err := s.Decisions.ListDecisions(t.Context(), shard.Tenant, fact.DecisionFilter{Task: b.ID, Robot: r.ID, Warehouse: shard.Warehouse}, fact.Page{Limit: 5})
	if err != nil || len(ds.Items) != 1 || ds.Items[0].Cost.Travel != 3 || ds.Items[0].Reason != "nearest" {
		t.Fatalf("decisions %+v %v", ds, err)
	}
	events, err := s.Tasks.ListTaskEvents(t.Context(), shard.Tenant, b.ID, fact.Page{Limit: 5})
	if err != nil || len(events.Items) != 2 || events.Items[1].Seq != 2 || events.Items[1].From != "CREATED" || events.Items[1].To != "ASSIGNED" ||
		events.Items[0].From != "" || events.Items[0].Type != "created" || events.Items[1].By.Part != "test" {
		t.Fatalf("events %+v %v", events, err)
	}
}

func TestSomeTasksAreReadAtOnce(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	shard, other := newShard(t, s), newShard(t, s)
	a, b, foreign := newTask(shard, day), newTask(shard, day), newTask(other, day)
	mustAppend(t, s, creation(a), creation(b), creation(foreign))
	found, err := s.Tasks.GetTasks(t.Context(), shard.Tenant, []fleet.TaskID{b.ID, newID[fleet.TaskID](), foreign.ID, a.ID, "no uuid", b.ID})
	if err != nil || len(found) != 2 || found[0].Spec.ID != min(a.ID, b.ID) || found[1].Spec.ID != max(a.ID, b.ID) || string(found[0].Spec.Payload) != `{"dropoff":"7"}` {
		t.Errorf("%+v %v", found, err)
	}
	if found, err := s.Tasks.GetTasks(t.Context(), shard.Tenant, []fleet.TaskID{"no uuid"}); err != nil || len(found) != 0 {
		t.Errorf("%+v %v", found, err)
	}
}

func TestACursorBelongsToItsList(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	shard := newShard(t, s)
	mustAppend(t, s, creation(newTask(shard, day)), creation(newTask(shard, day)))
	l, err := s.Tasks.ListTasks(t.Context(), shard.Tenant, fact.TaskFilter{}, fact.Page{Limit: 1})
	if err != nil || l.Next == "" {
		t.Fatalf("%+v %v", l, err)
	}
	for _, cursor := range []string{l.Next, "x", "AAAA", "!"} {
		if _, err := s.Decisions.ListDecisions(t.Context(), shard.Tenant, fact.DecisionFilter{}, fact.Page{Limit: 1, Cursor: cursor}); !errors.Is(err, fact.ErrBadCursor) {
			t.Errorf("cursor %q: %v, want ErrBadCursor", cursor, err)
		}
	}
}

func TestTenantsWarehousesAndUsers(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	shard := newShard(t, s)
	ctx := t.Context()
	key := &fact.Idempotency{Key: "k", Route: "POST /tenants", Fingerprint: []byte("f"), Answer: fact.Answer{Status: 201, Location: "/l", Body: []byte("b")}}
	made := fact.Tenant{ID: newID[fleet.TenantID](), Slug: "acme", Name: "Acme", CreatedAt: day}
	if err := s.Tenants.CreateTenant(ctx, made, key); err != nil {
		t.Fatal(err)
	}
	again := made
	again.ID = newID[fleet.TenantID]()
	if c := asConflict(t, s.Tenants.CreateTenant(ctx, again, key)); c.Key != "idempotency_key" || c.Answer == nil || c.Answer.Location != "/l" {
		t.Fatalf("%+v", c)
	}
	if c := asConflict(t, s.Tenants.CreateTenant(ctx, again, nil)); c.Key != "slug" {
		t.Fatalf("%+v", c)
	}
	got, err := s.Tenants.GetTenantBySlug(ctx, "acme")
	if err != nil || got.ID != made.ID || string(got.Settings) != "{}" || !got.CreatedAt.Equal(day) {
		t.Fatalf("%+v %v", got, err)
	}
	patched, err := s.Tenants.PatchSettings(ctx, made.ID, json.RawMessage(`{"cors":["a"],"sampling":{"hz":1}}`), got.Version)
	if err != nil || patched.Version != got.Version+1 {
		t.Fatalf("%+v %v", patched, err)
	}
	if patched, err = s.Tenants.PatchSettings(ctx, made.ID, json.RawMessage(`{"cors":null}`), -1); err != nil || string(patched.Settings) != `{"sampling": {"hz": 1}}` {
		t.Fatalf("%s %v", patched.Settings, err)
	}
	if _, err := s.Tenants.PatchSettings(ctx, made.ID, json.RawMessage(`{}`), 1); asConflict(t, err).Key != "version" {
		t.Fatal(err)
	}
	if _, err := s.Tenants.GetTenantByID(ctx, newID[fleet.TenantID]()); !errors.Is(err, fact.ErrNotFound) {
		t.Fatal(err)
	}
	w := fact.Warehouse{ID: newID[fleet.WarehouseID](), Tenant: shard.Tenant, Code: "w1", Name: "x", Timezone: "UTC", CreatedAt: day}
	if c := asConflict(t, s.Warehouses.CreateWarehouse(ctx, w, nil)); c.Key != "warehouse_code" {
		t.Fatalf("%+v", c)
	}
	u := fact.User{ID: newID[fleet.UserID](), Subject: "sub", Email: "a@b", DisplayName: "A"}
	first, err := s.Users.UpsertUserFromOIDC(ctx, shard.Tenant, u)
	if err != nil {
		t.Fatal(err)
	}
	u.ID, u.Email = newID[fleet.UserID](), "c@d"
	second, err := s.Users.UpsertUserFromOIDC(ctx, shard.Tenant, u)
	if err != nil || second.ID != first.ID || second.Email != "c@d" {
		t.Fatalf("%+v %v", second, err)
	}
}

func asConflict(t *testing.T, err error) *fact.ConflictError {
	t.Helper()
	var c *fact.ConflictError
	if !errors.As(err, &c) {
		t.Fatalf("got %v, want a conflict", err)
	}
	return c
}

const floor = "type octile\nheight 4\nwidth 5\nmap\n.....\n.@.@.\n.....\n.....\n"

func TestMapsZonesAndLanes(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	shard := newShard(t, s)
	ctx := t.Context()
	g := addMap(t, s, shard, "", floor)
	v, content, err := s.Maps.GetMapVersion(ctx, shard.Tenant, g.MapID, 1)
	if err != nil || string(content) != floor || v.Status != "DRAFT" || v.Vertices != len(g.Vertices) || v.Lanes != len(g.Lanes) || v.ResM != 1 {
		t.Fatalf("%+v %q %v", v, content, err)
	}
	lanes := func() []string {
		return walk(t, func(p fact.Page) (fact.List[fact.Lane], error) {
			return s.Lanes.ListLanes(ctx, shard.Tenant, fact.LaneFilter{Map: g.MapID}, p)
		},
			func(l fact.Lane) string { return string(l.ID) })
	}
	if got := lanes(); len(got) != len(g.Lanes) || !slices.IsSorted(got) {
		t.Fatalf("%d lanes, want %d", len(got), len(g.Lanes))
	}
	activate := func(version int) {
		t.Helper()
		f := oneFact(string(shard.Warehouse), 0, day, dispatch.MapActivated{MapID: g.MapID, Version: version})
		mustAppend(t, s, fact.Unit{Shard: shard, Facts: []fact.Fact{f}})
	}
	activate(1)
	lane := g.Lanes[2]
	change := dispatch.LaneChanged{State: dispatch.LaneState{Lane: lane.ID, Closed: true, Reason: "wet"}}
	mustAppend(t, s, fact.Unit{Shard: shard, Facts: []fact.Fact{oneFact(string(shard.Warehouse), 0, day, change)}})
	l, err := s.Lanes.GetLane(ctx, shard.Tenant, lane.ID)
	if err != nil || !l.Closed || l.Reason != "wet" || l.From != g.Vertices[lane.From].ID || l.Points[0][0] != g.Vertices[lane.From].X {
		t.Fatalf("%+v %v", l, err)
	}
	second := addMap(t, s, shard, g.MapID, "type octile\nheight 4\nwidth 5\nmap\n.....\n.@.@.\n.....\n....@\n")
	activate(2)
	if got := lanes(); len(got) != len(second.Lanes) {
		t.Fatalf("%d lanes of version 2, want %d", len(got), len(second.Lanes))
	}
	m, err := s.Maps.GetMap(ctx, shard.Tenant, g.MapID)
	if err != nil || m.Active != 2 || m.Newest != 2 {
		t.Fatalf("%+v %v", m, err)
	}
	versions, err := s.Maps.ListMapVersions(ctx, shard.Tenant, g.MapID, fact.Page{Limit: 9})
	if err != nil || len(versions.Items) != 2 || versions.Items[0].Status != "ACTIVE" || versions.Items[1].Status != "RETIRED" {
		t.Fatalf("%+v %v", versions, err)
	}
	stale := fact.MapUpload{Map: fact.Map{ID: g.MapID, Tenant: shard.Tenant, CreatedAt: day}, Format: "movingai", Content: []byte(floor), Graph: second}
	if _, err := s.Maps.AddMapVersion(ctx, stale, nil); asConflict(t, err).Key != "version" {
		t.Fatal(err)
	}
	overlays(t, s, shard, second)
	byPlace(t, s, shard, second)
}

// byPlace compares what the index on geometry finds with a look at every lane.
func byPlace(t *testing.T, s *postgres.Store, shard fleet.Shard, g *roadmap.Graph) {
	t.Helper()
	ring := roadmap.Polygon{{0, 0}, {1.6, 0}, {1.6, 4}, {0, 4}, {0, 0}} // the first column, and the middle of the second
	for _, inside := range []bool{false, true} {
		var want []string
		for i := range g.Lanes {
			from, to := &g.Vertices[g.Lanes[i].From], &g.Vertices[g.Lanes[i].To]
			if low, high := min(from.X, to.X), max(from.X, to.X); inside && high <= 1.6 || !inside && low <= 1.6 {
				want = append(want, string(g.Lanes[i].ID))
			}
		}
		slices.Sort(want)
		at := fact.Area{Ring: ring, Inside: inside}
		got := walk(t, func(p fact.Page) (fact.List[fact.Lane], error) {
			return s.Lanes.ListLanes(t.Context(), shard.Tenant, fact.LaneFilter{Map: g.MapID, At: at}, p)
		}, func(l fact.Lane) string { return string(l.ID) })
		if len(want) == 0 || len(want) == len(g.Lanes) || !slices.Equal(got, want) {
			t.Errorf("inside %v: %d lanes of %d, want %d", inside, len(got), len(g.Lanes), len(want))
		}
	}
	for _, c := range []struct {
		at    roadmap.Polygon
		inner bool
		want  bool
	}{
		{roadmap.Polygon{{0, 0}, {5, 0}, {5, 4}, {0, 4}, {0, 0}}, true, true},
		{roadmap.Polygon{{0, 0}, {1, 0}, {1, 1}, {0, 0}}, true, false},
		{roadmap.Polygon{{0, 0}, {1, 0}, {1, 1}, {0, 0}}, false, true},
		{roadmap.Polygon{{50, 50}, {51, 50}, {51, 51}, {50, 50}}, false, false},
	} {
		l, err := s.Zones.ListZones(t.Context(), shard.Tenant, fact.ZoneFilter{Warehouse: shard.Warehouse, Kind: "traffic", At: fact.Area{Ring: c.at, Inside: c.inner}}, fact.Page{Limit: 10})
		if err != nil || len(l.Items) > 0 != c.want {
			t.Errorf("%v, inside %v: %d zones, %v", c.at, c.inner, len(l.Items), err)
		}
	}
	other := newShard(t, s)
	l, err := s.Zones.ListZones(t.Context(), other.Tenant, fact.ZoneFilter{At: fact.Area{Ring: ring}}, fact.Page{Limit: 10})
	if err != nil || len(l.Items) > 0 {
		t.Errorf("another tenant sees %d zones there, %v", len(l.Items), err)
	}
}

// What was learned is kept, replaced and nobody else's.
func TestDiagramsAreKept(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	shard, other := newShard(t, s), newShard(t, s)
	if _, err := s.Diagrams.GetDiagrams(t.Context(), shard); !errors.Is(err, fact.ErrNotFound) {
		t.Fatal(err)
	}
	d := fact.Diagrams{Shard: shard, Map: newID[fleet.MapID](), MapVersion: 1, Learned: json.RawMessage(`{"zones": {"a": 1}}`)}
	for d.MapVersion = 1; d.MapVersion <= 2; d.MapVersion++ {
		if err := s.Diagrams.SaveDiagrams(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.Diagrams.GetDiagrams(t.Context(), shard)
	if err != nil || got.Map != d.Map || got.MapVersion != 2 || string(got.Learned) != string(d.Learned) || time.Since(got.SavedAt) > time.Hour {
		t.Fatalf("%+v %v", got, err)
	}
	if _, err := s.Diagrams.GetDiagrams(t.Context(), other); !errors.Is(err, fact.ErrNotFound) {
		t.Fatal(err)
	}
	d.Shard.Warehouse = other.Warehouse // of another tenant
	if err := s.Diagrams.SaveDiagrams(t.Context(), d); !errors.Is(err, fact.ErrRejected) {
		t.Fatal(err)
	}
}

func overlays(t *testing.T, s *postgres.Store, shard fleet.Shard, g *roadmap.Graph) {
	ctx := t.Context()
	z := fact.Zone{
		ID: newID[fleet.ZoneID](), Tenant: shard.Tenant, Map: g.MapID, Kind: "keep_out", Name: "pit", Capacity: 0,
		Polygon: roadmap.Polygon{{0, 0}, {1, 0}, {1, 1}, {0, 1}, {0, 0}},
	}
	saved, created, err := s.Zones.PutZone(ctx, z, 0)
	if err != nil || !created || saved.Version != 1 || saved.Warehouse != shard.Warehouse {
		t.Fatalf("%+v %v %v", saved, created, err)
	}
	if _, _, err := s.Zones.PutZone(ctx, z, 0); asConflict(t, err).Key != "version" {
		t.Fatal(err)
	}
	z.Name = "hole"
	if saved, created, err = s.Zones.PutZone(ctx, z, 1); err != nil || created || saved.Version != 2 {
		t.Fatalf("%+v %v %v", saved, created, err)
	}
	rec, err := s.LoadWarehouse(ctx, shard)
	if err != nil || len(rec.KeepOut) != 1 || g.Vertices[rec.KeepOut[0]].X != 0.5 || g.Vertices[rec.KeepOut[0]].Y != 0.5 {
		t.Fatalf("kept out: %v %v", rec.KeepOut, err)
	}
	ids := walk(t, func(p fact.Page) (fact.List[fact.Zone], error) {
		return s.Zones.ListZones(ctx, shard.Tenant, fact.ZoneFilter{Map: g.MapID}, p)
	}, func(z fact.Zone) string { return string(z.ID) })
	if len(ids) != len(g.Zones)+1 || !slices.Contains(ids, string(z.ID)) {
		t.Fatalf("zones %v, want %d traffic zones and %s", ids, len(g.Zones), z.ID)
	}
	traffic := z
	traffic.ID = g.Zones[0].ID
	if _, _, err := s.Zones.PutZone(ctx, traffic, -1); asConflict(t, err).Key != "zone_id" {
		t.Fatal(err)
	}
	if err := s.Zones.DeleteZone(ctx, shard.Tenant, z.ID, 1); asConflict(t, err).Key != "version" {
		t.Fatal(err)
	}
	if err := s.Zones.DeleteZone(ctx, shard.Tenant, z.ID, 2); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Zones.GetZone(ctx, shard.Tenant, z.ID); !errors.Is(err, fact.ErrNotFound) {
		t.Fatal(err)
	}
}

func TestAuditIsWritten(t *testing.T) {
	t.Parallel()
	s, url := freshAt(t)
	shard := newShard(t, s)
	entries := []fact.AuditEntry{
		{ID: uuid.NewString(), At: day, Tenant: shard.Tenant, User: newID[fleet.UserID](), Action: "task.create", Status: 201, Duration: time.Millisecond, ClientIP: "127.0.0.1"},
		{ID: uuid.NewString(), At: day, Action: "sign_in", Status: 401, Details: json.RawMessage(`{"reason":"expired"}`)},
	}
	if err := s.Audit.WriteAuditLog(t.Context(), entries); err != nil {
		t.Fatal(err)
	}
	conn := connect(t, url, "")
	var mine, nobody int
	row := conn.QueryRow(context.Background(), `SELECT count(*) FILTER (WHERE tenant_id = $1), count(*) FILTER (WHERE tenant_id = '00000000-0000-0000-0000-000000000000') FROM audit_logs`, shard.Tenant)
	if err := row.Scan(&mine, &nobody); err != nil || mine != 1 || nobody != 1 {
		t.Fatalf("%d and %d entries, %v", mine, nobody, err)
	}
}
