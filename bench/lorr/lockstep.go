package lorr

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"syscall"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"starling/actors"
	"starling/bench/record"
	"starling/cluster"
	"starling/engine/dispatch"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/engine/zone"
	"starling/persistence/memory"
)

// Run says what to run.
type Run struct {
	Problem  *Problem
	Steps    int
	Robots   int // first start cells; 0 = the team
	Seed     uint64
	Dir      string
	Progress func(step, finished int) // called each second of wall time; nil = nobody
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

// stepper drives actors by virtual time, and robots by what the actors send.
type stepper struct {
	run    *Run
	graph  *roadmap.Graph
	ledger *ledger
	system *actors.System
	store  *memory.Store
	shard  fleet.Shard
	now    time.Time
	bots   []*stepBot
	index  map[fleet.RobotID]*stepBot
	next   int // number of the next task
}

// stepBot is a robot of lock-step: one action (a move or a quarter turn) a step.
type stepBot struct {
	number  int
	id      fleet.RobotID
	at      fleet.Vertex
	heading float64
	order   robot.Order
	seq     uint64
	box     interface {
		Status(s *robot.StatusReported)
		Tell(m robot.Msg) bool
	}
}

// Lockstep runs a problem in virtual time through the real cores and actors and writes the recording.
func Lockstep(ctx context.Context, run Run) (record.Summary, error) {
	wall := time.Now()
	n, err := run.team()
	if err != nil {
		return record.Summary{}, err
	}
	s := newStepper(&run)
	if err := s.prepare(ctx, n, actors.Options{
		Rules: zone.Rules{Lockstep: true}, RobotRules: robot.Rules{Window0: 1, WindowMax: 1}, ZoneTick: time.Second, DispatchInterval: time.Second,
	}); err != nil {
		return record.Summary{}, err
	}
	shown := time.Now()
	for step := range run.Steps {
		if err := s.step(ctx, n); err != nil {
			return record.Summary{}, fmt.Errorf("step %d: %w", step, err)
		}
		if run.Progress != nil && time.Since(shown) > time.Second {
			shown = time.Now()
			run.Progress(step+1, s.ledger.finished)
		}
	}
	s.ledger.close(s.now)
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := s.system.Stop(stop); err != nil {
		return record.Summary{}, fmt.Errorf("stop the actors: %w", err)
	}
	sum := record.Summary{Steps: run.Steps, Robots: n, WallS: time.Since(wall).Seconds()}
	sum.CPUS, sum.MaxRSSBytes = usage()
	sum.TasksFinished, sum.StuckMaxS = s.ledger.finished, s.ledger.stuck.Seconds()
	return sum, s.ledger.write(run.Dir, run.Problem.Start[:n], sum)
}

// usage is the CPU time and the greatest resident size of this process.
func usage() (cpuS float64, rss int64) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, 0
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9, u.Maxrss * 1024
}

func newStepper(run *Run) *stepper {
	return &stepper{
		run: run, shard: fleet.Shard{Tenant: benchTenant, Warehouse: benchWarehouse}, index: map[fleet.RobotID]*stepBot{},
		now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
	}
}

// prepare starts actors by the rules of o, on the problem's floor, with n robots that stand at their start cells.
func (s *stepper) prepare(ctx context.Context, n int, o actors.Options) error {
	d, report := roadmap.Import("lorr", s.run.Problem.Map, 1)
	if d == nil || !report.OK() {
		return fmt.Errorf("the map has faults: %+v", report.Errors)
	}
	var err error
	if s.graph, err = roadmap.Build(d, roadmap.BuildOptions{MapID: benchMap, Version: 1}); err != nil {
		return fmt.Errorf("build the map: %w", err)
	}
	s.store = memory.New(memory.Options{Now: func() time.Time { return s.now }})
	s.store.AddMap(s.shard, s.graph)
	o.Journal, o.Store, o.Links, o.Views, o.Seed = s.store, s.store, s, s, s.run.Seed
	o.Manual, o.Now = true, func() time.Time { return s.now }
	o.Place = func(as *actor.ActorSystem, h actors.Host) (actors.Placement, error) { return cluster.Start(as, h) }
	if s.system, err = actors.NewSystem(o); err != nil {
		return fmt.Errorf("start the actors: %w", err)
	}
	if err := s.system.ActivateMap(ctx, s.graph, s.shard, fleet.Actor{Part: "bench"}, ""); err != nil {
		return fmt.Errorf("activate the map: %w", err)
	}
	ids := make([]fleet.RobotID, n)
	for i := range n {
		ids[i] = fleet.RobotID(fmt.Sprintf("b0000000-0000-4000-9000-%012d", i))
	}
	s.ledger = newLedger(s.now, ids, s.run.Problem.Start[:n])
	for i, id := range ids {
		if err := s.addRobot(ctx, i, id); err != nil {
			return fmt.Errorf("add robot %d: %w", i, err)
		}
	}
	s.statuses()
	return s.system.Quiesce(ctx)
}

func (s *stepper) addRobot(ctx context.Context, i int, id fleet.RobotID) error {
	v, ok := s.graph.Find(strconv.Itoa(s.run.Problem.Start[i]))
	if !ok {
		return fmt.Errorf("start cell %d is blocked", s.run.Problem.Start[i])
	}
	spec := robot.Spec{ID: id, Tenant: benchTenant, Warehouse: benchWarehouse, Code: strconv.Itoa(i), Protocol: "link", MaxSpeedMPS: 1, RadiusM: 0.3}
	if _, err := s.system.RegisterRobot(ctx, spec, 0, fleet.Actor{Part: "bench"}, "", nil); err != nil {
		return err
	}
	b := &stepBot{number: i, id: id, at: v}
	s.bots, s.index[id] = append(s.bots, b), b
	var err error
	if b.box, err = s.system.Mailbox(ctx, s.shard, id); err != nil {
		return err
	}
	_, err = s.system.OpenLink(ctx, s.shard, id, robot.LinkOpened{Session: 1, BootID: "b", At: v})
	return err
}

// step is one second: tasks come, zones decide, robots act and report.
func (s *stepper) step(ctx context.Context, n int) error {
	if err := s.reveal(ctx, n); err != nil {
		return err
	}
	s.system.Advance(s.now)
	if err := s.system.Quiesce(ctx); err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	begin := s.now
	s.now = s.now.Add(time.Second)
	for _, b := range s.bots {
		s.act(b, begin)
	}
	s.statuses()
	if err := s.system.Quiesce(ctx); err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	return nil
}

// reveal keeps as many tasks open as the problem says.
func (s *stepper) reveal(ctx context.Context, n int) error {
	want := int(s.run.Problem.TasksReveal * float64(n))
	for s.ledger.open < want && s.next < len(s.run.Problem.Tasks) {
		cells := s.run.Problem.Tasks[s.next]
		spec := task.Spec{
			ID: fleet.TaskID(fmt.Sprintf("b0000000-0000-4000-a000-%012d", s.next)), Shard: s.shard, Type: fleet.Patrol, Source: "api", CreatedAt: s.now,
			Payload: []byte("{}"),
		}
		for _, c := range cells {
			v, ok := s.graph.Find(strconv.Itoa(c))
			if !ok {
				return fmt.Errorf("task %d goes to the blocked cell %d", s.next, c)
			}
			spec.Errands, spec.Places = append(spec.Errands, v), append(spec.Places, strconv.Itoa(c))
		}
		s.ledger.created(spec.ID, s.next, cells, s.now)
		s.next++
		if _, err := s.system.CreateTask(ctx, spec, fleet.Actor{Part: "bench"}, "", nil); err != nil {
			return fmt.Errorf("create a task: %w", err)
		}
	}
	return nil
}

// act does one action: a quarter turn towards the next vertex, or the move to it where it is granted.
func (s *stepper) act(b *stepBot, begin time.Time) {
	target, granted := fleet.NoVertex, false
	switch {
	case len(b.order.Base) > 0:
		target, granted = b.order.Base[0], true
	case len(b.order.Horizon) > 0:
		target = b.order.Horizon[0]
	}
	lane, ok := s.graph.Lane(b.at, target)
	if target == fleet.NoVertex || !ok {
		return
	}
	from := b.at
	switch d := math.Remainder(s.graph.Lanes[lane].HeadingRad-b.heading, 2*math.Pi); {
	case math.Abs(d) > 0.1:
		b.heading = math.Remainder(b.heading+math.Copysign(min(math.Abs(d), math.Pi/2), d), 2*math.Pi)
	case !granted:
		return
	default:
		b.at = target
		b.order.Base = b.order.Base[1:]
		s.ledger.moved(b.number, s.cell(from), s.cell(b.at), begin, s.now)
	}
	b.seq++
	b.box.Tell(robot.Progressed{BootID: "b", Number: b.seq, Vertex: b.at, Heading: b.heading, At: s.now})
}

func (s *stepper) cell(v fleet.Vertex) int {
	n, _ := strconv.Atoi(s.graph.Vertices[v].ID)
	return n
}

// statuses keeps the robots online.
func (s *stepper) statuses() {
	for _, b := range s.bots {
		v := &s.graph.Vertices[b.at]
		b.box.Status(&robot.StatusReported{
			BootID: "b", Seq: uint64(s.now.Unix()), At: s.now, ReceivedAt: s.now, State: fleet.Moving, Battery: 1, Pose: fleet.Pose{X: v.X, Y: v.Y, Theta: b.heading},
		})
	}
}

// SendOrder implements the actors' port: the robot has the order at once.
func (s *stepper) SendOrder(o robot.Order, _ *roadmap.Graph) bool {
	if b := s.index[o.Robot]; b != nil && (o.ID > b.order.ID || o.ID == b.order.ID && o.Update > b.order.Update) {
		b.order = o
	}
	return true
}

// SendCommand implements the actors' port; nobody commands robots in lock-step.
func (s *stepper) SendCommand(robot.Command) bool { return false }

// ProgressDone implements the actors' port.
func (s *stepper) ProgressDone(fleet.RobotID, uint64) {}

// HangUp implements actors.Links: the robots of the bench have no streams.
func (s *stepper) HangUp(fleet.RobotID) {}

// ShowTask keeps the ledger; the other views have no taker here.
func (s *stepper) ShowTask(_ fleet.Shard, v *task.View) { s.ledger.showTask(v, s.now) }

// TaskChanged implements actors.Views.
func (s *stepper) TaskChanged(fleet.Shard, task.Event, *task.View) {}

// CommandHeard implements actors.Views.
func (s *stepper) CommandHeard(fleet.Shard, time.Duration) {}

// ShowRobot implements actors.Views.
func (s *stepper) ShowRobot(fleet.Shard, *robot.View) {}

// RobotGone implements actors.Views.
func (s *stepper) RobotGone(fleet.Shard, fleet.RobotID) {}

// ShowZone implements actors.Views.
func (s *stepper) ShowZone(fleet.Shard, *zone.View) {}

// ZoneGone implements actors.Views.
func (s *stepper) ZoneGone(fleet.Shard, fleet.ZoneID) {}

// ShowWarehouse implements actors.Views.
func (s *stepper) ShowWarehouse(fleet.Shard, *dispatch.View) {}
