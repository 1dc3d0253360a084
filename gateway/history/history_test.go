package history

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"starling/engine/congestion"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
)

var (
	t0    = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	shard = fleet.Shard{Tenant: "t", Warehouse: "w"}
)

// kept is a store of statuses that has all of them up to a time.
type kept struct {
	all   []robot.View
	until time.Time
	err   error
	asked []fact.HistoryQuery
	keeps time.Duration // what it says of that
}

func (k *kept) Kept(time.Duration) time.Duration { return k.keeps }

func (k *kept) RobotHistory(_ context.Context, tenant fleet.TenantID, id fleet.RobotID, q fact.HistoryQuery) ([]fact.HistoryPoint, error) {
	k.asked = append(k.asked, q)
	if k.err != nil || tenant != "t" || id != "r" {
		return nil, k.err
	}
	return plain(k.all, q, k.until), nil
}

func (k *kept) CongestionHistory(context.Context, fleet.TenantID, congestion.Of, string, fact.HistoryQuery) ([]fact.HistoryPoint, error) {
	return nil, k.err
}

// plain makes points the plain way: for each window, look at every status.
func plain(all []robot.View, q fact.HistoryQuery, until time.Time) (out []fact.HistoryPoint) {
	groups := map[time.Time][]fact.Status{}
	for i := range all {
		var s fact.Status
		fact.FillStatus(&s, shard, &all[i])
		s.At = all[i].ReportedAt.Truncate(time.Millisecond) // what a store keeps
		if s.At.Before(q.From) || !s.At.Before(q.To) || s.At.After(until) {
			continue
		}
		at := s.At
		if q.Every > 0 {
			at = time.UnixMilli(s.At.UnixMilli() / q.Every.Milliseconds() * q.Every.Milliseconds()).UTC()
		}
		groups[at] = append(groups[at], s)
	}
	for at, g := range groups {
		p := fact.HistoryPoint{At: at}
		for _, c := range q.Columns {
			var v any
			var fs []float64
			for i := range g {
				v = g[i].Value(c.Field)
				if f, ok := v.(float64); ok {
					fs = append(fs, f)
				}
			}
			if len(fs) > 0 {
				switch c.Agg {
				case fact.Mean:
					sum := 0.0
					for _, f := range fs {
						sum += f
					}
					v = sum / float64(len(fs))
				case fact.Min:
					v = slices.Min(fs)
				case fact.Max:
					v = slices.Max(fs)
				case fact.Last:
				}
			}
			p.Values = append(p.Values, v)
		}
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b fact.HistoryPoint) int { return a.At.Compare(b.At) })
	return out[:min(len(out), q.Limit)]
}

// all reads every page.
func all(t *rapid.T, b *Book, q Query) (points []Point, pages int) {
	for {
		s, err := b.Robot(context.Background(), "t", "r", q)
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Points) > q.Limit+1 {
			t.Fatalf("%d points on a page of %d", len(s.Points), q.Limit)
		}
		points = append(points, s.Points...)
		if pages++; s.Next.IsZero() {
			return points, pages
		}
		if !s.Next.After(q.From) || pages > 10_000 {
			t.Fatalf("page %d begins at %v and the next at %v", pages, q.From, s.Next)
		}
		q.From = s.Next
	}
}

func same(a, b []any) bool {
	return slices.EqualFunc(a, b, func(a, b any) bool {
		f, ok := a.(float64)
		g, too := b.(float64)
		return a == b || ok && too && math.Abs(f-g) < 1e-9
	})
}

// Whatever of it is in memory, in the store or in both, over however many pages it is read: a history is what was measured,
// window by window, each once, and what was not measured is told.
func TestAHistoryIsWhatWasMeasured(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var views []robot.View
		at := t0
		for i := range rapid.IntRange(0, 120).Draw(t, "statuses") {
			step := time.Duration(rapid.IntRange(1, 3000).Draw(t, "step"))*time.Millisecond + time.Duration(rapid.IntRange(0, 999_999).Draw(t, "nanoseconds"))
			if rapid.IntRange(0, 20).Draw(t, "silence") == 0 {
				step += time.Duration(rapid.IntRange(10, 200).Draw(t, "long")) * time.Second
			}
			at = at.Add(step)
			views = append(views, robot.View{ID: "r", ReportedAt: at, Seq: uint64(i), Battery: rapid.Float64Range(0, 1).Draw(t, "battery"), State: fleet.RobotState(i % 3), Located: true})
		}
		store := &kept{all: views, until: at.Add(-5 * time.Second)} // it lags
		b := New(Options{Store: store, Statuses: parts * rapid.IntRange(8, 64).Draw(t, "memory"), Now: func() time.Time { return at.Add(time.Minute) }})
		began := rapid.IntRange(0, len(views)).Draw(t, "restarted at") // memory knows nothing from before
		for i := range views[began:] {
			b.Measure(shard, &views[began+i])
		}
		q := Query{Gap: 30 * time.Second, HistoryQuery: fact.HistoryQuery{
			From: t0.Add(time.Duration(rapid.IntRange(-100, 100).Draw(t, "from")) * time.Second), To: at.Add(time.Duration(rapid.IntRange(-50, 200).Draw(t, "to")) * time.Second),
			Every:   []time.Duration{0, time.Second, 7 * time.Second, time.Minute}[rapid.IntRange(0, 3).Draw(t, "every")],
			Columns: []fact.Column{{Field: "battery_soc", Agg: fact.Agg(rapid.IntRange(0, 3).Draw(t, "agg"))}, {Field: "state", Agg: fact.Last}},
			Limit:   rapid.IntRange(1, 60).Draw(t, "limit"),
		}}
		store.until = at
		if kept := b.robots.read(robotKey{"t", "r"}); len(kept) > 0 { // the lag is shorter than what memory keeps, and its first window
			known := knownFrom(kept, func(s *fact.Status) time.Time { return s.At }, q.Gap).Add(q.Every)
			if store.until = at.Add(-5 * time.Second); known.After(store.until) {
				store.until = known
			}
		}
		if !q.To.After(q.From) {
			return
		}
		got, _ := all(t, b, q)
		whole := q.HistoryQuery
		whole.Limit = 1 << 30
		if whole.Every > 0 {
			whole.From = window(whole.From, whole.Every)
		}
		want := plain(views, whole, at)
		var measured []Point
		for _, p := range got {
			if p.Values != nil {
				measured = append(measured, p)
			}
		}
		if len(measured) != len(want) {
			t.Fatalf("%d points, want %d", len(measured), len(want))
		}
		for i, p := range measured {
			if !p.At.Equal(want[i].At) || !same(p.Values, want[i].Values) {
				t.Fatalf("point %d: %v, want %v", i, p, want[i])
			}
		}
		checkGaps(t, got, q, at.Add(time.Minute))
	})
}

// checkGaps: windows follow one another without a hole up to now; single measurements are no further apart than a gap,
// unless one is told.
func checkGaps(t *rapid.T, got []Point, q Query, now time.Time) {
	for i := 1; i < len(got); i++ {
		a, b := got[i-1], got[i]
		switch {
		case !b.At.After(a.At):
			t.Fatalf("%v after %v", b, a)
		case q.Every > 0 && b.At.Sub(a.At) != q.Every:
			t.Fatalf("%v follows %v", b.At, a.At)
		case q.Every == 0 && a.Values != nil && b.Values != nil && b.At.Sub(a.At) > q.Gap+time.Millisecond:
			t.Fatalf("from %v to %v nothing was measured, and no gap is told", a.At, b.At)
		}
	}
	end := q.To
	if now.Before(end) {
		end = now
	}
	if n := len(got); n > 0 && q.Every > 0 && got[n-1].At.Add(2*q.Every).Before(end) {
		t.Fatalf("the last window is %v, and it is %v", got[n-1].At, end)
	}
}

// What has been forgotten is no gap: it is said from when on things are kept, and pages of nothing else are passed over.
func TestWhatHasExpiredIsNoGap(t *testing.T) {
	t.Parallel()
	for _, every := range []time.Duration{0, time.Second, 7 * time.Minute} {
		store := &kept{keeps: time.Hour, until: t0}
		for i := range 20 {
			store.all = append(store.all, robot.View{ID: "r", ReportedAt: t0.Add(time.Duration(i-20) * time.Minute)})
		}
		b := New(Options{Store: store, Now: func() time.Time { return t0 }})
		q := Query{Gap: 90 * time.Second, HistoryQuery: fact.HistoryQuery{From: t0.Add(-30 * 24 * time.Hour), To: t0, Every: every, Columns: []fact.Column{{Field: "state"}}, Limit: 500}}
		since, gaps, measured := t0.Add(-time.Hour), 0, 0
		for pages := 0; ; pages++ {
			s, err := b.Robot(t.Context(), "t", "r", q)
			if err != nil || pages > 20 || (!s.Expired.IsZero()) != q.From.Before(since) || !s.Expired.IsZero() && !s.Expired.Equal(since) {
				t.Fatalf("every %v, page %d from %v: expired %v, %v", every, pages, q.From, s.Expired, err)
			}
			for _, p := range s.Points {
				switch {
				case p.Values != nil:
					measured++
				case p.At.Before(since):
					t.Fatalf("every %v: a gap at %v, nothing before %v is kept", every, p.At, since)
				default:
					gaps++
				}
			}
			if s.Next.IsZero() {
				break
			}
			if !s.Next.After(q.From) {
				t.Fatalf("every %v: from %v on to %v", every, q.From, s.Next)
			}
			q.From = s.Next
		}
		want := map[time.Duration][2]int{0: {1, 20}, time.Second: {3580, 20}, 7 * time.Minute: {5, 3}}[every] // gaps, measured
		if gaps != want[0] || measured != want[1] {
			t.Errorf("every %v: %d gaps and %d measured, want %v", every, gaps, measured, want)
		}
	}
}

func TestWithoutTheStoreMemoryTells(t *testing.T) {
	t.Parallel()
	store := &kept{err: errors.New("away")}
	b := New(Options{Store: store, Now: func() time.Time { return t0.Add(20 * time.Second) }})
	for i := range 10 {
		b.Measure(shard, &robot.View{ID: "r", ReportedAt: t0.Add(time.Duration(i) * time.Second), Battery: .5})
	}
	q := Query{Gap: 30 * time.Second, HistoryQuery: fact.HistoryQuery{From: t0.Add(-time.Minute), To: t0.Add(time.Minute), Columns: []fact.Column{{Field: "battery_soc"}}, Limit: 100}}
	s, err := b.Robot(t.Context(), "t", "r", q)
	if err != nil || s.Source != "memory" || len(s.Points) != 11 || s.Points[0].Values != nil {
		t.Fatalf("%+v, %v, want a gap and ten measurements", s, err)
	}
	q.From, q.To = t0.Add(-time.Hour), t0.Add(-time.Minute)
	if _, err := b.Robot(t.Context(), "t", "r", q); !errors.Is(err, ErrAway) {
		t.Fatalf("%v, want ErrAway: nobody can tell", err)
	}
	if _, err := b.Robot(t.Context(), "other", "r", q); !errors.Is(err, ErrAway) {
		t.Fatalf("%v, another tenant's robot", err)
	}
	none := New(Options{Now: b.o.Now})
	if s, err := none.Robot(t.Context(), "t", "r", q); err != nil || s.Source != "memory" || len(s.Points) != 1 {
		t.Fatalf("without a store: %+v, %v, want one gap", s, err)
	}
}

// What lies in memory is read from there: the store is not asked, or only for what is older.
func TestTheStoreIsAskedForWhatIsOlderAlone(t *testing.T) {
	t.Parallel()
	store := &kept{}
	b := New(Options{Store: store, Now: func() time.Time { return t0.Add(time.Minute) }})
	for i := range 60 {
		b.Measure(shard, &robot.View{ID: "r", ReportedAt: t0.Add(time.Duration(i) * time.Second)})
	}
	q := Query{Gap: 30 * time.Second, HistoryQuery: fact.HistoryQuery{From: t0.Add(10 * time.Second), To: t0.Add(time.Minute), Columns: []fact.Column{{Field: "x"}}, Limit: 100}}
	if s, err := b.Robot(t.Context(), "t", "r", q); err != nil || s.Source != "memory" || len(store.asked) != 0 {
		t.Fatalf("%+v, %v, asked %v", s, err, store.asked)
	}
	q.From = t0.Add(-time.Hour)
	if s, err := b.Robot(t.Context(), "t", "r", q); err != nil || s.Source != "both" || len(store.asked) != 1 || !store.asked[0].To.Equal(t0) {
		t.Fatalf("%+v, %v, asked %v", s, err, store.asked)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	const most = parts * 64
	b := New(Options{Statuses: most, Now: func() time.Time { return t0 }})
	for i := range 20_000 {
		b.Measure(shard, &robot.View{ID: fleet.RobotID(fmt.Sprint("r", i%3000)), ReportedAt: t0.Add(time.Duration(i) * time.Millisecond)})
	}
	size := 0
	for i := range b.robots.parts {
		p := &b.robots.parts[i]
		n := 0
		for _, r := range p.rings {
			n += len(r.items)
		}
		if n != p.size {
			t.Fatalf("%d counted, %d kept", p.size, n)
		}
		size += n
	}
	if size > most {
		t.Fatalf("%d kept, at most %d may be", size, most)
	}
}

func TestMeasuringAllocatesNothing(t *testing.T) {
	b := New(Options{})
	v := &robot.View{ID: "r"}
	at := t0
	for range 4000 {
		at = at.Add(time.Second)
		v.ReportedAt = at
		b.Measure(shard, v)
	}
	if n := testing.AllocsPerRun(1000, func() { at = at.Add(time.Second); v.ReportedAt = at; b.Measure(shard, v) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

// crowd is a book of the usual size and more robots than share it well, which report in turn.
type crowd struct {
	book  *Book
	views []robot.View
	turn  int
	at    time.Time
}

func newCrowd(robots int) *crowd {
	c := &crowd{book: New(Options{}), views: make([]robot.View, robots), at: t0}
	for i := range c.views {
		c.views[i].ID = fleet.RobotID(fmt.Sprintf("33333333-3333-4333-8333-%012d", i))
	}
	for range 3 {
		c.round()
	}
	return c
}

func (c *crowd) round() {
	for range c.views {
		c.measure()
	}
}

func (c *crowd) measure() {
	v := &c.views[c.turn]
	c.turn, c.at = (c.turn+1)%len(c.views), c.at.Add(10*time.Microsecond)
	v.ReportedAt = c.at
	c.book.Measure(shard, v)
}

// 100,000 robots find room, each; more than find room cost no memory either.
func TestManyRobotsAreRememberedAndAllocateNothing(t *testing.T) {
	for _, robots := range []int{100_000, 130_000} {
		c := newCrowd(robots)
		if n := testing.AllocsPerRun(1, c.round); n > float64(robots)/100 {
			t.Errorf("%d robots: %v allocations when each has reported once", robots, n)
		}
		for i := 0; i < robots; i += 13 {
			kept := c.book.robots.read(robotKey{shard.Tenant, c.views[i].ID})
			if robots == 100_000 && len(kept) < leastKept {
				t.Fatalf("of robot %d the last %d are kept", i, len(kept))
			}
			if n := len(kept); n > 0 && !kept[n-1].At.Equal(c.views[i].ReportedAt.Truncate(time.Millisecond)) {
				t.Fatalf("of robot %d the newest is %v, want %v", i, kept[n-1].At, c.views[i].ReportedAt)
			}
		}
	}
}

func BenchmarkMeasureManyRobots(b *testing.B) {
	for _, robots := range []int{100_000, 200_000} {
		b.Run(fmt.Sprint(robots), func(b *testing.B) {
			c := newCrowd(robots)
			b.ReportAllocs()
			for b.Loop() {
				c.measure()
			}
		})
	}
}

func BenchmarkMeasure(b *testing.B) {
	k := New(Options{})
	v := &robot.View{ID: "r"}
	at := t0
	b.ReportAllocs()
	for b.Loop() {
		at = at.Add(time.Second)
		v.ReportedAt = at
		k.Measure(shard, v)
	}
}
