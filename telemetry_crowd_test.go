package main

import (
	"testing"
	"time"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/zone"
	"starling/gateway/history"
	"starling/gateway/view"
)

// A jam that stands shows nothing new for as long as it stands, and is measured all the while; a zone that another process
// has is measured there.
func TestAStandingJamIsMeasured(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 123_456_789, time.UTC)
	ours, theirs := fleet.Shard{Tenant: "t", Warehouse: "ours"}, fleet.Shard{Tenant: "t", Warehouse: "theirs"}
	views := view.New()
	views.ShowZone(ours, &zone.View{Zone: "jam", At: now, Occupancy: 9, Queue: 9})
	views.ShowZone(theirs, &zone.View{Zone: "elsewhere", At: now, Occupancy: 1})
	book := history.New(history.Options{Now: func() time.Time { return now.Add(time.Hour) }})
	for range 60 {
		now = now.Add(crowdEvery)
		all := crowdOf(now, views, func(s fleet.Shard) bool { return s == ours }, func(fleet.Shard) *roadmap.Graph { return nil })
		if len(all) != 1 || all[0].ID != "jam" || all[0].Queue != 9 || !all[0].At.Equal(now.Truncate(time.Millisecond)) {
			t.Fatalf("%+v, want the jam at %v", all, now)
		}
		book.Crowd(all)
	}
	s, err := book.Congestion(t.Context(), "t", fact.OfZone, "jam", history.Query{Gap: 45 * time.Second, HistoryQuery: fact.HistoryQuery{
		From: now.Add(-599 * time.Second), To: now.Add(time.Second), Columns: []fact.Column{{Field: "queue_length"}}, Limit: 100,
	}})
	if err != nil || len(s.Points) != 60 {
		t.Fatalf("%d points, %v, want 60 without a gap", len(s.Points), err)
	}
}
