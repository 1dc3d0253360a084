package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/persistence/postgres/gen"
)

// jobConns bounds the connections of background jobs: a look takes one for a moment.
const jobConns = 3

// JobsRepo is what background jobs read across tenants, as starling_worker, and what they forget. It has connections of its
// own, made when they are first needed, so that no look waits for clients or makes them wait.
type JobsRepo struct {
	s    *Store
	pool *pgxpool.Pool
}

// Jobs prepares the connections of background jobs; Close ends them.
func (s *Store) Jobs(ctx context.Context) (*JobsRepo, error) {
	pool, err := s.connect(ctx, roleWorker, jobConns, 0)
	if err != nil {
		return nil, err
	}
	return &JobsRepo{s: s, pool: pool}, nil
}

// Close ends the connections.
func (r *JobsRepo) Close() { r.pool.Close() }

// firstKey is before all keys.
func firstKey[S ~string](id S) string { return cmp.Or(string(id), nilID) }

// StuckTasks lists open tasks that do not get on by themselves, in the order of their keys, after one.
func (r *JobsRepo) StuckTasks(ctx context.Context, p fact.Patience, after fact.StuckTask, limit int) ([]fact.StuckTask, error) {
	rows, err := gen.New(r.pool).StuckTasks(ctx, gen.StuckTasksParams{
		DeadlineSeconds: p.Deadline.Seconds(), RobotSeconds: p.Robot.Seconds(), CancelSeconds: p.Cancel.Seconds(),
		AfterTenant: firstKey(after.Shard.Tenant), AfterID: firstKey(after.Task), PageSize: int32(limit),
	})
	if err != nil {
		return nil, fmt.Errorf("list stuck tasks: %w", readError(err))
	}
	out := make([]fact.StuckTask, len(rows))
	for i := range rows {
		x := &rows[i]
		status, ok := fleet.ParseTaskStatus(x.Status)
		if !ok {
			return nil, fmt.Errorf("list stuck tasks: unknown status %q", x.Status)
		}
		out[i] = fact.StuckTask{
			Shard: shardOf(x.TenantID, x.WarehouseID), Task: fleet.TaskID(x.TaskID), Robot: given[fleet.RobotID](x.RobotID),
			Status: status, Version: x.Version, Cause: fact.StuckCause(x.Cause), Since: x.SinceAt.UTC(),
		}
	}
	return out, nil
}

func shardOf(tenant, warehouse string) fleet.Shard {
	return fleet.Shard{Tenant: fleet.TenantID(tenant), Warehouse: fleet.WarehouseID(warehouse)}
}

// IdleShards lists shards with open tasks that are due, or will be within ahead, and no owner whose lease is alive, those
// first that are due first.
func (r *JobsRepo) IdleShards(ctx context.Context, ahead time.Duration, limit int) ([]fact.IdleShard, error) {
	rows, err := gen.New(r.pool).IdleShards(ctx, gen.IdleShardsParams{
		AheadSeconds: ahead.Seconds(), LeaseSeconds: (r.s.o.Lease + r.s.o.Drift).Seconds(), PageSize: int32(limit),
	})
	if err != nil {
		return nil, fmt.Errorf("list shards that nobody holds: %w", readError(err))
	}
	out := make([]fact.IdleShard, len(rows))
	for i, x := range rows {
		out[i] = fact.IdleShard{Shard: shardOf(x.TenantID, x.WarehouseID), Tasks: int(x.Tasks), Due: x.Due.UTC()}
	}
	return out, nil
}

// StaleRobots lists robots that count as connected and have been silent for longer, in the order of their keys, after one.
func (r *JobsRepo) StaleRobots(ctx context.Context, silent time.Duration, after fact.StaleRobot, limit int) ([]fact.StaleRobot, error) {
	rows, err := gen.New(r.pool).StaleRobots(ctx, gen.StaleRobotsParams{
		AfterTenant: firstKey(after.Shard.Tenant), AfterID: firstKey(after.Robot), SilentSeconds: silent.Seconds(), PageSize: int32(limit),
	})
	if err != nil {
		return nil, fmt.Errorf("list stale robots: %w", readError(err))
	}
	out := make([]fact.StaleRobot, len(rows))
	for i, x := range rows {
		out[i] = fact.StaleRobot{Shard: shardOf(x.TenantID, x.WarehouseID), Robot: fleet.RobotID(x.RobotID), Last: x.Last.UTC()}
	}
	return out, nil
}

// BusyShards lists shards with open tasks.
func (r *JobsRepo) BusyShards(ctx context.Context, limit int) ([]fleet.Shard, error) {
	rows, err := gen.New(r.pool).BusyShards(ctx, int32(limit))
	if err != nil {
		return nil, fmt.Errorf("list shards with open tasks: %w", readError(err))
	}
	out := make([]fleet.Shard, len(rows))
	for i, x := range rows {
		out[i] = shardOf(x.TenantID, x.WarehouseID)
	}
	return out, nil
}

// Owner says who owns a shard, and whether its lease may be alive; "" = nobody ever did.
func (r *JobsRepo) Owner(ctx context.Context, shard fleet.Shard) (owner string, alive bool, err error) {
	if err := known(string(shard.Tenant), string(shard.Warehouse)); err != nil {
		return "", false, err
	}
	row, err := gen.New(r.pool).ShardOwner(ctx, gen.ShardOwnerParams{TenantID: string(shard.Tenant), WarehouseID: string(shard.Warehouse)})
	if errors.Is(err, pgx.ErrNoRows) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("find the owner of shard %s: %w", shard.Key(), readError(err))
	}
	return row.Owner, row.AgeSeconds >= 0 && row.AgeSeconds <= (r.s.o.Lease+r.s.o.Drift).Seconds(), nil
}

// Contradictions compares the rows of a shard's open tasks with one another.
func (r *JobsRepo) Contradictions(ctx context.Context, shard fleet.Shard, limit int) (out []fact.Mismatch, err error) {
	err = r.s.inTenant(ctx, reading, shard.Tenant, func(q *gen.Queries) error {
		rows, err := q.Contradictions(ctx, gen.ContradictionsParams{
			TenantID: string(shard.Tenant), WarehouseID: string(shard.Warehouse), PageSize: int32(limit),
		})
		out = make([]fact.Mismatch, len(rows))
		for i, x := range rows {
			out[i] = fact.Mismatch{Kind: x.Kind, Task: fleet.TaskID(x.TaskID), Robot: given[fleet.RobotID](x.RobotID), Detail: x.Detail}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("compare the rows of shard %s: %w", shard.Key(), err)
	}
	return out, nil
}

// OpenTasks is what the rows of a shard's open tasks say, the oldest first.
func (r *JobsRepo) OpenTasks(ctx context.Context, shard fleet.Shard, limit int) (out []fact.OpenTask, err error) {
	err = r.s.inTenant(ctx, reading, shard.Tenant, func(q *gen.Queries) error {
		rows, err := q.OpenTasks(ctx, gen.OpenTasksParams{
			TenantID: string(shard.Tenant), WarehouseID: string(shard.Warehouse), PageSize: int32(limit),
		})
		if err != nil {
			return err
		}
		out = make([]fact.OpenTask, len(rows))
		for i, x := range rows {
			if out[i], err = openTask(x.TaskID, x.Status, x.RobotID, x.Version); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the open tasks of shard %s: %w", shard.Key(), err)
	}
	return out, nil
}

// TasksNow is what the rows of some tasks say, open or not.
func (r *JobsRepo) TasksNow(ctx context.Context, shard fleet.Shard, ids []fleet.TaskID) (out []fact.OpenTask, err error) {
	want := make([]string, len(ids))
	for i, id := range ids {
		want[i] = string(id)
	}
	err = r.s.inTenant(ctx, reading, shard.Tenant, func(q *gen.Queries) error {
		rows, err := q.TasksNow(ctx, gen.TasksNowParams{TenantID: string(shard.Tenant), TaskIds: want})
		if err != nil {
			return err
		}
		out = make([]fact.OpenTask, len(rows))
		for i, x := range rows {
			if out[i], err = openTask(x.TaskID, x.Status, x.RobotID, x.Version); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read %d tasks of shard %s: %w", len(ids), shard.Key(), err)
	}
	return out, nil
}

func openTask(id, status string, robot *string, version int64) (fact.OpenTask, error) {
	st, ok := fleet.ParseTaskStatus(status)
	if !ok {
		return fact.OpenTask{}, fmt.Errorf("task %s: unknown status %q", id, status)
	}
	return fact.OpenTask{Task: fleet.TaskID(id), Status: st, Robot: given[fleet.RobotID](robot), Version: version}, nil
}
