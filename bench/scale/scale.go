// Package scale measures what planning costs as fleets grow: warehouses full of robots in virtual time, in lock-step,
// through the real cores and actors, without links and durable storage. All warehouses have the same floor.
//
// Cost: about 10 us of a core for a robot and second; 100,000 robots want some 5 GB.
package scale

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"starling/bench/hall"
	"starling/bench/record"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/task"
)

// Run says what to run. Zero values of settings are their stated defaults.
type Run struct {
	Map          []byte // of the League of Robot Runners' format
	Robots       int
	PerWarehouse int // most robots of a warehouse; 0 = 10,000
	Warm, Ticks  int // seconds before and while it is measured; 0 = 60 each
	TaskShare    float64
	Seed         uint64
	TableBytes   int64 // of distance tables; 0 = 2 GB
	Driving      bool  // robots drive as in life, not in lock-step
	Progress     func(tick int)
}

// Result is what a run has cost in the measured seconds.
type Result struct {
	Robots     int                `json:"robots"`
	Warehouses int                `json:"warehouses"`
	Zones      int                `json:"zones"`
	Ticks      int                `json:"ticks"`
	PlanMS     record.Percentiles `json:"plan_ms"`     // CPU time of zones and dispatchers, a tick
	ZonesMS    float64            `json:"zones_ms"`    // mean of a tick
	DispatchMS float64            `json:"dispatch_ms"` // mean of a tick
	OtherMS    float64            `json:"other_ms"`    // of robots' and tasks' actors, journal and the bench's robots; mean
	Moves      float64            `json:"moves"`       // a tick
	Tasks      float64            `json:"tasks"`       // finished a tick
	Messages   map[string]float64 `json:"messages"`    // a tick, by kind
	RSSBytes   int64              `json:"max_rss_bytes"`
	Warm       record.Percentiles `json:"warm_plan_ms"` // of the seconds before
	WallS      float64            `json:"wall_s"`
}

const tenant = fleet.TenantID("5ca1e000-0000-4000-8000-000000000001")

// house is one warehouse of a run.
type house struct {
	shard fleet.Shard
	open  int
}

type runner struct {
	Run
	graph    *roadmap.Graph
	hall     *hall.Hall
	meter    hall.Meter
	houses   []*house
	byID     map[fleet.WarehouseID]*house
	rng      *rand.Rand
	serial   int
	moves    int
	finished int
	want     int             // open tasks of a warehouse
	waits    []time.Duration // from creation to the first award, where they are asked for
	awarded  map[fleet.TaskID]bool
}

// Measure runs and measures.
func Measure(ctx context.Context, run Run) (Result, error) {
	begin := time.Now()
	r, err := newRunner(ctx, run)
	if err != nil {
		return Result{}, err
	}
	warm, err := r.seconds(ctx, r.Warm)
	if err != nil {
		return Result{}, err
	}
	before, moves, finished, cpu := r.meter, r.moves, r.finished, hall.CPU()
	took, err := r.seconds(ctx, r.Ticks)
	if err != nil {
		return Result{}, err
	}
	n := float64(r.Ticks)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 / n }
	all := hall.CPU() - cpu
	out := Result{
		Robots: r.Robots, Warehouses: len(r.houses), Zones: len(r.houses) * len(r.graph.Zones), Ticks: r.Ticks,
		PlanMS: percentiles(took), Warm: percentiles(warm),
		ZonesMS: ms(r.meter.Zones - before.Zones), DispatchMS: ms(r.meter.Dispatch - before.Dispatch),
		OtherMS: ms(all - r.meter.Planning() + before.Planning()),
		Moves:   float64(r.moves-moves) / n, Tasks: float64(r.finished-finished) / n, Messages: map[string]float64{},
		WallS: time.Since(begin).Seconds(),
	}
	for k, v := range r.meter.Messages.Since(before.Messages) {
		out.Messages[k] = float64(v) / n
	}
	_, out.RSSBytes = hall.Usage()
	return out, r.hall.Close(ctx)
}

func newRunner(ctx context.Context, run Run) (*runner, error) {
	run.PerWarehouse = cmp.Or(run.PerWarehouse, 10_000)
	run.Warm, run.Ticks = cmp.Or(run.Warm, 60), cmp.Or(run.Ticks, 60)
	if run.TableBytes <= 0 {
		run.TableBytes = 2 << 30
	}
	if run.TaskShare <= 0 {
		run.TaskShare = 1.2
	}
	d, report := roadmap.Import("lorr", run.Map, 1)
	if d == nil || !report.OK() {
		return nil, fmt.Errorf("the map has faults: %+v", report.Errors)
	}
	r := &runner{Run: run, byID: map[fleet.WarehouseID]*house{}, rng: rand.New(rand.NewPCG(run.Seed, 2))}
	var err error
	if r.graph, err = roadmap.Build(d, roadmap.BuildOptions{MapID: "5ca1e000-0000-4000-8000-000000000002", Version: 1}); err != nil {
		return nil, fmt.Errorf("build the map: %w", err)
	}
	o := hall.Options{
		Lockstep: !run.Driving, Seed: run.Seed, TableBytes: run.TableBytes, Meter: &r.meter, OnTask: r.showTask,
		OnMove: func(hall.Move) { r.moves++ },
	}
	if r.hall, err = hall.New(o); err != nil {
		return nil, err
	}
	n := (run.Robots-1)/run.PerWarehouse + 1
	each := run.Robots / n
	if each > len(r.graph.Vertices)*8/10 {
		return nil, fmt.Errorf("%d robots do not fit on %d vertices and leave room to move", each, len(r.graph.Vertices))
	}
	r.want = int(run.TaskShare * float64(each))
	for i := range n {
		if err := r.open(ctx, i, each); err != nil {
			return nil, err
		}
	}
	return r, r.hall.Ready(ctx)
}

// open fills a warehouse.
func (r *runner) open(ctx context.Context, i, n int) error {
	h := &house{shard: fleet.Shard{Tenant: tenant, Warehouse: fleet.WarehouseID(fmt.Sprintf("5ca1e000-0000-4000-8001-%012d", i))}}
	r.houses = append(r.houses, h)
	r.byID[h.shard.Warehouse] = h
	if err := r.hall.Lay(ctx, h.shard, r.graph); err != nil {
		return err
	}
	for k, v := range r.rng.Perm(len(r.graph.Vertices))[:n] {
		id := fleet.RobotID(fmt.Sprintf("5ca1e000-0000-4000-9%03d-%012d", i, k))
		if err := r.hall.AddRobot(ctx, h.shard, r.graph, id, fleet.Vertex(v)); err != nil {
			return err
		}
	}
	return nil
}

// seconds lets time pass and says what planning has taken in each second.
func (r *runner) seconds(ctx context.Context, n int) ([]time.Duration, error) {
	took := make([]time.Duration, n)
	for i := range took {
		for _, h := range r.houses {
			if err := r.fill(ctx, h); err != nil {
				return nil, err
			}
		}
		before := r.meter.Planning()
		if err := r.hall.Second(ctx); err != nil {
			return nil, err
		}
		took[i] = r.meter.Planning() - before
		if r.Progress != nil {
			r.Progress(i + 1)
		}
	}
	return took, nil
}

// fill keeps tasks open: each from a vertex to another, anywhere.
func (r *runner) fill(ctx context.Context, h *house) error {
	var specs []task.Spec
	for ; h.open < r.want; h.open++ {
		r.serial++
		specs = append(specs, task.Spec{
			ID: fleet.TaskID(fmt.Sprintf("5ca1e000-0000-4000-a000-%012d", r.serial)), Shard: h.shard, Type: fleet.Patrol, Source: "api",
			CreatedAt: r.hall.Now(), Payload: []byte("{}"),
			Errands: []fleet.Vertex{fleet.Vertex(r.rng.IntN(len(r.graph.Vertices))), fleet.Vertex(r.rng.IntN(len(r.graph.Vertices)))},
		})
	}
	for c := range slices.Chunk(specs, 1000) {
		if err := r.hall.System.CreateTasks(ctx, h.shard, c, fleet.Actor{Part: "bench"}, "", nil); err != nil {
			return fmt.Errorf("create tasks: %w", err)
		}
	}
	return nil
}

func (r *runner) showTask(s fleet.Shard, v *task.View) {
	if r.awarded != nil && !v.AssignedAt.IsZero() && !r.awarded[v.Spec.ID] {
		r.awarded[v.Spec.ID] = true
		r.waits = append(r.waits, v.AssignedAt.Sub(v.Spec.CreatedAt))
	}
	if v.Status.Final() {
		r.byID[s.Warehouse].open--
		r.finished++
	}
}

func percentiles(d []time.Duration) record.Percentiles {
	if len(d) == 0 {
		return record.Percentiles{}
	}
	d = slices.Clone(d)
	slices.Sort(d)
	at := func(q float64) float64 {
		return float64(d[min(len(d)-1, int(q*float64(len(d))))].Microseconds()) / 1000
	}
	return record.Percentiles{P50: at(0.5), P99: at(0.99), Max: at(1)}
}
