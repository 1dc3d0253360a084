package robots

import (
	"container/heap"
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"

	linkv1 "starling/proto/gen/starling/link/v1"
)

// The link's bounds, as its proto states them, and how long frames are gathered.
const (
	batchSize   = 500
	gatherEvery = 10 * time.Millisecond
	queueFrames = 256
	againAfter  = time.Second
)

// carrier is one stream and its robots: one goroutine decides, one receives, one sends.
type carrier struct {
	pace   pace
	fleet  *Fleet
	first  int
	bots   []*bot
	rng    *rand.Rand
	events events
	order  uint64
	acks   []ack
	dirty  bool // there is progress to send
	hangUp bool
	out    chan *linkv1.Uplink
	handle map[uint32]*bot
}

// ack is an answer that waits to be sent. Its handle is known when it is sent: another stream gives another.
type ack struct {
	bot *bot
	m   *linkv1.CommandAck
}

type event struct {
	at    time.Time
	order uint64 // events of one instant happen in the order of their making
	do    func(now time.Time)
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	if e[i].at.Equal(e[j].at) {
		return e[i].order < e[j].order
	}
	return e[i].at.Before(e[j].at)
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

func (c *carrier) push(at time.Time, do func(time.Time)) {
	c.order++
	heap.Push(&c.events, event{at, c.order, do})
}

// run keeps a stream open until ctx is done.
func (c *carrier) run(ctx context.Context) {
	pause := 100 * time.Millisecond
	for ctx.Err() == nil {
		opened := time.Now()
		err := c.session(ctx)
		c.fleet.Stats.Connected.Add(-int64(len(c.handle)))
		c.handle = nil
		if ctx.Err() != nil {
			return
		}
		c.fleet.Stats.Reconnects.Add(1)
		if time.Since(opened) > 10*time.Second {
			pause = 100 * time.Millisecond
		}
		c.fleet.o.Log.LogAttrs(ctx, slog.LevelDebug, "stream ended", slog.String("event", "robots.stream"), slog.Any("error", err))
		c.alone(ctx, pause/2+time.Duration(c.rng.Int64N(int64(pause))))
		pause = min(pause*2, 5*time.Second)
	}
}

// alone lets the robots go on without a link: they drive what they were granted.
func (c *carrier) alone(ctx context.Context, d time.Duration) {
	end := time.NewTimer(d)
	defer end.Stop()
	tick := time.NewTicker(gatherEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-end.C:
			return
		case now := <-tick.C:
			c.due(now)
		}
	}
}

// session is the life of one stream.
func (c *carrier) session(ctx context.Context) error {
	var both sync.WaitGroup
	defer both.Wait() // after cancel: nobody reads what the next stream writes
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	transport := insecure.NewCredentials()
	if c.fleet.o.TLS != nil {
		transport = credentials.NewTLS(c.fleet.o.TLS)
	}
	conn, err := grpc.NewClient(c.fleet.o.LinkAddr, grpc.WithTransportCredentials(transport),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 10 * time.Second}))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	md := metadata.MD{}
	if c.fleet.o.Token != "" {
		md.Set("authorization", "Bearer "+c.fleet.o.Token)
	}
	if c.fleet.o.TenantID != "" {
		md.Set("x-tenant-id", c.fleet.o.TenantID)
	}
	ss, err := linkv1.NewLinkClient(conn).Connect(metadata.NewOutgoingContext(ctx, md))
	if err != nil {
		return err
	}
	c.out, c.handle, c.hangUp = make(chan *linkv1.Uplink, queueFrames), map[uint32]*bot{}, false
	in, failed := make(chan *linkv1.Downlink, queueFrames), make(chan error, 2)
	both.Go(func() { // ends when the stream does
		for {
			m, err := ss.Recv()
			if err != nil {
				failed <- err
				return
			}
			select {
			case in <- m:
			case <-ctx.Done():
				return
			}
		}
	})
	both.Go(func() { // ends with ctx
		for {
			select {
			case m := <-c.out:
				if err := ss.Send(m); err != nil {
					failed <- err
					return
				}
			case <-ctx.Done():
				return
			}
		}
	})
	c.hello(ctx)
	return c.serve(ctx, in, failed)
}

func (c *carrier) serve(ctx context.Context, in <-chan *linkv1.Downlink, failed <-chan error) error {
	tick := time.NewTicker(gatherEvery)
	defer tick.Stop()
	c.pace = pace{since: time.Now().Add(time.Duration(c.rng.Int64N(int64(c.fleet.o.StatusEvery)))), every: c.fleet.o.StatusEvery / beats, last: -1}
	for _, b := range c.bots { // what an earlier stream was asked for does not count in this one
		b.rest, b.turn = 0, 0
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-failed:
			return err
		case m := <-in:
			now := time.Now()
			for more := true; more; {
				if m.GetClosing() != nil {
					return context.Canceled
				}
				c.due(now) // first what was due before m came, so that no grant serves a move that began before it
				c.receive(now, m)
				select {
				case m = <-in:
				default:
					more = false
				}
			}
			c.flush()
		case now := <-tick.C:
			c.due(now)
			if c.hangUp {
				return context.Canceled
			}
			if beat := c.pace.beat(now); beat > c.pace.last {
				c.pace.last = beat
				c.statuses(now, beat)
			}
			c.flush()
		}
	}
}

// due makes happen what is due.
func (c *carrier) due(now time.Time) {
	for len(c.events) > 0 && !c.events[0].at.After(now) {
		e := heap.Pop(&c.events).(event)
		e.do(e.at)
	}
}

func (c *carrier) hello(ctx context.Context) {
	for first := 0; first < len(c.bots); first += batchSize {
		h := c.helloOf(c.bots[first:min(first+batchSize, len(c.bots))])
		c.send(ctx, &linkv1.Uplink{Frame: &linkv1.Uplink_Hello{Hello: h}})
	}
}

func (c *carrier) helloOf(bots []*bot) *linkv1.Hello {
	h := &linkv1.Hello{ProtocolVersion: 1, Agent: "starling virtual robots", WarehouseId: c.fleet.o.WarehouseID}
	for _, b := range bots {
		at := b.at
		r := &linkv1.Resume{
			OrderId: b.orderID, UpdateId: b.updateID, ProgressNumber: b.progress, AtVertex: &at, Incarnation: b.inc,
			Heading: float32(b.theta), MapId: b.atRoad.mapID, MapVersion: b.atRoad.version,
		}
		for _, w := range b.base {
			if b.sameMap() {
				r.Base = append(r.Base, w.Vertex)
			}
		}
		h.Robots = append(h.Robots, &linkv1.RobotHello{
			RobotId: b.ID, RobotCode: b.Code, BootId: b.boot, Resume: r, Pose: &linkv1.Pose{X: b.x, Y: b.y, Theta: b.theta},
		})
		b.handle, b.unsent = 0, 0
	}
	return h
}

func (c *carrier) send(ctx context.Context, m *linkv1.Uplink) {
	select {
	case c.out <- m:
	case <-ctx.Done():
	}
}

func (c *carrier) receive(now time.Time, m *linkv1.Downlink) {
	switch f := m.Frame.(type) {
	case *linkv1.Downlink_Welcome:
		c.welcome(now, f.Welcome)
	case *linkv1.Downlink_Orders:
		for _, o := range f.Orders.Orders {
			if b := c.handle[o.Handle]; b != nil {
				c.take(now, b, o)
			}
		}
	case *linkv1.Downlink_Commands:
		for _, m := range f.Commands.Commands {
			if b := c.handle[m.Handle]; b != nil {
				c.command(now, b, m)
			}
		}
	case *linkv1.Downlink_HighWater:
		for i, h := range f.HighWater.Handle {
			if b := c.handle[h]; b != nil {
				b.forget(f.HighWater.ProgressNumber[i])
			}
		}
	case *linkv1.Downlink_Sampling:
		c.sample(f.Sampling)
	case *linkv1.Downlink_Closing:
	}
}

// forget drops progress that the engine has.
func (b *bot) forget(upTo uint64) {
	n := 0
	for n < len(b.pending) && b.pending[n].Number <= upTo {
		n++
	}
	b.pending = append(b.pending[:0], b.pending[n:]...)
	b.unsent = max(0, b.unsent-n)
}

func (c *carrier) welcome(now time.Time, w *linkv1.Welcome) {
	byID := make(map[string]*linkv1.RobotWelcome, 2*len(w.Robots))
	for _, r := range w.Robots {
		byID[r.RobotId], byID[r.RobotCode] = r, r
	}
	delete(byID, "")
	for _, b := range c.bots {
		r := byID[b.ID]
		if r == nil {
			r = byID[b.Code]
		}
		if r == nil {
			continue
		}
		if r.Handle == 0 {
			c.fleet.o.Log.Warn("robot refused", slog.String("event", "robots.refused"), slog.String("robot_id", b.ID), slog.String("reason", r.Refused))
			if r.Refused != "NOT_FOUND" && r.Refused != "FORBIDDEN" {
				c.askAgain(now, b)
			}
			continue
		}
		b.handle = r.Handle
		c.handle[b.handle] = b
		c.fleet.Stats.Connected.Add(1)
		b.errors = b.errors || b.stopped // a new stream knows of no errors
		b.forget(r.ProgressNumber)
		b.progress = max(b.progress, r.ProgressNumber)
		for _, p := range b.pending {
			p.Handle = b.handle
		}
		c.dirty = c.dirty || len(b.pending) > 0
		c.step(now, b)
	}
}

// askAgain announces a refused robot again after a while, on this stream or, where it has ended, not at all: the next
// one begins with all robots.
func (c *carrier) askAgain(now time.Time, b *bot) {
	out := c.out
	c.push(now.Add(againAfter), func(at time.Time) {
		if b.handle != 0 || c.out != out {
			return
		}
		select {
		case c.out <- &linkv1.Uplink{Frame: &linkv1.Uplink_Hello{Hello: c.helloOf([]*bot{b})}}:
		default:
			c.askAgain(at, b)
		}
	})
}

// statuses sends one status of every robot whose turn it is, in batches; a full queue drops them.
func (c *carrier) statuses(now time.Time, beat int64) {
	batch := &linkv1.StatusBatch{}
	var told []*bot // those whose errors are in the batch
	flush := func() {
		if len(batch.Handle) == 0 {
			return
		}
		select {
		case c.out <- &linkv1.Uplink{Frame: &linkv1.Uplink_Statuses{Statuses: batch}}:
			c.fleet.Stats.Statuses.Add(int64(len(batch.Handle)))
			for _, b := range told {
				b.errors = false
			}
		default:
		}
		batch, told = &linkv1.StatusBatch{}, nil
	}
	for _, b := range c.bots {
		if b.handle == 0 || b.silent || !b.due(beat) {
			continue
		}
		b.seq++
		c.say(now, b, batch)
		if b.errors {
			told = append(told, b)
		}
		if len(batch.Handle) == batchSize {
			flush()
		}
	}
	flush()
}

// flush sends acknowledgements and progress; what does not fit now goes with the next flush.
func (c *carrier) flush() {
	c.flushAcks()
	if !c.dirty {
		return
	}
	batch := &linkv1.ProgressBatch{}
	sent := map[*bot]int{}
	for _, b := range c.bots {
		if b.handle == 0 || b.unsent >= len(b.pending) || b.silent {
			continue
		}
		n := min(len(b.pending)-b.unsent, batchSize-len(batch.Entries))
		batch.Entries = append(batch.Entries, b.pending[b.unsent:b.unsent+n]...)
		sent[b] = n
		if len(batch.Entries) == batchSize {
			break
		}
	}
	c.dirty = len(batch.Entries) == batchSize
	if len(batch.Entries) == 0 {
		return
	}
	select {
	case c.out <- &linkv1.Uplink{Frame: &linkv1.Uplink_Progress{Progress: batch}}:
		for b, n := range sent {
			b.unsent += n
		}
	default:
		c.dirty = true
	}
}

func (c *carrier) flushAcks() {
	var batch []*linkv1.CommandAck
	var rest []ack
	for _, a := range c.acks {
		if a.bot.handle == 0 || a.bot.silent || len(batch) == batchSize {
			rest = append(rest, a)
			continue
		}
		a.m.Handle = a.bot.handle
		batch = append(batch, a.m)
	}
	if len(batch) == 0 {
		return
	}
	select {
	case c.out <- &linkv1.Uplink{Frame: &linkv1.Uplink_Acks{Acks: &linkv1.AckBatch{Commands: batch}}}:
		c.acks = rest
	default:
	}
}
