package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"starling/engine/alert"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/persistence/postgres/gen"
	eventsv1 "starling/proto/gen/starling/events/v1"
)

const (
	// recentAlerts is how long ago an alert may have been resolved to be loaded with the open ones.
	recentAlerts = time.Hour
	// marksAtMost bounds the verdicts that one call reads.
	marksAtMost = 10_000
)

// AlertsRepo shows alerts and their handling.
type AlertsRepo struct{ s *Store }

// How remedies and the details of steps look in their JSON columns. Their names are part of the schema.
type (
	remedyJSON struct {
		ID          string            `json:"id"`
		Kind        string            `json:"kind"`
		SubjectKind string            `json:"subject_kind,omitempty"`
		SubjectID   string            `json:"subject_id,omitempty"`
		Label       string            `json:"label,omitempty"`
		Reason      string            `json:"reason,omitempty"`
		Expected    string            `json:"expected,omitempty"`
		Measured    string            `json:"measured,omitempty"`
		Automatic   bool              `json:"automatic,omitempty"`
		State       alert.RemedyState `json:"state"`
		AppliedAt   time.Time         `json:"applied_at"`
		UndoneAt    time.Time         `json:"undone_at,omitzero"`
	}
	stepJSON struct {
		Text       string           `json:"text,omitempty"`
		From       string           `json:"from,omitempty"`
		To         string           `json:"to,omitempty"`
		Assignee   fleet.UserID     `json:"assignee_user_id,omitempty"`
		Until      time.Time        `json:"until,omitzero"`
		Resolution alert.Resolution `json:"resolution,omitempty"`
		Mark       alert.Mark       `json:"mark,omitempty"`
		Remedy     string           `json:"remedy_id,omitempty"`
		TakenBack  []string         `json:"taken_back,omitempty"`
	}
)

// takeAlert adds an alert's step to the row changes of its unit.
func (it *item) takeAlert(f *fact.Fact, e *alert.Event) error {
	a := &e.After
	switch {
	case string(a.ID) != f.Subject || a.Version != f.Version || e.Step.Seq != f.Version:
		return errors.New("step has another id or version")
	case a.Assignee != "" && !isUUID(string(a.Assignee)), a.AcknowledgedBy.User != "" && !isUUID(string(a.AcknowledgedBy.User)):
		return errNotUUID
	case len(a.Details) > 0 && !json.Valid(a.Details):
		return errors.New("details are not JSON")
	}
	it.keys = append(it.keys, f.Subject)
	it.steps = append(it.steps, stepRow{f, *e})
	return it.publish(f, "alert", f.Subject, f.Version, func(env *eventsv1.Envelope) { alertBody(env, e) })
}

// stepAlert writes the alert as it is after a step, and the step itself.
func (g *group) stepAlert(ctx context.Context, f *fact.Fact, e *alert.Event) error {
	p, err := alertParams(g.shard.Shard, &e.After)
	if err != nil {
		return err
	}
	if e.After.Version == 1 {
		_, err = g.q.OpenAlert(ctx, p)
	} else {
		_, err = g.q.StepAlert(ctx, gen.StepAlertParams{
			Level: p.Level, Peak: p.Peak, Status: p.Status, Message: p.Message, Details: p.Details, Count: p.Count,
			Escalations: p.Escalations, AssigneeUserID: p.AssigneeUserID, AcknowledgedByUserID: p.AcknowledgedByUserID,
			AcknowledgedByPart: p.AcknowledgedByPart, Resolution: p.Resolution, Mark: p.Mark, Remedies: p.Remedies,
			Unsettled: p.Unsettled, SeenAt: p.SeenAt, CalledAt: p.CalledAt, AcknowledgedAt: p.AcknowledgedAt,
			SnoozedUntil: p.SnoozedUntil, ClearedAt: p.ClearedAt, UpdatedAt: p.UpdatedAt, Version: p.Version,
			TenantID: p.TenantID, AlertID: p.AlertID, WarehouseID: p.WarehouseID, FromVersion: p.Version - 1,
		})
	}
	if err != nil || !e.Step.Action.Handles() {
		return err
	}
	d := &e.Step.Details
	details, err := json.Marshal(stepJSON{
		Text: d.Text, From: d.From.String(), To: d.To.String(), Assignee: d.Assignee, Until: d.Until.UTC(), Resolution: d.Resolution,
		Mark: d.Mark, Remedy: d.Remedy, TakenBack: d.TakenBack,
	})
	if err != nil {
		return fmt.Errorf("encode a step of alert %s: %w", e.After.ID, err)
	}
	return g.q.InsertHandling(ctx, gen.InsertHandlingParams{
		TenantID: p.TenantID, HandlingID: string(f.ID), AlertID: p.AlertID, Seq: e.Step.Seq, Action: string(e.Step.Action),
		ActorUserID: optional(e.Step.By.User), ActorPart: e.Step.By.Part, OccurredAt: e.Step.At, Details: details, Traceparent: string(f.Trace),
	})
}

func alertParams(shard fleet.Shard, a *alert.Alert) (gen.OpenAlertParams, error) {
	list := make([]remedyJSON, len(a.Remedies))
	for i := range a.Remedies {
		r := &a.Remedies[i]
		list[i] = remedyJSON{
			ID: r.ID, Kind: r.Kind, SubjectKind: r.Subject.Type, SubjectID: r.Subject.ID, Label: r.Label, Reason: r.Reason, Expected: r.Expected,
			Measured: r.Measured, Automatic: r.Automatic, State: r.State, AppliedAt: r.AppliedAt.UTC(), UndoneAt: r.UndoneAt.UTC(),
		}
	}
	remedies, err := json.Marshal(list)
	if err != nil {
		return gen.OpenAlertParams{}, fmt.Errorf("encode the remedies of alert %s: %w", a.ID, err)
	}
	return gen.OpenAlertParams{
		TenantID: string(shard.Tenant), AlertID: string(a.ID), WarehouseID: string(shard.Warehouse), SubjectKind: a.Subject.Type,
		SubjectID: a.Subject.ID, Cause: string(a.Cause), Feed: a.Feed, Level: int16(a.Level), Peak: int16(a.Peak), Status: a.Status.String(),
		Message: a.Message, Details: a.Details, Count: int32(min(a.Count, 1<<31-1)), Escalations: int32(a.Escalations),
		AssigneeUserID: optional(a.Assignee), AcknowledgedByUserID: optional(a.AcknowledgedBy.User), AcknowledgedByPart: a.AcknowledgedBy.Part,
		Resolution: string(a.Resolution), Mark: string(a.Mark), Remedies: remedies, Unsettled: a.Unsettled(), OpenedAt: a.OpenedAt,
		SeenAt: a.SeenAt, CalledAt: unlessZero(a.CalledAt), AcknowledgedAt: unlessZero(a.AcknowledgedAt), SnoozedUntil: unlessZero(a.SnoozedUntil),
		ClearedAt: unlessZero(a.ResolvedAt), UpdatedAt: a.UpdatedAt, Version: a.Version,
	}, nil
}

// alertRecord is alertParams' inverse.
func alertRecord(r *gen.Alert) (alert.View, error) {
	status, ok := alert.ParseStatus(r.Status)
	if !ok {
		return alert.View{}, fmt.Errorf("alert %s has the unknown status %q", r.AlertID, r.Status)
	}
	var list []remedyJSON
	if err := json.Unmarshal(r.Remedies, &list); err != nil {
		return alert.View{}, fmt.Errorf("read the remedies of alert %s: %w", r.AlertID, err)
	}
	a := alert.Alert{
		ID: alert.ID(r.AlertID), Version: r.Version, Subject: alert.Subject{Type: r.SubjectKind, ID: r.SubjectID}, Cause: alert.Cause(r.Cause),
		Feed: r.Feed, Level: alert.Level(r.Level), Peak: alert.Level(r.Peak), Status: status, Message: r.Message, Count: int(r.Count),
		Escalations: int(r.Escalations), Assignee: given[fleet.UserID](r.AssigneeUserID),
		AcknowledgedBy: fleet.Actor{User: given[fleet.UserID](r.AcknowledgedByUserID), Part: r.AcknowledgedByPart},
		Resolution:     alert.Resolution(r.Resolution), Mark: alert.Mark(r.Mark),
		OpenedAt: r.OpenedAt.UTC(), SeenAt: r.SeenAt.UTC(), AcknowledgedAt: instant(r.AcknowledgedAt), CalledAt: instant(r.CalledAt),
		SnoozedUntil: instant(r.SnoozedUntil), ResolvedAt: instant(r.ClearedAt), UpdatedAt: r.UpdatedAt.UTC(),
	}
	if len(r.Details) > 0 {
		a.Details = slices.Clone(r.Details)
	}
	for _, x := range list {
		a.Remedies = append(a.Remedies, alert.Remedy{
			ID: x.ID, Kind: x.Kind, Subject: alert.Subject{Type: x.SubjectKind, ID: x.SubjectID}, Label: x.Label, Reason: x.Reason,
			Expected: x.Expected, Measured: x.Measured, Automatic: x.Automatic, State: x.State, AppliedAt: x.AppliedAt.UTC(), UndoneAt: x.UndoneAt.UTC(),
		})
	}
	return alert.View{Alert: a}, nil
}

func handlingRecord(r *gen.AlertHandling) (alert.Handling, error) {
	var d stepJSON
	if err := json.Unmarshal(r.Details, &d); err != nil {
		return alert.Handling{}, fmt.Errorf("read step %d of alert %s: %w", r.Seq, r.AlertID, err)
	}
	from, _ := alert.ParseLevel(d.From)
	to, _ := alert.ParseLevel(d.To)
	return alert.Handling{
		Seq: r.Seq, Action: alert.Action(r.Action), At: r.OccurredAt.UTC(),
		By: fleet.Actor{User: given[fleet.UserID](r.ActorUserID), Part: r.ActorPart},
		Details: alert.Details{
			Text: d.Text, From: from, To: to, Assignee: d.Assignee, Until: d.Until.UTC(), Resolution: d.Resolution, Mark: d.Mark, Remedy: d.Remedy,
			TakenBack: d.TakenBack,
		},
	}, nil
}

// handled adds to alerts what was done about them, oldest first.
func handled(ctx context.Context, q *gen.Queries, tenant fleet.TenantID, views []alert.View) error {
	if len(views) == 0 {
		return nil
	}
	ids, of := make([]string, len(views)), make(map[string]*alert.View, len(views))
	for i := range views {
		ids[i] = string(views[i].ID)
		of[ids[i]] = &views[i]
	}
	rows, err := q.HandlingOf(ctx, gen.HandlingOfParams{TenantID: string(tenant), AlertIds: ids, Newest: alert.MaxHandling})
	if err != nil {
		return err
	}
	for i := range rows {
		h, err := handlingRecord(&rows[i])
		if err != nil {
			return err
		}
		v := of[rows[i].AlertID]
		v.Handling = append(v.Handling, h)
	}
	return nil
}

// LoadAlerts reads the open alerts of a shard, those with remedies in force and those that were resolved lately, oldest
// first, with their handling. Errors: fact.ErrUnavailable.
func (s *Store) LoadAlerts(ctx context.Context, shard fleet.Shard) (fact.AlertRecord, error) {
	var rec fact.AlertRecord
	err := s.inShard(ctx, shard, nilID, func(q *gen.Queries) error {
		rows, err := q.LoadOpenAlerts(ctx, gen.LoadOpenAlertsParams{TenantID: string(shard.Tenant), WarehouseID: string(shard.Warehouse)})
		if err != nil {
			return err
		}
		recent, err := q.LoadRecentAlerts(ctx, gen.LoadRecentAlertsParams{
			TenantID: string(shard.Tenant), WarehouseID: string(shard.Warehouse), ClearedAfter: time.Now().Add(-recentAlerts), Recent: alert.MaxRecent,
		})
		if err != nil {
			return err
		}
		rec.Alerts = make([]alert.View, 0, len(rows)+len(recent))
		for _, list := range [][]gen.Alert{recent, rows} {
			for i := range list {
				v, err := alertRecord(&list[i])
				if err != nil {
					return err
				}
				rec.Alerts = append(rec.Alerts, v)
			}
		}
		return handled(ctx, q, shard.Tenant, rec.Alerts)
	})
	if err != nil {
		return fact.AlertRecord{}, fmt.Errorf("load the alerts of %s: %w", shard.Key(), err)
	}
	return rec, nil
}

// LoadAlert reads one alert of a shard. Errors: fact.ErrNotFound, ErrUnavailable.
func (s *Store) LoadAlert(ctx context.Context, shard fleet.Shard, id alert.ID) (alert.View, error) {
	a, err := s.Alerts.GetAlert(ctx, shard.Tenant, id)
	if err == nil && a.Shard != shard {
		err = fact.ErrNotFound
	}
	if err != nil {
		return alert.View{}, fmt.Errorf("load alert %s: %w", id, err)
	}
	return a.View, nil
}

// GetAlert returns an alert with its handling, the newest alert.MaxHandling steps; fact.ErrNotFound where there is none.
func (r *AlertsRepo) GetAlert(ctx context.Context, tenant fleet.TenantID, id alert.ID) (a fact.Alert, err error) {
	if err := known(string(tenant), string(id)); err != nil {
		return a, err
	}
	err = r.s.inTenant(ctx, reading, tenant, func(q *gen.Queries) error {
		row, err := q.GetAlert(ctx, gen.GetAlertParams{TenantID: string(tenant), AlertID: string(id)})
		if err != nil {
			return err
		}
		list := make([]alert.View, 1)
		if list[0], err = alertRecord(&row); err != nil {
			return err
		}
		if err := handled(ctx, q, tenant, list); err != nil {
			return err
		}
		a = fact.Alert{Shard: fleet.Shard{Tenant: tenant, Warehouse: fleet.WarehouseID(row.WarehouseID)}, View: list[0]}
		return nil
	})
	return a, err
}

// ListAlerts lists alerts without their handling, the one that was opened last first.
func (r *AlertsRepo) ListAlerts(ctx context.Context, tenant fleet.TenantID, f fact.AlertFilter, p fact.Page) (l fact.List[fact.Alert], err error) {
	c, err := from(p, "alerts", newest())
	if err != nil || !sieve(f.Warehouse) || !sieve(f.Assignee) {
		return fact.List[fact.Alert]{Items: []fact.Alert{}}, err
	}
	least, most := max(f.MinLevel, f.Level, alert.L1), alert.L3
	if f.Level != alert.NoLevel {
		most = f.Level
	}
	to := f.To
	if to.IsZero() {
		to = fleet.Far
	}
	err = r.s.inTenant(ctx, reading, tenant, func(q *gen.Queries) error {
		rows, err := q.ListAlerts(ctx, gen.ListAlertsParams{
			TenantID: string(tenant), BeforeAt: c.At, BeforeID: c.ID, FromAt: f.From, ToAt: to, Status: f.Status, Open: f.Open,
			MinLevel: int16(least), MaxLevel: int16(most), Cause: string(f.Cause), SubjectKind: f.Subject.Type, SubjectID: f.Subject.ID,
			WarehouseID: string(f.Warehouse), Assignee: string(f.Assignee), PageSize: size(p),
		})
		if err != nil {
			return err
		}
		l, err = page(p, rows, func(row *gen.Alert) (fact.Alert, error) {
			v, err := alertRecord(row)
			return fact.Alert{Shard: fleet.Shard{Tenant: tenant, Warehouse: fleet.WarehouseID(row.WarehouseID)}, View: v}, err
		}, func(row *gen.Alert) cursor { return cursor{At: row.OpenedAt, ID: row.AlertID} }, "alerts")
		return err
	})
	return l, err
}

// ListMarks returns people's verdicts on the alerts that were opened in [from, to), the oldest first, at most 10,000.
func (r *AlertsRepo) ListMarks(ctx context.Context, tenant fleet.TenantID, since, to time.Time) (list []fact.AlertMark, err error) {
	if err := known(string(tenant)); err != nil {
		return nil, err
	}
	err = r.s.inTenant(ctx, reading, tenant, func(q *gen.Queries) error {
		rows, err := q.ListMarks(ctx, gen.ListMarksParams{TenantID: string(tenant), FromAt: since, ToAt: to, AtMost: marksAtMost})
		if err != nil {
			return err
		}
		list = make([]fact.AlertMark, len(rows))
		for i := range rows {
			m := &rows[i]
			list[i] = fact.AlertMark{
				Shard: fleet.Shard{Tenant: tenant, Warehouse: fleet.WarehouseID(m.WarehouseID)}, Alert: alert.ID(m.AlertID),
				Subject: alert.Subject{Type: m.SubjectKind, ID: m.SubjectID}, Cause: alert.Cause(m.Cause), Level: alert.Level(m.Peak),
				Mark: alert.Mark(m.Mark), OpenedAt: m.OpenedAt.UTC(), Ended: instant(m.ClearedAt), Text: m.MarkedText,
			}
		}
		return nil
	})
	return list, err
}

// alertConflict says that an alert has another version than a unit follows.
func (g *group) alertConflict(ctx context.Context, it *item) (*fact.ConflictError, error) {
	for i := range it.steps {
		e, ok := it.steps[i].event.(alert.Event)
		if !ok {
			continue
		}
		row, err := g.q.GetAlert(ctx, gen.GetAlertParams{TenantID: string(g.shard.Shard.Tenant), AlertID: string(e.After.ID)})
		switch {
		case errors.Is(err, pgx.ErrNoRows):
		case err != nil:
			return nil, err
		case row.Version != e.After.Version-1:
			return &fact.ConflictError{Key: "version", Existing: string(e.After.ID)}, nil
		}
	}
	return nil, nil
}

func alertBody(env *eventsv1.Envelope, e *alert.Event) {
	a := &e.After
	b := &eventsv1.AlertStepped{
		SubjectType: a.Subject.Type, SubjectId: a.Subject.ID, Cause: string(a.Cause), Level: eventsv1.AlertLevel(a.Level),
		Peak: eventsv1.AlertLevel(a.Peak), Status: eventsv1.AlertStatus(a.Status + 1), Message: a.Message, DetailsJson: string(a.Details),
		Count: uint32(a.Count), Escalations: uint32(a.Escalations), AssigneeUserId: string(a.Assignee), Resolution: string(a.Resolution),
		Mark: string(a.Mark), OpenedAt: stamp(a.OpenedAt), AcknowledgedAt: stamp(a.AcknowledgedAt), SnoozedUntil: stamp(a.SnoozedUntil),
		ResolvedAt: stamp(a.ResolvedAt), Action: string(e.Step.Action), Text: e.Step.Details.Text, RemedyId: e.Step.Details.Remedy,
		TakenBack: e.Step.Details.TakenBack,
	}
	for i := range a.Remedies {
		r := &a.Remedies[i]
		b.Remedies = append(b.Remedies, &eventsv1.AlertRemedy{
			RemedyId: r.ID, Kind: r.Kind, SubjectType: r.Subject.Type, SubjectId: r.Subject.ID, Label: r.Label, Reason: r.Reason,
			Expected: r.Expected, Measured: r.Measured, Automatic: r.Automatic, State: string(r.State), AppliedAt: stamp(r.AppliedAt), UndoneAt: stamp(r.UndoneAt),
		})
	}
	env.Type, env.Body = "alert."+string(e.Step.Action), &eventsv1.Envelope_AlertStepped{AlertStepped: b}
}
