package main

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"starling/actors"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/gateway/rest"
	"starling/persistence/postgres"
	"starling/persistence/redis"
)

// startCache prepares what Redis keeps besides quotas: the newest views, and the locks of dispatching and replanning.
// Without a REDIS_URL there is nothing of it.
func (a *app) startCache(registry prometheus.Registerer) error {
	url := a.Config.RedisURL.Reveal()
	if url == "" {
		return nil
	}
	o := redis.MirrorOptions{Options: redis.Options{URL: url, Log: a.Log}, Rows: storedViews{a.store}, Registerer: registry}
	if slices.Contains(a.Roles, roleEngine) {
		o.Newest = a.views
	}
	var err error
	a.mirror, err = redis.OpenMirror(o)
	return err
}

// stopCache writes once more what has changed.
func (a *app) stopCache() {
	if a.mirror != nil {
		_ = a.mirror.Close()
	}
}

// facts are the rows that clients list and read. A process that holds no robots itself has their newest views from Redis.
func (a *app) facts() rest.Facts {
	f := newFacts(a.store)
	if a.mirror == nil || a.system != nil {
		return f
	}
	return mirroredFacts{Facts: f, mirror: a.mirror, log: a.Log}
}

// ownership is where shards are taken.
func (a *app) ownership() actors.Ownership {
	if a.mirror == nil {
		return a.store
	}
	return mirroredOwnership{a.store, a}
}

// leaveShard ends what this process does in Redis for a shard that it has lost.
func (a *app) leaveShard(s fleet.Shard) {
	a.dropLocks(s)
	if a.mirror != nil {
		a.mirror.Leave(s)
	}
}

// storedViews are the views that can be read from rows.
type storedViews struct{ store *postgres.Store }

// StoredRobots implements redis.Rows.
func (s storedViews) StoredRobots(ctx context.Context, shard fleet.Shard, f func(*robot.View) error) error {
	p := fact.Page{Limit: 500}
	for {
		l, err := s.store.Robots.ListRobots(ctx, shard.Tenant, fact.RobotFilter{Warehouse: shard.Warehouse}, p)
		if err != nil {
			return err
		}
		for _, v := range l.Items {
			if err := f(v); err != nil {
				return err
			}
		}
		if p.Cursor = l.Next; l.Next == "" {
			return nil
		}
	}
}

// openStatuses are those of tasks that may change, in the order in which they do: a task that moves on while they are read
// one after the other is not missed.
func openStatuses() []fleet.TaskStatus {
	return []fleet.TaskStatus{fleet.TaskCreated, fleet.TaskAssigned, fleet.TaskExecuting, fleet.TaskCancelling}
}

// StoredTasks implements redis.Rows.
func (s storedViews) StoredTasks(ctx context.Context, shard fleet.Shard, f func(*task.View) error) error {
	for _, status := range openStatuses() {
		p := fact.Page{Limit: 500}
		for {
			l, err := s.store.Tasks.ListTasks(ctx, shard.Tenant, fact.TaskFilter{Warehouse: shard.Warehouse, Status: status.String()}, p)
			if err != nil {
				return err
			}
			for i := range l.Items {
				if err := f(&l.Items[i]); err != nil {
					return err
				}
			}
			if p.Cursor = l.Next; l.Next == "" {
				break
			}
		}
	}
	return nil
}

// mirroredViews shows in Redis too what actors show.
type mirroredViews struct {
	actors.Views
	mirror *redis.Mirror
}

// ShowRobot implements actors.Views.
func (m mirroredViews) ShowRobot(shard fleet.Shard, v *robot.View) {
	m.Views.ShowRobot(shard, v)
	m.mirror.RobotChanged(shard, v.ID)
}

// RobotGone implements actors.Views.
func (m mirroredViews) RobotGone(shard fleet.Shard, id fleet.RobotID) {
	m.Views.RobotGone(shard, id)
	m.mirror.RobotChanged(shard, id)
}

// ShowTask implements actors.Views.
func (m mirroredViews) ShowTask(shard fleet.Shard, v *task.View) {
	m.Views.ShowTask(shard, v)
	m.mirror.TaskChanged(shard, v.Spec.ID, v.Version)
}

// TaskChanged implements actors.Views.
func (m mirroredViews) TaskChanged(shard fleet.Shard, e task.Event, v *task.View) {
	m.Views.TaskChanged(shard, e, v)
	m.mirror.TaskChanged(shard, v.Spec.ID, v.Version)
}

var _ actors.Views = mirroredViews{}

// mirroredOwnership tells the mirror and the locks as which incarnation this process holds its shards.
type mirroredOwnership struct {
	actors.Ownership
	app *app
}

// Take implements actors.Ownership.
func (m mirroredOwnership) Take(ctx context.Context, shard fleet.Shard, owner string) (fleet.Incarnation, time.Duration, error) {
	inc, wait, err := m.Ownership.Take(ctx, shard, owner)
	if err == nil {
		m.app.mirror.Own(shard, inc)
		m.app.keepLocks(shard, inc)
	}
	return inc, wait, err
}

// mirroredFacts lists robots and tasks in a process that holds none of them: rows from the store, with the newest views
// from Redis over them; and from Redis alone what the store cannot answer while it is away.
type mirroredFacts struct {
	rest.Facts
	mirror *redis.Mirror
	log    *slog.Logger
}

// freshViews is how long ago the owner of a warehouse may have written last for its views to stand for rows.
const freshViews = 3 * time.Second

// rowsWithin is how long a list waits for rows before it takes the views alone.
const rowsWithin = 3 * time.Second

// GetRobot implements rest.Facts.
func (m mirroredFacts) GetRobot(ctx context.Context, tenant fleet.TenantID, id fleet.RobotID) (rest.Robot, error) {
	r, err := m.Facts.GetRobot(ctx, tenant, id)
	if err == nil {
		one := []rest.Robot{r}
		m.see(ctx, tenant, one)
		r = one[0]
	}
	return r, err
}

// ListRobots implements rest.Facts.
func (m mirroredFacts) ListRobots(ctx context.Context, tenant fleet.TenantID, f fact.RobotFilter, p fact.Page) (fact.List[rest.Robot], error) {
	rows, cancel := context.WithTimeout(ctx, rowsWithin)
	l, err := m.Facts.ListRobots(rows, tenant, f, p)
	cancel()
	if err == nil {
		m.see(ctx, tenant, l.Items)
		return l, nil
	}
	if !storeAway(ctx, err) {
		return l, err
	}
	all, seen := m.robots(ctx, tenant, f.Warehouse)
	if seen != nil {
		return l, errors.Join(err, seen)
	}
	views, bad := postgres.PageRobots(all, f, p)
	if bad != nil {
		return l, bad
	}
	l = fact.List[rest.Robot]{Next: views.Next, Items: []rest.Robot{}}
	for _, v := range views.Items {
		r := storedRobot(v)
		r.Seen = v
		l.Items = append(l.Items, r)
	}
	return l, nil
}

// storeAway says that the store of facts is what is missing, and the client still waits.
func storeAway(ctx context.Context, err error) bool {
	return ctx.Err() == nil && (errors.Is(err, fact.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded))
}

// robots are all views of a tenant's warehouse, or of all its warehouses.
func (m mirroredFacts) robots(ctx context.Context, tenant fleet.TenantID, only fleet.WarehouseID) (all []*robot.View, err error) {
	floors := []fleet.WarehouseID{only}
	if only == "" {
		if floors, err = m.mirror.Warehouses(ctx, tenant); err != nil {
			return nil, err
		}
	}
	for _, w := range floors {
		some, _, err := m.mirror.AllRobots(ctx, fleet.Shard{Tenant: tenant, Warehouse: w})
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// see lays the newest views over stored robots, as far as Redis tells.
func (m mirroredFacts) see(ctx context.Context, tenant fleet.TenantID, list []rest.Robot) {
	ids := map[fleet.WarehouseID][]fleet.RobotID{}
	for i := range list {
		ids[list[i].Spec.Warehouse] = append(ids[list[i].Spec.Warehouse], list[i].Spec.ID)
	}
	for w, some := range ids {
		views, err := m.mirror.Robots(ctx, fleet.Shard{Tenant: tenant, Warehouse: w}, some)
		if err != nil {
			if !errors.Is(err, redis.ErrAway) {
				m.log.LogAttrs(ctx, slog.LevelDebug, "no views", slog.String(keyEvent, "redis.views"), slog.String("error", err.Error()))
			}
			return
		}
		for i := range list {
			if v := views[list[i].Spec.ID]; v != nil && !v.ReportedAt.Before(list[i].Last.ReportedAt) {
				list[i].Seen = v
			}
		}
	}
}

// ListTasks implements rest.Facts. The open tasks of a warehouse with one status are listed from their views while their
// owner writes them, at most freshViews ago; anything else from rows.
func (m mirroredFacts) ListTasks(ctx context.Context, tenant fleet.TenantID, f fact.TaskFilter, p fact.Page) (fact.List[task.View], error) {
	status, _ := fleet.ParseTaskStatus(f.Status)
	views := f.Warehouse != "" && f.Status != "" && !status.Final()
	shard := fleet.Shard{Tenant: tenant, Warehouse: f.Warehouse}
	if views {
		if all, age, err := m.mirror.OpenTasks(ctx, shard); err == nil && age <= freshViews {
			return postgres.PageTasks(all, f, p)
		}
	}
	rows, cancel := context.WithTimeout(ctx, rowsWithin)
	l, err := m.Facts.ListTasks(rows, tenant, f, p)
	cancel()
	if err == nil || !views || !storeAway(ctx, err) {
		return l, err
	}
	all, _, away := m.mirror.OpenTasks(ctx, shard)
	if away != nil {
		return l, errors.Join(err, away)
	}
	return postgres.PageTasks(all, f, p)
}
