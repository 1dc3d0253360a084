package stream_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"starling/engine/alert"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/gateway/auth"
	"starling/gateway/stream"
)

func (g *rig) openAlerts(_ context.Context, tenant fleet.TenantID, w fleet.WarehouseID) (out []fact.Alert, _ error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range g.alerts {
		if a := &g.alerts[i]; a.Shard.Tenant == tenant && (w == "" || a.Shard.Warehouse == w) {
			out = append(out, *a)
		}
	}
	return out, nil
}

func alertID(n int) alert.ID { return alert.ID(fmt.Sprintf("e0000000-0000-4000-8000-%012d", n)) }

// alarm records a step of an alert: in the store, and then with whoever follows.
func (g *rig) alarm(n int, version int64, a alert.Action, level alert.Level, subject string) {
	now := time.Date(2026, 3, 1, 12, n, 0, 0, time.UTC)
	v := alert.View{Alert: alert.Alert{
		ID: alertID(n), Version: version, Subject: alert.Subject{Type: subject, ID: zone1}, Cause: alert.Congestion, Level: level, Peak: level, Message: "jams", Count: 1,
		OpenedAt: now, SeenAt: now, UpdatedAt: now,
	}, Handling: []alert.Handling{{Seq: version, Action: a, At: now}}}
	if a == alert.ActResolve {
		v.Status = alert.Resolved
	}
	g.mu.Lock()
	g.alerts = slices.DeleteFunc(g.alerts, func(x fact.Alert) bool { return x.ID == v.ID })
	if v.Status != alert.Resolved {
		stored := v
		stored.Handling = nil
		g.alerts = append(g.alerts, fact.Alert{Shard: shardA(), View: stored})
	}
	g.mu.Unlock()
	g.views.AlertChanged(shardA(), &alert.Event{After: v.Alert, Step: v.Handling[0]}, &v)
}

type toldAlert struct {
	ID      alert.ID `json:"alert_id"`
	Version int64    `json:"version"`
	Event   string   `json:"event"`
	Level   string   `json:"level"`
}

func readAlert(t *testing.T, raw json.RawMessage) (a toldAlert) {
	t.Helper()
	if err := json.Unmarshal(raw, &a); err != nil {
		t.Fatal(err)
	}
	return a
}

// steps reads deltas until n steps have been told.
func (c *client) steps(n int) (out []string, last uint64) {
	c.Helper()
	for len(out) < n {
		m := c.want("delta", 1)
		if last != 0 && m.Seq != last+1 {
			c.Fatalf("after %d comes %d", last, m.Seq)
		}
		last = m.Seq
		for _, e := range m.Events {
			a := readAlert(c.T, e.Data)
			out = append(out, fmt.Sprintf("%s %d.%d %s %s", e.Type, a.ID[len(a.ID)-1]-'0', a.Version, a.Event, a.Level))
		}
	}
	return out, last
}

func TestAlertsAreToldInOrderAndGoneOnWith(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil)
	g.alarm(2, 1, alert.ActOpen, alert.L2, alert.SubjectLane)
	g.alarm(1, 1, alert.ActOpen, alert.L1, alert.SubjectZone)
	c := g.viewer()
	c.send(`{"op":"subscribe","id":1,"channel":"alerts","filter":{"warehouse_id":%q}}`, floor1)
	begun := c.want("subscribed", 1)
	snapshot := c.want("snapshot", 1)
	if len(snapshot.Items) != 2 || readAlert(t, snapshot.Items[0]).ID != alertID(1) || snapshot.Seq != begun.Seq || snapshot.More {
		t.Fatalf("snapshot %+v", snapshot)
	}
	g.alarm(1, 2, alert.ActRaise, alert.L2, alert.SubjectZone)
	g.alarm(1, 3, alert.ActAcknowledge, alert.L2, alert.SubjectZone)
	g.alarm(3, 1, alert.ActOpen, alert.L3, alert.SubjectRobot)
	got, last := c.steps(3)
	if want := []string{"congestion_alert 1.2 raise L2", "congestion_alert 1.3 acknowledge L2", "alert 3.1 open L3"}; !slices.Equal(got, want) {
		t.Errorf("told %v, want %v", got, want)
	}
	c.close()
	g.alarm(2, 2, alert.ActResolve, alert.L2, alert.SubjectLane)
	again := g.viewer()
	again.send(`{"op":"subscribe","id":1,"channel":"alerts","filter":{"warehouse_id":%q},"since":{"epoch":%q,"seq":%d}}`, floor1, begun.Epoch, last)
	if s := again.want("subscribed", 1); !s.Recovered {
		t.Errorf("not gone on with: %+v", s)
	}
	if got, _ := again.steps(1); !slices.Equal(got, []string{"congestion_alert 2.2 resolve L2"}) {
		t.Errorf("missed %v", got)
	}
	// A log that has begun anew is started with anew, by itself too.
	g.alarm(3, 9, alert.ActResolve, alert.L3, alert.SubjectRobot)
	if s := again.want("subscribed", 1); s.Recovered || s.Epoch == begun.Epoch {
		t.Errorf("goes on with %+v", s)
	}
	if s := again.want("snapshot", 1); len(s.Items) != 1 || readAlert(t, s.Items[0]).ID != alertID(1) {
		t.Errorf("snapshot %s", s.Items)
	}
}

func TestAlertsAreFilteredByTheWorstTheyHaveBeen(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil)
	g.alarm(1, 1, alert.ActOpen, alert.L1, alert.SubjectZone)
	g.alarm(2, 1, alert.ActOpen, alert.L2, alert.SubjectZone)
	c := g.viewer()
	c.send(`{"op":"subscribe","id":1,"channel":"alerts","filter":{"min_level":"L2"}}`)
	if s := c.want("snapshot", 1); len(s.Items) != 1 || readAlert(t, s.Items[0]).ID != alertID(2) {
		t.Fatalf("snapshot %s", s.Items)
	}
	g.alarm(1, 2, alert.ActComment, alert.L1, alert.SubjectZone)
	time.Sleep(200 * time.Millisecond) // so that it is a batch of its own
	g.alarm(1, 3, alert.ActRaise, alert.L3, alert.SubjectZone)
	if got, seq := c.steps(1); !slices.Equal(got, []string{"congestion_alert 1.3 raise L3"}) || seq != 1 {
		t.Errorf("told %v, seq %d", got, seq)
	}
	for _, bad := range []string{`"channel":"alerts","filter":{"min_level":"L4"}`, `"channel":"tasks","filter":{"min_level":"L1"}`} {
		c.send(`{"op":"subscribe","id":2,%s}`, bad)
		if m, err := c.next(); err != nil || m.Op != "error" || m.Error.Details.Fields[0].Field != "filter.min_level" {
			t.Errorf("%s: %+v, %v", bad, m, err)
		}
	}
}

// What is recorded while the snapshot is read comes after it, and what the snapshot has already does not come again.
func TestNoStepIsLostWhileTheSnapshotIsRead(t *testing.T) {
	t.Parallel()
	asked, answer := make(chan struct{}), make(chan struct{})
	var g *rig
	g = newRig(t, func(o *stream.Options) {
		o.OpenAlerts = func(ctx context.Context, tenant fleet.TenantID, w fleet.WarehouseID) ([]fact.Alert, error) {
			close(asked)
			<-answer
			return g.openAlerts(ctx, tenant, w)
		}
	})
	c := g.viewer()
	c.send(`{"op":"subscribe","id":1,"channel":"alerts"}`)
	<-asked
	g.alarm(1, 1, alert.ActOpen, alert.L1, alert.SubjectZone)
	g.alarm(2, 1, alert.ActOpen, alert.L1, alert.SubjectZone)
	g.alarm(2, 2, alert.ActResolve, alert.L1, alert.SubjectZone)
	close(answer)
	if s := c.want("snapshot", 1); len(s.Items) != 1 || readAlert(t, s.Items[0]).ID != alertID(1) {
		t.Fatalf("snapshot %s", s.Items)
	}
	g.alarm(1, 2, alert.ActRaise, alert.L2, alert.SubjectZone)
	got, _ := c.steps(3)
	if want := []string{"congestion_alert 2.1 open L1", "congestion_alert 2.2 resolve L1", "congestion_alert 1.2 raise L2"}; !slices.Equal(got, want) {
		t.Errorf("told %v, want %v", got, want)
	}
}

func TestAStoreThatIsAwayIsSaid(t *testing.T) {
	t.Parallel()
	g := newRig(t, func(o *stream.Options) {
		o.OpenAlerts = func(context.Context, fleet.TenantID, fleet.WarehouseID) ([]fact.Alert, error) {
			return nil, errors.New("down")
		}
	})
	l := g.listen("/api/v1/stream?channel=alerts&min_level=L1", "", g.token(tenantA, auth.Viewer, time.Hour))
	defer l.close()
	if m, err := l.next(); err != nil || m.Op != "error" || m.Error.Code != "UNAVAILABLE" {
		t.Fatalf("%+v %v", m, err)
	}
	if m, err := l.next(); err != nil || m.Op != "closing" {
		t.Fatalf("%+v %v", m, err)
	}
}
