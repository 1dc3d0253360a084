package actors

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"starling/engine/congestion"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/roadmap"
)

// scoring is a house around a scorer: its map, who has the shard, and what it was told.
type scoring struct {
	mu       sync.Mutex
	graph    *roadmap.Graph
	lives    bool
	settings congestion.Settings
	told     [][]fact.Congestion
	gone     int
	kept     *fact.Diagrams
	saves    int
	away     error // of reading what is kept
}

func (h *scoring) SaveDiagrams(_ context.Context, d fact.Diagrams) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.kept = &d
	h.saves++
	return nil
}

func (h *scoring) GetDiagrams(context.Context, fleet.Shard) (fact.Diagrams, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.away != nil {
		return fact.Diagrams{}, h.away
	}
	if h.kept == nil {
		return fact.Diagrams{}, fact.ErrNotFound
	}
	return *h.kept, nil
}

func (h *scoring) set(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
}

func (h *scoring) start(reg prometheus.Registerer) *Scorer {
	return NewScorer(ScorerOptions{
		Graph: func(context.Context, fleet.Shard) (*roadmap.Graph, error) {
			h.mu.Lock()
			defer h.mu.Unlock()
			if h.graph == nil {
				return nil, errors.New("not known")
			}
			return h.graph, nil
		},
		Lives: func(fleet.Shard) bool { h.mu.Lock(); defer h.mu.Unlock(); return h.lives },
		Settings: func(context.Context, fleet.Shard) congestion.Settings {
			h.mu.Lock()
			defer h.mu.Unlock()
			return h.settings
		},
		Scored: func(_ fleet.Shard, all []fact.Congestion) { h.set(func() { h.told = append(h.told, all) }) },
		Gone:   func(fleet.Shard) { h.set(func() { h.gone++ }) }, Diagrams: h, Registerer: reg,
	})
}

var scoredShard = fleet.Shard{Tenant: "t", Warehouse: "w"}

// drive lets one robot go to and fro for a time, a status a second.
func (h *scoring) drive(s *Scorer, seq *uint64, span time.Duration) {
	for end := time.Now().Add(span); time.Now().Before(end); time.Sleep(time.Second) {
		*seq++
		v := fleet.Vertex(*seq % 8)
		at := time.Now().Truncate(time.Millisecond)
		s.WriteStatuses(context.Background(), []fact.Status{{
			Shard: scoredShard, Robot: "r", Boot: "b", Seq: *seq, At: at, ReceivedAt: at, Vertex: v, Pose: fleet.Pose{X: float64(v), Y: 0.5}, Located: true,
			State: fleet.Moving, VelocityMPS: 1, SamplingHz: 1,
		}})
	}
}

// A shard is scored every ten seconds on the map that is active, what is learned outlives the map, the shard's leave and the
// process, and nobody is told of a shard that is not here.
func TestAShardIsScoredWhileItLivesHere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewPedanticRegistry()
		h := &scoring{lives: true, settings: congestion.Usual()}
		s := h.start(reg)
		var seq uint64
		h.drive(s, &seq, 5*time.Second) // no map is known yet
		if n := testutil.ToFloat64(s.metrics.dropped.WithLabelValues("no_site")); n != 5 || len(s.all()) != 0 {
			t.Fatalf("%v statuses dropped, %d sites", n, len(s.all()))
		}
		h.set(func() { h.graph = testGrid(t, 8, 1) })
		h.drive(s, &seq, 2*time.Minute)
		h.set(func() {
			if len(h.told) < 10 || len(h.told) > 13 {
				t.Errorf("%d bins told of two minutes", len(h.told))
			}
			last := h.told[len(h.told)-1]
			whole := last[len(last)-1]
			if whole.Of != congestion.OfWarehouse || whole.ID != "w" || whole.Occupancy != 1 || whole.Map != h.graph.MapID || whole.MapVersion != 1 {
				t.Errorf("%+v", whole)
			}
			h.settings.Version = 9
			h.graph = testGrid(t, 8, 2)
		})
		h.drive(s, &seq, 30*time.Second)
		h.set(func() {
			last := h.told[len(h.told)-1]
			if whole := last[len(last)-1]; whole.MapVersion != 2 || whole.Version != 9 {
				t.Errorf("after a new map and settings: %+v", whole)
			}
		})
		d, ok := s.Diagram(scoredShard, h.graph.Zones[0].ID)
		if !ok || len(d.Own) == 0 || d.Own[0].Weight < 10 { // as many bins as of both maps
			t.Fatalf("what was learned is gone with the map: %+v", d)
		}
		h.set(func() { h.lives = false })
		time.Sleep(6 * time.Second)
		h.set(func() {
			if h.gone != 1 || h.saves != 1 || len(s.all()) != 0 {
				t.Fatalf("left %d times, kept %d times, %d sites", h.gone, h.saves, len(s.all()))
			}
			h.told = nil
		})
		h.drive(s, &seq, 20*time.Second)
		h.set(func() {
			if len(h.told) > 0 {
				t.Errorf("%d bins of a shard that is elsewhere", len(h.told))
			}
			h.lives = true
		})
		h.drive(s, &seq, 30*time.Second)
		if again, ok := s.Diagram(scoredShard, h.graph.Zones[0].ID); !ok || len(again.Own) == 0 || again.Own[0].Weight < d.Own[0].Weight*0.9 {
			t.Errorf("it was learned anew: %+v, before %+v", again, d)
		}
		s.Stop(t.Context())
		if h.saves != 2 {
			t.Errorf("kept %d times, want once more at the end", h.saves)
		}
	})
}

func TestSitesAreBounded(t *testing.T) {
	t.Parallel()
	h := &scoring{lives: true, settings: congestion.Usual(), graph: testGrid(t, 8, 1)}
	s := NewScorer(ScorerOptions{
		Graph: func(context.Context, fleet.Shard) (*roadmap.Graph, error) { return h.graph, nil }, Lives: func(fleet.Shard) bool { return true },
		Settings: func(context.Context, fleet.Shard) congestion.Settings { return h.settings },
		Scored:   func(fleet.Shard, []fact.Congestion) {}, Gone: func(fleet.Shard) {}, Sites: 2,
	})
	t.Cleanup(func() { s.Stop(context.Background()) })
	for i := range 5 {
		s.WriteStatuses(t.Context(), []fact.Status{{Shard: fleet.Shard{Tenant: "t", Warehouse: fleet.WarehouseID(rune('a' + i))}, Robot: "r"}})
	}
	if n, lost := len(s.all()), testutil.ToFloat64(s.metrics.dropped.WithLabelValues("no_site")); n != 2 || lost != 3 {
		t.Errorf("%d sites, %v statuses lost", n, lost)
	}
}

// What was learned in weeks is not saved over with what was learned since the store was away.
func TestWhatCannotBeReadIsNotOverwritten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		before := fact.Diagrams{Shard: scoredShard, Learned: []byte(`{}`)}
		h := &scoring{lives: true, settings: congestion.Usual(), graph: testGrid(t, 8, 1), kept: &before, away: fact.ErrUnavailable}
		s := h.start(prometheus.NewPedanticRegistry())
		var seq uint64
		h.drive(s, &seq, 6*time.Minute)
		h.set(func() {
			if h.saves != 0 {
				t.Errorf("saved %d times over what was not read", h.saves)
			}
			h.away = nil
		})
		h.drive(s, &seq, 6*time.Minute)
		h.set(func() {
			if h.saves != 1 {
				t.Errorf("saved %d times since it can be read, want once", h.saves)
			}
		})
		s.Stop(t.Context())
	})
}
