// Package hall runs the engine's actors in virtual time: their cores, mailboxes and messages are the real ones, journal
// and links are not. Its robots drive what they are granted, in lock-step (one action a second) or as in life. Serves the
// benches; only they and the root import it.
//
// Cost: one goroutine; about 10 us of a core for a robot and second, of which two thirds are the engine's.
package hall

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"starling/actors"
	"starling/bench/robots"
	"starling/cluster"
	"starling/engine/congestion"
	"starling/engine/dispatch"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/engine/zone"
	"starling/persistence/memory"
)

// Options say how to run. The zero value is driving as in life, at a metre a second, without delays.
type Options struct {
	// Lockstep: one action a second (a move or a quarter turn), all robots at once.
	Lockstep   bool
	Motion     robots.Motion // in life; zero = 1 m/s at once, a second for a quarter turn
	Delays     robots.Delays // in life: P is the chance of each second
	Seed       uint64
	Admission  congestion.Rules // of all zones
	Active     int              // robots that may hold tasks at once; 0 = as the engine limits them, < 0 = all
	TableBytes int64            // of distance tables kept; 0 = the engine's default
	BySight    bool             // that number follows what is seen
	LiveCosts  bool             // routes are led around lanes for which robots wait
	Meter      *Meter
	Telemetry  actors.Telemetry // takes what robots report, once a second each; nil = nobody
	// OnMove and OnTask are told what happens, on the hall's goroutine; nil = nobody.
	OnMove func(Move)
	OnTask func(fleet.Shard, *task.View)
}

// Move is one move of a robot, numbered as it was added.
type Move struct {
	Robot          int
	From, To       fleet.Vertex
	Depart, Arrive time.Time
}

// Slice is how finely time passes in life: what robots report is heard, and what they are granted reaches them, at the end
// of one.
const Slice = 50 * time.Millisecond

// Hall is a set of warehouses with robots. Its methods are called by one goroutine.
type Hall struct {
	Options
	System *actors.System
	store  *memory.Store
	now    time.Time
	bots   []*bot
	index  map[fleet.RobotID]*bot
	rng    *rand.Rand
	slices int
}

// bot is a robot of the hall.
type bot struct {
	number  int
	graph   *roadmap.Graph
	at      fleet.Vertex
	heading float64
	order   robot.Order
	seq     uint64
	box     actors.RobotBox

	till    time.Time // in life: it moves, turns or is late until then
	busy    bool
	turning bool
	to      fleet.Vertex // NoVertex = it does not move
	depart  time.Time
	speed   float64
	late    time.Time // it begins nothing before
	checked time.Time // until when its delays have been thrown
	fresh   bool      // it has an order that it has not looked at
	broken  time.Time // it reports an error until then
}

// New starts actors without a floor.
func New(o Options) (*Hall, error) {
	if o.Motion.SpeedMPS <= 0 {
		o.Motion.SpeedMPS = 1
	}
	if o.Motion.QuarterTurn == 0 {
		o.Motion.QuarterTurn = time.Second
	}
	h := &Hall{
		Options: o, index: map[fleet.RobotID]*bot{}, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), rng: rand.New(rand.NewPCG(o.Seed, 1)),
	}
	h.store = memory.New(memory.Options{Now: h.Now})
	ao := actors.Options{
		Journal: h.store, Store: h.store, Links: h, Views: views{h}, Seed: o.Seed, Manual: true, Now: h.Now, TableBytes: o.TableBytes, ActiveRobots: o.Active, BySight: o.BySight, LiveCosts: o.LiveCosts,
		Place: func(as *actor.ActorSystem, host actors.Host) (actors.Placement, error) {
			return cluster.Start(as, host)
		},
	}
	ao.Rules.Admission = o.Admission
	if o.Lockstep {
		ao.Rules, ao.RobotRules = zone.Rules{Lockstep: true, Admission: o.Admission}, robot.Rules{Window0: 1, WindowMax: 1}
		ao.ZoneTick, ao.DispatchInterval = time.Second, time.Second
	}
	if o.Meter != nil {
		ao.Meter = o.Meter
	}
	if o.Telemetry != nil {
		ao.Telemetry = o.Telemetry
	}
	var err error
	if h.System, err = actors.NewSystem(ao); err != nil {
		return nil, fmt.Errorf("start the actors: %w", err)
	}
	return h, nil
}

// Now is the virtual time.
func (h *Hall) Now() time.Time { return h.now }

// Close stops the actors.
func (h *Hall) Close(ctx context.Context) error {
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := h.System.Stop(stop); err != nil {
		return fmt.Errorf("stop the actors: %w", err)
	}
	return nil
}

// Lay makes a graph the floor of a warehouse.
func (h *Hall) Lay(ctx context.Context, shard fleet.Shard, g *roadmap.Graph) error {
	h.store.AddMap(shard, g)
	if err := h.System.ActivateMap(ctx, g, shard, fleet.Actor{Part: "bench"}, ""); err != nil {
		return fmt.Errorf("activate the map: %w", err)
	}
	return nil
}

// AddRobot registers a robot that stands on a vertex of a warehouse's floor.
func (h *Hall) AddRobot(ctx context.Context, shard fleet.Shard, g *roadmap.Graph, id fleet.RobotID, at fleet.Vertex) error {
	spec := robot.Spec{
		ID: id, Tenant: shard.Tenant, Warehouse: shard.Warehouse, Code: strconv.Itoa(len(h.bots)), Protocol: "link",
		MaxSpeedMPS: h.Motion.SpeedMPS, RadiusM: 0.3,
	}
	if _, err := h.System.RegisterRobot(ctx, spec, 0, fleet.Actor{Part: "bench"}, "", nil); err != nil {
		return fmt.Errorf("add a robot: %w", err)
	}
	b := &bot{number: len(h.bots), graph: g, at: at, to: fleet.NoVertex, checked: h.now}
	h.bots, h.index[id] = append(h.bots, b), b
	var err error
	if b.box, err = h.System.Mailbox(ctx, shard, id); err != nil {
		return fmt.Errorf("add a robot: %w", err)
	}
	if _, err = h.System.OpenLink(ctx, shard, id, robot.LinkOpened{Session: 1, BootID: boot, At: at}); err != nil {
		return fmt.Errorf("add a robot: %w", err)
	}
	return nil
}

const boot = "b"

// Break makes a robot stand, in life, and say that it cannot drive, until a time.
func (h *Hall) Break(number int, until time.Time) {
	b := h.bots[number]
	b.broken, b.late = until, until
	h.status(b)
}

// Ready lets all robots report, so that they are online.
func (h *Hall) Ready(ctx context.Context) error {
	for _, b := range h.bots {
		h.status(b)
	}
	return h.System.Quiesce(ctx)
}

// Second lets a second pass.
func (h *Hall) Second(ctx context.Context) error {
	if h.Lockstep {
		return h.lockstep(ctx)
	}
	for range int(time.Second / Slice) {
		if err := h.Moment(ctx); err != nil {
			return err
		}
	}
	return nil
}

// decide lets the engine do what is due now.
func (h *Hall) decide(ctx context.Context) error {
	h.System.Advance(h.now)
	if err := h.System.Quiesce(ctx); err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	return nil
}

// lockstep is one second: zones decide, all robots act, all report.
func (h *Hall) lockstep(ctx context.Context) error {
	if err := h.decide(ctx); err != nil {
		return err
	}
	begin := h.now
	h.now = h.now.Add(time.Second)
	for _, b := range h.bots {
		h.act(b, begin)
	}
	return h.Ready(ctx)
}

// Moment lets a Slice of life pass.
func (h *Hall) Moment(ctx context.Context) error {
	if err := h.decide(ctx); err != nil {
		return err
	}
	for _, b := range h.bots {
		if b.fresh {
			b.fresh = false
			h.begin(b, h.now)
		}
	}
	h.now = h.now.Add(Slice)
	h.slices++
	each := int(time.Second / Slice)
	for i, b := range h.bots {
		h.drive(b)
		if (h.slices+i)%each == 0 {
			h.status(b)
		}
	}
	if err := h.System.Quiesce(ctx); err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	return nil
}

// status keeps a robot online.
func (h *Hall) status(b *bot) {
	v := &b.graph.Vertices[b.at]
	m := robot.StatusReported{
		BootID: boot, Seq: uint64(h.now.UnixMilli()), At: h.now, ReceivedAt: h.now, State: fleet.Moving, Battery: 1,
		Pose: fleet.Pose{X: v.X, Y: v.Y, Theta: b.heading},
	}
	if b.to != fleet.NoVertex {
		m.Velocity = h.Motion.SpeedMPS
	}
	if h.now.Before(b.broken) {
		m.State = fleet.Error
		m.Errors = []fleet.RobotError{{Code: "broken", Level: fleet.LevelFatal, Message: "it has broken down"}}
	}
	b.box.Status(&m)
}

// SendOrder implements the actors' port: the robot has the order at once.
func (h *Hall) SendOrder(o robot.Order, _ *roadmap.Graph) bool {
	b := h.index[o.Robot]
	if b == nil || o.ID < b.order.ID || o.ID == b.order.ID && o.Update <= b.order.Update {
		return true
	}
	b.order, b.fresh = o, true
	if len(b.order.Base) > 0 && b.order.Base[0] == b.at {
		b.order.Base = b.order.Base[1:] // it was made before the robot had reported that it is there
	}
	return true
}

// SendCommand implements the actors' port; nobody commands robots here.
func (h *Hall) SendCommand(robot.Command) bool { return false }

// ProgressDone implements the actors' port.
func (h *Hall) ProgressDone(fleet.RobotID, uint64) {}

// HangUp implements actors.Links: the robots have no streams.
func (h *Hall) HangUp(fleet.RobotID) {}

// AskRate implements the actors' port: lock-step robots say what they have to say.
func (h *Hall) AskRate(fleet.RobotID, float64) {}

// views takes what the engine shows: tasks are passed on, the rest has no taker here.
type views struct{ h *Hall }

func (v views) ShowTask(s fleet.Shard, t *task.View) {
	if v.h.OnTask != nil {
		v.h.OnTask(s, t)
	}
}
func (views) TaskChanged(fleet.Shard, task.Event, *task.View) {}
func (views) CommandHeard(fleet.Shard, time.Duration)         {}
func (views) ShowRobot(fleet.Shard, *robot.View)              {}
func (views) RobotGone(fleet.Shard, fleet.RobotID)            {}
func (views) ShowZone(fleet.Shard, *zone.View)                {}
func (views) ZoneGone(fleet.Shard, fleet.ZoneID)              {}
func (views) ShowWarehouse(fleet.Shard, *dispatch.View)       {}
