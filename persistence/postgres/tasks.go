package postgres

import (
	"context"
	"encoding/json"
	"fmt"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/task"
	"starling/persistence/postgres/gen"
)

// CreateTask records a task with its first event and its outbox row in one transaction, through the journal and
// unfenced: for tools that run without the engine. Errors as Append.
func (r *TasksRepo) CreateTask(ctx context.Context, tenant fleet.TenantID, f fact.Fact, spec task.Spec, idem *fact.Idempotency) error {
	f.Subject, f.Version, f.Event = string(spec.ID), 1, task.Created{Spec: spec}
	if err := r.s.append(ctx, fleet.Shard{Tenant: tenant, Warehouse: spec.Shard.Warehouse}, f, idem); err != nil {
		return fmt.Errorf("create task %s: %w", spec.ID, err)
	}
	return nil
}

// AppendTaskEvent records a further event of a task, as CreateTask; f.Version is the task's version after it.
func (r *TasksRepo) AppendTaskEvent(ctx context.Context, tenant fleet.TenantID, warehouse fleet.WarehouseID, f fact.Fact) error {
	if _, ok := f.Event.(task.Event); !ok {
		return fmt.Errorf("append a %T to task %s: %w", f.Event, f.Subject, fact.ErrRejected)
	}
	if err := r.s.append(ctx, fleet.Shard{Tenant: tenant, Warehouse: warehouse}, f, nil); err != nil {
		return fmt.Errorf("append to task %s: %w", f.Subject, err)
	}
	return nil
}

func taskOf(r *gen.Task) (task.View, error) {
	st, err := taskState(r)
	if err != nil {
		return task.View{}, err
	}
	return *st, nil
}

// GetTaskByID returns a task; fact.ErrNotFound where there is none.
func (r *TasksRepo) GetTaskByID(ctx context.Context, tenant fleet.TenantID, id fleet.TaskID) (v task.View, err error) {
	if err := known(string(tenant), string(id)); err != nil {
		return v, err
	}
	err = r.s.inTenant(ctx, reading, tenant, func(q *gen.Queries) error {
		st, err := getTask(ctx, q, tenant, id)
		if err != nil {
			return err
		}
		v = *st
		return nil
	})
	return v, err
}

// GetTasks returns those of some tasks that are there, in the order of their ids.
func (r *TasksRepo) GetTasks(ctx context.Context, tenant fleet.TenantID, ids []fleet.TaskID) (found []task.View, err error) {
	want := make([]string, 0, len(ids))
	for _, id := range ids {
		if isUUID(string(id)) {
			want = append(want, string(id))
		}
	}
	if len(want) == 0 || !isUUID(string(tenant)) {
		return nil, nil
	}
	err = r.s.inTenant(ctx, reading, tenant, func(q *gen.Queries) error {
		rows, err := q.GetTasks(ctx, gen.GetTasksParams{TenantID: string(tenant), TaskIds: want})
		if err != nil {
			return err
		}
		found = make([]task.View, len(rows))
		for i := range rows {
			if found[i], err = taskOf(&rows[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// ListTasks lists tasks, newest first.
func (r *TasksRepo) ListTasks(ctx context.Context, tenant fleet.TenantID, f fact.TaskFilter, p fact.Page) (l fact.List[task.View], err error) {
	c, err := from(p, "tasks", newest())
	if err != nil || !sieve(f.Warehouse) || !sieve(f.Robot) {
		return fact.List[task.View]{Items: []task.View{}}, err
	}
	err = r.s.inTenant(ctx, reading, tenant, func(q *gen.Queries) error {
		rows, err := q.ListTasks(ctx, gen.ListTasksParams{
			TenantID: string(tenant), BeforeAt: c.At, BeforeID: c.ID, CreatedAfter: f.CreatedAfter, Status: f.Status, TaskType: f.Type,
			WarehouseID: string(f.Warehouse), RobotID: string(f.Robot), Source: f.Source, PageSize: size(p),
		})
		if err != nil {
			return err
		}
		l, err = page(p, rows, taskOf, func(t *gen.Task) cursor { return cursor{At: t.CreatedAt, ID: t.TaskID} }, "tasks")
		return err
	})
	return l, err
}

func taskEventOf(e *gen.TaskEvent) (fact.TaskEvent, error) {
	return fact.TaskEvent{
		ID: fleet.EventID(e.EventID), Task: fleet.TaskID(e.TaskID), Seq: e.Seq, Type: e.EventType, From: given[string](e.FromStatus),
		To: e.ToStatus, At: e.OccurredAt.UTC(), By: fleet.Actor{User: given[fleet.UserID](e.ActorUserID), Part: e.ActorPart},
		Payload: json.RawMessage(e.Payload),
	}, nil
}

// ListTaskEvents lists a task's history, oldest first; fact.ErrNotFound where there is no such task.
func (r *TasksRepo) ListTaskEvents(ctx context.Context, tenant fleet.TenantID, id fleet.TaskID, p fact.Page) (l fact.List[fact.TaskEvent], err error) {
	if err := known(string(tenant), string(id)); err != nil {
		return l, err
	}
	c, err := from(p, "task_events", cursor{})
	if err != nil {
		return l, err
	}
	err = r.s.inTenant(ctx, reading, tenant, func(q *gen.Queries) error {
		if _, err := q.PlaceOfTask(ctx, gen.PlaceOfTaskParams{TenantID: string(tenant), ID: string(id)}); err != nil {
			return err
		}
		rows, err := q.ListTaskEvents(ctx, gen.ListTaskEventsParams{
			TenantID: string(tenant), TaskID: string(id), After: c.N, PageSize: size(p),
		})
		if err != nil {
			return err
		}
		l, err = page(p, rows, taskEventOf, func(e *gen.TaskEvent) cursor { return cursor{N: e.Seq} }, "task_events")
		return err
	})
	return l, err
}
