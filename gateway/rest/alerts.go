package rest

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"

	"starling/engine/alert"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/gateway/auth"
)

type alertSubject struct {
	Type string `json:"type" enum:"zone,lane,robot,warehouse,topic,store"`
	ID   string `json:"id" maxLength:"128"`
}

type alertRemedy struct {
	RemedyID  string       `json:"remedy_id" format:"uuid"`
	Kind      string       `json:"kind" doc:"cap_admission, close_lane, …"`
	Subject   alertSubject `json:"subject" doc:"what it was done to"`
	Label     string       `json:"label"`
	Reason    string       `json:"reason"`
	Expected  string       `json:"expected" doc:"effect"`
	Measured  *string      `json:"measured" doc:"effect, null = not yet known"`
	Automatic bool         `json:"automatic" doc:"by a rule, not by a person's press"`
	State     string       `json:"state" enum:"in_force,undoing,undone"`
	AppliedAt string       `json:"applied_at" format:"date-time"`
	UndoneAt  *string      `json:"undone_at" format:"date-time"`
}

type handlingDetails struct {
	Text       *string  `json:"text,omitempty"`
	FromLevel  *string  `json:"from_level,omitempty"`
	ToLevel    *string  `json:"to_level,omitempty"`
	Assignee   *string  `json:"assignee,omitempty"`
	Until      *string  `json:"until,omitempty" doc:"of a snooze"`
	Resolution *string  `json:"resolution,omitempty"`
	Mark       *string  `json:"mark,omitempty"`
	RemedyID   *string  `json:"remedy_id,omitempty"`
	TakenBack  []string `json:"taken_back,omitempty" doc:"by a rollback: acknowledgement, assignment, snooze, resolution, remedy:<id>"`
}

type handlingBody struct {
	Seq     int64           `json:"seq" doc:"the alert's version after the step"`
	Action  string          `json:"action" enum:"open,reopen,raise,lower,count,escalate,acknowledge,assign,comment,snooze,wake,resolve,rollback,mark,remedy,measure,undo"`
	Actor   *string         `json:"actor" doc:"user id, or the part of the engine"`
	At      string          `json:"at" format:"date-time"`
	Details handlingDetails `json:"details"`
}

type alertJSON struct {
	AlertID        string         `json:"alert_id" format:"uuid"`
	WarehouseID    string         `json:"warehouse_id" format:"uuid"`
	Subject        alertSubject   `json:"subject"`
	Level          string         `json:"level" enum:"L1,L2,L3" doc:"now, or when it was resolved"`
	Peak           string         `json:"peak" enum:"L1,L2,L3" doc:"the highest it has had"`
	Status         string         `json:"status" enum:"OPEN,ACKNOWLEDGED,RESOLVED"`
	Cause          string         `json:"cause" enum:"congestion,robot_lost,robot_stuck,robot_fault,suspect,low_battery,dead_letters,store_away"`
	Message        string         `json:"message"`
	Details        object         `json:"details" doc:"figures of the cause"`
	Count          int            `json:"count" doc:"how often its signal has come"`
	Escalations    int            `json:"escalations" doc:"how often it was called out again because nobody acknowledged it"`
	Assignee       *string        `json:"assignee" format:"uuid"`
	AcknowledgedBy *string        `json:"acknowledged_by"`
	Resolution     *string        `json:"resolution" doc:"cleared: its signal went away; person; reported: it had been missing"`
	Mark           *string        `json:"mark" doc:"a person's verdict: false, missed, right"`
	Remedies       []alertRemedy  `json:"remedies"`
	OpenedAt       string         `json:"opened_at" format:"date-time"`
	SeenAt         string         `json:"seen_at" format:"date-time" doc:"when its signal was there last, as far as recorded"`
	AcknowledgedAt *string        `json:"acknowledged_at" format:"date-time"`
	CalledAt       *string        `json:"called_at" format:"date-time" doc:"when it has called for attention last: opened, reopened, raised, woken, escalated"`
	SnoozedUntil   *string        `json:"snoozed_until" format:"date-time"`
	ResolvedAt     *string        `json:"resolved_at" format:"date-time"`
	UpdatedAt      string         `json:"updated_at" format:"date-time"`
	Version        int64          `json:"version"`
	Handling       []handlingBody `json:"handling" doc:"what was done, the oldest first; empty in lists"`
}

// AlertBody renders an alert as the API shows it. For the live channel and webhooks.
func AlertBody(warehouse fleet.WarehouseID, v *alert.View) any { return alertOf(warehouse, v) }

func listedAlert(a *fact.Alert) alertJSON { return alertOf(a.Shard.Warehouse, &a.View) }

func alertOf(warehouse fleet.WarehouseID, v *alert.View) alertJSON {
	b := alertJSON{
		AlertID: string(v.ID), WarehouseID: string(warehouse), Subject: alertSubject{v.Subject.Type, v.Subject.ID}, Level: v.Level.String(), Peak: v.Peak.String(),
		Status: v.Status.String(), Cause: string(v.Cause), Message: v.Message, Details: object("{}"), Count: v.Count, Escalations: v.Escalations,
		Assignee: text(v.Assignee), AcknowledgedBy: actorOf(v.AcknowledgedBy), Resolution: text(v.Resolution), Mark: text(v.Mark),
		OpenedAt: ts(v.OpenedAt), SeenAt: ts(v.SeenAt), AcknowledgedAt: tsp(v.AcknowledgedAt), CalledAt: tsp(v.CalledAt), SnoozedUntil: tsp(v.SnoozedUntil),
		ResolvedAt: tsp(v.ResolvedAt), UpdatedAt: ts(v.UpdatedAt), Version: v.Version,
		Remedies: make([]alertRemedy, 0, len(v.Remedies)), Handling: make([]handlingBody, 0, len(v.Handling)),
	}
	if len(v.Details) > 0 {
		b.Details = object(v.Details)
	}
	for i := range v.Remedies {
		r := &v.Remedies[i]
		b.Remedies = append(b.Remedies, alertRemedy{
			RemedyID: r.ID, Kind: r.Kind, Subject: alertSubject{r.Subject.Type, r.Subject.ID}, Label: r.Label, Reason: r.Reason, Expected: r.Expected,
			Measured: text(r.Measured), Automatic: r.Automatic, State: string(r.State), AppliedAt: ts(r.AppliedAt), UndoneAt: tsp(r.UndoneAt),
		})
	}
	for i := range v.Handling {
		b.Handling = append(b.Handling, handlingOf(&v.Handling[i]))
	}
	return b
}

func actorOf(a fleet.Actor) *string {
	if a.User != "" {
		return text(a.User)
	}
	return text(a.Part)
}

func handlingOf(h *alert.Handling) handlingBody {
	d := &h.Details
	return handlingBody{Seq: h.Seq, Action: string(h.Action), Actor: actorOf(h.By), At: ts(h.At), Details: handlingDetails{
		Text: text(d.Text), FromLevel: text(d.From.String()), ToLevel: text(d.To.String()), Assignee: text(d.Assignee), Until: tsp(d.Until),
		Resolution: text(d.Resolution), Mark: text(d.Mark), RemedyID: text(d.Remedy), TakenBack: d.TakenBack,
	}}
}

type alertOut struct{ Body alertJSON }

func (a *api) alerts() {
	type query struct {
		Paged
		WarehouseID string    `query:"warehouse_id" format:"uuid"`
		Status      string    `query:"status" enum:"OPEN,ACKNOWLEDGED,RESOLVED"`
		Unresolved  bool      `query:"unresolved" doc:"true: all but the resolved ones"`
		Level       string    `query:"level" enum:"L1,L2,L3" doc:"this one alone"`
		MinLevel    string    `query:"min_level" enum:"L1,L2,L3" doc:"this one and worse"`
		Cause       string    `query:"cause" enum:"congestion,robot_lost,robot_stuck,robot_fault,suspect,low_battery,dead_letters,store_away"`
		SubjectType string    `query:"subject_type" enum:"zone,lane,robot,warehouse,topic,store"`
		SubjectID   string    `query:"subject_id" maxLength:"128"`
		Assignee    string    `query:"assignee" format:"uuid"`
		From        time.Time `query:"from" doc:"opened then or later"`
		To          time.Time `query:"to" doc:"opened before"`
	}
	add(a, op{method: http.MethodGet, path: "/api/v1/alerts", id: "list-alerts", summary: "Alerts, the newest first", tag: "alerts"},
		func(ctx context.Context, who *auth.Identity, in *query) (*listed[alertJSON], error) {
			level, _ := alert.ParseLevel(in.Level)
			least, _ := alert.ParseLevel(in.MinLevel)
			l, err := a.Alerts.ListAlerts(ctx, who.Tenant, fact.AlertFilter{
				Warehouse: fleet.WarehouseID(in.WarehouseID), Status: in.Status, Open: in.Unresolved, Level: level, MinLevel: least, Cause: alert.Cause(in.Cause),
				Subject: alert.Subject{Type: in.SubjectType, ID: in.SubjectID}, Assignee: fleet.UserID(in.Assignee), From: in.From, To: in.To,
			}, in.page())
			return listOf(l, listedAlert), err
		})
	type get struct {
		ID string `path:"alert_id" format:"uuid"`
	}
	add(a, op{method: http.MethodGet, path: "/api/v1/alerts/{alert_id}", id: "get-alert", summary: "An alert with all that was done about it", tag: "alerts"},
		func(ctx context.Context, who *auth.Identity, in *get) (*alertOut, error) {
			v, err := a.Alerts.GetAlert(ctx, who.Tenant, alert.ID(in.ID))
			if err != nil {
				return nil, err
			}
			return &alertOut{listedAlert(&v)}, nil
		})
	a.alertCommands()
	a.alertComments()
	a.missedAlerts()
}

type textWish struct {
	Text string `json:"text,omitempty" maxLength:"2000" doc:"why; kept with the step"`
}

type assignWish struct {
	Assignee string `json:"assignee,omitempty" maxLength:"36" pattern:"^(me|[0-9a-fA-F-]{36})?$" doc:"a user's id, or me; null: nobody"`
	Text     string `json:"text,omitempty" maxLength:"2000"`
}

type snoozeWish struct {
	Until *time.Time `json:"until,omitempty" doc:"null ends the snooze"`
	Text  string     `json:"text,omitempty" maxLength:"2000"`
}

type markWish struct {
	Mark string `json:"mark,omitempty" enum:"false,missed,right" doc:"null takes the verdict back"`
	Text string `json:"text,omitempty" maxLength:"2000"`
}

// maxSnooze is how far ahead an alert may be silenced.
const maxSnooze = 7 * 24 * time.Hour

// alertCommands are what people do about alerts. Each is idempotent: done twice it is done once.
func (a *api) alertCommands() {
	handle[textWish](a, "acknowledge", "Say that somebody looks after it", func(_ *auth.Identity, w *textWish) (alert.Command, error) {
		return alert.Acknowledge{Text: w.Text}, nil
	})
	handle[textWish](a, "resolve", "End it", func(_ *auth.Identity, w *textWish) (alert.Command, error) { return alert.Resolve{Text: w.Text}, nil })
	handle[textWish](a, "rollback", "Take back what people and rules have done about it", func(_ *auth.Identity, w *textWish) (alert.Command, error) {
		return alert.Rollback{Text: w.Text}, nil
	})
	handle[assignWish](a, "assign", "Give it to somebody", func(who *auth.Identity, w *assignWish) (alert.Command, error) {
		to := fleet.UserID(w.Assignee)
		switch {
		case w.Assignee == "me":
			to = by(who).User
		case w.Assignee != "" && !isUUID(w.Assignee):
			return nil, invalid("body.assignee", "want a user's id, or me")
		}
		return alert.Assign{To: to, Text: w.Text}, nil
	})
	handle[snoozeWish](a, "snooze", "Keep it from calling out until then", func(_ *auth.Identity, w *snoozeWish) (alert.Command, error) {
		c := alert.Snooze{Text: w.Text}
		if w.Until == nil {
			return c, nil
		}
		c.Until = w.Until.UTC().Truncate(time.Millisecond)
		if now := a.Now(); !c.Until.After(now) || c.Until.After(now.Add(maxSnooze)) {
			return nil, invalid("body.until", "want a time ahead, within a week")
		}
		return c, nil
	})
	handle[markWish](a, "mark", "Say whether it was right, for the calibration of rules", func(_ *auth.Identity, w *markWish) (alert.Command, error) {
		return alert.SetMark{Mark: alert.Mark(w.Mark), Text: w.Text}, nil
	})
}

// handle registers one thing that people do about an alert. Nothing need be said with it.
func handle[W any](a *api, verb, summary string, command func(who *auth.Identity, w *W) (alert.Command, error)) {
	type in struct {
		ID   string `path:"alert_id" format:"uuid"`
		Body *W
	}
	add(a, op{method: http.MethodPost, path: "/api/v1/alerts/{alert_id}/" + verb, id: verb + "-alert", summary: summary, tag: "alerts", engine: true},
		func(ctx context.Context, who *auth.Identity, in *in) (*alertOut, error) {
			if in.Body == nil {
				in.Body = new(W)
			}
			c, err := command(who, in.Body)
			if err != nil {
				return nil, err
			}
			v, err := a.Alerts.GetAlert(ctx, who.Tenant, alert.ID(in.ID))
			if err != nil {
				return nil, err
			}
			now, err := a.Alerts.HandleAlert(ctx, v.Shard, v.ID, c, by(who), traceOf(ctx), nil)
			if err != nil {
				return nil, err
			}
			return &alertOut{alertOf(v.Shard.Warehouse, &now)}, nil
		})
}

type commentWish struct {
	Text string `json:"text" minLength:"1" maxLength:"2000"`
}

func (a *api) alertComments() {
	type comment struct {
		Keyed
		ID      string `path:"alert_id" format:"uuid"`
		RawBody []byte
		Body    commentWish
	}
	add(a, op{method: http.MethodPost, path: "/api/v1/alerts/{alert_id}/comments", id: "comment-alert", summary: "Add a comment; answers with the alert as it is with it", tag: "alerts", status: 201, engine: true, answer: alertJSON{}},
		func(ctx context.Context, who *auth.Identity, in *comment) (*created, error) {
			return a.once(ctx, who.Tenant, "POST /alerts/"+in.ID+"/comments", &in.Keyed, in.RawBody, func() (fact.Answer, func(*fact.Idempotency) error, error) {
				v, err := a.Alerts.GetAlert(ctx, who.Tenant, alert.ID(in.ID))
				if err != nil {
					return fact.Answer{}, nil, err
				}
				// The answer is made before the comment is recorded, as the first answer to its key must be.
				after := v.View
				after.Version++
				after.UpdatedAt = a.Now().UTC().Truncate(time.Millisecond)
				after.Handling = append(slices.Clip(after.Handling), alert.Handling{
					Seq: after.Version, Action: alert.ActComment, By: by(who), At: after.UpdatedAt, Details: alert.Details{Text: in.Body.Text},
				})
				ans, err := render(201, "/api/v1/alerts/"+string(v.ID), alertOf(v.Shard.Warehouse, &after))
				return ans, func(i *fact.Idempotency) error {
					_, err := a.Alerts.HandleAlert(ctx, v.Shard, v.ID, alert.Comment{Text: in.Body.Text}, by(who), traceOf(ctx), i)
					return err
				}, err
			})
		})
}

type missedWish struct {
	WarehouseID uid          `json:"warehouse_id" format:"uuid"`
	Subject     alertSubject `json:"subject"`
	Cause       string       `json:"cause" enum:"congestion,robot_lost,robot_stuck,robot_fault,suspect,low_battery,dead_letters,store_away"`
	Level       string       `json:"level" enum:"L1,L2,L3" doc:"that it should have had"`
	From        time.Time    `json:"from" doc:"when it was wrong"`
	To          time.Time    `json:"to"`
	Text        string       `json:"text,omitempty" maxLength:"2000"`
}

// missedAlerts are those that people report after the fact: rules are calibrated with them.
func (a *api) missedAlerts() {
	type report struct {
		Keyed
		RawBody []byte
		Body    missedWish
	}
	add(a, op{method: http.MethodPost, path: "/api/v1/alerts", id: "report-alert", summary: "Report an alert that was missing; it is recorded as resolved and marked missed", tag: "alerts", status: 201, engine: true, answer: alertJSON{}},
		func(ctx context.Context, who *auth.Identity, in *report) (*created, error) {
			return a.once(ctx, who.Tenant, "POST /alerts", &in.Keyed, in.RawBody, func() (fact.Answer, func(*fact.Idempotency) error, error) {
				w := &in.Body
				now := a.Now().UTC().Truncate(time.Millisecond)
				var f faults
				if _, err := a.Facts.GetWarehouse(ctx, who.Tenant, fleet.WarehouseID(w.WarehouseID)); err != nil {
					if table(err).status != http.StatusNotFound {
						return fact.Answer{}, nil, err
					}
					f.add("body.warehouse_id", "there is no such warehouse")
				}
				if !w.To.After(w.From) || w.To.After(now) {
					f.add("body.to", "want a time after from that has passed")
				}
				f.printable("body.subject.id", w.Subject.ID, 1, 128)
				if err := f.err(); err != nil {
					return fact.Answer{}, nil, err
				}
				level, _ := alert.ParseLevel(w.Level)
				m := alert.MissReported{
					ID: alert.ID(uuid.NewString()), Subject: alert.Subject{Type: w.Subject.Type, ID: w.Subject.ID}, Cause: alert.Cause(w.Cause), Level: level,
					From: w.From.UTC().Truncate(time.Millisecond), To: w.To.UTC().Truncate(time.Millisecond), Text: w.Text, By: by(who), Trace: traceOf(ctx),
				}
				ans, err := render(201, "/api/v1/alerts/"+string(m.ID), alertOf(fleet.WarehouseID(w.WarehouseID), missed(&m, now)))
				return ans, func(i *fact.Idempotency) error {
					_, err := a.Alerts.ReportMissedAlert(ctx, fleet.Shard{Tenant: who.Tenant, Warehouse: fleet.WarehouseID(w.WarehouseID)}, m, i)
					return err
				}, err
			})
		})
}

// missed is the alert that a report becomes.
func missed(m *alert.MissReported, now time.Time) *alert.View {
	return &alert.View{Alert: alert.Alert{
		ID: m.ID, Version: 1, Subject: m.Subject, Cause: m.Cause, Level: m.Level, Peak: m.Level, Status: alert.Resolved, Message: m.Text, Count: 1,
		Resolution: alert.Reported, Mark: alert.Missed, OpenedAt: m.From, SeenAt: m.To, ResolvedAt: m.To, UpdatedAt: now,
	}}
}
