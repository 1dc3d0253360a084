package main

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"starling/actors"
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
		Scored: a.scored, Gone: a.views.CongestionGone, Diagrams: a.store.Diagrams, Log: a.Log, Registerer: registry,
	})
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
}

// diagrams is what the HTTP door tells of what was learned of zones; nil = nothing is learned here.
func (a *app) diagrams() rest.Diagrams {
	if a.telemetry.scorer == nil {
		return nil
	}
	return a.telemetry.scorer
}
