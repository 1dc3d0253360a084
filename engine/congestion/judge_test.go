package congestion_test

import (
	"math"
	"testing"
	"time"

	"starling/engine/congestion"
)

// told feeds a judge a zone's index and level, bin by bin.
func told(j *congestion.Judge, from time.Time, index []float64, level []int) time.Time {
	for i := range index {
		from = from.Add(congestion.Bin)
		j.Take([]congestion.Score{{
			Subject: congestion.Subject{Of: congestion.OfZone, ID: "z"}, At: from, Index: index[i], Level: level[i], UnderWay: 20,
		}})
	}
	return from
}

func bins[T any](v T, n int) []T {
	out := make([]T, n)
	for i := range out {
		out[i] = v
	}
	return out
}

func TestAlertsAreHeldAgainstJams(t *testing.T) {
	t.Parallel()
	j := congestion.NewJudge(congestion.Truth{})
	now := told(j, t0, bins(0.1, 60), bins(0, 60))
	now = told(j, now, bins(0.1, 6), bins(1, 6)) // a minute before the jam
	jam := now
	now = told(j, now, bins(0.7, 30), bins(2, 30))
	now = told(j, now, bins(0.1, 90), bins(0, 90))
	falsely := now
	now = told(j, now, bins(0.1, 12), bins(1, 12)) // of nothing
	now = told(j, now, bins(0.1, 60), bins(0, 60))
	now = told(j, now, bins(0.8, 30), bins(0, 30)) // nobody said so
	told(j, now, bins(0.1, 12), bins(0, 12))
	v := j.Verdict(1, nil)
	if v.Alerts != 2 || v.True != 1 || v.Jams != 2 || v.Caught != 1 || v.Precision != 0.5 || v.Recall != 0.5 || v.Lead != time.Minute {
		t.Errorf("from level 1 on: %+v", v)
	}
	zones, n := j.Bounds()
	if want := 1 / (float64(zones*n) * 10 / 86400); math.Abs(v.FalsePerDay-want) > 1e-9 {
		t.Errorf("%v false alarms a zone and day, want %v", v.FalsePerDay, want)
	}
	if v := j.Verdict(2, nil); v.Alerts != 1 || v.Precision != 1 || v.Lead != 0 {
		t.Errorf("from level 2 on: %+v", v)
	}
	if v := j.Verdict(3, nil); v.Alerts != 0 || v.Recall != 0 || v.Precision != 1 {
		t.Errorf("from level 3 on: %+v", v)
	}
	// People say otherwise: the first alert was none, the second was of something.
	zone := congestion.Subject{Of: congestion.OfZone, ID: "z"}
	v = j.Verdict(1, []congestion.Marked{{Subject: zone, At: jam}, {Subject: zone, At: falsely.Add(time.Minute), Missed: true}, {Subject: congestion.Subject{ID: "y"}}})
	if v.True != 1 || v.Jams != 3 || v.Caught != 2 || v.Marks != 2 {
		t.Errorf("with what people say: %+v", v)
	}
}

func TestShortDelaysAreNoJams(t *testing.T) {
	t.Parallel()
	j := congestion.NewJudge(congestion.Truth{})
	now := t0
	for range 10 {
		now = told(j, now, bins(0.7, 8), bins(0, 8))
		now = told(j, now, bins(0.1, 8), bins(0, 8))
	}
	if v := j.Verdict(1, nil); v.Jams != 0 {
		t.Errorf("%d jams", v.Jams)
	}
	now = told(j, now, bins(0.7, 10), bins(0, 10))
	now = told(j, now, bins(0.1, 4), bins(0, 4)) // a breath
	now = told(j, now, bins(0.7, 10), bins(0, 10))
	told(j, now, bins(0.1, 30), bins(0, 30))
	if v := j.Verdict(1, nil); v.Jams != 1 {
		t.Errorf("%d jams, want one with a breath in it", v.Jams)
	}
	l3 := congestion.NewJudge(congestion.Truth{Level3: true})
	told(l3, t0, bins(0.7, 40), bins(1, 40))
	if v := l3.Verdict(1, nil); v.Jams != 1 || v.Caught != 1 || v.Lead != 60*time.Second {
		t.Errorf("by level 3: %+v", v)
	}
}
