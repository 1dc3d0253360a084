//go:build integration

package postgres_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"starling/deploy/stack/stacktest"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/persistence/postgres"
	"starling/persistence/storetest"
)

func TestMain(m *testing.M) { stacktest.Main(m) }

// fresh opens a store on a new, migrated database.
func fresh(t testing.TB) *postgres.Store {
	t.Helper()
	s, _ := freshAt(t)
	return s
}

func freshAt(t testing.TB) (*postgres.Store, string) {
	t.Helper()
	url := stacktest.Database(t)
	if _, err := postgres.Migrate(t.Context(), url, "up"); err != nil {
		t.Fatal(err)
	}
	makePartitions(t, connect(t, url, ""))
	s, err := postgres.Open(t.Context(), postgres.Options{URL: url, MaxConns: 4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, url
}

// makePartitions does what the store's upkeep would do a moment later: until then rows stand in the default partition, and a
// query that is planned while they move sees them in neither place.
func makePartitions(t testing.TB, conn *pgx.Conn) {
	t.Helper()
	for _, parent := range []string{"outbox_events", "idempotency_keys", "audit_logs"} {
		if _, err := conn.Exec(t.Context(), "SELECT ensure_partitions($1, 3)", parent); err != nil {
			t.Fatal(err)
		}
	}
}

// newShard makes a tenant with one warehouse.
func newShard(t testing.TB, s *postgres.Store) fleet.Shard {
	t.Helper()
	shard := fleet.Shard{Tenant: fleet.TenantID(uuid.NewString()), Warehouse: fleet.WarehouseID(uuid.NewString())}
	now := time.Now()
	if err := s.Tenants.CreateTenant(t.Context(), fact.Tenant{
		ID: shard.Tenant, Slug: "t-" + string(shard.Tenant[:30]), Name: "Tenant", CreatedAt: now,
	}, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Warehouses.CreateWarehouse(t.Context(), fact.Warehouse{
		ID: shard.Warehouse, Tenant: shard.Tenant, Code: "w1", Name: "Warehouse", Timezone: "Europe/Berlin", CreatedAt: now,
	}, nil); err != nil {
		t.Fatal(err)
	}
	return shard
}

// addMap uploads a map, or the next version of one, and returns its graph.
func addMap(t testing.TB, s *postgres.Store, shard fleet.Shard, id fleet.MapID, content string) *roadmap.Graph {
	t.Helper()
	u := fact.MapUpload{
		Map:    fact.Map{ID: id, Tenant: shard.Tenant, Warehouse: shard.Warehouse, Name: "Floor", CreatedAt: time.Now()},
		Format: "movingai", ResM: 1, Content: []byte(content),
	}
	version := 1
	if id == "" {
		u.Map.ID = fleet.MapID(uuid.NewString())
	} else {
		m, err := s.Maps.GetMap(t.Context(), shard.Tenant, id)
		if err != nil {
			t.Fatal(err)
		}
		version = m.Newest + 1
	}
	var d *roadmap.Draft
	d, u.Report = roadmap.Import(u.Format, u.Content, u.ResM)
	if !u.Report.OK() {
		t.Fatal(u.Report)
	}
	var err error
	if u.Graph, err = roadmap.Build(d, roadmap.BuildOptions{MapID: u.Map.ID, Version: version}); err != nil {
		t.Fatal(err)
	}
	if id == "" {
		err = s.Maps.CreateMap(t.Context(), u, nil)
	} else {
		_, err = s.Maps.AddMapVersion(t.Context(), u, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return u.Graph
}

func TestConformance(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	storetest.Run(t, func(*testing.T) storetest.Fixture {
		return storetest.Fixture{
			Facts: s, Audit: s.Audit,
			Shard: func(t *testing.T) fleet.Shard { return newShard(t, s) },
			AddMap: func(t *testing.T, shard fleet.Shard, id fleet.MapID, content string) *roadmap.Graph {
				return addMap(t, s, shard, id, content)
			},
		}
	})
}
