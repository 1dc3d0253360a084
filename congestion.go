package main

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"starling/actors"
	"starling/engine/alert"
	"starling/engine/congestion"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/gateway/rest"
)

// newScorer starts what makes scores of congestion of measured statuses. The engine, of which it asks maps, comes later.
func (a *app) newScorer(registry prometheus.Registerer) *actors.Scorer {
	return actors.NewScorer(actors.ScorerOptions{
		Graph: func(ctx context.Context, shard fleet.Shard) (*roadmap.Graph, error) {
			s := a.telemetry.system.Load()
			if s == nil {
				return nil, nil //nolint:nilnil // no map is known yet
			}
			return s.ActiveGraph(ctx, shard)
		},
		Lives: func(shard fleet.Shard) bool {
			s := a.telemetry.system.Load()
			return s != nil && s.Lives(shard)
		},
		Settings: func(ctx context.Context, shard fleet.Shard) congestion.Settings {
			s := a.quotas.Settings(ctx, shard.Tenant)
			return s.Congestion(shard.Warehouse)
		},
		Scored: a.scored, Gone: a.scoredNoMore, Diagrams: a.store.Diagrams, Log: a.Log, Registerer: registry,
	})
}

// scoredNoMore forgets a shard that another process has.
func (a *app) scoredNoMore(shard fleet.Shard) {
	a.views.CongestionGone(shard)
	a.telemetry.remedies.Gone(shard)
}

// scored lets everybody know who cares how congested a warehouse is: whoever looks at it, its history, the stores.
func (a *app) scored(shard fleet.Shard, all []fact.Congestion) {
	t := &a.telemetry
	a.views.ShowCongestion(shard, all)
	t.book.Crowd(all)
	if t.influx != nil {
		t.influx.WriteCongestion(all)
	}
	if t.kafka != nil {
		t.kafka.WriteCongestion(all)
	}
	a.reviewCongestion(shard, all)
	a.act(shard, all)
}

// newRemedies starts what acts on congestion. The engine, which it tells, comes later.
func (a *app) newRemedies(registry prometheus.Registerer) *actors.Remedies {
	return actors.NewRemedies(actors.RemediesOptions{
		Relieve: func(ctx context.Context, shard fleet.Shard, r congestion.Relief) error {
			s := a.telemetry.system.Load()
			if s == nil {
				return nil // nobody is to be told yet
			}
			return s.Relieve(ctx, shard, r)
		},
		Record: func(ctx context.Context, shard fleet.Shard, m alert.Msg) error {
			s := a.telemetry.system.Load()
			if s == nil {
				return fact.ErrUnavailable
			}
			_, err := s.RecordRemedy(ctx, shard, m)
			return err
		},
		Log: a.Log, Registerer: registry,
	})
}

// act does against jams what the tenant allows.
func (a *app) act(shard fleet.Shard, all []fact.Congestion) {
	ctx, cancel := context.WithTimeout(context.Background(), probeWithin)
	defer cancel()
	settings := a.quotas.Settings(ctx, shard.Tenant)
	scores := make([]congestion.Score, len(all))
	for i := range all {
		scores[i] = all[i].Score
	}
	a.telemetry.remedies.Review(shard, settings.Congestion(shard.Warehouse), scores)
}

// remedies is what the HTTP door tells of what is done against jams; nil = nothing is done here.
func (a *app) remedies() rest.Remedies {
	if a.telemetry.remedies == nil {
		return nil
	}
	return a.telemetry.remedies
}

// diagrams is what the HTTP door tells of what was learned of zones; nil = nothing is learned here.
func (a *app) diagrams() rest.Diagrams {
	if a.telemetry.scorer == nil {
		return nil
	}
	return a.telemetry.scorer
}
