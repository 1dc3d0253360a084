// Package history answers what robots, zones and lanes were like: it keeps what was measured last in memory, asks the
// time-series store for what is older, and makes one series of both, its gaps told. Where there is no store, or it does
// not answer, memory is all there is, and the answer says so.
//
// Size: 400 bytes a status kept, at most Options.Statuses of them (250,000: 100 MB when all robots of a large fleet have
// filled their share); of each robot at most the last 1,800, half an hour of driving, and at least the last 2 while there
// are no more than 100,000 robots. Of more, those that have said nothing for longest are forgotten.
package history

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"starling/engine/congestion"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
)

// Store keeps what was measured for long. (persistence/influx.) Any error means that it cannot tell now.
type Store interface {
	RobotHistory(ctx context.Context, tenant fleet.TenantID, id fleet.RobotID, q fact.HistoryQuery) ([]fact.HistoryPoint, error)
	CongestionHistory(ctx context.Context, tenant fleet.TenantID, of congestion.Of, id string, q fact.HistoryQuery) ([]fact.HistoryPoint, error)
	// Kept is for how long points so far apart (0 = each measurement) are kept; 0 = for ever.
	Kept(every time.Duration) time.Duration
}

// The bounds of one answer.
const (
	MostPoints = 5000
	rawSlice   = 24 * time.Hour // of single measurements read for one page
)

// Options are the ports and settings. The zero value of a setting is its stated default.
type Options struct {
	Store       Store // nil = memory alone
	Statuses    int   // kept in memory; 0 = 250,000
	Congestions int   // 0 = 250,000
	Now         func() time.Time
}

// Book is safe for concurrent use.
type Book struct {
	o      Options
	robots *recent[robotKey, fact.Status]
	places *recent[placeKey, fact.Congestion]
}

type robotKey struct {
	tenant fleet.TenantID
	id     fleet.RobotID
}

type placeKey struct {
	tenant fleet.TenantID
	of     congestion.Of
	id     string
}

// New returns an empty book.
func New(o Options) *Book {
	if o.Statuses <= 0 {
		o.Statuses = 250_000
	}
	if o.Congestions <= 0 {
		o.Congestions = 250_000
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Book{
		o:      o,
		robots: newRecent[robotKey, fact.Status](o.Statuses, func(s *fact.Status) time.Time { return s.At }),
		places: newRecent[placeKey, fact.Congestion](o.Congestions, func(c *fact.Congestion) time.Time { return c.At }),
	}
}

// Measure takes a robot's newest status. It never waits long.
func (b *Book) Measure(shard fleet.Shard, v *robot.View) {
	b.robots.put(robotKey{shard.Tenant, v.ID}, func(s *fact.Status) { fact.FillStatus(s, shard, v) })
}

// Crowd takes how congested zones, lanes and warehouses are; a warehouse has its own id.
func (b *Book) Crowd(all []fact.Congestion) {
	for i := range all {
		c := &all[i]
		b.places.put(placeKey{c.Shard.Tenant, c.Of, c.ID}, func(dst *fact.Congestion) { *dst = *c })
	}
}

// Query asks for a history. Silence of more than Gap between two measurements is a gap.
type Query struct {
	fact.HistoryQuery
	Gap time.Duration
}

// Point is a measurement, a window, or, without values, a gap that begins At.
type Point struct {
	At     time.Time
	Values []any // nil = nothing was measured
}

// Series is one page. Next is where the following one begins, zero at the end. Sources say where it comes from.
type Series struct {
	Points []Point
	Next   time.Time
	Source string // memory, store, both
	// Expired is where what was asked begins to be kept, zero where all of it is: what lies before has been forgotten, and that
	// nothing is there says nothing.
	Expired time.Time
}

// ErrAway: what is asked lies before memory, and the store does not answer.
var ErrAway = errors.New("the time-series store does not answer")

// Robot tells a robot's history.
func (b *Book) Robot(ctx context.Context, tenant fleet.TenantID, id fleet.RobotID, q Query) (Series, error) {
	return tell(ctx, b, q,
		b.robots.read(robotKey{tenant, id}), func(s *fact.Status) time.Time { return s.At }, (*fact.Status).Value, fact.RobotFields(),
		func(ctx context.Context, q fact.HistoryQuery) ([]fact.HistoryPoint, error) {
			return b.o.Store.RobotHistory(ctx, tenant, id, q)
		})
}

// Congestion tells the history of a zone or lane.
func (b *Book) Congestion(ctx context.Context, tenant fleet.TenantID, of congestion.Of, id string, q Query) (Series, error) {
	return tell(ctx, b, q,
		b.places.read(placeKey{tenant, of, id}), func(c *fact.Congestion) time.Time { return c.At }, (*fact.Congestion).Value, fact.CongestionFields(),
		func(ctx context.Context, q fact.HistoryQuery) ([]fact.HistoryPoint, error) {
			return b.o.Store.CongestionHistory(ctx, tenant, of, id, q)
		})
}

// tell makes one page of what memory and the store know. Memory knows a thing without a hole from some time on (known):
// what lies behind is the store's, the rest memory's, so that nothing is counted twice.
func tell[S any](
	ctx context.Context, b *Book, q Query, kept []S, at func(*S) time.Time, value func(*S, string) any, fields []fact.Field,
	ask func(context.Context, fact.HistoryQuery) ([]fact.HistoryPoint, error),
) (Series, error) {
	for i, c := range q.Columns {
		if k := slices.IndexFunc(fields, func(f fact.Field) bool { return f.Name == c.Field }); k >= 0 && fields[k].Lasts() {
			q.Columns[i].Agg = fact.Last
		}
	}
	if q.Every > 0 {
		q.From = window(q.From, q.Every)
	}
	from, to := page(&q)
	known := knownFrom(kept, at, q.Gap)
	if q.Every > 0 && window(known, q.Every) != known { // a window is of one source
		known = window(known, q.Every).Add(q.Every)
	}
	var recent []fact.HistoryPoint
	if b.o.Store == nil {
		known = time.Time{}
	}
	s := Series{Source: "memory"}
	var points []fact.HistoryPoint
	if b.o.Store != nil && (from.Before(known) || len(kept) == 0) {
		stop := to
		if len(kept) > 0 && known.Before(stop) {
			stop = known
		}
		older := q.HistoryQuery
		older.From, older.To = from, stop
		var err error
		points, err = ask(ctx, older)
		switch {
		case err == nil && !stop.Before(to):
			s.Source = "store"
		case err == nil:
			s.Source = "both"
		case ctx.Err() != nil:
			return s, ctx.Err()
		case len(gather(kept, at, value, &q, from, to)) == 0:
			return s, fmt.Errorf("read a history: %w: %w", ErrAway, err)
		default:
			known = time.Time{} // what memory has is all there is
		}
	}
	if len(points) < q.Limit {
		recent = gather(kept, at, value, &q, latest(from, known), to)
		points = append(points, recent...)
	}
	if len(points) > q.Limit {
		points = points[:q.Limit]
	}
	since := b.keptSince(q.Every)
	if q.From.Before(since) {
		s.Expired = since
	}
	s.Points, s.Next = b.gaps(points, &q, from, to, since)
	return s, nil
}

// keptSince is since when points so far apart are kept.
func (b *Book) keptSince(every time.Duration) time.Time {
	if b.o.Store == nil {
		return time.Time{}
	}
	kept := b.o.Store.Kept(every)
	if kept <= 0 {
		return time.Time{}
	}
	return b.o.Now().Add(-kept).UTC().Truncate(time.Millisecond)
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// window is the beginning of the window of a time: a multiple of every since 1970.
func window(t time.Time, every time.Duration) time.Time {
	ms, e := t.UnixMilli(), every.Milliseconds()
	return time.UnixMilli(ms - ((ms%e)+e)%e).UTC()
}

// page is the part of what is asked that one page may cover.
func page(q *Query) (from, to time.Time) {
	from, to = q.From, q.To
	most := rawSlice
	if q.Every > 0 {
		most = time.Duration(q.Limit) * q.Every
	}
	if end := from.Add(most).Truncate(time.Millisecond); end.Before(to) { // as exact as a cursor
		to = end
	}
	return from, to
}

// knownFrom is since when memory has all that was measured: the beginning of what it keeps, or the end of its last hole, in
// which another process may have had the thing.
func knownFrom[S any](kept []S, at func(*S) time.Time, gap time.Duration) time.Time {
	for i := len(kept) - 1; i > 0; i-- {
		if at(&kept[i]).Sub(at(&kept[i-1])) > gap {
			return at(&kept[i])
		}
	}
	if len(kept) > 0 {
		return at(&kept[0])
	}
	return time.Time{}
}

// gather makes points of what memory keeps in [from, to).
func gather[S any](kept []S, at func(*S) time.Time, value func(*S, string) any, q *Query, from, to time.Time) []fact.HistoryPoint {
	var out []fact.HistoryPoint
	var sums []sum
	for i := range kept {
		t := at(&kept[i])
		if t.Before(from) || !t.Before(to) {
			continue
		}
		if q.Every > 0 {
			t = window(t, q.Every)
		}
		if n := len(out); n == 0 || q.Every == 0 || !out[n-1].At.Equal(t) {
			if len(out) == q.Limit {
				break
			}
			out = append(out, fact.HistoryPoint{At: t, Values: make([]any, len(q.Columns))})
			sums = make([]sum, len(q.Columns))
		}
		p := &out[len(out)-1]
		for k, c := range q.Columns {
			if v := value(&kept[i], c.Field); v != nil {
				p.Values[k] = sums[k].add(v, c.Agg, q.Every > 0)
			}
		}
	}
	return out
}

// sum is what a window has of a column so far.
type sum struct {
	n     int
	total float64
	most  float64
	least float64
}

func (s *sum) add(v any, agg fact.Agg, windowed bool) any {
	f, number := v.(float64)
	if !number || !windowed || agg == fact.Last {
		return v
	}
	if s.n == 0 {
		s.least, s.most = f, f
	}
	s.n, s.total, s.least, s.most = s.n+1, s.total+f, min(s.least, f), max(s.most, f)
	switch agg {
	case fact.Mean:
		return s.total / float64(s.n)
	case fact.Min:
		return s.least
	case fact.Max:
		return s.most
	case fact.Last:
	}
	return v
}

// gaps tells what is missing: a window each in which nothing was measured, or one point where a silence begins. Nothing is
// missing that has not come yet, or is not kept any more. next is where the following page begins, zero at the end: pages with
// nothing but what has been forgotten are passed over.
func (b *Book) gaps(points []fact.HistoryPoint, q *Query, from, to, kept time.Time) (out []Point, next time.Time) {
	now := b.o.Now()
	end := to
	if now.Before(end) {
		end = now
	}
	if q.Every > 0 {
		out = windows(points, q.Every, from, to, end, kept)
	} else if out, next = silences(points, q, from, end, kept); !next.IsZero() {
		return out, next
	}
	if to.Before(q.To) && to.Before(now) {
		next = to
	}
	if first := kept; len(out) == 0 && next.Before(first) && !next.IsZero() {
		if next = first; q.Every > 0 {
			next = window(first, q.Every)
		}
		if next = latest(next, to); !next.Before(q.To) {
			next = time.Time{}
		}
	}
	return out, next
}

// windows are all of [from, to): those with measurements, and those without that have passed by end and are kept.
func windows(points []fact.HistoryPoint, every time.Duration, from, to, end, kept time.Time) []Point {
	out := make([]Point, 0, len(points))
	i := 0
	for t := from; t.Before(to); t = t.Add(every) {
		for i < len(points) && points[i].At.Before(t) {
			i++
		}
		switch {
		case i < len(points) && points[i].At.Equal(t):
			out = append(out, Point(points[i]))
		case !t.Add(every).After(end) && !t.Before(kept):
			out = append(out, Point{At: t})
		}
	}
	return out
}

// silences are the measurements, with a point where a silence begins; next is zero where all found room.
func silences(points []fact.HistoryPoint, q *Query, from, end, kept time.Time) (out []Point, next time.Time) {
	out = make([]Point, 0, len(points))
	since := latest(from, kept)
	for _, p := range points {
		if p.At.Sub(since) > q.Gap {
			out = append(out, Point{At: since})
		}
		if len(out) >= q.Limit {
			return out, p.At
		}
		out = append(out, Point(p))
		since = latest(p.At.Add(time.Millisecond), kept)
	}
	if len(out) >= q.Limit {
		return out, points[len(points)-1].At.Add(time.Millisecond)
	}
	if end.Sub(since) > q.Gap {
		out = append(out, Point{At: since})
	}
	return out, time.Time{}
}
