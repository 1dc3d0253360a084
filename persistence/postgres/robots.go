package postgres

import (
	"context"
	"fmt"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/persistence/postgres/gen"
)

func robotOf(r *gen.Robot) (*robot.View, error) { return robotView(r), nil }

// UpsertRobot records a registration, through the journal and unfenced: for tools that run without the engine.
// e.Version 1 creates. Errors as Append.
func (r *RobotsRepo) UpsertRobot(ctx context.Context, tenant fleet.TenantID, f fact.Fact, e robot.Registered, idem *fact.Idempotency) error {
	f.Subject, f.Version, f.Event = string(e.Spec.ID), e.Version, e
	if err := r.s.append(ctx, fleet.Shard{Tenant: tenant, Warehouse: e.Spec.Warehouse}, f, idem); err != nil {
		return fmt.Errorf("register robot %s: %w", e.Spec.ID, err)
	}
	return nil
}

// append records one fact outside the actors.
func (s *Store) append(ctx context.Context, shard fleet.Shard, f fact.Fact, idem *fact.Idempotency) error {
	return s.Append(ctx, []fact.Unit{{Shard: shard, Facts: []fact.Fact{f}, Idempotency: idem, Audit: AuditOf(ctx)}})[0]
}

// GetRobot returns a robot as it is registered, with its last snapshot; fact.ErrNotFound where there is none.
func (r *RobotsRepo) GetRobot(ctx context.Context, tenant fleet.TenantID, id fleet.RobotID) (v *robot.View, err error) {
	if err := known(string(tenant), string(id)); err != nil {
		return v, err
	}
	err = r.s.inTenant(ctx, reading, tenant, func(q *gen.Queries) error {
		row, err := q.GetRobot(ctx, gen.GetRobotParams{TenantID: string(tenant), RobotID: string(id)})
		if err != nil {
			return err
		}
		v = robotView(&row)
		return nil
	})
	return v, err
}

// GetRobotByCode is GetRobot by the code that people chose.
func (r *RobotsRepo) GetRobotByCode(ctx context.Context, tenant fleet.TenantID, code string) (v *robot.View, err error) {
	err = r.s.inTenant(ctx, reading, tenant, func(q *gen.Queries) error {
		row, err := q.GetRobotByCode(ctx, gen.GetRobotByCodeParams{TenantID: string(tenant), RobotCode: code})
		if err != nil {
			return err
		}
		v = robotView(&row)
		return nil
	})
	return v, err
}

// CountRobots says how many robots the tenant has registered and not removed.
func (r *RobotsRepo) CountRobots(ctx context.Context, tenant fleet.TenantID) (n int, err error) {
	if err := known(tenant); err != nil {
		return 0, err
	}
	err = r.s.inTenant(ctx, reading, tenant, func(q *gen.Queries) error {
		count, err := q.CountRobots(ctx, string(tenant))
		n = int(count)
		return err
	})
	return n, err
}

// ListRobots lists a tenant's robots by code.
func (r *RobotsRepo) ListRobots(ctx context.Context, tenant fleet.TenantID, f fact.RobotFilter, p fact.Page) (l fact.List[*robot.View], err error) {
	c, err := from(p, "robots", cursor{})
	if err != nil || !sieve(f.Warehouse) {
		return fact.List[*robot.View]{Items: []*robot.View{}}, err
	}
	err = r.s.inTenant(ctx, reading, tenant, func(q *gen.Queries) error {
		rows, err := q.ListRobots(ctx, gen.ListRobotsParams{
			TenantID: string(tenant), AfterCode: c.ID, WarehouseID: string(f.Warehouse), Fleet: f.Fleet, Code: f.Code, PageSize: size(p),
		})
		if err != nil {
			return err
		}
		l, err = page(p, rows, robotOf, func(r *gen.Robot) cursor { return cursor{ID: r.RobotCode} }, "robots")
		return err
	})
	return l, err
}

// GetCommand returns a command with its stages; fact.ErrNotFound where the robot has none of this id.
func (r *CommandsRepo) GetCommand(ctx context.Context, tenant fleet.TenantID, robotID fleet.RobotID, id fleet.CommandID) (c fact.Command, err error) {
	if err := known(string(tenant), string(robotID), string(id)); err != nil {
		return c, err
	}
	err = r.s.inTenant(ctx, reading, tenant, func(q *gen.Queries) error {
		row, err := q.GetCommand(ctx, gen.GetCommandParams{TenantID: string(tenant), RobotID: string(robotID), CommandID: string(id)})
		if err != nil {
			return err
		}
		c, err = commandRecord(&row)
		return err
	})
	return c, err
}

// ListDecisions lists decisions, newest first.
func (r *DecisionsRepo) ListDecisions(ctx context.Context, tenant fleet.TenantID, f fact.DecisionFilter, p fact.Page) (l fact.List[fact.Decision], err error) {
	c, err := from(p, "decisions", newest())
	if err != nil || !sieve(f.Warehouse) || !sieve(f.Task) || !sieve(f.Robot) {
		return fact.List[fact.Decision]{Items: []fact.Decision{}}, err
	}
	err = r.s.inTenant(ctx, reading, tenant, func(q *gen.Queries) error {
		rows, err := q.ListDecisions(ctx, gen.ListDecisionsParams{
			TenantID: string(tenant), BeforeAt: c.At, BeforeID: c.ID, WarehouseID: string(f.Warehouse), TaskID: string(f.Task),
			RobotID: string(f.Robot), PageSize: size(p),
		})
		if err != nil {
			return err
		}
		l, err = page(p, rows, decisionRecord,
			func(d *gen.Decision) cursor { return cursor{At: d.DecidedAt, ID: d.DecisionID} }, "decisions")
		return err
	})
	return l, err
}

// GetDecision returns a decision; fact.ErrNotFound where there is none.
func (r *DecisionsRepo) GetDecision(ctx context.Context, tenant fleet.TenantID, id fleet.DecisionID) (d fact.Decision, err error) {
	if err := known(string(tenant), string(id)); err != nil {
		return d, err
	}
	err = r.s.inTenant(ctx, reading, tenant, func(q *gen.Queries) error {
		row, err := q.GetDecision(ctx, gen.GetDecisionParams{TenantID: string(tenant), DecisionID: string(id)})
		if err != nil {
			return err
		}
		d, err = decisionRecord(&row)
		return err
	})
	return d, err
}
