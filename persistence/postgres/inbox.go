package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/task"
	"starling/persistence/postgres/gen"
)

// ProjectTasks folds events of one tenant's tasks into their timings, in one transaction with the memory of the consumer
// (the inbox): an event that the consumer has had before has no effect. It returns how many events were new. Events may come
// twice; those of one task must not be overtaken by later ones. Errors: fact.ErrRejected (an event is bad: the next try will
// end the same), else try again.
func (s *Store) ProjectTasks(ctx context.Context, consumer string, tenant fleet.TenantID, events []fact.Told) (fresh int, err error) {
	if !isUUID(string(tenant)) {
		return 0, fmt.Errorf("project events of tenant %q: %w: %w", tenant, fact.ErrRejected, errNotUUID)
	}
	ids := make([]string, len(events))
	for i := range events {
		if ids[i] = string(events[i].ID); !isUUID(ids[i]) || !isUUID(events[i].Subject) {
			return 0, fmt.Errorf("project event %q: %w: %w", ids[i], fact.ErrRejected, errNotUUID)
		}
	}
	slices.Sort(ids) // one order for all consumers: none waits for another in a circle
	err = s.inTenant(ctx, writing, tenant, func(q *gen.Queries) error {
		fresh = 0
		remembered, err := q.RememberEvents(ctx, gen.RememberEventsParams{TenantID: string(tenant), Consumer: consumer, EventIds: ids})
		if err != nil || len(remembered) == 0 {
			return err
		}
		isNew := make(map[fleet.EventID]bool, len(remembered))
		for _, id := range remembered {
			isNew[fleet.EventID(id)] = true
		}
		fresh = len(remembered)
		return fold(ctx, q, tenant, events, isNew)
	})
	if err != nil {
		return 0, fmt.Errorf("project %d events of tenant %s: %w", len(events), tenant, err)
	}
	return fresh, nil
}

// fold applies the new ones of the events to the timings of their tasks and writes those that have changed.
func fold(ctx context.Context, q *gen.Queries, tenant fleet.TenantID, events []fact.Told, isNew map[fleet.EventID]bool) error {
	var of []string
	byTask := map[string]*task.Timing{}
	for i := range events {
		if id := events[i].Subject; isNew[events[i].ID] && byTask[id] == nil {
			byTask[id] = &task.Timing{}
			of = append(of, id)
		}
	}
	slices.Sort(of)
	rows, err := q.LoadTimings(ctx, gen.LoadTimingsParams{TenantID: string(tenant), TaskIds: of})
	if err != nil {
		return err
	}
	for i := range rows {
		t, err := timingOf(&rows[i])
		if err != nil { // the next try ends the same
			return fmt.Errorf("%w: %w", fact.ErrRejected, err)
		}
		byTask[rows[i].TaskID] = &t
	}
	changed := map[string]bool{}
	for i := range events {
		e := &events[i]
		if !isNew[e.ID] {
			continue
		}
		if ev, ok := e.Event.(task.Event); ok && byTask[e.Subject].Apply(e.At, e.Version, ev) {
			changed[e.Subject] = true
		}
	}
	var list []timingJSON
	for _, id := range of {
		if t := byTask[id]; changed[id] {
			list = append(list, encodeTiming(t))
		}
	}
	if len(list) == 0 {
		return nil
	}
	b, err := json.Marshal(list)
	if err != nil {
		return fmt.Errorf("encode timings: %w", err)
	}
	_, err = q.SaveTimings(ctx, gen.SaveTimingsParams{TenantID: string(tenant), Timings: b})
	return err
}

// timingJSON is a row of task_timing as SaveTimings takes it.
type timingJSON struct {
	Task       string     `json:"task_id"`
	Warehouse  string     `json:"warehouse_id"`
	Type       string     `json:"task_type"`
	Robot      *string    `json:"robot_id"`
	Fleet      string     `json:"fleet"`
	Priority   uint8      `json:"priority"`
	Version    int64      `json:"version"`
	Phase      string     `json:"phase"`
	PhaseAt    time.Time  `json:"phase_at"`
	CreatedAt  time.Time  `json:"created_at"`
	DueAt      time.Time  `json:"due_at"`
	Deadline   *time.Time `json:"deadline"`
	AssignedAt *time.Time `json:"assigned_at"`
	StartedAt  *time.Time `json:"started_at"`
	FinishedAt *time.Time `json:"finished_at"`
	Awards     int        `json:"awards"`
	Errands    int        `json:"errands"`
	Delayed    int64      `json:"delayed_ms"`
	Waiting    int64      `json:"waiting_ms"`
	Approach   int64      `json:"approach_ms"`
	Executing  int64      `json:"executing_ms"`
	Cancelling int64      `json:"cancelling_ms"`
}

func encodeTiming(t *task.Timing) timingJSON {
	return timingJSON{
		Task: string(t.Task), Warehouse: string(t.Shard.Warehouse), Type: t.Type.String(), Robot: optional(t.Robot), Fleet: t.Fleet,
		Priority: t.Priority, Version: t.Version, Phase: t.Phase.String(), PhaseAt: t.PhaseAt, CreatedAt: t.CreatedAt, DueAt: t.DueAt,
		Deadline: unlessZero(t.Deadline), AssignedAt: unlessZero(t.AssignedAt), StartedAt: unlessZero(t.StartedAt), FinishedAt: unlessZero(t.FinishedAt),
		Awards: t.Awards, Errands: t.Errands, Delayed: t.Delayed.Milliseconds(), Waiting: t.Waiting.Milliseconds(),
		Approach: t.Approach.Milliseconds(), Executing: t.Executing.Milliseconds(), Cancelling: t.Cancelling.Milliseconds(),
	}
}

func timingOf(r *gen.TaskTiming) (t task.Timing, err error) {
	kind, ok := fleet.ParseTaskType(r.TaskType)
	phase, known := fleet.ParseTaskStatus(r.Phase)
	if !ok || !known {
		return t, fmt.Errorf("read the timing of task %s: unknown type %q or phase %q", r.TaskID, r.TaskType, r.Phase)
	}
	millis := func(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
	return task.Timing{
		Task: fleet.TaskID(r.TaskID), Shard: shardOf(r.TenantID, r.WarehouseID), Type: kind, Priority: uint8(r.Priority), Fleet: r.Fleet,
		Robot: given[fleet.RobotID](r.RobotID), Version: r.Version, Phase: phase, PhaseAt: r.PhaseAt.UTC(), CreatedAt: r.CreatedAt.UTC(),
		DueAt: r.DueAt.UTC(), Deadline: instant(r.Deadline), AssignedAt: instant(r.AssignedAt), StartedAt: instant(r.StartedAt),
		FinishedAt: instant(r.FinishedAt), Awards: int(r.Awards), Errands: int(r.Errands), Delayed: millis(r.DelayedMs),
		Waiting: millis(r.WaitingMs), Approach: millis(r.ApproachMs), Executing: millis(r.ExecutingMs), Cancelling: millis(r.CancellingMs),
	}, nil
}

// GetTiming returns how long a task spent in which phase, as far as its events have been consumed; fact.ErrNotFound where
// none has.
func (r *TasksRepo) GetTiming(ctx context.Context, tenant fleet.TenantID, id fleet.TaskID) (t task.Timing, err error) {
	if err := known(string(tenant), string(id)); err != nil {
		return t, err
	}
	err = r.s.inTenant(ctx, reading, tenant, func(q *gen.Queries) error {
		row, err := q.GetTiming(ctx, gen.GetTimingParams{TenantID: string(tenant), TaskID: string(id)})
		if err != nil {
			return err
		}
		t, err = timingOf(&row)
		return err
	})
	return t, err
}
