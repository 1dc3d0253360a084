package quota

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// dumb is the same bucket as a list of what was taken: each unit comes back when those before it have.
type dumb struct {
	r    Rate
	back []time.Time // when each unit that is out comes back, in order
}

func (d *dumb) take(now time.Time, n int) bool {
	for len(d.back) > 0 && !d.back[0].After(now) {
		d.back = d.back[1:]
	}
	each := d.r.Per / time.Duration(d.r.Units)
	// What is free now: all but those that are out; one that is on its way back is not free before it is there.
	if len(d.back)+n > d.r.Units {
		return false
	}
	last := now
	if len(d.back) > 0 {
		last = d.back[len(d.back)-1]
	}
	for range n {
		last = last.Add(each)
		d.back = append(d.back, last)
	}
	return true
}

func TestDecisionsAreThoseOfADumbBucket(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		// Units that divide the period: the twin has no fractions.
		r := Rate{Units: rapid.SampledFrom([]int{1, 2, 5, 10, 100}).Draw(t, "units"), Per: time.Second}
		now, until := time.Unix(1000, 0), time.Time{}
		twin := dumb{r: r}
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 300).Draw(t, "ms")) * time.Millisecond)
			n := rapid.IntRange(1, r.Units+1).Draw(t, "n")
			debt := max(0, until.Sub(now))
			ok, after, wait := decide(debt, r.cost(n), r.Per)
			if want := twin.take(now, n); ok != want {
				t.Fatalf("at %v %d units with a debt of %v: %v, the twin says %v", now, n, debt, ok, want)
			}
			if !ok && n <= r.Units {
				if again, _, _ := decide(debt-wait, r.cost(n), r.Per); !again || wait <= 0 {
					t.Fatalf("refused after the wait of %v that was promised", wait)
				}
				if early, _, _ := decide(debt-wait+1, r.cost(n), r.Per); early {
					t.Fatalf("let through before the wait of %v was over", wait)
				}
			}
			until = now.Add(after)
			if left := r.left(after); ok && left != r.Units-len(twin.back) {
				t.Fatalf("%d left, the twin has %d", left, r.Units-len(twin.back))
			}
		}
	})
}

func TestNoWindowLetsMoreThroughThanIsStated(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := Rate{
			Units: rapid.IntRange(1, 7_000_000).Draw(t, "units"),
			Per:   rapid.SampledFrom([]time.Duration{time.Second, time.Minute}).Draw(t, "per"),
		}
		type taken struct {
			at time.Time
			n  int
		}
		var all []taken
		now, until := time.Unix(1000, 0), time.Time{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(r.Per)/4).Draw(t, "pause")))
			n := rapid.IntRange(1, max(1, r.Units/3)).Draw(t, "n")
			ok, after, _ := decide(until.Sub(now), r.cost(n), r.Per)
			until = now.Add(after)
			if ok {
				all = append(all, taken{now, n})
			}
		}
		for i := range all {
			sum := 0
			for _, x := range all[i:] {
				sum += x.n
				if most := float64(r.Units) * (1 + float64(x.at.Sub(all[i].at))/float64(r.Per)); float64(sum) > most+1e-3 {
					t.Fatalf("%d units in %v, at most %.3f are stated", sum, x.at.Sub(all[i].at), most)
				}
			}
		}
	})
}
