package jams

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"starling/bench/hall"
	"starling/bench/robots"
	"starling/engine/congestion"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
	"starling/engine/task"
)

const (
	tenant    = fleet.TenantID("7a350000-0000-4000-8000-000000000001")
	warehouse = fleet.WarehouseID("7a350000-0000-4000-8000-000000000002")
	mapID     = fleet.MapID("7a350000-0000-4000-8000-000000000003")
)

// Result is one run.
type Result struct {
	Scenario  string    `json:"scenario"`
	Seed      uint64    `json:"seed"`
	Acting    bool      `json:"acting"`
	Ordered   int       `json:"ordered"`
	Finished  int       `json:"finished"`
	PerMinute float64   `json:"tasks_per_minute"`
	P50S      float64   `json:"p50_task_s"` // from order to end; who has not ended counts with its age
	P99S      float64   `json:"p99_task_s"`
	Level2Min float64   `json:"level2_zone_minutes"`
	Steps     []string  `json:"steps"`
	Each      []float64 `json:"each_minute"` // tasks finished
}

// runner is one run of a scenario.
type runner struct {
	*Scenario
	graph   *roadmap.Graph
	hall    *hall.Hall
	shard   fleet.Shard
	start   time.Time
	orders  []order
	next    int
	ended   map[fleet.TaskID]time.Time
	created map[fleet.TaskID]time.Time
	minutes []float64
	mishaps map[int]mishap
	site    *congestion.Site
	acts    *congestion.Acts
	last    congestion.Relief
	sample  congestion.Sample
	status  fact.Status
	level2  int // bins of zones at level 2 or above
	steps   []congestion.Step
	show    func(*congestion.Sample)
}

// Run plays a scenario in virtual time with robots that drive as in life.
func Run(ctx context.Context, s *Scenario, seed uint64, o Options) (Result, error) {
	r := &runner{Scenario: s, shard: fleet.Shard{Tenant: tenant, Warehouse: warehouse}, ended: map[fleet.TaskID]time.Time{}, created: map[fleet.TaskID]time.Time{}, mishaps: map[int]mishap{}, show: o.Sample}
	rng := rand.New(rand.NewPCG(seed, 0x6a616d73))
	r.orders = sorted(s.tasks(s, rng))
	for _, b := range s.blocked {
		r.mishaps[b.cell] = b
	}
	if err := r.open(ctx, rng, seed, o); err != nil {
		return Result{}, err
	}
	for second := range s.Seconds {
		if err := r.reveal(ctx); err != nil {
			return Result{}, err
		}
		if err := r.hall.Second(ctx); err != nil {
			return Result{}, fmt.Errorf("second %d: %w", second, err)
		}
		if err := r.review(ctx); err != nil {
			return Result{}, fmt.Errorf("second %d: %w", second, err)
		}
	}
	res := r.result()
	res.Acting = o.Acting.Automatic > 0
	res.Seed = seed
	if err := r.hall.Close(ctx); err != nil {
		return Result{}, err
	}
	return res, nil
}

// Options say how to run.
type Options struct {
	// Sample is shown each status, in order; nil = nobody.
	Sample func(*congestion.Sample)
	Acting congestion.Acting // the zero value does nothing
	Active int               // robots that may hold tasks at once; 0 = what the floor takes
}

func (r *runner) open(ctx context.Context, rng *rand.Rand, seed uint64, o Options) error {
	d, report := roadmap.Import("lorr", r.Map, 1)
	if d == nil || !report.OK() {
		return fmt.Errorf("the map has faults: %+v", report.Errors)
	}
	var err error
	if r.graph, err = roadmap.Build(d, roadmap.BuildOptions{MapID: mapID, Version: 1}); err != nil {
		return fmt.Errorf("build the map: %w", err)
	}
	ho := hall.Options{
		Motion: robots.Motion{SpeedMPS: 1, QuarterTurn: time.Second}, Seed: seed, OnTask: r.showTask, OnMove: r.moved, Active: o.Active,
		Delays: robots.Delays{P: 0.02, Min: time.Second, Max: 8 * time.Second, Mean: 0.3, Std: 0.2},
	}
	ho.Telemetry = r
	if r.hall, err = hall.New(ho); err != nil {
		return err
	}
	r.start = r.hall.Now()
	settings := congestion.Usual()
	settings.Acting = o.Acting
	r.site, r.acts = congestion.NewSite(congestion.SiteSpec{Graph: r.graph, Settings: settings}), congestion.NewActs(o.Acting)
	r.minutes = make([]float64, r.Seconds/60+1)
	if err := r.hall.Lay(ctx, r.shard, r.graph); err != nil {
		return err
	}
	for i, v := range rng.Perm(len(r.graph.Vertices))[:r.Robots] {
		id := fleet.RobotID(fmt.Sprintf("7a350000-0000-4000-9000-%012d", i))
		if err := r.hall.AddRobot(ctx, r.shard, r.graph, id, fleet.Vertex(v)); err != nil {
			return err
		}
	}
	return r.hall.Ready(ctx)
}

// Measure implements actors.Telemetry: what robots say is scored as the engine scores it.
func (r *runner) Measure(shard fleet.Shard, v *robot.View) {
	if r.site == nil {
		return
	}
	fact.FillStatus(&r.status, shard, v)
	fact.SampleOf(&r.status, &r.sample)
	r.site.Add(&r.sample)
	if r.show != nil {
		r.show(&r.sample)
	}
}

// TaskEnded implements actors.Telemetry.
func (r *runner) TaskEnded(*task.View) {
	if r.acts != nil {
		r.acts.TaskEnded()
	}
}

// review closes the bins that are due, and does what is to be done.
func (r *runner) review(ctx context.Context) error {
	now := r.hall.Now()
	for {
		scores := r.site.Close(now)
		if len(scores) == 0 {
			return nil
		}
		for i := range scores {
			if scores[i].Of == congestion.OfZone && scores[i].Level >= 2 {
				r.level2++
			}
		}
		r.steps = append(r.steps, r.acts.Review(now, scores)...)
		relief := r.acts.Relief()
		if relief.Equal(&r.last) {
			continue
		}
		r.last = relief
		if err := r.hall.System.Relieve(ctx, r.shard, relief); err != nil {
			return fmt.Errorf("relieve: %w", err)
		}
	}
}

// told is what was done, in words.
func (r *runner) told() []string {
	var out []string
	for _, s := range r.steps {
		what := "applied"
		switch s.Kind {
		case congestion.Applied:
		case congestion.Measured:
			what = "measured"
		case congestion.Undone:
			what = "undone"
		}
		out = append(out, fmt.Sprintf("%s %s %d, %s of %s: %s; %s", s.At.Sub(r.start).Round(time.Second), what, s.Remedy.Number, s.Remedy.Kind, s.Remedy.Subject.ID, s.Remedy.Label, s.Reason))
	}
	return out
}

// reveal creates the tasks that have come.
func (r *runner) reveal(ctx context.Context) error {
	var specs []task.Spec
	now := r.hall.Now()
	for r.next < len(r.orders) && r.orders[r.next].at <= now.Sub(r.start) {
		o := &r.orders[r.next]
		spec := task.Spec{
			ID: fleet.TaskID(fmt.Sprintf("7a350000-0000-4000-a000-%012d", r.next)), Shard: r.shard, Type: fleet.Patrol, Source: "api",
			CreatedAt: now, Payload: []byte("{}"), Priority: o.priority,
		}
		for _, c := range o.cells {
			v, ok := r.graph.Find(strconv.Itoa(c))
			if !ok {
				return fmt.Errorf("task %d goes to the blocked cell %d", r.next, c)
			}
			spec.Errands = append(spec.Errands, v)
		}
		r.created[spec.ID] = now
		r.next++
		specs = append(specs, spec)
	}
	for c := range slices.Chunk(specs, 1000) {
		if err := r.hall.System.CreateTasks(ctx, r.shard, c, fleet.Actor{Part: "bench"}, "", nil); err != nil {
			return fmt.Errorf("create tasks: %w", err)
		}
	}
	return nil
}

func (r *runner) showTask(_ fleet.Shard, v *task.View) {
	if v.Status != fleet.TaskSucceeded {
		return
	}
	if _, known := r.ended[v.Spec.ID]; known {
		return
	}
	now := r.hall.Now()
	r.ended[v.Spec.ID] = now
	r.minutes[int(now.Sub(r.start)/time.Minute)]++
}

func (r *runner) moved(m hall.Move) {
	cell, err := strconv.Atoi(r.graph.Vertices[m.To].ID)
	if err != nil {
		return
	}
	b, ok := r.mishaps[cell]
	if since := r.hall.Now().Sub(r.start); ok && since >= b.from && since < b.to {
		delete(r.mishaps, cell)
		r.hall.Break(m.Robot, r.start.Add(b.to))
	}
}

func (r *runner) result() Result {
	now := r.hall.Now()
	ages := make([]float64, 0, len(r.created))
	for id, at := range r.created {
		end, ok := r.ended[id]
		if !ok {
			end = now
		}
		ages = append(ages, end.Sub(at).Seconds())
	}
	slices.Sort(ages)
	at := func(q float64) float64 { return ages[min(len(ages)-1, int(q*float64(len(ages))))] }
	return Result{
		Scenario: r.Name, Ordered: len(r.created), Finished: len(r.ended), PerMinute: float64(len(r.ended)) / now.Sub(r.start).Minutes(),
		P50S: at(0.5), P99S: at(0.99), Level2Min: float64(r.level2) * congestion.Bin.Minutes(), Steps: r.told(), Each: r.minutes[:r.Seconds/60],
	}
}
