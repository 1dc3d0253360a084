//go:build integration

package postgres_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"starling/engine/alert"
	"starling/engine/fact"
	"starling/engine/fleet"
	eventsv1 "starling/proto/gen/starling/events/v1"
)

// incident makes the unit that opens an alert.
func incident(shard fleet.Shard, at time.Time, change func(a *alert.Alert)) (alert.ID, fact.Unit) {
	a := alert.Alert{
		ID: newID[alert.ID](), Version: 1, Subject: alert.Subject{Type: alert.SubjectZone, ID: newID[string]()}, Cause: alert.Congestion,
		Feed: alert.FeedCongestion, Level: alert.L2, Peak: alert.L2, Message: "zone jams", Count: 1, OpenedAt: at, SeenAt: at, CalledAt: at, UpdatedAt: at,
	}
	change(&a)
	return a.ID, fact.Unit{Shard: shard, Facts: []fact.Fact{oneFact(string(a.ID), 1, at, alert.Event{
		After: a, Step: alert.Handling{Seq: 1, Action: alert.ActOpen, By: fleet.Actor{Part: "alerts"}, At: at, Details: alert.Details{To: a.Level}},
	})}}
}

func TestAlertsAreListedByFilterAndPage(t *testing.T) {
	t.Parallel()
	s, url := freshAt(t)
	shard, foreign := newShard(t, s), newShard(t, s)
	base := time.Date(2026, 5, 1, 8, 0, 0, 0, time.UTC)
	who := newID[fleet.UserID]()
	var ids []alert.ID
	for i, change := range []func(a *alert.Alert){
		func(a *alert.Alert) { a.Level, a.Peak = alert.L1, alert.L1 },
		func(a *alert.Alert) { a.Level, a.Peak = alert.L3, alert.L3 },
		func(a *alert.Alert) {
			a.Status, a.AcknowledgedAt, a.Assignee, a.AcknowledgedBy = alert.Acknowledged, base, who, fleet.Actor{User: who}
		},
		func(a *alert.Alert) {
			a.Status, a.ResolvedAt, a.Resolution, a.Mark = alert.Resolved, base.Add(time.Hour), alert.ByPerson, alert.False
		},
		func(a *alert.Alert) {
			a.Cause, a.Subject = alert.RobotLost, alert.Subject{Type: alert.SubjectRobot, ID: "r1"}
		},
	} {
		id, u := incident(shard, base.Add(time.Duration(i)*time.Minute), change)
		ids = append(ids, id)
		mustAppend(t, s, u)
	}
	_, other := incident(foreign, base, func(*alert.Alert) {})
	mustAppend(t, s, other)
	for name, c := range map[string]struct {
		f    fact.AlertFilter
		want []int
	}{
		"everything, newest first": {fact.AlertFilter{}, []int{4, 3, 2, 1, 0}},
		"open ones":                {fact.AlertFilter{Status: "OPEN"}, []int{4, 1, 0}},
		"not resolved":             {fact.AlertFilter{Open: true}, []int{4, 2, 1, 0}},
		"from a level on":          {fact.AlertFilter{MinLevel: alert.L2}, []int{4, 3, 2, 1}},
		"a level alone":            {fact.AlertFilter{Level: alert.L1}, []int{0}},
		"a cause":                  {fact.AlertFilter{Cause: alert.RobotLost}, []int{4}},
		"a subject":                {fact.AlertFilter{Subject: alert.Subject{Type: alert.SubjectRobot, ID: "r1"}}, []int{4}},
		"somebody's":               {fact.AlertFilter{Assignee: who}, []int{2}},
		"a time":                   {fact.AlertFilter{From: base.Add(time.Minute), To: base.Add(3 * time.Minute)}, []int{2, 1}},
		"another warehouse":        {fact.AlertFilter{Warehouse: foreign.Warehouse}, nil},
		"no warehouse at all":      {fact.AlertFilter{Warehouse: "x"}, nil},
	} {
		got := walk(t, func(p fact.Page) (fact.List[fact.Alert], error) {
			return s.Alerts.ListAlerts(t.Context(), shard.Tenant, c.f, p)
		}, func(a fact.Alert) string { return string(a.ID) })
		var want []string
		for _, i := range c.want {
			want = append(want, string(ids[i]))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	marks, err := s.Alerts.ListMarks(t.Context(), shard.Tenant, base, base.Add(time.Hour))
	if err != nil || len(marks) != 1 || marks[0].Alert != ids[3] || marks[0].Mark != alert.False || marks[0].Ended.IsZero() {
		t.Errorf("marks %+v, %v", marks, err)
	}
	var topic, key string
	var payload []byte
	row := connect(t, url, "").QueryRow(t.Context(), "SELECT topic, key, payload FROM outbox_events WHERE aggregate_id = $1", string(ids[1]))
	if err := row.Scan(&topic, &key, &payload); err != nil {
		t.Fatal(err)
	}
	var env eventsv1.Envelope
	if err := env.UnmarshalVT(payload); err != nil {
		t.Fatal(err)
	}
	b := env.GetAlertStepped()
	if topic != "alerts" || key != string(ids[1]) || env.GetType() != "alert.open" || env.GetVersion() != 1 || b.GetLevel() != eventsv1.AlertLevel_ALERT_LEVEL_L3 ||
		b.GetStatus() != eventsv1.AlertStatus_ALERT_STATUS_OPEN || b.GetCause() != "congestion" {
		t.Errorf("leaves on %s as %s: %v", topic, key, fmt.Sprint(&env))
	}
}
