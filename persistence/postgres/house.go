package postgres

import (
	"context"
	"fmt"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/task"
	"starling/persistence/postgres/gen"
)

// Rows is all repositories in one, as a door to the house wants them.
type Rows struct {
	*TenantsRepo
	*UsersRepo
	*WarehousesRepo
	*MapsRepo
	*ZonesRepo
	*LanesRepo
	*RobotsRepo
	*TasksRepo
	*CommandsRepo
	*DecisionsRepo
	*AuditRepo
	store *Store
}

// Rows returns all repositories in one.
func (s *Store) Rows() *Rows {
	return &Rows{
		s.Tenants, s.Users, s.Warehouses, s.Maps, s.Zones, s.Lanes, s.Robots, s.Tasks, s.Commands, s.Decisions, s.Audit, s,
	}
}

// FirstAnswer is Store.FirstAnswer.
func (r *Rows) FirstAnswer(
	ctx context.Context, tenant fleet.TenantID, route, key string,
) (fingerprint []byte, answer *fact.Answer, err error) {
	return r.store.FirstAnswer(ctx, tenant, route, key)
}

// GetTenant is GetTenantByID.
func (r *Rows) GetTenant(ctx context.Context, id fleet.TenantID) (fact.Tenant, error) {
	return r.GetTenantByID(ctx, id)
}

// GetTask is GetTaskByID.
func (r *Rows) GetTask(ctx context.Context, tenant fleet.TenantID, id fleet.TaskID) (task.View, error) {
	return r.GetTaskByID(ctx, tenant, id)
}

// WarehouseOf is Store.WarehouseOf.
func (r *Rows) WarehouseOf(ctx context.Context, tenant fleet.TenantID, kind, id string) (fact.Place, error) {
	return r.store.WarehouseOf(ctx, tenant, kind, id)
}

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

// KeepOut returns the vertices of the graph that lie in keep_out overlays of its map, ascending.
func (r *ZonesRepo) KeepOut(ctx context.Context, tenant fleet.TenantID, g *roadmap.Graph) ([]fleet.Vertex, error) {
	var m mapSource
	err := r.s.byID(ctx, tenant, string(g.MapID), func(q *gen.Queries) error {
		var err error
		m.polygons, err = q.LoadKeepOut(ctx, gen.LoadKeepOutParams{TenantID: string(tenant), MapID: string(g.MapID)})
		return err
	})
	var vs []fleet.Vertex
	if err == nil {
		vs, err = m.keepOut(g)
	}
	if err != nil {
		return nil, fmt.Errorf("get the keep-out zones of map %s: %w", g.MapID, err)
	}
	return vs, nil
}
