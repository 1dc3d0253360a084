package link

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
	linkv1 "starling/proto/gen/starling/link/v1"
)

// The bounds of what waits to be sent on one stream. Orders need none: one slot a robot.
const (
	maxCommands   = 1024
	ordersAFrame  = 200
	gather        = 2 * time.Millisecond // orders that come together leave together
	openers       = 32                   // robots of one hello that are opened at once
	mailboxWait   = 5 * time.Millisecond
	maxHighWaters = 1000
)

// carried is one robot on one stream.
type carried struct {
	stream  *stream
	handle  uint32
	id      fleet.RobotID
	shard   fleet.Shard
	session uint64
	boot    string
	errors  []fleet.RobotError
	leave   func()      // gives the tenant's place back, nil = has none; guarded by the robot's part of the table
	open    atomic.Bool // its core has taken the link
	gone    atomic.Bool // taken over by another stream, or said goodbye: what it says no longer counts
	box     interface {
		Status(s *robot.StatusReported)
		Tell(m robot.Msg) bool
	}
}

// stream is one open stream. Its reader owns robots; what is to be sent is guarded by mu.
type stream struct {
	server  *Server
	ss      grpc.BidiStreamingServer[linkv1.Uplink, linkv1.Downlink]
	who     Identity
	robots  []*carried // by handle - 1
	status  robot.StatusReported
	rate    rate
	sampled sampled
	both    sync.WaitGroup // reader and writer
	expiry  *time.Timer    // when who has to show itself anew

	mu        sync.Mutex
	welcomes  []*linkv1.Welcome
	known     uint32            // handles up to here have been told; nothing is sent to later ones
	early     []uint32          // handles with orders that wait for their welcome
	unknown   []*linkv1.Command // commands that do
	commands  []*linkv1.Command
	orders    map[uint32]*linkv1.Order
	orderly   []uint32 // handles in the order in which their orders came
	highWater map[uint32]uint64
	sampling  *linkv1.Sampling // for all robots of the stream
	most      float32          // what that is, while the tenant's quota is used up; 0 = no bound
	wishes    []wish           // by handle - 1
	unasked   []uint32         // handles whose wish waits to be sent
	closing   *linkv1.Closing
	over      codes.Code // with which the stream ends after closing
	wake      chan struct{}
	sending   time.Time // since when a frame is on its way out, zero = none
}

func newStream(s *Server, ss grpc.BidiStreamingServer[linkv1.Uplink, linkv1.Downlink], who Identity) *stream {
	t := &stream{server: s, ss: ss, who: who, orders: map[uint32]*linkv1.Order{}, highWater: map[uint32]uint64{}, wake: make(chan struct{}, 1), over: codes.Unavailable}
	t.expiry = time.NewTimer(time.Until(who.Expires))
	if who.Expires.IsZero() {
		t.expiry.Stop()
	}
	return t
}

func (i *Identity) expired(now time.Time) bool { return !i.Expires.IsZero() && !now.Before(i.Expires) }

// expire ends the stream of who has expired, and says so first; whoever has a new token connects with it. A clock that
// was set back makes it last longer, as long as the token.
func (t *stream) expire() {
	if !t.who.expired(time.Now()) {
		t.expiry.Reset(time.Until(t.who.Expires))
		return
	}
	t.mu.Lock()
	t.over = codes.Unauthenticated
	t.mu.Unlock()
	t.close(&linkv1.Closing{Reason: "token or certificate has expired"})
}

// run reads and writes until one of them ends. When it returns, grpc ends the stream, and with it whichever of the
// two is left.
func (t *stream) run() error {
	ended := make(chan error, 2)
	ctx, cancel := context.WithCancel(t.ss.Context())
	t.both.Go(func() { ended <- t.guard(func() error { return t.read(ctx) }) })
	t.both.Go(func() { ended <- t.guard(func() error { return t.write(ctx) }) })
	defer cancel()
	slow := time.NewTicker(min(time.Second, t.server.SlowReader/4+1))
	defer slow.Stop()
	defer t.expiry.Stop()
	for {
		select {
		case err := <-ended:
			return err
		case <-t.expiry.C:
			t.expire()
		case <-slow.C:
			t.mu.Lock()
			stuck := !t.sending.IsZero() && time.Since(t.sending) > t.server.SlowReader
			t.mu.Unlock()
			if stuck {
				return status.Error(codes.ResourceExhausted, "the reader is too slow")
			}
		}
	}
}

// guard turns a panic into the end of this stream alone. It stands in the goroutine that may panic: the interceptor
// sees only the handler's own.
func (t *stream) guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			t.server.Log.LogAttrs(t.ss.Context(), slog.LevelError, "link stream panicked", slog.String("event", "link.panic"),
				slog.Any("error", p), slog.String("stack", string(debug.Stack())))
			err = status.Error(codes.Internal, "internal error")
		}
	}()
	return f()
}

func (t *stream) dropAll() {
	for _, c := range t.robots {
		if c.box != nil {
			t.server.drop(c)
		}
	}
}

// read takes frames.
func (t *stream) read(ctx context.Context) error {
	for {
		in := inbound{m: linkv1.UplinkFromVTPool()}
		err := t.ss.RecvMsg(&in)
		if err == nil {
			err = in.fault
		}
		if err == nil {
			err = t.pace(ctx, in.m)
		}
		if err == nil {
			err = t.frame(ctx, in.m)
		}
		in.m.ReturnToVTPool()
		var f *fault
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, &f):
			return status.Error(codes.InvalidArgument, f.Error())
		default:
			return err
		}
	}
}

func (t *stream) frame(ctx context.Context, m *linkv1.Uplink) error {
	count := func(kind string) { t.server.metrics.frames.WithLabelValues(kind).Inc() }
	if len(m.Traceparent) > 64 {
		return bad("traceparent", "text too long")
	}
	switch f := m.Frame.(type) {
	case *linkv1.Uplink_Statuses:
		count("statuses")
		t.server.metrics.statuses.Add(float64(len(f.Statuses.Handle)))
		return t.statuses(f.Statuses)
	case *linkv1.Uplink_Progress:
		count("progress")
		if err := checkProgress("progress.entries", f.Progress.Entries, len(t.robots)); err != nil {
			return err
		}
		return t.progress(ctx, f.Progress.Entries)
	case *linkv1.Uplink_Acks:
		count("acks")
		return t.acks(ctx, f.Acks)
	case *linkv1.Uplink_Hello:
		count("hello")
		return t.hello(ctx, f.Hello)
	case *linkv1.Uplink_Journal:
		count("journal")
		if err := checkProgress("journal.entries", f.Journal.Entries, len(t.robots)); err != nil {
			return err
		}
		return t.progress(ctx, f.Journal.Entries)
	case *linkv1.Uplink_Goodbye:
		count("goodbye")
		return t.goodbye(f.Goodbye)
	case *linkv1.Uplink_Factsheet:
		count("factsheet")
		if h := f.Factsheet.Handle; h < 1 || int(h) > len(t.robots) {
			return bad("factsheet.handle", "unknown handle")
		}
		return nil
	}
	return bad("frame", "want one of hello, statuses, progress, acks, journal, goodbye, factsheet")
}

// statuses is the hot path: one scratch status, no allocation.
func (t *stream) statuses(b *linkv1.StatusBatch) error {
	if err := checkStatuses(b, len(t.robots)); err != nil {
		return err
	}
	for _, e := range b.Errors {
		t.robots[e.Handle-1].errors = errorsOf(e)
	}
	now := time.Now()
	s := &t.status
	places, all := t.admit(now, b.Handle)
	if !all {
		for _, i := range places {
			t.fold(s, now, b, int(i))
		}
		return nil
	}
	for i := range b.Handle {
		t.fold(s, now, b, i)
	}
	return nil
}

// fold hands the i-th status of a frame to its robot's mailbox, by way of the scratch s.
func (t *stream) fold(s *robot.StatusReported, now time.Time, b *linkv1.StatusBatch, i int) {
	c := t.robots[b.Handle[i]-1]
	if c.box == nil || c.gone.Load() {
		t.server.metrics.dropped.WithLabelValues("not_carried").Inc()
		return
	}
	*s = robot.StatusReported{
		BootID: c.boot, Seq: b.Seq[i], At: time.UnixMilli(b.TsMs[i]), ReceivedAt: now,
		Pose:     fleet.Pose{X: float64(b.X[i]), Y: float64(b.Y[i]), Theta: float64(b.Theta[i])},
		Velocity: float64(b.VelocityMps[i]), Battery: float64(b.BatterySoc[i]), State: fleet.RobotState(b.State[i]), Errors: c.errors,
	}
	c.box.Status(s)
}

func errorsOf(e *linkv1.RobotErrors) []fleet.RobotError {
	out := make([]fleet.RobotError, 0, len(e.Errors))
	for _, x := range e.Errors {
		out = append(out, fleet.RobotError{Code: x.Code, Level: fleet.ErrorLevel(x.Level - 1), Message: x.Message})
	}
	return out
}

// tell hands a reliable message over; a full mailbox makes the stream wait, so that nothing is skipped.
func (t *stream) tell(ctx context.Context, c *carried, m robot.Msg) error {
	for c.box != nil && !c.gone.Load() && !c.box.Tell(m) {
		t.server.metrics.dropped.WithLabelValues("mailbox").Inc()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(mailboxWait):
		}
	}
	return nil
}

func (t *stream) progress(ctx context.Context, entries []*linkv1.Progress) error {
	for _, p := range entries {
		c := t.robots[p.Handle-1]
		m := robot.Progressed{
			BootID: c.boot, Number: p.Number, Vertex: fleet.Vertex(p.Vertex), Heading: float64(p.Heading),
			At: time.UnixMilli(p.AtMs), OrderID: p.OrderId,
		}
		if p.Kind > linkv1.ProgressKind_PROGRESS_KIND_TURNED {
			m.Vertex = fleet.NoVertex // an action: it says nothing of the road
		}
		if err := t.tell(ctx, c, m); err != nil {
			return err
		}
	}
	return nil
}

func (t *stream) acks(ctx context.Context, b *linkv1.AckBatch) error {
	if err := checkAcks(b, len(t.robots)); err != nil {
		return err
	}
	stages := [...]fleet.Stage{0, fleet.StageAcknowledged, fleet.StageDone, fleet.StageFailed}
	for _, a := range b.Commands {
		m := robot.CommandAcknowledged{ID: fleet.CommandID(a.CommandId), Stage: stages[a.Stage], Reason: a.Reason}
		if err := t.tell(ctx, t.robots[a.Handle-1], m); err != nil {
			return err
		}
	}
	return nil
}

func (t *stream) goodbye(g *linkv1.Goodbye) error {
	if len(g.Handles) == 0 {
		return io.EOF
	}
	for _, h := range g.Handles {
		if h < 1 || int(h) > len(t.robots) {
			return bad("goodbye.handles", "unknown handle")
		}
		if c := t.robots[h-1]; c.box != nil { // nil = refused, or gone already
			t.server.drop(c)
			c.box = nil
		}
	}
	return nil
}

// hello opens robots, many at once, and answers in their order.
func (t *stream) hello(ctx context.Context, h *linkv1.Hello) error {
	if err := checkHello(h); err != nil {
		return err
	}
	if len(t.robots)+len(h.Robots) > t.server.MaxRobots {
		return status.Error(codes.ResourceExhausted, "too many robots on one stream")
	}
	first := len(t.robots)
	fresh := make([]*carried, len(h.Robots))
	answers := make([]*linkv1.RobotWelcome, len(h.Robots))
	for i := range fresh {
		fresh[i] = &carried{stream: t, handle: uint32(first + i + 1)}
	}
	var all sync.WaitGroup
	slots := make(chan struct{}, openers)
	for i, r := range h.Robots {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			if err := t.guard(func() error { answers[i] = t.open(ctx, fresh[i], h.WarehouseId, r); return nil }); err != nil {
				answers[i] = &linkv1.RobotWelcome{RobotId: r.RobotId, RobotCode: r.RobotCode, Refused: "UNAVAILABLE"}
			}
		})
	}
	all.Wait()
	t.robots = append(t.robots, fresh...)
	w := &linkv1.Welcome{Robots: answers, NowMs: time.Now().UnixMilli()}
	for _, c := range fresh {
		if c.box == nil {
			continue
		}
		if g, err := t.server.Engine.ActiveGraph(ctx, c.shard); err == nil && g != nil {
			w.MapId, w.MapVersion = string(g.MapID), uint32(g.Version)
		}
		break
	}
	t.mu.Lock()
	t.welcomes = append(t.welcomes, w)
	t.mu.Unlock()
	t.nudge()
	return nil
}

// open makes c the way to one robot. A refused robot keeps its handle, unused.
func (t *stream) open(ctx context.Context, c *carried, warehouse string, r *linkv1.RobotHello) *linkv1.RobotWelcome {
	w := &linkv1.RobotWelcome{RobotId: r.RobotId, RobotCode: r.RobotCode}
	found, err := t.server.Directory.FindRobot(ctx, t.who.Tenant, fleet.RobotID(r.RobotId), r.RobotCode)
	if err == nil && warehouse != "" && string(found.Shard.Warehouse) != warehouse {
		err = fact.ErrNotFound
	}
	if err != nil {
		w.Refused = refusal(err)
		return w
	}
	w.RobotId = string(found.ID)
	if !t.who.Any && t.who.Robot != found.ID && (t.who.Fleet == "" || t.who.Fleet != found.Fleet) {
		w.Refused = "FORBIDDEN"
		if t.who.Refused != nil {
			t.who.Refused(found.ID)
		}
		return w
	}
	c.id, c.shard, c.boot, c.session = found.ID, found.Shard, r.BootId, t.server.sessions.Add(1)
	box, err := t.server.Engine.Mailbox(ctx, c.shard, c.id)
	if err != nil {
		w.Refused = refusal(err)
		return w
	}
	if !t.server.place(ctx, c) {
		w.Refused = "RESOURCE_EXHAUSTED"
		return w
	}
	old, ok := t.server.carry(c)
	if !ok {
		c.vacate()
		w.Refused = "CONFLICT" // a newer session came between
		return w
	}
	if !t.server.placed(ctx, c) {
		t.server.giveBack(c, old)
		w.Refused = "RESOURCE_EXHAUSTED"
		return w
	}
	answer, err := t.server.Engine.OpenLink(ctx, c.shard, c.id, opened(c, r))
	if err != nil {
		t.server.giveBack(c, old)
		t.server.Engine.CloseLink(c.shard, c.id, c.session) // it may be taken all the same, later
		w.Refused = refusal(err)
		return w
	}
	c.box = box
	c.open.Store(true)
	if old != nil {
		old.gone.Store(true)
		t.server.Engine.CloseLink(old.shard, old.id, old.session)
	}
	w.Handle, w.ProgressNumber = c.handle, answer.ProgressNumber
	return w
}

func opened(c *carried, r *linkv1.RobotHello) robot.LinkOpened {
	m := robot.LinkOpened{Session: c.session, BootID: r.BootId, At: fleet.NoVertex}
	if r.Pose != nil {
		m.Heading = r.Pose.Theta
	}
	if s := r.Resume; s != nil {
		m.MapID, m.MapVersion, m.ProgressNo, m.Heading = fleet.MapID(s.MapId), int(s.MapVersion), s.ProgressNumber, float64(s.Heading)
		if s.AtVertex != nil {
			m.At = fleet.Vertex(*s.AtVertex)
		}
		for _, v := range s.Base {
			m.Base = append(m.Base, fleet.Vertex(v))
		}
	}
	return m
}

func refusal(err error) string {
	switch {
	case errors.Is(err, fact.ErrNotFound):
		return "NOT_FOUND"
	case errors.Is(err, fact.ErrBusy):
		return "RESOURCE_EXHAUSTED"
	}
	return "UNAVAILABLE"
}

// rate counts what came within the present second.
type rate struct {
	since            time.Time
	frames, statuses int
}

// pace stops reading until the next second where a stream sends more than its share: the sender feels it as
// back-pressure, and nothing is lost.
func (t *stream) pace(ctx context.Context, m *linkv1.Uplink) error {
	now := time.Now()
	if now.Sub(t.rate.since) >= time.Second {
		t.rate = rate{since: now}
	}
	t.rate.frames++
	if f, ok := m.Frame.(*linkv1.Uplink_Statuses); ok {
		t.rate.statuses += len(f.Statuses.Handle)
	}
	if t.rate.frames <= t.server.MaxFrames && t.rate.statuses <= t.server.MaxStatuses {
		return nil
	}
	t.server.metrics.paced.Inc()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Until(t.rate.since.Add(time.Second))):
		return nil
	}
}
