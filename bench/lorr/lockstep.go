package lorr

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"starling/bench/hall"
	"starling/bench/record"
	"starling/bench/robots"
	"starling/engine/congestion"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/task"
)

// Run says what to run.
type Run struct {
	Problem  *Problem
	Steps    int
	Robots   int // first start cells; 0 = the team
	Seed     uint64
	Dir      string
	Progress func(step, finished int) // called each second of wall time; nil = nobody

	// How the robots drive, but for lock-step.
	Motion robots.Motion
	Delays robots.Delays

	ZoneCells int  // vertices of a zone; 0 = as the engine divides a map
	OneZone   bool // one zone for the whole map

	Admission congestion.Rules
	BySight   bool // that number follows what is seen
	LiveCosts bool // routes are led around lanes for which robots wait
	Active    int  // robots that may hold tasks at once; 0 = as the engine limits them, < 0 = all
}

// team is how many robots run.
func (r *Run) team() (int, error) {
	n := r.Robots
	if n == 0 {
		n = r.Problem.TeamSize
	}
	if n < 1 || n > len(r.Problem.Start) {
		return 0, fmt.Errorf("%d robots: the problem has %d start cells", n, len(r.Problem.Start))
	}
	return n, nil
}

const (
	benchTenant    = fleet.TenantID("b0000000-0000-4000-8000-000000000001")
	benchWarehouse = fleet.WarehouseID("b0000000-0000-4000-8000-000000000002")
	benchMap       = fleet.MapID("b0000000-0000-4000-8000-000000000003")
)

// stepper drives a hall by the tasks of a problem.
type stepper struct {
	run    *Run
	graph  *roadmap.Graph
	ledger *ledger
	hall   *hall.Hall
	meter  hall.Meter
	shard  fleet.Shard
	next   int // number of the next task
}

// Lockstep runs a problem in virtual time through the real cores and actors, one action of each robot a step, and writes
// the recording.
func Lockstep(ctx context.Context, run Run) (record.Summary, error) {
	return virtual(ctx, run, hall.Options{Lockstep: true, Seed: run.Seed, Admission: run.Admission, Active: run.Active, BySight: run.BySight, LiveCosts: run.LiveCosts})
}

// Virtual does the same with robots that drive as in life: zones decide four times a second, nobody moves in step.
func Virtual(ctx context.Context, run Run) (record.Summary, error) {
	return virtual(ctx, run, hall.Options{Motion: run.Motion, Delays: run.Delays, Seed: run.Seed, Admission: run.Admission, Active: run.Active, BySight: run.BySight, LiveCosts: run.LiveCosts})
}

func virtual(ctx context.Context, run Run, o hall.Options) (record.Summary, error) {
	wall := time.Now()
	n, err := run.team()
	if err != nil {
		return record.Summary{}, err
	}
	s := newStepper(&run)
	if err := s.prepare(ctx, n, o); err != nil {
		return record.Summary{}, err
	}
	shown, took := time.Now(), make([]time.Duration, run.Steps)
	begun := s.meter.Planning()
	for step := range run.Steps {
		before := s.meter.Planning()
		if err := s.step(ctx, n); err != nil {
			return record.Summary{}, fmt.Errorf("step %d: %w", step, err)
		}
		took[step] = s.meter.Planning() - before
		if run.Progress != nil && time.Since(shown) > time.Second {
			shown = time.Now()
			run.Progress(step+1, s.ledger.finished)
		}
	}
	s.ledger.close(s.hall.Now())
	if err := s.hall.Close(ctx); err != nil {
		return record.Summary{}, err
	}
	sum := record.Summary{Steps: run.Steps, Robots: n, WallS: time.Since(wall).Seconds(), PlanMS: percentiles(took), Zones: len(s.graph.Zones)}
	sum.PlanCPUS = (s.meter.Planning() - begun).Seconds()
	cpu, rss := hall.Usage()
	sum.CPUS, sum.MaxRSSBytes = cpu.Seconds(), rss
	sum.TasksFinished, sum.StuckMaxS = s.ledger.finished, s.ledger.stuck.Seconds()
	return sum, s.ledger.write(run.Dir, run.Problem.Start[:n], sum)
}

func newStepper(run *Run) *stepper {
	return &stepper{run: run, shard: fleet.Shard{Tenant: benchTenant, Warehouse: benchWarehouse}}
}

// prepare opens a hall by o, on the problem's floor, with n robots that stand at their start cells.
func (s *stepper) prepare(ctx context.Context, n int, o hall.Options) error {
	d, report := roadmap.Import("lorr", s.run.Problem.Map, 1)
	if d == nil || !report.OK() {
		return fmt.Errorf("the map has faults: %+v", report.Errors)
	}
	var err error
	b := roadmap.BuildOptions{MapID: benchMap, Version: 1, MaxZone: s.run.ZoneCells, OneZone: s.run.OneZone}
	if s.graph, err = roadmap.Build(d, b); err != nil {
		return fmt.Errorf("build the map: %w", err)
	}
	o.Meter, o.OnTask, o.OnMove = &s.meter, s.showTask, s.moved
	if s.hall, err = hall.New(o); err != nil {
		return err
	}
	if err := s.hall.Lay(ctx, s.shard, s.graph); err != nil {
		return err
	}
	ids := make([]fleet.RobotID, n)
	for i := range n {
		ids[i] = fleet.RobotID(fmt.Sprintf("b0000000-0000-4000-9000-%012d", i))
	}
	s.ledger = newLedger(s.hall.Now(), ids, s.run.Problem.Start[:n])
	for i, id := range ids {
		v, ok := s.graph.Find(strconv.Itoa(s.run.Problem.Start[i]))
		if !ok {
			return fmt.Errorf("start cell %d is blocked", s.run.Problem.Start[i])
		}
		if err := s.hall.AddRobot(ctx, s.shard, s.graph, id, v); err != nil {
			return fmt.Errorf("robot %d: %w", i, err)
		}
	}
	return s.hall.Ready(ctx)
}

// step is one second: tasks come, zones decide, robots act and report.
func (s *stepper) step(ctx context.Context, n int) error {
	if err := s.reveal(ctx, n); err != nil {
		return err
	}
	return s.hall.Second(ctx)
}

// reveal keeps as many tasks open as the problem says.
func (s *stepper) reveal(ctx context.Context, n int) error {
	want := int(s.run.Problem.TasksReveal * float64(n))
	for s.ledger.open < want && s.next < len(s.run.Problem.Tasks) {
		cells := s.run.Problem.Tasks[s.next]
		spec := task.Spec{
			ID: fleet.TaskID(fmt.Sprintf("b0000000-0000-4000-a000-%012d", s.next)), Shard: s.shard, Type: fleet.Patrol, Source: "api",
			CreatedAt: s.hall.Now(), Payload: []byte("{}"),
		}
		for _, c := range cells {
			v, ok := s.graph.Find(strconv.Itoa(c))
			if !ok {
				return fmt.Errorf("task %d goes to the blocked cell %d", s.next, c)
			}
			spec.Errands, spec.Places = append(spec.Errands, v), append(spec.Places, strconv.Itoa(c))
		}
		s.ledger.created(spec.ID, s.next, cells, s.hall.Now())
		s.next++
		if _, err := s.hall.System.CreateTask(ctx, spec, fleet.Actor{Part: "bench"}, "", nil); err != nil {
			return fmt.Errorf("create a task: %w", err)
		}
	}
	return nil
}

func (s *stepper) showTask(_ fleet.Shard, v *task.View) { s.ledger.showTask(v, s.hall.Now()) }

func (s *stepper) moved(m hall.Move) {
	s.ledger.moved(m.Robot, s.cell(m.From), s.cell(m.To), m.Depart, m.Arrive)
}

func (s *stepper) cell(v fleet.Vertex) int {
	n, _ := strconv.Atoi(s.graph.Vertices[v].ID)
	return n
}
