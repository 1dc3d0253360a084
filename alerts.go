package main

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"starling/engine/alert"
	"starling/engine/congestion"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
	"starling/engine/zone"
	"starling/gateway/rest"
)

// The pace and bounds of what looks for what is wrong. Each looks at newest states alone; how long something lasts before it
// is an alert is for the rules (engine/alert).
const (
	alertsEvery   = 5 * time.Second  // robots, zones and servers
	lettersEvery  = 30 * time.Second // dead letters: a query for each tenant
	probeWithin   = 3 * time.Second
	lettersWithin = 5 * time.Second
	lettersPage   = 500 // dead letters of a tenant that are told apart; more of them are as grave
	raisedAtMost  = 200 // jams of one warehouse
)

// alertFeeds is what tells the alerts of this process's shards what is wrong.
type alertFeeds struct {
	end  context.CancelFunc
	done sync.WaitGroup
	away map[string]bool // servers, and that it was logged; of reviewStores
}

// watchAlerts looks for what is wrong again and again, until stopAlerts.
func (a *app) watchAlerts(checks []rest.Check) {
	var ctx context.Context
	ctx, a.feeds.end = context.WithCancel(context.Background())
	every := func(d time.Duration, look func()) {
		a.feeds.done.Go(func() {
			tick := time.NewTicker(d)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
					look()
				}
			}
		})
	}
	every(alertsEvery, func() { a.reviewFloors(time.Now()) })
	every(alertsEvery, func() { a.reviewStores(ctx, checks) })
	if a.outbox.kafka != nil {
		every(lettersEvery, func() { a.reviewLetters(ctx) })
	}
}

func (a *app) stopAlerts() {
	if a.feeds.end != nil {
		a.feeds.end()
		a.feeds.done.Wait()
	}
}

// reviewFloors tells the alerts what is wrong with robots and zones.
func (a *app) reviewFloors(now time.Time) {
	zones := map[fleet.Shard][]alert.Condition{}
	a.views.EachZone(func(shard fleet.Shard, v *zone.View) { zones[shard] = alert.OfZone(now, v, zones[shard]) })
	for _, shard := range a.system.LiveShards() {
		var robots []alert.Condition
		a.views.Robots(shard, func(v *robot.View) bool {
			robots = alert.OfRobot(now, v, robots)
			return true
		})
		a.system.ReviewAlerts(shard, alert.Review{Feed: alert.FeedRobots, Conditions: robots})
		a.system.ReviewAlerts(shard, alert.Review{Feed: alert.FeedZones, Conditions: zones[shard]})
	}
}

// reviewCongestion tells the alerts of a warehouse where it jams.
func (a *app) reviewCongestion(shard fleet.Shard, all []fact.Congestion) {
	system := a.telemetry.system.Load()
	if system == nil || len(all) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), probeWithin)
	defer cancel()
	graph, err := system.ActiveGraph(ctx, shard)
	if err != nil || graph == nil {
		return
	}
	scores := make([]congestion.Score, len(all))
	for i := range all {
		scores[i] = all[i].Score
	}
	system.ReviewAlerts(shard, alert.Review{Feed: alert.FeedCongestion, At: all[0].At, Conditions: jams(graph, scores)})
}

// jams is what is wrong with the zones, lanes and warehouse of these scores. A lane is a place for one or two robots: what is
// no worse there than L1 is for the heat map, not for people.
func jams(graph *roadmap.Graph, scores []congestion.Score) []alert.Condition {
	bad := make([]congestion.Score, 0, len(scores))
	zoneOf, names := map[string]string{}, map[string]string{}
	for i := range scores {
		sc := &scores[i]
		switch {
		case sc.Of != congestion.OfLane:
			bad = append(bad, *sc)
		case sc.Level > 1:
			zoneOf[sc.ID] = ""
			bad = append(bad, *sc)
		}
	}
	for i := range graph.Lanes {
		if len(zoneOf) == 0 {
			break
		}
		l := &graph.Lanes[i]
		if _, asked := zoneOf[string(l.ID)]; asked {
			zoneOf[string(l.ID)] = string(graph.Zones[graph.ZoneOf[l.From]].ID)
		}
	}
	for i := range graph.Zones {
		names[string(graph.Zones[i].ID)] = graph.Zones[i].Name
	}
	raised := congestion.Raised(bad, func(lane string) string { return zoneOf[lane] }, raisedAtMost)
	var list []alert.Condition
	for i := range raised {
		list = alert.OfScore(&raised[i], cmp.Or(names[raised[i].ID], raised[i].ID), list)
	}
	return list
}

// reviewStores tells all alerts of this process which servers do not answer.
func (a *app) reviewStores(ctx context.Context, checks []rest.Check) {
	errs := make([]error, len(checks))
	var probes sync.WaitGroup
	for i := range checks {
		probes.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, probeWithin)
			defer cancel()
			errs[i] = checks[i].Probe(ctx)
		})
	}
	probes.Wait()
	if ctx.Err() != nil { // we are being stopped
		return
	}
	list := a.feeds.storesAway(ctx, a.Log, checks, errs)
	for _, shard := range a.system.LiveShards() {
		a.system.ReviewAlerts(shard, alert.Review{Feed: alert.FeedStores, Conditions: list})
	}
}

// storesAway is what is wrong with servers that have answered so. Their errors are logged, once each time that one goes away,
// and told to nobody else.
func (f *alertFeeds) storesAway(ctx context.Context, log *slog.Logger, checks []rest.Check, errs []error) (list []alert.Condition) {
	away := map[string]bool{}
	for i, err := range errs {
		if err == nil {
			continue
		}
		name := checks[i].Name
		if away[name] = true; !f.away[name] {
			log.WarnContext(ctx, "a server does not answer", slog.String(keyEvent, "alerts.store_away"), slog.String("server", name), slog.String("error", err.Error()))
		}
		list = alert.OfStore(name, checks[i].Critical, list)
	}
	f.away = away
	return list
}

// reviewLetters tells of each tenant's dead letters, in the first of its warehouses that lives here: letters know no
// warehouse. What cannot be read is not told: silence is not health.
func (a *app) reviewLetters(ctx context.Context) {
	var tenant fleet.TenantID
	for _, shard := range a.system.LiveShards() { // in order of their keys
		r := alert.Review{Feed: alert.FeedLetters}
		if shard.Tenant != tenant {
			tenant = shard.Tenant
			within, cancel := context.WithTimeout(ctx, lettersWithin)
			l, err := a.store.DeadLetters.ListDeadLetters(within, tenant, fact.LetterFilter{State: fact.LetterOpen}, fact.Page{Limit: lettersPage})
			cancel()
			if err != nil {
				a.Log.WarnContext(ctx, "dead letters cannot be read", slog.String(keyEvent, "alerts.letters"), slog.String("error", err.Error()))
				continue
			}
			r.Conditions = ofLetters(l.Items)
		}
		a.system.ReviewAlerts(shard, r)
	}
}

// ofLetters groups open dead letters by topic.
func ofLetters(letters []fact.DeadLetter) []alert.Condition {
	slices.SortStableFunc(letters, func(x, y fact.DeadLetter) int {
		return cmp.Or(strings.Compare(x.Topic, y.Topic), x.DeadAt.Compare(y.DeadAt))
	})
	var list []alert.Condition
	for from := 0; from < len(letters); {
		to := from
		for to < len(letters) && letters[to].Topic == letters[from].Topic {
			to++
		}
		list = alert.OfLetters(letters[from].Topic, to-from, letters[from].DeadAt, list)
		from = to
	}
	return list
}
