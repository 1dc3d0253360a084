package actors

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"starling/engine/congestion"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/roadmap"
)

// Diagrams keeps what was learned of how zones flow. (persistence/postgres.)
type Diagrams interface {
	SaveDiagrams(ctx context.Context, d fact.Diagrams) error
	// GetDiagrams wraps fact.ErrNotFound where nothing was learned yet.
	GetDiagrams(ctx context.Context, shard fleet.Shard) (fact.Diagrams, error)
}

// ScorerOptions are the scorer's ports and settings. The zero value of a setting is its stated default.
type ScorerOptions struct {
	// Graph is the map that a shard's robots drive on; an error or nil = not known now.
	Graph func(ctx context.Context, shard fleet.Shard) (*roadmap.Graph, error)
	// Lives says whether this process has the shard.
	Lives func(fleet.Shard) bool
	// Settings are those in force for a shard.
	Settings func(ctx context.Context, shard fleet.Shard) congestion.Settings
	// Scored takes what was scored of a shard at one moment. The slice is the taker's. It must not take long.
	Scored func(shard fleet.Shard, all []fact.Congestion)
	// Gone says that a shard is not scored here any more.
	Gone     func(fleet.Shard)
	Diagrams Diagrams // nil = what is learned ends with the process

	Sites      int           // shards at once; 0 = 1,000
	SaveEvery  time.Duration // 0 = 5 min
	Now        func() time.Time
	Log        *slog.Logger          // nil = silence
	Registerer prometheus.Registerer // nil = metrics are kept and not registered
}

// Scorer is the sink of measured statuses that makes scores of them: one site for each shard that lives here, on the map that
// is active there. A new version of the map makes a new site that keeps what was learned of zones that stay.
//
// Cost: a status about 0.2 us; the memory of congestion.Site for each shard.
type Scorer struct {
	o       ScorerOptions
	mu      sync.Mutex
	sites   map[fleet.Shard]*site
	refused map[fleet.Shard]time.Time // until when a shard of which no site can be made is not tried again
	metrics scorerMetrics
	end     context.CancelFunc
	done    sync.WaitGroup
}

// site is one shard's. mu guards the core.
type site struct {
	shard fleet.Shard
	mu    sync.Mutex
	core  *congestion.Site
	graph *roadmap.Graph
	saved time.Time
	// unread says that what was learned before is not known yet: nothing may be saved over it.
	unread bool
}

type scorerMetrics struct {
	scores  prometheus.Counter
	dropped *prometheus.CounterVec
	took    prometheus.Histogram
	sites   prometheus.Gauge
	robots  prometheus.Gauge
	odd     *prometheus.GaugeVec
}

// How often the scorer looks, and asks for maps and settings.
const (
	scoreEvery = time.Second
	askEvery   = 5 * time.Second
	askWithin  = 2 * time.Second
	retryAfter = 2 * time.Second
)

// NewScorer starts a scorer; Stop ends it.
func NewScorer(o ScorerOptions) *Scorer {
	if o.Sites <= 0 {
		o.Sites = 1000
	}
	if o.SaveEvery <= 0 {
		o.SaveEvery = 5 * time.Minute
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Scorer{o: o, sites: map[fleet.Shard]*site{}, refused: map[fleet.Shard]time.Time{}, metrics: newScorerMetrics(o.Registerer)}
	var ctx context.Context
	ctx, s.end = context.WithCancel(context.Background())
	s.done.Go(func() { s.run(ctx) })
	return s
}

func newScorerMetrics(r prometheus.Registerer) scorerMetrics {
	m := scorerMetrics{
		scores:  prometheus.NewCounter(prometheus.CounterOpts{Name: "starling_congestion_scores_total", Help: "Scores of zones, lanes and warehouses."}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "starling_congestion_dropped_total", Help: "Statuses that no score counts: no map is known (no_site), too many warehouses (sites)."}, []string{"queue"}),
		took:    prometheus.NewHistogram(prometheus.HistogramOpts{Name: "starling_congestion_close_seconds", Help: "Time to score a warehouse.", Buckets: prometheus.ExponentialBuckets(0.0001, 4, 8)}),
		sites:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "starling_congestion_sites", Help: "Warehouses that are scored here."}),
		robots:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "starling_congestion_robots", Help: "Robots that scores are made of."}),
		odd:     prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "starling_congestion_statuses", Help: "Statuses that the sites of now have had, by what became of them."}, []string{"how"}),
	}
	if r != nil {
		r.MustRegister(m.scores, m.dropped, m.took, m.sites, m.robots, m.odd)
	}
	return m
}

// WriteStatuses implements StatusSink.
func (s *Scorer) WriteStatuses(ctx context.Context, batch []fact.Status) {
	var at *site
	var sample congestion.Sample
	lost := 0
	for i := range batch {
		if shard := batch[i].Shard; at == nil || at.shard != shard {
			if at != nil {
				at.mu.Unlock()
			}
			if at = s.site(ctx, shard); at != nil {
				at.mu.Lock()
			}
		}
		if at == nil {
			lost++
			continue
		}
		fact.SampleOf(&batch[i], &sample)
		at.core.Add(&sample)
	}
	if at != nil {
		at.mu.Unlock()
	}
	if lost > 0 {
		s.metrics.dropped.WithLabelValues("no_site").Add(float64(lost))
	}
}

// site finds a shard's site, or makes it; nil where that cannot be done now.
func (s *Scorer) site(ctx context.Context, shard fleet.Shard) *site {
	s.mu.Lock()
	x, until, many := s.sites[shard], s.refused[shard], len(s.sites) >= s.o.Sites
	s.mu.Unlock()
	if x != nil {
		return x
	}
	now := s.o.Now()
	if now.Before(until) {
		return nil
	}
	if many {
		s.metrics.dropped.WithLabelValues("sites").Inc()
	} else if s.o.Lives(shard) {
		x = s.make(ctx, shard, now)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if x == nil {
		if len(s.refused) >= s.o.Sites {
			clear(s.refused)
		}
		s.refused[shard] = now.Add(retryAfter)
		return nil
	}
	delete(s.refused, shard)
	s.sites[shard] = x
	s.metrics.sites.Set(float64(len(s.sites)))
	return x
}

// make builds a site from the active map and what was learned before.
func (s *Scorer) make(ctx context.Context, shard fleet.Shard, now time.Time) *site {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	g, err := s.o.Graph(ctx, shard)
	if err != nil || g == nil {
		return nil
	}
	core := congestion.NewSite(congestion.SiteSpec{Graph: g, Settings: s.o.Settings(ctx, shard)})
	x := &site{shard: shard, core: core, graph: g, saved: now, unread: s.o.Diagrams != nil}
	s.recall(ctx, x)
	return x
}

// recall reads what was learned of a site before, where that is not done yet. Until it is, its core learns what it sees, and
// then goes on from what is on record.
func (s *Scorer) recall(ctx context.Context, x *site) {
	if !x.unread {
		return
	}
	d, err := s.o.Diagrams.GetDiagrams(ctx, x.shard)
	if err != nil && !errors.Is(err, fact.ErrNotFound) {
		s.o.Log.LogAttrs(ctx, slog.LevelWarn, "what was learned cannot be read yet", slog.String("event", "congestion.diagrams"),
			slog.String("shard", x.shard.Key()), slog.String("error", err.Error()))
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.unread = false
	var l congestion.Learned
	if err == nil && json.Unmarshal(d.Learned, &l) == nil { // of a version that wrote otherwise: learned anew
		x.core.Learn(&l)
	}
}

// run closes bins, follows maps and settings, and keeps what is learned.
func (s *Scorer) run(ctx context.Context) {
	look, ask := time.NewTicker(scoreEvery), time.NewTicker(askEvery)
	defer look.Stop()
	defer ask.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
			for _, x := range s.all() {
				s.score(x)
			}
		case <-ask.C:
			var seen congestion.Counts
			for _, x := range s.all() {
				s.follow(ctx, x, &seen)
			}
			s.tell(&seen)
		}
	}
}

func (s *Scorer) all() []*site {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*site, 0, len(s.sites))
	for _, x := range s.sites {
		out = append(out, x)
	}
	return out
}

// score closes what is due, and tells it bin by bin.
func (s *Scorer) score(x *site) {
	for {
		began := time.Now()
		x.mu.Lock()
		scores := x.core.Close(s.o.Now())
		out := make([]fact.Congestion, len(scores))
		for i := range scores {
			out[i] = fact.Congestion{Shard: x.shard, Map: x.graph.MapID, MapVersion: x.graph.Version, Score: scores[i]}
			if out[i].Of == congestion.OfWarehouse {
				out[i].ID = string(x.shard.Warehouse)
			}
		}
		x.mu.Unlock()
		if len(out) == 0 {
			return
		}
		s.metrics.took.Observe(time.Since(began).Seconds())
		s.metrics.scores.Add(float64(len(out)))
		s.o.Scored(x.shard, out)
	}
}

// follow puts a new map and new settings in force, lets go of a shard that another process has, and keeps what was learned.
func (s *Scorer) follow(ctx context.Context, x *site, seen *congestion.Counts) {
	if !s.o.Lives(x.shard) {
		s.save(ctx, x)
		s.mu.Lock()
		delete(s.sites, x.shard)
		s.metrics.sites.Set(float64(len(s.sites)))
		s.mu.Unlock()
		s.o.Gone(x.shard)
		return
	}
	within, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	settings := s.o.Settings(within, x.shard)
	g, err := s.o.Graph(within, x.shard)
	x.mu.Lock()
	if err == nil && g != nil && (g.MapID != x.graph.MapID || g.Version != x.graph.Version) {
		learned := x.core.Learned()
		x.core, x.graph = congestion.NewSite(congestion.SiteSpec{Graph: g, Settings: settings}), g
		x.core.Learn(&learned)
	} else if settings != x.core.Settings() {
		x.core.Set(settings)
	}
	c := x.core.Counts()
	due := s.o.Now().Sub(x.saved) >= s.o.SaveEvery
	x.mu.Unlock()
	seen.Taken += c.Taken
	seen.Doubles += c.Doubles
	seen.Late += c.Late
	seen.Early += c.Early
	seen.Dropped += c.Dropped
	seen.Robots += c.Robots
	if due {
		s.save(ctx, x)
	}
}

func (s *Scorer) tell(c *congestion.Counts) {
	s.metrics.robots.Set(float64(c.Robots))
	for how, n := range map[string]uint64{"taken": c.Taken, "double": c.Doubles, "late": c.Late, "early": c.Early, "dropped": c.Dropped} {
		s.metrics.odd.WithLabelValues(how).Set(float64(n))
	}
}

// save keeps what was learned.
func (s *Scorer) save(ctx context.Context, x *site) {
	if s.o.Diagrams == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	s.recall(ctx, x)
	x.mu.Lock()
	learned, g := x.core.Learned(), x.graph
	x.saved = s.o.Now()
	x.mu.Unlock()
	if x.unread { // what is on record is worth more than what was seen since
		return
	}
	raw, err := json.Marshal(learned)
	if err == nil {
		err = s.o.Diagrams.SaveDiagrams(ctx, fact.Diagrams{Shard: x.shard, Map: g.MapID, MapVersion: g.Version, Learned: raw})
	}
	if err != nil {
		s.o.Log.LogAttrs(ctx, slog.LevelWarn, "diagrams are not kept", slog.String("event", "congestion.diagrams"),
			slog.String("shard", x.shard.Key()), slog.String("error", err.Error()))
	}
}

// Diagram is what was learned of a zone that is scored here, and where it is now; false = nothing is known of it.
func (s *Scorer) Diagram(shard fleet.Shard, zone fleet.ZoneID) (d congestion.Shown, ok bool) {
	s.mu.Lock()
	x := s.sites[shard]
	s.mu.Unlock()
	if x == nil {
		return d, false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.core.Diagram(zone)
}

// Stop keeps what was learned, as far as ctx lets it, and ends the scorer. Nothing may be written to it any more.
func (s *Scorer) Stop(ctx context.Context) {
	s.end()
	s.done.Wait()
	for _, x := range s.all() {
		s.save(ctx, x)
	}
}
