package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"starling/engine/alert"
	"starling/engine/dispatch"
	"starling/engine/robot"
	"starling/persistence/postgres/gen"
)

// apply writes what the items hold, in as few statements as their kinds allow. An item whose keys or versions do not
// fit is marked lost and leaves nothing behind, as long as it touches one aggregate; one that touches more must be
// applied alone, within a savepoint.
func (g *group) apply(ctx context.Context, items []*item) error {
	if len(items) == 0 {
		return nil
	}
	for _, it := range items {
		it.lost = false
	}
	if err := g.create(ctx, items); err != nil {
		return err
	}
	if err := g.move(ctx, items); err != nil {
		return err
	}
	if err := g.connections(ctx, items); err != nil {
		return err
	}
	for _, it := range items {
		for i := range it.steps {
			if it.lost {
				break
			}
			if err := g.step(ctx, it, &it.steps[i]); err != nil {
				return err
			}
		}
	}
	u := &queue{conn: g.conn}
	if err := g.enqueue(ctx, gen.New(u), items); err != nil {
		return err
	}
	return u.flush(ctx)
}

func (g *group) create(ctx context.Context, items []*item) error {
	p := gen.CreateTasksParams{TenantID: string(g.shard.Shard.Tenant), WarehouseID: string(g.shard.Shard.Warehouse)}
	for _, it := range items {
		for i, s := range it.creates {
			errands, err := encodeErrands(s)
			if err != nil {
				return fmt.Errorf("encode the errands of task %s: %w", s.ID, err)
			}
			var route, key string
			var fingerprint []byte
			if k := it.unit.Idempotency; k != nil && !it.solo {
				route, key, fingerprint = k.Route, k.Key, k.Fingerprint
			}
			p.TaskIds, p.TaskTypes = append(p.TaskIds, string(s.ID)), append(p.TaskTypes, s.Type.String())
			p.Priorities, p.Sources = append(p.Priorities, int16(s.Priority)), append(p.Sources, s.Source)
			p.IdemRoutes, p.IdemKeys = append(p.IdemRoutes, route), append(p.IdemKeys, key)
			p.Fingerprints = append(p.Fingerprints, fingerprint)
			payload := string(s.Payload)
			if payload == "" {
				payload = "null"
			}
			p.Payloads, p.Errands = append(p.Payloads, payload), append(p.Errands, errands)
			p.WantedRobots, p.Fleets = append(p.WantedRobots, string(s.Robot)), append(p.Fleets, s.Fleet)
			p.Users = append(p.Users, string(s.CreatedBy))
			p.Earliest, p.Deadlines = append(p.Earliest, s.EarliestStart), append(p.Deadlines, s.Deadline)
			p.CreatedAts, p.UpdatedAts = append(p.CreatedAts, s.CreatedAt), append(p.UpdatedAts, it.created[i])
		}
	}
	if len(p.TaskIds) == 0 {
		return nil
	}
	made, err := g.q.CreateTasks(ctx, p)
	if err != nil {
		return err
	}
	if len(made) == len(p.TaskIds) {
		return nil
	}
	is := make(map[string]bool, len(made))
	for _, id := range made {
		is[id] = true
	}
	for _, it := range items {
		for _, s := range it.creates {
			it.lost = it.lost || !is[string(s.ID)]
		}
	}
	return nil
}

func (g *group) move(ctx context.Context, items []*item) error {
	var list []gen.MoveTaskParams
	var of []*item
	for _, it := range items {
		for _, m := range it.moves {
			of = append(of, it)
			list = append(list, gen.MoveTaskParams{
				Status: m.status, SetRobot: m.setRobot, Robot: string(m.robot), Errand: m.errand, SetReason: m.setReason,
				Reason: m.reason, Awards: m.awards, AssignedAt: unlessZero(m.assignedAt), StartedAt: unlessZero(m.startedAt),
				FinishedAt: unlessZero(m.finishedAt), UpdatedAt: m.updatedAt, ToVersion: m.to,
				TenantID: string(g.shard.Shard.Tenant), TaskID: string(m.task), FromVersion: m.from,
			})
		}
	}
	if len(list) == 0 {
		return nil
	}
	was := make(map[string]string, len(list))
	var failed error
	g.q.MoveTask(ctx, list).QueryRow(func(i int, old string, err error) {
		switch {
		case err == nil:
			was[list[i].TaskID] = old
		case errors.Is(err, pgx.ErrNoRows):
			of[i].lost = true
		case failed == nil:
			failed = err
		}
	})
	if failed != nil {
		return failed
	}
	for _, it := range items {
		for _, e := range it.events {
			if old := was[e.fact.Subject]; old != "" && !e.first {
				e.before = old
			}
		}
	}
	return nil
}

func (g *group) connections(ctx context.Context, items []*item) error {
	var list []gen.ChangeConnectionParams
	var of []*item
	for _, it := range items {
		for _, c := range it.conns {
			at := c.at
			of = append(of, it)
			list = append(list, gen.ChangeConnectionParams{
				Connection: c.to, At: &at, TenantID: string(g.shard.Shard.Tenant), RobotID: string(c.robot),
				WarehouseID: string(g.shard.Shard.Warehouse),
			})
		}
	}
	if len(list) == 0 {
		return nil
	}
	var failed error
	g.q.ChangeConnection(ctx, list).QueryRow(func(i int, _ string, err error) {
		switch {
		case err == nil:
		case errors.Is(err, pgx.ErrNoRows):
			of[i].lost = true
		case failed == nil:
			failed = err
		}
	})
	return failed
}

// step applies a fact that has a statement of its own.
func (g *group) step(ctx context.Context, it *item, r *stepRow) error {
	tenant, warehouse, subject := string(g.shard.Shard.Tenant), string(g.shard.Shard.Warehouse), r.fact.Subject
	var err error
	switch e := r.event.(type) {
	case robot.Registered:
		_, err = g.q.RegisterRobot(ctx, registerParams(g.shard.Shard, r.fact.At, &e))
	case robot.Removed:
		at := r.fact.At
		_, err = g.q.RemoveRobot(ctx, gen.RemoveRobotParams{At: &at, Version: e.Version, TenantID: tenant, RobotID: subject})
	case robot.CommandAccepted:
		err = g.acceptCommand(ctx, tenant, r, &e.Command)
	case robot.CommandStaged:
		_, err = g.q.StageCommand(ctx, gen.StageCommandParams{
			Stage: e.Stage.String(), At: e.At, Reason: e.Reason, TenantID: tenant, CommandID: string(e.ID), RobotID: subject,
		})
	case dispatch.MapActivated:
		err = g.activate(ctx, r.fact.At, tenant, warehouse, &e)
	case alert.Event:
		err = g.stepAlert(ctx, r.fact, &e)
	case dispatch.LaneChanged:
		at := r.fact.At
		_, err = g.q.ChangeLane(ctx, gen.ChangeLaneParams{
			Closed: &e.State.Closed, SpeedMps: &e.State.SpeedMPS, Reason: &e.State.Reason, At: &at,
			UserID: optional(r.fact.By.User), TenantID: tenant, LaneID: string(e.State.Lane),
		})
	}
	if errors.Is(err, pgx.ErrNoRows) {
		it.lost = true
		return nil
	}
	return err
}

func (g *group) acceptCommand(ctx context.Context, tenant string, r *stepRow, c *robot.Command) error {
	args, err := encodeArgs(c)
	if err != nil {
		return err
	}
	return g.q.AcceptCommand(ctx, gen.AcceptCommandParams{
		CommandID: string(c.ID), TenantID: tenant, RobotID: r.fact.Subject, Command: c.Kind.String(), Args: args,
		ExpiresAt: c.ExpiresAt, AcceptedAt: c.At, ActorUserID: optional(c.By), Traceparent: string(r.fact.Trace),
	})
}

func (g *group) activate(ctx context.Context, at time.Time, tenant, warehouse string, e *dispatch.MapActivated) error {
	id, version := string(e.MapID), int32(e.Version)
	if err := g.q.RetireMaps(ctx, gen.RetireMapsParams{TenantID: tenant, WarehouseID: warehouse, MapID: id, Version: version}); err != nil {
		return err
	}
	if _, err := g.q.ActivateMap(ctx, gen.ActivateMapParams{
		At: &at, TenantID: tenant, MapID: id, Version: version, WarehouseID: warehouse,
	}); err != nil {
		return err
	}
	if err := g.q.TouchMap(ctx, gen.TouchMapParams{TenantID: tenant, MapID: id}); err != nil {
		return err
	}
	return g.inherit(ctx, at, tenant, warehouse, e)
}

// inherit carries the rosters of zones over to those that have their vertices now.
func (g *group) inherit(ctx context.Context, at time.Time, tenant, warehouse string, e *dispatch.MapActivated) error {
	if len(e.Heirs) > 0 {
		p := gen.InheritRosterParams{At: at, TenantID: tenant, WarehouseID: warehouse}
		for _, h := range e.Heirs {
			p.Zones, p.Heirs = append(p.Zones, string(h.Zone)), append(p.Heirs, string(h.Heir))
		}
		if err := g.q.InheritRoster(ctx, p); err != nil {
			return err
		}
	}
	if len(e.Ended) == 0 {
		return nil
	}
	ended := make([]string, len(e.Ended))
	for i, z := range e.Ended {
		ended[i] = string(z)
	}
	return g.q.EndRoster(ctx, gen.EndRosterParams{TenantID: tenant, WarehouseID: warehouse, Zones: ended})
}

// enqueue adds the statements that need no answer, for the items that were not lost.
func (g *group) enqueue(ctx context.Context, q *gen.Queries, items []*item) error {
	kept := make([]*item, 0, len(items))
	for _, it := range items {
		if !it.lost {
			kept = append(kept, it)
		}
	}
	for _, add := range []func(context.Context, *gen.Queries, []*item) error{
		g.enqueueRoster, g.enqueueEvents, g.enqueueDecisions, g.enqueueOutbox, g.enqueueKeys,
	} {
		if err := add(ctx, q, kept); err != nil {
			return err
		}
	}
	return nil
}

// enqueueRoster writes the last word about each robot in each zone.
func (g *group) enqueueRoster(ctx context.Context, q *gen.Queries, items []*item) error {
	type stay struct{ zone, robot string }
	last := map[stay]*rosterRow{}
	var order []stay
	for _, it := range items {
		for i := range it.roster {
			r := &it.roster[i]
			k := stay{string(r.zone), string(r.robot)}
			if last[k] == nil {
				order = append(order, k)
			}
			last[k] = r
		}
	}
	tenant, warehouse := string(g.shard.Shard.Tenant), string(g.shard.Shard.Warehouse)
	enter := gen.EnterRosterParams{TenantID: tenant, WarehouseID: warehouse}
	for _, k := range order {
		r := last[k]
		if r.entered == nil {
			if err := q.LeaveRoster(ctx, gen.LeaveRosterParams{
				TenantID: tenant, WarehouseID: warehouse, ZoneID: k.zone, RobotID: k.robot,
			}); err != nil {
				return err
			}
			continue
		}
		e := &r.entered.Entry
		enter.ZoneIds, enter.RobotIds = append(enter.ZoneIds, k.zone), append(enter.RobotIds, k.robot)
		enter.EnteredAts, enter.PositionAts = append(enter.EnteredAts, r.at), append(enter.PositionAts, e.PositionAt)
		enter.Vertices, enter.Windows = append(enter.Vertices, int32(e.Vertex)), append(enter.Windows, int32(e.Window))
		enter.Speeds = append(enter.Speeds, e.SpeedMPS)
		enter.MapIds, enter.MapVersions = append(enter.MapIds, string(e.MapID)), append(enter.MapVersions, int32(e.MapVersion))
	}
	if len(enter.ZoneIds) > 0 {
		return q.EnterRoster(ctx, enter)
	}
	return nil
}

func (g *group) enqueueEvents(ctx context.Context, q *gen.Queries, items []*item) error {
	p := gen.InsertTaskEventsParams{TenantID: string(g.shard.Shard.Tenant)}
	for _, it := range items {
		for _, e := range it.events {
			f := e.fact
			from, to := e.from, e.to
			if from == "" && !e.first {
				from = e.before
			}
			if to == "" {
				to = e.before
			}
			p.EventIds, p.TaskIds = append(p.EventIds, string(f.ID)), append(p.TaskIds, f.Subject)
			p.Seqs, p.Types = append(p.Seqs, f.Version), append(p.Types, e.kind)
			p.Froms, p.Tos = append(p.Froms, from), append(p.Tos, to)
			p.Ats, p.Users = append(p.Ats, f.At), append(p.Users, string(f.By.User))
			p.Parts, p.Payloads = append(p.Parts, f.By.Part), append(p.Payloads, e.payload)
			p.Traces = append(p.Traces, string(f.Trace))
		}
	}
	if len(p.EventIds) == 0 {
		return nil
	}
	return q.InsertTaskEvents(ctx, p)
}

func (g *group) enqueueDecisions(ctx context.Context, q *gen.Queries, items []*item) error {
	p := gen.InsertDecisionsParams{TenantID: string(g.shard.Shard.Tenant), WarehouseID: string(g.shard.Shard.Warehouse)}
	for _, it := range items {
		for i := range it.decisions {
			d := &it.decisions[i]
			p.DecisionIds, p.Ats = append(p.DecisionIds, d.id), append(p.Ats, d.at)
			p.Kinds, p.Tasks = append(p.Kinds, d.kind), append(p.Tasks, d.task)
			p.Robots, p.Digests = append(p.Robots, d.robot), append(p.Digests, d.digest)
			p.Assignments, p.Alternatives = append(p.Assignments, d.assignments), append(p.Alternatives, d.alternatives)
			p.Reasons = append(p.Reasons, d.reason)
		}
	}
	if len(p.DecisionIds) == 0 {
		return nil
	}
	return q.InsertDecisions(ctx, p)
}

func (g *group) enqueueOutbox(ctx context.Context, q *gen.Queries, items []*item) error {
	p := gen.InsertOutboxParams{TenantID: string(g.shard.Shard.Tenant)}
	for _, it := range items {
		for i := range it.outbox {
			r := &it.outbox[i]
			p.EventIds, p.AggregateTypes = append(p.EventIds, r.id), append(p.AggregateTypes, r.aggregateType)
			p.AggregateIds, p.Topics = append(p.AggregateIds, r.aggregateID), append(p.Topics, r.topic)
			p.Keys, p.Payloads = append(p.Keys, r.key), append(p.Payloads, r.payload)
			p.Headers, p.Shards = append(p.Headers, r.headers), append(p.Shards, pump(r.aggregateID))
		}
	}
	if len(p.EventIds) == 0 {
		return nil
	}
	return q.InsertOutbox(ctx, p)
}

func (g *group) enqueueKeys(ctx context.Context, q *gen.Queries, items []*item) error {
	p := gen.InsertKeysParams{TenantID: string(g.shard.Shard.Tenant)}
	for _, it := range items {
		k := it.unit.Idempotency
		if k == nil {
			continue
		}
		headers, err := encodeHeaders(&k.Answer)
		if err != nil {
			return err
		}
		p.Routes, p.Keys = append(p.Routes, k.Route), append(p.Keys, k.Key)
		p.Fingerprints, p.Statuses = append(p.Fingerprints, notNil(k.Fingerprint)), append(p.Statuses, int32(k.Answer.Status))
		p.Headers, p.Bodies = append(p.Headers, headers), append(p.Bodies, notNil(k.Answer.Body))
	}
	if len(p.Keys) == 0 {
		return nil
	}
	return q.InsertKeys(ctx, p)
}

func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
