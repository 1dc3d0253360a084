package view

import (
	"testing"
	"time"

	"starling/engine/alert"
	"starling/engine/fleet"
)

func stepOf(id alert.ID, version int64, a alert.Action) (*alert.Event, *alert.View) {
	v := &alert.View{Alert: alert.Alert{ID: id, Version: version}}
	return &alert.Event{After: v.Alert, Step: alert.Handling{Seq: version, Action: a}}, v
}

func TestStepsOfAlertsAreToldOnceAndInOrder(t *testing.T) {
	t.Parallel()
	s := New()
	now := time.Now()
	s.now = func() time.Time { return now }
	shard := fleet.Shard{Tenant: "t", Warehouse: "w"}
	tell := func(id alert.ID, version int64, a alert.Action) {
		e, v := stepOf(id, version, a)
		if a == "" {
			e = nil
		}
		s.AlertChanged(shard, e, v)
	}
	b := s.Tenant("t").Alerts
	tell("old", 7, "") // restored: nothing happened
	at, all := b.Join("w"), b.Join("")
	tell("old", 8, alert.ActComment)
	tell("new", 1, alert.ActOpen)
	tell("new", 1, alert.ActOpen) // said again
	tell("new", 2, alert.ActAcknowledge)
	now = now.Add(time.Second)
	for w, at := range map[fleet.WarehouseID]Place{"w": at, "": all} {
		next, behind, ok := b.After(now, w, at)
		if !ok || next == nil || behind != 3 || len(next.Events) != 3 || next.Events[0].Action != alert.ActComment || next.Events[2].Alert.Version != 2 || next.Seq != at.Seq+1 {
			t.Fatalf("warehouse %q: %+v, %d, %t", w, next, behind, ok)
		}
	}
	if next, _, ok := b.After(now, "elsewhere", b.Join("elsewhere")); next != nil || !ok {
		t.Errorf("another warehouse is told %+v", next)
	}
	// A step was recorded by another process: who follows starts anew, and then all goes on.
	tell("new", 4, alert.ActResolve)
	if _, _, ok := b.After(now, "w", at); ok {
		t.Error("a step was passed over")
	}
	at = b.Join("w")
	tell("new", 5, alert.ActReopen)
	if b.Join("w").Life != at.Life {
		t.Error("a step in order ends the log")
	}
	tell("solved", 9, "")
	if b.Join("w").Life == at.Life {
		t.Error("an alert was restored that nobody who follows has seen, and they are not told to start anew")
	}
	at = b.Join("w")
	s.AlertChanged(shard, nil, &alert.View{Alert: alert.Alert{ID: "past", Version: 4, Status: alert.Resolved}})
	tell("past", 5, alert.ActMark)
	if b.Join("w").Life != at.Life {
		t.Error("who follows starts anew for a resolved alert that was loaded")
	}
	tell("other", 3, alert.ActRaise) // of an alert that nobody here knows
	if b.Join("w").Life == at.Life {
		t.Error("an alert was found at its third step")
	}
}
