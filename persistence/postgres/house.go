package postgres

import (
	"context"
	"fmt"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/persistence/postgres/gen"
)

// WarehouseOf says where an object of the tenant lives; kind is task, robot, map, zone or lane. Errors:
// fact.ErrNotFound.
func (s *Store) WarehouseOf(ctx context.Context, tenant fleet.TenantID, kind, id string) (fact.Place, error) {
	var warehouse, m string
	err := s.byID(ctx, tenant, id, func(q *gen.Queries) (err error) {
		switch kind {
		case "task":
			warehouse, err = q.PlaceOfTask(ctx, gen.PlaceOfTaskParams{TenantID: string(tenant), ID: id})
		case "robot":
			warehouse, err = q.PlaceOfRobot(ctx, gen.PlaceOfRobotParams{TenantID: string(tenant), ID: id})
		case "map":
			m = id
			warehouse, err = q.PlaceOfMap(ctx, gen.PlaceOfMapParams{TenantID: string(tenant), ID: id})
		case "zone":
			var row gen.PlaceOfZoneRow
			row, err = q.PlaceOfZone(ctx, gen.PlaceOfZoneParams{TenantID: string(tenant), ID: id})
			warehouse, m = row.WarehouseID, row.MapID
		case "lane":
			var row gen.PlaceOfLaneRow
			row, err = q.PlaceOfLane(ctx, gen.PlaceOfLaneParams{TenantID: string(tenant), ID: id})
			warehouse, m = row.WarehouseID, row.MapID
		default:
			return fact.ErrNotFound
		}
		return err
	})
	if err != nil {
		return fact.Place{}, fmt.Errorf("find %s %s: %w", kind, id, err)
	}
	return fact.Place{Shard: fleet.Shard{Tenant: tenant, Warehouse: fleet.WarehouseID(warehouse)}, Map: fleet.MapID(m)}, nil
}
