// Package alerts calibrates the levels of congestion: it scores recorded statuses again, once for each of several settings at
// the same time, and holds what they would have alerted against what came of it.
//
// Size: one site for each trial; a status costs each about 0.35 us. No recording is kept in memory.
package alerts

import (
	"container/heap"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"starling/bench/chart"
	"starling/engine/congestion"
	"starling/engine/roadmap"
)

// Options say what is tried. The zero value of a field is its stated default.
type Options struct {
	Graph    *roadmap.Graph
	Settings congestion.Settings
	Learned  *congestion.Learned // what the site knows when the window begins; nil = nothing
	Truth    congestion.Truth
	Sweep    []float64 // indices for level 1 that are tried besides; nil = DefaultSweep, empty = none
	From, To time.Time // of what is judged; the zero value = all
}

// DefaultSweep are the thresholds of level 1 that are tried.
func DefaultSweep() []float64 {
	var out []float64
	for i := range 11 {
		out = append(out, float64(10+5*i)/100)
	}
	return out
}

// Calibration is one under way. Statuses go in by Add; Report ends it.
type Calibration struct {
	o       Options
	trials  []trial
	waiting queue
	clock   time.Time
	n       int
	first   time.Time
	last    time.Time
}

// trial is one way to set levels.
type trial struct {
	threshold float64 // of level 1; the first trial's is that of the settings
	site      *congestion.Site
	judge     *congestion.Judge
}

// New begins a calibration.
func New(o Options) *Calibration {
	if o.Sweep == nil {
		o.Sweep = DefaultSweep()
	}
	c := &Calibration{o: o}
	c.try(o.Settings)
	for _, x := range o.Sweep {
		s := o.Settings
		for k := range s.Ladders {
			rules := &s.Ladders[k].Rules
			rules[0].Index = x
			for l := 1; l < congestion.LevelCount; l++ {
				rules[l].Index = max(rules[l].Index, x)
			}
		}
		c.try(s)
	}
	return c
}

func (c *Calibration) try(s congestion.Settings) {
	t := trial{threshold: s.Ladders[congestion.KindOpen].Rules[0].Index, judge: congestion.NewJudge(c.o.Truth)}
	t.site = congestion.NewSite(congestion.SiteSpec{Graph: c.o.Graph, Settings: s})
	if c.o.Learned != nil {
		t.site.Learn(c.o.Learned)
	}
	c.trials = append(c.trials, t)
}

// late is by how much a robot's clock may be ahead of the engine's for Add to bring its status in order.
const late = 5 * time.Second

// Add takes a status. They come in the order of their robots' clocks, or of when they were received; those of one robot in theirs.
func (c *Calibration) Add(m *congestion.Sample) {
	c.n++
	heap.Push(&c.waiting, item{*m, c.n})
	if m.At.After(c.clock) {
		c.clock = m.At
	}
	for len(c.waiting) > 0 && !c.waiting[0].ReceivedAt.After(c.clock.Add(-late)) {
		c.take()
	}
}

// take hands the status that was received first to all trials.
func (c *Calibration) take() {
	it, _ := heap.Pop(&c.waiting).(item)
	m := &it.Sample
	if c.first.IsZero() {
		c.first = m.ReceivedAt
	}
	c.last = m.ReceivedAt
	for i := range c.trials {
		c.trials[i].advance(m.ReceivedAt, &c.o)
		c.trials[i].site.Add(m)
	}
}

func (t *trial) advance(to time.Time, o *Options) {
	for t.site.Due(to) {
		end := t.site.End()
		scores := t.site.Close(to)
		if !end.Before(o.From) && (o.To.IsZero() || !end.After(o.To)) {
			t.judge.Take(scores)
		}
	}
}

// Report is what came out.
type Report struct {
	From     time.Time            `json:"from"` // of the statuses
	To       time.Time            `json:"to"`
	Statuses int                  `json:"statuses"`
	Late     uint64               `json:"late"`
	Zones    int                  `json:"zones"`
	Bins     int                  `json:"bins"`
	Levels   []congestion.Verdict `json:"levels"` // by the settings on trial, from each level on
	Sweep    []Point              `json:"sweep"`
}

// Point is one threshold of level 1.
type Point struct {
	Threshold float64 `json:"threshold"`
	congestion.Verdict
}

// Report takes the statuses that wait, judges, and tells. The calibration is over.
func (c *Calibration) Report(marks []congestion.Marked) Report {
	for len(c.waiting) > 0 {
		c.take()
	}
	r := Report{From: c.first, To: c.last, Statuses: c.n, Late: c.trials[0].site.Counts().Late}
	for i := range c.trials {
		c.trials[i].advance(c.last.Add(congestion.Grace+congestion.Slack), &c.o)
	}
	base := c.trials[0].judge
	r.Zones, r.Bins = base.Bounds()
	for level := 1; level <= congestion.LevelCount; level++ {
		r.Levels = append(r.Levels, base.Verdict(level, marks))
	}
	for _, t := range c.trials[1:] {
		r.Sweep = append(r.Sweep, Point{t.threshold, t.judge.Verdict(1, marks)})
	}
	return r
}

// Add makes r the report on two recordings that were tried alike.
func (r *Report) Add(o *Report) {
	if r.Statuses == 0 {
		*r = *o
		return
	}
	r.Statuses, r.Late, r.Zones, r.Bins = r.Statuses+o.Statuses, r.Late+o.Late, max(r.Zones, o.Zones), r.Bins+o.Bins
	for i := range r.Levels {
		r.Levels[i].Add(&o.Levels[i])
	}
	for i := range r.Sweep {
		r.Sweep[i].Add(&o.Sweep[i].Verdict)
	}
}

// Write prints the report as tables.
func (r *Report) Write(out io.Writer) error {
	fmt.Fprintf(out, "%d statuses from %s to %s, %d zones, %d bins, %d jams, %d verdicts of people\n\n", r.Statuses, r.From.UTC().Format(time.RFC3339),
		r.To.UTC().Format(time.RFC3339), r.Zones, r.Bins, r.Levels[0].Jams, r.Levels[0].Marks)
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', tabwriter.AlignRight)
	row := func(name string, v *congestion.Verdict) {
		fmt.Fprintf(w, "%s\t%d\t%.2f\t%d of %d\t%.2f\t%.1f\t%.0f\t\n", name, v.Alerts, v.Precision, v.Caught, v.Jams, v.Recall, v.FalsePerDay, v.Lead.Seconds())
	}
	fmt.Fprint(w, "from\talerts\tprecision\tcaught\trecall\tfalse/zone-day\tlead s\t\n")
	for i := range r.Levels {
		row(fmt.Sprintf("L%d", r.Levels[i].Level), &r.Levels[i])
	}
	if len(r.Sweep) > 0 {
		fmt.Fprint(w, "\t\t\t\t\t\t\t\n")
	}
	for i := range r.Sweep {
		row(fmt.Sprintf("L1 at %.2f", r.Sweep[i].Threshold), &r.Sweep[i].Verdict)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print the report: %w", err)
	}
	return nil
}

// Chart draws precision and recall over the threshold of level 1.
func (r *Report) Chart(title string) *chart.Chart {
	c := &chart.Chart{Title: title, X: "threshold of level 1 (congestion index)", Y: "share", Series: []chart.Series{{Name: "precision"}, {Name: "recall"}, {Name: "F1", Dashed: true}}}
	for _, p := range r.Sweep {
		f1 := 0.0
		if p.Precision+p.Recall > 0 {
			f1 = 2 * p.Precision * p.Recall / (p.Precision + p.Recall)
		}
		for i, y := range []float64{p.Precision, p.Recall, f1} {
			c.Series[i].Points = append(c.Series[i].Points, chart.Point{X: p.Threshold, Y: y})
		}
	}
	return c
}

// Best is the threshold of the greatest F1, the highest of equals; 0 = none was tried.
func (r *Report) Best() float64 {
	best, at := -1.0, 0.0
	for _, p := range r.Sweep {
		if f := 2 * p.Precision * p.Recall / max(1e-9, p.Precision+p.Recall); f >= best {
			best, at = f, p.Threshold
		}
	}
	return at
}

// queue holds statuses by when they were received; equals by when they came.
type queue []item

type item struct {
	congestion.Sample
	n int
}

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	if c := q[i].ReceivedAt.Compare(q[j].ReceivedAt); c != 0 {
		return c < 0
	}
	return q[i].n < q[j].n
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

// Push implements heap.Interface.
func (q *queue) Push(x any) {
	if it, ok := x.(item); ok {
		*q = append(*q, it)
	}
}

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = slices.Delete(*q, len(*q)-1, len(*q))
	return last
}
