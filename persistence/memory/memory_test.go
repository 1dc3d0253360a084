package memory_test

import (
	"fmt"
	"testing"

	"github.com/google/uuid"

	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/persistence/memory"
	"starling/persistence/storetest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(*testing.T) storetest.Fixture {
		s := memory.New(memory.Options{})
		versions := map[string]int{}
		return storetest.Fixture{
			Facts: s, Audit: s,
			Shard: func(*testing.T) fleet.Shard {
				return fleet.Shard{Tenant: fleet.TenantID(uuid.NewString()), Warehouse: fleet.WarehouseID(uuid.NewString())}
			},
			AddMap: func(t *testing.T, shard fleet.Shard, id fleet.MapID, content string) *roadmap.Graph {
				if id == "" {
					id = fleet.MapID(uuid.NewString())
				}
				key := fmt.Sprint(shard, id)
				versions[key]++
				d, report := roadmap.Import("movingai", []byte(content), 1)
				if !report.OK() {
					t.Fatal(report)
				}
				g, err := roadmap.Build(d, roadmap.BuildOptions{MapID: id, Version: versions[key]})
				if err != nil {
					t.Fatal(err)
				}
				s.AddMap(shard, g)
				return g
			},
		}
	})
}
