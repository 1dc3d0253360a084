package congestion

import "time"

// Signal is what one subject shows in one bin, as far as levels go by it.
type Signal struct {
	Index      float64
	Risk       float64
	Density    float64 // as a share of the critical one
	Production float64 // as a share of the greatest seen
	Crowded    bool    // robots under way wait there: without that, density and production are of robots at rest
}

// Levels is the level of one subject, with hysteresis: a level is reached when its terms have held for its time, one step
// at a time, and left when all of them have been lower by the margin for a time, not before it has lasted for its dwell.
// After a step down none goes up until the cool-down is over. So a signal that wanders about a threshold raises one level and not
// ten. The zero value is at level 0.
type Levels struct {
	level int
	moved int64             // ms, when the level changed last; 0 = never
	fell  int64             // ms, when it fell last
	up    [LevelCount]int64 // since when the terms of each level hold; 0 = they do not
	down  int64             // since when those of the present level do not
}

// Level is 0..3.
func (l *Levels) Level() int { return l.level }

// Take takes what is shown at a time and returns the level. least are the indices from which on levels are reached: those of
// the ladder, or the site's percentiles where they are more.
func (l *Levels) Take(at time.Time, sig *Signal, ladder *Ladder, least *[LevelCount]float64) int {
	return l.take(at.UnixMilli(), sig, ladder, least)
}

func (l *Levels) take(now int64, sig *Signal, ladder *Ladder, least *[LevelCount]float64) int {
	holds, higher := false, false // the terms of this level or of one above; of the present level, with the margin
	for i := LevelCount - 1; i >= 0; i-- {
		r := &ladder.Rules[i]
		if holds = holds || r.reached(sig, least[i], 0); !holds {
			l.up[i] = 0
		} else if l.up[i] == 0 {
			l.up[i] = now
		}
		if i+1 >= l.level {
			higher = higher || r.reached(sig, least[i], ladder.Margin)
		}
	}
	switch {
	case l.level == 0 || higher:
		l.down = 0
	case l.down == 0:
		l.down = now
	}
	switch {
	case l.level < LevelCount && l.up[l.level] != 0 && now-l.up[l.level] >= ladder.Rules[l.level].After.Milliseconds() &&
		(l.fell == 0 || now-l.fell >= ladder.Cooldown.Milliseconds()):
		l.level++
		l.moved, l.down = now, 0
	case l.down != 0 && now-l.down >= ladder.ClearAfter.Milliseconds() && now-l.moved >= ladder.Dwell.Milliseconds():
		l.level--
		l.moved, l.fell, l.down = now, now, 0
	}
	return l.level
}

// reached says whether any term holds, each eased by so much.
func (r *Rule) reached(sig *Signal, least, ease float64) bool {
	if r.Index > 0 && sig.Index >= eased(least, ease) || r.Risk > 0 && sig.Risk >= eased(r.Risk, ease) {
		return true
	}
	return r.Density > 0 && sig.Crowded && sig.Density >= eased(r.Density, ease) && (r.Production <= 0 || sig.Production < r.Production+ease)
}

// eased lowers a threshold by a margin, at most by half: where nothing is wrong, a level must end.
func eased(threshold, by float64) float64 { return threshold - min(by, threshold/2) }

// least are the indices from which on levels are reached on a site that shows such indices as a rule, if that many were seen. A percentile raises a
// threshold at most to that of level 3: else a site that jams for hours would come to find that usual.
func (l *Ladder) least(usual *Spread, seen uint32) (out [LevelCount]float64) {
	for i := range l.Rules {
		r := &l.Rules[i]
		out[i] = r.Index
		if q, known := usual.Quantile(r.Percentile, seen); r.Percentile > 0 && known {
			out[i] = max(r.Index, min(q, max(r.Index, l.Rules[LevelCount-1].Index)))
		}
	}
	return out
}
