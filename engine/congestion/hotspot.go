package congestion

import (
	"slices"
	"time"
)

// Hotspot is one subject as it is, or as it is expected to be.
type Hotspot struct {
	Score // its Index is that of the horizon; with one its Level is 0: levels are of what was measured
	// Source says where the index comes from: SourceObserved, or SourcePersistence: as it is, how it changed lately, and the
	// robots that are on their way there. No model has a part in that.
	Source  string
	Actions []Action // what may be done, the best first; nil = nothing is known
}

// The sources.
const (
	SourceObserved    = "observed"
	SourcePersistence = "persistence"
)

// Hotspots picks the worst zones and lanes, at most limit, the worst first: as they were seen, or, with a horizon, as they are
// expected to be then by persistence and inbound demand. That looks a minute ahead; for more it says the same and is worth less, so
// its confidence falls with the horizon. The scores may be those of any bins; nothing is kept of them.
func Hotspots(scores []Score, horizon time.Duration, limit int) []Hotspot {
	all := make([]Score, 0, len(scores))
	for i := range scores {
		sc := scores[i]
		if sc.Of == OfWarehouse {
			continue
		}
		if horizon > 0 {
			sc.Index, sc.Level = sc.Forecast, 0          // what is measured now does not rank what is expected
			sc.Confidence *= 1 / (1 + horizon.Minutes()) // half as sure a minute ahead
		}
		all = append(all, sc)
	}
	slices.SortFunc(all, worse)
	out := make([]Hotspot, min(max(0, limit), len(all)))
	for i := range out {
		out[i] = Hotspot{Score: all[i], Source: SourceObserved}
		if horizon > 0 {
			out[i].Source = SourcePersistence
		}
	}
	return out
}

// Raised picks the scores that should be alerts: zones and the warehouse with a level, and lanes whose level is above that of
// their zone (zoneOf names it), so that a jam is told once and not for each of its lanes. At most limit, the worst first.
func Raised(scores []Score, zoneOf func(lane string) string, limit int) []Score {
	levels := map[string]int{}
	var out []Score
	for i := range scores {
		switch sc := &scores[i]; sc.Of {
		case OfZone:
			if levels[sc.ID] = sc.Level; sc.Level > 0 {
				out = append(out, *sc)
			}
		case OfWarehouse:
			if sc.Level > 0 {
				out = append(out, *sc)
			}
		case OfLane:
		}
	}
	for i := range scores {
		if sc := &scores[i]; sc.Of == OfLane && sc.Level > levels[zoneOf(sc.ID)] {
			out = append(out, *sc)
		}
	}
	slices.SortFunc(out, worse)
	return out[:min(len(out), max(0, limit))]
}
