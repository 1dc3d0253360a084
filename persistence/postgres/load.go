package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"starling/engine/dispatch"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/engine/zone"
	"starling/persistence/postgres/gen"
)

// commandsLoaded is how many of a robot's newest commands activation reads, at least: as many as a robot remembers.
const commandsLoaded = 32

// LoadTask reads a task's log, oldest first. Errors: fact.ErrNotFound, ErrUnavailable.
func (s *Store) LoadTask(ctx context.Context, shard fleet.Shard, id fleet.TaskID) (fact.TaskRecord, error) {
	var rec fact.TaskRecord
	err := s.inShard(ctx, shard, string(id), func(q *gen.Queries) error {
		row, err := q.GetTask(ctx, gen.GetTaskParams{TenantID: string(shard.Tenant), TaskID: string(id)})
		if err != nil {
			return err
		}
		if row.WarehouseID != string(shard.Warehouse) {
			return fact.ErrNotFound
		}
		st, err := taskState(&row)
		if err != nil {
			return err
		}
		events, err := q.LoadTaskEvents(ctx, gen.LoadTaskEventsParams{TenantID: string(shard.Tenant), TaskID: string(id)})
		if err != nil {
			return err
		}
		why, err := decisionsOf(ctx, q, shard.Tenant, id)
		if err != nil {
			return err
		}
		rec.Version = row.Version
		rec.Events = make([]fact.Recorded[task.Event], len(events))
		for i, e := range events {
			event, err := decodeTaskEvent(e.EventType, e.Payload)
			if err != nil {
				return err
			}
			switch f := event.(type) {
			case task.Created:
				f.Spec = st.Spec
				event = f
			case task.Assigned:
				if d, ok := why[f.Decision.ID]; ok {
					f.Decision = d
				}
				event = f
			default:
			}
			rec.Events[i] = fact.Recorded[task.Event]{At: e.OccurredAt.UTC(), Event: event}
		}
		return nil
	})
	if err != nil {
		return fact.TaskRecord{}, fmt.Errorf("load task %s: %w", id, err)
	}
	return rec, nil
}

// inShard is inTenant for reading, where the ids are well-formed.
func (s *Store) inShard(ctx context.Context, shard fleet.Shard, id string, fn func(q *gen.Queries) error) error {
	if !isUUID(id) || !isUUID(string(shard.Tenant)) || !isUUID(string(shard.Warehouse)) {
		return fact.ErrNotFound
	}
	return s.inTenant(ctx, reading, shard.Tenant, fn)
}

func decisionsOf(
	ctx context.Context, q *gen.Queries, tenant fleet.TenantID, id fleet.TaskID,
) (map[fleet.DecisionID]task.Decision, error) {
	key := string(id)
	rows, err := q.LoadTaskDecisions(ctx, gen.LoadTaskDecisionsParams{TenantID: string(tenant), TaskID: &key})
	if err != nil {
		return nil, err
	}
	out := make(map[fleet.DecisionID]task.Decision, len(rows))
	for i := range rows {
		d, err := decisionRecord(&rows[i])
		if err != nil {
			return nil, err
		}
		out[d.ID] = task.Decision{
			ID: d.ID, At: d.At, Task: d.Task, Robot: d.Robot, Cost: d.Cost, Alternatives: d.Alternatives, Reason: d.Reason,
			InputsDigest: d.InputsDigest, Before: d.Before, Because: d.Because,
		}
	}
	return out, nil
}

// LoadRobot reads what activation needs of a robot. Errors: fact.ErrNotFound (also where it was removed),
// ErrUnavailable.
func (s *Store) LoadRobot(ctx context.Context, shard fleet.Shard, id fleet.RobotID) (fact.RobotRecord, error) {
	var rec fact.RobotRecord
	err := s.inShard(ctx, shard, string(id), func(q *gen.Queries) error {
		row, err := q.GetRobot(ctx, gen.GetRobotParams{TenantID: string(shard.Tenant), RobotID: string(id)})
		if err != nil {
			return err
		}
		if row.WarehouseID != string(shard.Warehouse) {
			return fact.ErrNotFound
		}
		commands, err := q.LoadCommands(ctx, gen.LoadCommandsParams{
			TenantID: string(shard.Tenant), RobotID: string(id), Newest: commandsLoaded, NoWord: robot.NoWord,
		})
		if err != nil {
			return err
		}
		if rec, err = robotRecord(&row, commands); err != nil {
			return err
		}
		active, err := q.LoadActiveTask(ctx, gen.LoadActiveTaskParams{TenantID: string(shard.Tenant), RobotID: string(id)})
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		st, err := taskState(&active)
		rec.Active = st
		return err
	})
	if err != nil {
		return fact.RobotRecord{}, fmt.Errorf("load robot %s: %w", id, err)
	}
	return rec, nil
}

// robotRecord makes the events in effect again out of what they left in the rows.
func robotRecord(row *gen.Robot, commands []gen.Command) (fact.RobotRecord, error) {
	v := robotView(row)
	rec := fact.RobotRecord{Version: row.Version, Last: robot.LastKnown{
		BootID: row.BootID, Seq: uint64(row.Seq), ReportedAt: instant(row.ReportedAt), Pose: v.Pose, Battery: row.BatterySoc,
		State: v.State, Connection: v.Connection,
	}}
	add := func(at time.Time, e robot.Event) {
		rec.Events = append(rec.Events, fact.Recorded[robot.Event]{At: at, Event: e})
	}
	add(row.UpdatedAt.UTC(), robot.Registered{Spec: *v.Spec, Version: row.Version})
	if row.ConnectionAt != nil {
		at := row.ConnectionAt.UTC()
		add(at, robot.ConnectionChanged{To: v.Connection, At: at})
	}
	for i := range commands {
		c, err := commandRecord(&commands[i])
		if err != nil {
			return rec, err
		}
		vertex, _, err := decodeArgs(commands[i].Args)
		if err != nil {
			return rec, err
		}
		add(c.Stages[0].At, robot.CommandAccepted{Command: robot.Command{
			ID: c.ID, Robot: c.Robot, Kind: c.Kind, Vertex: vertex, Place: c.Place, At: c.Stages[0].At, ExpiresAt: c.ExpiresAt, By: c.By,
		}})
		for _, st := range c.Stages[1:] {
			add(st.At, robot.CommandStaged{ID: c.ID, Stage: st.Stage, At: st.At, Reason: c.Reason})
		}
	}
	return rec, nil
}

// LoadZone reads a zone's roster, by robot. A zone that nobody entered has none.
func (s *Store) LoadZone(ctx context.Context, shard fleet.Shard, id fleet.ZoneID) ([]zone.RosterEntry, error) {
	var out []zone.RosterEntry
	err := s.inShard(ctx, shard, string(id), func(q *gen.Queries) error {
		rows, err := q.LoadRoster(ctx, gen.LoadRosterParams{
			TenantID: string(shard.Tenant), WarehouseID: string(shard.Warehouse), ZoneID: string(id),
		})
		for _, r := range rows {
			e := zone.RosterEntry{
				Robot: fleet.RobotID(r.RobotID), Vertex: fleet.Vertex(r.Vertex), MapVersion: int(r.MapVersion),
				PositionAt: r.PositionAt.UTC(), SpeedMPS: r.SpeedMps, Window: int(r.WindowSize),
			}
			if r.MapID != nil {
				e.MapID = fleet.MapID(*r.MapID)
			}
			out = append(out, e)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("load the roster of zone %s: %w", id, err)
	}
	return out, nil
}

// LoadWarehouse reads what activation needs of a warehouse and builds the graph of its active map again. Errors:
// fact.ErrNotFound where there is no such warehouse, ErrUnavailable.
func (s *Store) LoadWarehouse(ctx context.Context, shard fleet.Shard) (fact.WarehouseRecord, error) {
	var rec fact.WarehouseRecord
	var source mapSource
	tenant, warehouse := string(shard.Tenant), string(shard.Warehouse)
	err := s.inShard(ctx, shard, warehouse, func(q *gen.Queries) error {
		if _, err := q.GetWarehouse(ctx, gen.GetWarehouseParams{TenantID: tenant, WarehouseID: warehouse}); err != nil {
			return err
		}
		if err := loadFloor(ctx, q, shard, &rec, &source); err != nil {
			return err
		}
		rows, err := q.LoadOpenTasks(ctx, gen.LoadOpenTasksParams{TenantID: tenant, WarehouseID: warehouse})
		if err != nil {
			return err
		}
		for i := range rows {
			if rows[i].Status != fleet.TaskCreated.String() {
				rec.Held = append(rec.Held, fleet.TaskID(rows[i].TaskID))
				continue
			}
			st, err := taskState(&rows[i])
			if err != nil {
				return err
			}
			rec.Tasks = append(rec.Tasks, *st)
		}
		ids, err := q.LoadRobotIDs(ctx, gen.LoadRobotIDsParams{TenantID: tenant, WarehouseID: warehouse})
		for _, id := range ids {
			rec.Robots = append(rec.Robots, fleet.RobotID(id))
		}
		return err
	})
	if err == nil && source.id != "" {
		if rec.Graph, err = source.build(); err == nil {
			rec.KeepOut, err = source.keepOut(rec.Graph)
		}
	}
	if err != nil {
		return fact.WarehouseRecord{}, fmt.Errorf("load warehouse %s: %w", shard.Key(), err)
	}
	return rec, nil
}

func loadFloor(ctx context.Context, q *gen.Queries, shard fleet.Shard, rec *fact.WarehouseRecord, source *mapSource) error {
	tenant := string(shard.Tenant)
	m, err := q.LoadActiveMap(ctx, gen.LoadActiveMapParams{TenantID: tenant, WarehouseID: string(shard.Warehouse)})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	*source = mapSource{
		id: fleet.MapID(m.MapID), version: int(m.Version), format: m.SourceFormat, packed: m.Geometry, options: m.Options,
	}
	lanes, err := q.LoadChangedLanes(ctx, gen.LoadChangedLanesParams{TenantID: tenant, MapID: m.MapID, Version: m.Version})
	if err != nil {
		return err
	}
	for _, l := range lanes {
		st := dispatch.LaneState{Lane: fleet.LaneID(l.LaneID)}
		if l.RunClosed != nil {
			st.Closed = *l.RunClosed
		}
		if l.RunSpeedMps != nil {
			st.SpeedMPS = *l.RunSpeedMps
		}
		if l.RunReason != nil {
			st.Reason = *l.RunReason
		}
		rec.Lanes = append(rec.Lanes, st)
	}
	source.polygons, err = q.LoadKeepOut(ctx, gen.LoadKeepOutParams{TenantID: tenant, MapID: m.MapID})
	return err
}

// mapSource is a stored version, from which the same graph is built each time.
type mapSource struct {
	id       fleet.MapID
	version  int
	format   string
	packed   []byte
	options  []byte
	polygons []string // of keep_out overlays
}

// buildOptions is the column options.
type buildOptions struct {
	ResM    float64 `json:"resolution_m"`
	MaxZone int     `json:"max_zone"`
}

func (m *mapSource) build() (*roadmap.Graph, error) {
	var o buildOptions
	if err := json.Unmarshal(m.options, &o); err != nil {
		return nil, fmt.Errorf("read the options of map %s version %d: %w", m.id, m.version, err)
	}
	content, err := unpack(m.packed)
	if err != nil {
		return nil, fmt.Errorf("unpack map %s version %d: %w", m.id, m.version, err)
	}
	d, report := roadmap.Import(m.format, content, o.ResM)
	if d == nil {
		return nil, fmt.Errorf("import map %s version %d: %d errors: %w", m.id, m.version, len(report.Errors), fact.ErrRejected)
	}
	g, err := roadmap.Build(d, roadmap.BuildOptions{MapID: m.id, Version: m.version, MaxZone: o.MaxZone})
	if err != nil {
		return nil, fmt.Errorf("build map %s version %d: %w", m.id, m.version, err)
	}
	return g, nil
}

func (m *mapSource) keepOut(g *roadmap.Graph) ([]fleet.Vertex, error) {
	polygons := make([]roadmap.Polygon, len(m.polygons))
	for i, raw := range m.polygons {
		var err error
		if polygons[i], err = roadmap.ParsePolygon([]byte(raw)); err != nil {
			return nil, fmt.Errorf("read a stored keep-out polygon: %w", err)
		}
	}
	return verticesInside(g, polygons), nil
}

// SaveSnapshots writes the newest soft state of robots. An older one than what is there changes nothing.
func (s *Store) SaveSnapshots(ctx context.Context, shard fleet.Shard, snapshots []fact.RobotSnapshot) error {
	if len(snapshots) == 0 {
		return nil
	}
	p := gen.SaveSnapshotsParams{TenantID: string(shard.Tenant)}
	for i := range snapshots {
		l := &snapshots[i].Last
		p.RobotIds, p.Statuses = append(p.RobotIds, string(snapshots[i].Robot)), append(p.Statuses, l.State.String())
		p.Xs, p.Ys, p.Thetas = append(p.Xs, l.Pose.X), append(p.Ys, l.Pose.Y), append(p.Thetas, l.Pose.Theta)
		p.Batteries, p.Boots = append(p.Batteries, l.Battery), append(p.Boots, l.BootID)
		p.Seqs, p.ReportedAts = append(p.Seqs, int64(l.Seq)), append(p.ReportedAts, l.ReportedAt)
	}
	if err := s.inTenant(ctx, writing, shard.Tenant, func(q *gen.Queries) error { return q.SaveSnapshots(ctx, p) }); err != nil {
		return fmt.Errorf("save %d snapshots of shard %s: %w", len(snapshots), shard.Key(), err)
	}
	return nil
}
