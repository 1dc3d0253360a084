package main

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"starling/engine/alert"
	"starling/engine/congestion"
	"starling/engine/fact"
	"starling/engine/roadmap"
	"starling/gateway/rest"
)

func TestAJamIsToldOnceAndByName(t *testing.T) {
	t.Parallel()
	graph := &roadmap.Graph{
		Zones:  []roadmap.Zone{{ID: "z1", Name: "dock"}, {ID: "z2"}},
		ZoneOf: []int32{0, 1}, Lanes: []roadmap.Lane{{ID: "a", From: 0, To: 1}, {ID: "b", From: 1, To: 0}, {ID: "c", From: 1, To: 0}},
	}
	score := func(of congestion.Of, id string, level int) congestion.Score {
		return congestion.Score{Subject: congestion.Subject{Of: of, ID: id}, Level: level, Index: float64(level) / 4}
	}
	list := jams(graph, []congestion.Score{
		score(congestion.OfZone, "z1", 2), score(congestion.OfZone, "z2", 0), score(congestion.OfLane, "a", 2), score(congestion.OfLane, "b", 2),
		score(congestion.OfLane, "c", 1), score(congestion.OfWarehouse, "w", 1),
	})
	var got []string
	for _, c := range list {
		got = append(got, c.Subject.Type+" "+c.Subject.ID+" "+c.Level.String())
	}
	slices.Sort(got)
	if want := []string{"lane b L2", "warehouse w L1", "zone z1 L2"}; !slices.Equal(got, want) {
		t.Fatalf("told %v, want %v: lane a is no worse than its zone, lane c only L1", got, want)
	}
	if i := slices.IndexFunc(list, func(c alert.Condition) bool { return c.Subject.ID == "z1" }); list[i].Message != "zone dock jams: index 0.50, 0 of 0 robots wait" {
		t.Fatalf("told as %q", list[i].Message)
	}
}

// Alerts are for each tenant: what servers' errors name is for whoever runs them.
func TestWhyAServerDoesNotAnswerIsLoggedAndNotTold(t *testing.T) {
	t.Parallel()
	var logged strings.Builder
	log := slog.New(slog.NewTextHandler(&logged, nil))
	var f alertFeeds
	checks := []rest.Check{{Name: "postgres", Critical: true}, {Name: "redis"}}
	errs := []error{errors.New("dial tcp 10.1.2.3:5432: user=starling"), nil}
	for range 3 {
		list := f.storesAway(t.Context(), log, checks, errs)
		if len(list) != 1 || list[0].Level != alert.L3 || strings.Contains(list[0].Message+string(list[0].Details), "10.1.2.3") {
			t.Fatalf("told %+v with %s", list, list[0].Details)
		}
	}
	if n := strings.Count(logged.String(), "10.1.2.3"); n != 1 {
		t.Errorf("logged %d times, want once: %s", n, logged.String())
	}
}

func TestDeadLettersAreToldByTopic(t *testing.T) {
	t.Parallel()
	at := func(m int) time.Time { return time.Date(2026, 1, 1, 0, m, 0, 0, time.UTC) }
	list := ofLetters([]fact.DeadLetter{{Topic: "b", DeadAt: at(3)}, {Topic: "a", DeadAt: at(2)}, {Topic: "b", DeadAt: at(1)}})
	if len(list) != 2 || list[0].Subject != (alert.Subject{Type: alert.SubjectTopic, ID: "a"}) || list[1].Subject.ID != "b" ||
		string(list[1].Details) != `{"since":"2026-01-01T00:01:00Z","letters":2}` {
		t.Fatalf("told %+v", list)
	}
}
